"""Collectives over a `Fabric`: seconds for a message of V bytes per member.

The ring forms are the usual α-β ones. V is the size of the whole buffer: what every member holds
before an all-reduce or reduce-scatter, and after an all-gather; what one member sends (itself
included) in an all-to-all. One member costs nothing. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import sqrt

from hermesdsl.cost.constants import Efficiencies, Overheads
from hermesdsl.cost.operator import LAUNCH, NETWORK, Operator
from hermesdsl.cost.utilisation import Utilisation, utilisation
from hermesdsl.graph.types import Calibration, Fabric

#: Members reach each other's memory directly (one-shot, two-shot) in groups up to this size and
#: over this many hops (device, switch, device), as in vLLM's custom all-reduce.
DIRECT_MEMBERS = 8
DIRECT_HOPS = 2
#: Largest message (bytes) that vLLM's custom all-reduce takes (vllm/distributed/
#: device_communicators/custom_all_reduce.py, `max_size`); larger ones go to the ring.
DIRECT_BYTES = 8 * 2**20


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
    """The same with launch costs and achievable bandwidth, as an engine meets them.

    A calibration of the devices (`calibration`) holds where members are near. Without `direct`
    members do not read each other's memory: NCCL alone, without the all-reduce of an engine.
    A ring moves its message in parts, so that latency A = launch + hops and transfer B overlap
    only in part: seconds = A + B + 2 · fill · √(A · B), the best choice of parts at fill = 1
    ((√A + √B)²), none needed at fill = 0.
    """

    def __init__(
        self,
        fabric: Fabric,
        efficiencies: Efficiencies,
        overheads: Overheads,
        calibration: Calibration | None = None,
        *,
        direct: bool = True,
    ) -> None:
        e, n = efficiencies, fabric.size
        self._fabric = fabric
        self._ring = _scaled(fabric, e.link * (1.0 - e.link_few / n))
        self._pair = _scaled(fabric, e.pair)
        self._near = _scaled(fabric, e.direct)
        self._nearest = _scaled(fabric, e.direct_one)
        self._fill = e.link_fill
        self._efficiencies = e
        self._overheads = overheads
        near = 0 < fabric.hops <= DIRECT_HOPS
        self._allowed = direct
        self._direct = direct and n <= DIRECT_MEMBERS and near
        self._reach: dict[str, Utilisation] = {}
        if near and calibration is not None:
            self._reach = {
                kind: utilisation(grids, "collective", self._form(kind))
                for kind, grids in calibration.operators.get("collective", {}).items()
            }

    @property
    def size(self) -> int:
        """Members."""
        return self._fabric.size

    def all_reduce(self, name: str, count: float, volume: float) -> Operator:
        """The fastest of ring, one-shot and two-shot (the last two where members are near)."""
        o = self._overheads
        latency = ring_all_reduce(self._ring, 0.0)
        ways = [self._overlapped(latency, ring_all_reduce(self._ring, volume) - latency)]
        links = [self._ring]
        if self._direct and volume <= DIRECT_BYTES:
            ways.append((o.direct, one_shot_all_reduce(self._nearest, volume)))
            ways.append((o.direct + o.direct_sync, two_shot_all_reduce(self._near, volume)))
            links += [self._nearest, self._near]
        times = [launch + moving for launch, moving in ways]
        seconds = min(times)
        way = times.index(seconds)
        launch, _ = ways[way]
        hops = (latency, self._fabric.alpha, 2.0 * self._fabric.alpha)[way]
        op = self._operator(name, count, volume, seconds, launch + hops, links[way])
        # What was measured of small messages is of kernels that go directly.
        known = self._allowed or volume > DIRECT_BYTES
        return self._reached("all_reduce", op) if known else op

    def all_gather(self, name: str, count: float, volume: float) -> Operator:
        """Ring all-gather; `volume` is the gathered buffer."""
        return self._reached("all_gather", self._pass(name, count, volume))

    def reduce_scatter(self, name: str, count: float, volume: float) -> Operator:
        """Ring reduce-scatter; `volume` is the buffer before it."""
        return self._reached("reduce_scatter", self._pass(name, count, volume))

    def all_to_all(self, name: str, count: float, volume: float) -> Operator:
        """Every member sends `volume`/n to each member."""
        return self._reached("all_to_all", self._pass(name, count, volume))

    def p2p(self, name: str, count: float, volume: float) -> Operator:
        """One message to a neighbour."""
        alpha = self._fabric.alpha
        transfer = p2p(self._pair, volume) - alpha
        launch, moving = self._overlapped(alpha, transfer, self._efficiencies.pair_fill)
        seconds = launch + moving
        op = self._operator(name, count, volume, seconds, launch + alpha, self._pair)
        return self._reached("p2p", op)

    def _reached(self, kind: str, op: Operator) -> Operator:
        """The operator at the speed that the calibration says."""
        reach = self._reach.get(kind)
        if not reach or self._fabric.size == 1:
            return op
        found, rung = reach.at(self._fabric.size, op.bytes)
        return replace(op, seconds=op.seconds / found, rung=rung)

    def _form(self, kind: str) -> Callable[..., float]:
        """Seconds over (members, bytes) that factors of a calibration are relative to."""

        def seconds(members: float, volume: float) -> float:
            fabric = replace(self._fabric, size=int(members))
            plain = Collectives(fabric, self._efficiencies, self._overheads)
            made: Operator = getattr(plain, kind)(kind, 1, volume)
            return made.seconds

        return seconds

    def _pass(self, name: str, count: float, volume: float) -> Operator:
        latency = ring_pass(self._ring, 0.0)
        launch, moving = self._overlapped(latency, ring_pass(self._ring, volume) - latency)
        seconds = launch + moving
        return self._operator(name, count, volume, seconds, launch + latency, self._ring)

    def _overlapped(
        self, latency: float, transfer: float, fill: float | None = None
    ) -> tuple[float, float]:
        """Seconds of one call: its launch, and its hops and transfer.

        `fill`: how far the two fail to overlap; as in a ring where it is not given.
        """
        launch, share = self._overheads.collective, self._fill if fill is None else fill
        part = 2.0 * share * sqrt((launch + latency) * max(transfer, 0.0))
        return launch, latency + transfer + part

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
