"""Classes of devices fitted to all that were measured, and how well they do without one of them.

A class is what `cost.classes` makes of a data sheet. Its grids are factors on the data-sheet model
with the efficiencies of `cost.constants`, on axes that carry over to other devices, with few knots.
Knows tables, operators and fits; no language and no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hermesdsl.cost.classes import CLASSES, COMMON, HOPPER, class_name
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import ACCELERATOR, VLLM, Efficiencies
from hermesdsl.cost.device import Device, peak_dtype
from hermesdsl.cost.gemm import Gemm
from hermesdsl.cost.moe import Experts, MoeShape
from hermesdsl.graph.types import Fabric, Grid, Part
from hermesdsl.measure.attention import DECODE, PREFILL, attention_seconds
from hermesdsl.measure.calibrate import LONG, SHORT_WEIGHT, trimmed
from hermesdsl.measure.fit import Floats, Penalty, Term, fit, grids, predict, term
from hermesdsl.measure.operators import OPERATORS, Fittable, Points, Sheet, routed, width_of

if TYPE_CHECKING:
    import pandas as pd

    from hermesdsl.measure.tables import Table


def _part(name: str, sms: int, **peak: float) -> Part:
    return Part(name, "chip", name, peak=peak, sms=sms)


#: Data sheets (NVIDIA; dense FLOP/s, multiprocessors, byte/s) of the systems that tables name.
SYSTEMS: Mapping[str, tuple[Part, float]] = {
    "a100_sxm": (_part("A100", 108, bf16=312e12), 2.039e12),
    "h100_sxm": (_part("H100", 132, bf16=989e12, fp8=1979e12), 3.35e12),
    "h200_sxm": (_part("H200", 132, bf16=989e12, fp8=1979e12), 4.8e12),
    "b200_sxm": (_part("B200", 148, bf16=2250e12, fp8=4500e12, fp4=9000e12), 7.7e12),
}

#: Efficiencies of a data sheet taken at its word: every fraction 1, kernels shaped as they are.
SHEET_ALONE: Efficiencies = replace(
    ACCELERATOR, memory=1.0, memory_narrow=1.0, compute=1.0, compute_narrow=1.0, grouped=1.0,
    grouped_narrow=1.0, prefill_compute=1.0, prefill_narrow=1.0, head_exponent=0.0,
    prefill_stream=1.0, decode_memory=1.0, decode_narrow=1.0, decode_stream=1.0, decode_compute=1.0,
)  # fmt: skip

_KNOWN: Mapping[str, Fittable] = {**OPERATORS, PREFILL.name: PREFILL, DECODE.name: DECODE}

#: The dtype of 16 bits, as tables name it.
WIDE = "bf16"

_ROWS = (1, 4, 16, 64, 256, 2048)
_DEEP = (64, 512, 4096, 32768)
#: Of the weight alone, so that more tokens never take less time.
_GEMM = (term(n=(64, 256, 1024, 4096, 16384, 65536), k=_DEEP),)
_LOCAL = (1, 8, 64, 512)
_MOE = (
    term(rows=_ROWS, width=(64, 512, 4096), local=_LOCAL),
    term(span=(0.3, 1, 3, 10, 100, 1000)),
)
_DECODE = (
    term(
        context=(2, 32, 128, 256, 512, 1024, 2048, 8192, 65536),
        load=(0.03, 0.12, 0.5, 1, 2, 4, 8, 64),
    ),
    term(width=(64, 128), context=(128, 1024)),
)
#: What a class of its own is fitted to. Other products, and attention of prompts, gain nothing over
#: the efficiencies on a device left out; kernels of fp4 differ from those that these are of.
_OWN: Mapping[str, tuple[Term, ...]] = {
    "gemm.fp4": _GEMM, "moe.bf16": _MOE, "moe.fp8": _MOE, "moe.fp8_block": _MOE, "moe.fp4": _MOE,
    "decode.bf16": _DECODE, "decode.fp8": _DECODE,
}  # fmt: skip
_PENALTY = Penalty(bend=0.3, size=0.02)
#: Rows that each device counts as in a fit, however many it has.
_SHARE = 3000.0

#: What the common class is fitted to: what carries over between generations. The newer a
#: multiprocessor, which shows in the FLOP/s that it has, the nearer do kernels of experts come to
#: its data sheet; and the more bandwidth a device has for its FLOP/s, the further does decode
#: attention stay below it. Other entries do better, each device left out, by the efficiencies
#: alone.
_COMMON: Mapping[str, tuple[Term, ...]] = {
    "moe.bf16": (term(rows=_ROWS), term(local=_LOCAL), term(rate=(2.5, 16))),
    "moe.fp8_block": (term(rows=_ROWS),),
    "decode.bf16": (term(balance=(3.4, 6.6)),),
}  # fmt: skip
#: Entries of the common class that keep to the efficiencies at their first knot, and wherever a
#: multiprocessor has less than half of A100's share of bandwidth (GB/s), so that it has time to
#: spare: how far others stay below carries over, not the level.
_FROM_FIRST = ("decode.bf16",)
_SPARE = (9.0, 18.0)
#: Entries that take the common class of 16 bits: what they are fitted to on one device misleads
#: about others, whose kernels differ.
_AS_WIDE: Mapping[str, str] = {"moe.fp8": "moe.bf16", "moe.fp4": "moe.bf16"}
#: KV of fewer than 16 bits streams as that of 16 does (0.9 of bandwidth, not 0.8) where kernels
#: do not convert it on the way: derived, not fitted.
_STREAMED = Grid(("span",), ((0.3, 3.0),), (1.0, 0.9 / 0.8))
#: GB/s for each multiprocessor that a kernel of Hopper draws, beyond which more bandwidth is of no
#: use to it: H100 and H200 then take the same time.
_FEED = 25.0
_FEEDS = (20.0, 80.0)
_SLOWER = tuple(_FEED / feed for feed in _FEEDS)
_FED: Mapping[tuple[str, str], Grid] = {
    (HOPPER, "moe.fp8"): Grid(("feed",), (_FEEDS,), _SLOWER),
    (HOPPER, "decode.fp8"): Grid(("span", "feed"), ((0.3, 3.0), _FEEDS), (1.0, 1.0, *_SLOWER)),
}


@dataclass(frozen=True)
class Measured:
    """Rows of one operator and dtype on one system, as a class sees them.

    `seconds` measured; `model`: the data-sheet model with the efficiencies of `cost.constants`;
    `sheet`: with `SHEET_ALONE`; (rows,) each.
    """

    system: str
    points: Points
    seconds: Floats
    model: Floats
    sheet: Floats


@dataclass(frozen=True)
class LeftOut:
    """Errors on one system by a class fitted without it: median APE of rows above 50 µs.

    `roofline`: the naive one. `sheet`: the data sheet without efficiencies. `constants`: with
    those of `cost.constants`, which were chosen on all systems. `classed`: with the grids of the
    class that are left without the system; `own_class`: whether another system is of its class.
    """

    system: str
    operator: str
    dtype: str
    rows: int
    roofline: float
    sheet: float
    constants: float
    classed: float
    own_class: bool


def left_out(
    tables: Iterable[Table],
    operator: str,
    systems: Mapping[str, tuple[Part, float]] = SYSTEMS,
) -> list[LeftOut]:
    """Every system of the tables of an operator, predicted by its class without it.

    `systems`: data sheets by the names that tables use; what is not among them is left out.
    """
    found = []
    whole = measured_of(tables, operator, systems)
    for dtype, devices in whole.items():
        for one in devices:
            rest, wide = (
                [each for each in own if each.system != one.system]
                for own in (devices, whole.get(WIDE, []))
            )
            name = class_name(*systems[one.system])
            left = class_entries(rest, f"{operator}.{dtype}", systems, wide)
            fitted = left.get(name or "", left.get(COMMON, ()))
            told = one.seconds > LONG
            if told.any():
                roofline, alone, model, classed = (
                    _error(each[told], one.seconds[told])
                    for each in (
                        one.points.roofline, one.sheet, one.model, one.model / _at(fitted, one)
                    )
                )  # fmt: skip
                found.append(
                    LeftOut(
                        one.system, operator, dtype, int(told.sum()), roofline, alone, model,
                        classed, name in left,
                    )
                )  # fmt: skip
    return found


def class_text(tables: Sequence[Table], source: str) -> str:
    """The grids of every class, fitted to all systems, as the JSON that `cost.classes` reads."""
    found: dict[str, dict[str, list[dict[str, list[float]]]]] = {name: {} for name in CLASSES}
    for operator in _KNOWN:
        whole = measured_of(tables, operator)
        for dtype, devices in whole.items():
            entry = f"{operator}.{dtype}"
            for name, fitted in class_entries(devices, entry, wide=whole.get(WIDE, ())).items():
                found[name][entry] = [_plain(grid) for grid in fitted]
    lines = [f'{{"source": {json.dumps(source)}, "classes": {{']
    for name, entries in found.items():
        lines.append(f'"{name}": {{')
        for entry, own in entries.items():
            lines.append(f'"{entry}": [')
            lines += [f"{json.dumps(grid)}," for grid in own]
            lines[-1] = lines[-1][:-1]
            lines.append("],")
        lines[-1] = lines[-1].rstrip(",")
        lines.append("},")
    lines[-1] = "}"
    return "\n".join([*lines, "}}", ""])


def _plain(grid: Grid) -> dict[str, list[float]]:
    """A grid as lists, factors in three digits."""
    knots = {axis: list(own) for axis, own in zip(grid.axes, grid.knots, strict=True)}
    return {**knots, "factor": [float(f"{value:.3g}") for value in grid.values]}


def class_entries(
    devices: Sequence[Measured], entry: str, systems: Mapping[str, tuple[Part, float]] = SYSTEMS,
    wide: Sequence[Measured] = (),
) -> dict[str, tuple[Grid, ...]]:  # fmt: skip
    """Grids by class for one operator and dtype (``gemm.fp8``), from all devices measured.

    `wide`: the same operator in 16 bits, on whatever devices.
    """
    found: dict[str, tuple[Grid, ...]] = {}
    common, seen = (_AS_WIDE[entry], wide) if entry in _AS_WIDE else (entry, devices)
    if common in _COMMON and seen:
        fitted = _fit(seen, _COMMON[common], None)
        found[COMMON] = tuple(map(_from_first, fitted)) if common in _FROM_FIRST else fitted
    if entry == "decode.fp8":
        found[COMMON] = (_STREAMED,)
    members: dict[str, list[Measured]] = {}
    for each in devices:
        members.setdefault(class_name(*systems[each.system]) or COMMON, []).append(each)
    for name, own in members.items():
        if name != COMMON and entry in _OWN:
            found[name] = _fit(own, _OWN[entry], _FED.get((name, entry)))
    return found


def _fit(devices: Sequence[Measured], terms: tuple[Term, ...], given: Grid | None) -> tuple[
    Grid, ...
]:  # fmt: skip
    """Grids over some devices that count alike, beside one that is given."""
    axes = {axis for each in terms for axis in each.axes}
    points = {axis: np.concatenate([d.points.axes[axis] for d in devices]) for axis in axes}
    first = (given,) if given else ()
    target = np.concatenate([np.log(d.model / _at(first, d) / d.seconds) for d in devices])
    weights = [np.where(d.seconds > LONG, 1.0, SHORT_WEIGHT) for d in devices]
    weight = np.concatenate([each * (_SHARE / each.sum()) for each in weights])
    kept = [trimmed(each, points) for each in terms]
    return (*first, *grids(kept, fit(kept, points, target, weight, _PENALTY)))


def _from_first(grid: Grid) -> Grid:
    """The same with a factor of 1 at its first knot, and where there is time to spare."""
    values = tuple(x for value in grid.values for x in (1.0, value / grid.values[0]))
    return Grid((*grid.axes, "feed"), (*grid.knots, _SPARE), values)


def _at(fitted: Sequence[Grid], device: Measured) -> Floats:
    """The factor of some grids at every row, (rows,)."""
    terms = [Term(grid.axes, grid.knots) for grid in fitted]
    values = [np.log(np.array(grid.values)) for grid in fitted]
    if not terms:
        return np.ones(len(device.seconds))
    return np.asarray(np.exp(predict(terms, values, device.points.axes)))


def _error(predicted: Floats, measured: Floats) -> float:
    return float(np.median(np.abs(predicted / measured - 1.0)))


def measured_of(
    tables: Iterable[Table],
    operator: str,
    systems: Mapping[str, tuple[Part, float]] = SYSTEMS,
) -> dict[str, list[Measured]]:
    """The rows of an operator by dtype, on each of the systems that has a peak for it."""
    import pandas as pd

    frames = [table.frame for table in tables if table.operator == operator]
    found: dict[str, list[Measured]] = {}
    if not frames:
        return found
    for (dtype, name), rows in pd.concat(frames, ignore_index=True).groupby(
        ["dtype", "system"], sort=True
    ):
        system = str(name)
        if system in systems:
            part, bandwidth = systems[system]
            found.setdefault(str(dtype), []).append(
                _measured(operator, str(dtype), part, bandwidth, rows.reset_index(drop=True))
            )
    return found


def _measured(
    operator: str, dtype: str, part: Part, bandwidth: float, rows: pd.DataFrame
) -> Measured:
    held = "fp8" if dtype == "fp8_block" else dtype
    served = peak_dtype(part.peak, held) or "bf16"
    sheet = Sheet(part.peak[served], bandwidth, part.sms, part.peak.get("bf16", 0.0))
    points = _KNOWN[operator].points(rows, sheet, dtype)
    model, alone = (
        _model(operator, dtype, Device(
            sheet.peak, bandwidth, part.sms, width_of(served) < 2.0, efficiencies, VLLM.overheads,
            served, wide=sheet.wide,
        ), sheet, rows)
        for efficiencies in (ACCELERATOR, SHEET_ALONE)
    )  # fmt: skip
    return Measured(
        str(rows["system"].iloc[0]), points, rows["seconds"].to_numpy(np.float64), model, alone
    )


def _model(operator: str, dtype: str, device: Device, sheet: Sheet, rows: pd.DataFrame) -> Floats:
    """Seconds of every row by the data-sheet model with the efficiencies of a device."""
    if operator == "gemm":
        width = width_of(dtype)
        gemm = Gemm(device, width, width)
        shapes = zip(*(rows[axis].tolist() for axis in "mnk"), strict=True)
        return np.array([gemm.operator("", 1, m, int(n), int(k)).seconds for m, n, k in shapes])
    if operator == "moe":
        return _experts(device, width_of(dtype), dtype, rows)
    return attention_seconds(operator, rows, sheet, dtype, device.efficiencies)


def _experts(device: Device, width: float, dtype: str, rows: pd.DataFrame) -> Floats:
    """Layers of experts on one of tp times ep devices, kernel by kernel."""
    e = device.efficiencies
    slower = replace(
        e, compute=e.compute * e.grouped, compute_narrow=e.compute_narrow * e.grouped_narrow,
    )  # fmt: skip
    gemm = Gemm(replace(device, efficiencies=slower), width, width, grouped=True)
    alone = Collectives(Fabric(1, 0.0, 1.0, 1), e, device.overheads)
    made: dict[tuple[int, ...], Experts] = {}
    found = []
    columns = ("tokens", "hidden", "width", "active", "experts", "tp", "ep")
    shapes = zip(*(rows[name].tolist() for name in columns), *map(np.ndarray.tolist, routed(rows)),
                 strict=True)  # fmt: skip
    for tokens, hidden, inner, active, experts, tp, ep, moved, touched in shapes:
        own = int(-(-inner // tp))
        key = (int(experts), int(active), int(hidden), own)
        layer = made.get(key)
        if layer is None:
            shape = MoeShape(*key, gated=True, ep=1, split=1)
            layer = made[key] = Experts(shape, device, gemm, gemm, alone, width, dtype)
        ops = layer.products(1.0, moved, touched, own, tokens, 2.0 * tokens / ep, 2.0)
        found.append(sum(op.count * op.seconds for op in ops))
    return np.array(found)
