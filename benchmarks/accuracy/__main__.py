"""``python -m benchmarks.accuracy [NAME…]`` compares predictions with public measurements.

Without names: every part. ``--data DIR`` is a folder with the layout of ``DATA.md``; ``-o FILE.md``
writes the page (with pictures beside it), ``--json FILE`` the figures; without ``-o`` the page is
printed. ``--earlier FILE`` takes parts that are not named from the figures of an earlier run. A
part that fails says so on the page and makes the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.accuracy import kernels, messages, power, served
from benchmarks.accuracy.page import page
from benchmarks.accuracy.report import Dotted, Section
from hermesdsl.diagnostics import SpecError

ROOT = Path(__file__).parents[2]
COMMAND = "python -m benchmarks.accuracy"
#: Points of one group in a picture.
DOTS = 700

Say = Callable[[str], None]
Part = Callable[[Path, Say], Section]

PARTS: dict[str, Part] = {
    **{name: partial(kernels.section, name) for name in kernels.SUBJECTS},
    "messages": messages.section,
    "power": power.section,
    **{name: partial(served.section, name) for name in served.SUBJECTS},
}


def part(name: str, data: Path, quiet: bool, jobs: int = 1) -> Section:
    """One part on as many processes; where it fails, `missing` says how."""

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    start = time.perf_counter()
    try:
        if jobs > 1 and name in kernels.SUBJECTS:
            made = kernels.section(name, data, say, jobs)
        elif jobs > 1 and name in served.SUBJECTS:
            made = served.section(name, data, say, jobs)
        else:
            made = PARTS[name](data, say)
    except SpecError as problem:
        made = Section(name, name, "", missing=problem.diagnostics[0].message)
    except FileNotFoundError as problem:
        file = Path(str(problem.filename)).name
        made = Section(name, name, "", missing=f"`{file}` is not in the folder")
    except Exception as problem:
        traceback.print_exc()
        made = Section(name, name, "", missing=f"failed: {type(problem).__name__}: {problem}")
    say(f"{name}: done in {time.perf_counter() - start:.0f} s")
    return made


def sections(names: Sequence[str], data: Path, quiet: bool, jobs: int) -> list[Section]:
    """The parts asked for, in their order: the long ones by their rows, the others side by side."""
    long = [*kernels.SUBJECTS, "closed_loop"]
    made = {name: part(name, data, quiet, jobs) for name in names if name in long}
    rest = [name for name in names if name not in made]
    if jobs == 1 or len(rest) < 2:
        made |= {name: part(name, data, quiet) for name in rest}
    else:
        with ProcessPoolExecutor(max_workers=jobs) as pool:
            others = pool.map(partial(part, data=data, quiet=quiet), rest)
            made |= dict(zip(rest, others, strict=True))
    return [made[name] for name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints or writes what is asked for; the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="; ".join(PARTS))
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.md", help="instead of printing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON")
    parser.add_argument("--earlier", type=Path, metavar="FILE", action="append", default=[],
                        help="figures of earlier runs, for parts that are not named")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes; default: 2")
    parser.add_argument("--quiet", action="store_true", help="say nothing meanwhile")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.names if name not in PARTS]
    if unknown:
        print(f"no part `{unknown[0]}`; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    if not given.data.is_dir():
        print(f"there is no folder `{given.data}`; name one with --data", file=sys.stderr)
        return 2

    told: dict[str, Any] = {}
    for earlier in given.earlier:
        told |= json.loads(earlier.read_text(encoding="utf-8"))
    named = given.names or [name for name in PARTS if name not in told]
    made = {name: Section.restored(name, told[name]) for name in PARTS if name in told}
    made |= zip(named, sections(named, given.data, given.quiet, given.jobs), strict=True)
    found = [made[name] for name in PARTS if name in made]
    pictures = _pictures(found, given.output) if given.output else {}
    text = page(found, f"{COMMAND} -o docs/accuracy.md", pictures)
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    else:
        print(text)
    if given.json:
        summary = {each.name: each.summary() for each in found}
        given.json.write_text(
            json.dumps(summary, indent=1, allow_nan=True) + "\n", encoding="utf-8"
        )
    return 1 if any(each.missing.startswith("failed") for each in found) else 0


def _pictures(found: Sequence[Section], target: Path) -> dict[str, str]:
    """Pictures of kernels together and of closed-loop points; paths by the part that shows one."""
    from hermesdsl.measure.plot import Dots, scatter

    made: dict[str, str] = {}
    own = [_pooled(each) for each in found if each.name in kernels.SUBJECTS and each.dots]
    points = [
        dots for each in found if each.name == "closed_loop" for dots in map(_thin, each.dots)
    ]
    for name, title, groups in (
        ("kernels", "Kernels above 50 µs, shapes held out", own),
        ("closed_loop", "Closed-loop points", points),
    ):
        path = target.parent / "images" / f"accuracy_{name}.svg"
        if groups:
            path.parent.mkdir(parents=True, exist_ok=True)
            shown = [Dots(each.name, each.measured, each.predicted) for each in groups]
            path.write_text(scatter(title, shown, "s"), encoding="utf-8")
            made["gemm" if name == "kernels" else name] = f"images/{path.name}"
        elif path.is_file():
            made["gemm" if name == "kernels" else name] = f"images/{path.name}"
    return made


def _pooled(each: Section) -> Dotted:
    import numpy as np

    measured = np.concatenate([dots.measured for dots in each.dots])
    predicted = np.concatenate([dots.predicted for dots in each.dots])
    return _thin(Dotted(each.name, measured, predicted))


def _thin(dots: Dotted) -> Dotted:
    step = max(1, len(dots.measured) // DOTS)
    return Dotted(dots.name, dots.measured[::step], dots.predicted[::step])


if __name__ == "__main__":
    sys.exit(main())
