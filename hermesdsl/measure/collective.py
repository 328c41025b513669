"""Collectives that were timed inside a node, as grids of a calibration.

Fits how much of the α-β model's speed messages reach over members and bytes. Knows columns of
measurements; no files, and no other operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import Efficiencies, Overheads
from hermesdsl.cost.operator import Operator
from hermesdsl.graph.types import Fabric, Grid
from hermesdsl.measure.fit import Floats, Penalty, fit, folds, grids, predict, term

#: Median errors are those of messages of at least this many bytes: shorter ones are launches.
LARGE = 4e6
#: Parts that the messages are dealt into to find the error of a fit.
HELD = 5
#: Few rows, little noise: the fit follows them closely.
STIFF = Penalty(bend=0.05, size=0.005)

_BYTES = tuple(float(2**n) for n in (8, 12, 14, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 28, 30))


@dataclass(frozen=True)
class Fitted:
    """Grids, the rows they rest on, and median errors of messages above `LARGE`.

    `error`: of the rows fitted; `held`: of each by a fit without its part of five; `plain`: of the
    data-sheet model with the efficiencies of its class. `volume`: bytes; `measured`, `predicted`
    (hold-out) and `unfitted` (the model of `plain`) seconds, all (rows,).
    """

    grids: tuple[Grid, ...]
    rows: int
    error: float
    held: float
    plain: float
    volume: Floats
    measured: Floats
    predicted: Floats
    unfitted: Floats


def fit_collective(
    kind: str, link: Fabric, efficiencies: Efficiencies, overheads: Overheads,
    rows: Mapping[str, Floats],
) -> Fitted:  # fmt: skip
    """Of one sort of message over members that are near; columns members, bytes, seconds.

    `link`: α, bandwidth of one member and hops; its size is not used. `kind` as in
    `schema.calibration.COLLECTIVES`. Errors are those of messages above `LARGE`. Raises ValueError
    without rows.
    """
    members, volume, measured = rows["members"], rows["bytes"], rows["seconds"]
    if not len(measured):
        raise ValueError(f"no time of `{kind}` to fit")
    plain = np.array([
        _seconds(kind, replace(link, size=int(n)), efficiencies, overheads, v)
        for n, v in zip(members.tolist(), volume.tolist(), strict=True)
    ])  # fmt: skip
    points = {"members": members, "bytes": volume}
    terms = (term(members=sorted(set(members.tolist())), bytes=_BYTES),)
    target, weight = np.log(plain / measured), np.ones(len(measured))
    values = fit(terms, points, target, weight, STIFF)
    fold = folds(list(zip(members.tolist(), volume.tolist(), strict=True)), HELD)
    predicted = plain.copy()
    for part in range(HELD):
        out = fold == part
        if out.any() and not out.all():
            seen = {name: column[~out] for name, column in points.items()}
            own = fit(terms, seen, target[~out], weight[~out], STIFF)
            left = {name: column[out] for name, column in points.items()}
            predicted[out] = plain[out] / np.exp(predict(terms, own, left))
    large = volume >= LARGE
    fitted = plain / np.exp(predict(terms, values, points))
    return Fitted(
        grids(terms, values), len(measured), _median((fitted / measured)[large]),
        _median((predicted / measured)[large]), _median((plain / measured)[large]),
        volume, measured, predicted, plain,
    )  # fmt: skip


def _seconds(
    kind: str, fabric: Fabric, efficiencies: Efficiencies, overheads: Overheads, volume: float
) -> float:
    made: Operator = getattr(Collectives(fabric, efficiencies, overheads), kind)(kind, 1, volume)
    return made.seconds


def _median(ratio: Floats) -> float:
    return float(np.median(np.abs(ratio - 1.0))) if len(ratio) else 0.0
