"""From instances of clients, models and pools to the placement graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import networkx as nx

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph import placement
from hermesdsl.graph.lowering.plain import options, plain
from hermesdsl.graph.types import (
    Client,
    HardwareGraph,
    LlmModel,
    PlacementGraph,
    Pool,
    Spec,
    VectorIndex,
)
from hermesdsl.model import flows
from hermesdsl.model.instance import Instance
from hermesdsl.model.values import Fail, text
from hermesdsl.model.wires import PARTS, holders
from hermesdsl.schema.serving import BYTES

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.elaborate import Tree

_SHOWN = {
    "LlmEngine": ("tp", "pp", "dp", "ep", "batching", "max_batch", "order", "preemption"),
    "BatchEngine": ("max_wait",),
    "WorkerPool": ("workers",),
    "Delay": ("latency",),
    "KvTier": ("scope", "capacity"),
}
#: Values that say nothing special.
_NOT_SHOWN = {"tp": 1, "pp": 1, "dp": 1, "ep": 1, "order": "fcfs", "preemption": "recompute"}


def lower(tree: Tree, hardware: HardwareGraph) -> tuple[PlacementGraph, list[Diagnostic]]:
    """Every client of the specification's files, with its devices."""
    builder = tree.builder
    found: list[Diagnostic] = []
    clients = list(_clients(tree))
    requests = []
    for instance in clients:
        try:
            requests.append(_request(builder, instance))
        except Fail as problem:
            builder.report(problem)
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
    chosen = flows.devices(builder, tier) if _type(tier) == "KvTier" else None
    return [part.path for part in chosen[1]] if chosen is not None else []


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
    """Clients of the user's files, then the tiers of caches."""
    for module in tree.modules:
        if module.library:
            continue
        for instance in holders(module.instance):
            if instance.kind.name == "client":
                yield instance
    for definition in tree.singles("cache").values():
        yield from definition.instance(tree.builder).each_child()


def _request(builder: Builder, instance: Instance) -> placement.ClientRequest:
    chosen = flows.devices(builder, instance)
    type_name = _type(instance)
    devices: tuple[str, ...] = ()
    span = None
    if chosen is not None:
        assert instance.decl is not None
        assert instance.decl.statement.on is not None
        span = instance.decl.statement.on.span
        for part in chosen[1]:
            if part.kind.name not in PARTS:
                raise Fail(
                    error("HMS405", f"a client runs on parts, not on the {part.kind.name} "
                          f"`{part}`", span,
                          notes=[f"help: name the devices in it, such as `{part}.gpu[*]`"])
                )  # fmt: skip
            if (part.kind.name == "memory") != (type_name == "KvTier"):
                wanted = "memories" if type_name == "KvTier" else "compute devices"
                raise Fail(error("HMS405", f"{type_name} runs on {wanted}, not on the "
                                 f"{part.kind.name} `{part}`", span))  # fmt: skip
        devices = tuple(p.path for p in chosen[1])
    elif instance.decl is not None:
        span = instance.decl.statement.target.span
    if type_name == "KvTier":
        devices = ()  # its memories are joined by scope, not cut into groups
    count = 1
    if instance.index is not None and instance.parent is not None:
        count = len(instance.parent.children[instance.name].items)  # type: ignore[union-attr]
    get = builder.number

    def whole(name: str) -> int:
        return int(get(instance, name)) if name in instance.properties else 1

    return placement.ClientRequest(
        instance.path, instance.vector or instance.path, instance.index or 0, count, type_name,
        devices, whole("tp"), whole("pp"), whole("dp"), whole("ep"),
        bool(get(instance, "spare")), bool(get(instance, "span")), bool(get(instance, "share")),
        span,
    )  # fmt: skip


def _type(instance: Instance) -> str:
    return instance.builtin.name if instance.builtin is not None else instance.type_name


def _client(builder: Builder, instance: Instance, request: placement.ClientRequest) -> Client:
    values = options(builder, instance)
    model = None
    if "model" in instance.properties:
        model = llm_model(builder, builder.get(instance, "model"), instance)
    shown = []
    for name in _SHOWN.get(_type(instance), ()):
        value = builder.get(instance, name) if name in instance.properties else None
        if value is not None and value != _NOT_SHOWN.get(name):
            shown.append((name, text(value)))
    return Client(
        instance.path, _type(instance), None, model, instance.vector, instance.doc, values,
        tuple(shown),
    )  # fmt: skip


def llm_model(builder: Builder, instance: Instance, client: Instance) -> LlmModel:
    """The model as the client runs it: its own dtypes where it states them."""
    get = builder.number

    def whole(name: str) -> int:
        return int(get(instance, name) or 0)

    def own(name: str) -> Any:
        return builder.get(client, name) if name in client.properties else None

    dtype = own("dtype") or get(instance, "dtype")
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
        activation_dtype=get(instance, "activation_dtype"),
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
