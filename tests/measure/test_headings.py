"""What headings of columns say: statistics, metrics, units."""

import pytest

from hermesdsl.measure.headings import METRICS, fits, heading, metric_of, written


@pytest.mark.parametrize(
    ("name", "bare", "unit", "role"),
    [
        ("mean_ttft_ms", "mean_ttft", "ms", "mean(ttft)"),
        ("p99(ttft) [s]", "p99(ttft)", "s", "p99(ttft)"),
        ("Median TPOT (ms)", "Median TPOT", "ms", "p50(tpot)"),
        ("ttft.p90 [us]", "ttft.p90", "us", "p90(ttft)"),
        ("avg_e2e_latency_s", "avg_e2e_latency", "s", "mean(e2e)"),
        ("p99(latency)", "p99(latency)", "", "p99(e2e)"),
        ("output_throughput", "output_throughput", "", "output_throughput"),
        ("throughput [req/s]", "throughput", "req/s", "request_throughput"),
        ("throughput (tok/s)", "throughput", "tok/s", "output_throughput"),
        ("duration_s", "duration", "s", "makespan"),
        ("completed", "completed", "", "n"),
        ("max_itl_ms", "max_itl", "ms", "max(itl)"),
    ],
)
def test_names_that_are_known(name: str, bare: str, unit: str, role: str) -> None:
    own = heading(name)
    assert (own.bare, own.unit) == (bare, unit)
    found = metric_of(own.bare, own.unit)
    assert found is not None
    assert written(*found) == role


@pytest.mark.parametrize(
    "name", ["note", "std_ttft", "p75_ttft", "mean_p99_ttft", "mean_makespan", "ttft_of_mean", ""]
)
def test_names_that_say_nothing(name: str) -> None:
    assert metric_of(name) is None


@pytest.mark.parametrize(("name", "metric"), [("ttft", "ttft"), ("throughput", "throughput")])
def test_names_that_leave_something_open(name: str, metric: str) -> None:
    assert metric_of(name) == ("?", metric)


@pytest.mark.parametrize("name", ["mean_ttft_%", "mean_ttft_pct", "mean_ttft [%]", "mean_ttft %"])
def test_per_cent_is_no_unit_of_time(name: str) -> None:
    own = heading(name)
    assert (own.bare.strip(), own.unit) == ("mean_ttft", "%")
    assert fits("ttft", own.unit) is None


def test_factors_to_si() -> None:
    assert fits("ttft", "ms") == 1e-3
    assert fits("makespan", "min") == 60.0
    assert fits("output_throughput", "") == 1.0
    assert fits("output_throughput", "ktok/s") == 1e3
    assert fits("n", "req") == 1.0


@pytest.mark.parametrize(
    ("metric", "unit"),
    [("ttft", ""), ("ttft", "tok/s"), ("output_throughput", "req/s"), ("n", "ms"), ("tpot", "%")],
)
def test_units_of_another_sort(metric: str, unit: str) -> None:
    assert fits(metric, unit) is None


def test_every_metric_has_a_unit_that_is_known() -> None:
    assert all(fits(metric, unit) == 1.0 for metric, unit in METRICS.items())
