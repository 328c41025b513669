"""Observations that are not kept: exact count, sum, least and largest, and sketched percentiles.

A percentile lies within `ERROR` of the exact one, as a share of it. The sketch is DDSketch (Masson
et al., VLDB 2019); so that it is asked once for all values that are nearly equal, these are
first put into cells of 12 binary digits, of which the middle is at most 2^-13 away.
Knows no metric and no request.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.results.series import percentile

if TYPE_CHECKING:
    from ddsketch import DDSketch

__all__ = ["ERROR", "Sketch"]

Floats: TypeAlias = "NDArray[np.float64]"

#: Largest relative error of a percentile.
ERROR = 1e-3
#: That of the sketch alone: (1 + 2^-13)(1 + this) < 1 + ERROR.
_ACCURACY = 8.7e-4
#: Binary digits that a cell leaves out of 52.
_DROPPED = 40
#: Cells between the least and the largest up to which each has a counter: 256 octaves.
_MOST_COUNTED = 1 << 20


class Sketch:
    """Has `n` and `statistic` as a `Series` does; values are not negative."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._least, self._largest = inf, -inf
        #: Cells and how many observations each has; parts of a run come one after the other.
        self._cells, self._counts = np.zeros(0, np.int64), np.zeros(0)
        self._sketch: DDSketch | None = None
        self.n = 0

    def add(self, values: Floats, counts: NDArray[np.int64] | None = None) -> None:
        """Values in any order, shape (m,), and how often each occurs; NaN is no observation."""
        known = ~np.isnan(values)
        if not known.all():
            values = values[known]
            counts = None if counts is None else counts[known]
        if not len(values):
            return
        self.n += len(values) if counts is None else int(counts.sum())
        self._sum += float(values.sum() if counts is None else (values * counts).sum())
        self._least = min(self._least, float(values.min()))
        self._largest = max(self._largest, float(values.max()))
        # Numbers of one sign are ordered as their bits are.
        self._take(*_together(np.maximum(values, 0.0).view(np.int64) >> _DROPPED, counts))

    def merge(self, other: Sketch) -> None:
        """Take in what another has seen."""
        self._take(other._cells, other._counts)
        self._sum += other._sum
        self._least = min(self._least, other._least)
        self._largest = max(self._largest, other._largest)
        self.n += other.n

    def _take(self, cells: NDArray[np.int64], counts: Floats) -> None:
        if len(self._cells):
            cells = np.concatenate([self._cells, cells])
            cells, counts = _together(cells, np.concatenate([self._counts, counts]))
        self._cells, self._counts, self._sketch = cells, counts, None

    def statistic(self, name: str) -> float | None:
        """``mean`` and ``max`` are exact, a percentile is within `ERROR`; None without data."""
        if not self.n:
            return None
        if name == "mean":
            return self._sum / self.n
        if name == "max":
            return self._largest
        return percentile(name, self.n, self._at)

    def _at(self, place: int) -> float:
        """About the value at a place of the sorted ones, from 0."""
        # Halfway to the next place, so that no rounding leads to the one before.
        share = min((place + 0.5) / (self.n - 1), 1.0) if self.n > 1 else 0.0
        if self._sketch is None:
            self._sketch = _sketched(self._cells, self._counts)
        found = float(self._sketch.get_quantile_value(share) or 0.0)
        return min(max(found, self._least), self._largest)


def _together(
    cells: NDArray[np.int64], counts: NDArray[Any] | None
) -> tuple[NDArray[np.int64], Floats]:
    """The different cells, ascending, and how many observations each has, whole numbers."""
    if (low := cells[cells > 0].min(initial=cells.max())) + _MOST_COUNTED < cells.max():
        found, place = np.unique(cells, return_inverse=True)
        return found, np.bincount(place, counts, len(found)).astype(np.float64)
    # Place 0 is that of zero itself; among few cells, counting is faster than sorting.
    held = np.bincount(np.maximum(cells - (low - 1), 0), counts)
    there = np.flatnonzero(held)
    found = there + (low - 1)
    found[there == 0] = 0
    return found, held[there].astype(np.float64)


def _sketched(cells: NDArray[np.int64], counts: Floats) -> DDSketch:
    """A sketch of the middles of cells."""
    from ddsketch import DDSketch

    middle = ((cells << _DROPPED) + (1 << (_DROPPED - 1))).view(np.float64)
    middle[cells == 0] = 0.0
    made = DDSketch(_ACCURACY)
    for value, count in zip(middle.tolist(), counts.tolist(), strict=True):
        made.add(value, count)
    return made
