"""Metrics on runs worked out by hand, and against every token of simulated ones."""

import numpy as np
import pytest
from hand_built import AffineCost, batch, generate, run, system
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import CLASSES, NAN, columns, cut, tiny, with_columns

from hermesdsl.graph.types import Spec
from hermesdsl.results.definitions import DEFINITIONS, PERCENTILES
from hermesdsl.results.gaps import GapSeries
from hermesdsl.results.metrics import Measures
from hermesdsl.results.series import Series
from hermesdsl.results.tokens import longest_gaps, step_means, tokens_between
from hermesdsl.sim.record import RESIDENCE_COLUMNS, SHOWN_COLUMNS, STEP_COLUMNS
from hermesdsl.sim.tokens import TokenTimes, token_gaps


def measures(made=None) -> Measures:
    return Measures(tiny() if made is None else made, CLASSES)


def values(series: Series | GapSeries) -> list[float]:
    if isinstance(series, GapSeries):
        return np.sort(np.repeat(*series.gaps.spelt_out())).tolist()
    return np.repeat(series.values, series.counts).tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ttft", [1.0, 2.5]),
        ("tpot", [5 / 3]),  # (6 - 1)/3; the other has one token
        ("itl", [1.0, 1.0, 3.0]),  # the stall 3..5 is in the last gap
        ("tpot_step", [1.0]),  # the same three tokens came from steps of 1 s
        ("e2e", [2.5, 6.0]),
        ("queue", [0.0, 0.5]),
    ],
)
def test_series(name, expected):
    assert values(measures().series(name)) == pytest.approx(expected)


def test_series_by_class_workload_and_stage():
    seen = measures()
    assert seen.series("ttft", {"class": "free"}).n == 0
    assert seen.series("ttft", {"class": "gold", "workload": "chat"}).n == 2
    assert values(seen.series("queue", {"stage": "chat.answer"})) == [0.0, 0.5]
    assert values(seen.series("e2e", {"stage": "chat.answer"})) == [2.5, 6.0]


def test_rates_over_the_makespan():
    seen = measures()
    assert seen.window == (0.0, 6.0)
    assert seen.value("output_throughput") == pytest.approx(5 / 6)
    assert seen.value("request_throughput") == pytest.approx(2 / 6)
    # gold allows ttft 2 s and tpot 1.7 s: request 0 keeps both, request 1 came at 2.5 s.
    assert seen.value("goodput") == pytest.approx(1 / 6)
    assert seen.value("attainment") == pytest.approx(1 / 3)
    assert seen.value("attainment", {"class": "gold"}) == pytest.approx(1 / 2)
    assert seen.value("attainment", {"class": "free"}) == 0  # refused: a miss, though no ttft
    assert seen.value("share", {"outcome": "refused"}) == pytest.approx(1 / 3)
    assert seen.utilisation("llm") == pytest.approx(1.0)


def test_rates_count_what_happens_in_the_window_only():
    seen = measures(tiny(window=(2.0, 5.5)))
    assert seen.measured.tolist() == [False, True, True]
    # In [2, 5.5): tokens at 2, 3 (request 0) and 5 (request 1); one request completes, at 5.
    assert seen.value("output_throughput") == pytest.approx(3 / 3.5)
    assert seen.value("request_throughput") == pytest.approx(1 / 3.5)
    assert values(seen.series("ttft")) == [2.5]
    assert values(seen.series("itl")) == []


def test_tokens_count_when_they_are_seen_and_not_when_they_are_only_made():
    # Request 1 wrote nine tokens, of which five were shown at once, at 5 s; request 0 made seven.
    shown = columns(SHOWN_COLUMNS, (0, 1, 1.0), (1, 5, 5.0))
    made = with_columns(tiny(shown=shown), generated=[7, 9, 0], visible=[4, 5, 0])
    seen = measures(made)
    assert values(seen.series("tpot")) == [0.0, 5 / 3]
    assert seen.value("output_throughput") == pytest.approx((4 + 5) / 6)


def test_warmup_longer_than_the_run_measures_nothing():
    seen = measures(tiny(window=(100.0, None)))
    assert seen.series("ttft").n == 0
    assert seen.series("ttft").statistic("p99") is None
    assert seen.value("goodput") is None
    assert seen.value("attainment") is None
    assert seen.utilisation("llm") is None


