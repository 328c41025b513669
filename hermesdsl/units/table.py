"""The units a specification may write, and what each means in base units.

Our own table rather than a units library: ``Gb`` must be refused (not read as gilbert), bytes
must be a dimension, and start-up must not cost a third of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from hermesdsl.units import dimension as d
from hermesdsl.units.dimension import Dimension


class Unit(NamedTuple):
    """A unit: one of it is `factor` in base units of `dimension`."""

    text: str
    factor: float
    dimension: Dimension

    def to_base(self, number: float) -> float:
        """`number` of this unit in base units, rounded once: ``35 %`` is 0.35 to the last bit."""
        inverse = round(1 / self.factor)
        if inverse > 1 and abs(inverse * self.factor - 1) < 1e-12:
            return number / inverse
        return number * self.factor

    def from_base(self, value: float) -> float:
        """`value` in base units as a number of this unit."""
        inverse = round(1 / self.factor)
        if inverse > 1 and abs(inverse * self.factor - 1) < 1e-12:
            return value * inverse
        return value / self.factor


_DECIMAL = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}


#: Units that take no prefix, or whose prefixes are listed one by one.
_OTHERS: tuple[tuple[Dimension, dict[str, float]], ...] = (
    (d.SECOND, {
        "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "sec": 1, "min": 60,
        "h": 3600, "hr": 3600, "hour": 3600, "day": 86_400, "week": 604_800, "year": 31_536_000,
    }),
    (d.WATT, {"mW": 1e-3, "W": 1, "kW": 1e3, "MW": 1e6}),
    (d.JOULE, {
        "uJ": 1e-6, "µJ": 1e-6, "mJ": 1e-3, "J": 1, "kJ": 1e3, "MJ": 1e6, "Wh": 3600,
        "kWh": 3.6e6, "MWh": 3.6e9,
    }),
    (d.BYTE, {"bit": 1 / 8}),
    (d.PER_SECOND, {"Hz": 1}),
    (d.DOLLAR, {"$": 1, "USD": 1}),
    (d.TOKEN, {"token": 1, "tokens": 1}),
    (d.REQUEST, {"req": 1, "request": 1, "requests": 1}),
    (d.SESSION, {"session": 1, "sessions": 1}),
    (d.NUMBER, {"%": 0.01}),
)  # fmt: skip


def _build() -> dict[str, Unit]:
    table: dict[str, Unit] = {}

    def put(text: str, factor: float, dimension: Dimension) -> None:
        table[text] = Unit(text, factor, dimension)

    for prefix, factor in _DECIMAL.items():
        put(f"{prefix}B", factor, d.BYTE)
        put(f"{prefix}FLOP", factor, d.FLOP)
        put(f"{prefix}FLOPS", factor, d.FLOPS)
        put(f"{prefix}OPS", factor, d.FLOPS)
        put(f"{prefix}tok", factor, d.TOKEN)
        if prefix:
            put(f"{prefix}bit", factor / 8, d.BYTE)
            put(f"{prefix}bps", factor / 8, d.BANDWIDTH)
            put(f"{prefix}Hz", factor, d.PER_SECOND)
    for prefix, binary in _BINARY.items():
        put(f"{prefix}B", binary, d.BYTE)
        put(f"{prefix}bit", binary / 8, d.BYTE)
    for dimension, units in _OTHERS:
        for text, size in units.items():
            put(text, size, dimension)
    return table


UNITS: Mapping[str, Unit] = MappingProxyType(_build())

#: Units that people write and that are refused, with what they may have meant.
AMBIGUOUS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {f"{p}b": (f"{p}B", f"{p}bit") for p in ("k", "K", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti")}
    | {f"{p}b/s": (f"{p}B/s", f"{p}bit/s") for p in ("k", "K", "M", "G", "T")}
    | {"b": ("B", "bit"), "b/s": ("B/s", "bit/s")}
)

#: Units that people spell out, by what is written in small letters.
SPELLED: Mapping[str, str] = MappingProxyType(
    {
        "byte": "B", "bytes": "B", "bits": "bit", "second": "s", "seconds": "s", "secs": "s",
        "minute": "min", "minutes": "min", "mins": "min", "hours": "hr", "hrs": "hr",
        "days": "day", "watt": "W", "watts": "W", "joule": "J", "joules": "J", "flop": "FLOP",
        "flops": "FLOPS", "dollar": "$", "dollars": "$", "percent": "%",
    }
)  # fmt: skip

#: For printing values that nobody wrote a unit for: largest unit not above the value wins.
PREFERRED: Mapping[Dimension, tuple[str, ...]] = MappingProxyType(
    {
        d.BYTE: ("B", "kB", "MB", "GB", "TB", "PB"),
        d.SECOND: ("us", "ms", "s", "min", "hr", "day"),
        d.FLOP: ("FLOP", "MFLOP", "GFLOP", "TFLOP"),
        d.FLOPS: ("FLOPS", "GFLOPS", "TFLOPS", "PFLOPS"),
        d.BANDWIDTH: ("B/s", "kB/s", "MB/s", "GB/s", "TB/s"),
        d.WATT: ("W", "kW", "MW"),
        d.JOULE: ("mJ", "J", "kJ", "MJ"),
        d.DOLLAR: ("$",),
        d.PRICE: ("$/hr",),
        d.TOKEN: ("tok",),
        d.REQUEST: ("req",),
        d.SESSION: ("session",),
        d.TOKEN_RATE: ("tok/s",),
        d.REQUEST_RATE: ("req/s",),
        d.SESSION_RATE: ("session/s",),
        Dimension(byte=1, token=-1): ("B/tok", "KiB/tok", "MiB/tok"),
        Dimension(second=1, token=-1): ("us/tok", "ms/tok", "s/tok"),
        Dimension(watt=1, second=1, token=-1): ("mJ/tok", "J/tok", "kJ/tok"),
        Dimension(dollar=1, token=-1): ("$/Mtok",),
    }
)


@lru_cache(maxsize=4096)
def find(text: str) -> Unit | None:
    """The unit written as `text` (``GB``, ``Gbit/s``, ``$/hr``), or None.

    ``a/b`` is looked up part by part.
    """
    unit = UNITS.get(text)
    if unit is not None:
        return unit
    above, slash, below = text.partition("/")
    if not slash:
        return None
    top, bottom = UNITS.get(above), UNITS.get(below)
    if top is None or bottom is None or bottom.text == "%":
        return None
    return Unit(text, top.factor / bottom.factor, d.divide(top.dimension, bottom.dimension))


def preferred(value: float, dimension: Dimension) -> Unit | None:
    """The unit in which a computed value reads best, or None if there is no usual one."""
    texts = PREFERRED.get(dimension)
    if texts is None:
        return None
    units = [found for text in texts if (found := find(text)) is not None]
    below = [unit for unit in units if abs(value) >= unit.factor * 0.9995]
    return below[-1] if below else units[0]
