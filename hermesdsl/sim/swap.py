"""Host memory that preempted KV is swapped to: where it is, how much fits, how long a copy takes.

Each device of an engine copies its share of a block to the DRAM of its nearest CPU, over the
links between them; a link that several devices use carries their shares together. A copy takes
latency + blocks × bytes per block / rate; out and back are one queue each. The DRAM is taken as
empty otherwise, and divided evenly among the engines that swap to it. Copies of different engines
do not slow each other, which the experiment must say (``contention = none``). Knows no sequence
and no policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermesdsl.graph.query import NoRouteError, memory_of, route
from hermesdsl.sim.transfer import striped

if TYPE_CHECKING:
    from hermesdsl.graph.types import Client, HardwareGraph, Part


@dataclass(frozen=True)
class HostPath:
    """How an engine reaches its host memories: one of `memories` per device, in their order.

    `latency` seconds of the longest route and `rate` byte/s of all devices together, the slower
    of the two ways.
    """

    memories: tuple[str, ...]
    latency: float
    rate: float


class HostMemory:
    """The part of host memory that one engine swaps to, in KV blocks.

    `capacity` blocks, of which `held` are taken; `out` and `back` count the blocks copied so far.
    """

    __slots__ = ("_back_until", "_latency", "_per_block", "back", "capacity", "held", "out")

    def __init__(self, capacity: int, latency: float, per_block: float) -> None:
        self.capacity = capacity
        self.held = 0
        self.out = 0
        self.back = 0
        self._latency = latency
        self._per_block = per_block
        self._back_until = 0.0

    def fits(self, blocks: int) -> bool:
        """True if that many blocks more can be held."""
        return self.held + blocks <= self.capacity

    def store(self, blocks: int, start: float) -> float:
        """Copy blocks out from `start` on, when the copy before has ended; when this one ends."""
        self.held += blocks
        self.out += blocks
        return start + (self._latency + blocks * self._per_block)

    def load(self, blocks: int, start: float) -> float:
        """Copy blocks back after the copies begun before; when it ends, and `held` may shrink."""
        self.back += blocks
        end = max(start, self._back_until) + (self._latency + blocks * self._per_block)
        self._back_until = end
        return end


def swaps(client: Client) -> bool:
    """True if preempted KV of this engine goes to host memory."""
    return client.options.get("preemption") == "swap"


def host_path(hardware: HardwareGraph, client: Client) -> HostPath | None:
    """The way from a client's devices to host memory; None if a device reaches none."""
    group = client.group
    if group is None:
        return None
    found = [_nearest(hardware, device, group.memories) for device in group.devices]
    memories = [memory for memory in found if memory is not None]
    if not memories or len(memories) < len(found):
        return None
    pairs = list(zip(group.devices, memories, strict=True))
    try:
        out = striped(hardware, pairs)
        back = striped(hardware, [(memory, device) for device, memory in pairs])
    except NoRouteError:
        return None
    return HostPath(tuple(memories), max(out[0], back[0]), min(out[1], back[1]))


def host_memories(
    hardware: HardwareGraph, clients: Mapping[str, tuple[Client, int]]
) -> dict[str, HostMemory]:
    """The host memory of every engine that swaps, by path; none for one that reaches none.

    `clients`: those engines and their tokens per KV block.
    """
    found: dict[str, HostMemory] = {}
    paths = {name: host_path(hardware, client) for name, (client, _) in clients.items()}
    users = Counter(m for way in paths.values() if way is not None for m in set(way.memories))
    for name, (client, block_size) in clients.items():
        way = paths[name]
        if way is None or client.model is None:
            continue
        room = min(
            _part(hardware, memory).capacity / users[memory] / way.memories.count(memory)
            for memory in way.memories
        )
        size = block_size * client.model.kv_bytes_per_token
        found[name] = HostMemory(int(room * len(way.memories) / size), way.latency, size / way.rate)
    return found


def _nearest(hardware: HardwareGraph, device: str, own: Collection[str]) -> str | None:
    """The memory of the nearest CPU that has one which is not the device's own."""
    best: tuple[float, str] | None = None
    for path, data in hardware.nodes(data=True):
        part: Part = data["part"]
        if part.kind != "cpu":
            continue
        free = [memory for memory in memory_of(hardware, path) if memory not in own]
        if not free:
            continue
        try:
            latency = route(hardware, device, free[0]).latency
        except NoRouteError:
            continue
        if best is None or latency < best[0]:
            best = (latency, free[0])
    return None if best is None else best[1]


def _part(hardware: HardwareGraph, path: str) -> Part:
    part: Part = hardware.nodes[path]["part"]
    return part
