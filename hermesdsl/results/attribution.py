"""Where the time of each request went: its end-to-end time, split along its critical path.

The critical path is the chain of stays at clients that a request waited for: of branches that are
joined, the one that came last. Time along it is of five kinds:

- ``queueing``: from coming to a client until first served there, less KV on the way; and whatever
  passes between two stays (a door, a hold), which counts for the stage that comes next
- ``compute``: steps and services that worked for the request (its prompt's slices, steps in which
  it decoded, its batch); prompts that are read again after a preemption too
- ``transfer``: waiting for KV or bytes that are on the way, from another client or a cache
- ``stall``: after the first service, time in which no step worked for it: preempted, beside steps
  that only read prompts, between slices of its own
- ``outside``: services without a queue (``Delay``), the API of an engine before it is asked where
  to, and pauses before a request is tried again

Time of attempts that were given up is queueing of the stage that the last one enters first.

Pauses between requests of a session lie before an arrival, so they are part of no request.
Knows no metric, class or layout. A sum that is off is a fault of the interpreter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.sim.conservation import ConservationError
from hermesdsl.sim.record import COMPLETED, Run

__all__ = ["KINDS", "Attribution", "Stay", "attribute"]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"
Mask: TypeAlias = "NDArray[np.bool_]"

KINDS = ("queueing", "compute", "transfer", "stall", "outside")
QUEUEING, COMPUTE, TRANSFER, STALL, OUTSIDE = range(5)

#: Sums agree to this share of the end-to-end time, beside the rounding of the clock itself.
TOLERANCE = 1e-9
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Stay:
    """One stay on the critical path of a request: seconds of each of `KINDS`, from `enter_s` on.

    `turn`: the pass, from 0; `client` is empty if it needed none.
    """

    stage: str
    client: str
    turn: int
    enter_s: float
    end_s: float
    seconds: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Attribution:
    """The stays on the critical paths of all completed requests, by request and time.

    `row` are their places in `Run.visits`, shape (m,); `request` likewise; `seconds` has shape
    (m, 5), one column for each of `KINDS`.
    """

    run: Run
    row: Ints
    request: Ints
    seconds: Floats

    def by_stage(self, chosen: Mask) -> dict[str, Floats]:
        """Mean seconds of each kind per chosen request and stage, shape (5,) each.

        `chosen`: completed requests, booleans of shape (requests,), at least one.
        """
        stages = self.run.stages
        mine = chosen[self.request]
        stage = self.run.visits["stage"][self.row[mine]]
        parts = self.seconds[mine].T
        sums = np.stack([np.bincount(stage, part, len(stages)) for part in parts], axis=1)
        return dict(zip(stages, sums / int(chosen.sum()), strict=True))

    def path(self, request: int) -> Iterator[Stay]:
        """The stays of one request, in order."""
        run, low = self.run, np.searchsorted(self.request, request)
        clients = (*run.clients, "")
        for place in range(int(low), int(np.searchsorted(self.request, request, "right"))):
            at = {name: run.visits[name][self.row[place]] for name in run.visits}
            yield Stay(
                run.stages[at["stage"]],
                clients[at["client"]],
                int(at["pass"]),
                float(at["enter_s"]),
                float(at["end_s"]),
                tuple(self.seconds[place].tolist()),
            )


def attribute(run: Run) -> Attribution:
    """Split the end-to-end time of every completed request.

    Raises `ConservationError` if the parts of one do not sum to it, or one is negative.
    """
    rows = _critical_path(run)
    request = run.visits["request"][rows]
    enter, start, end, moved, worked = (
        run.visits[name][rows] for name in ("enter_s", "start_s", "end_s", "moved_s", "worked_s")
    )
    before = _before(run, request, end)
    wait, serve, gap = start - enter, end - start, enter - before
    seconds = np.zeros((len(rows), len(KINDS)))
    seconds[:, QUEUEING] = wait - moved + gap
    seconds[:, TRANSFER] = moved
    if "paused_s" in run.requests:
        first = np.flatnonzero(np.diff(request, prepend=-1))
        paused = run.requests["paused_s"][request[first]]
        seconds[first, QUEUEING] -= paused
        seconds[first, OUTSIDE] += paused
    if any(run.api):
        # Nothing else passes before a stay at an engine but pauses, doors and holds.
        paused = np.where(seconds[:, OUTSIDE] > 0.0, seconds[:, OUTSIDE], 0.0)
        api = np.clip(gap - paused, 0.0, np.array([*run.api, 0.0])[run.visits["client"][rows]])
        seconds[:, QUEUEING] -= api
        seconds[:, OUTSIDE] += api
    rest = np.where(np.isnan(worked), TRANSFER, _codes(run)[run.visits["client"][rows]])
    worked = np.where(rest == STALL, worked, 0.0)
    seconds[:, COMPUTE] = worked
    seconds[np.arange(len(rows)), rest] += serve - worked
    last = np.flatnonzero(np.diff(request, append=-1))
    seconds[last, QUEUEING] += run.requests["finish_s"][request[last]] - end[last]
    _check(run, request, seconds)
    # What is left of differences of the clock is no time.
    rounding = _ROUNDING * run.requests["finish_s"][request]
    seconds[seconds <= rounding[:, None]] = 0.0
    return Attribution(run, rows, request, seconds)


def _codes(run: Run) -> Ints:
    """By client, which kind the time at it is in which no step worked; at none (-1), transfer."""
    kinds = run.kinds or ("LlmEngine",) * len(run.clients)
    known = {"LlmEngine": STALL, "Delay": OUTSIDE}
    return np.array([*(known.get(kind, COMPUTE) for kind in kinds), TRANSFER])


def _before(run: Run, request: Ints, end: Floats) -> Floats:
    """When the stay before each ended; for the first of a request, its arrival."""
    before = run.requests["arrival_s"][request]
    same = np.flatnonzero(request[1:] == request[:-1])
    before[same + 1] = end[same]
    return np.asarray(before)


def _critical_path(run: Run) -> Ints:
    """Rows of `Run.visits` on the critical paths of completed requests, by request and time.

    Of branches inside a branch, rows of one that was overtaken by another are dropped.
    """
    visits = run.visits
    done = run.requests["status"] == COMPLETED
    kept = np.flatnonzero((visits["critical"] > 0) & done[visits["request"]])
    enter, end = visits["enter_s"][kept], visits["end_s"][kept]
    kept = kept[np.lexsort((end, enter, visits["request"][kept]))]
    request, enter, end = (visits[name][kept] for name in ("request", "enter_s", "end_s"))
    overlaps = (request[1:] == request[:-1]) & (enter[1:] < end[:-1])
    wrong = np.unique(request[1:][overlaps])
    if not len(wrong):
        return kept
    low, high = (np.searchsorted(request, wrong, side) for side in ("left", "right"))
    off = [
        _overtaken(kept[a:b], run, each)
        for a, b, each in zip(low.tolist(), high.tolist(), wrong.tolist(), strict=True)
    ]
    return np.asarray(kept[~np.isin(kept, np.concatenate(off))])


def _overtaken(rows: Ints, run: Run, request: int) -> Ints:
    """Rows of a request that do not lead, one after the other, to its end."""
    until = float(run.requests["finish_s"][request])
    enter, end = run.visits["enter_s"], run.visits["end_s"]
    off = []
    for row in rows[np.lexsort((enter[rows], end[rows]))][::-1].tolist():
        if end[row] <= until:
            until = float(enter[row])
        else:
            off.append(row)
    return np.array(off, np.int64)


def _check(run: Run, request: Ints, seconds: Floats) -> None:
    """Parts that are negative or do not sum to the whole are a contradiction in the records."""
    n = len(run.requests["id"])
    total = np.bincount(request, seconds.sum(axis=1), n)
    finish = run.requests["finish_s"]
    whole = finish - run.requests["arrival_s"]
    slack = TOLERANCE * whole + _ROUNDING * finish
    done = run.requests["status"] == COMPLETED
    off = done & ~(np.abs(total - whole) <= slack)
    if off.any():
        worst = int(np.argmax(off))
        raise ConservationError(
            f"{int(off.sum())} requests have parts that do not sum to their end-to-end time, "
            f"request {worst} {total[worst]:.9g} s of {whole[worst]:.9g} s"
        )
    below = (seconds < -slack[request, None]).any(axis=1)
    if below.any():
        worst = int(np.argmax(below))
        kind = KINDS[int(np.argmin(seconds[worst]))]
        raise ConservationError(f"request {request[worst]} has less than no time of {kind}")
