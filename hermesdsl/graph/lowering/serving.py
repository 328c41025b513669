"""From instances of clients, models and pools to the placement graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import networkx as nx

from hermesdsl.diagnostics import Diagnostic, Label, error
from hermesdsl.graph import placement
from hermesdsl.graph.lowering.plain import options, plain
from hermesdsl.graph.lowering.profile import profile
from hermesdsl.graph.lowering.requests import Requests, client_type
from hermesdsl.graph.types import (
    ACTIVATION_DTYPES,
    Client,
    EngineProfile,
    HardwareGraph,
    LlmModel,
    PlacementGraph,
    Pool,
    Spec,
    Value,
    VectorIndex,
)
from hermesdsl.model import flows
from hermesdsl.model.instance import Definition, Instance
from hermesdsl.model.values import ComputedValue, Fail, text
from hermesdsl.model.wires import holders
from hermesdsl.schema.serving import BYTES

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.elaborate import Tree

_SHOWN = {
    "LlmEngine": (
        "tp",
        "pp",
        "dp",
        "ep",
        "batching",
        "max_batch",
        "order",
        "preemption",
        "speculate",
    ),
    "BatchEngine": ("max_wait",),
    "WorkerPool": ("workers",),
    "Delay": ("latency",),
    "KvTier": ("scope", "capacity"),
}
#: Values that say nothing special.
_NOT_SHOWN = {"tp": 1, "pp": 1, "dp": 1, "ep": 1, "order": "fcfs", "preemption": "recompute",
              "speculate": "off"}  # fmt: skip


def lower(tree: Tree, hardware: HardwareGraph) -> tuple[PlacementGraph, list[Diagnostic]]:
    """Every client of the specification's files, with its devices."""
    builder = tree.builder
    found: list[Diagnostic] = []
    clients = list(_clients(tree))
    requests = Requests(builder, hardware).of(clients)
    groups, problems = placement.place(hardware, requests)
    found += problems
    graph: PlacementGraph = nx.DiGraph(pools={})
    for instance, request in _paired(clients, requests):
        try:
            client = _client(builder, instance, request)
        except Fail as problem:
            builder.report(problem)
            continue
        group = groups.get(client.path)
        graph.add_node(client.path, client=replace(client, group=group))
        for device in group.devices if group is not None else ():
            _join(graph, hardware, client.path, device, "device")
        memories = group.memories if group is not None else _memories(builder, instance)
        for memory in memories:
            _join(graph, hardware, client.path, memory, "memory")
    return graph, found


def _memories(builder: Builder, tier: Instance) -> list[str]:
    """The memories that a tier of a cache lies in; none for other clients."""
    chosen = flows.devices(builder, tier) if client_type(tier) == "KvTier" else None
    return [part.path for part in chosen] if chosen is not None else []


def _paired(
    clients: list[Instance], requests: list[placement.ClientRequest]
) -> Iterator[tuple[Instance, placement.ClientRequest]]:
    by_path = {r.path: r for r in requests}
    return ((i, by_path[i.path]) for i in clients if i.path in by_path)


def _join(
    graph: PlacementGraph, hardware: HardwareGraph, client: str, device: str, role: str
) -> None:
    if device in hardware:
        graph.add_node(device, part=hardware.nodes[device]["part"])
        graph.add_edge(client, device, role=role)


def _clients(tree: Tree) -> Iterator[Instance]:
    """Clients of the user's files, and the tiers of caches, whatever those lie in."""
    last: list[Instance] = []
    for module in tree.modules:
        if module.library:
            continue
        for instance in holders(module.instance):
            if instance.kind.name == "client":
                yield instance
            for name, member in instance.members.items():
                if isinstance(member, Definition) and member.kind.name == "cache":
                    cache = tree.builder.own(instance, name)
                    made = cache.instance(tree.builder) if cache is member else cache
                    last += made.each_child()
    yield from last


def _client(builder: Builder, instance: Instance, request: placement.ClientRequest) -> Client:
    values = options(builder, instance)
    if "batching" in values:
        _one_budget(instance, values)
    model = None
    if "model" in instance.properties:
        model = llm_model(builder, builder.get(instance, "model"), instance)
    draft = None
    if "speculate" in instance.properties:
        draft = _draft(builder, builder.get(instance, "speculate"))
    shown = []
    for name in _SHOWN.get(client_type(instance), ()):
        value = builder.get(instance, name) if name in instance.properties else None
        if value is not None and value != _NOT_SHOWN.get(name):
            shown.append((name, text(value)))
    return Client(
        instance.path, client_type(instance), None, model, instance.vector, instance.doc, values,
        tuple(shown), draft, _own_profile(builder, instance),
    )  # fmt: skip


