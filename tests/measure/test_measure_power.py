"""Fits of power: constants that made the rows are found again; odd tables are refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost.power import share
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Draw
from hermesdsl.measure.operators import Sheet
from hermesdsl.measure.power import (
    Powers,
    calibrate_power,
    class_draw,
    fit_draw,
    fitted_power,
    power_error,
    watts,
)
from hermesdsl.measure.tables import of_system, read_table

#: 700 W, 76 W idle: what made the rows below.
MADE = Draw(0.4, 1.1, 0.6, 0.8, 1.3, 8e-6, 0.25)


def rows(draw: Draw = MADE, noise: float = 0.0, count: int = 600) -> Powers:
    rng = np.random.default_rng(3)
    compute, memory = rng.uniform(0.0, 0.8, count), rng.uniform(0.0, 0.9, count)
    spread, seconds = rng.uniform(0.05, 1.0, count), 10 ** rng.uniform(-5.5, -3.0, count)
    drawn = share(draw, compute, memory, seconds, spread)
    power = (76.0 + 624.0 * drawn) * np.exp(noise * rng.standard_normal(count))
    keys = [(index,) for index in range(count)]
    one = np.ones(count)
    return Powers(compute, memory, spread, seconds, power, 76.0 * one, 700.0 * one, keys)


def test_constants_that_made_the_rows_are_found() -> None:
    found = fit_draw(rows())
    for name in ("busy", "compute", "memory", "compute_exponent", "memory_exponent", "settle"):
        assert getattr(found, name) == pytest.approx(getattr(MADE, name), rel=0.05), name
    assert power_error(watts(found, rows()), rows().watts).mean < 0.002


def test_noise_widens_errors_and_moves_no_prediction() -> None:
    found = fit_draw(rows(noise=0.1))
    assert power_error(watts(found, rows()), rows().watts).mean < 0.02


def test_wild_readings_do_not_pull_the_fit() -> None:
    # One row in ten reads half, as rows do that were measured in another state of the device.
    bad = rows()
    bad.watts[::10] *= 0.5
    assert power_error(watts(fit_draw(bad), rows()), rows().watts).median < 0.02


def test_held_out_errors_come_from_fits_without_the_shape() -> None:
    found = fitted_power("gemm", "bf16", rows(noise=0.05))
    assert found.rows == 600
    # Noise of 5 % has a median magnitude of 0.6745 · 5 %.
    assert found.holdout.median == pytest.approx(0.034, abs=0.006)
    assert found.sample.median <= found.holdout.median * 1.05
    assert found.plain.median > found.holdout.median


def test_devices_weigh_the_same_however_many_rows_they_have() -> None:
    # Two devices with 60 rows each against one with 600.
    few, many = rows(Draw(0.2, 0.0, 0.0), count=60), rows(Draw(0.4, 0.0, 0.0), count=600)
    draw = class_draw([few, few, many])
    assert power_error(watts(draw, few), few.watts).median < 0.04
    assert power_error(watts(draw, many), many.watts).median > 0.2


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1e-7, 1.0), st.floats(0.01, 1))
def test_no_kernel_draws_more_than_the_limit(
    compute: float, memory: float, seconds: float, spread: float
) -> None:
    assert 0.0 <= share(MADE, compute, memory, seconds, spread) <= 1.0


def test_a_kernel_as_short_as_settle_draws_half() -> None:
    # Far below the limit, where the bend does nothing: u = 0.1 · 8 us / 16 us.
    assert share(Draw(0.1, 0, 0, settle=8e-6), 0.0, 0.0, 8e-6) == pytest.approx(0.05)
    assert share(Draw(0.1, 0, 0), 0.0, 0.0, 8e-6) == pytest.approx(0.1, rel=1e-5)


def test_at_the_limit_the_bend_takes_a_tenth() -> None:
    # u = 1: 1 / 2^(1/6) = 0.891.
    assert share(Draw(1.0, 0, 0), 0.0, 0.0, 1.0) == pytest.approx(2 ** (-1 / 6))


def test_nothing_is_fitted_to_nothing() -> None:
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_draw(rows(count=0))
    with pytest.raises(ValueError, match="no device"):
        class_draw([])


# --- tables --------------------------------------------------------------------------------------

HEAD = "system,gemm_dtype,m,n,k,latency_ms,power_w,power_limit_w\n"


def table(folder: Path, text: str) -> Path:
    path = folder / "power.csv"
    path.write_text(text)
    return path


def shapes(count: int) -> str:
    sizes = [(128 * (1 + i), 4096, 4096, 0.02 + 0.05 * i, 300 + 5 * i) for i in range(count)]
    return "".join(f"x,bfloat16,{m},{n},{k},{t},{w},700\n" for m, n, k, t, w in sizes)


def test_a_table_with_watts_is_one_of_power(tmp_path: Path) -> None:
    found = read_table(table(tmp_path, HEAD + shapes(30)))
    assert found.power
    assert found.operator == "gemm"
    assert of_system(found, "x").power
    sheets = {"bf16": Sheet(989e12, 4.8e12, 132)}
    (fit,) = calibrate_power([found], sheets, 76.0)
    assert (fit.operator, fit.dtype, fit.rows) == ("gemm", "bf16", 30)


def test_few_shapes_and_dtypes_without_a_peak_are_left_out(tmp_path: Path) -> None:
    few = read_table(table(tmp_path, HEAD + shapes(19)))
    assert calibrate_power([few], {"bf16": Sheet(989e12, 4.8e12, 132)}, 76.0) == []
    enough = read_table(table(tmp_path, HEAD + shapes(30)))
    assert calibrate_power([enough], {"fp8": Sheet(1979e12, 4.8e12, 132)}, 76.0) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "x,bfloat16,1,64,64,0.01,2000,700\n", "line 2: `power_w` is 2000, far above"),
        (HEAD + "x,bfloat16,1,64,64,0.01,-5,700\n", "line 2: `power_w` is -5, not a number above"),
        (HEAD + "x,bfloat16,1,64,64,0.01,300,0\n", "`power_limit_w` is 0, not a number above 0"),
        (HEAD + "x,bfloat16,1,64,64,0.01,lots,700\n", "`power_w` is lots"),
        (HEAD + "x,bfloat16,1,64,64,0.01,,700\n", "`power_w` is nan"),
        (HEAD.replace(",power_limit_w", "") + "x,bfloat16,1,64,64,0.01,300\n",
         "has `power_w` and no `power_limit_w`"),
        (HEAD.replace("power_w,", "") + "x,bfloat16,1,64,64,0.01,700\n",
         "has `power_limit_w` and no `power_w`"),
    ],
)  # fmt: skip
def test_odd_tables_of_power_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_table(table(tmp_path, text))
    (found,) = caught.value.diagnostics
    assert found.code == "HMS607"
    assert words in found.message


def test_a_reading_just_above_the_limit_is_regulation(tmp_path: Path) -> None:
    text = HEAD + "x,bfloat16,1,64,64,0.01,711,700\n"
    assert read_table(table(tmp_path, text)).frame["watts"].tolist() == [711.0]
