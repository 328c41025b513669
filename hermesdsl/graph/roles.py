"""Which members of a pool a stage runs on, where engines serve prefill or decode only.

An engine with ``role = prefill`` reads prompts and takes checks, which are a prompt and one token;
one with ``role = decode`` produces tokens from KV that is there. A stage on a pool of several
roles runs on those members that serve it; `Generate` then reads on the one sort and writes on the
other. KV that was given up is read again where it is needed, whatever the role. Knows pools,
clients and stages; no syntax, time or cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from hermesdsl.graph.types import Client, CompiledSystem, PipelineGraph, Pool, StageNode

if TYPE_CHECKING:
    import networkx as nx

#: What an engine may serve.
PREFILL, DECODE = "prefill", "decode"


def role_of(client: Client) -> str:
    """``both``, ``prefill`` or ``decode``; whatever is no engine serves both."""
    return str(client.options.get("role", "both"))


def serves(client: Client, part: str) -> bool:
    """True if a client serves this part of the work on a request."""
    return role_of(client) in ("both", part)


def parts_of(stage: StageNode) -> tuple[tuple[str, str], ...]:
    """(pool, part) of all that a stage asks of engines."""
    pool = str(stage.pool)
    if stage.type_name == "Decode":
        return ((pool, DECODE),)
    if stage.type_name != "Generate":
        return ((pool, PREFILL),)
    source = stage.options.get("prefill")
    return ((source if isinstance(source, str) else pool, PREFILL), (pool, DECODE))


def unserved(
    stage: StageNode, pools: Mapping[str, Pool], clients: Mapping[str, Client]
) -> tuple[str, str] | None:
    """(pool, part) of a stage that no member of the pool serves; None if there is none."""
    for name, part in parts_of(stage):
        members = pools[name].members
        if members and not any(serves(clients[path], part) for path in members):
            return name, part
    return None


def by_role(system: CompiledSystem) -> CompiledSystem:
    """The same system, its stages on pools of those members alone that serve them.

    A pool ``p`` of several roles is ``p (prefill)`` and ``p (decode)`` there, each with its own
    router state; only the latter converts roles. A system without roles is returned as it is.
    """
    placement = system.placement
    clients: dict[str, Client] = {
        path: data["client"] for path, data in placement.nodes(data=True) if "client" in data
    }
    if all(role_of(client) == "both" for client in clients.values()):
        return system
    pools: dict[str, Pool] = dict(placement.graph["pools"])
    parted: nx.DiGraph[str] = placement.copy()
    parted.graph["pools"] = pools
    pipelines = {
        name: _parted(graph, pools, clients) for name, graph in system.pipelines.items()
    }  # fmt: skip
    return replace(system, placement=parted, pipelines=pipelines)


def _parted(
    graph: PipelineGraph, pools: dict[str, Pool], clients: Mapping[str, Client]
) -> PipelineGraph:
    made = graph.copy()
    for path, data in made.nodes(data=True):
        stage: StageNode | None = data.get("stage")
        if stage is None:
            continue
        if stage.inner is not None:
            stage = replace(stage, inner=_parted(stage.inner, pools, clients))
        elif stage.pool in pools:
            stage = _on_parts(stage, pools, clients)
        made.nodes[path]["stage"] = stage
    return made


def _on_parts(stage: StageNode, pools: dict[str, Pool], clients: Mapping[str, Client]) -> StageNode:
    if any(name not in pools for name, _ in parts_of(stage)):
        return stage
    names = [_part(pools, name, part, clients) for name, part in parts_of(stage)]
    if len(names) == 1:
        return replace(stage, pool=names[0])
    reading, writing = names
    options = dict(stage.options)
    if pools[reading].members != pools[writing].members or "prefill" in options:
        options["prefill"] = reading
    return replace(stage, pool=writing, options=options)


def _part(pools: dict[str, Pool], name: str, part: str, clients: Mapping[str, Client]) -> str:
    """The pool of those members that serve `part`: the pool itself if all do, or none."""
    pool = pools[name]
    members = tuple(path for path in pool.members if serves(clients[path], part))
    if not members or members == pool.members:
        return name
    made = f"{name} ({part})"
    options = {k: v for k, v in pool.options.items() if part == DECODE or k != "convert"}
    pools[made] = replace(pool, path=made, members=members, options=options)
    return made
