"""What the nodes and edges of the compiled graphs carry: plain, frozen, in SI units.

The interface between the language side (which builds these) and cost models, interpreter and
drawings (which read them). Also built by hand, in Python, without the language.
Knows no expression, syntax tree, clock or random number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.schema.values import Goal, Guard, Metric, Requirement, Spec, Value

if TYPE_CHECKING:
    import networkx as nx

__all__ = [
    "Calibration",
    "Choice",
    "Client",
    "CompiledSystem",
    "Container",
    "DTYPE_BYTES",
    "Draw",
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

#: Types that activations keep when the weights have them; below other weights they are bf16.
ACTIVATION_DTYPES = ("fp32", "fp16", "fp8")


# --- hardware ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """Values at every combination of the knots of some axes, the last axis fastest.

    `knots` ascend. `values` are factors on the speed of a data-sheet model; `measured`: seconds
    that were measured there.
    """

    axes: tuple[str, ...]
    knots: tuple[tuple[float, ...], ...]
    values: tuple[float, ...]
    measured: bool = False


@dataclass(frozen=True)
class Draw:
    """How much of its range from idle to limit a device draws in one sort of kernel.

    `busy`: while it runs anything; `compute` and `memory`: more at the full peak and bandwidth,
    each growing with its exponent on the share reached. `settle`: seconds; a kernel as short as
    that draws half. `spread`: exponent with which `busy` falls where a kernel has work for a share
    of the multiprocessors alone. `cost.power` has the formula.
    """

    busy: float
    compute: float
    memory: float
    compute_exponent: float = 1.0
    memory_exponent: float = 1.0
    settle: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """What kernels on a chip reach of its data sheet, and draw: by operator and dtype.

    Grids of factors multiply; a measured one comes first where a shape lies inside it. `power`:
    what was measured of the power that kernels draw.
    """

    name: str
    operators: Mapping[str, Mapping[str, tuple[Grid, ...]]]
    source: str = ""
    doc: str = ""
    power: Mapping[str, Mapping[str, Draw]] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One vertex of the hardware graph (attribute ``part``).

    `kind` is ``chip``, ``cpu``, ``switch``, ``nic`` or ``memory``; `type_name` the definition
    it was made from (``H100``). `labels` are (property, text) pairs in the user's own units.
    Rates: `peak` FLOP/s by dtype, `bandwidth` byte/s and `capacity` byte (memories), `latency`
    seconds per access or hop, `power` and `idle_power` watts, `cost` dollars per second.
    `forwards`: traffic between others may pass through. `calibration`: of a chip or processor
    whose kernels were measured. `fails`: when it does, if ever.
    """

    path: str
    kind: str
    type_name: str
    doc: str = ""
    forwards: bool = False
    peak: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float = 0.0
    capacity: float = 0.0
    latency: float = 0.0
    power: float = 0.0
    idle_power: float = 0.0
    cost: float = 0.0
    ports: int | None = None
    cores: int = 0
    sms: int = 0
    options: Mapping[str, Value] = field(default_factory=dict)
    labels: tuple[tuple[str, str], ...] = ()
    calibration: Calibration | None = None
    fails: Spec | None = None


@dataclass(frozen=True)
class Link:
    """The medium of one lane of a wire: `bandwidth` byte/s per direction, `latency` seconds."""

    name: str
    bandwidth: float
    latency: float
    label: str = ""
    doc: str = ""


@dataclass(frozen=True)
class Container:
    """A node, rack or cluster: not a vertex, but a box around some (`path` is their prefix).

    `fails`: when all of it does, if ever.
    """

    path: str
    kind: str
    type_name: str
    doc: str = ""
    power_limit: float | None = None
    cost: float | None = None
    labels: tuple[tuple[str, str], ...] = ()
    fails: Spec | None = None


# Hardware graph: nx.MultiDiGraph
#   node  id = path of the part            part: Part
#   edge  key 0, 1, … per parallel wire    link: Link, lanes: int, bandwidth: float (all lanes,
#                                          byte/s, this direction), latency: float (s)
#   graph.graph["containers"]: dict[str, Container] in path order, outermost first
HardwareGraph: TypeAlias = "nx.MultiDiGraph[str]"

# --- models --------------------------------------------------------------------------------


