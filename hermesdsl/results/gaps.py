"""Percentiles of gaps between tokens, of which most are never looked at.

Steps of a row grow evenly, so how many of its gaps are at most so long is a division. That finds
about where a place of the sorted gaps lies; only those around it are worked out and sorted.
Percentiles and the largest are the very numbers that sorting all of them would give; the mean is
that of sums over rows. Knows no metric, request or unit.
"""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.results.series import percentile
from hermesdsl.sim.tokens import Gaps

__all__ = ["GapSeries"]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"

#: So few gaps are worked out and sorted at once.
_FEW = 4096
#: Stands for a growth of 0, to divide by.
_LEAST_GROWTH = 1e-280


class GapSeries:
    """Has `n` and `statistic` as a `Series` does.

    A part is a stretch or a single gap: from `_least` on, `_number` gaps that grow by `_growth`,
    each seen by `_weight` requests; `_stretch` is its place in `gaps`, -1 for a single one. Sorted
    by `_least`; `_upto`: gaps of the parts so far.
    """

    def __init__(self, gaps: Gaps) -> None:
        self.gaps = gaps
        rows, row, k = gaps.times, gaps.row, len(gaps.values)
        growth = rows.growth[row]
        shortest = np.where(growth >= 0.0, gaps.low, gaps.high - 1)
        least = np.concatenate([gaps.values, rows.first[row] + growth * shortest])
        order = np.argsort(least, kind="stable")
        self._least = least[order]
        self._growth = np.concatenate([np.full(k, _LEAST_GROWTH), np.abs(growth)])[order]
        self._growth = np.maximum(self._growth, _LEAST_GROWTH)
        self._number = np.concatenate([np.ones(k, np.int64), gaps.high - gaps.low])[order]
        self._weight = np.concatenate([gaps.counts, gaps.weight])[order]
        self._stretch = np.where(order < k, -1, order - k)
        self._upto = np.cumsum(self._weight * self._number)
        self._known: dict[int, float] = {}

    @property
    def n(self) -> int:
        """Number of observations."""
        return int(self._upto[-1]) if len(self._upto) else 0

    def statistic(self, name: str) -> float | None:
        """As `Series.statistic`."""
        if not self.n:
            return None
        if name == "mean":
            return self._sum / self.n
        return self._at(self.n - 1) if name == "max" else percentile(name, self.n, self._at)

    @property
    def _sum(self) -> float:
        """Seconds of all gaps; those of a stretch are the time between its first and last step."""
        gaps = self.gaps
        spans = gaps.times.at(gaps.row, gaps.high) - gaps.times.at(gaps.row, gaps.low)
        return float((gaps.values * gaps.counts).sum() + (spans * gaps.weight).sum())

    @cached_property
    def _span(self) -> float:
        """The most that the gaps of one part differ."""
        return float((self._growth * (self._number - 1)).max())

    def _at(self, place: int) -> float:
        """The gap at a place of the sorted ones, from 0."""
        if place not in self._known:
            self._known[place] = self._found(place)
        return self._known[place]

    def _found(self, place: int) -> float:
        # As a formula, the gap that is sought lies between these; worked out, not `slack` beyond.
        low = float(self._least[np.searchsorted(self._upto, place, "right")])
        high = low + self._span
        slack = 2.0 * self.gaps.times.error
        begin = int(np.searchsorted(self._least, low - self._span - slack))
        end = int(np.searchsorted(self._least, high + slack, "right"))
        below = int(self._upto[begin - 1]) if begin else 0
        parts = np.arange(begin, end)
        while True:
            first = self._reach(parts, low - slack, "below")
            last = self._reach(parts, high + slack, "upto")
            weight = self._weight[parts]
            middle = 0.5 * (low + high)
            if (last - first).sum() <= _FEW or high - low <= slack or not low < middle < high:
                break
            if below + int((weight * self._reach(parts, middle, "upto")).sum()) > place:
                high = middle
            else:
                low = middle
            some = last > first
            below += int((weight * first)[~some].sum())
            parts = parts[some]
        below += int((weight * first).sum())
        values, weights = self._worked_out(parts, first, last)
        order = np.argsort(values, kind="stable")
        upto = np.cumsum(weights[order])
        return float(values[order][np.searchsorted(upto, place - below, "right")])

    def _reach(self, parts: Ints, length: float, side: str) -> Ints:
        """How many gaps of each part are shorter than (`below`) or at most (`upto`) so long."""
        steps = (length - self._least[parts]) / self._growth[parts]
        steps = np.ceil(steps) if side == "below" else np.floor(steps) + 1.0
        return np.asarray(np.clip(steps, 0.0, self._number[parts]).astype(np.int64))

    def _worked_out(self, parts: Ints, first: Ints, last: Ints) -> tuple[Floats, Ints]:
        """The gaps `first` to `last` - 1 of parts, counted from the least, and how often each."""
        gaps, some = self.gaps, last > first
        parts, first, last = parts[some], first[some], last[some]
        stretch = self._stretch[parts]
        single, inner = parts[stretch < 0], stretch >= 0
        place, first, last = stretch[inner], first[inner], last[inner]
        row, low, high = gaps.row[place], gaps.low[place], gaps.high[place]
        grows = gaps.times.growth[row] >= 0.0
        begins = np.where(grows, low + first, high - last)
        ends = np.where(grows, low + last, high - first)
        some_of = Gaps(
            gaps.times, self._least[single], self._weight[single], row, begins, ends,
            gaps.weight[place],
        )  # fmt: skip
        return some_of.spelt_out()
