"""Pipeline graphs become plans: sub-pipelines and replicas written out, bound to one run.

Stages that follow each other on one pool of engines and share a request's KV are one visit: KV
affinity keeps them on the same client, without a second queue. What can be known of a request
before it comes is worked out here: which KV may still be read, which tokens are seen.
Knows no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TypeVar

import networkx as nx

from hermesdsl.cost.types import ServiceCost
from hermesdsl.graph.types import (
    Choice,
    Client,
    CompiledSystem,
    Experiment,
    PipelineGraph,
    Pool,
    StageNode,
    Value,
)
from hermesdsl.sim.branch import Onward
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.fork import join_of
from hermesdsl.sim.formula import Amount, amount, whole
from hermesdsl.sim.ledger import LLM_STAGES, Leaves
from hermesdsl.sim.load import Offered
from hermesdsl.sim.nodes import (
    Again,
    End,
    EngineVisit,
    Fetch,
    Node,
    ReplicaEnd,
    Replicas,
    ServerVisit,
    Visit,
    Wait,
)
from hermesdsl.sim.repeat import REPEATS
from hermesdsl.sim.router import Routers

NodeT = TypeVar("NodeT", bound=Node)

ENDS = ("input", "output", "refused")


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


def stages_of(graph: PipelineGraph) -> list[StageNode]:
    """The stages of a pipeline, those of its sub-pipelines in their places."""
    found: list[StageNode] = []
    for path in nx.topological_sort(graph):
        stage: StageNode | None = graph.nodes[path].get("stage")
        if stage is not None:
            found.extend([stage] if stage.inner is None else stages_of(stage.inner))
    return found


def fused(graph: PipelineGraph, path: str, pools: Mapping[str, Pool]) -> str | None:
    """The Decode that goes on with what a Prefill has read, in the same batch; or None.

    They are joined by one plain arrow and run once each, on the same clients.
    """
    first: StageNode = graph.nodes[path]["stage"]
    after = list(graph.successors(path))
    if first.type_name != "Prefill" or not _plain(first) or len(after) != 1:
        return None
    if graph.edges[path, after[0]].get("choice") or after[0] in ENDS:
        return None
    second: StageNode = graph.nodes[after[0]]["stage"]
    if second.type_name != "Decode" or not _plain(second) or graph.in_degree(after[0]) != 1:
        return None
    one, other = pools[str(first.pool)], pools[str(second.pool)]
    return after[0] if one.members == other.members else None


def _plain(stage: StageNode) -> bool:
    return stage.replicas == 1 and stage.repeat is None


class Planner:
    """Makes the plans of a run.

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
        self._system = point.system
        self._offered = point.offered
        self._chance = Chance(point.seed, point.offered)
        self._pools: Mapping[str, Pool] = point.system.placement.graph["pools"]
        self._clients = clients
        self._routers = routers
        self._services = services
        self._columns: dict[str, int] = {}
        self._options: Mapping[str, Value] = {}
        self._refused = self._add(End(False))

    def add(self, name: str) -> None:
        """Plan one pipeline that requests enter."""
        graph = self._system.pipelines[name]
        self._options = graph.graph.get("options", {})
        output = self._add(End(True))
        scene = _Scene("", "", False, False)
        entry = self._graph(graph, scene, Onward((output,)))
        self.plan.entries[name] = entry
        look_ahead(self.plan.nodes)

    # --- graphs ------------------------------------------------------------------------------

    def _graph(self, graph: PipelineGraph, scene: _Scene, leaving: Onward) -> Onward:
        """The beginning of a graph whose output goes on to `leaving`."""
        begin: dict[str, tuple[Node, ...]] = {
            "refused": (self._refused,),
            "output": self._entering(graph, "output", leaving),
        }
        merged: set[str] = set()
        for path in reversed(list(nx.topological_sort(graph))):
            if path in begin or path == "input":
                continue
            second = fused(graph, path, self._pools)
            if second is not None:
                merged.add(second)
            onward = self._onward(graph, second or path, begin, scene)
            stage: StageNode = graph.nodes[path]["stage"]
            also: StageNode | None = graph.nodes[second]["stage"] if second is not None else None
            inside = self._repeated(stage, also, scene, onward)
            begin[path] = self._entering(graph, path, inside)
        return self._onward(graph, "input", begin, scene)

    def _entering(self, graph: PipelineGraph, path: str, inside: Onward) -> tuple[Node, ...]:
        """What arrows to `path` lead to: a join before it if it waits for several."""
        if graph.nodes[path].get("join") == "wait":
            return (self._add(Wait(inside, graph.in_degree(path))),)
        return self._as_targets(inside)

    def _as_targets(self, onward: Onward) -> tuple[Node, ...]:
        if onward.targets:
            return onward.targets
        return (self._add(Node(onward)),)

    def _onward(
        self, graph: PipelineGraph, path: str, begin: Mapping[str, tuple[Node, ...]], scene: _Scene
    ) -> Onward:
        arms: dict[int, tuple[Choice, list[Node]]] = {}
        plain: list[Node] = []
        # By name: the order of declarations must not matter.
        for target, edge in sorted(graph.succ[path].items(), key=itemgetter(0)):
            choice: Choice | None = edge.get("choice")
            if choice is None:
                plain += begin[target]
            else:
                arms.setdefault(choice.order, (choice, []))[1].extend(begin[target])
        if not arms:
            return Onward(tuple(plain))
        onward = Onward()
        for _, (choice, targets) in sorted(arms.items()):
            onward.add_arm(choice, tuple(targets), self._offered)
        onward.split_by(self._chance.draws(f"{scene.path(path)}/branch"))
        return onward

    # --- repetition and replicas ---------------------------------------------------------------

    def _repeated(
        self, stage: StageNode, also: StageNode | None, scene: _Scene, onward: Onward
    ) -> Onward:
        if stage.repeat is None:
            return self._replicated(stage, also, scene, onward)
        path = scene.path(stage.path)
        repeat = REPEATS[stage.repeat.name](stage.repeat, path, self._chance)
        again = self._add(Again(onward, repeat))
        again.turns = {}
        inner = replace(scene, repeats=True)
        entry = self._replicated(stage, also, inner, Onward((again,)))
        again.back = entry
        return entry

    def _replicated(
        self, stage: StageNode, also: StageNode | None, scene: _Scene, onward: Onward
    ) -> Onward:
        if stage.replicas == 1:
            return self._single(stage, also, scene, onward, None)
        path = scene.path(stage.path)
        join = join_of(stage.join)
        replicas = self._add(Replicas(onward, join, self._chance.draws(f"{path}/score")))
        replicas.contested = scene.contested
        if scene.repeats:
            replicas.turns = {}
        for index in range(stage.replicas):
            end = self._add(ReplicaEnd(replicas))
            old = f"{stage.path}[0]" if stage.inner is not None else stage.path
            contested = end.contested = scene.contested or join.contested
            lane = scene.lane * stage.replicas + index
            inner = _Scene(old, f"{path}[{index}]", scene.repeats, contested, lane)
            member = index if stage.spread == "each" else None
            replicas.entries.append(self._single(stage, also, inner, Onward((end,)), member))
        return Onward((replicas,))

    def _single(
        self, stage: StageNode, also: StageNode | None, scene: _Scene, onward: Onward,
        member: int | None,
    ) -> Onward:  # fmt: skip
        if stage.inner is not None:
            outer, self._options = self._options, {**self._options, **stage.options}
            entry = self._graph(stage.inner, scene, onward)
            self._options = outer
            return entry
        if stage.type_name == "KvFetch":
            return Onward((self._mark(Fetch(onward, stage), scene),))
        pool = self._pools[str(stage.pool)]
        client: Client = self._system.placement.nodes[pool.members[0]]["client"]
        visit: EngineVisit | ServerVisit
        if client.type_name == "LlmEngine":
            visit = self._engine(stage, also, scene, onward, member)
        else:
            visit = self._server(stage, client, scene, onward)
        if member is not None and not (isinstance(visit, EngineVisit) and visit.opens):
            visit.fixed = self._clients[pool.members[member]]
        return Onward((visit,))

    # --- visits --------------------------------------------------------------------------------

    def _engine(
        self, stage: StageNode, also: StageNode | None, scene: _Scene, onward: Onward,
        member: int | None,
    ) -> EngineVisit:  # fmt: skip
        path = scene.path(stage.path)
        if stage.type_name not in LLM_STAGES:
            visit = self._engine_visit(stage, str(stage.pool), scene, onward)
            visit.judges = True
            visit.columns = (self._column(stage),)
            visit.leaves = self._leaves(stage, path)
            return visit
        visit = self._engine_visit(stage, str(stage.pool), scene, onward)
        writes = also or (stage if stage.type_name != "Prefill" else None)
        if writes is not None:
            self._produces(visit, writes, scene)
        visit.columns = tuple(self._column(s) for s in (stage, also) if s is not None)
        source = stage.options.get("prefill")
        if isinstance(source, str) and self._members(source) != self._members(str(stage.pool)):
            if member is not None:
                visit.fixed = self._clients[self._pools[str(stage.pool)].members[member]]
            reading = self._engine_visit(stage, source, scene, Onward((visit,)))
            reading.opens = True
            reading.columns = visit.columns
            self._hands_over(reading, visit, {**self._options, **stage.options})
            return reading
        if stage.type_name == "Prefill" and also is None:
            target = onward.targets[0] if len(onward.targets) == 1 else None
            if isinstance(target, EngineVisit) and target.stage.type_name == "Decode":
                self._hands_over(visit, target, self._options)
        return visit

    def _engine_visit(
        self, stage: StageNode, pool: str, scene: _Scene, onward: Onward
    ) -> EngineVisit:
        client: Client = self._system.placement.nodes[self._pools[pool].members[0]]["client"]
        model = client.model.name if client.model is not None else ""
        visit = EngineVisit(
            onward, stage, pool, self._members(pool), self._routers.of_pool(pool), model
        )
        return self._mark(visit, scene)

    def _produces(self, visit: EngineVisit, stage: StageNode, scene: _Scene) -> None:
        tokens = stage.options.get("tokens")
        outputs = self._offered.outputs
        if tokens is None:
            visit.produce = lambda thread, turn: outputs[thread.request]
        else:
            visit.produce = whole(tokens, f"{scene.path(stage.path)}/tokens", self._chance, 1)
        visit.hidden = bool(stage.options.get("hidden"))

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
        self, stage: StageNode, client: Client, scene: _Scene, onward: Onward
    ) -> ServerVisit:
        path = scene.path(stage.path)
        service = stage.options.get("service")
        name = "service"
        if service is None and client.type_name == "Delay":
            service, name = client.options["latency"], "latency"
        seconds: Amount | None = None
        costs: dict[int, ServiceCost] = {}
        if service is not None:
            seconds = amount(service, f"{path}/{name}", self._chance)
        else:
            for member in self._pools[str(stage.pool)].members:
                costs[self._clients[member]] = self._services[stage.path, member]
        pool = str(stage.pool)
        visit = ServerVisit(
            onward, stage, pool, self._members(pool), self._routers.of_pool(pool), seconds, costs
        )
        visit.columns = (self._column(stage),)
        visit.leaves = self._leaves(stage, path)
        return self._mark(visit, scene)

    def _leaves(self, stage: StageNode, path: str) -> Leaves:
        appends = stage.options.get("appends")
        tokens = None if appends is None else whole(appends, f"{path}/appends", self._chance, 0)
        return Leaves(stage, self._offered, tokens, self._chance.draws(f"{path}/pass"))

    def _members(self, pool: str) -> tuple[int, ...]:
        return tuple(self._clients[path] for path in self._pools[pool].members)

    def _column(self, stage: StageNode) -> int:
        if stage.path not in self._columns:
            self._columns[stage.path] = len(self.plan.stages)
            self.plan.stages.append(stage.path)
        return self._columns[stage.path]

    def _mark(self, node: NodeT, scene: _Scene) -> NodeT:
        node.contested = scene.contested
        if isinstance(node, Visit):
            node.lane = scene.lane
        if scene.repeats:
            node.turns = {}
        return self._add(node)

    def _add(self, node: NodeT) -> NodeT:
        self.plan.nodes.append(node)
        return node


