"""Which clients' collectives meet on one link, though each is timed as if it had the link alone.

Knows hardware and groups. Must not know expressions, models or time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hermesdsl.graph import query
from hermesdsl.graph.types import Group, HardwareGraph

#: By how much a sum of rates must exceed a capacity to count: more than doubles are off.
_ROUNDING = 1.0 + 1e-9


@dataclass(frozen=True)
class Crossing:
    """Two `clients` or more whose tensor-parallel rings cross `hop`.

    At full speed they carry `demand` byte/s there, of the `capacity` that it has.
    """

    hop: tuple[str, str]
    clients: tuple[str, ...]
    demand: float
    capacity: float


def crossings(hardware: HardwareGraph, groups: Mapping[str, Group]) -> Iterator[Crossing]:
    """Every hop that is too narrow for all the tensor-parallel rings across it at once."""
    users: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for path, group in groups.items():
        if group.tp < 2:
            continue
        devices = group.devices
        rings = [devices[at : at + group.tp] for at in range(0, len(devices), group.tp)]
        fabric, load = query.communicator(hardware, rings)
        for hop, share in load.items():
            users[hop][path] = share * fabric.bandwidth
    for hop, rates in users.items():
        demand, capacity = sum(rates.values()), query.hop_bandwidth(hardware, *hop)
        if len(rates) > 1 and demand > capacity * _ROUNDING:
            yield Crossing(hop, tuple(rates), demand, capacity)
