"""How long KV takes from one client's devices to another's when it has the links to itself.

The bytes are striped evenly over max(m, n) pairs of devices (source i·m//L to target i·n//L).
Each pair takes the route of least latency; a link that several pairs use carries their shares
together, so the transfer runs at the rate min over links of bandwidth / share. Knows no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import inf

import networkx as nx

from hermesdsl.diagnostics import SpecError, error
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
        pair = (source, target)
        if pair not in self._known:
            self._known[pair] = self._measure(*pair)
        latency, rate = self._known[pair]
        return latency + size / rate

    def _measure(self, source: str, target: str) -> tuple[float, float]:
        here, there = self._devices(source), self._devices(target)
        pairs = max(len(here), len(there))
        latency = 0.0
        shares: dict[tuple[str, str], float] = {}
        for index in range(pairs):
            start = here[index * len(here) // pairs]
            end = there[index * len(there) // pairs]
            route = self._route(start, end)
            latency = max(latency, sum(self._latency(*hop) for hop in route))
            for hop in route:
                shares[hop] = shares.get(hop, 0.0) + 1.0 / pairs
        rate = min((self._bandwidth(*hop) / share for hop, share in shares.items()), default=inf)
        return latency, rate

    def _devices(self, client: str) -> tuple[str, ...]:
        group = self._clients[client].group
        return group.devices if group is not None else ()

    def _route(self, start: str, end: str) -> list[tuple[str, str]]:
        if start == end:
            return []
        hardware = self._hardware
        passable = [
            node
            for node in hardware.nodes
            if node in (start, end) or hardware.nodes[node]["part"].forwards
        ]
        try:
            nodes = nx.dijkstra_path(
                hardware.subgraph(passable), start, end, lambda a, b, _: self._latency(a, b)
            )
        except nx.NetworkXNoPath:
            message = f"no route for KV from `{start}` to `{end}`"
            raise SpecError([error("HMS408", message)]) from None
        return list(pairwise(nodes))

    def _latency(self, start: str, end: str) -> float:
        return float(min(edge["latency"] for edge in self._hardware[start][end].values()))

    def _bandwidth(self, start: str, end: str) -> float:
        """Of all parallel wires of the least latency together (byte/s)."""
        edges = self._hardware[start][end].values()
        least = self._latency(start, end)
        return float(sum(edge["bandwidth"] for edge in edges if edge["latency"] == least))
