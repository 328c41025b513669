"""The routers of a run: one per pool, one per group of clients that are paired.

Puts together what a pool says: its route, who is admitted, how many members run, which convert.
Knows no rule of any of them.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from hermesdsl.graph.types import Spec
from hermesdsl.sim.causes import mortal
from hermesdsl.sim.pairing import local_groups
from hermesdsl.sim.roles import Roles
from hermesdsl.sim.routing import ROUTERS
from hermesdsl.sim.routing.admission import ADMISSIONS, Admission, AdmissionContext, Gate
from hermesdsl.sim.routing.context import Router, RouterContext, Scene, number
from hermesdsl.sim.routing.scaling import Scaling, Starts
from hermesdsl.sim.routing.standing import Standing

if TYPE_CHECKING:
    from hermesdsl.graph.types import Client, CompiledSystem, Pool
    from hermesdsl.sim.network.network import Network


class Routers:
    """The routers of a run over the pools of `system`; `clients`: index of each by its path.

    `scaling`: rows of (client, started, ready, stopped) of pools that scale.
    """

    def __init__(
        self, system: CompiledSystem, clients: Mapping[str, int], scene: Scene, network: Network
    ) -> None:
        self.scaling = array("d")
        self._system = system
        self._pools: Mapping[str, Pool] = system.placement.graph["pools"]
        self._clients = clients
        self._scene = scene
        self._network = network
        self._made: dict[str, Router] = {}
        self._scaled: list[Scaling] = []
        self._groups: dict[tuple[str, str], dict[int, Router]] = {}
        self._roles: dict[tuple[str, str], Roles] = {}
        self._admissions: dict[str, Admission] = {}
        self._remembered: dict[str, dict[str, dict[object, object]]] = {}
        self._mortal = frozenset(clients[path] for path in mortal(system, clients))

    def of_pool(self, name: str) -> Router:
        """The router over all members of a pool."""
        if name not in self._made:
            router = self._scale(name) or self._standing(name, name, self._members(name))
            self._made[name] = self._admit(name, router)
        return self._made[name]

    def paired(self, source: str, target: str) -> dict[int, Router]:
        """By client of pool `source`: the router over its group of pool `target`."""
        if (source, target) not in self._groups:
            groups = local_groups(self._members(source), self._members(target))
            made = {
                group: self._admit(target, self._standing(target, f"{target}/group{place}", group))
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
            scene = self._scene
            self._roles[source, target] = Roles(
                spec, self._members(source), self._members(target),
                make_reading=partial(self._among, source),
                make_writing=partial(self._among, target),
                prompts=scene.offered.prompts, load=scene.load, clients=scene.engines,
                down=scene.down,
            )  # fmt: skip
        return self._roles[source, target]

    def settle(self, until: float) -> None:
        """The run has ended: record what still runs."""
        for scaling in self._scaled:
            scaling.settle(until)

    def _scale(self, pool: str) -> Scaling | None:
        spec = self._pools[pool].options.get("autoscale")
        if not isinstance(spec, Spec):
            return None
        nodes = self._system.placement.nodes
        members: dict[int, Client] = {
            self._clients[path]: nodes[path]["client"] for path in self._pools[pool].members
        }
        scaling = Scaling(
            spec, self._members(pool), self._scene,
            starts=Starts(self._network, self._system.hardware, members),
            make=partial(self._standing, pool, pool), rows=self.scaling,
        )  # fmt: skip
        self._scaled.append(scaling)
        return scaling

    def _admit(self, pool: str, router: Router) -> Router:
        """The router behind the pool's one rule of admission, if it has one."""
        spec = self._pools[pool].options.get("admission")
        if not isinstance(spec, Spec) or spec.name not in ADMISSIONS:
            return router
        if pool not in self._admissions:
            context = AdmissionContext(self._members(pool), self._scene)
            self._admissions[pool] = ADMISSIONS[spec.name](spec, context)
        return Gate(self._admissions[pool], router)

    def _standing(self, pool: str, path: str, members: tuple[int, ...]) -> Router:
        """A router that goes around members that are down, if any ever is."""
        if self._mortal.isdisjoint(members):
            return self._route(pool, path, members)
        return Standing(members, self._scene.down, partial(self._route, pool, path))

    def _among(self, pool: str, members: tuple[int, ...]) -> Router:
        return self._standing(pool, f"{pool}/{'+'.join(map(str, members))}", members)

    def _members(self, pool: str) -> tuple[int, ...]:
        return tuple(self._clients[path] for path in self._pools[pool].members)

    def _everyone(self, pool: str) -> tuple[int, ...]:
        """Whom a router of the pool may ever pick: its members, and those that are lent."""
        lent = [name for name, other in self._pools.items() if other.options.get("convert")]
        paths = [path for name in (pool, *lent) for path in self._pools[name].members]
        return tuple(dict.fromkeys(self._clients[p] for p in paths if p in self._clients))

    def _route(self, pool: str, path: str, members: tuple[int, ...]) -> Router:
        route = self._pools[pool].route
        remembered = self._remembered.setdefault(pool, {})
        staleness = number(route, "staleness", 0.0)
        context = RouterContext(
            path, members, self._scene, staleness, self._everyone(pool), remembered
        )
        return ROUTERS[route.name](route, context)
