"""``hermes sweep``: the answer, the table, the files and the exit codes.

`SPEC` sweeps one, two and four chips over two seeds; gaps and lengths are constant, so that seeds
differ in nothing, and nobody answers within a millisecond.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

_ALWAYS = ("-q", "--workers", "1")


def _replaced(old: str, new: str) -> None:
    spec = Path("small.hms")
    text = spec.read_text()
    assert old in text
    spec.write_text(text.replace(old, new))


def test_a_table_of_points(hermes: Any) -> None:
    outcome = hermes("sweep", "small.hms", "--workers", "1")
    assert outcome.code == 0
    title, _, heading, units, *rows = outcome.out.splitlines()
    assert title == "small.hms  experiment main: 3 points, 2 seeds each"
    assert heading.split() == ["n", "p99(ttft)", "max(e2e)"]
    assert units.split() == ["point", "s", "ms", "goals"]
    assert [row.split()[:2] for row in rows[:3]] == [["0", "1"], ["1", "2"], ["2", "4"]]
    assert rows[0].endswith("stable  misses [2]")
    assert "[1] p99(ttft) <= 10 s  met at 3 of 3 points" in rows
    assert "[2] max(e2e) <= 1 ms  met at 0 of 3 points  (nobody is that fast)" in rows


def test_the_answer_comes_first(hermes: Any) -> None:
    _replaced("    sweep n", "    minimize = p50(e2e)\n    sweep n")
    _replaced("max(e2e) <= 1 ms", "max(e2e) <= 1 s")
    out = hermes("sweep", "small.hms", *_ALWAYS).out
    assert out.splitlines()[2].startswith("least p50(e2e): n = 1  (p50(e2e) ")


def test_no_point_meets_every_goal(hermes: Any) -> None:
    _replaced("    sweep n", "    minimize = p50(e2e)\n    sweep n")
    assert "no point meets every goal" in hermes("sweep", "small.hms", *_ALWAYS).out


def test_goals_of_points_that_never_ran_are_not_counted(hermes: Any) -> None:
    _replaced("    sweep n", "    strategy = grid(short = 10%); duration = 10 s\n    sweep n")
    _replaced("max(e2e) <= 1 ms", "max(e2e) <= 1 us")
    out = hermes("sweep", "small.hms", *_ALWAYS).out
    assert "[2] max(e2e) <= 1 us  no point was run whole" in out


def test_points_that_are_left_out_have_reasons(hermes: Any) -> None:
    _replaced("\nworkload", '\nassert n < 3, "no room for four"\nworkload')
    outcome = hermes("sweep", "small.hms", "--workers", "1")
    assert outcome.code == 0
    assert "note: 1 point skipped: HMS401: assertion failed: no room for four" in outcome.err
    assert "skipped" not in outcome.out


def test_an_interval_wider_than_the_differences(hermes: Any) -> None:
    """Poisson arrivals differ between two seeds by more than chips do at this load."""
    _replaced("constant(rate)", "poisson(rate)")
    err = hermes("sweep", "small.hms", "--workers", "1").err
    assert "the points that are furthest apart in max(e2e) differ by" in err
    assert "seed by seed over 2 seeds: more seeds would tell" in err
    assert "± is half the 95% interval of a mean over 2 seeds (Student's t)" in err
    assert "95%" not in hermes("sweep", "small.hms", "--workers", "1", "--seed", "1").err


def test_files(hermes: Any) -> None:
    outcome = hermes("sweep", "small.hms", "--workers", "1", "--out", "out")
    assert "wrote: points.jsonl, sweep.csv" in outcome.err
    heading, *rows = Path("out/sweep.csv").read_text().splitlines()
    assert heading.startswith("point,status,reason,n,seeds,verdict,mean(ttft) [s],mean(ttft) [s] ±")
    assert heading.endswith(",p99(ttft) <= 10 s,max(e2e) <= 1 ms")
    assert all(row.endswith(",true,false") for row in rows)
    again = hermes("sweep", "small.hms", "--workers", "1", "--out", "out", "--resume")
    assert "note: 6 runs were there already" in again.err
    assert Path("out/sweep.csv").read_text().splitlines() == [heading, *rows]


def test_json(hermes: Any) -> None:
    data = json.loads(hermes("sweep", "small.hms", *_ALWAYS, "--json", "--limit", "2").out)
    assert (data["experiment"], data["seeds"], data["total"]) == ("main", [1, 2], 2)
    assert [row["n"] for row in data["points"]] == [1, 2]
    assert data["points"][0]["max(e2e) <= 1 ms"] is False
    assert data["best"] is None


def test_what_is_set_is_not_swept(hermes: Any) -> None:
    out = hermes("sweep", "small.hms", *_ALWAYS, "--set", "n=2").out
    assert "1 point, 2 seeds each" in out


def test_one_point_says_how_all_are_run(hermes: Any) -> None:
    err = hermes("run", "small.hms").err
    assert "one point of 3: the sweep of `main` was not run; `hermes sweep` runs all" in err


# --- what goes wrong -----------------------------------------------------------------------


def test_strict_counts_goals(hermes: Any) -> None:
    assert hermes("sweep", "small.hms", *_ALWAYS, "--strict").code == 1
    _replaced("max(e2e) <= 1 ms", "max(e2e) <= 1 s")
    assert hermes("sweep", "small.hms", *_ALWAYS, "--strict").code == 0


def test_no_point_that_compiles(hermes: Any) -> None:
    _replaced("sweep n in [1, 2, 4]", "sweep n in [2, 4]")
    _replaced("\nworkload", '\nassert n == 1, "one chip"\nworkload')
    outcome = hermes("sweep", "small.hms", *_ALWAYS)
    assert outcome.code == 2
    assert "no point" not in outcome.err


def test_no_point_that_runs(hermes: Any) -> None:
    _replaced("sweep n in [1, 2, 4]", "sweep horizon in [cut]")
    outcome = hermes("sweep", "small.hms", "--workers", "1")
    assert outcome.code == 3
    assert "1 point failed: HMS602: `horizon = cut` needs a `duration` to cut at" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--resume",), "HMS607", "`--resume` is about the folder of `--out`"),
        (("--force",), "HMS607", "`--force` is about the folder of `--out`"),
        (("--resume", "--force", "--out", "o"), "HMS607", "`--force` starts again"),
        (("--address", "a:1"), "HMS607", "`--address` is about `--engine ray`"),
        (("--plugin", "x"), "HMS609", "no plug-in `x` is installed"),
        (("--workers", "0"), "HMS607", "0 is not in the range"),
        (("--limit", "0"), "HMS607", "0 is not in the range"),
        (("--experiment", "mian"), "HMS602", "no experiment `mian`"),
        (("--out", "."), "HMS608", "`.` is not empty"),
        (("--out", "small.hms/x"), "HMS608", "`small.hms/x` cannot be made"),
        (("--set", "n=5"), "HMS306", "n"),
    ],
)
def test_arguments_that_are_wrong(
    arguments: tuple[str, ...], code: str, message: str, hermes: Any
) -> None:
    outcome = hermes("sweep", "small.hms", "--workers", "1", *arguments)
    assert outcome.code == 2
    assert f"error[{code}]: " in outcome.err
    assert message in outcome.err
    assert outcome.out == ""