@dataclass(frozen=True)
class LlmModel:
    """A transformer as cost models see it. Counts are per layer unless said otherwise.

    `parameters` in all; `active_parameters` read per token (equal for dense models).
    `weight_bytes`, `kv_bytes_per_token` follow from dtypes (bytes, all layers). `gated`: the MLP
    has gate and up projections. Mixture of experts: `experts` > 0, each of width `expert_ffn`,
    `experts_active` per token, `shared_experts` always; the first `dense_layers` layers use `ffn`.
    Multi-head latent attention: `kv_lora_rank` > 0 (then q_lora_rank, rope_head_dim,
    value_head_dim apply). `window` > 0 limits attention to that many tokens in all layers but
    `full_layers` of them. `scaling`: narrow weights have a factor per ``tensor`` or per ``block``.
    `max_context`: positions it was trained for; 0: not said. `kind` is ``decoder`` or ``encoder``.
    """

    name: str
    layers: int
    hidden: int
    ffn: int
    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    parameters: float
    active_parameters: float
    dtype: str
    kv_dtype: str
    activation_dtype: str
    weight_bytes: float
    kv_bytes_per_token: float
    gated: bool = True
    tied_embeddings: bool = False
    experts: int = 0
    experts_active: int = 0
    expert_ffn: int = 0
    shared_experts: int = 0
    dense_layers: int = 0
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    rope_head_dim: int = 0
    value_head_dim: int = 0
    window: int = 0
    scaling: str = "tensor"
    full_layers: int = 0
    max_context: int = 0
    kind: str = "decoder"
    doc: str = ""


#: Bytes per value of each dtype the language knows.
DTYPE_BYTES: Mapping[str, float] = MappingProxyType(
    {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0,
     "fp6": 0.75, "fp4": 0.5, "int4": 0.5}
)  # fmt: skip

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


# --- load and experiment -------------------------------------------------------------------


@dataclass(frozen=True)
class RequestClass:
    """A customer class: `bounds` metric name → seconds (``ttft``, ``tpot``, ``itl``, ``e2e``)."""

    name: str
    priority: int = 0
    bounds: Mapping[str, float] = field(default_factory=dict)
    doc: str = ""


@dataclass(frozen=True)
class Workload:
    """Requests: `pipeline` (name in `CompiledSystem.pipelines`), arrivals, lengths, classes.

    `arrivals` Spec: ``poisson(rate)``, ``gamma(rate, cv)``, ``constant(rate)``, ``trace(file, …)``…
    (rate in 1/s). `prompt`, `output` are Specs of tokens (``fixed(value)`` for a quantity), None
    where the arrivals bring them (a trace). `class_mix` (class name, share) pairs; empty → one
    unnamed class. `requests` limits the number offered. `options` holds what else the schema
    has (turns, think_time, prefix). `sessions`: arrivals are sessions.
    """

    name: str
    pipeline: str
    arrivals: Spec
    prompt: Spec | None = None
    output: Spec | None = None
    class_mix: tuple[tuple[str, float], ...] = ()
    requests: int | None = None
    sessions: bool = False
    options: Mapping[str, Value] = field(default_factory=dict)
    doc: str = ""


@dataclass(frozen=True)
class SweepAxis:
    """``sweep``: points along one axis; each maps paths to source texts of values.

    `values` are the same as numbers in SI units or as words; `units` per target the unit that the
    user wrote and its factor to SI (``("GB/s", 1e9)``; ``("", 1)`` without one). `between`: the
    ends of a domain without points, ints if only whole numbers are meant; it has a single text.
    """

    targets: tuple[str, ...]
    points: tuple[tuple[str, ...], ...]
    values: tuple[tuple[float | str, ...], ...] = ()
    units: tuple[tuple[str, float], ...] = ()
    between: tuple[float, float] | None = None


@dataclass(frozen=True)
class Objective:
    """What is to be small, or large if `up`: `text` as written.

    `metric` is the metric it names, None if it names a swept value.
    """

    text: str
    up: bool
    metric: Metric | None = None


@dataclass(frozen=True)
class Experiment:
    """What to run: times in seconds. `duration` None: until the workloads' requests are served.

    `objectives`: those of `minimize`, then those of `maximize`.
    """

    name: str
    workloads: tuple[str, ...]
    duration: float | None = None
    warmup: float = 0.0
    seeds: tuple[int, ...] = (1,)
    horizon: str = "drain"
    contention: str = "fair"
    requirements: tuple[Requirement, ...] = ()
    axes: tuple[SweepAxis, ...] = ()
    objectives: tuple[Objective, ...] = ()
    strategy: Spec | None = None
    options: Mapping[str, Value] = field(default_factory=dict)
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
