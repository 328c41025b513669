"""How far predictions are from measurements: signed errors, and their size request by request.

Knows arrays only. Errors are relative: predicted / measured − 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["STATISTICS", "Comparison", "Figure", "compared", "mape", "rank_correlation"]

Floats: TypeAlias = "NDArray[np.float64]"

#: What is compared of every latency, by name; percentiles are numpy's ``linear``.
STATISTICS: tuple[str, ...] = ("mean", "p50", "p90", "p99")


@dataclass(frozen=True)
class Figure:
    """One number measured and predicted, in SI units."""

    measured: float
    predicted: float

    @property
    def error(self) -> float | None:
        """predicted / measured − 1; None against nothing."""
        return self.predicted / self.measured - 1.0 if self.measured else None

    def summary(self) -> dict[str, float | None]:
        """The figure as JSON."""
        return {"measured": self.measured, "predicted": self.predicted, "error": self.error}


@dataclass(frozen=True)
class Comparison:
    """One latency of `n` requests.

    `figures` by statistic. `paired`: mean absolute relative error request by request, over those
    measured above zero. `ordered`: the same between the two sorted lists, which forgives who waited
    for whom.
    """

    n: int
    figures: Mapping[str, Figure]
    paired: float | None
    ordered: float | None


def compared(measured: Floats, predicted: Floats, *, relative: bool = True) -> Comparison:
    """Two columns of shape (n,), seconds, a row per request; those with a NaN are left out.

    Without any row left, `n` is 0 and there are no figures. `relative` off: no errors per request,
    for what is often next to nothing.
    """
    both = ~(np.isnan(measured) | np.isnan(predicted))
    truth, guess = measured[both], predicted[both]
    if not len(truth):
        return Comparison(0, {}, None, None)
    figures = {name: Figure(_statistic(name, truth), _statistic(name, guess))
               for name in STATISTICS}  # fmt: skip
    if not relative:
        return Comparison(len(truth), figures, None, None)
    ordered = mape(np.sort(truth), np.sort(guess))
    return Comparison(len(truth), figures, mape(truth, guess), ordered)


def _statistic(name: str, values: Floats) -> float:
    if name == "mean":
        return float(values.mean())
    return float(np.percentile(values, float(name[1:])))


def mape(measured: Floats, predicted: Floats) -> float | None:
    """Mean absolute relative error over what was measured above zero; None if nothing was."""
    above = measured > 0.0
    if not above.any():
        return None
    return float(np.abs(predicted[above] / measured[above] - 1.0).mean())


def rank_correlation(measured: Floats, predicted: Floats) -> float | None:
    """Spearman's: the correlation of ranks, equal values sharing the mean of theirs.

    None where one side never changes.
    """
    ranks = [_ranks(values) for values in (measured, predicted)]
    if any(np.ptp(rank) == 0.0 for rank in ranks):
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - 0.5 * (count - 1))[place], np.float64)
