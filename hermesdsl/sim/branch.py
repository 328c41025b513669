"""Where a request goes after a stage: on, to several at once, or into one arm of a branch.

Conditions on the request are tried in their order; what none of them takes is split by shares,
with one draw per request and pass; the rest takes ``else``. Knows no clock and no client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.graph.types import Choice
from hermesdsl.sim.condition import Test, condition

if TYPE_CHECKING:
    from hermesdsl.sim.draws import Draws
    from hermesdsl.sim.load import Offered
    from hermesdsl.sim.nodes import Node
    from hermesdsl.sim.walk import Thread

#: Several of them: a fork.
Targets: TypeAlias = "tuple[Node, ...]"


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
