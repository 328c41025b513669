"""Every kind of load written as a program: what it offers, and what the compiler refuses."""

from pathlib import Path

import numpy as np
import pytest

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.schema import COMPUTED
from hermesdsl.sim.arrivals import PROCESSES
from hermesdsl.sim.arrivals.registry import ELSEWHERE
from hermesdsl.sim.lengths import DISTRIBUTIONS
from hermesdsl.sim.popularity import POPULARITIES
from hermesdsl.sim.workload import offered

PROGRAM = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
gpu:  H100
llm:  LlmEngine on gpu { model = Llama3_1_8B }
chat: Chat { llm = llm }
workload load {
    pipeline = chat
    BODY
}
"""
LENGTHS = "prompt = 100 tok; output = 10 tok; "


def compiled(body: str, folder: Path | None = None):
    text = PROGRAM.replace("BODY", body)
    if folder is None:
        return hermesdsl.compile(text).compiled
    (folder / "load.hms").write_text(text)
    return hermesdsl.compile(folder / "load.hms").compiled


def batch(body: str, folder: Path | None = None, duration: float | None = 300.0):
    system = compiled(body, folder)
    return offered(system.workloads["load"], duration=duration, seed=1, classes={}).batch


def names(*families: str) -> set[str]:
    return {name for family, name in COMPUTED if family in families}


def test_the_vocabulary_is_what_can_run():
    assert names("arrivals") == {*PROCESSES, *ELSEWHERE}
    assert names("distribution") == set(DISTRIBUTIONS)
    assert names("popularity") == {*POPULARITIES, "uniform"}


@pytest.mark.parametrize("name", sorted(PROCESSES))
def test_arguments_of_the_schema_are_those_of_the_process(name):
    parameters = {p.name: p for p in COMPUTED["arrivals", name].parameters}
    process = PROCESSES[name]
    assert set(parameters) == set(process.arguments)
    # What the process may go without is absent by default; all else has a value.
    for argument, parameter in parameters.items():
        given = parameter.required or parameter.default is not None
        assert given or argument in process.optional


@pytest.mark.parametrize(
    "arrivals",
    ["poisson(2 req/s)", "gamma(2 req/s, cv = 2)", "weibull(2 req/s)", "constant(2 req/s)",
     "bursty(2 req/s)", "bursty(2 req/s, period = 30 s, swing = 100%, shape = on_off)",
     "diurnal(2 req/s, peak = 3, period = 100 s)", "clients(2 req/s, n = 20)",
     "merge([poisson(1 req/s), bursty(1 req/s)])"],
)  # fmt: skip
def test_every_process_runs_with_its_defaults(arrivals):
    made = batch(f"{LENGTHS} arrivals = {arrivals}")
    # 600 on average; bursts of cv 2 vary by twice a Poisson count.
    assert abs(len(made) - 600) < 5 * 2 * 600**0.5
    assert (made.after == -1).all()


def test_sessions():
    made = batch(
        LENGTHS + "arrivals = poisson(1 session/s); turns = geometric(mean = 3, max = 20)\n"
        "think_time = lognormal(median = 15 s, sigma = 1.0)\n"
        "prefix = reuse(length = 512 tok, over = zipf(8, s = 1.1))"
    )
    assert made.grows
    assert made.turn.max() > 3
    assert np.median(made.delay[made.after >= 0]) == pytest.approx(15.0, rel=0.15)
    assert set(made.prefix_tokens) == {512}
    assert made.prefix.max() < 8


def test_a_session_rate_alone_makes_sessions_of_one_turn():
    made = batch(LENGTHS + "arrivals = poisson(1 session/s)")
    assert (made.session == np.arange(len(made))).all()


def test_users_in_a_closed_loop():
    made = batch(LENGTHS + "arrivals = closed(4, think = exponential(mean = 5 s))")
    assert (made.after[4:] == np.arange(len(made) - 4)).all()
    assert np.isfinite(made.arrival[:4]).all()


def test_a_mixture_of_lengths():
    made = batch(
        "prompt = mixture([(70%, lognormal(median = 300 tok, sigma = 1)), (30%, 20_000 tok)])\n"
        "output = 10 tok; arrivals = poisson(10 req/s)"
    )
    share = (made.prompt == 20_000).mean()
    assert abs(share - 0.3) < 4 * (0.21 / len(made)) ** 0.5


def test_merged_traces_need_no_lengths_and_no_duration(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("arrival_s,prompt,output\n0,5,6\n10,7,8\n")
    body = 'arrivals = merge([trace("a.csv", speed = 2), trace("b.csv")])'
    made = batch(body, tmp_path, None)
    assert made.arrival.tolist() == [0, 0, 5, 10]
    assert compiled(body, tmp_path).experiments["default"].duration is None


def test_a_table_of_clients_with_lengths(tmp_path):
    (tmp_path / "c.csv").write_text("client,window_start_s,rate,cv\nx,0,3,1\ny,0,1,2\n")
    quantiles = ",".join(f"{way}put_tokens_p{p}" for way in ("in", "out") for p in (50, 90, 99))
    (tmp_path / "l.csv").write_text(
        f"client,window_start_s,{quantiles}\nx,0,50,50,50,5,5,5\ny,0,90,90,90,9,9,9\n"
    )
    made = batch('arrivals = client_table("c.csv", 8 req/s, lengths = "l.csv")', tmp_path)
    assert set(zip(made.prompt.tolist(), made.output.tolist(), strict=True)) == {(50, 5), (90, 9)}
    assert abs((made.prompt == 50).mean() - 0.75) < 0.05


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (LENGTHS + "arrivals = diurnal(2 req/s, peak = 0.5)", "HMS306",
         "0.5 is out of range: it must be at least 1"),
        (LENGTHS + "arrivals = bursty(2 req/s, swing = 120%)", "HMS306",
         "120% is out of range: it must be at most 1"),
        (LENGTHS + "arrivals = bursty(2 req/s, shape = square)", "HMS201",
         "unknown name `square`"),
        (LENGTHS + "arrivals = closed()", "HMS305", "`closed` needs `users`"),
        (LENGTHS + "arrivals = closed(3, think = 5 tok)", "HMS301",
         "expected a time, found a number of tokens"),
        (LENGTHS + "arrivals = clients(2 req/s, m = 3)", "HMS305",
         "`clients` has no argument `m`"),
        (LENGTHS + "arrivals = pareto(2 req/s)", "HMS305", "unknown arrivals setting `pareto`"),
        ("arrivals = merge([poisson(1 req/s)])", "HMS601",
         "workload `load` has no `prompt` lengths"),
        ("prompt = mixture([(70%, lognormal(median = 300 s, sigma = 1))]); output = 1 tok\n"
         "arrivals = poisson(1 req/s)", "HMS301", "expected a number of tokens, found a time"),
        (LENGTHS + "arrivals = poisson(1 req/s); prefix = reuse(length = 5 s)", "HMS301",
         "expected a number of tokens, found a time"),
    ],
)  # fmt: skip
def test_refused(body, code, message):
    with pytest.raises(SpecError) as caught:
        compiled(body)
    assert (code, message) in [(d.code, d.message) for d in caught.value.diagnostics]
