"""Rows of a table by a number that one of its columns holds, found in one pass.

Knows no column by name.
"""

from __future__ import annotations

import numpy as np

from hermesdsl.sim.record import Column

__all__ = ["rows_by"]


def rows_by(numbers: Column, chosen: Column | None = None) -> dict[int, Column]:
    """Places of the rows that hold each number, ascending, by number; int arrays.

    `numbers`: integers, shape (rows,); `chosen`: which rows count, booleans likewise; all if None.
    """
    kept = None if chosen is None else np.flatnonzero(chosen)
    mine = numbers if kept is None else numbers[kept]
    if not len(mine):
        return {}
    low, high = int(mine.min()), int(mine.max())
    if low == high:
        return {low: np.arange(len(mine)) if kept is None else kept}
    # Of numbers that need no more than 16 bits a stable order is found by counting.
    small = np.iinfo(np.int16)
    keys = mine.astype(np.int16) if small.min <= low and high <= small.max else mine
    order = np.argsort(keys, kind="stable")
    ordered = mine[order]
    begins = np.flatnonzero(np.diff(ordered, prepend=low - 1))
    places = order if kept is None else kept[order]
    names = ordered[begins].tolist()
    return dict(zip(names, np.split(places, begins[1:]), strict=True))
