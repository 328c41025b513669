"""Calibrations of attention and collectives: factors where they belong, pieces, recovery."""

from dataclasses import replace
from itertools import pairwise
from math import inf
from types import SimpleNamespace

import numpy as np
import pytest

from hermesdsl.cost.attention import (
    calibrate,
    decode,
    decode_reach,
    grouped,
    plain_shape,
    prefill,
    prefill_reach,
)
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.cost.device import Device
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Calibration, Fabric, Grid
from hermesdsl.measure.attention import DECODE, PREFILL
from hermesdsl.measure.calibrate import fitted
from hermesdsl.measure.collective import fit_collective
from hermesdsl.measure.operators import Sheet

H100 = Device(989.4e12, 3.35e12, 132, False, ACCELERATOR, VLLM.overheads)
NEAR = Fabric(8, 1e-6, 450e9, 2)
SHEET = Sheet(989.4e12, 3.35e12, 132)


def calibrated(operator: str, dtype: str, *grids: Grid) -> Device:
    return replace(H100, calibration=Calibration("c", {operator: {dtype: grids}}))


def prompts(tokens: int, slices: int = 1) -> StepWork:
    pairs = slices * tokens * (tokens + 1) / 2
    whole = slices * tokens
    return StepWork(whole, slices, slices, whole, pairs, float(whole))


def test_a_factor_divides_the_time_of_prompts(build: SimpleNamespace) -> None:
    shape = grouped(build.llama, 1, 2.0, 2.0)
    device = calibrated("prefill", "bf16", Grid(("keys",), ((2.0, 4097.0),), (1.0, 0.5)))
    reach = prefill_reach(device, "bf16")
    plain = prefill(device, shape, 1, prompts(4096))
    slower = prefill(device, shape, 1, prompts(4096), reach)
    assert slower.seconds == pytest.approx(2.0 * plain.seconds)
    assert (plain.rung, slower.rung) == ("datasheet", "calibrated")
    assert not prefill_reach(device, "fp8")


def test_a_measured_time_of_prompts_is_met(build: SimpleNamespace) -> None:
    axes = ("new", "sequences", "heads", "kv_heads", "width")
    knots = ((1024.0, 4096.0), (1.0,), (64.0,), (8.0,), (128.0,))
    device = calibrated("prefill", "bf16", Grid(axes, knots, (1e-3, 2e-3), measured=True))
    reach = prefill_reach(device, "bf16")
    shape = grouped(build.llama, 1, 2.0, 2.0)
    op = prefill(device, shape, 1, prompts(4096), reach)
    assert (op.seconds, op.rung) == (pytest.approx(2e-3, rel=1e-3), "measured")
    assert prefill(device, shape, 1, prompts(8192), reach).rung == "datasheet"


def test_calibrated_decoding_is_affine_between_half_octaves(build: SimpleNamespace) -> None:
    shape = grouped(build.llama, 1, 2.0, 2.0)
    device = calibrated("decode", "bf16", Grid(("context",), ((1.0, 65536.0),), (0.25, 1.0)))
    reach = decode_reach(device, "bf16")
    plain = decode(device, shape, 16)
    layer = calibrate(plain, shape, 16, reach, device)
    pieces = layer.pieces()
    assert layer.rung == "calibrated"
    for context in (1.0, 64.0, 4096.0, 65536.0):
        piece = [p for p in pieces if p.start <= 16 * context][-1]
        factor = 0.25 * 4.0 ** (np.log2(context) / 16.0)
        expected = plain.seconds(16 * context) / factor
        assert piece.a + piece.b * 16 * context == pytest.approx(expected, rel=1e-6)
    for before, after in pairwise(pieces):
        at = after.start
        assert before.a + before.b * at == pytest.approx(after.a + after.b * at, rel=1e-9)


def test_a_window_stops_calibrated_decoding_too(build: SimpleNamespace) -> None:
    shape = grouped(replace(build.llama, window=1000), 1, 2.0, 2.0)
    device = calibrated("decode", "bf16", Grid(("context",), ((1.0, 65536.0),), (0.5, 1.0)))
    layer = calibrate(decode(device, shape, 4), shape, 4, decode_reach(device, "bf16"), device)
    last = layer.pieces()[-1]
    assert (last.start, last.b) == (4000.0, 0.0)


def test_an_engine_uses_its_chip_s_calibration(build: SimpleNamespace) -> None:
    grid = Grid((), (), (0.5,))
    kinds = {"prefill": {"bf16": (grid,)}, "decode": {"bf16": (grid,)}}
    kinds["collective"] = {"all_reduce": (grid,)}
    on = build.group(build.sheets["h100"], tp=4)
    on = replace(on, part=replace(on.part, options={"family": "asic"}))
    slow = replace(on, part=replace(on.part, calibration=Calibration("c", kinds)))
    work = StepWork(1040, 17, 1, 1024, 1024 * 1025 / 2, 1024.0, 16, 16 * 4096.0)
    one, two = (
        {op.name: op for op in build.engine(build.llama, g).breakdown(work)} for g in (on, slow)
    )
    for name in ("attention prefill", "attention decode", "all-reduce"):
        assert two[name].seconds == pytest.approx(2.0 * one[name].seconds, rel=1e-9)
        assert two[name].rung == "calibrated"
    cost = build.engine(build.llama, slow)
    alone = StepWork(16, 16, decodes=16, decode_context=16 * 4096.0)
    assert cost.step(alone) == cost.decode_run(16, 16 * 4096.0).seconds(1)


