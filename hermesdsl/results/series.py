"""Observations of a run in order, and their mean, largest and percentiles.

Knows no metric, request or unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.results.definitions import PERCENTILES

__all__ = ["Series", "percentile", "series_of"]

Floats: TypeAlias = "NDArray[np.float64]"


@dataclass(frozen=True, eq=False)
class Series:
    """Sorted values and how often each occurs (int counts), shape (m,) each; `n` in all."""

    values: Floats
    counts: NDArray[np.int64]

    @property
    def n(self) -> int:
        """Number of observations."""
        return int(self.counts.sum())

    def statistic(self, name: str) -> float | None:
        """``mean``, ``max`` or a percentile as NumPy's ``linear`` gives it; None without data."""
        if not len(self.values):
            return None
        if name == "mean":
            # Not `np.dot`: its last bits depend on the number of threads.
            return float((self.values * self.counts).sum() / self.counts.sum())
        if name == "max":
            return float(self.values[-1])
        return percentile(name, int(self._upto[-1]), self._at)

    @cached_property
    def _upto(self) -> NDArray[np.int64]:
        return np.cumsum(self.counts)

    def _at(self, place: int) -> float:
        """The observation at a place of the sorted ones, from 0."""
        return float(self.values[np.searchsorted(self._upto, place, "right")])


def percentile(name: str, n: int, at: Callable[[int], float]) -> float:
    """Between the two observations next to place (n - 1) q of the sorted n; `at` gives them."""
    place = (n - 1.0) * PERCENTILES[name] / 100.0
    below = int(place)
    low, high = at(below), at(min(below + 1, n - 1))
    return low + (high - low) * (place - below)


def series_of(values: Floats) -> Series:
    """Of single observations in any order; NaN is none."""
    kept = np.sort(values[~np.isnan(values)])
    return Series(kept, np.ones(len(kept), dtype=np.int64))
