"""Systems built by hand, and cost models with closed forms, for the tests of the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from hermesdsl.cost.types import DecodeRun, Piece, StepWork
from hermesdsl.graph.types import (
    Client,
    CompiledSystem,
    Experiment,
    Group,
    Link,
    LlmModel,
    Part,
    Pool,
    Spec,
    StageNode,
    Workload,
)
from hermesdsl.sim.requests import RequestBatch
from hermesdsl.sim.run import simulate


@dataclass(frozen=True)
class AffineCost:
    """A step takes base + per_token·tokens + per_pair·prefill pairs + per_context·context."""

    kv_tokens: int = 1 << 40
    base: float = 0.0
    per_token: float = 0.0
    per_pair: float = 0.0
    per_context: float = 0.0

    def step(self, work: StepWork) -> float:
        if not work.prefills:
            return self.decode_run(work.decodes, work.decode_context).seconds(1)
        return (
            self.base
            + self.per_token * work.tokens
            + self.per_pair * work.prefill_pairs
            + self.per_context * work.decode_context
        )

    def decode_run(self, decodes: int, context: float) -> DecodeRun:
        step = self.base + self.per_token * decodes
        return DecodeRun((Piece(0.0, step, self.per_context),), decodes, context)


@dataclass(frozen=True)
class KneeCost(AffineCost):
    """As `AffineCost`, but context above `knee` costs `beyond` times as much per token."""

    knee: float = 300.0
    beyond: float = 3.0

    def decode_run(self, decodes: int, context: float) -> DecodeRun:
        step = self.base + self.per_token * decodes
        slope = self.beyond * self.per_context
        after = step + (self.per_context - slope) * self.knee
        knee = Piece(self.knee, after, slope)
        if context >= self.knee:
            return DecodeRun((knee,), decodes, context)
        return DecodeRun((Piece(0.0, step, self.per_context), knee), decodes, context)


@dataclass(frozen=True)
class RankedCost(AffineCost):
    """As `AffineCost`, of the rank that has most; gains `advance` tokens per sequence and step."""

    advance: float = 1.0

    def step(self, work: StepWork) -> float:
        if not work.prefills:
            most = work.rank.decodes if work.rank is not None else 0
            return self.decode_run(work.decodes, work.decode_context, most).seconds(1)
        rank = work.rank or work
        return (
            self.base
            + self.per_token * rank.tokens
            + self.per_pair * rank.prefill_pairs
            + self.per_context * work.decode_context
        )

    def decode_run(self, decodes: int, context: float, most: int = 0) -> DecodeRun:
        step = self.base + self.per_token * (most or decodes)
        pieces = (Piece(0.0, step, self.per_context),)
        return DecodeRun(pieces, decodes, context, self.advance)


def batch(
    arrival: Sequence[float] | np.ndarray,
    prompt: int | Sequence[int] = 1,
    output: int | Sequence[int] = 1,
    workload: str = "w",
) -> RequestBatch:
    n = len(arrival)
    whole = np.zeros(n, np.int32)
    return RequestBatch(
        workload,
        np.asarray(arrival, np.float64),
        np.broadcast_to(np.asarray(prompt, np.int64), n).copy(),
        np.broadcast_to(np.asarray(output, np.int64), n).copy(),
        whole,
        np.full(n, -1, np.int64),
        whole,
    )


def pipeline(name: str, *stages: StageNode) -> nx.DiGraph:
    graph: nx.DiGraph = nx.DiGraph(name=name, path=name, doc="")
    path = ["input", *(stage.path for stage in stages), "output"]
    graph.add_nodes_from(path)
    for stage in stages:
        graph.nodes[stage.path]["stage"] = stage
    nx.add_path(graph, path, choice=None)
    return graph


def chat(pool: str = "llm", decode: str | None = None) -> nx.DiGraph:
    return pipeline(
        "chat",
        StageNode("chat.prefill", "Prefill", pool),
        StageNode("chat.decode", "Decode", decode or pool),
    )


def generate(pool: str = "llm", **options: Any) -> nx.DiGraph:
    return pipeline("chat", StageNode("chat.answer", "Generate", pool, options))


def reading(pool: str = "llm") -> nx.DiGraph:
    return pipeline("chat", StageNode("chat.prefill", "Prefill", pool))


MODEL = LlmModel(
    "tiny", 1, 1, 1, 1, 1, 1, 1, 1.0, 1.0, "bf16", "bf16", "bf16", 2.0, kv_bytes_per_token=1000.0
)


def system(
    graph: nx.DiGraph,
    *,
    engines: dict[str, int] | None = None,
    route: Spec = Spec("round_robin"),  # noqa: B008
    options: dict[str, Any] | None = None,
    kind: str = "LlmEngine",
    hardware: nx.MultiDiGraph | None = None,
    dp: int = 1,
    model: LlmModel = MODEL,
    workloads: Sequence[Workload] = (Workload("w", "chat", Spec("poisson")),),
    **experiment: Any,
) -> CompiledSystem:
    """`engines`: how many in each pool; client ``llm[0]`` runs on device ``llm[0].gpu``."""
    placement: nx.DiGraph = nx.DiGraph()
    pools = {}
    for pool, count in (engines or {"llm": 1}).items():
        members = tuple(f"{pool}[{index}]" for index in range(count))
        for path in members:
            device = Part(f"{path}.gpu", "chip", "Chip")
            group = Group((device.path,), device, (), 0.0, 0.0, dp=dp)
            client = Client(path, kind, group, model, pool, options=options or {})
            placement.add_node(path, client=client)
            placement.add_node(device.path, part=device)
            placement.add_edge(path, device.path, role="device")
        pools[pool] = Pool(pool, members, route)
    placement.graph["pools"] = pools
    names = tuple(workload.name for workload in workloads)
    return CompiledSystem(
        hardware if hardware is not None else nx.MultiDiGraph(),
        placement,
        {"chat": graph},
        {workload.name: workload for workload in workloads},
        {"main": Experiment("main", names, **experiment)},
    )


def wires(*ends: tuple[str, str, float, float], switches: Sequence[str] = ()) -> nx.MultiDiGraph:
    """Hardware of chips and switches; ends: (one, other, bandwidth, latency), both directions."""
    graph: nx.MultiDiGraph = nx.MultiDiGraph(containers={})
    for one, other, bandwidth, latency in ends:
        for path in (one, other):
            kind = "switch" if path in switches else "chip"
            graph.add_node(path, part=Part(path, kind, kind, forwards=kind == "switch"))
        for a, b in ((one, other), (other, one)):
            link = Link("wire", bandwidth, latency)
            graph.add_edge(a, b, link=link, lanes=1, bandwidth=bandwidth, latency=latency)
    return graph


def run(built: CompiledSystem, cost: Any, *batches: RequestBatch, seed: int = 1, **more: Any):
    """Simulate experiment ``main`` with the same cost model for every client."""
    costs = {path: cost for path in built.placement if "client" in built.placement.nodes[path]}
    return simulate(built, "main", seed=seed, costs=costs, load=batches, **more)
