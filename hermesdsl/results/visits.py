"""Visits of stages: how long each waited, had its KV moved, was served, and waited for a token.

A visit that reads its prompt at one client and goes on at another is two rows of `Run.visits` and
one visit here. Knows no percentile, selection or table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.sim.record import LOST, Run

__all__ = ["Visits", "visits_of"]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"


@dataclass(frozen=True, eq=False)
class Visits:
    """Every visit that came to its end, shape (m,) each; times in seconds.

    `queue`: from coming to a client to being first served there, less the time in which its KV
    was on the way (`moved`), summed over its two clients if it has two; `service`: from being
    first served there to its end, summed likewise; `stay`: from entering to its end; `ttft`: from
    entering to its first token, NaN if it made none. `critical`: the request waited for it.
    """

    request: Ints
    stage: Ints
    queue: Floats
    moved: Floats
    service: Floats
    stay: Floats
    ttft: Floats
    critical: NDArray[np.bool_]


def visits_of(run: Run) -> Visits:
    """The complete visits of a run, in order of request and, within it, as they were recorded."""
    order = np.argsort(run.visits["request"], kind="stable")
    # A stay whose client failed is no visit: that begins again.
    order = order[run.visits["part"][order] != LOST]
    row = {name: column[order] for name, column in run.visits.items()}
    enter, start, end = (row[name] for name in ("enter_s", "start_s", "end_s"))
    moved = row["moved_s"].copy()
    queue, service, stay = start - enter - moved, end - start, end - enter
    part = row["part"]
    # A second part follows the first of the same visit.
    second = np.flatnonzero(part == 2)
    first = second - 1
    for column in (queue, moved, service):
        column[first] += column[second]
    stay[first] = end[second] - enter[first]
    done = ~np.isnan(stay) & (part < 2)
    done &= (part == 0) | np.isin(np.arange(len(part)), first)
    return Visits(
        row["request"][done],
        row["stage"][done],
        # Differences of equal times may be off by a rounding of the clock.
        np.maximum(queue[done], 0.0),
        moved[done],
        service[done],
        stay[done],
        (row["first_s"] - enter)[done],
        row["critical"][done] > 0,
    )
