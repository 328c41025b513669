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

#: Parts are sorted by the first binary digits of their least: as many as make so many cells, the
#: last of which has the largest; what is too small for the others is in the first.
_CELLS = 1 << 16
_DROPPED = 41
#: So few gaps are worked out and sorted at once.
_FEW = 4096
#: Stands for a growth of 0, to divide by.
_LEAST_GROWTH = 1e-280


class GapSeries:
    """Has `n` and `statistic` as a `Series` does.

    A part is a single gap or a stretch: from `_least` on, `_number` gaps that grow by `_growth`,
    each seen by `_weight` requests; first the single ones, then the stretches of `gaps`. `_order`:
    parts by the cell of their least, each from place `_begins` on; `_upto`: gaps of the parts in
    all cells so far.
    """

    def __init__(self, gaps: Gaps) -> None:
        self.gaps = gaps
        rows, row, single = gaps.times, gaps.row, len(gaps.values)
        growth = rows.growth[row]
        shortest = np.where(growth >= 0.0, gaps.low, gaps.high - 1)
        self._least = np.concatenate([gaps.values, rows.first[row] + growth * shortest])
        flat = np.full(single, _LEAST_GROWTH)
        self._growth = np.concatenate([flat, np.maximum(np.abs(growth), _LEAST_GROWTH)])
        self._number = np.concatenate([np.ones(single, np.int64), gaps.high - gaps.low])
        self._weight = np.concatenate([gaps.counts, gaps.weight])
        bits = _bits(self._least)
        self._last_cell = int(bits.max(initial=0)) - _CELLS + 1
        cells = np.maximum(bits - self._last_cell, 0)
        self._order = np.argsort(cells.astype(np.uint16), kind="stable")
        self._begins = np.concatenate([[0], np.cumsum(np.bincount(cells, minlength=_CELLS))])
        seen = self._weight * self._number
        self._upto = np.cumsum(np.bincount(cells, seen, _CELLS)).astype(np.int64)
        self._known: dict[int, float] = {}

    @property
    def n(self) -> int:
        """Number of observations."""
        return int(self._upto[-1])

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
        cell = int(np.searchsorted(self._upto, place, "right"))
        low, high = self._edge(cell), self._edge(cell + 1) + self._span
        slack = 2.0 * self.gaps.times.error
        begin, end = self._cell(low - self._span - slack), self._cell(high + slack)
        below = int(self._upto[begin - 1]) if begin else 0
        parts = self._order[self._begins[begin] : self._begins[end + 1]]
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

    def _cell(self, length: float) -> int:
        """The cell that a length is in, or would be."""
        bits = int(_bits(np.array([length]))[0])
        return min(max(bits - self._last_cell, 0), _CELLS - 1)

    def _edge(self, cell: int) -> float:
        """The least length of a cell, seconds."""
        if not cell:
            return float(self._least.min())
        return float(np.array([(cell + self._last_cell) << _DROPPED]).view(np.float64)[0])

    def _reach(self, parts: Ints, length: float, side: str) -> Ints:
        """How many gaps of each part are shorter than (`below`) or at most (`upto`) so long."""
        steps = (length - self._least[parts]) / self._growth[parts]
        steps = np.ceil(steps) if side == "below" else np.floor(steps) + 1.0
        return np.asarray(np.clip(steps, 0.0, self._number[parts]).astype(np.int64))

    def _worked_out(self, parts: Ints, first: Ints, last: Ints) -> tuple[Floats, Ints]:
        """The gaps `first` to `last` - 1 of parts, counted from the least, and how often each."""
        gaps, some = self.gaps, last > first
        parts, first, last = parts[some], first[some], last[some]
        inner = parts >= len(gaps.values)
        single, place = parts[~inner], parts[inner] - len(gaps.values)
        first, last = first[inner], last[inner]
        row, low, high = gaps.row[place], gaps.low[place], gaps.high[place]
        grows = gaps.times.growth[row] >= 0.0
        begins = np.where(grows, low + first, high - last)
        ends = np.where(grows, low + last, high - first)
        some_of = Gaps(
            gaps.times, gaps.values[single], gaps.counts[single], row, begins, ends,
            gaps.weight[place],
        )  # fmt: skip
        return some_of.spelt_out()


def _bits(lengths: Floats) -> Ints:
    """The first digits of lengths, in the order of these; those of 0 for anything below."""
    # Numbers of one sign are ordered as their bits are.
    return np.maximum(lengths, 0.0).view(np.int64) >> _DROPPED
