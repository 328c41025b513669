"""From what a device is used for to the power it draws.

P = idle + (limit − idle) · share. Of a kernel on an accelerator, at shares c and m of peak FLOP/s
and of memory bandwidth that it reaches in t seconds, with work for w of the multiprocessors:

    u = (busy · w^spread + compute · c^p + memory · m^q) · t / (t + settle)
    share = u / (1 + u⁶)^(1/6)

which never exceeds the limit. Searches, cores and links have the linear `PowerWeights`. Watts
times seconds are joules; shares run from 0 to 1, never in per cent. Knows no clock or record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, overload

from hermesdsl.cost.provenance import CALIBRATED, DATASHEET
from hermesdsl.graph.types import Calibration, Draw, Part

if TYPE_CHECKING:
    from hermesdsl.cost.operator import Operator
    from hermesdsl.cost.types import Floats, Use


@dataclass(frozen=True)
class PowerWeights:
    """Parts of the range from idle to limit that a device draws for what it is used for.

    For what is known by its shares alone: searches, cores, links. They need not add up to one.

    Source of `busy`, `compute`, `memory`: one linear form for board power of all kernels on H200
    and B200 in the tables named at `DRAWS`, by search on a grid over mean absolute relative error
    and rounded; 31 % on average. `link` is an assumption: serialisers and copies draw a tenth of
    the range at full rate.
    """

    busy: float = 0.20
    compute: float = 1.20
    memory: float = 0.50
    link: float = 0.10


WEIGHTS = PowerWeights()

#: How sharply power bends into the limit.
_BEND = 6.0

#: What an accelerator draws that was not measured, by kernel, all dtypes alike.
#: Source: board power of kernels in vLLM 0.22.0 on H200 and B200, NVIDIA AIConfigurator,
#: ai-dynamo/aiconfigurator @ 095f58a51c4c, all dtypes together, both devices with equal weight, by
#: `measure.power.class_draw`. docs/energy_and_cost.md has the errors on a device that
#: was left out.
DRAWS: Mapping[str, Draw] = MappingProxyType({
    "gemm": Draw(0.914, 0.614, 0.167, 0.768, 1.83, 9.85e-6, 0.155),
    "moe": Draw(0.403, 3.63, 1.38, 0.964, 1.25, 25.6e-6),
    "prefill": Draw(0.180, 0.615, 0.201, 0.256, 0.145, 1.06e-6),
    "decode": Draw(0.416, 1.26, 0.167, 2.89, 3.00, 2.71e-6),
})  # fmt: skip

#: Share of the multiprocessors that what only sends or waits keeps busy. [assumption]
FEW = 0.1

#: What a processor draws for any kernel: nothing was measured, so the linear weights. [assumption]
_PROCESSOR = Draw(WEIGHTS.busy, WEIGHTS.compute, WEIGHTS.memory, 1.0, 1.0, 0.0)


@overload
def share(
    draw: Draw, compute: float, memory: float, seconds: float, spread: float = 1.0
) -> float: ...
@overload
def share(
    draw: Draw, compute: Floats, memory: Floats, seconds: Floats, spread: float | Floats = 1.0
) -> Floats: ...
def share(
    draw: Draw, compute: float | Floats, memory: float | Floats, seconds: float | Floats,
    spread: float | Floats = 1.0,
) -> float | Floats:  # fmt: skip
    """Part of the range from idle to limit that kernels draw, 0..1, of their shape.

    `compute` and `memory`: shares of peak and bandwidth, 0..1, reached over the `seconds` of one
    kernel, above 0. `spread`: share of the multiprocessors that have work.
    """
    drawn = draw.busy * spread**draw.spread + draw.compute * compute**draw.compute_exponent
    drawn = drawn + draw.memory * memory**draw.memory_exponent
    drawn = drawn * (seconds / (seconds + draw.settle))
    return drawn / (1.0 + drawn**_BEND) ** (1.0 / _BEND)


def dynamic(use: Use, weights: PowerWeights = WEIGHTS) -> Floats:
    """Part of the range from idle to limit that each use draws, 0..1, shape (rows,).

    What its kernels are known to draw, where they are; else by `weights`.
    """
    import numpy as np

    if use.drawn is not None:
        return np.asarray(np.clip(use.drawn + weights.link * use.link, 0.0, 1.0))
    drawn = weights.busy * use.busy + weights.compute * use.compute
    drawn = drawn + weights.memory * use.memory + weights.link * use.link
    return np.asarray(np.clip(drawn, 0.0, 1.0))


def draw_of(part: Part, kernel: str, dtype: str) -> Draw:
    """What kernels of a sort (`schema.calibration.POWER`) draw on a part: measured, or its class.

    A dtype that was not measured draws as the first one that was: shares of peak already hold
    how much more of its operations fit into a second.
    """
    own = draws_of(part.calibration).get(kernel)
    if own:
        return own.get(dtype) or next(iter(own.values()))
    return _PROCESSOR if part.kind == "cpu" else DRAWS[kernel]


def draws_of(calibration: Calibration | None) -> Mapping[str, Mapping[str, Draw]]:
    """Measured draws by kernel and dtype; none without a calibration."""
    return calibration.power if calibration is not None else {}


def rung_of(part: Part) -> str:
    """On which rung the power of a part at work stands."""
    return CALIBRATED if draws_of(part.calibration) else DATASHEET


def kernel_of(op: Operator) -> str:
    """The sort of kernel (`schema.calibration.POWER`) that an operator draws as."""
    if op.name == "attention prefill":
        return "prefill"
    if op.name == "attention decode":
        return "decode"
    return "moe" if op.name.startswith("experts") else "gemm"
