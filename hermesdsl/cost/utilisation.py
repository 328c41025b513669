"""How much of a data-sheet model's speed kernels reach at a shape: grids of a calibration, read.

log u is linear between knots in the logarithm of each coordinate and constant outside, so that
far from everything measured the data-sheet model alone says how times grow. Knows no formula and
no device.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, log

from hermesdsl.cost.provenance import CALIBRATED, DATASHEET, MEASURED
from hermesdsl.graph.types import Calibration, Grid
from hermesdsl.schema.calibration import COORDINATES

#: Types that run on the same units at the same rate: a calibration of one serves the other.
_ALIKE = {"fp16": "bf16", "bf16": "fp16"}
#: How near a shape must lie to the single knot of an axis of measurements, in log.
_SAME = 1e-9
#: The least coordinate that is told from none.
_LEAST = 1e-9


@dataclass(frozen=True)
class Lookup:
    """One grid over an operator's coordinates: (place of the coordinate, log of its knots) each.

    `values` are log u at every combination of knots, the last axis fastest.
    """

    axes: tuple[tuple[int, list[float]], ...]
    values: list[float]

    def holds(self, logs: Mapping[int, float]) -> bool:
        """Whether a shape lies between the knots of every axis."""
        return all(
            knots[0] - _SAME <= logs[place] <= knots[-1] + _SAME for place, knots in self.axes
        )

    def at(self, logs: Mapping[int, float]) -> float:
        """log u at a shape, given by the logarithms of its coordinates, by place."""
        if len(self.axes) == 1:
            return self._between(logs)
        places, shares = [0], [1.0]
        for place, knots in self.axes:
            size, x = len(knots), logs[place]
            low = bisect_right(knots, x) - 1
            if low < 0 or low >= size - 1:
                low = 0 if low < 0 else size - 1
                places = [at * size + low for at in places]
                continue
            part = (x - knots[low]) / (knots[low + 1] - knots[low])
            rest = 1.0 - part
            places = [at * size + low for at in places]
            places += [at + 1 for at in places]
            shares = [share * rest for share in shares] + [share * part for share in shares]
        values = self.values
        total = 0.0
        for at, share in zip(places, shares, strict=True):
            total += share * values[at]
        return total

    def _between(self, logs: Mapping[int, float]) -> float:
        """The same on the only axis."""
        (place, knots), values = self.axes[0], self.values
        x = logs[place]
        low = bisect_right(knots, x) - 1
        if low < 0:
            return values[0]
        if low >= len(knots) - 1:
            return values[-1]
        part = (x - knots[low]) / (knots[low + 1] - knots[low])
        return (1.0 - part) * values[low] + part * values[low + 1]


@dataclass(frozen=True)
class Utilisation:
    """All grids of one operator and dtype: `at(shape)` gives (u, rung).

    Without grids u is 1 on the rung of data sheets. `coordinates` are named in their order; what
    was fitted stands on `rung`.
    """

    coordinates: tuple[str, ...]
    fitted: tuple[Lookup, ...] = ()
    measured: tuple[Lookup, ...] = ()
    rung: str = CALIBRATED

    def __bool__(self) -> bool:
        """Whether there is anything to look up."""
        return bool(self.fitted or self.measured)

    def at(self, *shape: float) -> tuple[float, str]:
        """The factor on speed and its rung, for coordinates in order; tiny ones count as 1e-9."""
        logs = {place: log(x) if (x := shape[place]) > _LEAST else log(_LEAST)
                for place in self._used}  # fmt: skip
        for lookup in self.measured:
            if lookup.holds(logs):
                return exp(lookup.at(logs)), MEASURED
        if not self.fitted:
            return 1.0, DATASHEET
        total = 0.0
        for lookup in self.fitted:
            total += lookup.at(logs)
        return exp(total), self.rung

    @cached_property
    def _used(self) -> tuple[int, ...]:
        """Places of the coordinates that any grid has."""
        found = {place for each in (*self.measured, *self.fitted) for place, _ in each.axes}
        return tuple(sorted(found))

    def fixed(self, **coordinates: float) -> Utilisation:
        """The same where some coordinates never change: less to look up, the same factors."""
        logs = {self.coordinates.index(name): log(max(value, _LEAST))
                for name, value in coordinates.items()}  # fmt: skip
        measured = tuple(_fixed(each, logs) for each in self.measured if _near(each, logs))
        return Utilisation(
            self.coordinates, tuple(_fixed(each, logs) for each in self.fitted), measured,
            self.rung,
        )  # fmt: skip


def utilisation(
    grids: tuple[Grid, ...], operator: str, seconds: Callable[..., float]
) -> Utilisation:
    """Grids of an operator, ready to be looked up.

    `seconds(*shape)`, the data-sheet model, turns measured times into utilisation at their knots.
    """
    names = COORDINATES[operator]
    return Utilisation(
        names,
        tuple(_lookup(g, names, g.values) for g in grids if not g.measured),
        tuple(_lookup(g, names, _reached(g, names, seconds)) for g in grids if g.measured),
    )


def class_utilisation(grids: tuple[Grid, ...], operator: str) -> Utilisation:
    """Grids of a class of devices: factors on the model of that class, on its rung."""
    names = COORDINATES[operator]
    return Utilisation(names, tuple(_lookup(g, names, g.values) for g in grids), (), DATASHEET)


def _lookup(grid: Grid, names: tuple[str, ...], values: tuple[float, ...]) -> Lookup:
    axes = zip(grid.axes, grid.knots, strict=True)
    placed = tuple((names.index(axis), [log(knot) for knot in knots]) for axis, knots in axes)
    return Lookup(placed, [log(value) for value in values])


def _near(lookup: Lookup, logs: Mapping[int, float]) -> bool:
    """Whether the coordinates given lie inside a grid, whatever the others are."""
    return all(
        place not in logs or knots[0] - _SAME <= logs[place] <= knots[-1] + _SAME
        for place, knots in lookup.axes
    )


def _fixed(lookup: Lookup, logs: Mapping[int, float]) -> Lookup:
    """A grid without the axes whose coordinates are given."""
    if not lookup.axes:
        return lookup
    (place, knots), rest = lookup.axes[0], lookup.axes[1:]
    size = len(lookup.values) // len(knots)
    parts = [lookup.values[i * size : (i + 1) * size] for i in range(len(knots))]
    if place not in logs:
        inner = [_fixed(Lookup(rest, part), logs) for part in parts]
        return Lookup(
            ((place, knots), *inner[0].axes), [value for each in inner for value in each.values]
        )
    x = min(max(logs[place], knots[0]), knots[-1])
    low = min(bisect_right(knots, x) - 1, max(len(knots) - 2, 0))
    if len(knots) == 1:
        return _fixed(Lookup(rest, parts[0]), logs)
    share = (x - knots[low]) / (knots[low + 1] - knots[low])
    mixed = [a * (1.0 - share) + b * share
             for a, b in zip(parts[low], parts[low + 1], strict=True)]  # fmt: skip
    return _fixed(Lookup(rest, mixed), logs)


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
