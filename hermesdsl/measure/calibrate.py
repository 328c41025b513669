"""From tables and data sheets to fitted grids, with their errors on shapes they have not seen.

Knows tables, operators and fits; no language, no file to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hermesdsl.graph.types import Grid
from hermesdsl.measure.attention import DECODE, PREFILL
from hermesdsl.measure.fit import Floats, Term, fit, folds, grids, predict
from hermesdsl.measure.operators import OPERATORS, Fittable, Points, Sheet
from hermesdsl.measure.tables import Table

if TYPE_CHECKING:
    import pandas as pd

#: Every operator that is fitted, by name.
KNOWN: Mapping[str, Fittable] = {**OPERATORS, PREFILL.name: PREFILL, DECODE.name: DECODE}

#: Rows below this many seconds are mostly launch: they count a quarter, and no error is told.
LONG = 50e-6
SHORT_WEIGHT = 0.25
#: Parts that the shapes are dealt into for the hold-out error.
FOLDS = 5
#: Fewest shapes that are worth a fit.
FEWEST = 20


@dataclass(frozen=True)
class Error:
    """Absolute relative errors of predicted times: median, and the one that 90 % stay below."""

    median: float
    p90: float


@dataclass(frozen=True)
class Fitted:
    """One operator and dtype: its grids, and how well they do.

    `rows` in all, `long` of them above 50 µs, on which the errors are told (on all rows if there
    are none). `roofline`: the naive model; `sample`: of the rows themselves; `holdout`: of each
    row by a fit without the shapes of its part. `measured` and `predicted` (hold-out) seconds.
    """

    operator: str
    dtype: str
    grids: tuple[Grid, ...]
    rows: int
    long: int
    roofline: Error
    sample: Error
    holdout: Error
    measured: Floats
    predicted: Floats


def calibrate(tables: Iterable[Table], sheets: Mapping[str, Sheet]) -> list[Fitted]:
    """A fit for every operator and dtype in the tables for which there is a data sheet.

    `sheets` by dtype. Tables of one operator are joined; dtypes with fewer than 20 shapes are
    left out.
    """
    found = []
    for name, dtype, rows in joined(tables):
        sheet = sheets.get(dtype)
        if sheet is None:
            continue
        operator = KNOWN[name]
        points = operator.points(rows, sheet, dtype)
        if len(set(points.keys)) >= FEWEST:
            found.append(fitted(operator, dtype, points, rows["seconds"].to_numpy(np.float64)))
    return found


def joined(tables: Iterable[Table]) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Operator, dtype and rows of tables, those of one operator and dtype together."""
    import pandas as pd

    frames: dict[str, list[pd.DataFrame]] = {}
    for table in tables:
        frames.setdefault(table.operator, []).append(table.frame)
    for name, parts in frames.items():
        whole = pd.concat(parts, ignore_index=True)
        for dtype, rows in whole.groupby("dtype", sort=True):
            yield name, str(dtype), rows


def fitted(operator: Fittable, dtype: str, points: Points, seconds: Floats) -> Fitted:
    """The fit of one operator and dtype to measured `seconds`, (rows,)."""
    terms = [trimmed(each, points.axes) for each in operator.terms]
    target = np.log(points.reference / seconds)
    weight = np.where(seconds > LONG, 1.0, SHORT_WEIGHT)
    values = fit(terms, points.axes, target, weight, operator.penalty)
    sample = points.reference / np.exp(predict(terms, values, points.axes))
    held = np.empty(len(seconds))
    part = folds(points.keys, FOLDS)
    for each in range(FOLDS):
        out = part == each
        if not out.any():
            continue
        seen = _rows(points.axes, ~out)
        part_values = fit(terms, seen, target[~out], weight[~out], operator.penalty)
        left = _rows(points.axes, out)
        held[out] = points.reference[out] / np.exp(predict(terms, part_values, left))
    told = seconds > LONG
    if not told.any():
        told = np.ones(len(seconds), bool)
    roofline, inside, outside = (
        _error(p[told], seconds[told]) for p in (points.roofline, sample, held)
    )
    return Fitted(
        operator.name, dtype, grids(terms, values), len(seconds), int((seconds > LONG).sum()),
        roofline, inside, outside, seconds, held,
    )  # fmt: skip


def trimmed(term: Term, points: Mapping[str, Floats]) -> Term:
    """The same without knots that no point lies near: one beyond the data on each side stays."""
    knots = []
    for axis, own in zip(term.axes, term.knots, strict=True):
        low, high = float(points[axis].min()), float(points[axis].max())
        first = max([i for i, knot in enumerate(own) if knot <= low], default=0)
        last = min([i for i, knot in enumerate(own) if knot >= high], default=len(own) - 1)
        knots.append(own[first : last + 1])
    return Term(term.axes, tuple(knots))


def _rows(axes: Mapping[str, Floats], chosen: Sequence[bool] | Floats) -> dict[str, Floats]:
    return {name: values[chosen] for name, values in axes.items()}


def _error(predicted: Floats, measured: Floats) -> Error:
    gap = np.abs(predicted / measured - 1.0)
    return Error(float(np.median(gap)), float(np.quantile(gap, 0.9)))
