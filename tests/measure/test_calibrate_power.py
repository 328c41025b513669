"""`hermes calibrate` with tables of power, and what a calibration says of power in the language."""

from pathlib import Path

import pytest
from click.testing import CliRunner

import hermesdsl
from hermesdsl.cli.calibrate import command
from hermesdsl.cost.power import DRAWS, draw_of, rung_of
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Draw, Part

PROGRAM = """
chip G {{
    peak.bf16 = 100 TFLOP/s
    power = 400 W
    calibration = own
}}
calibration own {{ {power} }}
part: G
"""


def part_of(text: str, tmp_path: Path) -> Part:
    path = tmp_path / "one.hms"
    path.write_text(text)
    return hermesdsl.compile(path).hardware.nodes["part"]["part"]


def test_what_kernels_draw_is_read_from_a_calibration(tmp_path: Path) -> None:
    power = (
        "power.gemm = [draw(dtype = bf16, busy = 0.3, compute = 1.2, memory = 0.6, "
        "compute_exponent = 0.9, settle = 5 us, spread = 0.2), "
        "draw(dtype = fp8, busy = 0.4, compute = 1, memory = 1)]; "
        "power.moe = draw(dtype = fp8, blocks = true, busy = 0.5, compute = 1, memory = 1)"
    )
    part = part_of(PROGRAM.format(power=power), tmp_path)
    own = Draw(0.3, 1.2, 0.6, 0.9, 1.0, 5e-6, 0.2)
    assert draw_of(part, "gemm", "bf16") == own
    assert draw_of(part, "gemm", "fp8") == Draw(0.4, 1.0, 1.0)
    assert draw_of(part, "moe", "fp8_block").busy == 0.5
    # Not measured: the first that was; of an operator without any, the class.
    assert draw_of(part, "gemm", "fp4") == own
    assert draw_of(part, "decode", "bf16") == DRAWS["decode"]
    assert rung_of(part) == "calibrated"


def test_without_power_in_the_calibration_the_class_holds(tmp_path: Path) -> None:
    part = part_of(PROGRAM.format(power='source = "nothing"'), tmp_path)
    assert draw_of(part, "moe", "bf16") == DRAWS["moe"]
    assert rung_of(part) == "datasheet"


@pytest.mark.parametrize(
    ("power", "code"),
    [
        ("power.gemm = [draw(dtype = bf16, busy = 0.3, compute = 1, memory = 1), "
         "draw(dtype = bf16, busy = 0.3, compute = 1, memory = 1)]", "HMS306"),
        ("power.gemm = [draw(dtype = bf16, busy = -0.3, compute = 1, memory = 1)]", "HMS306"),
        ("power.gemm = [draw(dtype = bf16, busy = 0.3, compute = 1)]", None),
        ("power.moe = [draw(dtype = bf16, blocks = true, busy = 1, compute = 1, memory = 1)]",
         "HMS306"),
        ("power.norms = [draw(dtype = bf16, busy = 0.3, compute = 1, memory = 1)]", None),
        ("power.gemm = [draw(dtype = bf17, busy = 0.3, compute = 1, memory = 1)]", None),
    ],
)  # fmt: skip
def test_odd_draws_are_refused(power: str, code: str | None, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        part_of(PROGRAM.format(power=power), tmp_path)
    if code is not None:
        assert code in [found.code for found in caught.value.diagnostics]


def test_shipped_chips_draw_as_they_were_measured(tmp_path: Path) -> None:
    for chip in ("H200", "B200"):
        part = part_of(f"from std.nvidia import {chip}\npart: {chip}\n", tmp_path)
        assert rung_of(part) == "calibrated"
        for operator in DRAWS:
            assert draw_of(part, operator, "bf16") != DRAWS[operator]
    a100 = part_of("from std.nvidia import A100_80GB\npart: A100_80GB\n", tmp_path)
    assert rung_of(a100) == "datasheet"
    assert draw_of(a100, "gemm", "bf16") == DRAWS["gemm"]


HEAD = "system,gemm_dtype,m,n,k,latency_ms,power_w,power_limit_w\n"


def table(folder: Path, count: int, watts: float = 300.0) -> str:
    path = folder / "power.csv"
    rows = [f"x,bfloat16,{128 * (1 + i)},4096,4096,{0.02 + 0.05 * i},{watts + 5 * i},700\n"
            for i in range(count)]  # fmt: skip
    path.write_text(HEAD + "".join(rows))
    return str(path)


def test_calibrate_writes_a_calibration_that_compiles(tmp_path: Path) -> None:
    target, plot = tmp_path / "found.hms", tmp_path / "found.svg"
    called = [table(tmp_path, 30), "--chip", "H200", "-o", str(target), "--plot", str(plot)]
    result = CliRunner().invoke(command, called, standalone_mode=False)
    assert result.exception is None, result.output
    text = target.read_text()
    assert "power.gemm = [" in text
    assert "power.gemm, bf16:" in text
    assert "measured, W" in plot.read_text()
    program = text + "\nchip Mine { peak.bf16 = 989 TFLOP/s; power = 700 W; "
    program += "calibration = H200_kernels }\npart: Mine\n"
    assert rung_of(part_of(program, tmp_path)) == "calibrated"


@pytest.mark.parametrize(("count", "watts"), [(5, 300.0), (30, 5000.0)])
def test_calibrate_refuses_what_cannot_be(count: int, watts: float, tmp_path: Path) -> None:
    called = [table(tmp_path, count, watts), "--chip", "H200"]
    result = CliRunner().invoke(command, called, standalone_mode=False)
    assert isinstance(result.exception, SpecError)
    assert [found.code for found in result.exception.diagnostics] == ["HMS607"]
