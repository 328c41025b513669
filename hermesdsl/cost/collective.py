"""Collectives over a `Fabric`: seconds for a message of V bytes per member.

The ring forms are the usual α-β ones. V is the size of the whole buffer: what every member holds
before an all-reduce or reduce-scatter, and after an all-gather; what one member sends (itself
included) in an all-to-all. One member costs nothing. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable

from hermesdsl.cost.constants import Efficiencies, Overheads
from hermesdsl.cost.operator import LAUNCH, NETWORK, Operator
from hermesdsl.graph.types import Fabric

#: Members reach each other's memory directly (one-shot, two-shot) in groups up to this size and
#: over this many hops (device, switch, device), as in vLLM's custom all-reduce.
DIRECT_MEMBERS = 8
DIRECT_HOPS = 2


def ring_all_reduce(fabric: Fabric, volume: float) -> float:
    """2(n−1)α + 2(n−1)/n · V/bw seconds."""
    n = fabric.size
    return 2 * (n - 1) * fabric.alpha + 2 * (n - 1) / n * volume / fabric.bandwidth


def ring_pass(fabric: Fabric, volume: float) -> float:
    """(n−1)α + (n−1)/n · V/bw seconds: all-gather, reduce-scatter, all-to-all."""
    n = fabric.size
    return (n - 1) * fabric.alpha + (n - 1) / n * volume / fabric.bandwidth


def one_shot_all_reduce(fabric: Fabric, volume: float) -> float:
    """α + (n−1) V/bw seconds: every member reads the whole buffers of all others."""
    return fabric.alpha + (fabric.size - 1) * volume / fabric.bandwidth


def two_shot_all_reduce(fabric: Fabric, volume: float) -> float:
    """2α + 2(n−1)/n · V/bw seconds: a direct reduce-scatter, then a direct all-gather."""
    n = fabric.size
    return 2 * fabric.alpha + 2 * (n - 1) / n * volume / fabric.bandwidth


def p2p(fabric: Fabric, volume: float) -> float:
    """α + V/bw seconds between two neighbours."""
    return fabric.alpha + volume / fabric.bandwidth if fabric.size > 1 else 0.0


class Collectives:
    """The same with launch costs and achievable bandwidth, as an engine meets them."""

    def __init__(self, fabric: Fabric, efficiencies: Efficiencies, overheads: Overheads) -> None:
        self._fabric = fabric
        self._ring = _scaled(fabric, efficiencies.link)
        self._near = _scaled(fabric, efficiencies.direct)
        self._overheads = overheads
        self._direct = fabric.size <= DIRECT_MEMBERS and 0 < fabric.hops <= DIRECT_HOPS

    @property
    def size(self) -> int:
        """Members."""
        return self._fabric.size

    def all_reduce(self, name: str, count: float, volume: float) -> Operator:
        """The fastest of ring, one-shot and two-shot (the last two where members are near)."""
        o = self._overheads
        ways = [(o.collective, ring_all_reduce, self._ring)]
        if self._direct:
            ways.append((o.direct, one_shot_all_reduce, self._near))
            ways.append((o.direct + o.direct_sync, two_shot_all_reduce, self._near))
        times = [launch + form(links, volume) for launch, form, links in ways]
        seconds = min(times)
        launch, form, links = ways[times.index(seconds)]
        return self._operator(name, count, volume, seconds, launch + form(links, 0.0), links)

    def all_gather(self, name: str, count: float, volume: float) -> Operator:
        """Ring all-gather; `volume` is the gathered buffer."""
        return self._pass(name, count, volume)

    def reduce_scatter(self, name: str, count: float, volume: float) -> Operator:
        """Ring reduce-scatter; `volume` is the buffer before it."""
        return self._pass(name, count, volume)

    def all_to_all(self, name: str, count: float, volume: float) -> Operator:
        """Every member sends `volume`/n to each member."""
        return self._pass(name, count, volume)

    def p2p(self, name: str, count: float, volume: float) -> Operator:
        """One message to a neighbour."""
        return self._called(name, count, volume, p2p)

    def _pass(self, name: str, count: float, volume: float) -> Operator:
        return self._called(name, count, volume, ring_pass)

    def _called(
        self, name: str, count: float, volume: float, form: Callable[[Fabric, float], float]
    ) -> Operator:
        launch = self._overheads.collective
        seconds = launch + form(self._ring, volume)
        empty = launch + form(self._ring, 0.0)
        return self._operator(name, count, volume, seconds, empty, self._ring)

    def _operator(
        self, name: str, count: float, volume: float, seconds: float, empty: float, links: Fabric
    ) -> Operator:
        """`empty` is what the same call takes without a message, over the same `links`."""
        if self._fabric.size == 1:
            return Operator(name, count, 0.0, 0.0, 0.0, LAUNCH)
        bound = NETWORK if seconds > 2 * empty else LAUNCH
        wire = (seconds - empty) * links.bandwidth / self._fabric.bandwidth
        return Operator(name, count, seconds, 0.0, volume, bound, wire=wire)


def _scaled(fabric: Fabric, fraction: float) -> Fabric:
    return Fabric(fabric.size, fabric.alpha, fabric.bandwidth * fraction, fabric.hops)
