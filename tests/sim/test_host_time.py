"""Requests that come by an API, and steps that are put together one ahead."""

from __future__ import annotations

import numpy as np
import pytest

import hermesdsl
from hermesdsl.cost import engine_cost
from hermesdsl.cost.types import StepWork
from hermesdsl.results.attribution import KINDS, attribute
from hermesdsl.sim.straight import Straight
from hermesdsl.sim.tokens import step_ends

PROGRAM = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
profile Slow {{ request = 10 ms; {host} }}
gpu: H100
llm: LlmEngine on gpu {{ model = Llama3_1_8B; {settings}; profile = {profile} }}
chat: Chat {{ llm = llm }}
workload w {{ pipeline = chat; {load} }}
experiment e {{ workload = [w]; {more} }}
"""
ONE = "arrivals = closed(1); requests = 1; prompt = 1000 tok; output = 3 tok"
MANY = (
    "arrivals = poisson(40 req/s); prompt = lognormal(median = 400 tok, sigma = 1)\n"
    "  output = lognormal(median = 60 tok, sigma = 1)"
)


def compiled(load: str = ONE, profile: str = "Slow", host: str = "", **words: str) -> object:
    settings, more = words.get("settings", "tp = 1"), words.get("more", "")
    text = PROGRAM.format(load=load, profile=profile, host=host, settings=settings, more=more)
    return hermesdsl.compile(text)


def cost_of(system: object) -> object:
    return engine_cost(system.placement.nodes["llm"]["client"])


@pytest.mark.parametrize("profile", ["Slow", "none"])
def test_an_api_comes_before_everything_else(profile: str) -> None:
    """One request on an idle engine: TTFT is the API's 10 ms (none: 0) and the prompt's step."""
    system = compiled(profile=profile)
    pairs = 500 * 1001.0
    step = cost_of(system).step(StepWork(1000, 1, 1, 1000, pairs, 1000.0))
    api = 0.010 if profile == "Slow" else 0.0
    found = hermesdsl.run(system).requests
    assert found.ttft_s[0] == pytest.approx(api + step, rel=1e-12)
    assert found.e2e_s[0] > api + step


def test_the_apis_time_is_outside_the_engines_queue() -> None:
    found = attribute(hermesdsl.run(compiled()).measures.run)
    outside = found.seconds[:, KINDS.index("outside")].sum()
    assert outside == pytest.approx(0.010, rel=1e-9)
    assert found.seconds[:, KINDS.index("queueing")].sum() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("host", ["", "step = 1 ms; sequence = 20 us; overlap = 90%; gap = 0.2 ms"])
@pytest.mark.parametrize(
    "settings",
    [
        "tp = 1", "batching = continuous", "batching = mixed", "batching = static(4)",
        "max_batch = 12", "max_batch = 6; order = sjf", "batching = chunked(64 tok); order = sjf",
        "memory_rule = of_device(23.1%)", "prefix_cache = true",
    ],
)  # fmt: skip
def test_both_forms_of_engines_agree(host: str, settings: str) -> None:
    """Bit for bit, with and without a step that is put together ahead."""
    system = compiled(MANY, host=host, settings=settings, more="duration = 6 s")
    fast, slow = (hermesdsl.run(system, reference=which).requests for which in (False, True))
    for column in ("ttft_s", "tpot_s", "e2e_s"):
        assert np.array_equal(fast[column].to_numpy(), slow[column].to_numpy(), equal_nan=True)


def test_a_step_put_together_ahead_lets_newcomers_wait_for_one_more() -> None:
    """A long answer decodes; a second request comes during it, to the API and then in mid-step.

    Without overlap it is read in the first step that begins after it came; with it, in the one
    after that: one decode step later, to a thousandth (its context is a token longer).
    """
    load = "arrivals = constant(10 req/s); requests = 2; prompt = 100 tok; output = 400 tok"
    ttft = []
    for overlap in ("0%", "100%"):
        system = compiled(load, host=f"overlap = {overlap}")
        ttft.append(hermesdsl.run(system).requests.ttft_s[1])
    work = StepWork(1, 1, decodes=1, decode_context=120.0)
    step = cost_of(system).step(work)
    assert ttft[1] - ttft[0] == pytest.approx(step, rel=2e-2)


@pytest.mark.parametrize(("overlap", "beside"), [("0%", 1), ("100%", 2)])
def test_a_run_goes_on_through_the_step_that_passes_a_newcomer_by(overlap: str, beside: int):
    """One row of decodes before the second prompt, whose last step began after it had come."""
    load = "arrivals = constant(10 req/s); requests = 2; prompt = 100 tok; output = 400 tok"
    system = compiled(load, host=f"overlap = {overlap}")
    run = hermesdsl.run(system).measures.run
    steps, heard = run.steps, run.requests["arrival_s"][1] + 0.010
    first, second = np.flatnonzero(steps["prefill_tokens"])
    assert second - first == 2
    ends = step_ends(run, 0)[: steps["steps"][first + 1]]
    assert ends[-1] == steps["start_s"][second]
    # The step in which it came, and with a step put together ahead the one after that.
    assert np.count_nonzero(ends >= heard) == beside


def test_an_api_that_all_go_through_needs_no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows, to the bit, as with an event for each request that comes out of it."""
    system = compiled(MANY, more="duration = 6 s; horizon = cut")
    quick = hermesdsl.run(system).requests
    monkeypatch.setattr(Straight, "_come_heard", lambda *_: False)
    assert hermesdsl.run(system).requests.equals(quick)


def test_nobody_waits_for_a_step_that_is_not_there() -> None:
    """On an idle engine all of a burst is read at once, put together ahead or not."""
    load = "arrivals = closed(8); requests = 8; prompt = 100 tok; output = 2 tok"
    ttft = [
        hermesdsl.run(compiled(load, host=f"overlap = {overlap}")).requests.ttft_s.to_numpy()
        for overlap in ("0%", "100%")
    ]
    assert np.array_equal(*ttft)


def test_places_that_are_reserved_stay_empty() -> None:
    """Of 4 places one is taken: the fourth of 4 equal requests waits for the first three."""
    load = "arrivals = closed(4); requests = 4; prompt = 100 tok; output = 50 tok"
    found = hermesdsl.run(compiled(load, host="reserved = 1 req", settings="max_batch = 4"))
    ttft = np.sort(found.requests.ttft_s.to_numpy())
    assert ttft[2] < 0.1 * ttft[3]


def test_whoever_gives_up_in_the_api_is_never_served() -> None:
    load = f"{ONE}; timeout = 5 ms; retries = 0"
    found = hermesdsl.run(compiled(load)).requests
    assert found.status[0] == "timed_out"
