"""From a `calibration` of the language to grids, each checked against its axes.

Knows what a grid must be, and the names of coordinates. Must not know formulas or devices.
"""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.graph.types import Calibration, Draw, Grid
from hermesdsl.model.instance import Instance
from hermesdsl.model.values import ComputedValue, Fail
from hermesdsl.schema.calibration import COORDINATES
from hermesdsl.units.quantity import number_text, si

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

#: The argument of each setting that holds its values.
_VALUES = {"grid": "factor", "measured": "time"}


def calibration(builder: Builder, instance: Instance) -> Calibration:
    """The grids of a calibration by operator and dtype; raises `Fail` at a grid that is none.

    HMS305 for an axis that its operator has not, HMS306 for knots that do not ascend or values
    that are not one for each combination of knots.
    """
    operators: dict[str, dict[str, tuple[Grid, ...]]] = {}
    for name in COORDINATES:
        entries = builder.get(instance, name) or {}
        found = {dtype: tuple(_grid(name, item) for item in grids)
                 for dtype, grids in entries.items()}  # fmt: skip
        if found:
            operators[name] = found
    source = str(builder.get(instance, "source") or "")
    return Calibration(instance.name, operators, source, instance.doc, _power(builder, instance))


def _power(builder: Builder, instance: Instance) -> dict[str, dict[str, Draw]]:
    """What kernels draw, by operator and dtype; HMS306 for one given twice, or odd `blocks`."""
    found: dict[str, dict[str, Draw]] = {}
    for operator, settings in (builder.get(instance, "power") or {}).items():
        own = found.setdefault(operator, {})
        for setting in settings:
            values = dict(setting.args)
            blocks = bool(values.pop("blocks"))
            dtype = str(values.pop("dtype")) + "_block" * blocks
            if blocks and (operator, dtype) != ("moe", "fp8_block"):
                message = "`blocks` is for experts with weights of fp8"
                raise Fail(error("HMS306", message, setting.span))
            if dtype in own:
                message = f"`power.{operator}` has `{dtype}` twice"
                raise Fail(error("HMS306", message, setting.span))
            own[dtype] = Draw(**{name: float(si(value)) for name, value in values.items()})
    return found


def _grid(operator: str, setting: ComputedValue) -> Grid:
    key = _VALUES[setting.name]
    values = tuple(float(si(value)) for value in setting.args[key])
    axes = {name: tuple(float(si(knot)) for knot in knots)
            for name, knots in setting.args.items() if name != key}  # fmt: skip
    known = COORDINATES[operator]
    for axis, knots in axes.items():
        if axis not in known:
            notes = suggestion(axis, known) or (f"help: its axes are {', '.join(known)}",)
            message = f"`{operator}` has no axis `{axis}`"
            raise Fail(error("HMS305", message, setting.span, notes=notes))
        for low, high in pairwise(knots):
            if not low < high:
                message = f"knots of `{axis}` must ascend: {number_text(high)} after "
                raise Fail(error("HMS306", message + number_text(low), setting.span))
    wanted = prod(len(knots) for knots in axes.values())
    if len(values) != wanted:
        sizes = " x ".join(f"{len(knots)} `{axis}`" for axis, knots in axes.items())
        message = f"`{setting.name}` has {len(values)} of `{key}`, its knots make {wanted}"
        notes = (f"help: one for each of {sizes}" if sizes else "help: without axes, one",)
        raise Fail(error("HMS306", message, setting.span, notes=notes))
    return Grid(tuple(axes), tuple(axes.values()), values, measured=setting.name == "measured")
