"""``hermes fmt``."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

UGLY = b"chip  A{power=3 W   # why\r\n}\n\n\n"
NEAT = b"chip A {\n    power = 3 W   # why\n}\n"


@pytest.fixture
def ugly(tmp_path: Path) -> Path:
    path = tmp_path / "ugly.hms"
    path.write_bytes(UGLY)
    return path


def _neat(path: Path) -> bool:
    """Formatted, whatever the columns between code and comment."""
    return path.read_bytes().split() == NEAT.split() and b"\r" not in path.read_bytes()


def test_in_place_with_its_permissions(hermes: Any, ugly: Path, files: Any) -> None:
    ugly.chmod(0o640)
    assert hermes("fmt", "ugly.hms", "small.hms") == (0, "", "formatted: ugly.hms\n")
    assert _neat(ugly)
    assert ugly.stat().st_mode & 0o777 == 0o640
    assert files() == ["small.hms", "ugly.hms"]


def test_a_second_time_changes_nothing(hermes: Any, ugly: Path) -> None:
    hermes("fmt", "ugly.hms")
    before = ugly.stat().st_mtime_ns
    assert hermes("fmt", "ugly.hms") == (0, "", "")
    assert ugly.stat().st_mtime_ns == before


def test_a_link_stays_a_link(hermes: Any, ugly: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.hms"
    link.symlink_to("ugly.hms")
    assert hermes("fmt", "link.hms").code == 0
    assert link.is_symlink()
    assert _neat(ugly)


def test_check_lists_and_leaves(hermes: Any, ugly: Path) -> None:
    assert hermes("fmt", "--check", "small.hms", "ugly.hms") == (1, "ugly.hms\n", "")
    assert ugly.read_bytes() == UGLY


def test_check_of_what_is_neat(hermes: Any) -> None:
    assert hermes("fmt", "--check", "small.hms") == (0, "", "")


def _stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input_to_standard_output(hermes: Any, monkeypatch: Any) -> None:
    _stdin(monkeypatch, UGLY)
    outcome = hermes("fmt", "-")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.encode().split() == NEAT.split()


def test_check_of_standard_input(hermes: Any, monkeypatch: Any) -> None:
    _stdin(monkeypatch, UGLY)
    assert hermes("fmt", "-", "--check") == (1, "<stdin>\n", "")


# --- must fail ---------------------------------------------------------------------------------


def test_one_bad_file_stops_them_all(hermes: Any, ugly: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.hms").write_text("chip {\n")
    (tmp_path / "worse.hms").write_bytes(b"chip \0 A")
    outcome = hermes("fmt", "ugly.hms", "bad.hms", "worse.hms", "nothing.hms")
    assert (outcome.code, outcome.out) == (2, "")
    assert "bad.hms:1" in outcome.err
    assert "worse.hms is not text: it holds a NUL byte (line 1)" in outcome.err
    assert "nothing.hms does not exist" in outcome.err
    assert ugly.read_bytes() == UGLY


def test_bad_standard_input_prints_nothing(hermes: Any, monkeypatch: Any) -> None:
    _stdin(monkeypatch, b"chip {\n")
    outcome = hermes("fmt", "-")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--> <stdin>:1" in outcome.err


def test_a_file_that_cannot_be_written_stays(
    hermes: Any, ugly: Path, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    outcome = hermes("fmt", "ugly.hms")
    assert outcome.code == 2
    assert "cannot write `ugly.hms`: No space left on device" in outcome.err
    assert ugly.read_bytes() == UGLY
    assert files() == ["small.hms", "ugly.hms"]
