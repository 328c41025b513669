"""Tables with a row per run: columns found, given, refused, and none left unmentioned."""

from pathlib import Path

import numpy as np
import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.measure.runs import Settable, given_role, of_runs, read_runs

SETTABLE = Settable(
    {"load.rate": "req/s", "n": "", "wait_s": ""}, ("crowd",),
    lambda path: "" if path == "llm.max_batch" else None,
)  # fmt: skip


@pytest.fixture
def table(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(text: str, name: str = "runs.csv") -> str:
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def test_values_are_si_and_settings_are_source_text(table) -> None:  # type: ignore[no-untyped-def]
    file = table("load.rate [req/s],llm.max_batch,mean_ttft_ms,p99(tpot) [us],output_throughput\n"
                 "4,8,100,20000,300\n2.5,16,,25000,200\n")  # fmt: skip
    runs = read_runs(file, {}, SETTABLE)
    assert runs.lines == (2, 3)
    assert runs.settings == (
        {"load.rate": "4 req/s", "llm.max_batch": "8"},
        {"load.rate": "2.5 req/s", "llm.max_batch": "16"},
    )
    assert runs.figures["mean(ttft)"][0] == pytest.approx(0.1)
    assert np.isnan(runs.figures["mean(ttft)"][1])
    assert runs.figures["p99(tpot)"].tolist() == pytest.approx([0.02, 0.025])
    assert runs.figures["output_throughput"].tolist() == [300.0, 200.0]


def test_every_column_is_either_used_or_not(table) -> None:  # type: ignore[no-untyped-def]
    file = table("run,rate,mean_ttft_ms,ttft_ms,throughput,std_ttft_ms\na,4,1,1,1,1\n")
    runs = read_runs(file, {}, SETTABLE)
    assert runs.used == {"mean_ttft_ms": "mean(ttft)"}
    assert runs.unused == {
        "run": "", "rate": "to set `load.rate`, call it so",
        "ttft_ms": "mean, p50, p90, p95, p99 or max of ttft?",
        "throughput": "in tok/s or req/s?", "std_ttft_ms": "",
    }  # fmt: skip


def test_flags_go_before_names(table) -> None:  # type: ignore[no-untyped-def]
    file = table("rate,slow,mean_ttft_ms,what\n4,2,100,crowd\n")
    given = dict(map(given_role, ["load.rate=rate:req/s", "mean(ttft)=slow:s", "case=what"]))
    runs = read_runs(file, given, SETTABLE)
    assert runs.settings == ({"load.rate": "4 req/s"},)
    assert runs.cases == ("crowd",)
    assert runs.figures["mean(ttft)"].tolist() == [2.0]


def test_a_param_called_as_a_figure_is(table) -> None:  # type: ignore[no-untyped-def]
    file = table("n,mean_ttft_ms\n4,1\n")
    assert read_runs(file, {"n": "n"}, SETTABLE).settings == ({"n": "4"},)
    assert read_runs(file, {"completed": "n"}, SETTABLE).figures["n"].tolist() == [4.0]


def test_cells_may_bring_their_unit_or_be_words(table) -> None:  # type: ignore[no-untyped-def]
    file = table("load.rate,case,mean_ttft_ms\n4 req/s,crowd,1\n1/s,crowd,1\n")
    runs = read_runs(file, {}, SETTABLE)
    assert [each["load.rate"] for each in runs.settings] == ["4 req/s", "1/s"]


def test_json_lines(table) -> None:  # type: ignore[no-untyped-def]
    text = '{"load.rate [req/s]": 4, "mean_ttft_ms": 10.5}\n{"load.rate [req/s]": 5}\n'
    runs = read_runs(table(text, "runs.jsonl"), {}, SETTABLE)
    assert runs.settings[1] == {"load.rate": "5 req/s"}
    assert np.isnan(runs.figures["mean(ttft)"][1])


def test_which_sort_of_table(table) -> None:  # type: ignore[no-untyped-def]
    assert not of_runs(table("arrival_s,prompt,output,ttft_ms\n0,1,1,1\n"), {})
    assert of_runs(table("mean_ttft_ms\n1\n"), {})
    assert of_runs(table("timestamp,mean_ttft_ms\n1,1\n"), {})
    assert of_runs(table("odd\n1\n"), {"p99(ttft)": "odd:ms"})
    # A row per request whose latencies are named by a flag, or not at all: said where it is read.
    assert not of_runs(table("arrival_s,prompt,output,odd\n0,1,1,1\n"), {"ttft": "odd:ms"})
    assert not of_runs(table("arrival_s,prompt,output\n0,1,1\n"), {})


@pytest.mark.parametrize("header", ["a,b\n", "ttft_ms,tpot_ms\n", "load.rate [req/s]\n"])
def test_neither_requests_nor_statistics(table, header: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SpecError, match="has neither requests") as caught:
        of_runs(table(header), {})
    notes = " ".join(caught.value.diagnostics[0].notes)
    assert "mean_ttft_ms" in notes
    assert ("which" in notes or "mean, p50" in notes) == ("ttft_ms,tpot" in header)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mean_ttft\n1\n", "in which unit is column `mean_ttft`"),
        ("mean_ttft_%\n1\n", "column `mean_ttft_%` is in `%`, and `mean(ttft)` is in s"),
        ("mean_ttft [tok/s]\n1\n", "is in `tok/s`, and `mean(ttft)` is in s"),
        ("mean_ttft_ms\n", "has a header but no rows"),
        ("mean_ttft_ms\nnan\n", "line 2, column `mean_ttft_ms`: `nan` is not a finite number"),
        ("mean_ttft_ms\n-1\n", "line 2, column `mean_ttft_ms`: `-1` is negative"),
        ("mean_ttft_ms\n12%\n", "`12%` is a percentage, not a time"),
        ("mean_ttft_ms\nfast\n", "`fast` is not a number"),
        ("mean_ttft_ms,ttft_mean_s\n1,1\n", "are both `mean(ttft)`"),
        ("load.rate,mean_ttft_ms\n4,1\n", "line 2: in which unit is column `load.rate`"),
        ("load.rte [req/s],mean_ttft_ms\n4,1\n", "`load.rte [req/s]` is no param"),
        ("load.rate [req/s],mean_ttft_ms\n,1\n", "is empty, and so sets nothing"),
        ("n,mean_ttft_ms\n4,1\n", "column `n` may be `n` or what the specification calls `n`"),
        ("load.rate [req/s],load.rate [tok/s],mean_ttft_ms\n1,1,1\n", "both set `load.rate`"),
        ("load.rate [req/s]\n1\n", "no column has a statistic"),
    ],
)
def test_wrong_tables(table, text: str, problem: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SpecError, match="HMS603") as caught:
        read_runs(table(text), {}, SETTABLE)
    said = str(caught.value)
    assert problem.replace("column `n` may", "`n` may") in said or problem in said


@pytest.mark.parametrize(
    ("given", "problem", "note"),
    [
        ({"p99(ttft)": "slwo:ms"}, "no column `slwo`", "did you mean `slow`"),
        ({"ttft": "slow:ms"}, "is of tables with a row per request", "mean(ttft)=slow"),
        ({"prompt": "slow"}, "is of tables with a row per request", "mean(ttft)"),
        ({"load.rat": "slow"}, "neither a statistic nor a value", "did you mean `load.rate`"),
        ({"p99(ttft)": "slow"}, "in which unit is column `slow`", "p99(ttft)=slow:ms"),
        ({"p99(ttft)": "slow:%"}, "is in `%`", "p99(ttft)=slow:ms"),
    ],
)
def test_wrong_flags(table, given, problem: str, note: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SpecError, match="HMS603") as caught:
        read_runs(table("slow,mean_tpot_ms\n1,1\n"), given, SETTABLE)
    assert problem in str(caught.value)
    assert note in " ".join(caught.value.diagnostics[0].notes)


@pytest.mark.parametrize("text", ["ttft", "=x", "ttft="])
def test_a_flag_that_is_none(text: str) -> None:
    with pytest.raises(SpecError, match="is not a role, `=` and a column"):
        given_role(text)
