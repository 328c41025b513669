"""Loads of many clients: shares, stationarity, tables of windows and of lengths."""

from pathlib import Path

import numpy as np
import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec, Workload
from hermesdsl.sim.arrivals import arrival_times, arrivals
from hermesdsl.sim.arrivals.clients import read_table
from hermesdsl.sim.arrivals.renewal import first_gap
from hermesdsl.sim.client_lengths import client_lengths
from hermesdsl.sim.streams import Stream
from hermesdsl.sim.workload import offered

STREAM = Stream(3, "w.arrivals")
MANY = Spec("clients", {"rate": 20.0, "n": 10, "skew": 1.0, "cv": 2.0, "shape": "gamma"})
#: Two clients, windows of 100 s; `b` is silent in the first, and ten times as busy as `a` after.
TABLE = """model,client,window_start_s,rate,cv,pattern
m,a,0,1,1,Gamma
m,a,100,1,1,Gamma
m,b,100,10,2,Weibull
n,c,0,5,1,Gamma
"""
SERVEGEN = Path(__file__).parents[2] / "../shared/data/traces"


def table(tmp_path, text: str = TABLE, **more) -> Spec:
    file = tmp_path / "clients.csv"
    file.write_text(text)
    return Spec("client_table", {"file": str(file), "rate": 6.0, "model": "m", **more})


def test_shares_fall_with_rank():
    made = arrivals(MANY, STREAM, duration=20_000.0)
    weights = np.arange(1, 11) ** -1.0
    expected = 400_000 * weights / weights.sum()
    # The count of a renewal process varies by cv² of a Poisson one.
    assert (np.abs(np.bincount(made.source) - expected) < 4 * 2 * expected**0.5).all()
    assert (np.diff(made.time) >= 0).all()


@pytest.mark.parametrize("shape", ["gamma", "weibull"])
@pytest.mark.parametrize("cv", [0.5, 3.0])
def test_a_client_has_its_rate_from_the_first_moment(shape, cv):
    spec = Spec("clients", {"rate": 1.0, "n": 1, "skew": 0.0, "cv": cv, "shape": shape})
    counts = [len(arrival_times(spec, Stream(seed, "x"), duration=0.5)) for seed in range(4000)]
    # E N(t) = rate · t exactly; started at an arrival it would be far off at cv = 3.
    assert abs(np.mean(counts) - 0.5) < 4 * np.std(counts) / 4000**0.5


def test_the_first_gap_has_the_mean_of_a_gap_met_at_random():
    # E = (1 + cv²)/2 of the mean gap (inspection paradox).
    for shape in ("gamma", "weibull"):
        gaps = [first_gap(shape, 1.5, Stream(seed, "x")) for seed in range(4000)]
        assert np.mean(gaps) == pytest.approx((1 + 1.5**2) / 2, rel=0.15)


def test_the_first_requests_are_those_of_a_longer_run():
    long = arrivals(MANY, STREAM, duration=400.0)
    short = arrivals(MANY, STREAM, duration=150.0)
    inside = long.time < 150.0
    assert (short.time == long.time[inside]).all()
    assert (short.source == long.source[inside]).all()
    assert (arrivals(MANY, STREAM, requests=777).time == long.time[:777]).all()


def test_a_table_is_scaled_to_its_mean_rate_and_repeats(tmp_path):
    made = arrivals(table(tmp_path), STREAM, duration=20_000.0)
    # Rates 1, then 11 over 200 s: mean 6, as asked; 100 cycles.
    assert abs(len(made.time) - 120_000) < 4 * 2 * 120_000**0.5
    phase = made.time % 200.0
    assert not (made.source[phase < 100.0] == 1).any()
    late = np.bincount(made.source[phase >= 100.0])
    assert abs(late[0] - 10_000) < 4 * 100
    assert abs(late[1] - 100_000) < 4 * 2 * 100_000**0.5


def test_a_table_begins_where_it_is_told(tmp_path):
    whole = arrivals(table(tmp_path, start=0.0), STREAM, duration=100.0)
    late = arrivals(table(tmp_path, start=100.0), STREAM, duration=100.0)
    assert set(whole.source) == {0}
    assert set(late.source) == {0, 1}
    # The one window left is the mean: 6 requests per second.
    assert 400 < len(late.time) < 800


