"""Which parts of the hardware an experiment is charged for, when, and which clients use them.

`reserve = all`: everything that is instantiated, all the time. `reserve = used`: what clients of
the experiment run on, devices and their memories; those of members that a pool starts and stops
only from the moment at which a member there begins to load its weights to that at which it has
stopped. Knows no power or price.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import fsum
from typing import TypeAlias

from hermesdsl.graph.types import Client, CompiledSystem, Part, Pool, Spec
from hermesdsl.sim.record import Run, Table

#: Some (start, end) in seconds.
Periods: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Reach:
    """`parts` that count, in the order of the graph; `users`: numbers of the clients of the run
    that run on a device, or keep weights and KV in a memory; `inside`: memories that are part of
    a device; `up`: when a part counts that does not always, (start, end) in seconds, in order
    and apart.
    """

    parts: tuple[Part, ...]
    users: Mapping[str, tuple[int, ...]]
    inside: frozenset[str]
    up: Mapping[str, Periods]

    def seconds(self, paths: Iterable[str], start: float, end: float) -> float:
        """For how long of an interval any of some parts counts."""
        paths = list(paths)
        if not all(path in self.up for path in paths):
            return end - start
        periods = _joined(period for path in paths for period in self.up[path])
        return fsum(max(min(b, end) - max(a, start), 0.0) for a, b in periods)


@dataclass(frozen=True)
class Asked:
    """What is known of a run that is not made: its clients, and that none was started yet."""

    clients: tuple[str, ...]
    scaling: Table = field(default_factory=dict)


def reach(system: CompiledSystem, run: Run | Asked, reserve: str) -> Reach:
    """What counts for a run."""
    users: dict[str, list[int]] = {}
    for number, path in enumerate(run.clients):
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
        _up(system, run, users) if reserve == "used" else {},
    )


def _up(
    system: CompiledSystem, run: Run | Asked, users: Mapping[str, list[int]]
) -> dict[str, Periods]:
    """When the parts are up that only members of pools with autoscaling use."""
    pools: Mapping[str, Pool] = system.placement.graph["pools"]
    scaled = {
        path
        for pool in pools.values()
        if isinstance(pool.options.get("autoscale"), Spec)
        for path in pool.members
    }
    periods: dict[int, list[tuple[float, float]]] = {
        number: [] for number, path in enumerate(run.clients) if path in scaled
    }
    if periods and run.scaling:
        columns = (run.scaling[name].tolist() for name in ("client", "start_s", "stop_s"))
        for client, start, stop in zip(*columns, strict=True):
            periods[client].append((start, stop))
    return {
        path: _joined(period for user in own for period in periods[user])
        for path, own in users.items()
        if all(user in periods for user in own)
    }


def _joined(periods: Iterable[tuple[float, float]]) -> Periods:
    """The union of some periods."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(periods):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def listed(parts: Iterable[Part]) -> list[str]:
    """Types and numbers of parts, such as ``2 × Memory``, sorted by name."""
    counts = Counter(part.type_name for part in parts)
    return [f"{count} × {name}" if count > 1 else name for name, count in sorted(counts.items())]
