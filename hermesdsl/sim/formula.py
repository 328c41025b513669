"""Amounts that depend on the request: numbers, distributions and formulas as functions.

A value of a stage (its service time, the tokens it appends or produces) becomes a function of the
thread that visits the stage and of how often that request was there before. Knows no clock.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from math import floor, inf, isfinite, nan
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.graph.types import Guard, Spec, Value
from hermesdsl.sim.condition import ATTRIBUTES, NUMBERS, attribute, condition, names_read
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.lengths import distribution

if TYPE_CHECKING:
    from hermesdsl.sim.load import Offered
    from hermesdsl.sim.walk import Thread

#: A number for a thread at its k-th pass (from 0).
Amount: TypeAlias = "Callable[[Thread, int], float]"

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
        "//": operator.floordiv, "%": operator.mod, "**": operator.pow,
    }
)  # fmt: skip


def amount(value: Value, path: str, chance: Chance, least: float = 0.0) -> Amount:
    """`value` in SI units or tokens, as a function; draws are named `path`. Raises `SpecError`.

    So does the function, for a formula that comes to less than `least` or to no finite number.
    """
    if isinstance(value, Spec):
        if value.name == "formula":
            return _checked(_formula(value, path, chance), path, chance.offered, least)
        draws = chance.draws(path, distribution(value).quantile)
        return lambda thread, turn: draws(thread.request, turn)
    assert isinstance(value, int | float)
    constant = float(value)
    return lambda thread, turn: constant


def _checked(exact: Amount, path: str, offered: Offered, least: float) -> Amount:
    """A formula whose value is told to be impossible rather than used."""

    def value(thread: Thread, turn: int) -> float:
        try:
            found = exact(thread, turn)
        except (ArithmeticError, TypeError, ValueError):
            found = nan
        if least <= found < inf:
            return found
        shown = "no finite number" if not isfinite(found) else f"{found:g}"
        message = f"the formula `{path}` comes to {shown}"
        request = f"note: for a request with prompt {offered.prompts[thread.request]} tok, "
        request += f"output {offered.outputs[thread.request]} tok, context {thread.context} tok"
        help_ = f"help: make it at least {least:g} for every request"
        notes = (request,) if not isfinite(found) else (request, help_)
        raise SpecError([error("HMS304", message, notes=notes)])

    return value


def whole(value: Value, path: str, chance: Chance, least: int) -> Callable[[Thread, int], int]:
    """The same in whole tokens, rounded half up, and no fewer than `least` of them."""
    if isinstance(value, int | float):
        constant = max(floor(value + 0.5), least)
        return lambda thread, turn: constant
    exact = amount(value, path, chance, -inf)
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
        if operands[0] not in NUMBERS:
            message = f"`{operands[0]}` of a request cannot be computed with in a formula"
            raise SpecError([error("HMS506", message)])
        return
    for operand in operands:
        if not isinstance(operand, Guard):
            check(operand)
            continue
        for name in sorted(names_read(operand) - set(ATTRIBUTES)):
            message = f"`{name}` of a request cannot be read in a formula"
            raise SpecError([error("HMS506", message)])


def _formula(spec: Spec, path: str, chance: Chance) -> Amount:
    op, operands = spec.args["op"], spec.args["operands"]
    assert isinstance(operands, tuple)
    if op == "attribute":
        read = attribute(str(operands[0]), chance.offered)
        return lambda thread, turn: float(read(thread))
    if isinstance(operands[0], Guard):
        test = condition(operands[0], chance.offered)
        then, otherwise = (
            _part(part, f"{path}/{place}", chance) for place, part in enumerate(operands[1:])
        )
        return lambda thread, turn: then(thread, turn) if test(thread) else otherwise(thread, turn)
    parts = [_part(part, f"{path}/{place}", chance) for place, part in enumerate(operands)]
    if len(parts) == 1:
        (only,) = parts
        if op == "-":
            return lambda thread, turn: -only(thread, turn)
        return only
    left, right = parts
    apply = _OPERATORS[str(op)]
    return lambda thread, turn: float(apply(left(thread, turn), right(thread, turn)))


def _part(value: Value, path: str, chance: Chance) -> Amount:
    if isinstance(value, Spec) and value.name == "formula":
        return _formula(value, path, chance)
    return amount(value, path, chance)
