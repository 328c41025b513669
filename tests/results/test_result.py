"""The summary contract, and results that are stored and read again."""

import gzip
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tiny_runs import CLASSES, cut, tiny

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Goal, Metric, Requirement
from hermesdsl.results import Result, summarise
from hermesdsl.results.write import refusal, to_json, write

GOALS = [
    Requirement("p50(ttft) <= 2 s", Goal((Metric("p50", "ttft"), 2.0), ("<=",), "s")),
    Requirement("max(ttft) <= 2 s", Goal((Metric("max", "ttft"), 2.0), ("<=",), "s")),
    Requirement(
        "max(ttft, class = free) <= 2 s",
        Goal((Metric("max", "ttft", {"class": "free"}), 2.0), ("<=",), "s"),
    ),
]
PARAMETERS = {"chat.rate": {"value": 4.0, "unit": "req/s", "origin": "default"}}


def result(run=None, **more) -> Result:
    options = {"requirements": GOALS, "spec": "quick.hms", "parameters": PARAMETERS} | more
    return summarise(tiny() if run is None else run, classes=CLASSES, **options)


def test_summary_has_the_keys_of_the_contract():
    data = result(wall_s=0.25).summary()
    assert list(data) == [
        "schema", "spec", "experiment", "seed", "parameters", "wall_s", "simulated_s",
        "makespan_s", "verdict", "horizon", "requests", "tokens", "metrics", "by", "requirements",
        "energy", "cost", "stages", "clients", "devices", "links", "tiers", "attribution",
        "provenance", "files",
    ]  # fmt: skip
    assert (data["schema"], data["wall_s"], data["makespan_s"]) == (1, 0.25, 6.0)
    assert data["requests"] == {
        "offered": 3, "admitted": 2, "completed": 2, "refused": 1, "unfinished": 0,
    }  # fmt: skip
    assert data["tokens"] == {"prompt": 30, "cached": 0, "output": 5, "generated": 5}
    assert list(data["metrics"]["ttft"]) == [
        "mean", "p50", "p90", "p95", "p99", "max", "n", "unit",
    ]  # fmt: skip
    assert data["metrics"]["ttft"]["p50"] == 1.75
    assert data["metrics"]["goodput"] == {"value": pytest.approx(1 / 6), "unit": "req/s"}
    assert list(data["by"]) == ["workload.chat", "class.gold", "class.free"]
    assert data["by"]["class.free"]["ttft"]["p99"] is None
    assert data["requirements"][1] == {
        "text": "max(ttft) <= 2 s", "met": False, "value": 2.5, "bound": 2.0, "unit": "s",
    }  # fmt: skip
    assert [each["met"] for each in data["requirements"]] == [True, False, None]
    assert json.loads(to_json(data))["metrics"] == data["metrics"]


def test_a_missed_goal_is_not_met_and_an_undefined_one_is_not_missed():
    assert not result().met
    assert result(requirements=[GOALS[0], GOALS[2]]).met


def test_a_cut_run_says_that_percentiles_are_censored():
    made = result(cut(), requirements=())
    assert made.summary()["metrics"]["e2e"]["censored"] == 2
    assert made.notes == (
        "refused: 1: needs more KV than the client has",
        "2 measured requests were still running when the run was cut; percentiles are censored: "
        "the true ones are larger",
    )
    assert "censored" not in result().summary()["metrics"]["e2e"]


def test_any_metric_can_be_asked_for():
    assert result().value(Metric("p50", "ttft", {"class": "gold"})) == 1.75
    with pytest.raises(SpecError, match="unknown metric `p42`"):
        result().value(Metric("p42", "ttft"))


def test_request_rows():
    frame = result().requests
    assert list(frame.columns) == [
        "id", "workload", "class", "arrival_s", "prompt_tokens", "cached_tokens", "output_tokens",
        "first_token_s", "finish_s", "ttft_s", "tpot_s", "e2e_s", "status",
        "chat.answer.enter_s", "chat.answer.start_s", "chat.answer.end_s", "chat.answer.client",
    ]  # fmt: skip
    assert frame["status"].tolist() == ["completed", "completed", "refused"]
    assert frame["chat.answer.client"].tolist() == ["llm[0]", "llm[0]", ""]
    assert frame["tpot_s"].isna().tolist() == [False, True, True]


