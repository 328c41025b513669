"""Bounds that a run is seen to pass before its end: never a run that would have kept them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hermesdsl
from hermesdsl.api import System
from hermesdsl.execute import Shared, execute
from hermesdsl.graph.types import Metric
from hermesdsl.results.bars import Bar, Missed, certain, told, watched
from hermesdsl.results.series import series_of

SPEC = """\
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B

gpu: H100
llm: LlmEngine on gpu {{ model = Llama3_1_8B }}
chat: Chat {{ llm = llm }}
class quick {{ ttft = 100 ms; tpot = 20 ms }}
class calm {{ ttft = 1 min }}
workload load {{
    pipeline = chat; arrivals = poisson(12 req/s); {more}
    class = mix(quick = 0.7, calm = 0.3)
    prompt = lognormal(median = 1000 tok, sigma = 1); output = lognormal(median = 60 tok, sigma = 1)
}}
experiment main {{ workload = [load]; duration = 20 s; warmup = 4 s; horizon = {horizon} }}
"""


def system(horizon: str = "drain", more: str = "") -> System:
    return hermesdsl.compile(SPEC.format(horizon=horizon, more=more))


def run(of: System, *bars: Bar) -> Any:
    return execute(of, of.experiment(), seed=3, bars=bars)


# --- how many are enough -------------------------------------------------------------------------


@given(
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=300), st.integers(0, 5),
    st.sampled_from(["mean", "max", "p50", "p90", "p95", "p99"]), st.floats(0.0, 10.0), st.data(),
)  # fmt: skip
def test_whatever_comes_the_statistic_is_above(
    values: list[float], more: int, name: str, limit: float, data: st.DataObject
) -> None:
    """Of any part of the values, and of more that might have come, it is only told what holds."""
    some = values[: data.draw(st.integers(0, len(values)))]
    if certain(name, limit, np.array(some), len(values) + more):
        found = series_of(np.array(values)).statistic(name)
        assert found is not None
        assert found > limit * (1.0 - 1e-12)


@pytest.mark.parametrize(
    ("name", "above", "most", "sure"),
    [
        # p99 of 100 stands at place 98.01 of 0 … 99, between the two largest: both are above.
        ("p99", 1, 100, False), ("p99", 2, 100, True),
        # Of 101 it stands at place 99, on the second largest.
        ("p99", 1, 101, False), ("p99", 2, 101, True),
        ("p50", 1, 3, False), ("p50", 2, 3, True), ("max", 1, 100, True), ("max", 0, 100, False),
        # 2 x 2 s / 4 is 1 s, which is not above 1 s.
        ("mean", 2, 4, False), ("mean", 3, 4, True), ("p99", 0, 0, False),
    ],
)  # fmt: skip
def test_how_many_are_enough(name: str, above: int, most: int, sure: bool) -> None:
    assert certain(name, 1.0, np.full(above, 2.0), most) is sure


# --- while a run goes ----------------------------------------------------------------------------

METRICS = [
    Metric("p99", "ttft"), Metric("p50", "e2e"), Metric("max", "tpot"), Metric("mean", "ttft"),
    Metric("p90", "ttft", {"class": "calm"}), Metric("p95", "tpot", {"workload": "load"}),
]  # fmt: skip


@pytest.mark.parametrize("horizon", ["drain", "cut"])
@pytest.mark.parametrize("metric", METRICS)
def test_a_bar_is_missed_where_the_whole_run_misses_it(metric: Metric, horizon: str) -> None:
    """Half of what the run comes to is passed before its end, and what it comes to never is."""
    of = system(horizon)
    whole = run(of)
    value = whole.value(metric)
    assert run(of, Bar(metric, value, "")).data["metrics"] == whole.data["metrics"]
    with pytest.raises(Missed) as end:
        run(of, Bar(metric, 0.5 * value, "so"))
    assert end.value.bar.text == "so"
    assert 4.0 < end.value.now < whole.data["simulated_s"]


def test_an_attainment_is_missed_from_below() -> None:
    of = system()
    metric = Metric("attainment", None, {"class": "quick"})
    value = run(of).value(metric)
    assert 0.1 < value < 0.95
    run(of, Bar(metric, value, ""))
    with pytest.raises(Missed):
        run(of, Bar(metric, value + 0.04, ""))


def test_the_first_bar_that_is_passed_ends_it() -> None:
    of = system()
    bars = [Bar(Metric("p99", "ttft"), 1e9, "never"), Bar(Metric("max", "ttft"), 0.0, "at once")]
    with pytest.raises(Missed, match="at once"):
        run(of, *bars)


def test_nobody_looks_where_requests_are_tried_again() -> None:
    """What an attempt saw that is given up is forgotten, so that nothing is certain."""
    of = system(more="timeout = 1 s; retries = 2;")
    assert not watched(of.compiled, of.experiment())
    assert run(of, Bar(Metric("max", "ttft"), 0.0, "")).data["requests"]["offered"] > 0


@pytest.mark.parametrize(
    "metric",
    [Metric("p99", "itl"), Metric("p99", "queue"), Metric("p99", "ttft", {"stage": "chat.read"}),
     Metric("cost_per_token"), Metric("goodput"), Metric("p99", "ttft", {"case": "a"})],
)  # fmt: skip
def test_what_cannot_be_told_before_the_end(metric: Metric) -> None:
    assert not told(metric)


# --- what runs share -----------------------------------------------------------------------------


def test_what_is_shared_shows_in_no_result() -> None:
    """Run for run the same numbers, with engines and loads that were there and without."""
    shared = Shared()
    of = system()
    for seed in (1, 2, 1):
        alone = execute(of, of.experiment(), seed=seed).data["metrics"]
        other = hermesdsl.compile(SPEC.format(horizon="drain", more=""))
        found = execute(other, other.experiment(), seed=seed, shared=shared)
        assert found.data["metrics"] == alone
    assert len(shared.loads) == 2
    assert len(shared.costs) == 1


def test_another_load_is_not_taken_for_the_same() -> None:
    shared = Shared()
    for more in ("", "requests = 5;"):
        of = system(more=more)
        found = execute(of, of.experiment(), seed=1, shared=shared)
        offered = found.data["requests"]["offered"]
        assert (offered == 5) == bool(more)
    assert len(shared.loads) == 2
