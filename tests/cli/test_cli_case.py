"""``--case``: a named variant of a file, in every verb that compiles one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def with_a_case(hermes: Any) -> None:
    spec = Path("small.hms")
    spec.write_text(spec.read_text() + "case fast { load.rate = 2 req/s; chat.transfer = full }\n")


def test_a_case_is_run(hermes: Any) -> None:
    plain, fast = (json.loads(hermes("run", "small.hms", "--json", "-q", *more).out)
                   for more in ((), ("--case", "fast")))  # fmt: skip
    # Ten requests, one or two a second: the last comes after 9 or 4.5 s.
    assert plain["makespan_s"] - fast["makespan_s"] == pytest.approx(4.5, abs=1e-6)


def test_a_case_is_explained_checked_and_drawn(hermes: Any) -> None:
    assert "case" in hermes("explain", "small.hms", "load.rate", "--case", "fast").out
    assert hermes("check", "small.hms", "--case", "fast").code == 0
    assert hermes("draw", "small.hms", "--case", "fast", "-o", "x.dot").code == 0


@pytest.mark.parametrize("verb", [("run",), ("check",), ("draw",), ("explain", "llm[0]")])
def test_a_case_that_is_not_there(hermes: Any, verb: tuple[str, ...]) -> None:
    name, *more = verb
    outcome = hermes(name, "small.hms", *more, "--case", "fats")
    assert outcome.code == 2
    assert "no case `fats`" in outcome.err
    assert "did you mean `fast`?" in outcome.err
