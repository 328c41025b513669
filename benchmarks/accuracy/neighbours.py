"""What measured neighbours say of a point: how far rows of one group agree with each other.

Configurations lie on a grid of a few coordinates. A point between two others that differ from it
in one coordinate alone is interpolated between them; where measurements repeat badly, or jump,
that misses as well. It bounds no model, but tells what is left for one to explain smoothly.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import exp, log
from statistics import mean
from typing import TypeVar

T = TypeVar("T")
Values = tuple[float, float]


def between(
    points: Sequence[T],
    group: Callable[[T], Hashable],
    place: Callable[[T], tuple[float, ...]],
    values: Callable[[T], Values],
) -> list[Values | None]:
    """Two positive values of each point, from its neighbours; None without any on two sides.

    Interpolated linearly in logarithms of coordinate and value, and averaged so over coordinates.
    """
    by: dict[Hashable, dict[tuple[float, ...], T]] = {}
    for point in points:
        by.setdefault(group(point), {})[place(point)] = point
    found: list[Values | None] = []
    for point in points:
        own, here = by[group(point)], place(point)
        told = [both for axis in range(len(here)) if (both := _along(own, here, axis, values))]
        found.append((exp(mean(t[0] for t in told)), exp(mean(t[1] for t in told)))
                     if told else None)  # fmt: skip
    return found


def _along(
    points: dict[tuple[float, ...], T], here: tuple[float, ...], axis: int,
    values: Callable[[T], Values],
) -> Values | None:  # fmt: skip
    """Logarithms of both values at `here`, from the nearest points below and above on one axis."""
    line = sorted(
        (at[axis], at) for at in points
        if at[axis] != here[axis]
        and all(a == h for i, (a, h) in enumerate(zip(at, here, strict=True)) if i != axis)
    )  # fmt: skip
    below = [at for coordinate, at in line if coordinate < here[axis]]
    above = [at for coordinate, at in line if coordinate > here[axis]]
    if not below or not above:
        return None
    low, high = below[-1], above[0]
    share = log(here[axis] / low[axis]) / log(high[axis] / low[axis])
    (a, b), (c, d) = values(points[low]), values(points[high])
    return (1 - share) * log(a) + share * log(c), (1 - share) * log(b) + share * log(d)