def test_a_cut_run_says_how_much_is_unknown():
    seen = measures(cut())
    assert values(seen.series("ttft")) == [1.0]
    assert (seen.censored("ttft"), seen.censored("e2e")) == (1, 2)
    assert seen.series("e2e").n == 0
    assert seen.value("attainment") == 0
    assert values(seen.series("itl")) == [1.0, 1.0]
    assert seen.value("output_throughput") == pytest.approx(3 / 4.5)


def test_an_itl_bound_is_on_the_longest_gap():
    made = tiny()
    classes = {"gold": CLASSES["gold"].__class__("gold", 0, {"itl": 2.9})}
    # Request 1 has one token and no gap: nothing to miss.
    assert Measures(made, classes).met.tolist() == [False, True, False]


def test_a_request_without_class_only_has_to_complete():
    made = tiny(classes=("", "free"))
    assert measures(made).met.tolist() == [True, True, False]


def test_steps_that_grow_and_a_preemption():
    """Steps of 1, 2, 3 s as one row; then the prompt again until 10, then one step of 4 s."""
    made = with_columns(
        tiny(
            steps=columns(
                STEP_COLUMNS,
                (0, 0.0, 1.0, 1, 0, 10, 10, 1, 1.0),
                (0, 1.0, 7.0, 3, 1, 3, 0, 1, 1.0),
                (0, 7.0, 10.0, 1, 0, 13, 13, 1, 3.0),
                (0, 10.0, 14.0, 1, 1, 1, 0, 1, 4.0),
            ),
            residences=columns(
                RESIDENCE_COLUMNS, (0, 0, 0, 3, 1.0, 3, 0.0), (0, 0, 3, 4, 10.0, 1, 0.0)
            ),
            shown=columns(SHOWN_COLUMNS, (0, 1, 1.0), (0, 1, 10.0)),
        ),
        generated=[6, 1, 0],
        visible=[6, 1, 0],
    )
    # Tokens at 1, 2, 4, 7, 10, 14.
    assert sorted(values(measures(made).series("itl"))) == pytest.approx([1, 2, 3, 3, 4])
    times = TokenTimes(made)
    assert longest_gaps(times)[0] == 4
    assert step_means(times)[0] == pytest.approx((1 + 2 + 3 + 4) / 4)
    assert np.isnan(longest_gaps(times)[1:]).all()
    counts = [tokens_between(times, a, b)[0] for a, b in ((0, 20), (0, 2), (4, 10), (10, 14))]
    assert counts == [6, 1, 2, 1]


numbers = st.floats(0, 1e6, allow_nan=False)


@given(st.lists(st.tuples(numbers, st.integers(1, 5)), min_size=1, max_size=30))
def test_percentiles_are_those_of_numpy(pairs):
    pairs.sort()
    series = Series(np.array([v for v, _ in pairs]), np.array([c for _, c in pairs]))
    spelt = values(series)
    for name, percent in PERCENTILES.items():
        assert series.statistic(name) == pytest.approx(np.percentile(spelt, percent), rel=1e-12)
    assert series.statistic("mean") == pytest.approx(np.mean(spelt), rel=1e-12)
    assert series.statistic("max") == max(spelt)
    assert series.n == len(spelt)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.integers(1, 40), st.integers(1, 30)), min_size=1, max_size=25
    ),
    st.sampled_from([Spec("continuous"), Spec("chunked", {"budget": 16})]),
    st.integers(80, 400),
)
def test_tokens_add_up_in_simulated_runs(rows, policy, kv_tokens):
    """Preemptions included: gaps sum to last - first, and every token is counted once."""
    rows.sort()
    arrival, prompt, output = zip(*rows, strict=True)
    built = system(generate(), options={"batching": policy, "block_size": 4, "max_batch": 8})
    cost = AffineCost(kv_tokens=kv_tokens, base=0.01, per_token=0.002, per_context=1e-4)
    made = run(built, cost, batch(arrival, prompt, output))
    requests = made.requests
    times = TokenTimes(made)
    assert tokens_between(times, 0.0, np.inf).tolist() == requests["generated"].tolist()
    for row in range(len(rows)):
        gaps, weights = token_gaps(made, requests["id"] == row)
        span = requests["last_token_s"][row] - requests["first_token_s"][row]
        longest = longest_gaps(times)[row]
        assert np.dot(gaps, weights) == pytest.approx(0 if np.isnan(span) else span, abs=1e-9)
        assert longest == pytest.approx(max(gaps, default=NAN), nan_ok=True)


def test_every_metric_has_a_definition_and_a_unit():
    units = ("s", "tok/s", "req/s", "1", "J/tok", "$/tok")
    assert all(text and unit in units for text, unit in DEFINITIONS.values())
