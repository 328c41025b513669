"""``hermes draw``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

PICTURES = {".svg": b"<?xml", ".dot": b"digraph", ".json": b"{", ".graphml": b"<graphml",
            ".png": b"\x89PNG"}  # fmt: skip


def test_named_after_specification_and_view(hermes: Any, files: Any) -> None:
    assert hermes("draw", "small.hms") == (0, "", "wrote: small-hardware.svg\n")
    assert files() == ["small-hardware.svg", "small.hms"]


@pytest.mark.parametrize("view", ["hardware", "pipeline", "placement", "chat"])
def test_every_view(hermes: Any, tmp_path: Path, view: str) -> None:
    assert hermes("draw", "small.hms", "--view", view, "-o", "picture.dot", "-q") == (0, "", "")
    assert (tmp_path / "picture.dot").read_text().startswith("digraph")


@pytest.mark.parametrize("ending", PICTURES)
def test_the_ending_says_which_format(hermes: Any, tmp_path: Path, ending: str) -> None:
    assert hermes("draw", "small.hms", "--output", f"picture{ending}").code == 0
    assert (tmp_path / f"picture{ending}").read_bytes().startswith(PICTURES[ending])


def test_settings_show(hermes: Any, tmp_path: Path) -> None:
    hermes("draw", "small.hms", "-o", "p.json", "--set", "n=4")
    data = json.loads((tmp_path / "p.json").read_text())
    assert "4" in json.dumps(data["nodes"])


def test_the_embedded_renderer(hermes: Any, tmp_path: Path) -> None:
    assert hermes("draw", "small.hms", "--renderer", "embedded").code == 0
    assert b"<svg" in (tmp_path / "small-hardware.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "picture"], "`picture` has no ending\n = help: its ending says in which format"),
        (["-o", "p.jpg"], "`.jpg` is no format of pictures"),
        (["-o", "p.sgv"], "help: did you mean `svg`?"),
        (["-o", "nowhere/p.svg"], "there is no folder `nowhere`"),
        (["-o", "."], "`.` has no ending"),
        (["--view", "hardwar"], "unknown view `hardwar`\n = help: did you mean `hardware`?"),
        (["--view", "chta"], "help: did you mean `chat`?"),
        (["--renderer", "paint"], "`paint` is not one of `auto`, `system`, `embedded`"),
        (["--results", "out"], "error[HMS607]: `out` holds no readable result"),
        (["-o", "p.pdf", "--renderer", "embedded"], "pdf needs Graphviz"),
        (["--set", "m=2"], "unknown name `m`"),
    ],
)
def test_must_fail(hermes: Any, files: Any, arguments: list[str], message: str) -> None:
    outcome = hermes("draw", "small.hms", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert message in outcome.err
    assert files() == ["small.hms"]


def test_a_view_of_nothing(hermes: Any, tmp_path: Path, files: Any) -> None:
    (tmp_path / "none.hms").write_text("param n = 2\n")
    outcome = hermes("draw", "none.hms")
    assert (outcome.code, outcome.out) == (2, "")
    assert "nothing to draw" in outcome.err
    assert files() == ["none.hms", "small.hms"]


# --- colours -----------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["hardware", "placement", "chat"])
def test_results_colour_and_label(hermes: Any, tmp_path: Path, view: str) -> None:
    hermes("run", "small.hms", "--out", "out", "-q")
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    share = stored["clients"]["llm[0]"]["utilisation"]
    hermes("draw", "small.hms", "--view", view, "-o", "plain.json")
    outcome = hermes("draw", "small.hms", "--view", view, "--results", "out", "-o", "hot.json")
    assert outcome == (0, "", "wrote: hot.json\n")
    plain, hot = ((tmp_path / f"{name}.json").read_text() for name in ("plain", "hot"))
    word = "in use" if view == "hardware" else "busy"
    assert f"{share:.1%} {word}" in hot
    assert f" {word}" not in plain


def test_a_device_that_was_not_used_is_idle(hermes: Any, tmp_path: Path) -> None:
    text = (tmp_path / "small.hms").read_text()
    (tmp_path / "small.hms").write_text(
        text.replace("on gpu[*]", "on gpu[0]").replace("llm[n]", "llm")
    )
    assert hermes("run", "small.hms", "--out", "out", "-q", "--set", "n=2").code == 0
    hermes("draw", "small.hms", "--results", "out", "-o", "p.json", "--set", "n=2")
    assert "idle" in (tmp_path / "p.json").read_text()


def test_results_of_another_system_are_refused(hermes: Any, tmp_path: Path, files: Any) -> None:
    hermes("run", "small.hms", "--out", "out", "-q")
    text = (tmp_path / "small.hms").read_text()
    (tmp_path / "other.hms").write_text(
        text.replace("llm[n]:", "engine[n]:").replace("llm = llm", "llm = engine")
    )
    outcome = hermes("draw", "other.hms", "--results", "out")
    assert outcome.code == 2
    assert "error[HMS607]: `out` holds results of another system: no `llm[0]` here" in outcome.err
    assert "help: it was made from `small.hms`" in outcome.err
    assert files() == ["other.hms", "out", "small.hms"]


@pytest.mark.parametrize(
    ("summary", "message"),
    [
        ('{"schema": 0}', "`old` holds results of schema 0"),
        ('{"schema": 1, "metrics": {}}', "`old` does not say how busy anything was"),
        ("[", "`old` holds no readable result"),
    ],
)
def test_what_is_no_result_is_refused(
    hermes: Any, tmp_path: Path, summary: str, message: str
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "summary.json").write_text(summary)
    outcome = hermes("draw", "small.hms", "--results", "old")
    assert outcome.code == 2
    assert f"error[HMS607]: {message}" in outcome.err
