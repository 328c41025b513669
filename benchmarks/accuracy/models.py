"""Seconds of rows by calibrations of the library, and of messages over links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.accuracy.report import Floats
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import VLLM, Efficiencies
from hermesdsl.graph.types import Calibration, Fabric, Grid
from hermesdsl.measure.classes import SHEET_ALONE
from hermesdsl.measure.fit import Term, predict
from hermesdsl.measure.operators import Points

if TYPE_CHECKING:
    pass

#: Nothing below its data sheet: links and their messages too.
FULL: Efficiencies = replace(
    SHEET_ALONE, link=1.0, link_few=0.0, link_fill=0.0, pair=1.0, pair_fill=0.0, direct=1.0,
    direct_one=1.0,
)  # fmt: skip


def shipped(
    calibration: Calibration | None, operator: str, dtype: str, points: Points
) -> Floats | None:
    """Seconds by a calibration of the library, (rows,); None if it does not speak of these."""
    found = calibration.operators.get(operator, {}) if calibration is not None else {}
    alike = {"fp16": "bf16", "bf16": "fp16"}
    own = [grid for grid in found.get(dtype) or found.get(alike.get(dtype, dtype), ())
           if not grid.measured]  # fmt: skip
    if not own or not all(axis in points.axes for grid in own for axis in grid.axes):
        return None
    return points.reference / np.exp(factors(own, points.axes))


def factors(grids: list[Grid], axes: Mapping[str, Floats]) -> Floats:
    """Sum of the logarithms of grids at every point, (rows,)."""
    terms = [Term(grid.axes, grid.knots) for grid in grids]
    return predict(terms, [np.log(np.asarray(grid.values)) for grid in grids], axes)


def sent(
    kind: str, link: Fabric, members: Floats, volume: Floats, efficiencies: Efficiencies,
    calibration: Calibration | None = None, direct: bool = True,
) -> Floats:  # fmt: skip
    """Seconds of messages between near devices, (rows,); without `direct` as NCCL sends them."""
    found = []
    for n, v in zip(members.tolist(), volume.tolist(), strict=True):
        fabric = replace(link, size=int(n))
        way = Collectives(fabric, efficiencies, VLLM.overheads, calibration, direct=direct)
        found.append(getattr(way, kind)(kind, 1, v).seconds)
    return np.array(found)