def test_collectives_of_a_calibration_hold_where_members_are_near() -> None:
    grid = Grid(("members", "bytes"), ((2.0, 8.0), (1e3, 1e9)), (1.0, 1.0, 0.5, 0.5))
    made = Calibration("c", {"collective": {"all_reduce": (grid,)}})
    for fabric, factor in ((NEAR, 2.0), (replace(NEAR, hops=4), 1.0)):
        plain = Collectives(fabric, ACCELERATOR, VLLM.overheads)
        known = Collectives(fabric, ACCELERATOR, VLLM.overheads, made)
        ratio = known.all_reduce("a", 1, 1e7).seconds / plain.all_reduce("a", 1, 1e7).seconds
        assert ratio == pytest.approx(factor)
        assert known.all_gather("a", 1, 1e7) == plain.all_gather("a", 1, 1e7)
    alone = Collectives(Fabric(1, 0.0, inf), ACCELERATOR, VLLM.overheads, made)
    assert alone.all_reduce("a", 1, 1e7).seconds == 0.0


def table(**columns: object) -> "object":
    import pandas as pd

    return pd.DataFrame(columns)


def test_a_made_up_device_of_prompts_is_recovered() -> None:
    """Times of the model itself, slower by (keys/64)^-0.1: found again within 1 %."""
    new, heads, count = (
        a.ravel() for a in np.meshgrid([64, 256, 1024, 4096, 16384], [8, 16, 32], [1, 4, 16])
    )
    rows = table(new=new, kv=new, sequences=count, heads=heads, kv_heads=8, width=128)
    points = PREFILL.points(rows, SHEET, "bf16")
    seconds = points.reference * (points.axes["keys"] / 64.0) ** 0.1
    found = fitted(PREFILL, "bf16", points, seconds)
    assert found.sample.median < 0.01
    assert found.holdout.median < 0.02
    assert found.roofline.median > 0.2


def test_a_made_up_device_of_decoding_is_recovered() -> None:
    context, heads, count = (
        a.ravel() for a in np.meshgrid([128, 1024, 8192, 65536], [8, 16, 64], [1, 8, 64, 256])
    )
    rows = table(context=context, sequences=count, heads=heads, kv_heads=8, width=128)
    points = DECODE.points(rows, SHEET, "fp8")
    seconds = points.reference * np.where(points.axes["pairs"] > 64, 1.25, 1.0)
    found = fitted(DECODE, "fp8", points, seconds)
    assert found.sample.median < 0.02
    assert found.rows == len(context)


def test_references_of_a_fit_are_the_times_that_factors_divide() -> None:
    shape = plain_shape(32, 8, 128, 1.0)
    rows = table(new=[512], kv=[2048], sequences=[3], heads=[32], kv_heads=[8], width=[128])
    pairs = 3 * (512 * 1536 + 512 * 513 / 2)
    work = StepWork(1536, 3, 3, 1536, pairs, 3 * 2048.0)
    reference = PREFILL.points(rows, SHEET, "fp8").reference
    assert reference[0] == prefill(H100, shape, 1, work).seconds
    rows = table(context=[2048], sequences=[3], heads=[32], kv_heads=[8], width=[128])
    reference = DECODE.points(rows, SHEET, "fp8").reference
    assert reference[0] == decode(H100, shape, 3).seconds(3 * 2048.0)


def test_a_made_up_link_is_recovered() -> None:
    volume = np.array([2.0**n for n in range(10, 31)] * 2)
    members = np.repeat([2.0, 8.0], 21)
    model = {n: Collectives(replace(NEAR, size=n), ACCELERATOR, VLLM.overheads) for n in (2, 8)}
    seconds = np.array([
        model[int(n)].all_gather("x", 1, v).seconds * (1.0 + n / 16)
        for n, v in zip(members, volume, strict=True)
    ])  # fmt: skip
    rows = {"members": members, "bytes": volume, "seconds": seconds}
    found = fit_collective("all_gather", NEAR, ACCELERATOR, VLLM.overheads, rows)
    assert found.error < 0.01
    # Sizes held out are pulled towards the model by the penalty on large factors.
    assert found.held < 0.08
    assert found.plain > 0.1


def test_nothing_to_fit_is_an_error() -> None:
    none = np.zeros(0)
    rows = {"members": none, "bytes": none, "seconds": none}
    with pytest.raises(ValueError, match="no time"):
        fit_collective("all_gather", NEAR, ACCELERATOR, VLLM.overheads, rows)
