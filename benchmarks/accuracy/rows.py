"""What every accuracy figure is made of: one measured thing, and what was predicted for it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One run, point or step. `figures`: metric to (measured, predicted), both in SI units.

    `group`: what it is averaged with. `skipped`: why there are no figures; empty if there are.
    """

    name: str
    group: str
    figures: dict[str, tuple[float, float]] = field(default_factory=dict)
    skipped: str = ""

    def error(self, metric: str) -> float:
        """Signed relative error, predicted over measured less one."""
        measured, predicted = self.figures[metric]
        return predicted / measured - 1.0
