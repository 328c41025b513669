"""What can fail in a system, and what each of these takes with it.

A client that fails takes itself, and an engine what tiers of caches keep in the memories of its own
devices: they were its program's. A part takes the clients that run on it or keep weights and
KV in it, and what the tiers of caches keep there; a chip or CPU takes the memories in it too, and
a container all that is in it. A tier takes what all its stores keep. Knows no time and no event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from hermesdsl.graph.types import Client, CompiledSystem, Spec


@dataclass(frozen=True)
class Cause:
    """One thing that fails by `spec`: a client, a part, a container or a tier, by its `path`.

    `stream` names its random draws. It takes the `clients` at these indices, by path in order, and
    the `parts`; of tiers what lies in these parts, or, if it is one, all of `tier`. `itself`: it is
    a client, and its `parts` are memories that stay on.
    """

    path: str
    stream: str
    spec: Spec
    clients: tuple[int, ...]
    parts: frozenset[str] = frozenset()
    tier: str = ""
    itself: bool = False


def causes_of(system: CompiledSystem, clients: Mapping[str, int]) -> tuple[Cause, ...]:
    """Everything that ever fails, by path in order; `clients`: index of each in use, by path."""
    nodes = system.placement.nodes
    found: list[Cause] = []
    for path, index in clients.items():
        client: Client = nodes[path]["client"]
        spec = client.options.get("fails")
        if isinstance(spec, Spec):
            group = client.group if client.type_name == "LlmEngine" else None
            memories = frozenset(group.memories if group is not None else ())
            found.append(Cause(path, f"client.{path}", spec, (index,), memories, itself=True))
    failing = _failing_hardware(system)
    taken: dict[str, list[int]] = {path: [] for path in failing}
    for path in sorted(clients) if failing else ():
        for thing in _under(nodes[path]["client"], failing):
            taken[thing].append(clients[path])
    parts: dict[str, list[str]] = {path: [] for path in failing}
    for part in system.hardware.nodes if failing else ():
        for thing in around(part, failing):
            parts[thing].append(part)
    for path, spec in failing.items():
        inside = frozenset(parts[path])
        found.append(Cause(path, f"hardware.{path}", spec, tuple(taken[path]), inside))
    for cache in system.caches.values():
        for tier in cache.tiers:
            if tier.fails is not None:
                found.append(Cause(tier.path, f"tier.{tier.path}", tier.fails, (), tier=tier.path))
    return tuple(sorted(found, key=lambda cause: cause.path))


def mortal(system: CompiledSystem, paths: Iterable[str]) -> frozenset[str]:
    """Those of the clients at `paths` that are ever down."""
    clients = {path: system.placement.nodes[path]["client"] for path in dict.fromkeys(paths)}
    failing = _failing_hardware(system)
    return frozenset(
        path
        for path, client in clients.items()
        if client.options.get("fails")
        or client.options.get("cold_start")
        or (failing and _under(client, failing))
    )


def around(part: str, things: Collection[str]) -> Iterator[str]:
    """Those of `things` that a part is, or lies in: their paths are the beginnings of its own."""
    at = len(part)
    while at > 0:
        if part[:at] in things:
            yield part[:at]
        at = part.rfind(".", 0, at)


def _failing_hardware(system: CompiledSystem) -> dict[str, Spec]:
    """When parts and containers fail, by path."""
    found: dict[str, Spec] = {}
    for path, data in system.hardware.nodes(data=True):
        part = data.get("part")
        if part is not None and part.fails is not None:
            found[path] = part.fails
    for path, container in system.hardware.graph.get("containers", {}).items():
        if container.fails is not None:
            found[path] = container.fails
    return found


def _under(client: Client, failing: Collection[str]) -> dict[str, None]:
    """The failing things that a client runs in, or keeps weights and KV in."""
    group = client.group
    parts = (*group.devices, *group.memories) if group is not None else ()
    return dict.fromkeys(thing for part in parts for thing in around(part, failing))
