"""Amounts that depend on the request: numbers, distributions and formulas as functions.

A value of a stage (its service time, the tokens it appends or produces) becomes a function of the
thread that visits the stage and of how often that request was there before. Knows no clock.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import floor
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.graph.types import Spec, Value
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.lengths import distribution

if TYPE_CHECKING:
    from hermesdsl.sim.load import Offered
    from hermesdsl.sim.walk import Thread

#: A number for a thread at its k-th pass (from 0).
Amount: TypeAlias = "Callable[[Thread, int], float]"
#: What a condition or formula reads of a thread.
Attribute: TypeAlias = "Callable[[Thread], Any]"

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
        "//": operator.floordiv, "%": operator.mod, "**": operator.pow,
    }
)  # fmt: skip

#: What a request has that conditions and formulas may read here.
ATTRIBUTES = ("prompt", "output", "context", "cached", "turn", "class", "verdict")


def attribute(name: str, offered: Offered) -> Attribute:
    """The attribute of a request by its name in the language; see `ATTRIBUTES`."""
    if name == "context":
        return lambda thread: thread.context
    if name == "cached":
        return lambda thread: thread.cached
    if name == "verdict":
        return lambda thread: thread.verdict
    if name == "class":
        names = [offered.classes[index] for index in offered.klass.tolist()]
        return lambda thread: names[thread.request]
    columns = {"prompt": offered.prompts, "output": offered.outputs, "turn": offered.turns}
    column = columns[name]
    return lambda thread: column[thread.request]


def amount(value: Value, path: str, chance: Chance) -> Amount:
    """`value` in SI units or tokens, as a function; draws are named `path`. Raises `SpecError`."""
    if isinstance(value, Spec):
        if value.name == "formula":
            return _formula(value, path, chance)
        draws = chance.draws(path, distribution(value).quantile)
        return lambda thread, turn: draws(thread.request, turn)
    assert isinstance(value, int | float)
    constant = float(value)
    return lambda thread, turn: constant


def whole(value: Value, path: str, chance: Chance, least: int) -> Callable[[Thread, int], int]:
    """The same in whole tokens, rounded half up, at least `least`."""
    if isinstance(value, int | float):
        constant = max(floor(value + 0.5), least)
        return lambda thread, turn: constant
    exact = amount(value, path, chance)
    return lambda thread, turn: max(floor(exact(thread, turn) + 0.5), least)


def check(value: Value) -> None:
    """Raise `SpecError` (HMS506, HMS601) for a value that `amount` cannot make a function of."""
    if not isinstance(value, Spec):
        return
    if value.name != "formula":
        distribution(value)
        return
    operands = value.args["operands"]
    assert isinstance(operands, tuple)
    if value.args["op"] == "attribute":
        if operands[0] not in ATTRIBUTES:
            message = f"`{operands[0]}` of a request cannot be read in a formula yet"
            raise SpecError([error("HMS506", message)])
        return
    for operand in operands:
        check(operand)


def _formula(spec: Spec, path: str, chance: Chance) -> Amount:
    op, operands = spec.args["op"], spec.args["operands"]
    assert isinstance(operands, tuple)
    if op == "attribute":
        read = attribute(str(operands[0]), chance.offered)
        return lambda thread, turn: float(read(thread))
    parts = [amount(part, f"{path}/{place}", chance) for place, part in enumerate(operands)]
    if len(parts) == 1:
        (only,) = parts
        if op == "-":
            return lambda thread, turn: -only(thread, turn)
        return only
    left, right = parts
    apply = _OPERATORS[str(op)]
    return lambda thread, turn: float(apply(left(thread, turn), right(thread, turn)))
