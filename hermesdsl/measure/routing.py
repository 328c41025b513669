"""How many rows the experts of one device got when a table of layers was measured.

Tables name how tokens were spread over the experts. Times are those of the device with most to do,
so rows and experts touched are counted for that one. Knows numbers of tokens and experts; no
device, no formula of time.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from hermesdsl.cost.moe import distinct_experts

if TYPE_CHECKING:
    from hermesdsl.measure.fit import Floats

#: How a column `distribution` names the two ways that are known beside a free choice.
_LAW, _EVEN = "power_law_", "balanced"
#: Draws of a power law that a mean is taken over, and where they start.
_DRAWS, _SEED = 48, 0


def fullest(
    distribution: str, tokens: int, active: int, experts: int, ep: int
) -> tuple[float, float]:
    """Rows and experts touched on the fullest of `ep` devices, as means.

    `tokens` choose `active` of `experts` each. ``power_law_α``: the load of an expert is drawn from
    a density falling as x^−α, between 1 and 0.8 of all tokens (between 0.01 and 2 where there are
    fewer choices than experts), and all are scaled to the number of choices, as NVIDIA
    AIConfigurator does when it measures (collector/helper.py, `power_law_logits_v3`).
    ``balanced``: choices are dealt out in turn. Else each token chooses at random, each expert as
    likely as another, and all devices do alike.
    """
    whole = experts % ep == 0
    if distribution.startswith(_LAW) and whole and tokens * active > 1:
        return _law(float(distribution.removeprefix(_LAW)), tokens, active, experts, ep)
    if distribution == _EVEN:
        return tokens * active / ep, min(experts, tokens * active) / ep
    return tokens * active / ep, distinct_experts(experts, active, tokens) / ep


@cache
def _law(alpha: float, tokens: int, active: int, experts: int, ep: int) -> tuple[float, float]:
    """The same for loads drawn from a power law."""
    choices = tokens * active
    low, high = (1.0, 0.8 * tokens) if choices > experts else (0.01, 2.0)
    drawn = _power_law(_uniform(experts), alpha, low, max(high, low))
    counts = np.rint(drawn / drawn.sum(axis=1, keepdims=True) * choices)
    counts = _within(_dealt(counts, choices), tokens)
    groups = counts.reshape(_DRAWS, ep, experts // ep)
    most = groups[np.arange(_DRAWS), groups.sum(axis=2).argmax(axis=1)]
    return float(most.sum(axis=1).mean()), float((most >= 0.5).sum(axis=1).mean())


def _power_law(uniform: Floats, alpha: float, low: float, high: float) -> Floats:
    """Values of a density falling as x^−α between two bounds, of numbers drawn from [0, 1)."""
    if abs(alpha - 1.0) < 1e-9:
        return np.asarray(low * (high / low) ** uniform)
    power = 1.0 - alpha
    start = low**power
    return np.asarray(((high**power - start) * uniform + start) ** (1.0 / power))


def _dealt(counts: Floats, choices: int) -> Floats:
    """The same with a sum of `choices`: what rounding left over is dealt out from the most loaded
    on, or taken back from the least loaded on; from the most loaded where those have none.
    """
    order = np.argsort(-counts, axis=1, kind="stable")
    places = np.argsort(order, axis=1, kind="stable")
    experts = counts.shape[1]
    short = (choices - counts.sum(axis=1))[:, None]
    more = np.floor((np.maximum(short, 0.0) + experts - 1 - places) / experts)
    less = np.floor((np.maximum(-short, 0.0) + places) / experts)
    found = counts + more - np.minimum(less, counts)
    found[np.arange(len(found)), order[:, 0]] -= found.sum(axis=1) - choices
    return np.asarray(found)


def _within(counts: Floats, tokens: int) -> Floats:
    """The same with no more than all tokens for one expert: others get the rest, by their room."""
    found = np.minimum(counts, tokens)
    left = (counts - found).sum(axis=1, keepdims=True)
    room = tokens - found
    return np.asarray(found + left * room / np.maximum(room.sum(axis=1, keepdims=True), 1.0))


@cache
def _uniform(experts: int) -> Floats:
    """Numbers from [0, 1), the same in every run, (draws, experts)."""
    return np.random.default_rng(_SEED).random((_DRAWS, experts))