def test_without_patterns_gaps_are_gamma(tmp_path):
    text = "client,window_start_s,rate,cv\n1,0,1,1\n2,0,1,1\n"
    made = arrivals(table(tmp_path, text, model=None), STREAM, duration=600.0)
    assert set(made.source) == {0, 1}


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        (TABLE, {"model": "x"}, "has no model `x`"),
        (TABLE, {"start": 1e6}, "has no window after `start` = 1e+06 s; the last ends at 200 s"),
        (TABLE.replace("Weibull", "Pareto"), {}, "has a pattern `Pareto`; it is Gamma or Weibull"),
        (TABLE.replace("rate", "rates"), {}, "has no column `rate`"),
        (TABLE.replace(",10,2,", ",10,0,"), {}, "has a coefficient of variation of zero"),
        (TABLE.replace(",10,2,", ",ten,2,"), {}, "line 4, column `rate`: `ten` is not a number"),
        ("client,window_start_s,rate,cv\n1,0,0,1\n", {"model": None},
         "has no window with a rate above zero from 0 s on"),
        ("client,window_start_s,rate,cv\n", {"model": None}, "has a header but no rows"),
    ],
)  # fmt: skip
def test_bad_tables_are_refused(tmp_path, text, more, message):
    with pytest.raises(SpecError) as caught:
        arrivals(table(tmp_path, text, **more), STREAM, duration=100.0)
    assert caught.value.diagnostics[0].code == "HMS603"
    assert message in caught.value.diagnostics[0].message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 0}, "`n` of arrivals `clients` is 0, not between 1 and 100000"),
        ({"skew": -1.0}, "`skew` of arrivals `clients` is -1, not between 0 and 10"),
        ({"shape": "pareto"}, "`shape` of arrivals `clients` is pareto, not one of gamma, weibull"),
    ],
)
def test_bad_clients_are_refused(change, message):
    with pytest.raises(SpecError, match=message):
        arrivals(Spec("clients", {**MANY.args, **change}), STREAM, duration=1.0)


# --- lengths -----------------------------------------------------------------------------------

LENGTHS = """model,client,window_start_s,input_tokens_p50,input_tokens_p90,input_tokens_p99,\
output_tokens_p50,output_tokens_p90,output_tokens_p99
m,a,0,100,200,400,10,10,10
m,a,100,1000,2000,4000,10,20,40
"""


def test_lengths_follow_client_and_window(tmp_path):
    file = tmp_path / "lengths.csv"
    file.write_text(LENGTHS)
    spec = table(tmp_path, lengths=str(file), rate=600.0)
    load = offered(Workload("w", "p", spec), duration=200.0, seed=1, classes={})
    batch = load.batch
    assert load.notes == ("1 of 2 clients have no lengths; they take the table's means",)
    early = batch.arrival < 100.0
    for p, early_prompt in ((50, 100), (90, 200), (99, 400)):
        assert np.percentile(batch.prompt[early], p) == pytest.approx(early_prompt, rel=0.15)
    assert set(batch.output[early]) == {10}
    # After 100 s client `b`, ten times as busy, takes the geometric means of the two rows.
    assert np.median(batch.prompt[~early]) == pytest.approx((100 * 1000) ** 0.5, rel=0.25)


def test_a_workload_may_set_its_own_lengths(tmp_path):
    spec = table(tmp_path, lengths="absent.csv")
    fixed = Spec("fixed", {"value": 7})
    made = offered(Workload("w", "p", spec, fixed, fixed), duration=50.0, seed=1, classes={})
    assert set(made.batch.prompt) == {7}


def servegen(name: str) -> str:
    if not (SERVEGEN / name).exists():
        pytest.skip(f"{name} is not beside this checkout")
    return str(SERVEGEN / name)


def test_the_published_clients_keep_their_rates_and_burstiness():
    file = servegen("servegen_client_windows.csv.gz")
    spec = Spec("client_table", {"file": file, "rate": 20.0, "model": "m-small"})
    made = arrivals(spec, STREAM, duration=600.0)
    names, columns = read_table(file, ("client", "window_start_s", "rate"), (), "m-small")
    first = columns["window_start_s"] < 600.0
    # Scaled so that the mean over the whole table is 20 per second.
    span = columns["window_start_s"].max() + 600.0
    scale = 20.0 / (columns["rate"].sum() * 600.0 / span)
    expected = np.bincount(columns["client"][first].astype(int), columns["rate"][first] * scale)
    got = np.bincount(made.source, minlength=len(names["client"]))
    top = np.argsort(expected)[-3:]
    assert got[top] / 600.0 == pytest.approx(expected[top], rel=0.25)
    assert len(made.time) / 600.0 == pytest.approx(expected.sum(), rel=0.15)


def test_drawn_lengths_have_the_means_that_servegen_publishes():
    file = servegen("servegen_client_lengths.csv.gz")
    known = client_lengths(file)
    _, columns = read_table(file, ("client", "input_tokens_mean", "output_tokens_mean"), (), None)
    n = len(known.client)
    # One client per row, 200 draws each.
    rows = type(known)(tuple(map(str, range(n))), known.start, known.quantiles)
    source = np.repeat(np.arange(n, dtype=np.int32), 200)
    drawn = rows.draw(rows.client, source, np.full(len(source), 1e12), STREAM, ("prompt", "output"))
    for role, column in (("prompt", "input_tokens_mean"), ("output", "output_tokens_mean")):
        mean = columns[column].mean()
        assert drawn[role].mean() == pytest.approx(mean, rel=0.05)
        ratio = drawn[role].reshape(n, 200).mean(axis=1) / columns[column]
        assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