@dataclass(frozen=True)
class _Scene:
    """Where a stage is written out: paths below `old` are named below `new` there.

    `repeats`: something around it is repeated; `contested`: it is in a replica that may lose.
    """

    old: str
    new: str
    repeats: bool
    contested: bool
    lane: int = 0

    def path(self, path: str) -> str:
        """The name of this instance of a stage."""
        return self.new + path[len(self.old) :] if self.old else path


def look_ahead(nodes: list[Node]) -> None:
    """Work out for every vertex which KV may be read from there on, and what is seen."""
    for node in nodes:
        if isinstance(node, EngineVisit) and not node.judges:
            node.models = frozenset({node.model})
            node.writes = node.produce is not None
    changed = True
    while changed:
        changed = False
        for node in reversed(nodes):
            after = node.following()
            models = node.models.union(*(other.models for other in after))
            writes = node.writes or any(other.writes for other in after)
            if models != node.models or writes != node.writes:
                node.models, node.writes = models, writes
                changed = True
    for node in nodes:
        if isinstance(node, EngineVisit) and not node.judges:
            after = node.following()
            node.keeps = any(node.model in other.models for other in after)
            last = not any(other.writes for other in after)
            node.visible = (
                node.produce is not None and last and not node.hidden and not node.contested
            )