# --- stored ------------------------------------------------------------------------------------


def test_written_and_read_again(tmp_path):
    made = result()
    stored = write(made, tmp_path / "out" / "a")
    again = Result.load(tmp_path / "out" / "a")
    assert again.summary() == stored.summary()
    assert again.requirements[0].met is True
    assert (again.verdict, again.met) == (made.verdict, made.met)
    pd.testing.assert_frame_equal(again.requests, made.requests, check_dtype=False)
    with pytest.raises(SpecError, match="a stored result has only what its summary holds"):
        again.value(Metric("p50", "ttft"))


def test_the_files_are_those_listed_with_their_digests(tmp_path):
    folder = tmp_path / "out"
    listed = write(result(), folder).summary()["files"]
    found = {p.name for p in folder.iterdir()}
    assert found == {
        "summary.json", "requests.csv.gz", "steps.csv.gz", "utilisation.csv.gz", "trace.json",
    }  # fmt: skip
    assert set(listed) == found - {"summary.json"}
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert [p.name for p in tmp_path.iterdir()] == ["out"]  # no temporary folder left


def test_the_same_run_gives_the_same_bytes(tmp_path):
    for name, wall in (("a", 1.0), ("b", 2.0)):
        write(result(wall_s=wall), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        other = (tmp_path / "b" / path.name).read_bytes()
        if path.name == "summary.json":
            one, two = json.loads(path.read_bytes()), json.loads(other)
            assert (one.pop("wall_s"), two.pop("wall_s")) == (1.0, 2.0)
            assert one == two
        else:
            assert path.read_bytes() == other


def test_the_hash_seed_of_the_process_plays_no_part(tmp_path):
    here = Path(__file__).parent
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from test_result import result, write\n"
        "write(result(), sys.argv[1])\n"
    )
    seen = set()
    for seed in ("0", "1", "777"):
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / seed), str(here), str(here.parents[1])],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        )
        seen.add(tuple(p.read_bytes() for p in sorted((tmp_path / seed).iterdir())))
    assert len(seen) == 1


def test_an_earlier_result_is_replaced_with_its_stale_files(tmp_path, monkeypatch):
    with monkeypatch.context() as large:
        large.setattr("hermesdsl.results.write.LARGE", 2)
        large.setattr("hermesdsl.results.write.find_spec", lambda _: None)
        write(result(), tmp_path)
    assert (tmp_path / "requests.npz").exists()
    write(result(spec="other.hms"), tmp_path)
    assert Result.load(tmp_path).summary()["spec"] == "other.hms"
    assert not (tmp_path / "requests.npz").exists()


@pytest.mark.parametrize("force", [False, True])
def test_files_that_no_result_made_are_never_removed(tmp_path, force):
    write(result(), tmp_path)
    theirs = {"steps.npz": b"mine", "requests.parquet": b"also mine", "photo.png": b"\x89PNG"}
    for name, content in theirs.items():
        (tmp_path / name).write_bytes(content)
    write(result(), tmp_path, force=force)
    assert {name: (tmp_path / name).read_bytes() for name in theirs} == theirs
    assert len(Result.load(tmp_path).requests) == 3  # and the foreign parquet is not read


def test_a_tampered_summary_cannot_point_outside(tmp_path):
    outside = tmp_path / "outside.txt"
    outside.write_text("keep")
    folder = tmp_path / "out"
    write(result(), folder)
    data = json.loads((folder / "summary.json").read_text())
    data["files"]["../outside.txt"] = hashlib.sha256(b"keep").hexdigest()
    (folder / "summary.json").write_text(json.dumps(data))
    write(result(), folder)
    assert outside.read_text() == "keep"


def test_large_tables_are_npz_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setattr("hermesdsl.results.write.LARGE", 2)
    monkeypatch.setattr("hermesdsl.results.write.find_spec", lambda _: None)
    made = result()
    listed = write(made, tmp_path).summary()["files"]
    assert {"requests.npz", "steps.npz", "utilisation.csv.gz"} <= set(listed)
    pd.testing.assert_frame_equal(Result.load(tmp_path).requests, made.requests, check_dtype=False)


