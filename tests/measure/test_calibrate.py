"""Calibrations end to end: constants put into synthetic tables come out of the predictions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import hermesdsl
from hermesdsl.cost import engine_cost
from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.cost.device import Device
from hermesdsl.cost.gemm import Gemm
from hermesdsl.cost.types import StepWork
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Calibration
from hermesdsl.measure.calibrate import calibrate
from hermesdsl.measure.operators import GEMM, MOE, Sheet
from hermesdsl.measure.tables import Table, of_system, read_table
from hermesdsl.measure.writing import calibration_text

H100 = Sheet(989e12, 3.35e12, 132)
DATA = Path(__file__).parents[3] / "shared" / "data" / "aiconfigurator"


def synthetic(factor: float) -> Table:
    """Products that take their data-sheet time divided by `factor`."""
    sizes = [(m, n, k) for m in (1, 16, 128, 2048) for n in (512, 4096) for k in (1024, 8192)]
    sizes += [(m * 3, n, k) for m, n, k in sizes]
    frame = pd.DataFrame(sizes, columns=["m", "n", "k"])
    frame["dtype"], frame["system"] = "bf16", ""
    frame["seconds"] = GEMM.points(frame, H100, "bf16").reference / factor
    return Table("gemm", frame, "synthetic.csv")


def test_a_constant_utilisation_is_found() -> None:
    (fit,) = calibrate([synthetic(0.6)], {"bf16": H100})
    assert (fit.operator, fit.dtype, fit.rows) == ("gemm", "bf16", 32)
    assert fit.sample.median < 0.005
    assert fit.holdout.median < 0.005


def test_the_cost_model_predicts_what_was_measured() -> None:
    """Through grids, calibration and `Gemm`: 0.6 of the data-sheet speed at every shape."""
    fits = calibrate([synthetic(0.6)], {"bf16": H100})
    made = Calibration("x", {"gemm": {"bf16": fits[0].grids}})
    device = Device(989e12, 3.35e12, 132, False, ACCELERATOR, VLLM.overheads, "bf16", made)
    table = synthetic(0.6).frame
    for m, n, k, seconds in table[["m", "n", "k", "seconds"]].itertuples(index=False):
        op = Gemm(device, 2.0, 2.0).operator("x", 1, m, n, k)
        assert op.seconds == pytest.approx(seconds, rel=0.005)
        assert op.rung == "calibrated"


def test_too_few_shapes_make_no_fit() -> None:
    few = synthetic(0.6)
    assert calibrate([replace(few, frame=few.frame.head(5))], {"bf16": H100}) == []
    assert calibrate([few], {"fp8": H100}) == []


PROGRAM = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
{calibration}
chip Mine extends H100 {{ calibration = {name} }}
gpu: Mine
llm: LlmEngine on gpu {{ model = Llama3_1_8B }}
"""


def test_text_compiles_and_is_used() -> None:
    fits = calibrate([synthetic(0.6)], {"bf16": H100})
    text = calibration_text("Fitted", "H100", fits, "synthetic", "hermes calibrate")
    assert "gemm.bf16: " in text
    assert "held out" in text
    system = hermesdsl.compile(PROGRAM.format(calibration=text, name="Fitted"))
    cost = engine_cost(system.placement.nodes["llm"]["client"])
    rungs = {
        op.name: op.rung for op in cost.breakdown(StepWork(8, 8, decodes=8, decode_context=99.0))
    }
    assert rungs["qkv"] == "calibrated"
    assert rungs["norms"] == "datasheet"


def test_measured_times_come_first_inside_their_range() -> None:
    """qkv of Llama-3.1-8B is 6144 × 4096: at 8 tokens between 10 us and 20 us; at 64 fitted."""
    own = """calibration Own { gemm.bf16 = [
        measured(m = [1, 16], n = [6144], k = [4096], time = [20 us, 20 us]), grid(factor = 0.5)
    ] }"""
    system = hermesdsl.compile(PROGRAM.format(calibration=own, name="Own"))
    cost = engine_cost(system.placement.nodes["llm"]["client"])

    def qkv(batch: int) -> tuple[float, str]:
        work = StepWork(batch, batch, decodes=batch, decode_context=batch * 100.0)
        (found,) = [op for op in cost.breakdown(work) if op.name == "qkv"]
        return found.seconds, found.rung

    assert qkv(1) == (pytest.approx(20e-6), "measured")
    assert qkv(8) == (pytest.approx(20e-6, rel=0.01), "measured")
    assert qkv(64)[1] == "calibrated"


