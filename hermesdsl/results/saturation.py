"""Did the system keep up? One word beside the numbers, since an overloaded run still has means.

Looks at arrivals and departures only.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"

STABLE, BACKLOGGED, OVERLOADED = "stable", "backlogged", "overloaded"

#: Fewer departures than this share of the arrivals, with a growing crowd, is overload.
_KEEPS_UP = 0.95
#: Fewer arrivals than this in half a window tell nothing about keeping up.
_ENOUGH = 20
#: A drain of up to this share of the window is no backlog.
_SHORT_DRAIN = 0.10


def verdict(arrival: Floats, left: Floats, window: tuple[float, float], p99_e2e: float) -> str:
    """``stable``, ``backlogged`` or ``overloaded``.

    `arrival`, `left`: seconds of each admitted request, shape (n,), `left` NaN for one that never
    completed. `window`: start and end of the measured arrivals, seconds; `p99_e2e`: seconds, NaN
    if nothing completed.

    Overloaded: in the last half of the window completions are under 95 % of arrivals, and the
    time average of the number present is larger in its last quarter than in the one before.
    The arrivals are counted earlier by the shortest time that any request took, since no system
    completes what has just come; of fewer than 20 nothing is concluded.
    Backlogged: after the window it takes longer than both 10 % of it and the 99th percentile of
    the end-to-end time until the last one has left.
    """
    start, end = window
    if end <= start or not len(arrival):
        return STABLE
    middle, last_quarter = (start + end) / 2, start + 0.75 * (end - start)
    fastest = 0.0 if np.isnan(left).all() else float(np.nanmin(left - arrival))
    came = int(((arrival >= middle - fastest) & (arrival < end - fastest)).sum())
    went = int(((left >= middle) & (left < end)).sum())
    rising = mean_present(arrival, left, last_quarter, end) > mean_present(
        arrival, left, middle, last_quarter
    )
    if came >= _ENOUGH and went < _KEEPS_UP * came and rising:
        return OVERLOADED
    drain = float(np.nanmax(left)) - end if not np.isnan(left).all() else 0.0
    short = max(_SHORT_DRAIN * (end - start), 0.0 if np.isnan(p99_e2e) else p99_e2e)
    return BACKLOGGED if drain > short else STABLE


def mean_present(arrival: Floats, left: Floats, start: float, end: float) -> float:
    """Time average of the number of requests present between `start` and `end` (seconds)."""
    gone = np.where(np.isnan(left), np.inf, left)
    overlap = np.minimum(gone, end) - np.maximum(arrival, start)
    return float(np.maximum(overlap, 0.0).sum() / (end - start))
