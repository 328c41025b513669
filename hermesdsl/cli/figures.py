"""Numbers as a person reads them: one unit and one precision per row.

Knows no metric and no table.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Printed where a value is undefined.
NOTHING = "-"

_TIMES = (("s", 1.0), ("ms", 1e-3), ("us", 1e-6))
_LONG = (("h", 3600.0, 7200.0), ("min", 60.0, 120.0))


@dataclass(frozen=True)
class Scale:
    """How the values of a row print: divided by `factor`, with `decimals`, in `unit`."""

    unit: str
    factor: float
    decimals: int

    def text(self, value: float | None) -> str:
        """The number alone; a small value that is not zero never prints as zero."""
        if value is None:
            return NOTHING
        shown = f"{value / self.factor:,.{self.decimals}f}"
        if value > 0 and not shown.strip("0."):
            return f"<{10**-self.decimals:.{self.decimals}f}"
        return shown


def time_scale(typical: float | None) -> Scale:
    """The scale for times (seconds) of which `typical` should print with three digits."""
    if not typical or typical <= 0:
        return Scale("ms", 1e-3, 0)
    unit, factor = next((each for each in _TIMES if typical >= each[1] * 0.9995), _TIMES[-1])
    return Scale(unit, factor, _decimals(max(typical / factor, 1.0), 3))


def rate(value: float | None) -> str:
    """A rate or count with four digits."""
    if value is None:
        return NOTHING
    return f"{value:,.{_decimals(value, 4)}f}" if value else "0"


def share(value: float | None) -> str:
    """A share as a percentage; only the whole is 100 %, and only nothing is 0 %."""
    if value is None:
        return NOTHING
    if value in (0.0, 1.0):
        return f"{value:.0%}"
    if value < 0.0005:
        return "<0.1%"
    return ">99.9%" if value >= 0.9995 else f"{value:.1%}"


def duration(seconds: float) -> str:
    """A length of time: ``1.23 s``, ``10.0 min``."""
    for unit, factor, least in _LONG:
        if seconds >= least:
            return f"{seconds / factor:.1f} {unit}"
    scale = time_scale(seconds)
    return f"{scale.text(seconds)} {scale.unit}"


def time(seconds: float | None) -> str:
    """A length of time on its own: `duration`, ``0`` for none and a dash where undefined."""
    if seconds is None:
        return NOTHING
    return duration(seconds) if seconds else "0"


def quantity(value: float | None, unit: str, scale: float) -> str:
    """A value in SI units as the user wrote its bound: divided by `scale`, in `unit`.

    Prices of tokens are per million, as they are quoted.
    """
    if value is None:
        return NOTHING
    number = value / scale
    if unit == "$/tok":
        return f"${rate(number * 1e6)}/1e6 tok"
    shown = f"{number:,.{_decimals(number, 4)}f}"
    if "." in shown:
        shown = shown.rstrip("0").rstrip(".")
    if unit in ("", "1"):
        return shown
    if unit.startswith("$"):
        return f"${shown}{unit[1:]}"
    return f"{shown}%" if unit == "%" else f"{shown} {unit}"


def _decimals(value: float, digits: int) -> int:
    """Decimals that show a positive number with about so many digits; at most `digits`."""
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return max(digits - whole, 0)
