"""When how much passed through switches and interfaces whose power follows it.

Written down whenever the rate of something that passes changes, and for no other parts: most runs
have none. Knows bytes and seconds, no rates and no watts.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from hermesdsl.graph.types import HardwareGraph, Part
from hermesdsl.sim.network.ways import Way

#: Kinds whose power hardly depends on what passes, unless they say what they draw idle.
#: [assumption]
STEADY = ("switch", "nic")


def follows(part: Part) -> bool:
    """True if what a part draws depends on what passes through it."""
    return part.kind in STEADY and 0.0 < part.idle_power < part.power


class Passing:
    """Rows of (part, start, end, bytes) of `parts`, by their places: evenly from start to end."""

    def __init__(self, hardware: HardwareGraph) -> None:
        parts = (data["part"] for _, data in hardware.nodes(data=True) if "part" in data)
        self.parts: tuple[str, ...] = tuple(part.path for part in parts if follows(part))
        self.rows = array("d")
        self._places = {path: place for place, path in enumerate(self.parts)}
        self._shares: dict[Way, tuple[tuple[int, float], ...]] = {}

    def note(self, sent: Iterable[tuple[Way, float]], start: float, end: float) -> None:
        """So many bytes left for each of some ways between two moments, evenly."""
        total: dict[int, float] = {}
        for way, size in sent:
            for place, share in self._through(way):
                total[place] = total.get(place, 0.0) + size * share
        for place, size in total.items():
            if size > 0.0:
                self.rows.extend((place, start, end, size))

    def _through(self, way: Way) -> tuple[tuple[int, float], ...]:
        """The parts on a way, each with its share of the bytes, in and out counted apart."""
        found = self._shares.get(way)
        if found is None:
            shares: dict[int, float] = {}
            for hop, share in way.shares.items():
                for end in hop:
                    if end in self._places:
                        place = self._places[end]
                        shares[place] = shares.get(place, 0.0) + share
            found = self._shares[way] = tuple(sorted(shares.items()))
        return found
