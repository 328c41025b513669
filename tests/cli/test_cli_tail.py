"""``hermes run --explain``: where the time went, as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

STAGES = """\
slow: Delay { latency = 2 s }

pipeline Assistant {
    think: Generate on llm
    fetch: Tool on slow { appends = 100 tok }
    answer: Generate on llm
    input -> think -> fetch -> answer -> output
}
help: Assistant {}
"""


@pytest.fixture
def assistant(tmp_path: Path, hermes: Any) -> Any:
    text = (tmp_path / "small.hms").read_text()
    head, load, rest = text.partition("workload load")
    (tmp_path / "help.hms").write_text(head + STAGES + load + rest.replace("chat", "help", 1))
    return hermes


def test_where_the_time_went(hermes: Any) -> None:
    out = hermes("run", "small.hms", "-q", "--explain", "p99").out
    block = out.partition("where the time went  ")[2]
    # Ten requests alike, one after the other: all take the same time but for its rounding.
    assert "of 10 requests took" in block
    assert "(the p99 of e2e) or longer" in block
    rows = [line.split() for line in block.splitlines()]
    stages = [row[:2] for row in rows if row and row[0].startswith("chat.")]
    assert stages[:2] == [["chat.answer", "compute"], ["chat.read", "compute"]]
    assert "e2e" in block
    assert "the slowest  request " in block
    assert "llm[0]" in block


def test_every_stage_and_client_has_a_row(assistant: Any) -> None:
    outcome = assistant("run", "help.hms", "-q", "--explain", "max")
    assert outcome.code == 0, outcome.err
    out = outcome.out
    assert "stage " in out
    assert "KV moved" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.split()}
    assert rows["slow"][1] == "-"  # nobody can say how busy an outside service is
    assert "help.fetch" in rows
    assert "(the longest) or longer" in out
    lines = out.partition("the slowest")[2].splitlines()
    fetch = next(line for line in lines if "help.fetch" in line)
    assert fetch.split()[-3:] == ["2.00", "s", "outside"]


def test_json_holds_the_same_level(hermes: Any) -> None:
    outcome = hermes("run", "small.hms", "--json", "-q", "--explain", "p90")
    found = json.loads(outcome.out)["attribution"]
    assert list(found) == ["unit", "mean", "p99", "p90"]
    for level in ("mean", "p99", "p90"):
        parts = [part for kinds in found[level]["stages"].values() for part in kinds.values()]
        assert sum(parts) == pytest.approx(found[level]["e2e"], rel=1e-9)
        shares = [part for kinds in found[level]["shares"].values() for part in kinds.values()]
        assert sum(shares) == pytest.approx(1.0, rel=1e-9)


def test_without_it_nothing_is_explained(hermes: Any) -> None:
    assert "where the time went" not in hermes("run", "small.hms").out


def test_nothing_completed_leaves_nothing_to_explain(hermes: Any) -> None:
    arguments = ["--set", "main.duration=1 ms", "--set", "main.warmup=1 ms", "-q"]
    out = hermes("run", "small.hms", *arguments, "--explain", "p50").out
    assert "No measured request completed, so there is no time to explain." in out


@pytest.mark.parametrize("level", ["p95", "p100", "worst"])
def test_must_fail(hermes: Any, level: str) -> None:
    outcome = hermes("run", "small.hms", "--explain", level)
    assert (outcome.code, outcome.out) == (2, "")
    assert "error[HMS607]: invalid value for `--explain`" in outcome.err
