"""Observations that are not kept: exact count, sum, least and largest, and sketched percentiles.

A percentile lies within `ERROR` of the exact one, as a share of it. The sketch is DDSketch (Masson
et al., VLDB 2019); so that it is asked once per chunk for values that are nearly equal, these are
first put into cells of 12 binary digits, of which the middle is at most 2^-13 away.
Knows no metric and no request.
"""

from __future__ import annotations

from math import inf
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.results.series import percentile

__all__ = ["ERROR", "Sketch"]

Floats: TypeAlias = "NDArray[np.float64]"

#: Largest relative error of a percentile.
ERROR = 1e-3
#: That of the sketch alone: (1 + 2^-13)(1 + this) < 1 + ERROR.
_ACCURACY = 8.7e-4
#: Binary digits that a cell leaves out of 52.
_DROPPED = 40


class Sketch:
    """Has `n` and `statistic` as a `Series` does; values are not negative."""

    def __init__(self) -> None:
        from ddsketch import DDSketch

        self._sketch = DDSketch(_ACCURACY)
        self._sum = 0.0
        self._least, self._largest = inf, -inf
        self.n = 0

    def add(self, values: Floats, counts: NDArray[np.int64] | None = None) -> None:
        """Values in any order, shape (m,), and how often each occurs; NaN is no observation."""
        kept = ~np.isnan(values)
        values = values[kept]
        weights = np.ones(len(values), np.int64) if counts is None else counts[kept]
        if not len(values):
            return
        self.n += int(weights.sum())
        self._sum += float((values * weights).sum())
        self._least = min(self._least, float(values.min()))
        self._largest = max(self._largest, float(values.max()))
        # Numbers of one sign are ordered as their bits are.
        cells = np.maximum(values, 0.0).view(np.int64) >> _DROPPED
        found, place = np.unique(cells, return_inverse=True)
        middle = ((found << _DROPPED) + (1 << (_DROPPED - 1))).view(np.float64)
        middle[found == 0] = 0.0
        together = np.bincount(place, weights, len(found))
        for value, count in zip(middle.tolist(), together.tolist(), strict=True):
            self._sketch.add(value, count)

    def merge(self, other: Sketch) -> None:
        """Take in what another has seen."""
        self._sketch.merge(other._sketch)
        self._sum += other._sum
        self._least = min(self._least, other._least)
        self._largest = max(self._largest, other._largest)
        self.n += other.n

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
        found = float(self._sketch.get_quantile_value(share) or 0.0)
        return min(max(found, self._least), self._largest)
