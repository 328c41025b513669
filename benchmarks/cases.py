"""Everything that can be timed, by name. Knows what is run, not how it is timed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.specs import AZURE, Everything, Replay, Serving

ROOT = Path(__file__).parents[1]


class Load(Protocol):
    """A specification that can be written to a folder."""

    requests: int

    def write(self, folder: Path) -> Path: ...


@dataclass(frozen=True)
class Case:
    """What one name stands for: a run of `load`, or else an `action` of `requests` units of work.

    `cold`: a whole process, start-up included, of which the wall time counts. `repeats` runs;
    `needs`: a file without which it is left out. `in_all`: timed if no names are given.
    """

    load: Load | None = None
    action: Callable[[], object] | None = None
    cold: bool = False
    repeats: int = 5
    needs: Path | None = None
    in_all: bool = True


def _parse() -> object:
    from hermesdsl.source import Source
    from hermesdsl.syntax.parse import parse

    lines = "".join(
        f"chip C{i} {{\n    peak.bf16 = {i + 1} TFLOPS\n    power = 700 W\n"
        f"    hbm: Memory {{ capacity = 80 GiB; bandwidth = 3.35 TB/s }}\n}}\n"
        for i in range(2000)
    )
    return parse(Source("lines.hms", lines))


def _elaborate() -> object:
    from hermesdsl.diagnostics import Sink
    from hermesdsl.model.elaborate import elaborate

    parts = "chip C { peak.bf16 = 1 TFLOPS; hbm: Memory { capacity = 80 GiB; " \
            "bandwidth = 3.35 TB/s } }\nlink L { bandwidth = 1 GB/s }\n" \
            "node N { c[8]: C; sw: Switch; connect c[*] <-> sw via L }\n"  # fmt: skip
    parts += "".join(f"n{i}: N {{ c[*] {{ power = {i} W }} }}\n" for i in range(560))
    return elaborate("parts.hms", sink=Sink(), text=parts)


def _quickstart() -> object:
    command = [sys.executable, "-m", "hermesdsl", "run", "examples/quickstart.hms", "--quiet"]
    # An installed package has its byte code beside it.
    known = {name: at for name, at in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=known)


def _cases() -> dict[str, Case]:
    found = {
        "parse": Case(action=_parse),
        "elaborate": Case(action=_elaborate),
        "quickstart": Case(action=_quickstart, cold=True),
        "w1": Case(Replay(10_000, 1), needs=AZURE),
        "w1-a100": Case(Replay(10_000, 2, node="DGX_A100"), needs=AZURE),
        "w2": Case(Serving(10_000, 1, 9.5)),
    }
    for replicas in (16, 64):
        for route in ("round_robin", "jsq"):
            name = "w3" if route == "round_robin" else "w3-jsq"
            found[f"{name}-{replicas}"] = Case(
                Serving(100_000, replicas, 9.5 * replicas, route=route), repeats=3
            )
    found["w4"] = Case(Serving(1_000_000, 64, 9.5 * 64), repeats=1)
    found["w5"] = Case(Everything(10_000, 40.0), repeats=3)
    for n in (1_000, 10_000, 100_000, 1_000_000):
        found[f"requests-{n}"] = Case(
            Serving(n, 16, 9.5 * 16), repeats=5 if n <= 10_000 else 1, in_all=n < 1_000_000
        )
    for n in (1, 8, 64, 1_000):
        found[f"replicas-{n}"] = Case(Serving(20_000, n, 9.5 * n), repeats=3)
    for n in (16, 128, 1_024, 4_096, 16_384):
        # As many answers at once, whatever their length: the rate falls as they grow.
        found[f"output-{n}"] = Case(Serving(5_000, 1, 800.0 / n, prompt=128, output=n), repeats=3)
    return found


CASES: Mapping[str, Case] = _cases()
