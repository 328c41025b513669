"""The way between a store and whoever reads or writes it: which parts, and how long it takes.

A memory wired to a part without a link of its own is joined to it at its own bandwidth, which is
the store's: the way over the links begins behind that joint, and it is not paid twice. Knows no
tier, block or queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.query import NoRouteError, no_route, route
from hermesdsl.graph.types import HardwareGraph, Part


class Carry(Protocol):
    """Moves bytes over links: `size` bytes, striped evenly over max(m, n) pairs of parts.

    From the m `sources` to the n `targets`, from `now` on; `then(time, key)` is called when the
    last of them has come. `sim.network.Network.send` is one.
    """

    def __call__(
        self,
        sources: tuple[str, ...],
        targets: tuple[str, ...],
        size: float,
        now: float,
        key: int,
        then: Callable[[float, int], None],
    ) -> object:
        """See the class."""


def ends(
    hardware: HardwareGraph, here: Sequence[str], there: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(sources, targets) of what goes from the parts `here` to those `there`, one per pair.

    Memories are replaced by what lies behind their joints. Raises `SpecError` (HMS408) for parts
    that are not joined.
    """
    found = [_behind_joints(hardware, a, b) for a, b in _pairs(here, there)]
    return tuple(a for a, _ in found), tuple(b for _, b in found)


def _pairs(here: Sequence[str], there: Sequence[str]) -> list[tuple[str, str]]:
    n = max(len(here), len(there))
    return [(here[i * len(here) // n], there[i * len(there) // n]) for i in range(n)]


def _behind_joints(hardware: HardwareGraph, here: str, there: str) -> tuple[str, str]:
    try:
        way = list(route(hardware, here, there).nodes)
    except NoRouteError as missing:
        raise SpecError([no_route(hardware, missing.a, missing.b)]) from None
    if len(way) > 1 and _joined(hardware, way[0], way[1]):
        del way[0]
    if len(way) > 1 and _joined(hardware, way[-1], way[-2]):
        del way[-1]
    return way[0], way[-1]


def _joined(hardware: HardwareGraph, memory: str, other: str) -> bool:
    """True if the wire from a memory is no link but the memory's own bandwidth."""
    part: Part = hardware.nodes[memory]["part"]
    if part.kind != "memory":
        return False
    wires = hardware.get_edge_data(memory, other) or {}
    return all(
        wire["link"].bandwidth == part.bandwidth
        and wire["link"].latency == 0
        and wire["link"].name in ("", part.type_name)
        for wire in wires.values()
    )
