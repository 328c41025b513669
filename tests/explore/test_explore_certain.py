"""What rules a point out for certain: bars over seeds, floors of objectives, and rows that stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.explore.certain import bars, behind, floors
from hermesdsl.explore.outcome import Outcome, rivals
from hermesdsl.explore.points import Point
from hermesdsl.graph.types import Experiment, Goal, Metric, Objective, Requirement

Compiled = Callable[..., System]

TTFT = Metric("p99", "ttft")
MET = Metric("attainment")
COST = Metric("cost_per_token")


def experiment(*goals: Goal, **given: object) -> Experiment:
    wanted = tuple(Requirement("goal", goal) for goal in goals)
    return Experiment("e", ("w",), requirements=wanted, **given)  # type: ignore[arg-type]


def at_most(metric: Metric, limit: float) -> Experiment:
    return experiment(Goal((metric, limit), ("<=",)))


# --- bars ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "after", "limit"),
    [
        ([], 0, 1.0),  # one seed: the goal itself
        ([], 1, 1.25),  # of two the first may have 2 at most; the rule of thumb is stricter
        ([0.6], 0, 1.4),  # 2 x 1 - 0.6
        ([1.2], 0, 0.8),
        ([0.6, 1.1], 1, 1.25),  # 4 x 1 - 1.7 = 2.3
        ([1.2, 1.2, 1.2], 1, 1.25),  # 5 x 1 - 3.6 = 1.4
        ([1.24, 1.24, 1.24], 1, 1.25),  # 5 x 1 - 3.72 = 1.28
        ([1.25, 1.25, 1.25, 1.25], 1, 1.0),  # 6 x 1 - 5
        ([None, 0.6], 0, 1.4),  # a seed without a value is in no mean
    ],
)
def test_what_is_left_to_a_latency(known: list[float | None], after: int, limit: float) -> None:
    (bar,) = bars(at_most(TTFT, 1.0), {"p99(ttft)": known}, after)
    assert bar.limit == pytest.approx(limit, rel=1e-8)
    assert bar.limit >= limit
    certain = "leaves no way to meet `goal`"
    assert (bar.text == certain) == (limit != 1.25)


@pytest.mark.parametrize(
    ("known", "after", "limit"),
    [
        ([], 0, 0.9),
        ([], 1, 0.8),  # 2 x 0.9 - 1; 0.9 / 1.25 = 0.72 is less strict
        ([0.95], 0, 0.85),  # 2 x 0.9 - 0.95
        ([0.7], 0, 1.1),  # no share is so large: nothing is left
    ],
)  # fmt: skip
def test_what_is_left_to_an_attainment(known: list[float], after: int, limit: float) -> None:
    (bar,) = bars(experiment(Goal((0.9, MET), ("<=",))), {"attainment": known}, after)
    assert bar.limit == pytest.approx(limit, rel=1e-8)
    assert bar.limit <= limit


@pytest.mark.parametrize(
    "goal",
    [
        Goal((TTFT, 1.0), (">=",)),  # more may come
        Goal((MET, 0.5), ("<=",)),
        Goal((0.5, TTFT, 1.0), ("<=", "<=")),
        Goal((Metric("p99", "itl"), 1.0), ("<=",)),
        Goal((Metric("p99", "ttft", {"case": "a"}), 1.0), ("<=",)),
        Goal((TTFT, Metric("p99", "e2e")), ("<=",)),
        Goal((TTFT, 1.0), ("==",)),
    ],
)
def test_goals_without_a_bar(goal: Goal) -> None:
    assert bars(experiment(goal), {}, 0) == ()


# --- floors --------------------------------------------------------------------------------------


def test_floors_of_objectives() -> None:
    wanted = (Objective("n", False), Objective("cost_per_token", False, COST),
              Objective("p99(ttft)", False, TTFT), Objective("word", False))  # fmt: skip
    point = Point(0, {}, {"n": 3.0, "word": "a"})
    found = floors(experiment(objectives=wanted), point, lambda: 7.0)
    assert found == (3.0, 7.0, None, None)
    dear = (Objective("cost_per_token", True, COST),)
    assert floors(experiment(objectives=dear), point, lambda: 7.0) == (None,)


@pytest.mark.parametrize(
    ("up", "floor", "others", "apart"),
    [
        ((False,), (1.25,), [(1.0,)], 0.2),  # (1.25 - 1) / 1.25
        ((True,), (1.0,), [(1.25,)], 0.2),
        ((False,), (1.0,), [(1.0,)], None),  # as good
        ((False,), (0.9,), [(1.0,)], None),
        ((False,), (2.0,), [], None),
        ((False,), (None,), [(1.0,)], None),
        ((False, True), (2.0, 1.0), [(1.0, 1.0)], 0.5),
        ((False, True), (2.0, 1.1), [(1.0, 1.0)], None),  # better in one
        ((False, True), (2.0, None), [(1.0, 9.0)], None),
        ((False, True), (2.0, 1.0), [(3.0, 4.0), (1.0, 1.0)], 0.5),
    ],
)  # fmt: skip
def test_behind(
    up: tuple[bool, ...], floor: tuple[float | None, ...], others: list[tuple[float, ...]],
    apart: float | None,
) -> None:  # fmt: skip
    wanted = tuple(Objective(str(n), each) for n, each in enumerate(up))
    found = behind(experiment(objectives=wanted), floor, others)
    assert found == (None if apart is None else pytest.approx(apart))


def test_rivals_are_the_front_as_it_is_written() -> None:
    wanted = (Objective("a", False), Objective("b", True))
    values = [(1.0, 5.0), (2.0, 9.0), (2.0, 8.0), (1.0, 5.0)]
    some = [Outcome(Point(n, {}, {"a": a, "b": b}), (), "done")
            for n, (a, b) in enumerate(values)]  # fmt: skip
    assert rivals(experiment(objectives=wanted), some) == ((1.0, 5.0), (2.0, 9.0))


# --- in a search ---------------------------------------------------------------------------------

#: Two seeds of 20 s; each chip more costs as much again, and one serves all there is.
SEARCH = """duration = 20 s; seeds = [1, 2]; sweep n; sweep speed in [1 TB/s, 2 TB/s, 3 TB/s]
    minimize = cost_per_token; require p99(ttft) <= {}; strategy = {}"""
MANY = {"load.requests": "1000000"}


def search(compiled: Compiled, goal: str = "1 s", batch: int = 2, **given: object) -> object:
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    body = SEARCH.format(goal, f"tpe(trials = 9, batch = {batch})")
    return hermesdsl.sweep(compiled(body, arrivals="poisson(rate)", set=MANY), **given)


def test_points_behind_are_not_run_and_the_answer_is_that_of_the_grid(compiled: Compiled) -> None:
    grid = hermesdsl.sweep(
        compiled(SEARCH.format("1 s", "grid"), arrivals="poisson(rate)", set=MANY)
    )
    found = search(compiled, out="kept")
    assert found.best.point.texts["n"] == grid.best.point.texts["n"] == "1"
    assert found.best.metrics["cost_per_token"] == grid.best.metrics["cost_per_token"]
    left = [each for each in found.points if "behind" in (each.rows[0] if each.rows else {})]
    assert left
    for each in left:
        assert each.point.texts["n"] == "3"
        assert each.reason == "it cannot be as good as another point, whatever its run says"
        (only,) = each.rows
        (same,) = [other for other in grid.points if other.point.texts == each.point.texts]
        assert only["floor"][0] <= same.metrics["cost_per_token"].mean
    again = search(compiled, out="kept", resume=True)
    assert [each.reason for each in again.points] == [each.reason for each in found.points]
    assert again.resumed == sum(len(each.rows) for each in again.points)


def test_a_point_behind_is_run_when_what_beat_it_is_gone(compiled: Compiled) -> None:
    """With a goal that nobody meets there is no rival, and every point has to be looked at."""
    first = search(compiled, out="kept")
    assert any("behind" in row for each in first.points for row in each.rows)
    again = search(compiled, "1 us", out="kept", resume=True)
    assert not any("behind" in row for each in again.points for row in each.rows)
    assert again.best is None


def test_bars_that_moved_let_runs_be_made_again(compiled: Compiled) -> None:
    """At 30 req/s of some 40 ms each the queue grows all the time: no goal of 2 s holds."""
    body = """duration = 60 s; seeds = [1, 2]; sweep load.rate in [1 req/s, 28 req/s]
    require max(e2e) <= {}; strategy = grid(short = 2%)"""
    first = hermesdsl.sweep(compiled(body.format("2 s"), set=MANY), out="kept")
    assert [each.status for each in first.points] == ["done", "pruned"]
    stopped = first.points[1].rows[0]["stopped_s"]
    eased = hermesdsl.sweep(compiled(body.format("4 s"), set=MANY), out="kept", resume=True)
    assert eased.resumed == 2
    assert eased.points[1].rows[0]["stopped_s"] > stopped
    met = hermesdsl.sweep(compiled(body.format("10 min"), set=MANY), out="kept", resume=True)
    assert [each.status for each in met.points] == ["done", "done"]
    lines = Path("kept/points.jsonl").read_text().splitlines()
    assert all(json.loads(line)["key"] for line in lines)


def test_a_grid_learns_round_by_round(compiled: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """In rounds of three the fast chips at one, two and three come first, in one round nobody."""
    body = """duration = 20 s; sweep speed in [1 TB/s, 3 TB/s]; sweep n
    minimize = n; require p99(e2e) <= 1 min; strategy = grid(short = 10%)"""
    whole = hermesdsl.sweep(compiled(body, set=MANY))
    assert [each.status for each in whole.points] == ["done", "skipped", "done"] * 2
    monkeypatch.setattr("hermesdsl.explore.search.ROUND", 3)
    found = hermesdsl.sweep(compiled(body, set=MANY))
    assert [each.status for each in found.points] == [
        "done", "skipped", "done", "done", "skipped", "pruned",
    ]  # fmt: skip
    assert found.best is not None
    assert whole.best is not None
    assert found.best.point.index == whole.best.point.index == 0


def test_points_that_a_goal_compares_do_not_compete(
    compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hermesdsl.explore.search.ROUND", 1)
    body = """duration = 20 s; sweep n in [1, 3]; sweep case in [plain, fast]; minimize = n
    require p99(e2e, case = fast) <= p99(e2e, case = plain); strategy = grid(short = 10%)"""
    found = hermesdsl.sweep(compiled(body, set=MANY))
    assert [each.status for each in found.points] == ["done"] * 4


def test_bisect_looks_for_the_edge_of_every_combination(compiled: Compiled) -> None:
    """The edge of slow chips lies below that of fast ones, which does not rule it out."""
    body = """duration = 20 s; sweep load.rate in between(1 req/s, 64 req/s)
    sweep speed in [4 TB/s, 2 TB/s]; maximize = load.rate; require p99(e2e) <= 1 s
    strategy = bisect(tolerance = 20%, short = 10%)"""
    found = hermesdsl.sweep(compiled(body, set=MANY))
    for speed in ("4 TB/s", "2 TB/s"):
        mine = [each for each in found.points if each.point.texts["speed"] == speed]
        assert any(each.met for each in mine)
        assert not any("behind" in row for each in mine for row in each.rows)


def test_without_short_every_point_is_run_whole(compiled: Compiled) -> None:
    body = """duration = 30 s; seeds = [1, 2]; sweep load.rate in [1 req/s, 28 req/s]
    minimize = load.rate; require max(e2e) <= 1 ms"""
    found = hermesdsl.sweep(compiled(body, set=MANY))
    assert [len(each.rows) for each in found.points] == [2, 2]
    assert {each.status for each in found.points} == {"done"}
    assert found.best is None