def test_names_with_commas_and_quotes_survive(tmp_path):
    made = result(tiny(workloads=('a,"b"\nc',)), requirements=())
    write(made, tmp_path)
    assert Result.load(tmp_path).requests["workload"][0] == 'a,"b"\nc'


def test_the_timeline_is_chrome_trace_json(tmp_path):
    write(result(), tmp_path)
    trace = json.loads((tmp_path / "trace.json").read_text())
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"]) for e in slices] == [
        ("prefill", 0.0, 1e6), ("decode", 1e6, 2e6), ("prefill", 3e6, 2e6), ("decode", 5e6, 1e6),
    ]  # fmt: skip
    counters = [e for e in trace["traceEvents"] if e["ph"] == "C"]
    at = min(counters, key=lambda e: abs(e["ts"] - 2.75e6))
    assert at["args"] == {"running": 1, "waiting": 1}


def test_a_long_timeline_is_thinned_and_keeps_its_sums(tmp_path, monkeypatch):
    monkeypatch.setattr("hermesdsl.results.timeline.MAX_SLICES", 2)
    write(result(), tmp_path)
    trace = json.loads((tmp_path / "trace.json").read_text())
    slices = [e["args"] for e in trace["traceEvents"] if e["ph"] == "X"]
    assert len(slices) == 2
    assert sum(each["tokens"] for each in slices) == 10 + 2 + 20 + 1
    assert trace["otherData"]["rows_per_slice"] == 2


# --- refused -----------------------------------------------------------------------------------


def refused(folder, message: str, **options) -> None:
    found = refusal(folder)
    assert found is not None
    with pytest.raises(SpecError) as caught:
        write(result(), folder, **options)
    (raised,) = caught.value.diagnostics
    assert raised == found
    assert (raised.code, raised.message) == ("HMS608", message)


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    refused(tmp_path, f"`{tmp_path}` is not empty and holds no earlier result")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    write(result(), tmp_path, force=True)
    assert (tmp_path / "thesis.tex").read_text() == "do not touch"
    assert Result.load(tmp_path).verdict == "stable"


@pytest.mark.parametrize("summary", ["{}", "not json", '{"schema": 7, "metrics": {}}', "[]"])
def test_a_summary_of_something_else_is_no_marker(tmp_path, summary):
    (tmp_path / "summary.json").write_text(summary)
    refused(tmp_path, f"`{tmp_path}` is not empty and holds no earlier result")


def test_a_file_is_no_folder(tmp_path):
    path = tmp_path / "out"
    path.write_text("x")
    refused(path, f"`{path}` is a file, not a folder")
    refused(path / "below", f"`{path / 'below'}` cannot be made")


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hermesdsl.results.write._write_table", full)
    with pytest.raises(SpecError, match="cannot be written: No space left on device"):
        write(result(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no readable result"),
        ("{", "holds no readable result"),
        ('{"schema": 9}', "holds results of schema 9; this version reads 1"),
        ("[1]", "holds results of schema None; this version reads 1"),
    ],
)
def test_what_is_no_result_is_not_loaded(tmp_path, content, message):
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(SpecError) as caught:
        Result.load(tmp_path)
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == ("HMS607", f"`{tmp_path}` {message}")


def test_damaged_requests_are_a_diagnostic(tmp_path):
    write(result(), tmp_path)
    (tmp_path / "requests.csv.gz").write_bytes(gzip.compress(b"")[:4])
    with pytest.raises(SpecError, match="holds no readable requests"):
        _ = Result.load(tmp_path).requests


def test_json_never_holds_what_json_does_not_know():
    made = result(replace(tiny(), end_s=float("nan")), requirements=())
    assert json.loads(to_json(made.summary()))["simulated_s"] is None
    assert to_json({"a": float("inf"), "b": (1.0,)}) == '{\n "a": null,\n "b": [\n  1.0\n ]\n}\n'


@pytest.mark.parametrize("function", [hermesdsl.run, hermesdsl.sweep, hermesdsl.draw])
def test_what_was_not_compiled_is_named(function):
    with pytest.raises(TypeError, match=r"takes what hermesdsl\.compile returns, not str"):
        function("examples/energy.hms")
