"""How much of a data-sheet model's speed kernels reach at a shape: grids of a calibration, read.

log u is linear between knots in the logarithm of each coordinate and constant outside, so that
far from everything measured the data-sheet model alone says how times grow. Knows no formula and
no device.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from math import exp, log

from hermesdsl.cost.provenance import CALIBRATED, DATASHEET, MEASURED
from hermesdsl.graph.types import Calibration, Grid
from hermesdsl.schema.calibration import COORDINATES

#: Types that run on the same units at the same rate: a calibration of one serves the other.
_ALIKE = {"fp16": "bf16", "bf16": "fp16"}
#: How near a shape must lie to the single knot of an axis of measurements, in log.
_SAME = 1e-9


class Lookup:
    """One grid over an operator's coordinates, given in the order of `COORDINATES`."""

    def __init__(self, grid: Grid, coordinates: tuple[str, ...], values: tuple[float, ...]) -> None:
        self._axes = [
            (coordinates.index(axis), [log(knot) for knot in knots])
            for axis, knots in zip(grid.axes, grid.knots, strict=True)
        ]
        self._values = [log(value) for value in values]

    def holds(self, logs: tuple[float, ...]) -> bool:
        """Whether a shape lies between the knots of every axis."""
        return all(
            knots[0] - _SAME <= logs[place] <= knots[-1] + _SAME for place, knots in self._axes
        )

    def at(self, logs: tuple[float, ...]) -> float:
        """log u at a shape, given by the logarithms of its coordinates."""
        corners = [(0, 1.0)]
        for place, knots in self._axes:
            size, x = len(knots), logs[place]
            if x <= knots[0]:
                corners = [(base * size, share) for base, share in corners]
                continue
            if x >= knots[-1]:
                corners = [(base * size + size - 1, share) for base, share in corners]
                continue
            low = bisect_right(knots, x) - 1
            part = (x - knots[low]) / (knots[low + 1] - knots[low])
            corners = [
                corner
                for base, share in corners
                for corner in (
                    (base * size + low, share * (1.0 - part)),
                    (base * size + low + 1, share * part),
                )
            ]
        values = self._values
        return sum(share * values[place] for place, share in corners)


class Utilisation:
    """All grids of one operator and dtype: `at(shape)` gives (u, rung).

    `seconds(*shape)`, the data-sheet model, turns measured times into utilisation at their knots.
    Without grids u is 1 on the rung of data sheets.
    """

    def __init__(
        self, grids: tuple[Grid, ...], operator: str, seconds: Callable[..., float] | None = None
    ) -> None:
        names = COORDINATES[operator]
        self._fitted = [Lookup(g, names, g.values) for g in grids if not g.measured]
        self._measured = []
        if seconds is not None:
            self._measured = [
                Lookup(g, names, _reached(g, names, seconds)) for g in grids if g.measured
            ]

    def __bool__(self) -> bool:
        """Whether there is anything to look up."""
        return bool(self._fitted or self._measured)

    def at(self, *shape: float) -> tuple[float, str]:
        """The factor on speed and its rung, for coordinates in the order of `COORDINATES`.

        Coordinates below 1e-9 count as that.
        """
        logs = tuple([log(x) if x > 1e-9 else -20.72 for x in shape])
        for lookup in self._measured:
            if lookup.holds(logs):
                return exp(lookup.at(logs)), MEASURED
        if not self._fitted:
            return 1.0, DATASHEET
        total = 0.0
        for lookup in self._fitted:
            total += lookup.at(logs)
        return exp(total), CALIBRATED


def grids_of(calibration: Calibration | None, operator: str, dtype: str) -> tuple[Grid, ...]:
    """The grids of an operator in a dtype; none without a calibration that has it."""
    if calibration is None:
        return ()
    found = calibration.operators.get(operator, {})
    return found.get(dtype) or found.get(_ALIKE.get(dtype, dtype), ())


def _reached(
    grid: Grid, names: tuple[str, ...], seconds: Callable[..., float]
) -> tuple[float, ...]:
    """Model time over measured time at every combination of knots; absent axes stand at 1."""
    shapes: list[dict[str, float]] = [{}]
    for axis, knots in zip(grid.axes, grid.knots, strict=True):
        shapes = [{**shape, axis: knot} for shape in shapes for knot in knots]
    return tuple(
        seconds(*(shape.get(name, 1.0) for name in names)) / time
        for shape, time in zip(shapes, grid.values, strict=True)
    )
