"""Attention kernels that were timed, as grids of a calibration.

Fits how much of the data-sheet model's speed prompts and decoding reach on one device, over the
coordinates that a step has. Knows columns of measurements; no files, and no other operator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.cost.attention import (
    QUERY_ROWS,
    USUAL_SMS,
    AttentionShape,
    decode,
    prefill,
)
from hermesdsl.cost.device import Device
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import DTYPE_BYTES, Grid
from hermesdsl.measure.fit import Floats, Penalty, Term, fit, folds, grids, predict, term

#: Median errors are those of kernels at least this long (seconds): shorter ones are launches.
LONG = 50e-6
#: Kernels shorter than this (seconds) are not fitted: their KV stays in the caches of a benchmark
#: that repeats one call, which no engine's does.
SHORTEST = 20e-6
#: One measurement in so many is held out to find the error of a fit.
HELD = 5
#: A fit follows measurements within some per cent (see `fit.Penalty`).
STIFF = Penalty(bend=0.3, size=0.02)

_KEYS = (16, 64, 128, 256, 512, 1024, 1536, 2048, 4096, 8192, 16384)
_WAVES = (1, 4, 16, 64, 512)
#: Prompts: how the kernel for a sharing of KV heads grows into long prompts, how it fills the
#: multiprocessors, and the writing of KV.
PREFILL = (
    term(keys=_KEYS, group=(1, 2, 4, 8, 32), width=(64, 128)),
    term(keys=(64, 256, 1024, 4096, 16384), waves=(0.25, 1, 2, 4, 16, 64, 512)),
    term(kv_heads=(1, 2, 4, 8, 32), waves=_WAVES),
)
_PAIRS = (4, 16, 64, 128, 256, 512, 1024, 8192)
#: Decoding: how few or short contexts leave the memory unused, apart for KV heads with one query
#: head; the width of heads; and many query heads to a KV head.
DECODE = (
    term(context=(2, 32, 128, 256, 512, 2048, 8192, 65536), pairs=_PAIRS, group=(1, 2)),
    term(context=(2, 128, 1024, 65536), width=(64, 128)),
    term(context=(2, 128, 1024, 65536), group=(2, 8, 32)),
)


@dataclass(frozen=True)
class Fitted:
    """Grids, the rows they rest on, and median errors of rows above `LONG`.

    `error`: of the rows fitted; `held`: of every fifth shape, by a fit without them; `plain`: of
    the data-sheet model with the efficiencies of its class.
    """

    grids: tuple[Grid, ...]
    rows: int
    error: float
    held: float
    plain: float


def fit_prefill(device: Device, kv_dtype: str, rows: Mapping[str, Floats]) -> Fitted:
    """Of causal prompts; columns new, seen, sequences, heads, kv_heads, width, seconds.

    Raises ValueError without a row above `SHORTEST`.
    """
    return _fit(PREFILL, rows, _prefill_points, lambda row: _prompt(device, kv_dtype, row), device)


def fit_decode(device: Device, kv_dtype: str, rows: Mapping[str, Floats]) -> Fitted:
    """Of decoding; columns context, sequences, heads, kv_heads, width, seconds.

    Raises ValueError without a row above `SHORTEST`.
    """
    return _fit(DECODE, rows, _decode_points, lambda row: _decoding(device, kv_dtype, row), device)


Points: TypeAlias = dict[str, Floats]
Flags: TypeAlias = NDArray[np.bool_]


def _fit(
    terms: tuple[Term, ...],
    rows: Mapping[str, Floats],
    points_of: Callable[[Mapping[str, Floats], Device], Points],
    seconds: Callable[[Mapping[str, float]], float],
    device: Device,
) -> Fitted:
    keep = rows["seconds"] >= SHORTEST
    if not keep.any():
        raise ValueError(f"no time above {SHORTEST * 1e6:.0f} µs to fit")
    used = {name: values[keep] for name, values in rows.items()}
    names = [name for name in used if name != "seconds"]
    shapes = list(zip(*(used[name].tolist() for name in names), strict=True))
    plain = np.array([seconds(dict(zip(names, shape, strict=True))) for shape in shapes])
    points, measured = points_of(used, device), used["seconds"]
    terms = tuple(_within(each, points) for each in terms)
    target, weight = np.log(plain / measured), np.ones(len(measured))
    values = fit(terms, points, target, weight, STIFF)
    reached = np.exp(predict(terms, values, points))
    fold = folds(shapes, HELD)
    here, there = fold != 0, fold == 0
    held = np.zeros(0)
    if here.any() and there.any():
        part = {name: column[here] for name, column in points.items()}
        without = fit(terms, part, target[here], weight[here], STIFF)
        rest = {name: column[there] for name, column in points.items()}
        held = plain[there] / np.exp(predict(terms, without, rest)) / measured[there]
        held = held[measured[there] >= LONG]
    long = measured >= LONG
    return Fitted(
        grids(terms, values), len(measured), _median(plain / reached / measured, long),
        _median(held, np.ones(len(held), bool)), _median(plain / measured, long),
    )  # fmt: skip


def _median(ratio: Floats, chosen: Flags) -> float:
    """Median of |ratio − 1| over the chosen rows; 0 without any."""
    rows = np.abs(ratio[chosen] - 1.0)
    return float(np.median(rows)) if len(rows) else 0.0


def _within(each: Term, points: Points) -> Term:
    """The knots that rows lie between, one beyond on each side at most; one where all agree."""
    knots = []
    for axis, own in zip(each.axes, each.knots, strict=True):
        low, high = points[axis].min(), points[axis].max()
        kept = [
            knot
            for i, knot in enumerate(own)
            if (i + 1 == len(own) or own[i + 1] > low) and (i == 0 or own[i - 1] < high)
        ]
        knots.append(tuple(kept))
    return replace(each, knots=tuple(knots))


def _prefill_points(rows: Mapping[str, Floats], device: Device) -> Points:
    tiles = rows["heads"] * rows["sequences"] * np.ceil(rows["new"] / QUERY_ROWS)
    return {
        "keys": 2.0 * rows["seen"] + rows["new"] + 1.0,
        "group": rows["heads"] / rows["kv_heads"],
        "width": rows["width"],
        "waves": tiles / (device.sms or USUAL_SMS),
        "kv_heads": rows["kv_heads"],
    }


def _decode_points(rows: Mapping[str, Floats], device: Device) -> Points:
    return {
        "context": rows["context"],
        "pairs": rows["sequences"] * rows["kv_heads"],
        "group": rows["heads"] / rows["kv_heads"],
        "width": rows["width"],
    }


def _shape(kv_dtype: str, row: Mapping[str, float]) -> AttentionShape:
    heads, kv_heads, width = (int(row[name]) for name in ("heads", "kv_heads", "width"))
    value = DTYPE_BYTES[kv_dtype]
    return AttentionShape(
        heads, kv_heads, width, width, 2.0 * kv_heads * width * value, 4.0 * heads * width, 2.0,
        kv_value=value,
    )  # fmt: skip


def _prompt(device: Device, kv_dtype: str, row: Mapping[str, float]) -> float:
    new, seen, count = row["new"], row["seen"], int(row["sequences"])
    tokens = int(count * new)
    pairs = count * (new * seen + 0.5 * new * (new + 1.0))
    work = StepWork(tokens, count, count, tokens, pairs, count * (seen + new))
    return prefill(device, _shape(kv_dtype, row), 1, work).seconds


def _decoding(device: Device, kv_dtype: str, row: Mapping[str, float]) -> float:
    layer = decode(device, _shape(kv_dtype, row), row["sequences"])
    return layer.seconds(row["context"] * row["sequences"])
