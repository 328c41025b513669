"""How much the fullest of several ranks gets when work falls on them at random.

Ranks that meet at every layer wait for the one with most to do, so what counts is the expected
maximum, not the mean. Knows counts only: no model, device or clock.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma, log, pi, sqrt
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float64]

#: Up to so many items the expectation is summed exactly; above, by Levin's form.
EXACT_ITEMS = 256


@lru_cache(maxsize=4096)
def fullest(items: int, ranks: int) -> float:
    """Expected number on the fullest of `ranks` when each of `items` goes to one at random.

    E[max] of a multinomial with equal chances, Σ_k P(max > k). Exact up to `EXACT_ITEMS`; above,
    P(max ≤ k) = F(k)^r · P(Y = n) / P(Poisson(n) = n) for Poisson counts of mean n/r, where Y, the
    sum of r of them cut off above k, is taken as normal (Levin, Annals of Statistics 9, 1981).
    """
    if items <= 0 or ranks <= 1:
        return float(max(items, 0))
    if items <= EXACT_ITEMS:
        return _exact(items, ranks)
    return _levin(items, ranks)


def fullest_of_binomials(trials: int, chance: float, ranks: int) -> float:
    """Expected maximum of `ranks` independent binomials: Σ_k (1 − F(k)^ranks)."""
    if ranks <= 1 or trials <= 0 or chance in (0.0, 1.0):
        return trials * chance
    below, total = 0.0, 0.0
    for k in range(trials):
        ways = lgamma(trials + 1) - lgamma(k + 1) - lgamma(trials - k + 1)
        below += exp(ways + k * log(chance) + (trials - k) * log(1.0 - chance))
        total += 1.0 - min(below, 1.0) ** ranks
    return total


def _exact(items: int, ranks: int) -> float:
    """Σ_k P(max > k), with P(max ≤ k) from the r-th power of the truncated Poisson weights."""
    import numpy as np

    mean = items / ranks
    numbers = np.arange(items + 1)
    factorials = np.array([lgamma(n + 1.0) for n in numbers])
    weights = np.exp(numbers * log(mean) - mean - factorials)
    whole = exp(items * log(items) - items - lgamma(items + 1.0))
    total = 0.0
    for k in range(items):
        cut = np.where(numbers <= k, weights, 0.0)
        missing = 1.0 - float(_power(cut, ranks, items)[items]) / whole
        total += min(max(missing, 0.0), 1.0)
        if k > mean and missing < 1e-12:
            break
    return total


def _power(weights: Array, times: int, top: int) -> Array:
    """Coefficients 0 … `top` of a polynomial to a power, by repeated squaring."""
    import numpy as np

    found = np.zeros(top + 1)
    found[0] = 1.0
    while times:
        if times & 1:
            found = np.convolve(found, weights)[: top + 1]
        weights = np.convolve(weights, weights)[: top + 1]
        times >>= 1
    return found


def _levin(items: int, ranks: int) -> float:
    import numpy as np

    mean = items / ranks
    top = int(mean + 12.0 * sqrt(mean) + 40.0)
    numbers = np.arange(top + 1)
    factorials = np.cumsum(np.log(np.maximum(numbers, 1)))
    below = np.cumsum(np.exp(numbers * log(mean) - mean - factorials))
    safe = np.maximum(below, 1e-300)
    once = np.concatenate([[0.0], below[:-1]]) / safe
    twice = np.concatenate([[0.0, 0.0], below[:-2]]) / safe
    average = mean * once
    spread = np.maximum(mean * mean * twice + average - average * average, 1e-12)
    off = (items - ranks * average) ** 2 / (2.0 * ranks * spread)
    density = np.exp(-off) / np.sqrt(2.0 * pi * ranks * spread)
    # P(Poisson(n) = n) by Stirling with its first correction.
    whole = exp(-1.0 / (12.0 * items)) / sqrt(2.0 * pi * items)
    most = np.clip(np.exp(ranks * np.log(safe)) * density / whole, 0.0, 1.0)
    return float((1.0 - most).sum())
