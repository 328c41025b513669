"""What it takes to calibrate one operator: its coordinates, its data-sheet model, its grids.

The numbers behind `reference` are those that `cost` divides by the fitted factors; a test holds
the two together. Knows rows of a table and a data sheet; no file and no fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermesdsl.cost.constants import VLLM
from hermesdsl.cost.device import USUAL_SMS
from hermesdsl.cost.gemm import product_bytes, product_shape, smooth_maximum
from hermesdsl.cost.moe import SPAN, layer_bytes, layer_flops
from hermesdsl.graph.types import DTYPE_BYTES
from hermesdsl.measure.fit import Floats, Penalty, Term, term
from hermesdsl.measure.routing import fullest

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sheet:
    """Of a chip's data sheet: FLOP/s for the dtype, byte/s, multiprocessors (0: unknown).

    `wide`: FLOP/s in 16 bits, in which attention computes (0: as `peak`).
    """

    peak: float
    bandwidth: float
    sms: int
    wide: float = 0.0

    @property
    def feed(self) -> float:
        """GB/s of memory bandwidth for each multiprocessor, as of `cost.device.Device`."""
        return self.bandwidth / self.sms / 1e9 if self.sms else 20.0

    @property
    def rate(self) -> float:
        """TFLOP/s of one multiprocessor in 16 bits, as of `cost.device.Device`."""
        return (self.wide or self.peak) / (self.sms or USUAL_SMS) / 1e12


@dataclass(frozen=True)
class Points:
    """Rows of a table as a fit sees them, (rows,) each.

    `axes`: coordinates by name. `reference`: seconds of the data-sheet model; `compute` and
    `memory`: of FLOPs at the peak and of bytes at full bandwidth alone. `keys`: one per shape.
    """

    axes: Mapping[str, Floats]
    reference: Floats
    compute: Floats
    memory: Floats
    keys: Sequence[tuple[object, ...]]

    @property
    def roofline(self) -> Floats:
        """Seconds of the naive model: the larger of the two, (rows,)."""
        import numpy as np

        return np.maximum(self.compute, self.memory)


@dataclass(frozen=True)
class Fittable:
    """An operator that can be calibrated."""

    name: str
    points: Callable[[pd.DataFrame, Sheet, str], Points]
    terms: tuple[Term, ...]
    penalty: Penalty


def width_of(dtype: str) -> float:
    """Bytes per value; scaled by blocks or not, eight bits are eight bits."""
    return DTYPE_BYTES["fp8" if dtype == "fp8_block" else dtype]


def _gemm(rows: pd.DataFrame, sheet: Sheet, dtype: str) -> Points:
    import numpy as np

    m, n, k = (rows[axis].to_numpy(np.float64) for axis in "mnk")
    size = width_of(dtype)
    compute = 2.0 * m * n * k / sheet.peak
    memory = product_bytes(m, n, k, size, size) / sheet.bandwidth
    axes = dict(zip(("m", "n", "k", "waves", "fill"), product_shape(m, n, k, sheet.sms),
                    strict=True))  # fmt: skip
    reference = VLLM.overheads.kernel + smooth_maximum(compute, memory)
    keys = list(zip(m.tolist(), n.tolist(), k.tolist(), strict=True))
    return Points(axes, reference, compute, memory, keys)


def routed(rows: pd.DataFrame) -> tuple[Floats, Floats]:
    """Rows and experts touched on the device that was timed, (rows,) each."""
    import numpy as np

    spread = rows["distribution"].astype(str) if "distribution" in rows else [""] * len(rows)
    names = ("tokens", "active", "experts", "ep")
    shapes = zip(spread, *(rows[name].astype(int).tolist() for name in names), strict=True)
    found = np.array([fullest(*shape) for shape in shapes]).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _moe(rows: pd.DataFrame, sheet: Sheet, dtype: str) -> Points:
    """Layers of experts as the fullest device of a group sees them (`measure.routing`)."""
    import numpy as np

    names = ("tokens", "hidden", "width", "active", "experts", "tp", "ep")
    tokens, hidden, width, active, experts, tp, ep = (
        rows[name].to_numpy(np.float64) for name in names
    )
    width = np.ceil(width / tp)
    moved, touched = routed(rows)
    compute = layer_flops(moved, hidden, width) / sheet.peak
    memory = layer_bytes(moved, touched, hidden, width, width_of(dtype)) / sheet.bandwidth
    axes = {"rows": moved / touched, "tokens": tokens, "hidden": hidden, "width": width,
            "experts": experts, "active": active, "local": experts / ep,
            "touched": touched, "span": np.maximum(compute, memory) / SPAN,
            "feed": np.full(len(rows), sheet.feed),
            "rate": np.full(len(rows), sheet.rate)}  # fmt: skip
    o = VLLM.overheads
    reference = o.moe + o.kernel + smooth_maximum(compute, memory)
    given = [rows[name].to_numpy(np.float64).tolist() for name in names]
    spread = rows["distribution"].astype(str) if "distribution" in rows else [""] * len(rows)
    keys: list[tuple[object, ...]] = list(zip(*given, spread, strict=True))
    return Points(axes, reference, compute, memory, keys)


GEMM = Fittable(
    "gemm",
    _gemm,
    (
        term(
            m=(1, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384),
            n=(64, 256, 1024, 2048, 4096, 8192, 65536),
            k=(64, 256, 1024, 4096, 16384, 65536),
        ),
        term(waves=(0.25, 0.5, 1, 2, 4, 16), fill=(0.25, 0.5, 0.75, 1)),
    ),
    Penalty(bend=0.1),
)

_TOKENS = (1, 4, 8, 16, 32, 64, 256, 1024, 4096, 16384, 65536)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048)
_LOCAL = (1, 4, 16, 64, 128, 512)
_WIDTHS = (32, 128, 512, 1024, 2048, 8192)

MOE = Fittable(
    "moe",
    _moe,
    (
        term(rows=_ROWS, width=_WIDTHS, local=_LOCAL),
        term(rows=_ROWS, touched=_LOCAL),
        term(hidden=(1024, 2048, 4096, 7168), width=(*_WIDTHS[:-1], 4096, 16384), touched=_LOCAL),
        term(active=(1, 2, 4, 8, 22), tokens=_TOKENS),
        term(tokens=_TOKENS, local=_LOCAL),
    ),
    Penalty(bend=0.1),
)

#: Every operator that `hermes calibrate` fits, by name.
OPERATORS: Mapping[str, Fittable] = {each.name: each for each in (GEMM, MOE)}
