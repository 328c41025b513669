"""``python -m benchmarks``: times parsing, elaboration and whole runs.

Absolute times drift with the machine; the column `ratio` divides by the median of a fixed
pure-Python loop timed beside each case. Cases that need the recorded trace are left out, and said
to be, where it is not there.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hermesdsl
from hermesdsl.diagnostics import Sink
from hermesdsl.model.elaborate import elaborate
from hermesdsl.source import Source
from hermesdsl.syntax.parse import parse

ROOT = Path(__file__).parents[1]
TRACE = ROOT / "../shared/data/traces/azure_llm_2023_conv.csv.gz"
REPEATS = 5

_LINES = "".join(
    f"chip C{i} {{\n    peak.bf16 = {i + 1} TFLOPS\n    power = 700 W\n"
    f"    hbm: Memory {{ capacity = 80 GiB; bandwidth = 3.35 TB/s }}\n}}\n"
    for i in range(2000)
)
_PARTS = """
chip C { peak.bf16 = 1 TFLOPS; hbm: Memory { capacity = 80 GiB; bandwidth = 3.35 TB/s } }
link L { bandwidth = 1 GB/s }
node N { c[8]: C; sw: Switch; connect c[*] <-> sw via L }
""" + "".join(f"n{i}: N {{ c[*] {{ power = {i} W }} }}\n" for i in range(560))


def yardstick() -> int:
    """A fixed amount of plain Python: arithmetic, a dictionary and a list."""
    table: dict[int, int] = {}
    total = 0
    for i in range(300_000):
        total += i * 7 % 13
        table[i & 1023] = total
    return len(table)


def cpu_seconds(action: Callable[[], object]) -> float:
    """Process CPU seconds of one call, garbage of earlier ones collected first."""
    gc.collect()
    began = time.process_time()
    action()
    return time.process_time() - began


def cases() -> Iterator[tuple[str, Callable[[], object]]]:
    """(name, action) of everything that can be timed here."""
    yield "parse 10,000 lines", lambda: parse(Source("lines.hms", _LINES))
    yield "elaborate 10,000 parts", lambda: elaborate("parts.hms", sink=Sink(), text=_PARTS)
    quickstart = ROOT / "examples/quickstart.hms"
    yield "quickstart, compile and run", lambda: hermesdsl.run(hermesdsl.compile(quickstart))
    if TRACE.exists():
        setting = {"chat.file": f'"{TRACE.resolve()}"'}
        replay = ROOT / "examples/azure_replay.hms"
        yield (
            "Azure replay, 19,366 requests",
            lambda: hermesdsl.run(hermesdsl.compile(replay, set=setting)),
        )
    else:
        print("left out: the Azure replay (no recorded trace here)", file=sys.stderr)


def main() -> None:
    """Times every case and prints the medians."""
    print(f"{'case':32} {'CPU s':>8} {'ratio':>8}")
    for name, action in cases():
        action()
        times, ratios = [], []
        for _ in range(REPEATS):
            unit = cpu_seconds(yardstick)
            took = cpu_seconds(action)
            times.append(took)
            ratios.append(took / unit)
        print(f"{name:32} {statistics.median(times):8.3f} {statistics.median(ratios):8.1f}")


if __name__ == "__main__":
    main()
