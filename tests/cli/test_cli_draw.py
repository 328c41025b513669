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
