"""How long KV takes from one client's devices to another's when it has the links to itself.

The bytes are striped evenly over max(m, n) pairs of devices (source i·m//L to target i·n//L).
Each pair takes the route of least latency; a link that several pairs use carries their shares
together, so the transfer runs at the rate min over links of bandwidth / share. Knows no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Ordered
from itertools import pairwise
from math import inf

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.query import NoRouteError, hop_bandwidth, no_route, route
from hermesdsl.graph.types import Client, HardwareGraph


class Transfers:
    """Times of transfers between `clients` (by path) over `hardware`; each pair is worked out
    once.
    """

    def __init__(self, hardware: HardwareGraph, clients: Mapping[str, Client]) -> None:
        self._hardware = hardware
        self._clients = clients
        self._known: dict[tuple[str, str], tuple[float, float]] = {}

    def seconds(self, source: str, target: str, size: float) -> float:
        """Seconds for `size` bytes: latency of the longest route + bytes / rate.

        Raises `SpecError` (HMS408) if two of the devices are not joined.
        """
        latency, rate = self._between(source, target)
        return latency + size / rate

    def layerwise_end(
        self, source: str, target: str, size: float, *, layers: int, opened: float, read: float
    ) -> float:
        """When `size` bytes have moved that are computed layer by layer until time `read`.

        The flow opens at `opened`; it moves at its rate, and the last of `layers` equal parts
        leaves after `read`: max(opened + latency + size/rate, read + latency + size/layers/rate).
        With one layer, or opened at `read`, it is the transfer of the whole.
        """
        latency, rate = self._between(source, target)
        return max(opened + latency + size / rate, read + latency + size / layers / rate)

    def _between(self, source: str, target: str) -> tuple[float, float]:
        pair = (source, target)
        if pair not in self._known:
            self._known[pair] = self._measure(*pair)
        return self._known[pair]

    def _measure(self, source: str, target: str) -> tuple[float, float]:
        here, there = self._devices(source), self._devices(target)
        n = max(len(here), len(there))
        pairs = [(here[i * len(here) // n], there[i * len(there) // n]) for i in range(n)]
        try:
            return striped(self._hardware, pairs)
        except NoRouteError as missing:
            raise SpecError([no_route(self._hardware, missing.a, missing.b)]) from None

    def _devices(self, client: str) -> tuple[str, ...]:
        group = self._clients[client].group
        return group.devices if group is not None else ()


def striped(hardware: HardwareGraph, pairs: Ordered[tuple[str, str]]) -> tuple[float, float]:
    """(seconds of latency, byte/s) of a transfer cut evenly over `pairs` of parts (from, to).

    Raises `NoRouteError`.
    """
    latency = 0.0
    shares: dict[tuple[str, str], float] = {}
    for start, end in pairs:
        way = route(hardware, start, end)
        latency = max(latency, way.latency)
        for hop in pairwise(way.nodes):
            shares[hop] = shares.get(hop, 0.0) + 1.0 / len(pairs)
    rates = (hop_bandwidth(hardware, *hop) / share for hop, share in shares.items())
    return latency, min(rates, default=inf)
