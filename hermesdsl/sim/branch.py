"""Where a request goes after a stage: on, to several at once, or into one arm of a branch.

Conditions on the request are tried in their order; what none of them takes is split by shares,
with one draw per request and pass; the rest takes ``else``. Knows no clock and no client.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from hermesdsl.graph.types import Choice, Guard
from hermesdsl.sim.formula import attribute

if TYPE_CHECKING:
    from hermesdsl.sim.draws import Draws
    from hermesdsl.sim.load import Offered
    from hermesdsl.sim.nodes import Node
    from hermesdsl.sim.walk import Thread

Test: TypeAlias = "Callable[[Thread], bool]"
#: Several of them: a fork.
Targets: TypeAlias = "tuple[Node, ...]"

#: Verdicts that a stage leaves.
PASS, FAIL = "pass", "fail"

_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {
        "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
        ">": operator.gt, ">=": operator.ge,
    }
)  # fmt: skip


class Onward:
    """What follows a stage: `targets`, or the arms of a branch if there are none."""

    __slots__ = ("_draws", "_otherwise", "_shares", "_tests", "targets")

    def __init__(self, targets: Targets = ()) -> None:
        self.targets = targets
        self._tests: list[tuple[Test, Targets]] = []
        self._shares: list[tuple[float, Targets]] = []
        self._otherwise: Targets = ()
        self._draws: Draws | None = None

    def add_arm(self, choice: Choice, targets: Targets, offered: Offered) -> None:
        """Add the next arm in order."""
        if choice.guard is not None:
            self._tests.append((condition(choice.guard, offered), targets))
        elif choice.share is not None:
            before = self._shares[-1][0] if self._shares else 0.0
            self._shares.append((before + choice.share, targets))
        else:
            self._otherwise = targets

    def split_by(self, draws: Draws) -> None:
        """Let shares be decided by these draws."""
        self._draws = draws

    def decide(self, thread: Thread, turn: int) -> Targets:
        """The arm that a thread takes at its k-th pass."""
        for test, targets in self._tests:
            if test(thread):
                return targets
        if self._shares:
            assert self._draws is not None
            drawn = self._draws(thread.request, turn)
            for upto, targets in self._shares:
                if drawn < upto:
                    return targets
        # Shares that add up to 100% but for rounding have no `else`.
        return self._otherwise or self._shares[-1][1]

    def all_targets(self) -> list[Node]:
        """Every node that may follow."""
        arms = [targets for _, targets in (*self._tests, *self._shares)]
        return [node for arm in (self.targets, *arms, self._otherwise) for node in arm]


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
