"""What it takes to calibrate attention: rows of prompts and of decoding, one layer on one device.

The numbers behind `reference` are those of `cost.attention`, which divides them by the fitted
factors. Knows rows of a table and a data sheet; no file and no fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from hermesdsl.cost.attention import (
    QUERY_ROWS,
    SPAN,
    AttentionShape,
    decode,
    plain_shape,
    prefill,
)
from hermesdsl.cost.constants import ACCELERATOR, VLLM, Efficiencies
from hermesdsl.cost.device import USUAL_SMS, Device
from hermesdsl.cost.types import StepWork
from hermesdsl.measure.fit import Floats, Penalty, term
from hermesdsl.measure.operators import Fittable, Points, Sheet, width_of

if TYPE_CHECKING:
    import pandas as pd

_STIFF = Penalty(bend=0.3, size=0.02)

_KEYS = (16, 64, 128, 256, 512, 1024, 1536, 2048, 4096, 8192, 16384)
_WAVES = (1, 4, 16, 64, 512)
#: Prompts: how the kernel for a sharing of KV heads grows into long prompts, how it fills the
#: multiprocessors, and the writing of KV.
_PREFILL = (
    term(keys=_KEYS, group=(1, 2, 4, 8, 32), width=(64, 128)),
    term(keys=(64, 256, 1024, 4096, 16384), waves=(0.25, 1, 2, 4, 16, 64, 512)),
    term(kv_heads=(1, 2, 4, 8, 32), waves=_WAVES),
)
_PAIRS = (4, 16, 64, 128, 256, 512, 1024, 8192)
#: Decoding: how few or short contexts leave the memory unused, apart for KV heads with one query
#: head; the width of heads; and many query heads to a KV head.
_DECODE = (
    term(context=(2, 32, 128, 256, 512, 2048, 8192, 65536), pairs=_PAIRS, group=(1, 2)),
    term(context=(2, 128, 1024, 65536), width=(64, 128)),
    term(context=(2, 128, 1024, 65536), group=(2, 8, 32)),
)


_SHARED = ("sequences", "heads", "kv_heads", "width")


def _prefill(
    rows: pd.DataFrame, sheet: Sheet, dtype: str, efficiencies: Efficiencies = ACCELERATOR
) -> Points:
    """Causal prompts, all sequences of a row equally long; `kv` counts cached tokens and new."""
    new, kv, sequences, heads, kv_heads, width = _columns(rows, ("new", "kv", *_SHARED))
    pairs = sequences * (new * (kv - new) + 0.5 * new * (new + 1.0))
    device, value = _device(sheet, efficiencies), width_of(dtype)

    def seconds(index: int, shape: AttentionShape) -> float:
        count, tokens = int(sequences[index]), int(sequences[index] * new[index])
        held = float(sequences[index] * kv[index])
        work = StepWork(tokens, count, count, tokens, float(pairs[index]), held)
        return prefill(device, shape, 1, work).seconds

    tiles = heads * sequences * np.ceil(new / QUERY_ROWS)
    axes = {
        "keys": 2.0 * kv - new + 1.0,
        "group": heads / kv_heads,
        "width": width,
        "waves": tiles / (sheet.sms or USUAL_SMS),
        "kv_heads": kv_heads,
    }
    compute = 4.0 * heads * width * pairs / device.peak
    memory = (2.0 * kv_heads * value * kv + 4.0 * heads * new) * width * sequences
    reference = _each(seconds, heads, kv_heads, width, value)
    keys = _keys(new, kv, sequences, heads, kv_heads, width)
    return Points(axes, reference, compute, memory / sheet.bandwidth, keys)


def _decode(
    rows: pd.DataFrame, sheet: Sheet, dtype: str, efficiencies: Efficiencies = ACCELERATOR
) -> Points:
    """Sequences of equal contexts, one new token of each."""
    context, sequences, heads, kv_heads, width = _columns(rows, ("context", *_SHARED))
    device, value = _device(sheet, efficiencies), width_of(dtype)

    def seconds(index: int, shape: AttentionShape) -> float:
        layer = decode(device, shape, float(sequences[index]))
        return layer.seconds(float(context[index] * sequences[index]))

    memory = 2.0 * kv_heads * width * value * sequences * context / sheet.bandwidth
    compute = 4.0 * heads * width * sequences * context / device.peak
    axes = {
        "context": context,
        "pairs": sequences * kv_heads,
        "group": heads / kv_heads,
        "width": width,
        "load": sequences * kv_heads / (sheet.sms or USUAL_SMS),
        "span": memory / SPAN,
        "feed": np.full(len(rows), sheet.feed),
        "balance": np.full(len(rows), device.balance),
    }
    reference = _each(seconds, heads, kv_heads, width, value)
    keys = _keys(context, sequences, heads, kv_heads, width)
    return Points(axes, reference, compute, memory, keys)


def attention_seconds(
    operator: str, rows: pd.DataFrame, sheet: Sheet, dtype: str, efficiencies: Efficiencies
) -> Floats:
    """The data-sheet model with other efficiencies, (rows,); `operator` prefill or decode."""
    points = _prefill if operator == "prefill" else _decode
    return points(rows, sheet, dtype, efficiencies).reference


def _device(sheet: Sheet, efficiencies: Efficiencies) -> Device:
    """The device as attention meets it: it computes in 16 bits whatever its KV is held in."""
    peak = sheet.wide or sheet.peak
    return Device(peak, sheet.bandwidth, sheet.sms, False, efficiencies, VLLM.overheads)


def _columns(rows: pd.DataFrame, names: tuple[str, ...]) -> list[Floats]:
    return [rows[name].to_numpy(np.float64) for name in names]


def _each(
    seconds: Callable[[int, AttentionShape], float], heads: Floats, kv_heads: Floats,
    width: Floats, value: float,
) -> Floats:  # fmt: skip
    """`seconds` of every row with its shape, (rows,)."""
    shapes = zip(heads.tolist(), kv_heads.tolist(), width.tolist(), strict=True)
    return np.array(
        [seconds(index, plain_shape(*shape, value)) for index, shape in enumerate(shapes)]
    )


def _keys(*columns: Floats) -> list[tuple[object, ...]]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


PREFILL = Fittable("prefill", _prefill, _PREFILL, _STIFF)
DECODE = Fittable("decode", _decode, _DECODE, _STIFF)
