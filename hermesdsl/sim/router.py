"""Routers: which client of a pool serves a request. Found by name.

A router sees the exact state of its clients at the instant of the request. Knows no engine,
pipeline or time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Protocol

from hermesdsl.graph.types import Pool, Spec
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.load import Offered
from hermesdsl.sim.pairing import local_groups
from hermesdsl.sim.roles import Roles, Waits


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

    def pick(self, request: int, draw: int = 0) -> int:
        """Index of the client that serves this request; `draw` counts its picks at this pool."""


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


class ShortestQueue:
    """The member with the least in charge, requests or tokens; the first of equals."""

    __slots__ = ("_members", "_of")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        load = context.load
        counted = load.tokens if spec.args.get("by") == "tokens" else load.requests
        self._members = context.members
        self._of: Callable[[int], int] = counted.__getitem__

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        return min(self._members, key=self._of)


class Random:
    """Each member alike, by the pool's own stream: draw r belongs to request r of a workload."""

    __slots__ = ("_draws", "_members")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        self._draws = Chance(context.seed, context.offered).draws(f"{context.path}/route")

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        return self._members[int(self._draws(request, draw) * len(self._members))]


#: Routers by the name a specification gives them.
ROUTERS: Mapping[str, Callable[[Spec, RouterContext], Router]] = MappingProxyType(
    {"round_robin": RoundRobin, "jsq": ShortestQueue, "random": Random}
)


class Routers:
    """The routers of a run: one per pool, and one per group of clients that are paired.

    `clients`: index of every client by its path; `engines` by index, filled before the run.
    """

    def __init__(
        self,
        pools: Mapping[str, Pool],
        clients: Mapping[str, int],
        load: ClientLoad,
        seed: int,
        offered: Offered,
        engines: Mapping[int, Waits],
    ) -> None:
        self._engines = engines
        self._roles: dict[tuple[str, str], Roles] = {}
        self._pools = pools
        self._clients = clients
        self._load = load
        self._seed = seed
        self._offered = offered
        self._made: dict[str, Router] = {}
        self._groups: dict[tuple[str, str], dict[int, Router]] = {}

    def of_pool(self, name: str) -> Router:
        """The router over all members of a pool."""
        if name not in self._made:
            self._made[name] = self._make(name, name, self._members(name))
        return self._made[name]

    def paired(self, source: str, target: str) -> dict[int, Router]:
        """By client of pool `source`: the router over its group of pool `target`."""
        if (source, target) not in self._groups:
            groups = local_groups(self._members(source), self._members(target))
            made = {
                group: self._make(target, f"{target}/group{place}", group)
                for place, group in enumerate(dict.fromkeys(groups.values()))
            }
            self._groups[source, target] = {client: made[group] for client, group in groups.items()}
        return self._groups[source, target]

    def roles(self, source: str, target: str) -> Roles | None:
        """Of the clients of pool `target`, if they may read for pool `source`; one for all."""
        spec = self._pools[target].options.get("convert")
        if not isinstance(spec, Spec):
            return None
        if (source, target) not in self._roles:
            self._roles[source, target] = Roles(
                spec, self._members(source), self._members(target),
                make_reading=partial(self._among, source),
                make_writing=partial(self._among, target),
                prompts=self._offered.prompts, load=self._load, clients=self._engines,
            )  # fmt: skip
        return self._roles[source, target]

    def _among(self, pool: str, members: tuple[int, ...]) -> Router:
        return self._make(pool, f"{pool}/{'+'.join(map(str, members))}", members)

    def _members(self, pool: str) -> tuple[int, ...]:
        return tuple(self._clients[path] for path in self._pools[pool].members)

    def _make(self, pool: str, path: str, members: tuple[int, ...]) -> Router:
        route = self._pools[pool].route
        context = RouterContext(path, members, self._load, self._seed, self._offered)
        return ROUTERS[route.name](route, context)
