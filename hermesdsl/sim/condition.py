"""Conditions on a request as functions of the thread that meets them. Knows no clock or client."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from hermesdsl.graph.types import Guard

if TYPE_CHECKING:
    from hermesdsl.sim.load import Offered
    from hermesdsl.sim.walk import Thread

Test: TypeAlias = "Callable[[Thread], bool]"
#: What a condition or formula reads of a thread.
Attribute: TypeAlias = "Callable[[Thread], Any]"

#: Verdicts that a stage leaves.
PASS, FAIL = "pass", "fail"

#: What a request has that formulas may compute with, and all that conditions may read.
NUMBERS = ("prompt", "output", "context", "cached", "turn")
ATTRIBUTES = (*NUMBERS, "class", "model", "verdict")

_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
        ">": operator.gt, ">=": operator.ge,
    }
)  # fmt: skip


def attribute(name: str, offered: Offered) -> Attribute:
    """The attribute of a request by its name in the language; see `ATTRIBUTES`."""
    if name in ("context", "cached", "verdict", "model"):
        return operator.attrgetter(name)
    if name == "class":
        names = [offered.classes[index] for index in offered.klass.tolist()]
        return lambda thread: names[thread.request]
    columns = {"prompt": offered.prompts, "output": offered.outputs, "turn": offered.turns}
    column = columns[name]
    return lambda thread: column[thread.request]


def condition(guard: Guard, offered: Offered) -> Test:
    """A condition on the request as a function."""
    if guard.op in ("and", "or"):
        left, right = (condition(part, offered) for part in _guards(guard))
        if guard.op == "and":
            return lambda thread: left(thread) and right(thread)
        return lambda thread: left(thread) or right(thread)
    if guard.op == "not":
        (inner,) = (condition(part, offered) for part in _guards(guard))
        return lambda thread: not inner(thread)
    if guard.op not in _COMPARISONS:
        name = str(guard.operands[0]) if guard.operands else guard.op
        read = attribute(name, offered)
        if name == "verdict":
            return lambda thread: read(thread) == PASS
        return lambda thread: bool(read(thread))
    compare = _COMPARISONS[guard.op]
    one, other = (_operand(part, offered) for part in guard.operands)
    return lambda thread: compare(one(thread), other(thread))


def names_read(guard: Guard) -> set[str]:
    """The attributes of a request that a condition reads."""
    found: set[str] = set()
    for part in guard.operands:
        if isinstance(part, Guard):
            found |= names_read(part)
        elif isinstance(part, str) and not part.startswith("="):
            found.add(part)
    return found


def _guards(guard: Guard) -> list[Guard]:
    return [part for part in guard.operands if isinstance(part, Guard)]


def _operand(part: Guard | str | float | bool, offered: Offered) -> Callable[[Thread], Any]:
    if isinstance(part, str) and not part.startswith("="):
        return attribute(part, offered)
    constant = part[1:] if isinstance(part, str) else part
    return lambda thread: constant
