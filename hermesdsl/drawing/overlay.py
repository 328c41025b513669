"""Results laid over a picture: a number, a text and perhaps a colour for each path.

Knows no metric: whoever calls `draw` has chosen the values and worded the labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite

from hermesdsl.drawing import style


@dataclass(frozen=True)
class Mark:
    """What to show at one path. `value` picks the colour unless `colour` (``#rrggbb``) is given.

    Values from 0 to 1 are taken as they are; if any lies outside, the least is cold and the
    greatest hot.
    """

    value: float
    label: str
    colour: str | None = None


@dataclass(frozen=True)
class Overlay:
    """All marks of a picture and the range of their values."""

    marks: Mapping[str, Mark] = field(default_factory=dict)

    def at(self, paths: Iterable[str]) -> tuple[tuple[str, ...], str | None]:
        """(extra label lines, fill) of something that stands for `paths`; ((), None) if unmarked.

        Several different labels are shown as ``least … greatest``, coloured by the mean value.
        """
        found = self._found(paths)
        if not found:
            return (), None
        text = _text(found)
        colours = {mark.colour for mark in found}
        if len(colours) == 1 and (colour := next(iter(colours))) is not None:
            return (text,), colour
        share = self._mean(found)
        return (text,), None if share is None else style.heat(share)

    def along(self, wires: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], float | None]:
        """(extra label lines, place between cold and hot) of a line that stands for wires.

        A wire has marks at ``one -> other`` and ``other -> one``, of which the greater counts.
        """
        found = []
        for one, other in wires:
            ways = self._found([f"{one} -> {other}", f"{other} -> {one}"])
            found += [max(ways, key=lambda mark: mark.value)] if ways else []
        return ((_text(found),), self._mean(found)) if found else ((), None)

    def _found(self, paths: Iterable[str]) -> list[Mark]:
        return [self.marks[path] for path in paths if path in self.marks]

    def _mean(self, found: list[Mark]) -> float | None:
        finite = [mark.value for mark in found if isfinite(mark.value)]
        return self._share(sum(finite) / len(finite)) if finite else None

    @cached_property
    def _range(self) -> tuple[float, float]:
        values = [mark.value for mark in self.marks.values() if isfinite(mark.value)]
        return min(values), max(values)

    def _share(self, value: float) -> float:
        low, high = self._range
        if low >= 0 and high <= 1:
            return value
        return (value - low) / (high - low) if high > low else 1.0


def _text(found: list[Mark]) -> str:
    low = min(found, key=lambda mark: mark.value)
    high = max(found, key=lambda mark: mark.value)
    return low.label if low.label == high.label else f"{low.label} … {high.label}"
