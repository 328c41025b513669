"""On which rung a number stands: measured, calibrated or data sheet, and in which shares.

Knows names and shares only; no formula and no device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hermesdsl.cost.operator import Operator

#: Looked up in a table of measurements, inside its range.
MEASURED = "measured"
#: Data-sheet model times a utilisation fitted for this device and operator.
CALIBRATED = "calibrated"
#: Data-sheet peak and bandwidth with the efficiencies of the device's class.
DATASHEET = "datasheet"

#: Every rung, the most trusted first.
RUNGS = (MEASURED, CALIBRATED, DATASHEET)


@dataclass(frozen=True)
class Shares:
    """Seconds of simulated time that stand on each rung; `a + b` adds them up."""

    seconds: Mapping[str, float]

    def __add__(self, other: Shares) -> Shares:
        return Shares({r: self.seconds.get(r, 0.0) + other.seconds.get(r, 0.0) for r in RUNGS})

    @property
    def total(self) -> float:
        """Seconds on all rungs together."""
        return sum(self.seconds.values())

    def fractions(self) -> dict[str, float]:
        """Share of the time on each rung, 0..1, in the order of `RUNGS`; all 0 without time."""
        total = self.total
        return {r: self.seconds.get(r, 0.0) / total if total > 0 else 0.0 for r in RUNGS}


def shares(operators: Iterable[Operator]) -> Shares:
    """Seconds per rung over a breakdown, each operator weighted by its count."""
    seconds = dict.fromkeys(RUNGS, 0.0)
    for op in operators:
        seconds[op.rung] += op.count * op.seconds
    return Shares(seconds)
