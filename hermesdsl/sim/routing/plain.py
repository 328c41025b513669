"""Routers that look at one number of their clients, or at none.

``round_robin``: members in turn. ``random``: each alike. ``jsq``: least in charge. ``kv_free``:
most free KV. ``power_of_two``: two at random, of which the one with fewer requests in charge
(Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 2001).
"""

from __future__ import annotations

from itertools import combinations

from hermesdsl.graph.types import Spec
from hermesdsl.sim.draws import Chance, Draws
from hermesdsl.sim.routing.context import RouterContext, Seen, least
from hermesdsl.sim.routing.fewest import Fewest

#: Members from which on a heap of them is faster than a look at each.
_MANY = 8


class RoundRobin:
    """Members in turn."""

    __slots__ = ("_members", "_next")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        self._next = -1

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        following = self._next + 1
        self._next = following if following < len(self._members) else 0
        return self._members[self._next]


class Random:
    """Each member alike, by the pool's own stream: draw r belongs to request r of a workload."""

    __slots__ = ("_draws", "_members")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        self._draws = _draws(context)

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        return self._members[int(self._draws(request, draw) * len(self._members))]


class ShortestQueue:
    """The member with the least in charge, requests or tokens of prompt and output.

    Among many that are seen as they are, it is found by `Fewest`; the routers that a pool has for
    some of its members only, which may be many themselves, look at each.
    """

    __slots__ = ("_fewest", "_members", "_of")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        by_tokens = spec.args.get("by") == "tokens"
        self._of: Seen[int] = context.tokens if by_tokens else context.requests
        self._fewest: Fewest | None = None
        first = not context.remember.setdefault("fewest", {})
        if first and not context.staleness and len(context.members) >= _MANY:
            load = context.scene.load
            self._fewest = Fewest(context.members, load.tokens if by_tokens else load.requests)
            context.remember["fewest"][context.path] = self._fewest
            load.watch(self._fewest.shrunk)

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        if self._fewest is not None:
            return self._fewest.pick()
        return least(self._members, self._of)


class PowerOfTwo:
    """Of two different members, every pair alike, the one with fewer requests in charge.

    One draw of the pool's stream chooses the pair.
    """

    __slots__ = ("_draws", "_of", "_pairs")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        members = context.members
        self._pairs: list[tuple[int, ...]] = [*combinations(members, 2)] or [members]
        self._draws = _draws(context)
        self._of = context.requests

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        pair = self._pairs[int(self._draws(request, draw) * len(self._pairs))]
        return least(pair, self._of)


class KvFree:
    """The engine with the most tokens of KV in free blocks."""

    __slots__ = ("_free", "_members")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        self._free = context.kv_free

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        return max(self._members, key=self._free)


def _draws(context: RouterContext) -> Draws:
    return Chance(context.scene.seed, context.scene.offered).draws(f"{context.path}/route")
