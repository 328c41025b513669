"""Seconds of rows of kernels by each way to predict them without a fit to the rows.

`roofline` knows peaks and bandwidth; `sheet` the forms of the cost models with efficiencies of 1;
`classes` the same with the efficiencies of the device's class, as a chip without a calibration
gets them; `shipped` the calibration of the library's chip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.accuracy.report import Floats
from hermesdsl.cost.attention import decode, plain_shape, prefill
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import ACCELERATOR, VLLM, Efficiencies
from hermesdsl.cost.device import Device
from hermesdsl.cost.gemm import Gemm
from hermesdsl.cost.moe import Experts, MoeShape
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Calibration, Fabric, Grid
from hermesdsl.measure.fit import Term, predict
from hermesdsl.measure.operators import Points, Sheet, width_of

if TYPE_CHECKING:
    import pandas as pd

#: Nothing below its data sheet: full peak, bandwidth and links; KV written once and read back
#: once; no fixed time of a tile. What stays is counted work: tiles, waves, launches.
FULL: Efficiencies = replace(
    ACCELERATOR,
    memory=1.0, memory_narrow=1.0, compute=1.0, compute_narrow=1.0, grouped=1.0,
    smooth_compute=1.0, prefill_compute=1.0, prefill_narrow=1.0, head_exponent=0.0,
    prefill_tile=0.0, prefill_stream=1.0, kv_write=2.0, kv_write_narrow=2.0, kv_write_own=1.0,
    decode_memory=1.0, decode_narrow=1.0, decode_compute=1.0, decode_extra_tokens=0.0,
    decode_stream=1.0, link=1.0, link_few=0.0, link_fill=0.0, direct=1.0, direct_one=1.0,
)  # fmt: skip


def modelled(
    operator: str, rows: pd.DataFrame, sheet: Sheet, dtype: str, efficiencies: Efficiencies
) -> Floats:
    """Seconds of every row by the cost models without a calibration, (rows,)."""
    size = width_of(dtype)
    attends = operator in ("prefill", "decode")
    peak = (sheet.wide or sheet.peak) if attends else sheet.peak
    device = Device(
        peak, sheet.bandwidth, sheet.sms, size < 2.0 and not attends, efficiencies, VLLM.overheads,
        "fp8" if dtype == "fp8_block" else dtype,
    )  # fmt: skip
    each = _EACH[operator](device, size)
    names = _COLUMNS[operator]
    columns = [rows[name].to_numpy(np.float64).tolist() for name in names]
    return np.array([each(*shape) for shape in zip(*columns, strict=True)])


_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k"),
    "moe": ("tokens", "hidden", "width", "active", "experts", "tp", "ep"),
    "prefill": ("new", "kv", "sequences", "heads", "kv_heads", "width"),
    "decode": ("context", "sequences", "heads", "kv_heads", "width"),
}


def _gemm(device: Device, size: float) -> Any:
    gemm = Gemm(device, size, size)
    return lambda m, n, k: gemm.operator("x", 1, m, int(n), int(k)).seconds


def _moe(device: Device, size: float) -> Any:
    """One rank with its share of experts, choosing as often as its share of choices falls on it."""
    e = device.efficiencies
    slower = replace(e, compute=e.compute * e.grouped, compute_narrow=e.compute_narrow * e.grouped)
    grouped = Gemm(replace(device, efficiencies=slower), size, size)
    ring = Collectives(Fabric(1, 0.0, float("inf")), e, device.overheads)

    def seconds(
        tokens: float, hidden: float, width: float, active: float, experts: float, tp: float,
        ep: float,
    ) -> float:  # fmt: skip
        own: Any = experts / ep
        chosen: Any = active / ep
        shape = MoeShape(own, chosen, int(hidden), int(width), True, 1, int(tp))
        layer = Experts(shape, device, grouped, grouped, ring, size, device.dtype)
        parts = layer.operators(1, tokens, tokens, max(size, 1.0))
        return sum(op.seconds for op in parts if op.name != "router")

    return seconds


def _prefill(device: Device, size: float) -> Any:
    def seconds(
        new: float, kv: float, count: float, heads: float, kv_heads: float, width: float
    ) -> float:
        pairs = count * (new * (kv - new) + 0.5 * new * (new + 1.0))
        tokens, sequences = int(count * new), int(count)
        work = StepWork(tokens, sequences, sequences, tokens, pairs, count * kv)
        return prefill(device, plain_shape(heads, kv_heads, width, size), 1, work).seconds

    return seconds


def _decode(device: Device, size: float) -> Any:
    def seconds(context: float, count: float, heads: float, kv_heads: float, width: float) -> float:
        layer = decode(device, plain_shape(heads, kv_heads, width, size), count)
        return layer.seconds(context * count)

    return seconds


_EACH = {"gemm": _gemm, "moe": _moe, "prefill": _prefill, "decode": _decode}


def shipped(
    calibration: Calibration | None, operator: str, dtype: str, points: Points
) -> Floats | None:
    """Seconds by a calibration of the library, (rows,); None if it does not speak of these."""
    found = calibration.operators.get(operator, {}) if calibration is not None else {}
    alike = {"fp16": "bf16", "bf16": "fp16"}
    own = [grid for grid in found.get(dtype) or found.get(alike.get(dtype, dtype), ())
           if not grid.measured]  # fmt: skip
    if not own or not all(axis in points.axes for grid in own for axis in grid.axes):
        return None
    return points.reference / np.exp(factors(own, points.axes))


def factors(grids: list[Grid], axes: Mapping[str, Floats]) -> Floats:
    """Sum of the logarithms of grids at every point, (rows,)."""
    terms = [Term(grid.axes, grid.knots) for grid in grids]
    return predict(terms, [np.log(np.asarray(grid.values)) for grid in grids], axes)


def sent(
    kind: str, link: Fabric, members: Floats, volume: Floats, efficiencies: Efficiencies,
    calibration: Calibration | None = None,
) -> Floats:  # fmt: skip
    """Seconds of messages between near devices, (rows,)."""
    found = []
    for n, v in zip(members.tolist(), volume.tolist(), strict=True):
        fabric = replace(link, size=int(n))
        way = Collectives(fabric, efficiencies, VLLM.overheads, calibration)
        found.append(getattr(way, kind)(kind, 1, v).seconds)
    return np.array(found)
