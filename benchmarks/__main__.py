"""``python -m benchmarks [NAME…]`` times cases; ``python -m benchmarks compare [NAME…]`` too, and
says what has become slower.

Each case runs in a process of its own. Without names: all but the longest. ``--save`` adds the
figures to the history; ``compare`` exits with 1 if a ratio has grown by more than 15 % since
the last entry that has the case. ``--list`` names all cases.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.cases import CASES, ROOT
from benchmarks.history import TOLERANCE, append, changes, entry, latest, load, regressions


def figures(names: Sequence[str], repeats: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, what `measure.measured` gives) of each case that can be timed here."""
    for name in names:
        case = CASES[name]
        if case.needs is not None and not case.needs.exists():
            print(f"left out: {name} (its recorded trace is not here)", file=sys.stderr)
            continue
        command = [sys.executable, "-m", "benchmarks.measure", name, str(repeats or case.repeats)]
        found = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        yield name, json.loads(found.stdout)


def _line(name: str, figure: dict[str, Any]) -> str:
    requests = figure["requests"]
    each = f"{figure['seconds'] / requests * 1e6:8.1f}" if requests else " " * 8
    return (f"{name:16}{figure['seconds']:9.3f}{figure['ratio']:9.1f}{each:>9}"
            f"{figure['peak_bytes'] / 1e6:9.0f}{figure['repeats']:6}")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Times what is asked for and prints a table; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="cases, after `compare` if wanted")
    parser.add_argument("--save", action="store_true", help="add the figures to the history")
    parser.add_argument("--repeats", type=int, help="runs per case, instead of its own number")
    parser.add_argument("--list", action="store_true", help="name all cases")
    given = parser.parse_args(arguments)
    if given.list:
        print("\n".join(CASES))
        return 0
    compare = given.names[:1] == ["compare"]
    names = given.names[1:] if compare else given.names
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"no case `{unknown[0]}`; --list names all", file=sys.stderr)
        return 2
    names = names or [name for name, case in CASES.items() if case.in_all]
    print(f"{'case':16}{'seconds':>9}{'ratio':>9}{'us/req':>9}{'peak MB':>9}{'runs':>6}")
    found: dict[str, dict[str, Any]] = {}
    for name, figure in figures(names, given.repeats):
        found[name] = figure
        print(_line(name, figure), flush=True)
    slower = _compared(found) if compare else False
    if given.save:
        append(entry(found, ROOT))
    return 1 if slower else 0


def _compared(found: dict[str, dict[str, Any]]) -> bool:
    """Prints how ratios changed since the history; whether any has grown too much."""
    before = latest(load())
    worse = regressions(before, found)
    for name, by in changes(before, found).items():
        mark = f"  slower by more than {TOLERANCE:.0%}" if name in worse else ""
        print(f"{name:16}{by:+9.1%}{mark}")
    for name in found:
        if name not in before:
            print(f"{name:16}      new")
    return bool(worse)


if __name__ == "__main__":
    sys.exit(main())
