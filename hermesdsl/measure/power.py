"""Power that kernels draw, from tables that tell it beside their times: fits of `Draw`.

Found by damped least squares on the logarithm of watts, reweighted towards absolute error, with a
slight pull towards a plain draw. Knows rows of a table and a data sheet; no file.

A row of a power table is the mean over 0.3 to 1 s in which one kernel runs again and again, the
gaps between launches included, and its time includes them too: the shares of peak and bandwidth
are those of the same mean. What is left for kernels of a few microseconds, `settle`, is found with
the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hermesdsl.cost.power import WEIGHTS, share
from hermesdsl.graph.types import Draw
from hermesdsl.measure.calibrate import FEWEST, FOLDS, KNOWN, LONG, joined
from hermesdsl.measure.fit import HUBER, Floats, folds
from hermesdsl.measure.operators import Points, Sheet
from hermesdsl.measure.tables import Table

if TYPE_CHECKING:
    import pandas as pd

#: Where a fit starts and what it is pulled to, and the bounds of each: the fields of `Draw`,
#: `settle` in microseconds.
_START = (0.3, 1.5, 0.8, 1.0, 1.0, 5.0, 0.2)
_LEAST = (0.01, 0.01, 0.01, 0.1, 0.1, 0.1, 0.01)
_MOST = (10.0, 10.0, 10.0, 3.0, 3.0, 100.0, 1.0)
#: Weight of the pull, of squared logarithms against the mean loss of a row.
_PULL = 5e-6
_PASSES = 60
#: Fewest shapes of a profile that are worth a draw: power is read beside a few of its times. Of
#: draws with an error of 3 % in each reading, eight shapes find the rest within 2 % in the median.
FEWEST_PROFILED = 8


@dataclass(frozen=True)
class Powers:
    """Rows of a power table as a fit sees them, (rows,) each.

    `compute`, `memory`: shares of peak and bandwidth reached, 0..1; `spread`: of multiprocessors
    with work. `watts` of the board; `idle` and `limit` of the device. `keys`: one per shape.
    """

    compute: Floats
    memory: Floats
    spread: Floats
    seconds: Floats
    watts: Floats
    idle: Floats
    limit: Floats
    keys: Sequence[tuple[object, ...]]

    def chosen(self, at: Floats) -> Powers:
        """The rows where `at` is true."""
        return Powers(
            self.compute[at], self.memory[at], self.spread[at], self.seconds[at], self.watts[at],
            self.idle[at], self.limit[at],
            [key for key, own in zip(self.keys, at.tolist(), strict=True) if own],
        )  # fmt: skip


@dataclass(frozen=True)
class PowerError:
    """Absolute relative errors of predicted watts."""

    median: float
    mean: float


@dataclass(frozen=True)
class FittedPower:
    """What one sort of kernel in one dtype draws, and how well that fits.

    `plain`: of the linear weights that hold for whatever was not measured; `sample`: of the rows
    themselves; `holdout`: of each row by a fit without the shapes of its part; `long`: of these the
    rows above 50 µs (of all, if there are none). `measured` and `predicted` (hold-out) watts.
    """

    operator: str
    dtype: str
    draw: Draw
    rows: int
    plain: PowerError
    sample: PowerError
    holdout: PowerError
    long: PowerError
    measured: Floats
    predicted: Floats


def calibrate_power(
    tables: Iterable[Table], sheets: Mapping[str, Sheet], idle: float, fewest: int = FEWEST
) -> list[FittedPower]:
    """A draw for every operator and dtype in tables of power for which there is a data sheet.

    `sheets` by dtype; `idle` watts of the device. Dtypes with fewer than `fewest` shapes are left
    out.
    """
    found = []
    for name, dtype, rows in joined(tables):
        if dtype not in sheets:
            continue
        points = KNOWN[name].points(rows, sheets[dtype], dtype)
        if len(set(points.keys)) >= fewest:
            found.append(fitted_power(name, dtype, powers(points, rows, idle)))
    return found


def powers(points: Points, rows: pd.DataFrame, idle: float) -> Powers:
    """Rows of one operator and dtype, with columns ``seconds``, ``watts`` and ``limit``."""
    seconds, watts, limit = (
        rows[name].to_numpy(np.float64) for name in ("seconds", "watts", "limit")
    )
    compute = np.clip(points.compute / seconds, 0.0, 1.0)
    memory = np.clip(points.memory / seconds, 0.0, 1.0)
    tiled = points.axes["waves"] if "fill" in points.axes else np.ones(len(watts))
    spread, rest = np.minimum(tiled, 1.0), np.full(len(watts), idle)
    return Powers(compute, memory, spread, seconds, watts, rest, limit, points.keys)


def fitted_power(operator: str, dtype: str, rows: Powers) -> FittedPower:
    """The fit of one operator and dtype, with its errors."""
    draw = fit_draw(rows)
    held = np.empty(len(rows.watts))
    part = folds(rows.keys, FOLDS)
    for each in range(FOLDS):
        out = part == each
        if out.any():
            seen = rows.chosen(~out) if not out.all() else rows
            held[out] = watts(fit_draw(seen), rows.chosen(out))
    linear = WEIGHTS.busy + WEIGHTS.compute * rows.compute + WEIGHTS.memory * rows.memory
    plain = rows.idle + (rows.limit - rows.idle) * np.minimum(linear, 1.0)
    before, sample, after = (
        power_error(each, rows.watts) for each in (plain, watts(draw, rows), held)
    )
    told = rows.seconds > LONG
    long = power_error(held[told], rows.watts[told]) if told.any() else after
    return FittedPower(
        operator, dtype, draw, len(rows.watts), before, sample, after, long, rows.watts, held
    )


def watts(draw: Draw, rows: Powers) -> Floats:
    """Predicted watts of every row, (rows,)."""
    drawn = share(draw, rows.compute, rows.memory, rows.seconds, rows.spread)
    return rows.idle + (rows.limit - rows.idle) * drawn


def power_error(predicted: Floats, measured: Floats) -> PowerError:
    """Median and mean of |predicted / measured − 1|."""
    gap = np.abs(predicted / measured - 1.0)
    return PowerError(float(np.median(gap)), float(gap.mean()))


def class_draw(devices: Sequence[Powers]) -> Draw:
    """One draw for several devices, each with the same weight; raises ValueError without any."""
    if not devices:
        raise ValueError("no device to fit")
    weight = np.concatenate([np.full(len(d.watts), 1.0 / len(d.watts)) for d in devices])
    return fit_draw(together(devices), weight)


def together(parts: Sequence[Powers]) -> Powers:
    """The rows of several, one after another."""
    compute, memory, spread, seconds, drawn, idle, limit = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("compute", "memory", "spread", "seconds", "watts", "idle", "limit")
    )
    keys = [key for part in parts for key in part.keys]
    return Powers(compute, memory, spread, seconds, drawn, idle, limit, keys)


def fit_draw(rows: Powers, weight: Floats | None = None) -> Draw:
    """The draw whose watts come nearest; `weight` of each row, alike without.

    Raises ValueError without rows.
    """
    if not len(rows.watts):
        raise ValueError("nothing to fit")
    weights = np.ones(len(rows.watts)) if weight is None else weight
    weights = weights / weights.sum()
    target = np.log(np.minimum(rows.watts, rows.limit))

    def gaps(values: Floats) -> Floats:
        return np.asarray(np.log(watts(_draw(values), rows)) - target)

    found = _draw(_least(gaps, weights))
    return found if (rows.spread < 1.0).any() else replace(found, spread=0.0)


def _draw(values: Floats) -> Draw:
    """From logarithms in the order of `_START`."""
    busy, compute, memory, p, q, settle, spread = np.exp(values).tolist()
    return Draw(busy, compute, memory, p, q, settle * 1e-6, spread)


def _least(gaps: Callable[[Floats], Floats], weight: Floats) -> Floats:
    """Levenberg-Marquardt from `_START` inside the bounds, with the loss of Huber."""
    start, least, most = (np.log(each) for each in (_START, _LEAST, _MOST))
    values, damp, step = start.copy(), 1e-2, 1e-4 * np.eye(len(start))
    left = gaps(values)
    loss = _loss(left, weight, values - start)
    for _ in range(_PASSES):
        slope = np.stack([(gaps(values + own) - left) / 1e-4 for own in step], axis=1)
        robust = weight / np.maximum(np.abs(left) / HUBER, 1.0)
        normal = slope.T @ (slope * robust[:, None]) + 2 * _PULL * np.eye(len(start))
        downhill = slope.T @ (left * robust) + 2 * _PULL * (values - start)
        better = False
        while damp < 1e6 and not better:
            move = np.linalg.solve(normal + damp * np.diag(np.diag(normal)), downhill)
            tried = np.clip(values - np.clip(move, -1.0, 1.0), least, most)
            tried_left = gaps(tried)
            tried_loss = _loss(tried_left, weight, tried - start)
            better = tried_loss < loss
            damp = max(damp / 4.0, 1e-6) if better else damp * 4.0
        done = not better or loss - tried_loss < 1e-7 * loss
        if better:
            values, left, loss = tried, tried_left, tried_loss
        if done:
            break
    return np.asarray(values)


def _loss(left: Floats, weight: Floats, away: Floats) -> float:
    size = np.abs(left)
    each = np.where(size < HUBER, 0.5 * left**2, HUBER * (size - 0.5 * HUBER))
    return float((weight * each).sum() + _PULL * (away**2).sum())
