"""Memory of devices that several clients share: whether all of them fit together.

An engine takes what its `memory_rule` gives it, weights, reserve and KV; a batch engine its weights
and its largest batch. Tiers of caches have taken theirs off the engines' KV. Knows no time.
"""

from __future__ import annotations

from hermesdsl.cost.bind import served_model
from hermesdsl.cost.memory import gib, plan
from hermesdsl.cost.profiles import profile_of
from hermesdsl.cost.services import largest_batch
from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph.types import Client, PlacementGraph


def problems_of_sharing(placement: PlacementGraph) -> list[tuple[str, Diagnostic]]:
    """HMS407 where the clients of a device need more than it has, by path of the last of them.

    One for each set of clients that are alike. Clients without a known profile are left out.
    """
    users: dict[str, list[Client]] = {}
    for _, data in placement.nodes(data=True):
        client: Client | None = data.get("client")
        if client is not None and client.group is not None and _bytes(client) > 0:
            for device in client.group.devices:
                users.setdefault(device, []).append(client)
    found: dict[tuple[str, ...], tuple[str, Diagnostic]] = {}
    for device, clients in users.items():
        sort = tuple(client.vector or client.path for client in clients)
        if len(clients) > 1 and sort not in found:
            problem = _problem(device, clients)
            if problem is not None:
                found[sort] = (clients[-1].path, problem)
    return list(found.values())


def _problem(device: str, clients: list[Client]) -> Diagnostic | None:
    needs = [(client.path, _bytes(client)) for client in clients]
    group = clients[0].group
    assert group is not None
    total = sum(size for _, size in needs)
    if total <= group.memory_capacity * (1 + 1e-9):
        return None
    who = ", ".join(f"`{path}` {gib(size)}" for path, size in needs)
    message = (
        f"those who share {device} take {gib(total)} together, and it holds "
        f"{gib(group.memory_capacity)}: {who}"
    )
    note = f"help: give each a part of it, such as `memory_rule = of_device({90 // len(needs)}%)`"
    return error("HMS407", message, notes=(note,))


def _bytes(client: Client) -> float:
    """Bytes that a client takes of each of its devices; 0 if nothing says."""
    profile, group = profile_of(client), client.group
    if profile is None or group is None or client.model is None:
        return 0.0
    model = served_model(client)
    if client.type_name == "LlmEngine":
        memory = plan(model, group, profile, client.options)
        return memory.weights + memory.reserve + max(memory.kv, 0.0)
    if client.type_name == "BatchEngine":
        return largest_batch(client, model, group, profile)
    return 0.0
