"""Stages bound to what serves them: each becomes a visit, with its costs, draws and clients.

A stage on clients that are not alike (of several types, models or latencies) becomes one visit
per client, and a vertex before them that picks one. Knows no clock, and nothing of how stages
follow each other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from hermesdsl.cost.types import ServiceCost
from hermesdsl.graph.types import Client, CompiledSystem, Experiment, Pool, StageNode, Value
from hermesdsl.sim.branch import Onward
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.formula import Amount, amount, whole
from hermesdsl.sim.ledger import LLM_STAGES, Leaves
from hermesdsl.sim.load import Offered
from hermesdsl.sim.nodes import EngineVisit, Fetch, Node, Pick, ServerVisit, Visit
from hermesdsl.sim.routing.pools import Routers

NodeT = TypeVar("NodeT", bound=Node)


@dataclass(frozen=True, eq=False)
class Point:
    """What one run is about: a system, one of its experiments, a seed, the requests offered."""

    system: CompiledSystem
    experiment: Experiment
    seed: int
    offered: Offered


@dataclass(eq=False)
class Plan:
    """The plans of all pipelines of a run: `entries` by pipeline, `stages` paths by column."""

    entries: dict[str, Onward] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scene:
    """Where a stage is written out: paths below `old` are named below `new` there.

    `repeats`: something around it is repeated; `contested`: it is in a replica that may lose;
    `lane`: the number of that replica; `member`: the one client of every pool that it runs on, by
    its place there, or None for whichever the pool picks. `options` are those of the pipelines
    around it.
    """

    old: str = ""
    new: str = ""
    repeats: bool = False
    contested: bool = False
    lane: int = 0
    member: int | None = None
    options: Mapping[str, Value] = field(default_factory=dict)

    def path(self, path: str) -> str:
        """The name of this instance of a stage."""
        return self.new + path[len(self.old) :] if self.old else path


class Binder:
    """Makes the visits of one run's `plan`.

    `clients`: index of each client in use, by path. `services`: cost of a stage on a client, by
    (path of the stage, path of the client).
    """

    def __init__(
        self,
        point: Point,
        clients: Mapping[str, int],
        routers: Routers,
        services: Mapping[tuple[str, str], ServiceCost],
    ) -> None:
        self.plan = Plan()
        self.chance = Chance(point.seed, point.offered)
        self.pools: Mapping[str, Pool] = point.system.placement.graph["pools"]
        self._system = point.system
        self._offered = point.offered
        self._clients = clients
        self._routers = routers
        self._services = services
        self._columns: dict[str, int] = {}

    def add(self, node: NodeT) -> NodeT:
        """Put a vertex into the plan."""
        self.plan.nodes.append(node)
        return node

    def bind(
        self, stage: StageNode, also: StageNode | None, scene: Scene, onward: Onward
    ) -> Onward:
        """The visit that `stage` is, and `also` right after it on the same engine."""
        if stage.type_name == "KvFetch":
            return Onward((self._fetch(stage, scene, onward),))
        members = self.pools[str(stage.pool)].members
        if scene.member is not None:
            return Onward((self._on(members[scene.member], stage, also, scene, onward, True),))
        if len({self._sort(path) for path in members}) == 1:
            return Onward((self._on(members[0], stage, also, scene, onward, False),))
        pick = Pick(self._routers.of_pool(str(stage.pool)), scene.lane)
        for path in members:
            visit = self._on(path, stage, also, scene, onward, True)
            visit.turns = pick.turns = visit.turns if pick.turns is None else pick.turns
            pick.sides[self._clients[path]] = Onward((visit,))
            opens = isinstance(visit, EngineVisit) and visit.opens
            last = visit.onward.targets[0] if opens else visit
            assert isinstance(last, Visit)
            last.among, pick.visits[self._clients[path]] = pick, last
        return Onward((self.add(pick),))

    def _fetch(self, stage: StageNode, scene: Scene, onward: Onward) -> Fetch:
        """A look into a cache, at the clients of the prefill that comes next."""
        reader = next(node for node in reached(onward) if isinstance(node, EngineVisit))
        fetch = Fetch(
            onward, stage, reader.pool, tuple(sorted(reader.members)), reader.router, reader.model
        )
        fetch.columns = (self.column(stage),)
        fetch.affine = reader.affine
        fetch.fixed = reader.fixed
        if scene.member is not None:
            fetch.fixed = self._clients[self.pools[reader.pool].members[scene.member]]
        return self._mark(fetch, scene)

    def _client(self, path: str) -> Client:
        client: Client = self._system.placement.nodes[path]["client"]
        return client

    def _sort(self, path: str) -> tuple[str, str]:
        """What has to be alike for one visit to stand for several clients."""
        client = self._client(path)
        if client.type_name != "LlmEngine":
            return client.type_name, str(client.options.get("latency"))
        return client.type_name, client.model.name if client.model is not None else ""

    def _on(
        self, path: str, stage: StageNode, also: StageNode | None, scene: Scene, onward: Onward,
        alone: bool,
    ) -> Visit:  # fmt: skip
        """The visit to clients like that at `path`, or to it `alone`."""
        client = self._client(path)
        fixed = self._clients[path] if alone else None
        if client.type_name == "LlmEngine":
            return self._engine(stage, also, scene, onward, client, fixed)
        return self._server(stage, client, scene, onward, fixed)

    def _engine(
        self, stage: StageNode, also: StageNode | None, scene: Scene, onward: Onward,
        client: Client, fixed: int | None,
    ) -> EngineVisit:  # fmt: skip
        path = scene.path(stage.path)
        visit = self._engine_visit(stage, str(stage.pool), client, scene, onward)
        visit.fixed = fixed
        if stage.type_name not in LLM_STAGES:
            visit.judges = True
            visit.columns = (self.column(stage),)
            visit.leaves = self._leaves(stage, path)
            return visit
        writes = also or (stage if stage.type_name != "Prefill" else None)
        if writes is not None:
            self._produces(visit, writes, scene)
        visit.columns = tuple(self.column(s) for s in (stage, also) if s is not None)
        source = stage.options.get("prefill")
        if isinstance(source, str) and self._members(source) != self._members(str(stage.pool)):
            reading = self._engine_visit(stage, source, client, scene, Onward((visit,)))
            reading.opens = True
            reading.columns = visit.columns
            self._hands_over(reading, visit, {**scene.options, **stage.options})
            return reading
        if stage.type_name == "Prefill" and also is None:
            target = onward.targets[0] if len(onward.targets) == 1 else None
            if isinstance(target, EngineVisit) and target.stage.type_name == "Decode":
                self._hands_over(visit, target, scene.options)
        return visit

    def _engine_visit(
        self, stage: StageNode, pool: str, client: Client, scene: Scene, onward: Onward
    ) -> EngineVisit:
        model = client.model.name if client.model is not None else ""
        visit = EngineVisit(
            onward, stage, pool, self._members(pool), self._routers.of_pool(pool), model
        )
        return self._mark(visit, scene)

    def _produces(self, visit: EngineVisit, stage: StageNode, scene: Scene) -> None:
        tokens = stage.options.get("tokens")
        outputs = self._offered.outputs
        if tokens is None:
            visit.produce = lambda thread, turn: outputs[thread.request]
        else:
            visit.produce = whole(tokens, f"{scene.path(stage.path)}/tokens", self.chance, 1)
        visit.decode, visit.hidden = stage, bool(stage.options.get("hidden"))

    def _hands_over(
        self, reading: EngineVisit, writing: EngineVisit, options: Mapping[str, Value]
    ) -> None:
        """How KV gets from one visit to the next, where they are on different clients."""
        if reading.members == writing.members or writing.fixed is not None:
            return
        reading.layerwise = options.get("transfer") == "layerwise"
        if options.get("pairing") == "local":
            writing.paired = self._routers.paired(reading.pool, writing.pool)
        roles = self._routers.roles(reading.pool, writing.pool)
        if roles is not None:
            reading.roles = reading.router = roles
            writing.router, writing.affine = roles.writing, False

    def _server(
        self, stage: StageNode, client: Client, scene: Scene, onward: Onward, fixed: int | None
    ) -> ServerVisit:
        path = scene.path(stage.path)
        service = stage.options.get("service")
        name = "service"
        if service is None and client.type_name == "Delay":
            service, name = client.options["latency"], "latency"
        seconds: Amount | None = None
        costs: dict[int, ServiceCost] = {}
        if service is not None:
            seconds = amount(service, f"{path}/{name}", self.chance)
        else:
            for member in self.pools[str(stage.pool)].members:
                index = self._clients[member]
                if fixed in (None, index):
                    costs[index] = self._services[stage.path, member]
        pool = str(stage.pool)
        visit = ServerVisit(
            onward, stage, pool, self._members(pool), self._routers.of_pool(pool), seconds, costs
        )
        visit.fixed = fixed
        visit.columns = (self.column(stage),)
        visit.leaves = self._leaves(stage, path)
        return self._mark(visit, scene)

    def _leaves(self, stage: StageNode, path: str) -> Leaves:
        appends = stage.options.get("appends")
        tokens = None if appends is None else whole(appends, f"{path}/appends", self.chance, 0)
        return Leaves(stage, self._offered, tokens, self.chance.draws(f"{path}/pass"))

    def _members(self, pool: str) -> tuple[int, ...]:
        return tuple(self._clients[path] for path in self.pools[pool].members)

    def column(self, stage: StageNode) -> int:
        """The number that visits of a stage are recorded by."""
        if stage.path not in self._columns:
            self._columns[stage.path] = len(self.plan.stages)
            self.plan.stages.append(stage.path)
        return self._columns[stage.path]

    def _mark(self, node: NodeT, scene: Scene) -> NodeT:
        node.contested = scene.contested
        if isinstance(node, Visit):
            hold = node.stage.options.get("hold")
            node.hold = float(hold) if isinstance(hold, int | float) else None
            node.lane = scene.lane
        if scene.repeats:
            node.turns = {}
        return self.add(node)


def reached(onward: Onward) -> Iterator[Node]:
    """What comes after, the nearest first; behind an engine that reads the context, nothing."""
    queue = deque(onward.all_targets())
    seen: set[Node] = set()
    while queue:
        node = queue.popleft()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, EngineVisit) and not node.judges:
            yield node
        else:
            queue.extend(node.following())
