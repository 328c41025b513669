"""Every example is formatted, compiles without warnings, is drawn, and runs to the end."""

from __future__ import annotations

from pathlib import Path

import pytest

import hermesdsl
from hermesdsl.syntax.format import format_file
from hermesdsl.syntax.parse import parse
from hermesdsl.syntax.read import read_source

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").rglob("*.hms"))
TRACE = ROOT / "../shared/data/traces/azure_llm_2023_conv.csv.gz"


def _settings(example: Path) -> dict[str, str]:
    """What an example needs from outside."""
    if example.stem != "azure_replay":
        return {}
    if not TRACE.exists():
        pytest.skip("the recorded Azure trace is not part of the project")
    return {"chat.file": f'"{TRACE.resolve()}"'}


def test_there_are_examples() -> None:
    assert {"quickstart", "azure_replay"} <= {e.stem for e in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_formatted(example: Path) -> None:
    source = read_source(example, example.name)
    assert not hasattr(source, "code"), source
    assert format_file(parse(source).file) == source.text  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize("view", ["hardware", "pipeline", "placement"])
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_drawn(example: Path, view: str, tmp_path: Path) -> None:
    system = hermesdsl.compile(example)
    assert not [d for d in system.diagnostics if d.severity.value == "warning"]
    picture = hermesdsl.draw(system, view).write(tmp_path / "picture.svg", renderer="embedded")
    assert picture.read_text(encoding="utf-8").count("<text") > 1


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda p: p.stem)
def test_runs(example: Path) -> None:
    result = hermesdsl.run(hermesdsl.compile(example, set=_settings(example)))
    counts = result.summary()["requests"]
    assert counts["offered"] > 0
    ended = counts["completed"] + counts["refused"] + counts.get("timed_out", 0)
    assert ended == counts["offered"]
    assert result.verdict == "stable"


def test_the_whole_trace_is_replayed() -> None:
    """Issue figure: all 19,366 requests complete, with the trace's own tokens (DATA.md means)."""
    example = ROOT / "examples/azure_replay.hms"
    summary = hermesdsl.run(hermesdsl.compile(example, set=_settings(example))).summary()
    assert summary["requests"]["completed"] == 19_366
    assert summary["tokens"]["prompt"] == 22_361_870
    assert summary["tokens"]["output"] == summary["tokens"]["generated"] == 4_088_665
