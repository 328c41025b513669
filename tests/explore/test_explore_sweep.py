"""Sweeps run: the same whatever runs them, stored as they go, resumed, and broken off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

import hermesdsl
from hermesdsl import SpecError
from hermesdsl.api import System
from hermesdsl.explore import explore, job_of
from hermesdsl.explore.executors import Here, Processes
from hermesdsl.explore.job import Job, Row, Task

Compiled = Callable[..., System]
ROOT = Path(__file__).parents[2]
GRID = "sweep n; sweep load.rate in [1 req/s, 4 req/s]; seeds = [1, 2]"


def lines(folder: str) -> list[Row]:
    return [json.loads(line) for line in Path(folder, "points.jsonl").read_text().splitlines()]


def test_every_point_and_seed_is_run(compiled: Compiled) -> None:
    found = hermesdsl.sweep(compiled(GRID))
    assert [each.status for each in found.points] == ["done"] * 2 + ["skipped"] * 2 + ["done"] * 2
    assert [row["seed"] for row in found.points[0].rows] == [1, 2]
    assert list(found.table["n"]) == [1, 1, 2, 2, 3, 3]
    assert list(found.table["load.rate [req/s]"]) == [1, 4] * 3


def test_a_point_is_what_running_it_alone_gives(compiled: Compiled) -> None:
    system = compiled("sweep load.rate in [1 req/s, 4 req/s]", arrivals="poisson(rate)")
    found = hermesdsl.sweep(system)
    alone = hermesdsl.run(compiled("", arrivals="poisson(rate)", set={"load.rate": "4 req/s"}))
    metrics = alone.summary()["metrics"]
    assert found.points[1].metrics["p99(ttft)"].mean == metrics["ttft"]["p99"]
    assert (
        found.points[1].metrics["output_throughput"].mean == metrics["output_throughput"]["value"]
    )


def test_seeds_are_common_to_all_points(compiled: Compiled) -> None:
    """Constant gaps and lengths: only `speed` differs, and twice the bandwidth is never slower."""
    found = hermesdsl.sweep(compiled("sweep speed in [2 TB/s, 4 TB/s]; seeds = [1, 2, 3]",
                                     arrivals="poisson(rate)"))  # fmt: skip
    slow, fast = ([row["metrics"]["mean(e2e)"] for row in each.rows] for each in found.points)
    assert all(b < a for a, b in zip(slow, fast, strict=True))


def test_skipped_points_say_why(compiled: Compiled) -> None:
    found = hermesdsl.sweep(compiled("sweep n in [1, 2]"))
    assert found.points[1].reason == "HMS401: assertion failed: two is no number of chips"
    assert found.points[1].verdicts == ()


def test_failed_runs_are_recorded_and_the_others_go_on(compiled: Compiled) -> None:
    """A run that is cut needs a duration, which is found out when it is to start."""
    found = hermesdsl.sweep(compiled("sweep horizon in [cut, drain]"))
    assert [each.status for each in found.points] == ["failed", "done"]
    assert found.points[0].reason == "HMS602: `horizon = cut` needs a `duration` to cut at"
    assert found.met  # nothing that ran missed a goal


def test_a_case_is_a_point(compiled: Compiled) -> None:
    body = "sweep case in [plain, fast]; require p50(e2e, case = fast) < p50(e2e, case = plain)"
    found = hermesdsl.sweep(compiled(body))
    assert [each.verdicts for each in found.points] == [(True,), (True,)]
    backwards = (
        "sweep case in [plain, fast]; require p50(e2e, case = plain) < p50(e2e, case = fast)"
    )
    assert not hermesdsl.sweep(compiled(backwards)).met


def test_cases_are_compared_where_all_else_is_equal(compiled: Compiled) -> None:
    """More load queues longer: a fast chip under high load beside a plain one under the same."""
    body = """sweep case in [plain, fast]; sweep load.rate in [1 req/s, 50 req/s]
    require max(e2e, case = fast) < max(e2e, case = plain)"""
    found = hermesdsl.sweep(compiled(body))
    loaded = {(p.point.case, p.point.texts["load.rate"]): p.metrics["max(e2e)"].mean
              for p in found.points}  # fmt: skip
    assert loaded["fast", "50 req/s"] > loaded["plain", "1 req/s"]
    assert all(each.verdicts == (True,) for each in found.points)


def test_a_case_whose_point_is_missing_cannot_be_told(compiled: Compiled) -> None:
    body = "sweep case in [plain, fast]; require p50(e2e, case = fast) < p50(e2e, case = plain)"
    found = hermesdsl.sweep(compiled(body), limit=1)
    assert found.points[0].verdicts == (None,)
    assert not found.points[0].met


# --- the best ------------------------------------------------------------------------------


def test_the_cheapest_point_that_meets_the_goals(compiled: Compiled) -> None:
    """One request a second either way, so three chips cost three times as much as one."""
    found = hermesdsl.sweep(compiled("sweep n; minimize = cost_per_token"))
    assert found.best is not None
    assert found.best.point.texts == {"n": "1"}
    costs = [each.metrics["cost_per_token"].mean for each in found.points if each.metrics]
    assert costs[1] / costs[0] == pytest.approx(3.0)


def test_the_largest_swept_value_that_meets_the_goals(compiled: Compiled) -> None:
    """A prompt takes 1000 tok x 16 GFLOP / 400 TFLOPS = 40 ms and more: 100 req/s must queue."""
    body = """sweep load.rate in [1 req/s, 100 req/s, 2 req/s]; maximize = load.rate
    require max(queue) <= 20 ms"""
    found = hermesdsl.sweep(compiled(body))
    assert [each.met for each in found.points] == [True, False, True]
    assert found.best is not None
    assert found.best.point.values == {"load.rate": 2.0}


def test_no_point_meets_the_goals(compiled: Compiled) -> None:
    found = hermesdsl.sweep(compiled("sweep n; minimize = mean(e2e); require max(e2e) <= 1 us"))
    assert found.best is None
    assert not found.met


# --- executors -----------------------------------------------------------------------------


def test_the_table_is_the_same_whatever_runs_it(compiled: Compiled) -> None:
    system = compiled(GRID, arrivals="poisson(rate)")
    for workers, folder in ((1, "one"), (2, "two")):
        hermesdsl.sweep(system, workers=workers, out=folder)
    assert Path("one/sweep.csv").read_bytes() == Path("two/sweep.csv").read_bytes()
    one, two = (
        sorted(({k: v for k, v in row.items() if k != "wall_s"} for row in lines(folder)),
               key=lambda row: (row["point"], row["seed"]))
        for folder in ("one", "two")
    )  # fmt: skip
    assert one == two


def test_a_text_is_compiled_by_workers_too(compiled: Compiled) -> None:
    compiled("sweep n in [1, 3]")
    system = hermesdsl.compile(Path("small.hms").read_text())
    assert [e.status for e in hermesdsl.sweep(system, workers=2).points] == ["done", "done"]


def test_a_worker_that_dies_is_replaced_and_its_task_fails_at_last(compiled: Compiled) -> None:
    """A job whose folders cannot be sent back: the process ends on what it is given."""
    system = compiled("sweep n in [1, 3]")
    job = job_of(system)
    tasks = [Task(point, 1, str(point.index)) for point in _points(system)]
    broken = [Task(_Deadly(), 1, "x"), *tasks]  # type: ignore[arg-type]
    with closing(Processes(1)) as crew:
        rows = {row["key"]: row for row in crew.rows(job, broken)}
    assert rows["x"]["status"] == "failed"
    assert rows["x"]["reason"] == "its process ended twice without an answer"
    assert [rows[task.key]["status"] for task in tasks] == ["done", "done"]


class _Deadly:
    """Stands for a point; whoever receives it ends at once."""

    index = 9
    texts: dict[str, str] = {}  # noqa: RUF012

    def __reduce__(self) -> object:
        return os._exit, (1,)


def _points(system: System) -> list[object]:
    from hermesdsl.explore.points import points

    return list(points(system.experiment().axes))


# --- stored, resumed, broken off -----------------------------------------------------------


class _Counting:
    """Runs tasks here and remembers which; stops as Ctrl-C would before task number `stop`."""

    def __init__(self, stop: int | None = None) -> None:
        self.seen: list[tuple[int, int]] = []
        self.stop = stop

    def rows(self, job: Job, tasks: Iterable[Task]) -> Iterator[Row]:
        for row in Here().rows(job, tasks):
            if len(self.seen) == self.stop:
                raise KeyboardInterrupt
            self.seen.append((row["point"], row["seed"]))
            yield row

    def close(self) -> None:
        pass


def test_resume_runs_what_is_missing_after_a_torn_line(compiled: Compiled) -> None:
    system = compiled("sweep n in [1, 3]; seeds = [1, 2]")
    hermesdsl.sweep(system, out="whole")
    hermesdsl.sweep(system, out="torn")
    stored = Path("torn/points.jsonl")
    stored.write_bytes(stored.read_bytes()[:-20])
    counting = _Counting()
    found = explore(system, job_of(system), executor=counting, folder=Path("torn"), resume=True)
    assert counting.seen == [(1, 2)]
    assert found.resumed == 3
    assert Path("torn/sweep.csv").read_bytes() == Path("whole/sweep.csv").read_bytes()
    assert len(lines("torn")) == 4


def test_resume_goes_by_content(compiled: Compiled) -> None:
    """Another length is another run; a wider limit, seeds and goals only add to what is there."""
    hermesdsl.sweep(compiled("sweep n in [1, 3]"), out="kept", limit=1)
    counting = _Counting()
    system = compiled("sweep n in [1, 3]")
    explore(system, job_of(system), executor=counting, folder=Path("kept"), resume=True)
    assert counting.seen == [(1, 1)]
    for body, missing in (
        ("sweep n in [1, 3]; require max(e2e) <= 1 s", []),
        ("sweep n in [3, 1]; seeds = [1]; maximize = n", []),
        ("seeds = [1, 2]\n    sweep n in [1, 3]", [(0, 2), (1, 2)]),
        ("sweep n in [1, 3]; horizon = drain; duration = 1 min", [(0, 1), (1, 1)]),
    ):
        assert _rerun(compiled(body)) == missing, body


def test_what_is_set_is_as_good_as_the_same_swept(compiled: Compiled) -> None:
    hermesdsl.sweep(compiled("sweep n in [1, 3]"), out="kept")
    assert _rerun(compiled("sweep n in [1, 3]", set={"n": "3"})) == []
    assert _rerun(compiled("sweep n in [1, 3]", set={"main.seeds": "[1, 2]"})) == [(0, 2), (1, 2)]
    assert _rerun(compiled("sweep n in [1, 3]", set={"speed": "1 TB/s"})) == [(0, 1), (1, 1)]


def _rerun(system: System) -> list[tuple[int, int]]:
    """Runs that a resumed sweep still has to make."""
    counting = _Counting()
    explore(system, job_of(system), executor=counting, folder=Path("kept"), resume=True)
    return counting.seen


def test_a_failed_run_is_tried_again(compiled: Compiled) -> None:
    system = compiled("sweep n in [1, 3]")
    hermesdsl.sweep(system, out="kept")
    stored = Path("kept/points.jsonl")
    first, second = stored.read_text().splitlines(keepends=True)
    stored.write_text(first.replace('"done"', '"failed"') + second)
    counting = _Counting()
    explore(system, job_of(system), executor=counting, folder=Path("kept"), resume=True)
    assert counting.seen == [(0, 1)]


def test_an_interrupted_sweep_leaves_its_table(compiled: Compiled) -> None:
    system = compiled(GRID)
    found = explore(system, job_of(system), executor=_Counting(3), folder=Path("cut"))
    assert found.interrupted
    assert [(each.point.index, len(each.rows)) for each in found.points] == [(0, 2), (1, 1)]
    assert len(Path("cut/sweep.csv").read_text().splitlines()) == 1 + 2
    explore(system, job_of(system), folder=Path("cut"), resume=True)
    hermesdsl.sweep(system, out="whole")
    assert Path("cut/sweep.csv").read_bytes() == Path("whole/sweep.csv").read_bytes()


def test_an_interrupted_search_says_how_many_points_it_might_have_tried(
    compiled: Compiled,
) -> None:
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    body = """sweep n; sweep load.rate in [1 req/s, 2 req/s, 3 req/s]; minimize = cost_per_token
    strategy = tpe(trials = 7, batch = 2)"""
    system = compiled(body)
    found = explore(system, job_of(system), executor=_Counting(1))
    assert found.interrupted
    assert (len(found.points), found.total) == (1, 7)


def test_differences_are_taken_seed_by_seed(compiled: Compiled) -> None:
    """Seeds differ by much, and chips by as much with each: the interval of the difference is
    smaller than that of either."""
    system = compiled("sweep n in [1, 3]; seeds = [1, 2, 3]", arrivals="poisson(rate)")
    found = hermesdsl.sweep(system)
    apart = found.difference("cost_per_token", 0, 1)
    one, three = (each.metrics["cost_per_token"] for each in found.points)
    first, last = ([row["metrics"]["cost_per_token"] for row in each.rows]
                   for each in found.points)  # fmt: skip
    by_seed = [b - a for a, b in zip(first, last, strict=True)]
    assert apart is not None
    assert (apart.mean, apart.n) == (pytest.approx(sum(by_seed) / 3), 3)
    assert apart.mean == pytest.approx(three.mean - one.mean)
    assert apart.half is not None
    assert apart.half < three.half + one.half  # type: ignore[operator]
    assert found.difference("p99(nothing)", 0, 1) is None
    with pytest.raises(ValueError, match="no point 9 was run"):
        found.difference("cost_per_token", 0, 9)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_control_c_leaves_a_usable_table(workers: str, compiled: Compiled) -> None:
    compiled("sweep load.requests in range(1, 4000)")
    process = subprocess.Popen(
        [sys.executable, "-m", "hermesdsl", "sweep", "small.hms", "--workers", workers,
         "--out", "cut", "--set", "n=1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A shell that starts the tests in the background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    stored = Path("cut/points.jsonl")
    while process.poll() is None and not (stored.exists() and stored.read_text().count("\n") > 2):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "interrupted: " in err
    assert "Traceback" not in err
    assert len(Path("cut/sweep.csv").read_text().splitlines()) == 1 + len(lines("cut"))
    assert "3,999 points" in out


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ({"points.jsonl": ""}, {}, "holds an earlier sweep"),
        ({"other.txt": "mine"}, {}, "is not empty"),
        ({"other.txt": "mine"}, {"resume": True}, "holds no sweep to resume"),
        ({"points.jsonl": "{}\n"}, {"resume": True}, "is no finished run"),
        ({"points.jsonl": "nonsense\n"}, {"resume": True}, "is no finished run"),
    ],
)
def test_folders_that_are_refused(
    content: dict[str, str], arguments: dict[str, bool], message: str, compiled: Compiled
) -> None:
    system = compiled("sweep n in [1, 3]")
    Path("there").mkdir()
    for name, text in content.items():
        Path("there", name).write_text(text)
    with pytest.raises(SpecError) as caught:
        hermesdsl.sweep(system, out="there", **arguments)  # type: ignore[arg-type]
    (problem,) = caught.value.diagnostics
    assert problem.code == "HMS608"
    assert message in problem.message
    assert {p.name: p.read_text() for p in Path("there").iterdir()} == content
