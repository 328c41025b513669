"""``hermes run`` of a run that keeps no rows prints its table and says what it cannot say."""

from __future__ import annotations

from typing import Any

import pytest

SUMMARY = ("run", "small.hms", "--set", "main.records=summary")


def test_rows_that_were_not_kept_are_said(hermes: Any) -> None:
    done = hermes(*SUMMARY)
    assert done.code == 0
    assert "rows of 10 requests were not kept" in done.err
    assert "within 0.1%" in done.err


@pytest.mark.parametrize("level", ["p99", "max"])
def test_explaining_is_said_to_be_impossible(hermes: Any, level: str) -> None:
    done = hermes(*SUMMARY, "--explain", level)
    assert done.code == 0
    assert "requests  10 offered, 10 completed" in done.out
    assert f"cannot say: where the slowest from {level} on spent their time" in done.err
    assert "where the time went" not in done.out


def test_files_of_rows_are_not_written(hermes: Any, files: Any) -> None:
    done = hermes(*SUMMARY, "--out", "found")
    assert done.code == 0
    assert "summary.json" in done.err
    assert "requests" not in done.err.rpartition("wrote")[2]
    assert "found" in files()


def test_no_such_choice(hermes: Any) -> None:
    done = hermes("run", "small.hms", "-q", "--set", "main.records=none")
    assert done.code == 2
    assert "HMS201" in done.err or "HMS3" in done.err
