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
    """The member with the least in charge, requests or tokens of prompt and output."""

    __slots__ = ("_members", "_of")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        by_tokens = spec.args.get("by") == "tokens"
        self._of: Seen[int] = context.tokens if by_tokens else context.requests

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
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
