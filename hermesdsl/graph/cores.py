"""Clients on one processor: the part of its cores, and of its memory's bandwidth, that each has.

A pool alone divides all cores among its workers. Pools that share a processor divide them among all
their workers alike; beside an engine a worker has one core, and engines take turns on the rest.
Knows placement and pipelines; no cost, clock or language.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph.pipeline import flatten
from hermesdsl.graph.types import Client, Part, PipelineGraph, PlacementGraph

__all__ = ["share_cores"]

#: Clients that read their model from memory in every step.
_ENGINES = frozenset({"LlmEngine", "BatchEngine"})


def share_cores(
    placement: PlacementGraph, pipelines: Mapping[str, PipelineGraph]
) -> list[tuple[str, Diagnostic]]:
    """Write into the groups of clients what they have of processors that they share.

    Returns HMS405 where workers together are more than the cores, or leave an engine none, with
    the path of the last client that asks: one for each set of clients that are alike. A client on
    several processors has of each what it has of the fullest.
    """
    searching = _searching(placement, pipelines)
    users: dict[str, list[Client]] = {}
    for _, data in placement.nodes(data=True):
        client: Client | None = data.get("client")
        if client is not None and client.group is not None and client.group.part.kind == "cpu":
            for device in client.group.devices:
                users.setdefault(device, []).append(client)
    found: dict[tuple[str, ...], tuple[str, Diagnostic]] = {}
    for device, clients in users.items():
        part: Part = placement.nodes[device]["part"]
        pools = [client for client in clients if client.type_name == "WorkerPool"]
        if not pools or len(clients) == 1 or not part.cores:
            continue
        problem = _problem(device, part, clients)
        if problem is not None:
            alike = tuple(client.vector or client.path for client in clients)
            found.setdefault(alike, (clients[-1].path, problem))
            continue
        for path, (cores, memory) in _shares(part, clients, searching).items():
            _write(placement, path, cores, memory)
    return list(found.values())


def _searching(placement: PlacementGraph, pipelines: Mapping[str, PipelineGraph]) -> set[str]:
    """Clients that look through an index: they read memory as fast as it gives."""
    pools = placement.graph["pools"]
    return {
        member
        for graph in pipelines.values()
        for _, stage in flatten(graph)
        if stage.type_name == "Retrieve" and stage.options.get("service") is None
        if stage.pool in pools
        for member in pools[stage.pool].members
    }


def _workers(client: Client) -> float:
    """Workers of a pool on each of its processors; 0 for an engine."""
    if client.type_name != "WorkerPool" or client.group is None:
        return 0.0
    count = client.options.get("workers")
    return (float(count) if isinstance(count, int | float) else 1.0) / len(client.group.devices)


def _problem(device: str, part: Part, clients: Sequence[Client]) -> Diagnostic | None:
    asked = sum(map(_workers, clients))
    engines = [client.path for client in clients if client.type_name in _ENGINES]
    if asked < part.cores or (asked == part.cores and not engines):
        return None
    each = [f"`{c.path}` {_workers(c):g}" for c in clients if c.path not in engines]
    left = f" and leave none to `{engines[0]}`" if engines and asked == part.cores else ""
    message = (
        f"workers on {device} take {asked:g} of its {part.cores} cores together{left}: "
        f"{', '.join(each)}"
    )
    note = "help: on a processor that clients share a worker has a core: fewer `workers`"
    return error("HMS405", message, notes=(note,))


def _shares(
    part: Part, clients: Sequence[Client], searching: Container[str]
) -> dict[str, tuple[float, float]]:
    """By client, the parts of cores and of bandwidth, 0..1, that are its own on one processor.

    Those that read memory divide its bandwidth like their cores; engines count as one, since they
    take turns.
    """
    asked = sum(map(_workers, clients))
    beside = any(client.type_name in _ENGINES for client in clients)
    cores = {
        client.path: _workers(client) / (part.cores if beside else asked)
        if client.type_name == "WorkerPool" else 1.0 - asked / part.cores
        for client in clients
    }  # fmt: skip
    reading = sum(cores[client.path] for client in clients if client.path in searching)
    reading += 1.0 - asked / part.cores if beside else 0.0
    return {
        client.path: (
            cores[client.path],
            cores[client.path] / reading
            if client.path in searching or client.type_name in _ENGINES else 1.0,
        )
        for client in clients
    }  # fmt: skip


def _write(placement: PlacementGraph, path: str, cores: float, memory: float) -> None:
    client: Client = placement.nodes[path]["client"]
    assert client.group is not None
    group = replace(
        client.group,
        cores_share=min(client.group.cores_share, cores),
        memory_share=min(client.group.memory_share, memory),
    )
    placement.nodes[path]["client"] = replace(client, group=group)
