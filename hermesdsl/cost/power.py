"""From what a device is used for to the power it draws.

P = idle + (limit − idle) · min(1, w_busy·busy + w_compute·compute + w_memory·memory + w_link·link)

with shares of time, peak, bandwidth and link bandwidth (`types.Use`). Watts times seconds are
joules; shares run from 0 to 1, never in per cent. Knows no device, clock or record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hermesdsl.cost.types import Floats, Use


@dataclass(frozen=True)
class PowerWeights:
    """Parts of the range from idle to limit that a device draws for what it is used for.

    They need not add up to one: a kernel at two thirds of the peak already draws the limit.

    Source of `busy`, `compute`, `memory`: board power in vLLM 0.22.0 kernels on H200 and B200,
    NVIDIA AIConfigurator, ai-dynamo/aiconfigurator @ 095f58a51c4c (bf16 GEMM, context and
    generation attention). One value for both devices and all kernels, by search on a grid over
    mean absolute relative error and rounded: 24 to 39 % per kernel and device, 31 % on average,
    against 42 % at best without `busy`. To be calibrated per device.
    `link` is an assumption: serialisers and copies draw a tenth of the range at full rate.
    """

    busy: float = 0.20
    compute: float = 1.20
    memory: float = 0.50
    link: float = 0.10


WEIGHTS = PowerWeights()


def dynamic(use: Use, weights: PowerWeights = WEIGHTS) -> Floats:
    """Part of the range from idle to limit that each use draws, 0..1, shape (rows,)."""
    import numpy as np

    drawn = weights.busy * use.busy + weights.compute * use.compute
    drawn = drawn + weights.memory * use.memory + weights.link * use.link
    return np.asarray(np.clip(drawn, 0.0, 1.0))
