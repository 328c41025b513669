from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Hermes = Callable[..., "tuple[int, str, str]"]

TABLE = "arrival_s,prompt,output,ttft_ms,tpot_ms,latency_ms\n" + "".join(
    f"{second},1000,11,60,10,160\n" for second in range(10)
)


@pytest.fixture
def measured(tmp_path: Path) -> str:
    (tmp_path / "measured.csv").write_text(TABLE)
    return "measured.csv"


def test_a_table_of_figures(hermes: Hermes, measured: str) -> None:
    code, out, _ = hermes("validate", "small.hms", measured)
    assert code == 0
    assert "against measured.csv, 10 requests" in out
    for word in ("MAPE paired", "MAPE sorted", "makespan s", "tok/s", "in service, most", "decode"):
        assert word in out


def test_as_json(hermes: Hermes, measured: str) -> None:
    code, out, _ = hermes("validate", "small.hms", measured, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["latencies"]["ttft"]["mean"]["measured"] == pytest.approx(0.06)
    assert found["parts"]["decode"]["measured"] == pytest.approx(0.1)


def test_files_of_a_folder(hermes: Hermes, measured: str, tmp_path: Path) -> None:
    code, _, err = hermes("validate", "small.hms", measured, "--out", "found")
    assert code == 0
    names = sorted(path.name for path in (tmp_path / "found").iterdir())
    assert names == ["latency.svg", "pairs.csv", "tpot.svg", "ttft.svg", "validation.json"]
    assert "wrote: latency.svg" in err


def test_a_folder_that_is_not_its_own(hermes: Hermes, measured: str, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "mine.txt").write_text("mine")
    code, _, err = hermes("validate", "small.hms", measured, "--out", "found")
    assert code == 2
    assert "HMS608" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nothing.csv",), "HMS603"),
        (("measured.csv", "--column", "ttft"), "HMS607"),
        (("measured.csv", "--column", "ttft=first:ms"), "HMS603"),
        (("measured.csv", "--workload", "laod"), "HMS602"),
    ],
)
def test_what_cannot_be_compared(
    hermes: Hermes, measured: str, arguments: tuple[str, ...], code: str
) -> None:
    status, out, err = hermes("validate", "small.hms", *arguments)
    assert (status, out) == (2, "")
    assert code in err
    assert "Traceback" not in err


#: Runs of `small.hms` at two rates, as somebody else's benchmark writes them.
RUNS = (
    "load.rate [req/s],mean_ttft_ms,p99_ttft_ms,mean_tpot_ms,request_throughput,gpu\n"
    "1,60,70,12,1,A\n2,60,70,12,2,B\n"
)


@pytest.fixture
def runs(tmp_path: Path) -> str:
    (tmp_path / "runs.csv").write_text(RUNS)
    return "runs.csv"


def test_a_table_of_runs(hermes: Hermes, runs: str) -> None:
    code, out, err = hermes("validate", "small.hms", runs)
    assert code == 0
    assert "against runs.csv, 2 runs" in out
    for word in ("mean(ttft)", "MAPE", "worst", "rank", "Errors run by run", "2 req/s", "device"):
        assert word in out
    assert "columns used: `load.rate [req/s]`, `mean_ttft_ms` as mean(ttft)" in err
    assert "columns not used: `gpu`" in err


def test_one_run_alone(hermes: Hermes, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("mean_tpot_ms,mean_ttft_s\n10,1\n")
    code, out, _ = hermes("validate", "small.hms", "one.csv")
    assert code == 0
    assert "1 run\n" in out
    assert "MAPE" not in out
    assert "Errors run by run" not in out


def test_runs_as_json_and_in_a_folder(hermes: Hermes, runs: str, tmp_path: Path) -> None:
    code, out, _ = hermes("validate", "small.hms", runs, "--json", "--out", "found")
    found = json.loads(out)
    assert code == 0
    assert found["metrics"]["mean(ttft)"]["n"] == 2
    assert found["columns"]["unused"] == {"gpu": ""}
    names = sorted(path.name for path in (tmp_path / "found").iterdir())
    assert names == ["request_throughput.svg", "runs.csv", "tpot.svg", "ttft.svg",
                     "validation.json"]  # fmt: skip


def test_a_unit_that_is_off_by_a_thousand(hermes: Hermes, tmp_path: Path) -> None:
    hermes("validate", "small.hms", "--help")
    (tmp_path / "one.csv").write_text("mean_tpot_s\n10\n")
    code, _, err = hermes("validate", "small.hms", "one.csv")
    assert code == 0
    assert "mean(tpot) is about 1000 times off in every run" in err


@pytest.mark.parametrize(
    ("text", "arguments", "code", "words"),
    [
        ("a,b\n1,2\n", (), "HMS603", "has neither requests"),
        ("mean_ttft\n1\n", (), "HMS603", "in which unit"),
        ("mean_ttft_ms\n", (), "HMS603", "no rows"),
        ("mean_ttft_ms,load.rte\n1,1\n", (), "HMS603", "did you mean `load.rate`?"),
        ("mean_ttft_ms,n\n1,3\n", (), "HMS603", "`--column 'completed=n'` or `--column n=n`"),
        (RUNS, ("--workload", "load"), "HMS607", "`--workload` is for a row per request"),
        (RUNS, ("--column", "p99(ttft)=gpu:ms"), "HMS603", "`A` is not a number"),
        (RUNS, ("--column", "ttft=p99_ttft_ms"), "HMS603", "of tables with a row per request"),
        (RUNS, ("--experiment", "mian"), "HMS602", "no experiment `mian`"),
        ("load.rate [req/s],mean_ttft_ms\n-1,1\n", (), "HMS", "line 2 of `table.csv`"),
    ],
)
def test_runs_that_cannot_be_compared(
    hermes: Hermes, tmp_path: Path, text: str, arguments: tuple[str, ...], code: str, words: str
) -> None:
    (tmp_path / "table.csv").write_text(text)
    status, out, err = hermes("validate", "small.hms", "table.csv", *arguments)
    assert (status, out) == (2, "")
    assert code in err
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "table",
    ["arrival_s,prompt,output,ttft_ms\n0,10,2,\n", "note,mean_ttft_ms\na,\n"],
)
def test_nothing_to_compare_prints_no_table(hermes: Hermes, tmp_path: Path, table: str) -> None:
    (tmp_path / "hole.csv").write_text(table)
    code, out, err = hermes("validate", "small.hms", "hole.csv")
    assert code == 0
    assert "measured  predicted" not in out
    assert "has both a measured and a predicted" in err
