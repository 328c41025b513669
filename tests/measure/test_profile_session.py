"""A whole profile on a device of formulas: budget, order, failures, and the way to a fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from formula_device import REACHED, SHEETS, FormulaDevice

from hermesdsl.measure.calibrate import calibrate
from hermesdsl.measure.profile.grid import Case, cases
from hermesdsl.measure.profile.session import PATIENCE, POWERED_CASES, Outcome, profile
from hermesdsl.measure.profile.store import Store
from hermesdsl.measure.tables import read_table, tables_in

META = {"chip": "H200", "device": "formula"}
GRID = cases(SHEETS, "bf16", ["fp8"], 141e9)


def run(
    device: FormulaDevice, folder: Path, until: float = 1e9, some: list[Case] = GRID
) -> Outcome:
    return profile(device, some, Store(folder, META), until=until, clock=device.clock,
                   tell=lambda *_: None)  # fmt: skip


def test_a_fit_finds_what_the_device_reaches(tmp_path: Path) -> None:
    device = FormulaDevice(cold=3, noise=(1.0, 1.01, 0.99))
    found = run(device, tmp_path, some=GRID[:900])
    assert (found.timed, found.left, found.failed) == (900, 0, ())
    fits = calibrate(map(read_table, tables_in(tmp_path)), SHEETS)
    kinds = {(fit.operator, fit.dtype) for fit in fits}
    assert kinds == {("gemm", "bf16"), ("gemm", "fp8"), ("prefill", "bf16"), ("decode", "bf16")}
    for fit in fits:
        # Times are the model's over one factor; the fit is drawn to 1 by its penalty on size.
        assert fit.holdout.median < 0.01, fit.operator
        assert fit.holdout.p90 < 0.05, fit.operator
    gemm = next(fit for fit in fits if fit.operator == "gemm")
    product = gemm.grids[0].values[-1] * gemm.grids[1].values[-1]
    assert product == pytest.approx(REACHED["gemm"], rel=0.03)


def test_time_is_kept_to_and_the_rest_follows(tmp_path: Path) -> None:
    whole = FormulaDevice()
    everything = run(whole, tmp_path / "whole", some=GRID[:200])
    device = FormulaDevice()
    first = run(device, tmp_path / "parts", until=whole.now / 3, some=GRID[:200])
    assert 0 < first.timed < 200
    assert first.left == 200 - first.timed
    # No case is begun when time is up: over by one case at most, none of which takes 5 s.
    assert device.now < whole.now / 3 + 5.0
    again = FormulaDevice()
    second = run(again, tmp_path / "parts", some=GRID[:200])
    assert (second.before, second.timed, second.left) == (first.timed, first.left, 0)
    assert not {*device.prepared} & {*again.prepared}
    for path in (tmp_path / "whole").glob("*.csv"):
        assert (tmp_path / "parts" / path.name).read_bytes() == path.read_bytes()
    assert everything.timed == 200


def test_a_large_device_is_done_in_five_minutes(tmp_path: Path) -> None:
    # The whole grid at 0.5 to 0.8 of an H200, watts included, on the device's own clock. Set-up
    # of buffers comes on top, some 10 ms for each of 1,900 shapes.
    device = FormulaDevice(watts=500.0)
    found = run(device, tmp_path)
    assert found.left == 0
    assert device.now < 300 - 0.01 * len(GRID)


def test_power_is_read_for_the_first_shapes(tmp_path: Path) -> None:
    gemms = [case for case in GRID if (case.operator, case.dtype) == ("gemm", "bf16")]
    long = [case for case in gemms if case.size("m") == 16384 and case.size("k") >= 8192]
    run(FormulaDevice(watts=500.0), tmp_path, some=[*long, *gemms[:40]])
    rows = (tmp_path / "gemm.csv").read_text().splitlines()[1:]
    read = [row.split(",")[-2] for row in rows]
    first = min(len(long), POWERED_CASES)
    assert read[:first] == ["500.0"] * first
    assert set(read[POWERED_CASES:]) == {""}


def test_what_does_not_fit_is_told_and_left(tmp_path: Path) -> None:
    device = FormulaDevice(unfit=lambda case: case.operator == "prefill")
    found = run(device, tmp_path, some=GRID[:100])
    of = sum(case.operator == "prefill" for case in GRID[:100])
    assert not found.broken
    assert {case.operator for case, _ in found.failed} == {"prefill"}
    assert {reason for _, reason in found.failed} == {"out of memory"}
    # The other shapes of an operator that does not work are not tried.
    assert len(found.failed) == PATIENCE
    assert found.given_up == {"prefill.bf16": of - PATIENCE}
    assert (found.timed, found.left) == (100 - of, 0)
    assert not (tmp_path / "prefill.csv").exists()


def test_an_operator_that_has_worked_is_not_given_up(tmp_path: Path) -> None:
    found = run(FormulaDevice(unfit=lambda case: case.sizes[0] >= 8192), tmp_path, some=GRID[:300])
    assert len([case for case, _ in found.failed if case.operator == "gemm"]) > PATIENCE
    assert found.given_up == {}


def test_a_call_that_fails_while_it_is_timed_is_left_too(tmp_path: Path) -> None:
    class Failing(FormulaDevice):
        def wait(self) -> None:
            if self.prepared[-1].operator == "decode":
                raise RuntimeError("CUDA error: launch failed")

    found = run(Failing(), tmp_path, some=GRID[:20])
    assert {(case.operator, reason) for case, reason in found.failed} == {
        ("decode", "CUDA error: launch failed")
    }
    assert found.timed == 20 - len(found.failed)


def test_a_device_that_fails_on_and_on_ends_the_run(tmp_path: Path) -> None:
    found = run(FormulaDevice(unfit=lambda _: True), tmp_path)
    kinds = {case.kind for case in GRID}
    assert found.broken
    assert (found.timed, found.left, len(found.failed)) == (0, 0, PATIENCE * len(kinds))
