"""``hermes check``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

BAD = "chip A { pwer = 3 W }\nchip B { power = 3 GB/s }\n"


def test_what_is_fine_is_counted(hermes: Any) -> None:
    # A chip and its memory, one wire between them.
    assert hermes("check", "small.hms") == (
        0,
        "small.hms: fine: 2 parts, 1 wire, 1 client, 1 pipeline, 1 workload, 1 experiment\n",
        "",
    )


def test_settings_count(hermes: Any) -> None:
    assert "4 parts, 2 wires, 2 clients" in hermes("check", "small.hms", "--set", "n=2").out


def test_definitions_alone_are_fine(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "parts.hms").write_text("chip A { power = 3 W }\n")
    assert hermes("check", "parts.hms") == (0, "parts.hms: fine: definitions only\n", "")


def test_quiet_says_nothing_of_what_is_fine(hermes: Any) -> None:
    assert hermes("check", "small.hms", "--quiet") == (0, "", "")


def test_a_load_above_capacity_is_a_warning(hermes: Any) -> None:
    outcome = hermes("check", "small.hms", "--set", "load.rate=10000 req/s")
    assert outcome.code == 0
    assert outcome.err.startswith("warning[HMS605]: `llm` is offered 1e+04 req/s; at most ")
    assert "small.hms: fine" in outcome.out


def test_errors_of_every_file_are_reported(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.hms").write_text(BAD)
    outcome = hermes("check", "bad.hms", "small.hms", "nothing.hms")
    assert outcome.code == 2
    assert outcome.out.startswith("small.hms: fine: ")
    assert "error[HMS206]" in outcome.err
    assert "error[HMS301]" in outcome.err
    assert "error[HMS104]: nothing.hms does not exist" in outcome.err


def test_json_is_all_of_standard_output(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.hms").write_text(BAD)
    outcome = hermes("check", "bad.hms", "small.hms", "--format", "json")
    assert (outcome.code, outcome.err) == (2, "")
    found = json.loads(outcome.out)
    assert [(item["code"], item["file"], item["line"]) for item in found] == [
        ("HMS206", "bad.hms", 1), ("HMS301", "bad.hms", 2),
    ]  # fmt: skip


def test_json_of_nothing_wrong_is_an_empty_list(hermes: Any) -> None:
    assert hermes("check", "small.hms", "--format", "json") == (0, "[]\n", "")


def test_github_annotations(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.hms").write_text(BAD)
    outcome = hermes("check", "bad.hms", "--format", "github")
    assert outcome.code == 2
    assert [line.partition("::")[2][:20] for line in outcome.out.splitlines()] == [
        "error file=bad.hms,l", "error file=bad.hms,l",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "xml"], "`xml` is not one of `text`, `json`, `github`"),
        (["--path", "nowhere"], "`--path nowhere` is not a folder"),
        (["--set", "n"], "`--set n` is not a path, `=` and a value"),
        (["--set", "=2"], "`--set =2` is not a path, `=` and a value"),
        (["--set", "n="], "`--set n=` is not a path, `=` and a value"),
        (["--set", "n=1\nm=2"], "`--set n=1 m=2` is not a path, `=` and a value"),
        (["--set", "m=2"], "unknown name `m`"),
        (["--set", "n=3"], "is not in its domain"),
        (["--set", "n=1 GB"], "error[HMS301]"),
    ],
)
def test_must_fail(hermes: Any, arguments: list[str], message: str) -> None:
    outcome = hermes("check", "small.hms", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err


def test_a_folder_is_no_specification(hermes: Any) -> None:
    assert "is a folder, not a specification" in hermes("check", ".").err
