"""Fits grids of factors to ratios of times: smooth in the logarithms of a shape, and robust.

log u(x) = Σ over terms of a multilinear interpolation between knots in log x, constant outside.
Found by least squares on log u, reweighted towards absolute error, with penalties on curvature
and on size. Knows arrays only: no operator, table or device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.graph.types import Grid

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

#: Passes of reweighting, and the log error below which squares count, above which magnitudes do.
PASSES = 4
HUBER = 0.03
#: Products of shares worked out at once.
ENTRIES = 4_000_000


@dataclass(frozen=True)
class Term:
    """One grid to be fitted: axes by name with their knots, ascending."""

    axes: tuple[str, ...]
    knots: tuple[tuple[float, ...], ...]

    @property
    def size(self) -> int:
        """Values to be fitted."""
        return prod(len(knots) for knots in self.knots)


def term(**axes: Sequence[float]) -> Term:
    """`term(m = (1, 64), k = (32, 4096))`."""
    return Term(tuple(axes), tuple(tuple(float(x) for x in knots) for knots in axes.values()))


@dataclass(frozen=True)
class Penalty:
    """How stiff a fit is: on second differences along each axis (`bend`), on values (`size`).

    In units of rows: a penalty of 1 weighs as much as one measurement that errs as much.
    """

    bend: float = 1.0
    size: float = 0.02


def interpolation(term: Term, points: Mapping[str, Floats]) -> tuple[Ints, Floats]:
    """Which values of a grid a point uses, and with what weight, shape (rows, 2^axes) each."""
    rows = len(next(iter(points.values())))
    places = np.zeros((rows, 1), np.int64)
    weights = np.ones((rows, 1))
    for axis, knots in zip(term.axes, term.knots, strict=True):
        places = places * len(knots)
        if len(knots) == 1:
            continue
        at = np.log(np.asarray(knots))
        x = np.clip(np.log(points[axis]), at[0], at[-1])
        low = np.clip(np.searchsorted(at, x, "right") - 1, 0, len(at) - 2)
        part = ((x - at[low]) / (at[low + 1] - at[low]))[:, None]
        low = low[:, None]
        places = np.concatenate([places + low, places + low + 1], axis=1)
        weights = np.concatenate([weights * (1.0 - part), weights * part], axis=1)
    return places, weights


def fit(
    terms: Sequence[Term],
    points: Mapping[str, Floats],
    target: Floats,
    weight: Floats,
    penalty: Penalty,
) -> list[Floats]:
    """The logarithms of each grid's values that bring Σ terms near `target`, (rows,).

    `weight` of each row. What no row tells keeps to the median of all. Raises ValueError without
    rows.
    """
    if not len(target):
        raise ValueError("nothing to fit")
    starts = np.cumsum([0, *(each.size for each in terms)])
    parts = [interpolation(each, points) for each in terms]
    places = np.concatenate([p + s for (p, _), s in zip(parts, starts[:-1], strict=True)], axis=1)
    shares = np.concatenate([w for _, w in parts], axis=1)
    stiff = _stiffness(terms, starts, penalty)
    middle = float(np.median(target))
    values = np.zeros(starts[-1])
    robust = np.ones(len(target))
    for _ in range(PASSES):
        values = _solve(places, shares, target - middle, weight * robust, stiff)
        left = np.abs(target - middle - (values[places] * shares).sum(axis=1))
        robust = 1.0 / np.maximum(left / HUBER, 1.0)
    values[: starts[1]] += middle
    return [values[a:b] for a, b in pairwise(starts)]


def predict(
    terms: Sequence[Term], values: Sequence[Floats], points: Mapping[str, Floats]
) -> Floats:
    """Σ terms at every point, (rows,)."""
    total = np.zeros(len(next(iter(points.values()))))
    for each, own in zip(terms, values, strict=True):
        places, shares = interpolation(each, points)
        total += (own[places] * shares).sum(axis=1)
    return total


def _solve(places: Ints, shares: Floats, target: Floats, weight: Floats, stiff: Floats) -> Floats:
    """Weighted least squares with a quadratic penalty, by its normal equations."""
    size, corners = len(stiff), places.shape[1]
    scaled = shares * weight[:, None]
    right = np.bincount(places.ravel(), (scaled * target[:, None]).ravel(), size)
    normal = np.zeros(size * size)
    step = max(1, ENTRIES // corners**2)
    for i in range(0, len(target), step):
        rows = slice(i, i + step)
        products = scaled[rows, :, None] * shares[rows, None, :]
        keys = places[rows, :, None] * size + places[rows, None, :]
        normal += np.bincount(keys.ravel(), products.ravel(), size * size)
    normal += stiff.ravel()
    return np.asarray(np.linalg.solve(normal.reshape(size, size), right))


def _stiffness(terms: Sequence[Term], starts: Ints, penalty: Penalty) -> Floats:
    """The matrix of the penalties, block by block."""
    stiff = penalty.size * np.eye(int(starts[-1]))
    for each, start in zip(terms, starts, strict=False):
        shape = tuple(len(knots) for knots in each.knots)
        index = np.arange(each.size).reshape(shape) + start
        for axis, knots in enumerate(each.knots):
            at = np.log(np.asarray(knots))
            lines = np.moveaxis(index, axis, -1).reshape(-1, len(knots))
            for i in range(len(knots) - 2):
                before, after = at[i + 1] - at[i], at[i + 2] - at[i + 1]
                bend = np.array([1 / before, -1 / before - 1 / after, 1 / after])
                bend *= 2.0 * np.log(2.0) / (1 / before + 1 / after) / (before + after)
                for line in lines[:, i : i + 3]:
                    stiff[np.ix_(line, line)] += penalty.bend * np.outer(bend, bend)
    return stiff


def folds(keys: Sequence[object], count: int) -> Ints:
    """The fold of each row: rows with one key share it; the same in every run, (rows,)."""
    from zlib import crc32

    return np.array([crc32(repr(key).encode()) % count for key in keys], np.int64)


def grids(terms: Sequence[Term], values: Sequence[Floats]) -> tuple[Grid, ...]:
    """Fitted logarithms as grids of factors."""
    return tuple(
        Grid(each.axes, each.knots, tuple(np.exp(own).tolist()))
        for each, own in zip(terms, values, strict=True)
    )
