"""``hermes run``: what it prints where, what it stores, and when it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def _row(out: str, name: str) -> list[str]:
    return next(line.split() for line in out.splitlines() if line.split()[:1] == [name])


# --- output ------------------------------------------------------------------------------------


def test_json_alone_on_standard_output(hermes: Any) -> None:
    outcome = hermes("run", "small.hms", "--json")
    assert outcome.code == 0
    data = json.loads(outcome.out)
    assert (data["spec"], data["experiment"], data["seed"]) == ("small.hms", "main", 1)
    # Ten requests of 1,000 + 11 tokens, one each second, drained.
    assert data["requests"]["completed"] == 10
    assert data["tokens"]["prompt"] == 10_000
    assert data["tokens"]["output"] == 110
    assert data["parameters"]["n"]["origin"] == "default"


def test_the_table_says_what_the_json_says(hermes: Any) -> None:
    data = json.loads(hermes("run", "small.hms", "--json", "-q").out)
    out = hermes("run", "small.hms", "-q").out
    for name in ("ttft", "tpot", "e2e"):
        entry = data["metrics"][name]
        row = _row(out, name)
        assert row[7:] == ["ms", "10"]
        shown = [float(cell.replace(",", "")) / 1e3 for cell in row[1:7]]
        wanted = [entry[key] for key in ("mean", "p50", "p90", "p95", "p99", "max")]
        # A row's precision shows its mean with three digits.
        assert shown == pytest.approx(wanted, abs=entry["mean"] * 0.005)
    assert "requests  10 offered, 10 completed\n" in out
    assert "tokens    10,000 prompt, 110 output\n" in out
    assert "missed   max(e2e) <= 1 ms " in out
    assert "nobody is that fast" in out
    assert "\nstable  " in out


def test_notes_go_to_standard_error(hermes: Any) -> None:
    outcome = hermes("run", "small.hms")
    assert "note: " not in outcome.out
    # `sweep` has three points, `seeds` two.
    assert "of 3" in outcome.err
    assert "of 2" in outcome.err


def test_quiet_keeps_the_numbers_only(hermes: Any) -> None:
    outcome = hermes("run", "small.hms", "-q")
    assert outcome.err == ""
    assert "first visible token" not in outcome.out


def test_printed_metrics_are_defined(hermes: Any) -> None:
    out = hermes("run", "small.hms").out
    assert "ttft                first visible token - arrival\n" in out
    assert "output_throughput   " in out
    # Nothing has bounds to meet, so these two would say nothing.
    assert "goodput" not in out
    assert "attainment" not in out


def test_a_pipe_gets_plain_text(hermes: Any) -> None:
    out = hermes("run", "small.hms").out
    assert out.isascii()
    assert "\x1b" not in out
    assert not any(line != line.rstrip() for line in out.splitlines())


def test_a_load_above_capacity_is_announced(hermes: Any) -> None:
    outcome = hermes("run", "small.hms", "--set", "load.rate=10000 req/s")
    assert outcome.code == 0
    assert "warning[HMS605]" in outcome.err


def test_a_default_experiment_is_announced(hermes: Any, tmp_path: Path) -> None:
    text = (tmp_path / "small.hms").read_text().partition("experiment")[0]
    (tmp_path / "own.hms").write_text(text)
    assert "note[HMS606]" in hermes("run", "own.hms").err


# --- arguments ---------------------------------------------------------------------------------


def test_the_seed_is_that_of_the_command_line(hermes: Any) -> None:
    assert json.loads(hermes("run", "small.hms", "--seed", "2", "--json").out)["seed"] == 2


def test_the_last_setting_wins(hermes: Any) -> None:
    arguments = ["--set", "load.requests=3", "--set", "load.requests=5", "--json"]
    data = json.loads(hermes("run", "small.hms", *arguments).out)
    assert data["requests"]["offered"] == 5


def test_strict_fails_for_a_missed_requirement_only(hermes: Any) -> None:
    assert hermes("run", "small.hms").code == 0
    assert hermes("run", "small.hms", "--strict").code == 1
    assert hermes("run", "small.hms", "--strict", "--json").code == 1


def test_strict_is_content_when_all_is_met(hermes: Any, tmp_path: Path) -> None:
    text = (tmp_path / "small.hms").read_text().replace("1 ms,", "100 s,")
    (tmp_path / "own.hms").write_text(text)
    assert hermes("run", "own.hms", "--strict").code == 0


def test_results_are_stored_and_named(hermes: Any, tmp_path: Path) -> None:
    outcome = hermes("run", "small.hms", "--out", "results", "--json")
    assert outcome.code == 0
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert f"wrote: {', '.join(names)} in results\n" in outcome.err
    stored = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert stored == json.loads(outcome.out)
    assert hermes("run", "small.hms", "--out", "results").code == 0  # its own folder


def test_force_adds_to_a_folder_of_others(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert hermes("run", "small.hms", "--out", "mine", "--force").code == 0
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


# --- must fail ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "error[HMS607]: invalid value for `--seed`: -1"),
        (["--seed", "x"], "error[HMS607]: invalid value for `--seed`: `x`"),
        (["--experiment", "mian"], "error[HMS602]: no experiment `mian`\n = help: did you mean"),
        (["--explain", "p12"], "error[HMS607]: invalid value for `--explain`"),
        (["--explain", "mean"], "`mean` is not one of `p50`, `p90`, `p99`, `max`"),
        (["--plugin", "mine"], "error[HMS609]: no plug-in `mine` is installed"),
        (["--force"], "error[HMS607]: `--force` is about the folder of `--out`"),
        (["--out", "small.hms"], "error[HMS608]: `small.hms` is a file, not a folder"),
        (["--out", "."], "error[HMS608]: `.` is not empty and holds no earlier result"),
        (["--path", "nowhere"], "error[HMS607]: `--path nowhere` is not a folder"),
        (["--set", "n"], "error[HMS607]: `--set n` is not a path, `=` and a value"),
        (["--set", "n=3"], "error[HMS306]"),
        (["--set", "load.requets=3"], "help: did you mean `requests`?"),
        (["--set", "llm[*].model=Lama"], "error[HMS201]: unknown name `Lama`"),
    ],
)
def test_nothing_is_run_or_written(
    hermes: Any, files: Any, arguments: list[str], message: str
) -> None:
    outcome = hermes("run", "small.hms", "--json", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert files() == ["small.hms"]


def test_all_wrong_arguments_are_named(hermes: Any) -> None:
    err = hermes("run", "small.hms", "--out", ".", "--plugin", "x").err
    assert err.count("error[") == 2
    assert err.endswith("2 errors\n")


def test_a_name_with_braces_is_a_file_name(hermes: Any) -> None:
    outcome = hermes("run", "{}.hms")
    assert (outcome.code, outcome.out) == (2, "")
    assert "{}.hms does not exist" in outcome.err


def test_parts_alone_cannot_be_run(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "parts.hms").write_text("chip A { power = 3 W }\n")
    outcome = hermes("run", "parts.hms", "--out", "results")
    assert (outcome.code, outcome.out) == (2, "")
    assert "error[HMS602]: parts.hms has no workload to run" in outcome.err
    assert not (tmp_path / "results").exists()


def test_a_trace_that_is_not_there(hermes: Any, tmp_path: Path) -> None:
    text = (tmp_path / "small.hms").read_text().replace("constant(rate)", 'trace("no.csv")')
    (tmp_path / "own.hms").write_text(text)
    outcome = hermes("run", "own.hms", "--out", "results")
    assert (outcome.code, outcome.out) == (2, "")
    assert "no.csv" in outcome.err
    assert not (tmp_path / "results").exists()
