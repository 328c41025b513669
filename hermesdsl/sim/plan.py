"""Pipeline graphs become plans: sub-pipelines and replicas written out, bound to one run.

Stages that follow each other on one pool of engines and share a request's KV are one visit: KV
affinity keeps them on the same client, without a second queue. What one stage becomes is in
`sim.binding`. Knows no clock and no client.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import itemgetter

import networkx as nx

from hermesdsl.cost.types import ServiceCost
from hermesdsl.graph.types import Choice, PipelineGraph, Pool, StageNode
from hermesdsl.sim.binding import Binder, Plan, Point, Scene
from hermesdsl.sim.branch import Onward
from hermesdsl.sim.foresight import look_ahead
from hermesdsl.sim.fork import join_of
from hermesdsl.sim.nodes import Again, End, Node, ReplicaEnd, Replicas, Wait
from hermesdsl.sim.repeat import REPEATS
from hermesdsl.sim.routing.pools import Routers

ENDS = ("input", "output", "refused")


def stages_of(graph: PipelineGraph) -> list[StageNode]:
    """The stages of a pipeline, first those before others, those of sub-pipelines in their places.

    What comes in no order goes by name, not by declaration.
    """
    found: list[StageNode] = []
    for path in nx.lexicographical_topological_sort(graph):
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
        self._binder = Binder(point, clients, routers, services)
        self.plan: Plan = self._binder.plan
        self._pipelines = point.system.pipelines
        self._offered = point.offered
        self._refused = self._binder.add(End(False))

    def add(self, name: str) -> None:
        """Plan one pipeline that requests enter."""
        graph = self._pipelines[name]
        for stage in stages_of(graph):
            self._binder.column(stage)
        output = self._binder.add(End(True))
        scene = Scene(options=graph.graph.get("options", {}))
        self.plan.entries[name] = self._graph(graph, scene, Onward((output,)))
        look_ahead(self.plan.nodes)

    # --- graphs ------------------------------------------------------------------------------

    def _graph(self, graph: PipelineGraph, scene: Scene, leaving: Onward) -> Onward:
        """The beginning of a graph whose output goes on to `leaving`."""
        begin: dict[str, tuple[Node, ...]] = {
            "refused": (self._refused,),
            "output": self._entering(graph, "output", leaving),
        }
        merged: set[str] = set()
        for path in reversed(list(nx.topological_sort(graph))):
            if path in begin or path == "input":
                continue
            second = fused(graph, path, self._binder.pools)
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
            return (self._binder.add(Wait(inside, graph.in_degree(path))),)
        return self._as_targets(inside)

    def _as_targets(self, onward: Onward) -> tuple[Node, ...]:
        if onward.targets:
            return onward.targets
        return (self._binder.add(Node(onward)),)

    def _onward(
        self, graph: PipelineGraph, path: str, begin: Mapping[str, tuple[Node, ...]], scene: Scene
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
        onward.split_by(self._binder.chance.draws(f"{scene.path(path)}/branch"))
        return onward

    # --- repetition and replicas ---------------------------------------------------------------

    def _repeated(
        self, stage: StageNode, also: StageNode | None, scene: Scene, onward: Onward
    ) -> Onward:
        if stage.repeat is None:
            return self._replicated(stage, also, scene, onward)
        path = scene.path(stage.path)
        repeat = REPEATS[stage.repeat.name](stage.repeat, path, self._binder.chance)
        again = self._binder.add(Again(onward, repeat))
        again.turns = {}
        inner = replace(scene, repeats=True)
        entry = self._replicated(stage, also, inner, Onward((again,)))
        again.back = entry
        return entry

    def _replicated(
        self, stage: StageNode, also: StageNode | None, scene: Scene, onward: Onward
    ) -> Onward:
        if stage.replicas == 1:
            return self._single(stage, also, scene, onward)
        path = scene.path(stage.path)
        join = join_of(stage.join)
        replicas = self._binder.add(
            Replicas(onward, join, self._binder.chance.draws(f"{path}/score"))
        )
        replicas.contested = scene.contested
        if scene.repeats:
            replicas.turns = {}
        for index in range(stage.replicas):
            end = self._binder.add(ReplicaEnd(replicas))
            contested = end.contested = scene.contested or join.contested
            inner = replace(
                scene,
                old=f"{stage.path}[0]" if stage.inner is not None else stage.path,
                new=f"{path}[{index}]",
                contested=contested,
                lane=scene.lane * stage.replicas + index,
                member=index if stage.spread == "each" else scene.member,
            )
            replicas.entries.append(self._single(stage, also, inner, Onward((end,))))
        return Onward((replicas,))

    def _single(
        self, stage: StageNode, also: StageNode | None, scene: Scene, onward: Onward
    ) -> Onward:
        if stage.inner is None:
            return self._binder.bind(stage, also, scene, onward)
        inner = replace(scene, options={**scene.options, **stage.options})
        return self._graph(stage.inner, inner, onward)