def test_steps_are_sums_of_calibrated_operators() -> None:
    """`step` and `breakdown` agree, and the run's shares of time come from the rungs."""
    program = PROGRAM.format(calibration="", name="H100.calibration").replace(
        "chip Mine extends H100 { calibration = H100.calibration }\ngpu: Mine", "gpu: H100"
    )
    load = (
        "chat: Chat { llm = llm }\nworkload w { pipeline = chat; arrivals = poisson(2 req/s)\n"
        "prompt = 500 tok; output = 20 tok }\nexperiment e { workload = [w]; duration = 20 s }\n"
    )
    system = hermesdsl.compile(program + load)
    cost = engine_cost(system.placement.nodes["llm"]["client"])
    work = StepWork(108, 9, 1, 100, 5050.0, 100.0, 8, 4000.0)
    total = sum(op.count * op.seconds for op in cost.breakdown(work))
    assert cost.step(work) == pytest.approx(total, rel=1e-12)
    shares = hermesdsl.run(system).data["provenance"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["calibrated"] > 0.5
    assert shares["measured"] == 0.0


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ("gemm.bf16 = grid(m = [1, 2], factor = [1])", "has 1 of `factor`, its knots make 2"),
        ("gemm.bf16 = grid(m = [2, 1], factor = [1, 1])", "knots of `m` must ascend"),
        ("gemm.bf16 = grid(rows = [1], factor = [1])", "`gemm` has no axis `rows`"),
        ("gemm.bf16 = grid(factor = [0])", "it must be above 0"),
        ("gemm.bf61 = grid(factor = [1])", "bf61"),
        ("gemm.bf16 = measured(time = [1])", "expected a time"),
        ("gemm.bf16 = 0.7", "utilisation setting"),
    ],
)
def test_wrong_calibrations(grid: str, message: str) -> None:
    own = f"calibration Own {{ {grid} }}"
    with pytest.raises(SpecError) as raised:
        hermesdsl.compile(PROGRAM.format(calibration=own, name="Own"))
    assert message in " ".join(d.message for d in raised.value.diagnostics)


#: Held-out medians that the fits reach, rounded up: (device, dtype) → GEMM, MoE.
REACHED = {
    ("h100_sxm", "bf16"): (0.04, 0.07), ("h100_sxm", "fp8"): (0.07, 0.065),
    ("b200_sxm", "bf16"): (0.05, 0.08), ("a100_sxm", "bf16"): (0.055, 0.08),
}  # fmt: skip
PEAKS = {
    "h100_sxm": ({"bf16": 989e12, "fp8": 1979e12}, 3.35e12, 132),
    "b200_sxm": ({"bf16": 2250e12, "fp8": 4500e12}, 7.7e12, 148),
    "a100_sxm": ({"bf16": 312e12}, 2.039e12, 108),
}


@pytest.mark.slow
@pytest.mark.parametrize("operator", [GEMM, MOE], ids=lambda each: each.name)
@pytest.mark.parametrize(("device", "dtype"), list(REACHED), ids=str)
def test_shapes_held_out(device: str, dtype: str, operator: object) -> None:
    """Against kernels that were measured: below the naive roofline, and near what is reached."""
    name = operator.name  # type: ignore[attr-defined]
    path = DATA / f"{name}.csv.gz"
    if not path.is_file():
        pytest.skip("the shared measurements are not here")
    peaks, bandwidth, sms = PEAKS[device]
    table = of_system(read_table(path), device)
    (fit,) = calibrate([table], {dtype: Sheet(peaks[dtype], bandwidth, sms)})
    assert fit.holdout.median < REACHED[device, dtype][operator is MOE]
    assert fit.holdout.median < 0.5 * fit.roofline.median
    assert np.isfinite(fit.predicted).all()


@pytest.mark.parametrize(
    "chip", ["hopper.H100", "hopper.H200", "blackwell.B200", "ampere.A100_80GB"]
)
def test_more_work_takes_longer(chip: str) -> None:
    """Twice m, n or k: kernels measured fall back a little at some sizes, never by a third."""
    module, name = chip.split(".")
    graph = hermesdsl.compile(f"from std.nvidia.{module} import {name}\ng: {name}\n").hardware
    part, bandwidth = graph.nodes["g"]["part"], graph.nodes["g.hbm"]["part"].bandwidth
    draw = np.random.default_rng(5)
    falls = []
    for dtype in part.calibration.operators["gemm"]:
        size = {"bf16": 2.0, "fp8": 1.0, "fp4": 0.5}[dtype]
        device = Device(
            part.peak[dtype], bandwidth, part.sms, size < 2, ACCELERATOR, VLLM.overheads, dtype,
            part.calibration,
        )  # fmt: skip
        gemm = Gemm(device, size, size)
        for m, n, k in 2 ** draw.uniform((0, 6, 6), (17, 17, 17), (300, 3)):
            shape = [int(m), int(n), int(k)]
            once = gemm.operator("x", 1, *shape).seconds
            for axis in range(3):
                more = [size * 2 if i == axis else size for i, size in enumerate(shape)]
                falls.append(gemm.operator("x", 1, *more).seconds / once)
    assert min(falls) > 0.67
    assert np.mean(np.array(falls) < 0.95) < 0.03
