"""Which parts of the hardware an experiment is charged for, and which clients use them.

`reserve = all`: everything that is instantiated. `reserve = used`: what clients of the experiment
run on, devices and their memories. Knows no power, price or time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hermesdsl.graph.types import Client, CompiledSystem, Part


@dataclass(frozen=True)
class Reach:
    """`parts` that count, in the order of the graph; `users`: numbers of the clients of the run
    that run on a device, or keep weights and KV in a memory; `inside`: memories that are part of
    a device.
    """

    parts: tuple[Part, ...]
    users: Mapping[str, tuple[int, ...]]
    inside: frozenset[str]


def reach(system: CompiledSystem, clients: Iterable[str], reserve: str) -> Reach:
    """What counts for an experiment in which `clients` (paths) take part."""
    users: dict[str, list[int]] = {}
    for number, path in enumerate(clients):
        client: Client = system.placement.nodes[path]["client"]
        if client.group is None:
            continue
        for part in dict.fromkeys((*client.group.devices, *client.group.memories)):
            users.setdefault(part, []).append(number)
    parts = (data["part"] for _, data in system.hardware.nodes(data=True) if "part" in data)
    return Reach(
        tuple(part for part in parts if reserve != "used" or part.path in users),
        {path: tuple(own) for path, own in users.items()},
        frozenset(system.hardware.graph.get("owner", ())),
    )


def listed(parts: Iterable[Part]) -> list[str]:
    """Types and numbers of parts, such as ``2 × Memory``, sorted by name."""
    counts = Counter(part.type_name for part in parts)
    return [f"{count} × {name}" if count > 1 else name for name, count in sorted(counts.items())]
