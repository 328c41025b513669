"""A run as a Chrome trace: what each engine did when, for Perfetto or chrome://tracing.

One process per engine with its runs of steps as slices, and counters of requests running and
waiting there. Long runs are thinned: `MAX_SLICES` slices in all, neighbours of an engine merged
(from the start of the first to the end of the last), and `SAMPLES` points per counter.
Knows no metric and no file.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.sim.grouping import rows_by
from hermesdsl.sim.record import Run

__all__ = ["MAX_SLICES", "SAMPLES", "chrome_trace"]

MAX_SLICES = 20_000
SAMPLES = 500

_MICRO = 1e6

Event: TypeAlias = "dict[str, Any]"
Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"


def chrome_trace(run: Run) -> dict[str, Any]:
    """The trace-event JSON object of a run; timestamps in microseconds of simulated time."""
    events: list[Event] = []
    rows = len(run.steps["client"])
    together = -(-rows // MAX_SLICES) if rows else 1
    steps, visits = rows_by(run.steps["client"]), rows_by(run.visits["client"])
    nothing = np.empty(0, np.int64)
    for index, client in enumerate(run.clients):
        events.append({"ph": "M", "name": "process_name", "pid": index, "args": {"name": client}})
        events.extend(_slices(run, index, steps.get(index, nothing), together))
        events.extend(_counters(run, index, visits.get(index, nothing)))
    return {
        "displayTimeUnit": "ms",
        "otherData": {"experiment": run.experiment, "seed": run.seed, "rows_per_slice": together},
        "traceEvents": events,
    }


def _slices(run: Run, client: int, rows: Ints, together: int) -> list[Event]:
    """Runs of steps of one engine, those at `rows`, `together` of them to a slice."""
    if not len(rows):
        return []
    column = {name: values[rows] for name, values in run.steps.items()}
    first = np.arange(0, len(rows), together)
    last = np.minimum(first + together, len(rows)) - 1
    start, end = column["start_s"][first], column["end_s"][last]
    sums = {
        name: np.add.reduceat(column[name], first) for name in ("steps", "tokens", "prefill_tokens")
    }
    busy = np.add.reduceat(column["end_s"] - column["start_s"], first)
    batch = np.maximum.reduceat(column["batch"], first)
    used = column["kv_blocks"][last]
    events = []
    for i in range(len(first)):
        prefill, tokens = int(sums["prefill_tokens"][i]), int(sums["tokens"][i])
        name = "decode" if not prefill else "prefill" if prefill == tokens else "mixed"
        events.append(
            {
                "ph": "X",
                "name": name,
                "pid": client,
                "tid": 0,
                "ts": start[i] * _MICRO,
                "dur": (end[i] - start[i]) * _MICRO,
                "args": {
                    "steps": int(sums["steps"][i]),
                    "tokens": tokens,
                    "prefill_tokens": prefill,
                    "largest_batch": int(batch[i]),
                    "kv_blocks": int(used[i]),
                    "busy_s": float(busy[i]),
                },
            }
        )
    return events


def _counters(run: Run, client: int, mine: Ints) -> list[Event]:
    """Requests waiting and running at one engine (its visits are at `mine`), evenly in time."""
    times = np.linspace(0.0, run.end_s, SAMPLES)
    enter, start, end = (
        np.searchsorted(np.sort(_known(run.visits[what][mine])), times, "right")
        for what in ("enter_s", "start_s", "end_s")
    )
    waiting, running = enter - start, start - end
    return [
        {
            "ph": "C",
            "name": "requests",
            "pid": client,
            "ts": time * _MICRO,
            "args": {"running": busy, "waiting": queue},
        }
        for time, busy, queue in zip(
            times.tolist(), running.tolist(), waiting.tolist(), strict=True
        )
    ]


def _known(column: Floats) -> Floats:
    return column[~np.isnan(column)]
