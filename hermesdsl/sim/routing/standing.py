"""Routing around clients that are down.

The pool's router picks among those that serve. While none does it picks among those that are back
first, as far as is known, and requests wait there. It has a state of its own for each set of
clients. Knows no cause of an outage and no rule of any router.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hermesdsl.sim.routing.context import Router


class Standing:
    """A router over those of `members` that stand; `down`: until when the others do not."""

    __slots__ = ("_down", "_make", "_members", "_routers")

    def __init__(
        self, members: tuple[int, ...], down: Mapping[int, float],
        make: Callable[[tuple[int, ...]], Router],
    ) -> None:  # fmt: skip
        self._members = members
        self._down = down
        self._make = make
        self._routers = {members: make(members)}

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        down = self._down
        standing = tuple(client for client in self._members if client not in down)
        if not standing:
            first = min(down[client] for client in self._members)
            standing = tuple(client for client in self._members if down[client] == first)
        router = self._routers.get(standing)
        if router is None:
            router = self._routers[standing] = self._make(standing)
        return router.pick(request, draw)
