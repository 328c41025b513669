"""Search by tpe, fronts of several objectives, and points given up after a short run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.explore.estimate import Estimate
from hermesdsl.explore.margin import AFTER_ALL, UNKNOWN, hopeless, violation
from hermesdsl.explore.outcome import Outcome, best, front
from hermesdsl.explore.points import Point
from hermesdsl.graph.types import Experiment, Goal, Metric, Objective, Requirement

Compiled = Callable[..., System]

TTFT = Metric("p99", "ttft", {})
MET = Metric("attainment")


def goal(*operands: Metric | float, op: str = "<=") -> Requirement:
    return Requirement("goal", Goal(tuple(operands), (op,) * (len(operands) - 1)))


# --- how far from a goal -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requirement", "value", "expected"),
    [
        (goal(TTFT, 1.0), 2.0, 0.5),  # (2 - 1) / 2
        (goal(TTFT, 1.0), 0.5, -0.5),  # (0.5 - 1) / 1
        (goal(TTFT, 1.0), 1.0, 0.0),
        (goal(1.0, TTFT), 4.0, -0.75),  # 1 <= 4 is met: (1 - 4) / 4
        (goal(TTFT, 0.9, op=">="), 0.45, 0.5),  # half of what is asked for
        (goal(TTFT, 0.0), 0.0, 0.0),
        (goal(0.5, TTFT, 1.0), 2.0, 0.5),  # the worst of a chain
        (goal(TTFT, 1.0), None, UNKNOWN),
    ],
)
def test_violation(requirement: Requirement, value: float | None, expected: float) -> None:
    assert violation(requirement, lambda _: value) == pytest.approx(expected)


def experiment(*requirements: Requirement, **given: object) -> Experiment:
    return Experiment("e", ("w",), requirements=requirements, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("requirement", "value", "gone"),
    [
        (goal(TTFT, 1.0), 1.51, True),  # more than one and a half times the bound
        (goal(TTFT, 1.0), 1.5, False),
        (goal(1.0, TTFT, op=">="), 1.51, True),  # the same, written the other way round
        (goal(TTFT, 1.0, op=">="), 0.1, False),  # a longer run may be slower
        (goal(TTFT, 1.0), None, False),
    ],
)
def test_a_latency_far_beyond_its_bound_is_hopeless(
    requirement: Requirement, value: float | None, gone: bool
) -> None:
    found = hopeless(experiment(requirement), {"p99(ttft)": value}, None)
    assert (found is not None) == gone


@pytest.mark.parametrize(("value", "gone"), [(0.65, True), (0.67, False), (0.98, False)])
def test_an_attainment_far_below_its_bound_is_hopeless(value: float, gone: bool) -> None:
    """Of 0.99 / 1.5 = 0.66."""
    found = hopeless(experiment(goal(MET, 0.99, op=">=")), {"attainment": value}, None)
    assert (found is not None) == gone


@pytest.mark.parametrize(
    ("up", "value", "gone"), [(False, 1.3, True), (False, 1.2, False), (True, 0.75, True),
                              (True, 0.85, False), (False, 0.0, False)],
)  # fmt: skip
def test_an_objective_far_behind_is_hopeless(up: bool, value: float, gone: bool) -> None:
    """Against 1 of the best so far: 1.3 is beyond 1.25 times, and 1 / 0.75 = 1.33 too."""
    only = experiment(objectives=(Objective("p99(ttft)", up, TTFT),))
    assert (hopeless(only, {"p99(ttft)": value}, 1.0) is not None) == gone
    assert hopeless(only, {"p99(ttft)": value}, None) is None


def test_a_whole_run_says_more_than_a_short_one() -> None:
    only = experiment(goal(TTFT, 1.0), objectives=(Objective("p99(ttft)", False, TTFT),))
    assert hopeless(only, {"p99(ttft)": 1.3}, None) is None
    found = hopeless(only, {"p99(ttft)": 1.3}, None, AFTER_ALL)
    assert found == "misses `goal` more than 1.25 times over"
    found = hopeless(only, {"p99(ttft)": 0.9}, 0.85, AFTER_ALL)
    assert found == "has p99(ttft) more than 1.05 times as bad as another point"
    assert hopeless(only, {"p99(ttft)": 0.9}, 0.86, AFTER_ALL) is None


def test_a_point_without_hope_is_run_with_one_seed(compiled: Compiled) -> None:
    """A tenth of it is quick; later its queue grows, as 40 ms each are more than 30 req/s can be.

    So the run with the first seed misses the goal by far, which is seen before its end, and there
    is none with the second.
    """
    body = """duration = 60 s; seeds = [1, 2]; sweep load.rate in [1 req/s, 28 req/s]
    require max(e2e) <= 2 s; strategy = grid(short = 2%)"""
    set_ = {"load.requests": "1000000"}
    found = hermesdsl.sweep(compiled(body, set=set_), out="kept")
    assert [each.status for each in found.points] == ["done", "pruned"]
    reason = "the run with seed 1 misses `max(e2e) <= 2 s` more than 1.25 times over"
    assert found.points[1].reason == reason
    (only,) = found.points[1].rows
    assert only["status"] == "pruned"
    assert only["stopped_s"] < 60.0
    kept = Path("kept/points.jsonl").read_bytes()
    again = hermesdsl.sweep(compiled(body, set=set_), out="kept", resume=True)
    assert [each.status for each in again.points] == ["done", "pruned"]
    assert Path("kept/points.jsonl").read_bytes() == kept


# --- fronts --------------------------------------------------------------------------------------


def at(index: int, a: float, b: float, *, met: bool = True) -> Outcome:
    metrics = {"p99(ttft)": Estimate(a, None, 1), "attainment": Estimate(b, None, 1)}
    return Outcome(Point(index, {}, {}), (), "done", "", metrics, (met,))


def test_the_front_by_hand() -> None:
    """Small a, large b. (2, 5) is beaten by (1, 5), (3, 4) too; (0, 9) misses its goal."""
    two = experiment(objectives=(Objective("a", False, TTFT), Objective("b", True, MET)))
    found = [at(0, 2, 5), at(1, 1, 5), at(2, 3, 4), at(3, 4, 8), at(4, 0, 9, met=False),
             at(5, 4, 8)]  # fmt: skip
    assert [each.point.index for each in front(two, found)] == [1, 3, 5]
    assert best(two, found) is None


def test_the_front_of_one_objective_is_the_best_and_its_equals() -> None:
    one = experiment(objectives=(Objective("a", False, TTFT),))
    found = [at(0, 2, 5), at(1, 1, 5), at(2, 1, 4)]
    assert [each.point.index for each in front(one, found)] == [1, 2]
    assert front(experiment(), found) == ()


def test_several_objectives_over_a_grid_store_their_front(compiled: Compiled) -> None:
    """More chips cost more and wait less, so both ends are on the front."""
    system = compiled(
        "sweep n; minimize = [cost_per_token, max(e2e)]"
        + "\n    sweep load.rate in [20 req/s]", arrivals="poisson(rate)",
    )  # fmt: skip
    found = hermesdsl.sweep(system, out="kept")
    assert found.best is None
    assert [each.point.texts["n"] for each in found.front] == ["1", "3"]
    assert found.met
    assert "pareto.csv" in found.files
    table = Path("kept/sweep.csv").read_text().splitlines()
    assert Path("kept/pareto.csv").read_text().splitlines() == [table[0], table[1], table[3]]


# --- searches ------------------------------------------------------------------------------------


def test_tpe_finds_what_the_grid_finds(compiled: Compiled) -> None:
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    body = """sweep speed in [1 TB/s, 2 TB/s, 3 TB/s, 4 TB/s, 5 TB/s, 6 TB/s]
    minimize = speed; require p50(e2e) <= 150 ms; strategy = {}"""
    grid = hermesdsl.sweep(compiled(body.format("grid")))
    found = hermesdsl.sweep(compiled(body.format("tpe(trials = 6, batch = 2)")))
    assert grid.best is not None
    assert found.best is not None
    assert found.best.point.texts == grid.best.point.texts
    assert len({each.point.texts["speed"] for each in found.points}) == len(found.points) == 6


def test_tpe_is_the_same_for_any_number_of_workers(compiled: Compiled) -> None:
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    body = """sweep speed in between(1 TB/s, 8 TB/s); sweep n; seeds = [1, 2]
    minimize = cost_per_token; maximize = speed; strategy = tpe(trials = 12, batch = 4)"""
    system = compiled(body, arrivals="poisson(rate)")
    one, two = (hermesdsl.sweep(system, workers=n, out=f"w{n}") for n in (1, 2))
    assert [p.point.texts for p in one.points] == [p.point.texts for p in two.points]
    for name in ("sweep.csv", "pareto.csv"):
        assert Path("w1", name).read_bytes() == Path("w2", name).read_bytes()


def test_a_search_over_few_points_ends_with_them(compiled: Compiled) -> None:
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    found = hermesdsl.sweep(compiled("sweep n; minimize = cost_per_token; strategy = tpe"))
    assert sorted(each.point.texts["n"] for each in found.points) == ["1", "2", "3"]
    assert found.best is not None
    assert found.best.point.texts == {"n": "1"}


def test_hopeless_points_are_pruned_with_their_reason(compiled: Compiled) -> None:
    """A prompt takes 40 ms and more: 200 req/s wait for ever, and a tenth of it shows that.

    Of 10 s at 200 req/s 1 s is run: 200 prompts of 40 ms are 8 s of work.
    """
    body = """duration = 10 s; sweep load.rate in [1 req/s, 200 req/s]
    require max(e2e) <= 1 s; strategy = grid(short = 10%)"""
    system = compiled(body, set={"load.requests": "1000000"})
    found = hermesdsl.sweep(system, out="kept")
    assert [each.status for each in found.points] == ["done", "pruned"]
    assert found.points[1].reason == (
        "a run of 1 s misses `max(e2e) <= 1 s` more than 1.5 times over"
    )
    assert found.points[1].metrics == {}
    whole = compiled(body.replace("(short = 10%)", ""), set={"load.requests": "1000000"})
    plain = hermesdsl.sweep(whole, limit=1)
    assert found.points[0].metrics == plain.points[0].metrics
    rows = [json.loads(line) for line in Path("kept/points.jsonl").read_text().splitlines()]
    assert [row["short"] for row in rows] == [0.1, 0.1]


def test_pruned_points_are_run_again_when_their_goal_is_eased(compiled: Compiled) -> None:
    body = """duration = 10 s; sweep load.rate in [1 req/s, 100 req/s]
    require max(e2e) <= {}; strategy = grid(short = 10%)"""
    set_ = {"load.requests": "1000000"}
    hermesdsl.sweep(compiled(body.format("200 ms"), set=set_), out="kept")
    same = hermesdsl.sweep(compiled(body.format("200 ms"), set=set_), out="kept", resume=True)
    assert same.resumed == 2
    eased = hermesdsl.sweep(compiled(body.format("1 min"), set=set_), out="kept", resume=True)
    assert eased.resumed == 1
    assert [each.status for each in eased.points] == ["done", "done"]


def test_without_optuna_it_says_what_to_install(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hermesdsl.explore.checks.find_spec", lambda name: None)
    with pytest.raises(hermesdsl.SpecError, match="HMS607: `strategy = tpe` of `main` needs") as it:
        hermesdsl.sweep(compiled("sweep n; minimize = cost_per_token; strategy = tpe"))
    assert "pip install 'hermesdsl[search]'" in it.value.diagnostics[0].notes[0]
