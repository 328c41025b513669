"""Replicas of a stage: how many must come back, and which of them go on.

Knows threads and the settings of `join`; not where replicas run nor how they are cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.graph.types import Spec
from hermesdsl.sim.condition import FAIL

if TYPE_CHECKING:
    from hermesdsl.sim.walk import Scope, Thread

#: The score of a replica, by its index: higher is better.
Score: TypeAlias = "Callable[[int], float]"


@dataclass
class Gather:
    """The replicas of one thread, `parent`, while they run; `done` in the order they came back."""

    parent: Thread
    join: Join
    turn: int
    scopes: list[Scope]
    done: list[tuple[int, Thread]]

    def result(self, score: Score) -> tuple[list[Thread], Thread] | None:
        """(threads whose texts are kept, the one whose KV goes on), or None to wait."""
        if not self.join.complete(self.done, len(self.scopes)):
            return None
        return self.join.choose(self.done, score)


@dataclass(frozen=True)
class Join:
    """When replicas are done, and which of them count.

    `name`: ``all``, ``first``, ``best`` or ``majority``; `k` of them; `passing`: only those whose
    last check passed, as long as there are enough.
    """

    name: str
    k: int = 1
    passing: bool = False

    @property
    def contested(self) -> bool:
        """Some replicas lose: nothing they write is seen before it is known which."""
        return self.name != "all"

    def complete(self, done: list[tuple[int, Thread]], replicas: int) -> bool:
        """Whether nobody has to be waited for any longer."""
        if len(done) == replicas:
            return True
        if self.name == "first":
            return len(self._good(done)) >= self.k
        return self.name == "majority" and 2 * len(done) > replicas

    def choose(
        self, done: list[tuple[int, Thread]], score: Score
    ) -> tuple[list[Thread], Thread]:  # fmt: skip
        """All texts, or those of the first or best k; of a majority, which agrees, the first's.

        With too few that pass, those with the best scores fill up.
        """
        if self.name == "all":
            texts = [thread for _, thread in done]
            return texts, max(texts, key=lambda thread: thread.context)
        if self.name == "majority":
            return [done[0][1]], done[0][1]
        if self.name == "first":
            good = self._good(done)[: self.k]
            rest = [entry for entry in done if entry not in good]
            rest.sort(key=lambda entry: -score(entry[0]))
            chosen = [*good, *rest[: self.k - len(good)]]
        else:
            chosen = sorted(done, key=lambda entry: -score(entry[0]))[: self.k]
        texts = [thread for _, thread in chosen]
        return texts, texts[0]

    def _good(self, done: list[tuple[int, Thread]]) -> list[tuple[int, Thread]]:
        return [entry for entry in done if not self.passing or entry[1].verdict != FAIL]


def join_of(spec: Spec) -> Join:
    """The join that a specification names (checked by `sim.supported` before)."""
    k = spec.args.get("k")
    count = int(k) if isinstance(k, int | float) else 1
    return Join(spec.name, count, spec.args.get("which") == "pass")


#: Names of joins, and the arguments that they take.
JOINS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"all": (), "first": ("k", "which"), "best": ("k",), "majority": ()}
)
