"""The way between two groups of parts: which links it loads, with which share of the bytes.

The bytes are striped evenly over max(m, n) pairs of parts (source i·m//L to target i·n//L). Each
pair takes the route of least latency, then the widest; a link that several pairs use carries their
shares together. Knows the hardware graph and its routes; no clock, flow or client.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import TypeAlias

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.query import NoRouteError, hop_bandwidth, no_route, route
from hermesdsl.graph.types import HardwareGraph, Part

#: One direction between two neighbours: all of its fastest wires together.
Hop: TypeAlias = "tuple[str, str]"


@dataclass(frozen=True, eq=False)
class Way:
    """From one group to another, the `number`-th that was asked for.

    `shares`: of the bytes that take it, the part that crosses each hop. Alone on its links, a
    transfer of b bytes takes `latency` (seconds, of the longest route) + b / `bandwidth` (byte/s,
    the least of capacity / share; inf if it crosses no link).
    """

    number: int
    latency: float
    bandwidth: float
    shares: Mapping[Hop, float]


class Ways:
    """The ways over `hardware`, each worked out once, and the capacities of its hops."""

    def __init__(self, hardware: HardwareGraph) -> None:
        self._hardware = hardware
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...], bool], Way] = {}
        self._capacity: dict[Hop, float] = {}

    def between(
        self, sources: tuple[str, ...], targets: tuple[str, ...], *, joints: bool = True
    ) -> Way:
        """The way from `sources` to `targets`, in this order of their parts.

        Without `joints`, the joint at which a memory among them brings its own bandwidth (inside
        its part, or wired without a link) loads nothing: whoever keeps the memory busy in other
        ways does not count it twice. Raises `SpecError` (HMS408) if two of the parts are not
        joined.
        """
        known = (sources, targets, joints)
        way = self._known.get(known)
        if way is None:
            way = self._known[known] = self._measure(*known)
        return way

    def capacity(self, hop: Hop) -> float:
        """Byte/s of a hop."""
        found = self._capacity.get(hop)
        if found is None:
            found = self._capacity[hop] = hop_bandwidth(self._hardware, *hop)
        return found

    def _measure(self, sources: tuple[str, ...], targets: tuple[str, ...], joints: bool) -> Way:
        n = max(len(sources), len(targets))
        latency = 0.0
        crossings: dict[Hop, int] = {}
        for i in range(n):
            start, end = sources[i * len(sources) // n], targets[i * len(targets) // n]
            try:
                found = route(self._hardware, start, end)
            except NoRouteError as missing:
                raise SpecError([no_route(self._hardware, missing.a, missing.b)]) from None
            latency = max(latency, found.latency)
            for hop in self._loaded(found.nodes, joints):
                crossings[hop] = crossings.get(hop, 0) + 1
        shares = {hop: count / n for hop, count in sorted(crossings.items())}
        rates = (self.capacity(hop) / share for hop, share in shares.items())
        return Way(len(self._known), latency, min(rates, default=inf), shares)

    def _loaded(self, nodes: tuple[str, ...], joints: bool) -> Iterator[Hop]:
        for hop in pairwise(nodes):
            if joints or not (self._is_joint(*hop) or self._is_joint(*reversed(hop))):
                yield hop

    def _is_joint(self, memory: str, other: str) -> bool:
        """True if the wire between them is the memory's own."""
        part: Part = self._hardware.nodes[memory]["part"]
        if part.kind != "memory" or not self._hardware.has_edge(memory, other):
            return False
        return any(
            wire["link"].name in ("", part.type_name) and wire["link"].bandwidth == part.bandwidth
            for wire in self._hardware[memory][other].values()
        )
