"""Pipelines of any shape over engines, worker pools, batch engines and delays, built by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import networkx as nx
from hand_built import MODEL, wires

from hermesdsl.graph.pipeline import Arrow, build
from hermesdsl.graph.types import (
    Choice,
    Client,
    CompiledSystem,
    Experiment,
    Group,
    LlmModel,
    Part,
    Pool,
    Spec,
    StageNode,
    Workload,
)
from hermesdsl.sim.run import simulate

#: Binary fractions: sums of steps are exact, so events tie.
TICK = 1 / 1024


@dataclass(frozen=True)
class PerItem:
    """A pass takes base + per_request·requests + per_token·tokens."""

    base: float = TICK
    per_request: float = TICK / 2
    per_token: float = TICK / 64

    def seconds(self, requests: int, tokens: int) -> float:
        return self.base + self.per_request * requests + self.per_token * tokens


def stage(path: str, kind: str, pool: str | None = None, **more: Any) -> StageNode:
    """Properties of the node by name (`replicas`, `join` …); what is left are options."""
    node = {k: more.pop(k) for k in ("replicas", "spread", "join", "repeat", "inner") if k in more}
    return StageNode(path, kind, pool, more, **node)


def graph(name: str, stages: Sequence[StageNode], *ways: Any) -> nx.DiGraph:
    """`ways`: chains of paths (a tuple within one forks), or (path, (choice, target …) …)."""
    arrows: list[Arrow] = []
    for way in ways:
        if isinstance(way, Branch):
            for order, (condition, *chain) in enumerate(way.arms):
                choice = Choice(order, **_choice(condition))
                arrows.append(Arrow(way.source, chain[0], choice))
                arrows += [Arrow(a, b) for a, b in pairwise(chain)]
            continue
        for before, after in pairwise(way):
            for a in before if isinstance(before, tuple) else (before,):
                arrows += [Arrow(a, b) for b in (after if isinstance(after, tuple) else (after,))]
    made, found = build(name, name, stages, arrows)
    assert not [d for d in found if d.is_error], found
    return made


@dataclass(frozen=True)
class Branch:
    """`arms`: (share, guard or None for else; then the way)."""

    source: str
    arms: Sequence[Sequence[Any]]


def _choice(condition: Any) -> dict[str, Any]:
    if condition is None:
        return {}
    return {"share": condition} if isinstance(condition, float) else {"guard": condition}


def clients(**pools: tuple[str, int, Mapping[str, Any]]) -> nx.DiGraph:
    """A placement graph; each pool is (client type, how many, options)."""
    placement: nx.DiGraph = nx.DiGraph(pools={})
    for name, (kind, count, options) in pools.items():
        options = dict(options)
        route = options.pop("route", Spec("round_robin"))
        model: LlmModel = options.pop("model", MODEL)
        members = tuple(f"{name}[{index}]" for index in range(count))
        for path in members:
            device = Part(f"{path}.gpu", "chip", "Chip")
            group = Group((device.path,), device, (), 0.0, 0.0)
            placement.add_node(path, client=Client(path, kind, group, model, name, options=options))
        placement.graph["pools"][name] = Pool(name, members, route)
    return placement


def site(
    pipelines: nx.DiGraph | Mapping[str, nx.DiGraph], placement: nx.DiGraph, **experiment: Any
) -> CompiledSystem:
    """One workload per pipeline, of the same name; the engines are joined by a switch."""
    if not isinstance(pipelines, Mapping):
        pipelines = {"w": pipelines}
    paths = [p for p, data in placement.nodes(data=True) if data["client"].type_name == "LlmEngine"]
    ends = [(f"{path}.gpu", "sw", 1000.0 / TICK, TICK) for path in paths]
    workloads = {name: Workload(name, name, Spec("poisson")) for name in pipelines}
    settings: dict[str, Any] = {"contention": "none", **experiment}
    return CompiledSystem(
        wires(*ends, switches=["sw"]), placement, pipelines, workloads,
        {"main": Experiment("main", tuple(pipelines), **settings)},
    )  # fmt: skip


def simulated(
    built: CompiledSystem, cost: Any, *batches: Any, seed: int = 1, service: Any = None, **more: Any
):
    """Every engine has the cost model `cost`, every stage without a time of its own `service`."""
    clients_ = {p: d["client"] for p, d in built.placement.nodes(data=True) if "client" in d}
    costs = {path: cost for path, c in clients_.items() if c.type_name == "LlmEngine"}
    services = {}
    if service is not None:
        for pipeline in built.pipelines.values():
            services |= _services(pipeline, built, service)
    return simulate(built, "main", seed=seed, costs=costs, load=batches, services=services, **more)


def _services(pipeline: nx.DiGraph, built: CompiledSystem, service: Any) -> dict[Any, Any]:
    found = {}
    for _, data in pipeline.nodes(data=True):
        node: StageNode | None = data.get("stage")
        if node is None:
            continue
        if node.inner is not None:
            found |= _services(node.inner, built, service)
        elif node.pool is not None:
            for member in built.placement.graph["pools"][node.pool].members:
                found[node.path, member] = service
    return found
