"""Whole random programs, compiled, placed, costed and run: what holds of every run.

`HERMES_EXAMPLES=2000` draws so many programs for each property instead of a few.
"""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from program_checks import (
    assert_both_forms_agree,
    assert_bytes_are_conserved,
    assert_energy_is_integrated,
    assert_one_step_at_a_time,
    assert_same_requests,
    assert_streams_alike,
    assert_time_is_whole,
    near,
    ran,
    run_of,
)
from random_programs import ROUTES, Program, program

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.sim import draining
from hermesdsl.sim.routing import ROUTERS
from hermesdsl.sim.supported import raise_unless_supported

EXAMPLES = int(os.environ.get("HERMES_EXAMPLES", "0"))


def few(count: int) -> Any:
    return settings(
        max_examples=EXAMPLES or count, deadline=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )  # fmt: skip


@st.composite
def programs(draw: st.DrawFn, records: bool = False) -> Program:
    return program(lambda *options: draw(st.sampled_from(options)), records)


#: What does not fit its chip, is no block long, or is refused by name.
NO_FAULT = {"HMS405", "HMS407", "HMS506"}


def executable(made: Program) -> None:
    """Drops programs that are refused by name."""
    try:
        compiled = hermesdsl.compile(made.text).compiled
        raise_unless_supported(compiled, compiled.experiments["main"])
    except SpecError as found:
        codes = {d.code for d in found.diagnostics if d.is_error}
        assume(not codes <= NO_FAULT)
        raise


@given(programs())
@few(8)
def test_what_holds_of_every_run(made: Program):
    executable(made)
    result = assert_both_forms_agree(made.text)
    run = run_of(result)
    assert_time_is_whole(run)
    assert_one_step_at_a_time(run)
    assert_energy_is_integrated(result)
    sharing = "contention = fair" in made.text
    outlasting = re.search(r"autoscale|KvTier|cold_start|swap", made.text)
    hardware = hermesdsl.compile(made.text).hardware
    assert_bytes_are_conserved(run, hardware, full=sharing and not outlasting)


@given(programs())
@few(4)
def test_the_order_of_definitions_does_not_matter(made: Program):
    executable(made)
    assert_same_requests(run_of(ran(made.text)), run_of(ran(made.turned)))


@given(programs(records=True), st.sampled_from([1, 7, 30]))
@few(4)
def test_rows_or_none_say_the_same(made: Program, every: int):
    executable(made)
    before, draining.EVERY = draining.EVERY, every
    try:
        assert_streams_alike(made.text)
    finally:
        draining.EVERY = before


# --- the programs themselves, and properties that can fail ----------------------------------------


def plainest(records: bool = False) -> Program:
    return program(lambda *options: options[0], records)


def test_the_plainest_program_runs():
    run = run_of(ran(plainest().text))
    assert run.counts["completed"] == run.counts["offered"] > 0


def test_all_eleven_routers_are_drawn():
    names = {re.match(r"\w+", route).group() for route in ROUTES}
    assert names == set(ROUTERS.maps[-1])


#: Wrong in one place each: (what stands there, what comes instead, code of the diagnostic).
WRONG = [
    ("route = round_robin", "route = shortest", "HMS"),
    ("max_batch = 256", "max_batch = 0", "HMS"),
    ("block_size = 16 tok", "block_size = 16 s", "HMS"),
    ("contention = fair", "contention = some", "HMS"),
    ("memory_rule = after_weights(95%)", "memory_rule = after_weights(0%)", "HMS"),
    ("model = Plain", "model = Plain; dp = 3", "HMS"),
    ("model = Plain", "model = Plain; speculate = mtp(depth = 2, accept = 140%)", "HMS"),
    ("head_dim = 256", "head_dim = 256; full_layers = 9; window = 64 tok", "HMS"),
    ("warmup = 0 ms", "warmup = 0 ms; records = some", "HMS"),
]


@pytest.mark.parametrize(("right", "wrong", "code"), WRONG)
def test_one_thing_wrong_is_said(right: str, wrong: str, code: str):
    text = plainest().text
    assert right in text
    with pytest.raises(SpecError) as caught:
        ran(text.replace(right, wrong))
    assert [d for d in caught.value.diagnostics if d.is_error and d.code.startswith(code)]


def test_records_that_differ_are_found():
    one, other = (run_of(ran(plainest().text, seed=seed)) for seed in (1, 2))
    with pytest.raises(AssertionError):
        assert_same_requests(one, other)


def test_time_that_is_lost_is_found():
    run = run_of(ran(plainest().text))
    run.requests["finish_s"][0] += 1e-3
    run.visits["end_s"][0] = run.visits["start_s"][0] - 1e-3
    with pytest.raises((AssertionError, RuntimeError)):
        assert_time_is_whole(run)


def test_steps_that_overlap_are_found():
    run = run_of(ran(plainest().text))
    assert len(run.steps["start_s"]) > 1
    run.steps["start_s"][1] = run.steps["start_s"][0]
    with pytest.raises(AssertionError):
        assert_one_step_at_a_time(run)


def test_summaries_that_differ_are_found():
    near({"a": [1.0, {"p50": 2.0}]}, {"a": [1.0, {"p50": 2.001}]})
    with pytest.raises(AssertionError, match=r"\.a\[0\]"):
        near({"a": [1.0]}, {"a": [1.0 + 1e-6]})
    with pytest.raises(AssertionError):
        near({"a": [1.0]}, {"b": [1.0]})


def test_energy_of_every_part_is_found():
    result = ran(plainest().text)
    assert_energy_is_integrated(result)
    assert np.isfinite(result.summary()["energy"]["total"])
