"""Host memory that preempted KV is swapped to: where it is, how much fits, and the copies.

Each device of an engine copies its share of a block to the DRAM of its nearest CPU and back, as
flows over the links between them, which copies of other engines share. Out and back are one queue
each; what comes back waits for what was to go out before it. The DRAM is taken as empty otherwise,
and divided evenly among the engines that swap to it. Knows no sequence and no policy.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermesdsl.graph.query import NoRouteError, memory_of, route
from hermesdsl.sim.network.network import Arrived, Flow, Network

if TYPE_CHECKING:
    from hermesdsl.graph.types import Client, HardwareGraph, Part


@dataclass(frozen=True)
class _Load:
    """`blocks` to be copied back when `after` copies out have ended; `then` gets the `key`."""

    blocks: int
    after: int
    key: int
    then: Arrived


class HostMemory:
    """The part of host memory that one engine swaps to, in KV blocks of `size` bytes.

    `capacity` blocks, of which `held` are taken; `out` and `back` count the blocks copied so far.
    Device i copies to and from the i-th of `memories`.
    """

    __slots__ = ("_devices", "_loading", "_loads", "_memories", "_network", "_size", "_stored",
                 "_stores", "back", "capacity", "held", "out")  # fmt: skip

    def __init__(
        self,
        capacity: int,
        size: float,
        network: Network,
        devices: tuple[str, ...],
        memories: tuple[str, ...],
    ) -> None:
        self.capacity = capacity
        self.held = 0
        self.out = 0
        self.back = 0
        self._size = size
        self._network = network
        self._devices = devices
        self._memories = memories
        #: Copies out, the first under way; how many have ended. Copies back, and the one under way.
        self._stores: deque[tuple[int, int, Callable[[float], None]]] = deque()
        self._stored = 0
        self._loads: deque[_Load] = deque()
        self._loading: Flow | None = None

    def fits(self, blocks: int) -> bool:
        """True if that many blocks more can be held."""
        return self.held + blocks <= self.capacity

    @property
    def storing(self) -> bool:
        """True while anything is copied out."""
        return bool(self._stores)

    def store(self, blocks: int, now: float, key: int, then: Callable[[float], None]) -> None:
        """Copy blocks out after the copies begun before; `then(time)` when nothing is left."""
        self.held += blocks
        self.out += blocks
        self._stores.append((blocks, key, then))
        if len(self._stores) == 1:
            self._store_next(now)

    def load(self, blocks: int, now: float, key: int, then: Arrived) -> None:
        """Copy blocks back; `then(time, key)` when they are there, and `held` may shrink."""
        self.back += blocks
        self._loads.append(_Load(blocks, self._stored + len(self._stores), key, then))
        self._load_next(now)

    def drop(self, key: int, now: float) -> None:
        """Give up the copy back that was asked for with `key`."""
        load = next(load for load in self._loads if load.key == key)
        if self._loading is not None and load is self._loads[0]:
            self._network.cancel(self._loading, now)
            self._loading = None
        self._loads.remove(load)
        self._load_next(now)

    def _store_next(self, now: float) -> None:
        blocks, key, _ = self._stores[0]
        self._network.send(
            self._devices, self._memories, blocks * self._size, now, key, self._end_store
        )

    def _end_store(self, now: float, _: int) -> None:
        _, _, then = self._stores.popleft()
        self._stored += 1
        if self._stores:
            self._store_next(now)
        self._load_next(now)
        if not self._stores:
            then(now)

    def _load_next(self, now: float) -> None:
        if self._loading is None and self._loads and self._loads[0].after <= self._stored:
            load = self._loads[0]
            self._loading = self._network.send(
                self._memories, self._devices, load.blocks * self._size, now, load.key,
                self._end_load,
            )  # fmt: skip

    def _end_load(self, now: float, key: int) -> None:
        self._loading = None
        load = self._loads.popleft()
        self._load_next(now)
        load.then(now, key)


def swaps(client: Client) -> bool:
    """True if preempted KV of this engine goes to host memory."""
    return client.options.get("preemption") == "swap"


def nearest_memories(hardware: HardwareGraph, client: Client) -> tuple[str, ...] | None:
    """The host memory next to each of a client's devices; None if one of them reaches none."""
    group = client.group
    if group is None:
        return None
    found = [_nearest(hardware, device, group.memories) for device in group.devices]
    memories = tuple(memory for memory in found if memory is not None)
    return memories if memories and len(memories) == len(found) else None


def host_memories(
    network: Network, hardware: HardwareGraph, clients: Mapping[str, tuple[Client, int]]
) -> dict[str, HostMemory]:
    """The host memory of every engine that swaps, by path; none for one that reaches none.

    `clients`: those engines and their tokens per KV block.
    """
    found: dict[str, HostMemory] = {}
    places = {name: nearest_memories(hardware, client) for name, (client, _) in clients.items()}
    users = Counter(m for memories in places.values() for m in set(memories or ()))
    for name, (client, block_size) in clients.items():
        memories, group = places[name], client.group
        if memories is None or group is None or client.model is None:
            continue
        room = min(
            _part(hardware, memory).capacity / users[memory] / memories.count(memory)
            for memory in memories
        )
        size = block_size * client.model.kv_bytes_per_token
        capacity = int(room * len(memories) / size)
        found[name] = HostMemory(capacity, size, network, group.devices, memories)
    return found


def _nearest(hardware: HardwareGraph, device: str, own: Collection[str]) -> str | None:
    """The memory of the nearest CPU that has one, reached both ways, which is not the device's."""
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
            route(hardware, free[0], device)
        except NoRouteError:
            continue
        if best is None or latency < best[0]:
            best = (latency, free[0])
    return None if best is None else best[1]


def _part(hardware: HardwareGraph, path: str) -> Part:
    part: Part = hardware.nodes[path]["part"]
    return part
