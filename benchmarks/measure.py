"""Times one case in this process: ``python -m benchmarks.measure NAME REPEATS`` prints JSON.

Every run is timed beside the yardstick; memory is the most that the process ever held.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases import CASES, Case
from benchmarks.yardstick import cpu_seconds, yardstick


def measured(case: Case, repeats: int) -> dict[str, Any]:
    """Medians over `repeats`: ``seconds`` (CPU; wall of a cold case) and their ``ratio`` to the
    yardstick, both of the whole case; ``requests``; ``peak_bytes`` of the process."""
    with tempfile.TemporaryDirectory() as folder:
        action = _action(case, Path(folder))
        clock = _wall_seconds if case.cold else cpu_seconds
        if repeats > 1:
            action()
        took, units = [], []
        for _ in range(repeats):
            units.append(min(cpu_seconds(yardstick) for _ in range(3)))
            took.append(clock(action))
    return {
        "seconds": median(took),
        "ratio": median(t / unit for t, unit in zip(took, units, strict=True)),
        "repeats": repeats,
        "requests": case.load.requests if case.load else None,
        "peak_bytes": _peak(),
    }


def _action(case: Case, folder: Path) -> Callable[[], object]:
    """What is timed; from a loaded specification to a written summary, if it is a run."""
    if case.load is None:
        assert case.action is not None
        return case.action
    import hermesdsl
    from hermesdsl.results.write import to_json

    system = hermesdsl.compile(case.load.write(folder))

    def run() -> None:
        summary = to_json(hermesdsl.run(system).summary())
        (folder / "summary.json").write_text(summary, encoding="utf-8")

    return run


def _wall_seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _peak() -> int:
    """Bytes; the system counts kilobytes, but for macOS."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return own if sys.platform == "darwin" else own * 1024


if __name__ == "__main__":
    print(json.dumps(measured(CASES[sys.argv[1]], int(sys.argv[2]))))
