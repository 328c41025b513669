"""Which memories of a tier form one store, and which store each client looks into.

Knows the hardware graph and where clients are; no cache, policy or clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hermesdsl.graph import query
from hermesdsl.graph.hardware import ancestors
from hermesdsl.graph.types import Container, Group, HardwareGraph


class TierError(ValueError):
    """Memories that a scope cannot join."""


def tier_stores(
    hardware: HardwareGraph,
    memories: Sequence[str],
    scope: str,
    groups: Mapping[str, Group] | None = None,
) -> list[tuple[str, ...]]:
    """The striped stores that a tier's memories form, in the order of their first memory.

    `scope` joins the memories of one ``device``, ``client``, ``node``, ``rack``, or ``all``. For
    ``client``, memories with the same users among `groups` (client path → group) form a store:
    the clients whose memory it is, else those with a device in the memory's innermost node.
    Raises `TierError` for a memory that lies in no node, in no rack or with no client.
    """
    users = _users(hardware, groups or {}) if scope == "client" else {}
    joined: dict[object, list[str]] = defaultdict(list)
    for memory in memories:
        joined[_store_key(hardware, memory, scope, users)].append(memory)
    return [tuple(store) for store in joined.values()]


def stores_in_reach(
    hardware: HardwareGraph,
    stores: Sequence[Sequence[str]],
    scope: str,
    groups: Mapping[str, Group],
) -> dict[str, int]:
    """Which of a tier's stores each client (path → group) looks into, by its place in `stores`.

    ``all``: the one there is. ``rack``, ``node``: that of the innermost such container around the
    client's first device which has a store. ``client``: one of whose memories it is a user, as
    `tier_stores` says. ``device``: that of its own device. Clients without a store are left out,
    and with ``device`` those on several devices, which have one each.
    """
    users = _users(hardware, groups) if scope == "client" else {}
    keyed = {
        _store_key(hardware, store[0], scope, users): place for place, store in enumerate(stores)
    }
    found: dict[str, int] = {}
    for client, group in groups.items():
        if not group.devices:
            continue
        for key in _client_keys(hardware, client, group, scope, keyed):
            if key in keyed:
                found[client] = keyed[key]
                break
    return found


def _client_keys(
    hardware: HardwareGraph, client: str, group: Group, scope: str, keyed: Iterable[object]
) -> list[object]:
    """What a store in reach of a client may be called, the nearest first."""
    if scope == "all":
        return [None]
    if scope == "device":
        return [*group.devices, *group.memories] if len(group.devices) == 1 else []
    if scope == "client":
        return [key for key in keyed if isinstance(key, tuple) and client in key]
    containers: Mapping[str, Container] = hardware.graph.get("containers", {})
    around = ancestors(group.devices[0])
    return [path for path in around if path in containers and containers[path].kind == scope]


def _store_key(
    hardware: HardwareGraph, memory: str, scope: str, users: Mapping[str, tuple[str, ...]]
) -> object:
    if scope == "all":
        return None
    if scope == "device":
        owner: Mapping[str, str] = hardware.graph.get("owner", {})
        return owner.get(memory, memory)
    if scope in ("node", "rack"):
        around = query.container_of(hardware, memory, scope)
        if around is None:
            raise TierError(f"scope = {scope}, but {memory} is in no {scope}")
        return around
    if scope == "client":
        node = query.container_of(hardware, memory, "node")
        key = users.get(memory) or users.get(node or "")
        if key is None:
            raise TierError(f"scope = client, but no client is near {memory}")
        return key
    raise TierError(f"scope is device, client, node, rack or all, not {scope}")


def _users(hardware: HardwareGraph, groups: Mapping[str, Group]) -> dict[str, tuple[str, ...]]:
    """The clients that use each memory, and those with a device in each node."""
    users: dict[str, dict[str, None]] = defaultdict(dict)
    for client, group in groups.items():
        for path in group.memories:
            users[path][client] = None
        for device in group.devices:
            users[query.container_of(hardware, device, "node") or ""][client] = None
    users.pop("", None)
    return {place: tuple(clients) for place, clients in users.items()}