def _own_profile(builder: Builder, instance: Instance) -> EngineProfile | None:
    """The user's own profile; None where a word names one of the library."""
    named = builder.get(instance, "profile") if "profile" in instance.properties else None
    return profile(builder, named) if isinstance(named, Instance) else None


def _draft(builder: Builder, value: Any) -> LlmModel | None:
    """The model that ``draft(model, …)`` names, in its own dtypes."""
    chosen = value.args.get("model") if isinstance(value, ComputedValue) else None
    if isinstance(chosen, Definition):
        chosen = chosen.instance(builder)
    return llm_model(builder, chosen, chosen) if isinstance(chosen, Instance) else None


def _one_budget(instance: Instance, values: dict[str, Value]) -> None:
    """``chunked(b)`` is `max_tokens`: either may be given, both only if they agree."""
    batching, most = values["batching"], values.get("max_tokens")
    if not isinstance(batching, Spec) or batching.name != "chunked" or most is None:
        return
    if most == batching.args["budget"]:
        return
    slots = (instance.twin or instance).slots
    given, limit = slots["batching"].winner, slots["max_tokens"].winner
    assert limit is not None
    if given is not None:
        labels = [] if given.span is None else [Label(given.span, "one budget here")]
        raise Fail(error("HMS209", f"`{instance}` has two budgets for one step: `chunked(b)` is "
                         "`max_tokens`", limit.span, labels=labels,
                         notes=["help: give one of them"]))  # fmt: skip
    values["batching"] = Spec("chunked", {**batching.args, "budget": most})


def llm_model(builder: Builder, instance: Instance, client: Instance) -> LlmModel:
    """The model as the client runs it: its own dtypes where it states them."""
    get = builder.number

    def whole(name: str) -> int:
        return int(get(instance, name) or 0)

    def own(name: str) -> Any:
        return builder.get(client, name) if name in client.properties else None

    dtype, activations = get(instance, "dtype"), get(instance, "activation_dtype")
    if own("dtype") not in (None, dtype):
        dtype = own("dtype")
        activations = dtype if dtype in ACTIVATION_DTYPES else "bf16"
    kv_dtype = own("kv_dtype") or get(instance, "kv_dtype")
    return LlmModel(
        name=instance.name,
        layers=whole("layers"),
        hidden=whole("hidden"),
        ffn=whole("ffn"),
        vocab=whole("vocab"),
        heads=whole("heads"),
        kv_heads=whole("kv_heads"),
        head_dim=whole("head_dim"),
        parameters=float(get(instance, "parameters")),
        active_parameters=float(get(instance, "active_parameters")),
        dtype=dtype,
        kv_dtype=kv_dtype,
        activation_dtype=activations,
        weight_bytes=get(instance, "parameters") * BYTES[dtype],
        kv_bytes_per_token=get(instance, "kv_per_token")
        * BYTES[kv_dtype]
        / BYTES[get(instance, "kv_dtype")],
        gated=bool(get(instance, "gated")),
        tied_embeddings=bool(get(instance, "tied_embeddings")),
        experts=whole("experts"),
        experts_active=whole("experts_active"),
        expert_ffn=whole("expert_ffn"),
        shared_experts=whole("shared_experts"),
        dense_layers=whole("dense_layers"),
        q_lora_rank=whole("q_lora_rank"),
        kv_lora_rank=whole("kv_lora_rank"),
        rope_head_dim=whole("rope_head_dim"),
        value_head_dim=whole("value_head_dim"),
        window=whole("window"),
        scaling=str(get(instance, "scaling")),
        full_layers=whole("full_layers"),
        max_context=int(get(instance, "max_context") or 0),
        kind=get(instance, "kind"),
        doc=instance.doc,
    )


def indexes(tree: Tree) -> dict[str, VectorIndex]:
    """Every index of the specification's files, by the path that stages name it by."""
    builder = tree.builder
    found = {}
    for definition in tree.singles("index").values():
        try:
            instance = definition.instance(builder)
            kind = plain(builder, builder.get(instance, "kind"))
            assert isinstance(kind, Spec)
            found[instance.path] = VectorIndex(
                instance.path,
                kind,
                float(builder.number(instance, "vectors")),
                int(builder.number(instance, "dim")),
                int(builder.number(instance, "shards")),
                builder.get(instance, "dtype"),
                instance.doc,
            )
        except Fail as problem:
            builder.report(problem)
    return found


def pool(builder: Builder, clients: flows.Clients) -> Pool:
    """What a stage runs on, as the interpreter sees it."""
    members = tuple(m.path for m in clients.members)
    holder = clients.pool or clients.members[0]
    route = builder.get(holder, "route")
    values = options(builder, clients.pool) if clients.pool is not None else {}
    made = plain(builder, route)
    assert isinstance(made, Spec)
    return Pool(clients.name, members, made, values)
