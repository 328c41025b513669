"""From stages and the clients they run on to their cost models, or to the reasons why not.

For everything but LLM engines: forward passes on batch engines, searches and work on text on
worker pools. Knows graphs of stages and clients; never the clock, requests or results.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import inf
from typing import TypeAlias

from hermesdsl.cost.bind import served_model
from hermesdsl.cost.constants import Profile, efficiencies_of
from hermesdsl.cost.cores import WORKS
from hermesdsl.cost.device import WIDER, own_cores, peak_dtype
from hermesdsl.cost.forward import ForwardCost, forward_cost, memory_needed
from hermesdsl.cost.llm import gemm_dtype
from hermesdsl.cost.memory import gib
from hermesdsl.cost.profiles import profile_of
from hermesdsl.cost.rag import FLOAT, SCAN_MEMORY, Index, Machine, SearchCost, flat, hnsw, ivf_pq
from hermesdsl.cost.rag import tree as tree_index
from hermesdsl.cost.types import ServiceCost
from hermesdsl.diagnostics import Diagnostic, Sink, error
from hermesdsl.graph.ledger import sharded
from hermesdsl.graph.types import (
    Client,
    CompiledSystem,
    Group,
    LlmModel,
    PipelineGraph,
    PlacementGraph,
    Pool,
    StageNode,
    Value,
    VectorIndex,
)
from hermesdsl.schema.serving import BYTES

#: Stages that are one forward pass of a batch engine's model; True: one token's logits follow.
FORWARD: Mapping[str, bool] = {
    "Embed": False, "Rerank": False, "Score": False, "Classify": True, "Guard": True,
}  # fmt: skip

#: Path of a stage and path of a client that may serve it.
Place: TypeAlias = tuple[str, str]


def bind_services(system: CompiledSystem) -> dict[Place, ServiceCost]:
    """The cost of every stage on every client it may run on, where a model of costs is asked.

    Left out: stages with a `service` time of their own, stages on a `Delay` or an LLM engine,
    and stages that only pass on. What a cost counts: Embed, Classify, Guard, Score one sequence
    per request; Rerank one per candidate passage (query and passage together); Retrieve one
    query per request; stages on text their requests. Raises SpecError with all of
    `diagnose_services`.
    """
    sink = Sink()
    for item in diagnose_services(system):
        if item.is_error:
            sink.add(item)
    sink.raise_if_failed()
    return {
        (stage.path, client.path): _cost(system, stage, client) for stage, client in _served(system)
    }


def work_of(stage: StageNode, tokens: int, candidates: int = 0) -> tuple[int, int]:
    """What one request adds to the (`requests`, `tokens`) of a batch of this stage.

    `tokens` that the stage reads of the request: its query, its text. A reranker reads each of
    `candidates` passages of `chunk` tokens together with the query.
    """
    if stage.type_name != "Rerank":
        return 1, tokens
    chunk = _whole(stage.options.get("chunk"), 0)
    return candidates, candidates * (tokens + chunk)


def diagnose_services(system: CompiledSystem) -> list[Diagnostic]:
    """All of `problems_of_services`, each reason once."""
    return list(dict.fromkeys(problem for _, problem in problems_of_services(system)))


def problems_of_services(system: CompiledSystem) -> list[tuple[str, Diagnostic]]:
    """Why a stage has no cost on its client, by the stage's path, once per vector of clients.

    HMS405 without devices, memory, or the kind of device an index needs; HMS407 for a model or
    an index that does not fit; HMS411 without a peak; HMS505 for shards that the replicas of a
    search do not share out evenly; HMS506 for an engine profile without constants.
    """
    found: dict[tuple[str, str], Diagnostic] = {}
    for stage, client in _served(system):
        key = (stage.path, client.vector or client.path)
        if key not in found:
            problem = _problem(system, stage, client)
            if problem is not None:
                found[key] = problem
    return [(stage, problem) for (stage, _), problem in found.items()]


def _served(system: CompiledSystem) -> Iterator[tuple[StageNode, Client]]:
    """Every stage with each client whose cost is asked."""
    pools: Mapping[str, Pool] = system.placement.graph["pools"]
    for graph in system.pipelines.values():
        for stage in _stages(graph):
            if stage.pool is None or stage.options.get("service") is not None:
                continue
            for path in pools[stage.pool].members:
                client: Client = system.placement.nodes[path]["client"]
                if _asked(stage, client):
                    yield stage, client


def _stages(graph: PipelineGraph, each: int = 0) -> Iterator[StageNode]:
    """Every stage; one that `each` replicas around it share out, as that many replicas."""
    for _, data in graph.nodes(data=True):
        stage: StageNode | None = data.get("stage")
        if stage is None:
            continue
        apart = sharded(stage, each)
        if stage.inner is not None:
            yield from _stages(stage.inner, apart)
        else:
            yield replace(stage, spread="each", replicas=apart) if apart else stage


def _asked(stage: StageNode, client: Client) -> bool:
    if stage.type_name in FORWARD:
        return client.type_name == "BatchEngine"
    return client.type_name == "WorkerPool" and (
        stage.type_name == "Retrieve" or stage.type_name in WORKS
    )


def _cost(system: CompiledSystem, stage: StageNode, client: Client) -> ServiceCost:
    """The cost of one stage on one client that has no problem."""
    if stage.type_name in FORWARD:
        return _forward(stage, client)
    if stage.type_name == "Retrieve":
        index = system.indexes[str(stage.options["index"])]
        machine = _machine(client, index, system.placement)
        return SearchCost(_index(index, stage), machine, _workers(client))
    return WORKS[stage.type_name](stage, client)


def _problem(system: CompiledSystem, stage: StageNode, client: Client) -> Diagnostic | None:
    if stage.type_name in FORWARD:
        return _forward_problem(client)
    if stage.type_name == "Retrieve":
        return _search_problem(system, stage, client)
    return None


# --- forward passes ------------------------------------------------------------------------


def _forward(stage: StageNode, client: Client) -> ForwardCost:
    profile = profile_of(client)
    assert client.group is not None
    assert profile is not None
    head = FORWARD[stage.type_name]
    return forward_cost(served_model(client), client.group, profile, head=head)


def _forward_problem(client: Client) -> Diagnostic | None:
    group, profile = client.group, profile_of(client)
    if group is None or client.model is None:
        return error("HMS405", f"`{client.path}` has no devices or no model")
    if group.memory_capacity <= 0 or group.memory_bandwidth <= 0:
        return error("HMS405", f"the devices of `{client.path}` have no memory")
    if profile is None:
        name = client.options.get("profile")
        message = f"engine profile `{name}` of `{client.path}` has no constants yet"
        return error("HMS506", message)
    model = served_model(client)
    dtype = gemm_dtype(model)
    if peak_dtype(group.part.peak, dtype) is None:
        return _no_peak(group, dtype, f"the model of `{client.path}`")
    return _fit_problem(client, model, group, profile)


def largest_batch(client: Client, model: LlmModel, group: Group, profile: Profile) -> float:
    """Bytes per device that a batch engine needs for its weights and its largest batch."""
    tokens = _whole(client.options.get("max_tokens"), 16_384)
    sequences = _whole(client.options.get("max_batch"), 64)
    return memory_needed(model, group, profile, tokens=tokens, sequences=sequences)


def _fit_problem(
    client: Client, model: LlmModel, group: Group, profile: Profile
) -> Diagnostic | None:
    """HMS407 unless weights and the largest batch fit."""
    needed = largest_batch(client, model, group, profile)
    if needed <= group.memory_capacity:
        return None
    message = (
        f"`{client.path}` needs {gib(needed)} per device for its weights and the largest "
        f"batch, but a device holds {gib(group.memory_capacity)}"
    )
    note = "help: a smaller model, a narrower dtype, more devices (tp), or a smaller max_tokens"
    return error("HMS407", message, notes=(note,))


def _no_peak(group: Group, dtype: str, what: str) -> Diagnostic:
    listed = ", ".join(group.part.peak) or "none"
    message = f"`{group.part.type_name}` has no peak for {dtype} ({what})"
    return error("HMS411", message, notes=(f"help: nor for any wider type; its peaks: {listed}",))


# --- searches ------------------------------------------------------------------------------


def _index(index: VectorIndex, stage: StageNode) -> Index:
    """What one replica of a search reads: its shards, or all of the index."""
    args = index.kind.args
    vectors, results = index.vectors * _part_held(index, stage), _whole(stage.options["top_k"], 10)
    name = index.kind.name

    def count(argument: str) -> int:
        return _whole(args.get(argument), 1)

    if name == "ivf_pq":
        return ivf_pq(
            vectors=vectors, dim=index.dim, centroids=count("centroids"), probes=count("probes"),
            codes=count("bytes_per_vector"), results=results,
        )  # fmt: skip
    if name == "hnsw":
        value = BYTES[index.dtype]
        return hnsw(vectors=vectors, dim=index.dim, value=value, ef=count("ef"), m=count("m"))
    if name == "tree":
        scanned = args.get("scanned")
        assert isinstance(scanned, int | float)
        return tree_index(
            vectors=vectors, codes=count("bytes_per_vector"), fan_out=count("fan_out"),
            levels=count("levels"), scanned=float(scanned),
        )  # fmt: skip
    return flat(vectors=vectors, dim=index.dim, value=BYTES[index.dtype])


def _part_held(index: VectorIndex, stage: StageNode) -> float:
    """Replicas that go each to its own member hold their shards; any other search has all."""
    return 1.0 / stage.replicas if index.shards > 1 and stage.spread == "each" else 1.0


def index_bytes(index: VectorIndex) -> float:
    """Bytes that a search of the whole index keeps in memory: codes and centroids, or vectors."""
    args = index.kind.args
    if index.kind.name in ("ivf_pq", "tree"):
        centroids = FLOAT * index.dim * _whole(args.get("centroids"), 0)
        return index.vectors * _whole(args.get("bytes_per_vector"), 1) + centroids
    links = 2.0 * FLOAT * _whole(args.get("m"), 0)
    return index.vectors * (index.dim * BYTES[index.dtype] + links)


def _machine(client: Client, index: VectorIndex, placement: PlacementGraph) -> Machine:
    """The devices of a client as a searcher; centroids and tables are fp32, vectors their own."""
    group, profile = client.group, profile_of(client)
    assert group is not None
    served = peak_dtype(group.part.peak, _compute_dtype(index))
    assert served is not None
    efficiencies = efficiencies_of(group.part, served)
    devices, cpu = len(group.devices), group.part.kind == "cpu"
    latency = max((placement.nodes[m]["part"].latency for m in group.memories
                   if m in placement), default=0.0)  # fmt: skip
    return Machine(
        peak=group.part.peak[served] * efficiencies.smooth_compute * devices * group.cores_share,
        bandwidth=group.memory_bandwidth * devices * SCAN_MEMORY * group.memory_share,
        cores=(own_cores(group) or float(devices)) if cpu else inf,
        latency=latency,
        launch=0.0 if cpu or profile is None else profile.overheads.kernel,
    )


def _compute_dtype(index: VectorIndex) -> str:
    own = index.dtype if index.kind.name in ("flat", "gpu_flat", "hnsw") else "fp32"
    return own if own in WIDER else "fp32"


def _search_problem(system: CompiledSystem, stage: StageNode, client: Client) -> Diagnostic | None:
    name, group = str(stage.options.get("index")), client.group
    index = system.indexes.get(name)
    if index is None:
        return error("HMS505", f"{stage.path} searches `{name}`, which is no index")
    if group is None or group.memory_capacity <= 0 or group.memory_bandwidth <= 0:
        message = f"{stage.path} searches on `{client.path}`, which has no memory"
        return error("HMS405", message, notes=("help: run it `on` a processor with memory",))
    if index.kind.name == "gpu_flat" and group.part.kind == "cpu":
        message = f"`{name}` is searched on a GPU, and `{client.path}` runs on a CPU"
        return error("HMS405", message, notes=("help: use `kind = flat` there",))
    if peak_dtype(group.part.peak, _compute_dtype(index)) is None:
        return _no_peak(group, _compute_dtype(index), f"the search of `{client.path}`")
    if stage.spread == "each" and index.shards > 1 and index.shards % stage.replicas:
        message = (
            f"{stage.path}: {stage.replicas} replicas do not share out the {index.shards} shards "
            f"of `{name}` evenly"
        )
        return error("HMS505", message)
    needed = index_bytes(index) * _part_held(index, stage)
    capacity = group.memory_capacity * len(group.devices)
    if needed > capacity:
        message = (
            f"`{name}` takes {gib(needed)} on `{client.path}`, whose memory holds {gib(capacity)}"
        )
        note = "help: more shards with `spread = each`, or shorter codes"
        return error("HMS407", message, notes=(note,))
    return None


# --- values --------------------------------------------------------------------------------


def _workers(client: Client) -> int:
    return _whole(client.options.get("workers"), 1)


def _whole(value: Value, default: int) -> int:
    return int(value) if isinstance(value, int | float) else default
