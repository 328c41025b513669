"""Which points to run next: all of them, or the middle of what is left.

Knows points and whether their goals were met. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from math import prod
from typing import Protocol

from hermesdsl.explore.outcome import Outcome
from hermesdsl.explore.points import Point, aim, argument, points, strategy
from hermesdsl.graph.types import Experiment, SweepAxis

__all__ = ["Bisect", "Found", "Grid", "Search", "search_of", "spelled"]

#: Points of a round of a grid of which some may be pruned.
ROUND = 64

#: What became of a point that was run.
Found = Callable[[Point], Outcome]


class Search(Protocol):
    """Names points round by round; `expected` in all, at most, 0 if it cannot be said."""

    @property
    def expected(self) -> int:
        """How many points it may name."""
        ...

    def round(self, found: Found) -> list[Point]:
        """The points to run now that all earlier ones have been; none at the end."""
        ...


def search_of(experiment: Experiment, axes: Sequence[SweepAxis], limit: int | None) -> Search:
    """The search that an experiment asks for, of no more than `limit` points."""
    if strategy(experiment) == "tpe":
        from hermesdsl.explore.tpe import Tpe

        return Tpe(experiment, axes, limit)
    if strategy(experiment) != "bisect":
        return Grid(axes, limit, ROUND if argument(experiment, "short", 0.0) else None)
    target = aim(experiment)
    axis = next(each for each in axes if target in each.targets)
    rest = [each for each in axes if each is not axis]
    tolerance = argument(experiment, "tolerance", 0.02)
    up = experiment.objectives[0].up
    return Bisect([_bracket(axis, each, up, tolerance) for each in points(rest)], limit)


class Grid:
    """Every point, in rounds of `size` where that is given, so that each learns from those before;
    else in one."""

    def __init__(
        self, axes: Sequence[SweepAxis], limit: int | None, size: int | None = None
    ) -> None:
        self._points, self._size = points(axes, limit), size
        count = prod(len(axis.points) for axis in axes)
        self.expected = count if limit is None else min(count, limit)

    def round(self, found: Found) -> list[Point]:
        """See `Search`."""
        return list(islice(self._points, self._size))


class Bisect:
    """One value halved for each combination of the others, all combinations side by side.

    Points are numbered as they are tried. Right if goals are met on one side of a value and missed
    on the other; a point that cannot be run counts as missed.
    """

    expected = 0

    def __init__(self, brackets: Sequence[_Bracket], limit: int | None) -> None:
        self._brackets = brackets
        self._numbers = islice(count(), limit)
        self._open: list[tuple[_Bracket, float, Point]] = []

    def round(self, found: Found) -> list[Point]:
        """See `Search`."""
        for bracket, place, point in self._open:
            bracket.learn(place, met=found(point).met)
        tried = [(bracket, place) for bracket in self._brackets for place in bracket.next()]
        self._open = [
            (bracket, place, bracket.point(place, number))
            for (bracket, place), number in zip(tried, self._numbers, strict=False)
        ]
        return [point for _, _, point in self._open]


@dataclass
class _Bracket:
    """What is known of one combination: goals are met at `good` and missed at `bad`.

    Places are indices of `values`, or numbers between two ends, in SI units.
    """

    axis: SweepAxis
    rest: Point
    good: float
    bad: float
    values: Sequence[tuple[str, float]] | None
    tolerance: float
    ends: tuple[float, ...]

    def next(self) -> Iterator[float]:
        """The places to try now."""
        if self.ends:
            yield from self.ends
        elif self.values is not None:
            if self.bad - self.good > 1:
                yield (self.good + self.bad) // 2
        elif abs(self.bad - self.good) > self.tolerance * max(abs(self.good), abs(self.bad)):
            yield (self.good + self.bad) / 2

    def learn(self, place: float, *, met: bool) -> None:
        """Take in whether the goals are met at a place that was tried."""
        if self.ends:
            surprising = met if place == self.bad else not met
            self.ends = tuple(end for end in self.ends if end != place)
            if surprising:  # all of it is good, or none
                self.good = self.bad = place
        elif met:
            self.good = place
        else:
            self.bad = place

    def point(self, place: float, index: int) -> Point:
        """The point at a place."""
        (target,) = self.axis.targets
        if self.values is not None:
            text, value = self.values[int(place)]
        else:
            text, value = spelled(place, *self.axis.units[0])
        return Point(index, {**self.rest.texts, target: text}, {**self.rest.values, target: value})


def _bracket(axis: SweepAxis, rest: Point, up: bool, tolerance: float) -> _Bracket:
    """Nothing known yet: between two ends, or over values sorted from good to bad."""
    if axis.between is not None and not all(isinstance(end, int) for end in axis.between):
        low, high = axis.between
        good, bad = (low, high) if up else (high, low)
        return _Bracket(axis, rest, good, bad, None, tolerance, (good, bad))
    if axis.between is not None:
        low, high = (int(end) for end in axis.between)
        values = [(str(n), float(n)) for n in range(int(low), int(high) + 1)]
    else:
        values = [(text, float(value)) for (text,), (value,)
                  in zip(axis.points, axis.values, strict=True)]  # fmt: skip
    values.sort(key=lambda entry: entry[1], reverse=not up)
    return _Bracket(axis, rest, -1, len(values), values, tolerance, ())


def spelled(value: float, unit: str, scale: float) -> tuple[str, float]:
    """A number of six digits in its unit as the language writes it, and its value in SI."""
    number = float(f"{value / scale:.6g}")
    if unit.startswith("$"):
        return f"${number!r}{unit[1:]}", number * scale
    return f"{number!r}{'' if unit in ('', '%') else ' '}{unit}", number * scale
