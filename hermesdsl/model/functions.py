"""Built-in functions of expressions: a fixed list over numbers, quantities and lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from hermesdsl.model.values import Interval, text
from hermesdsl.units.quantity import (
    Numeric,
    Quantity,
    UnitError,
    add,
    article,
    dimension_of,
    power,
    si,
)

#: Most items a list may have.
LIST_BUDGET = 10**6


class FunctionError(ValueError):
    """A call that cannot be computed; the message is for a person."""


class BudgetError(ValueError):
    """A result that would be too large; the message is for a person."""


def _numbers(name: str, args: Sequence[Any]) -> list[Numeric]:
    values = list(args)
    if len(args) == 1:  # a list, or a selection of which nothing is left
        only = args[0] if isinstance(args[0], list | tuple) else getattr(args[0], "items", None)
        values = list(only) if isinstance(only, list | tuple) else values
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | Quantity):
            raise FunctionError(f"`{name}` takes numbers or quantities")
    return values


def _sum(*args: Any) -> Any:
    values = _numbers("sum", args)
    total: Numeric = 0
    for index, value in enumerate(values):
        total = value if index == 0 else add(total, value)
    return total


def _extreme(name: str, pick: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        values = _numbers(name, args)
        if not values:
            raise FunctionError(f"`{name}` of nothing")
        for value in values[1:]:
            add(values[0], value)  # raises UnitError if they cannot be compared
        return pick(values, key=si)

    return call


def _same_unit(name: str, apply: Callable[[float], float]) -> Callable[..., Any]:
    def call(value: Any) -> Any:
        (number,) = _numbers(name, [value])
        if isinstance(number, Quantity):
            factor = number.unit.factor if number.unit else 1
            return Quantity(apply(number.value / factor) * factor, number.dimension, number.unit)
        return apply(number)

    return call


def _plain(name: str, apply: Callable[[float], float]) -> Callable[..., Any]:
    def call(value: Any) -> Any:
        (number,) = _numbers(name, [value])
        if not dimension_of(number).is_countlike:
            raise UnitError(f"`{name}` takes a number, not {article(dimension_of(number))}")
        return apply(si(number))

    return call


def _range(*args: Any) -> list[int]:
    whole = []
    for arg in args:
        value = si(arg) if isinstance(arg, int | float | Quantity) else arg
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise FunctionError("`range` takes whole numbers")
        whole.append(int(value))
    if len(whole) == 3 and whole[2] == 0:
        raise FunctionError("`range` takes a step that is not 0")
    made = range(*whole)
    size = max(0, -((made.start - made.stop) // made.step))  # len() ends at the machine's words
    if size > LIST_BUDGET:
        raise BudgetError(f"a list of {size} items; the most is {LIST_BUDGET}")
    return list(made)


def _between(low: Any, high: Any) -> Interval:
    _numbers("between", [low, high])
    add(low, high)  # raises UnitError if they cannot be compared
    if si(low) > si(high):
        raise FunctionError(f"`between` takes the smaller end first, found {text(low)} and "
                            f"{text(high)}")  # fmt: skip
    return Interval(low, high)


def _len(value: Any) -> int:
    if isinstance(value, list | tuple):
        return len(value)
    items = getattr(value, "items", None)
    if isinstance(items, list):
        return len(items)
    raise FunctionError("`len` takes a list, a vector or a selection")


def _round(value: Any, digits: Any = 0) -> Any:
    return _same_unit("round", lambda x: round(x, int(si(digits))) if si(digits) else round(x))(
        value
    )


def _logic(name: str, apply: Callable[[Any], bool]) -> Callable[..., Any]:
    def call(values: Any) -> bool:
        if not isinstance(values, list | tuple) or not all(isinstance(v, bool) for v in values):
            raise FunctionError(f"`{name}` takes a list of true and false")
        return apply(values)

    return call


FUNCTIONS: Mapping[str, tuple[Callable[..., Any], int, int]] = MappingProxyType(
    {
        "sum": (_sum, 1, 10**6),
        "min": (_extreme("min", min), 1, 10**6),
        "max": (_extreme("max", max), 1, 10**6),
        "len": (_len, 1, 1),
        "range": (_range, 1, 3),
        "between": (_between, 2, 2),
        "abs": (_same_unit("abs", abs), 1, 1),
        "ceil": (_same_unit("ceil", math.ceil), 1, 1),
        "floor": (_same_unit("floor", math.floor), 1, 1),
        "round": (_round, 1, 2),
        "sqrt": (lambda x: power(x, 0.5) if not isinstance(x, Quantity) else _sqrt(x), 1, 1),
        "log": (_plain("log", math.log), 1, 1),
        "log2": (_plain("log2", math.log2), 1, 1),
        "log10": (_plain("log10", math.log10), 1, 1),
        "exp": (_plain("exp", math.exp), 1, 1),
        "all": (_logic("all", all), 1, 1),
        "any": (_logic("any", any), 1, 1),
    }
)


def _sqrt(value: Quantity) -> Quantity:
    if any(exponent % 2 for exponent in value.dimension):
        raise UnitError(f"`sqrt` of {article(value.dimension)} has no whole dimension")
    halved = type(value.dimension)(*(exponent // 2 for exponent in value.dimension))
    return Quantity(math.sqrt(value.value), halved, None)
