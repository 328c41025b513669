"""Routers: which client of a pool serves a request. Found by name.

A router sees the exact state of its clients at the instant of the request. Knows no engine,
pipeline or time.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from hermesdsl.graph.types import Spec
from hermesdsl.sim.load import Offered
from hermesdsl.sim.streams import Stream


class ClientLoad:
    """What every client (by index) has in charge: requests not finished there, and their tokens.

    `tokens` counts prompt and output of each such request in full, from arrival to finish.
    """

    __slots__ = ("requests", "tokens")

    def __init__(self, clients: int) -> None:
        self.requests = [0] * clients
        self.tokens = [0] * clients


@dataclass(frozen=True, eq=False)
class RouterContext:
    """What a router is made from: its pool's `path` and `members` (client indices), the `load` of
    all clients, the `seed` of the run and all requests `offered`.
    """

    path: str
    members: tuple[int, ...]
    load: ClientLoad
    seed: int
    offered: Offered


class Router(Protocol):
    """Picks clients."""

    def pick(self, request: int) -> int:
        """Index of the client that serves this request."""


class RoundRobin:
    """Members in turn."""

    __slots__ = ("_members", "_next")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        self._next = -1

    def pick(self, request: int) -> int:
        """See `Router`."""
        following = self._next + 1
        self._next = following if following < len(self._members) else 0
        return self._members[self._next]


class ShortestQueue:
    """The member with the least in charge, requests or tokens; the first of equals."""

    __slots__ = ("_members", "_of")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        load = context.load
        counted = load.tokens if spec.args.get("by") == "tokens" else load.requests
        self._members = context.members
        self._of: Callable[[int], int] = counted.__getitem__

    def pick(self, request: int) -> int:
        """See `Router`."""
        return min(self._members, key=self._of)


class Random:
    """Each member alike, by the pool's own stream: draw r belongs to request r of a workload."""

    __slots__ = ("_picked",)

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        offered = context.offered
        members = np.array(context.members, np.int32)
        picked = np.zeros(len(offered), np.int32)
        for index, workload in enumerate(offered.workloads):
            mine = offered.workload == index
            count = int(np.count_nonzero(mine))
            stream = Stream(context.seed, f"{context.path}/route/{workload}")
            draws = (stream.uniform(count) * len(members)).astype(np.int64)
            picked[mine] = members[draws[offered.number[mine]]]
        self._picked = array("i", picked.tobytes())

    def pick(self, request: int) -> int:
        """See `Router`."""
        return self._picked[request]


#: Routers by the name a specification gives them.
ROUTERS: Mapping[str, Callable[[Spec, RouterContext], Router]] = MappingProxyType(
    {"round_robin": RoundRobin, "jsq": ShortestQueue, "random": Random}
)
