"""What the nodes and edges of the compiled graphs carry: plain, frozen, in SI units.

The interface between the language side (which builds these) and cost models, interpreter and
drawings (which read them). Also built by hand, in Python, without the language.
Knows no expression, syntax tree, clock or random number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.graph.devices import (
    Calibration,
    Container,
    Draw,
    Grid,
    HardwareGraph,
    Link,
    Part,
)
from hermesdsl.graph.models import ACTIVATION_DTYPES, DTYPE_BYTES, LlmModel
from hermesdsl.graph.questions import (
    Experiment,
    Objective,
    RequestClass,
    SweepAxis,
    Workload,
)
from hermesdsl.schema.values import Goal, Guard, Metric, Requirement, Spec, Value

if TYPE_CHECKING:
    import networkx as nx

__all__ = [
    "ACTIVATION_DTYPES",
    "Calibration",
    "Choice",
    "Client",
    "CompiledSystem",
    "Container",
    "DTYPE_BYTES",
    "Draw",
    "EngineProfile",
    "Experiment",
    "Fabric",
    "Goal",
    "Grid",
    "Group",
    "Guard",
    "HardwareGraph",
    "KvCache",
    "Link",
    "LlmModel",
    "Metric",
    "Objective",
    "Part",
    "PipelineGraph",
    "PlacementGraph",
    "Pool",
    "RequestClass",
    "Requirement",
    "Spec",
    "StageNode",
    "SweepAxis",
    "Tier",
    "TierStore",
    "Value",
    "VectorIndex",
    "View",
    "Workload",
]

# --- placement -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Fabric:
    """How the members of one communicator are joined.

    `alpha` seconds per hop of a message between neighbours (wire latencies on the route),
    `bandwidth` byte/s per direction and member at the narrowest point, `hops` on the longest
    route. One member: alpha 0, bandwidth inf.
    """

    size: int
    alpha: float
    bandwidth: float
    hops: int = 0


@dataclass(frozen=True)
class Group:
    """The devices one client runs on, and what they are together.

    `devices` are paths in placement order. `part` is the device (all of a group are alike).
    `memories` hold weights and KV; `memory_capacity` bytes and `memory_bandwidth` byte/s are per
    device, of which tiers of caches in use take `reserved` bytes. `tp_fabric` joins the devices of
    one tensor-parallel group, `pp_fabric` neighbouring pipeline stages, `ep_fabric` all devices
    of the group. Of processors that others run on too, the client has `cores_share` of the cores
    and their peak, and `memory_share` of the bandwidth.
    """

    devices: tuple[str, ...]
    part: Part
    memories: tuple[str, ...]
    memory_capacity: float
    memory_bandwidth: float
    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    tp_fabric: Fabric = Fabric(1, 0.0, float("inf"))
    pp_fabric: Fabric = Fabric(1, 0.0, float("inf"))
    ep_fabric: Fabric = Fabric(1, 0.0, float("inf"))
    reserved: float = 0.0
    cores_share: float = 1.0
    memory_share: float = 1.0


@dataclass(frozen=True)
class EngineProfile:
    """What the host of a serving engine takes and keeps, in seconds and bytes; see schema.profile.

    `graph_limit`: tokens of a step, inf: graphs for all. `churn`: bytes/s, inf: never.
    `step_tokens`, `reserved`: whole numbers.
    """

    name: str
    step: float = 0.0
    workers: float = 0.0
    sequence: float = 0.0
    token: float = 0.0
    overlap: float = 0.0
    gap: float = 0.0
    request: float = 0.0
    graph_limit: float = float("inf")
    eager: float = 0.0
    eager_prompt: float = 0.0
    passes: float = 0.0
    churn: float = float("inf")
    direct: bool = True
    sort: float = 0.0
    sort_start: float = 0.0
    answer: float = 0.0
    reserved: int = 0
    runtime: float = 0.0
    communicator: float = 0.0
    logits: float = 0.0
    step_tokens: int = 8192
    source: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Client:
    """A server: scheduler and hardware group (vertex attribute ``client`` of the placement graph).

    `type_name` is the built-in type (``LlmEngine``, ``BatchEngine``, ``WorkerPool``, ``Delay``,
    ``KvTier``). `vector` is the path without index when the client is one of several. `options`
    are the schema's properties in SI units, defaults filled in, e.g. for an engine: batching:
    Spec, max_batch: int, max_tokens: int | None, block_size: int, memory_rule: Spec,
    kv_dtype: str, order: str, preemption: str, profile: str. `draft`: the model that guesses tokens
    for `model` on the same devices (``speculate = draft(…)``). `profile`: one of the user's own,
    None where `options` name one of the library.
    """

    path: str
    type_name: str
    group: Group | None
    model: LlmModel | None = None
    vector: str = ""
    doc: str = ""
    options: Mapping[str, Value] = field(default_factory=dict)
    labels: tuple[tuple[str, str], ...] = ()
    draft: LlmModel | None = None
    profile: EngineProfile | None = None


@dataclass(frozen=True)
class Pool:
    """Several clients behind one name; a stage runs ``on`` a pool. A lone client is a pool of one.

    `members` are client paths in order; `route` picks among them.
    """

    path: str
    members: tuple[str, ...]
    route: Spec = field(default_factory=lambda: Spec("round_robin"))
    options: Mapping[str, Value] = field(default_factory=dict)


# Placement graph: nx.DiGraph
#   node client path   client: Client           node device path   part: Part
#   edge client -> device                       role: "device" | "memory"
#   graph.graph["pools"]: dict[str, Pool] (every pool, vector and lone client that a stage names)
PlacementGraph: TypeAlias = "nx.DiGraph[str]"

# --- pipelines -----------------------------------------------------------------------------


@dataclass(frozen=True)
class StageNode:
    """One stage, or a sub-pipeline, of a pipeline (node attribute ``stage``).

    `type_name` is the built-in stage it is or extends (``Prefill``, ``Generate``, ``Step`` …) or
    the name of the pipeline; `pool` the name in ``placement.graph["pools"]``; `options` the
    schema's properties in SI units (e.g. ``tokens``: Spec, ``service``: Spec or float, ``prefill``:
    pool name). `replicas` > 1 with `spread` and `join` is a replicated fork; `repeat` a Spec such
    as ``geometric``, ``while``, ``times``. `inner` is the sub-pipeline's own graph.
    """

    path: str
    type_name: str
    pool: str | None = None
    options: Mapping[str, Value] = field(default_factory=dict)
    replicas: int = 1
    spread: str = "routed"
    join: Spec = field(default_factory=lambda: Spec("all"))
    repeat: Spec | None = None
    inner: PipelineGraph | None = None
    doc: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Choice:
    """Edge attribute ``choice`` of an edge leaving a branch: the `order`-th arm.

    Exactly one of `guard` (condition), `share` (absolute probability, 0..1, of those requests
    that reach the shares) is set; neither for ``else``. `label` is what a drawing prints.
    """

    order: int
    guard: Guard | None = None
    share: float | None = None
    label: str = ""


# Pipeline graph: nx.DiGraph, acyclic
#   nodes "input", "output", "refused" and one per stage (id = full path), attribute
#     stage: StageNode (absent on the three ends), join: "merge" | "wait" | None on nodes with
#     several inputs
#   edges: choice: Choice | None
#   graph.graph: name: str, path: str, doc: str; on a pipeline that requests enter also
#     options: Mapping[str, Value], its own properties (transfer, pairing)
PipelineGraph: TypeAlias = "nx.DiGraph[str]"

# --- retrieval -----------------------------------------------------------------------------


@dataclass(frozen=True)
class VectorIndex:
    """A vector index: `kind` Spec (``ivf_pq``, ``flat``, ``hnsw``, ``gpu_flat``, ``tree``).

    `vectors` in all shards together, `dim` values of `dtype` each; `shards` equal parts.
    """

    name: str
    kind: Spec
    vectors: float
    dim: int
    shards: int = 1
    dtype: str = "fp32"
    doc: str = ""


# --- caches --------------------------------------------------------------------------------


@dataclass(frozen=True)
class TierStore:
    """Memories that form one store, striped evenly: `capacity` byte and `bandwidth` byte/s in all.

    `latency` seconds of one access, that of its slowest memory.
    """

    memories: tuple[str, ...]
    capacity: float
    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Tier:
    """One tier of a cache: its `stores`, and by client path the place of that in its `reach`.

    `scope` as written. `hit_rate`: a fixed rate instead of what is really there. `fails`: when all
    its stores do, if ever.
    """

    path: str
    scope: str
    stores: tuple[TierStore, ...]
    reach: Mapping[str, int]
    hit_rate: float | None = None
    fails: Spec | None = None


@dataclass(frozen=True)
class KvCache:
    """A hierarchy of KV tiers in the order in which they are looked into; then recompute.

    `block`: tokens that are kept, found and moved together. `eviction`, `write` and `overlap` as
    the schema has them.
    """

    name: str
    tiers: tuple[Tier, ...]
    eviction: str = "lru"
    write: str = "on_release"
    overlap: bool = False
    block: int = 256
    doc: str = ""


@dataclass(frozen=True)
class View:
    """A named drawing: one of the three sorts, of what lies below the paths `show` (all if empty).

    `fold`: alike siblings are drawn once. `color` is ``kind`` or ``utilisation`` (which needs the
    results of a run).
    """

    name: str
    of: str
    show: tuple[str, ...] = ()
    fold: bool = True
    color: str = "kind"
    title: str = ""


@dataclass(frozen=True)
class CompiledSystem:
    """Everything the interpreter needs; built by the compiler or by hand."""

    hardware: HardwareGraph
    placement: PlacementGraph
    pipelines: Mapping[str, PipelineGraph]
    workloads: Mapping[str, Workload]
    experiments: Mapping[str, Experiment]
    classes: Mapping[str, RequestClass] = field(default_factory=dict)
    views: Mapping[str, View] = field(default_factory=dict)
    indexes: Mapping[str, VectorIndex] = field(default_factory=dict)
    caches: Mapping[str, KvCache] = field(default_factory=dict)
