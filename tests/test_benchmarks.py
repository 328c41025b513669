"""The benchmarks' own machinery on made-up figures; nothing is timed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import history
from benchmarks.cases import CASES


def _figure(ratio: float) -> dict[str, Any]:
    return {"seconds": ratio / 20, "ratio": ratio, "repeats": 5, "requests": 1000,
            "peak_bytes": 1e8}  # fmt: skip


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A history in which w2 took 25 and then 20 times the yardstick, and w5 100 times."""
    path = tmp_path / "history.json"
    history.append(history.entry({"w2": _figure(25.0), "w5": _figure(100.0)}, tmp_path), path)
    history.append(history.entry({"w2": _figure(20.0)}, tmp_path), path)
    monkeypatch.setattr(command, "load", lambda: history.load(path))
    monkeypatch.setattr(command, "append", lambda new: history.append(new, path))
    return path


def _measured(monkeypatch: pytest.MonkeyPatch, **ratios: float) -> None:
    def figures(names: Sequence[str], _repeats: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
        for name in names:
            yield name, _figure(ratios[name])

    monkeypatch.setattr(command, "figures", figures)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("ratio", "status"), [(22.9, 0), (23.1, 1), (10.0, 0)])
def test_compare_takes_the_last_entry(
    ratio: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """20 · 1.15 = 23 is the limit; the older 25 does not count."""
    _measured(monkeypatch, w2=ratio)
    assert command.main(["compare", "w2"]) == status
    assert ("slower by more than 15%" in capsys.readouterr().out) is bool(status)


@pytest.mark.usefixtures("stored")
def test_a_case_that_the_last_entry_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """w5 is compared with the entry before: 100 to 120 is a fifth slower."""
    _measured(monkeypatch, w2=20.0, w5=120.0)
    assert command.main(["compare", "w2", "w5"]) == 1


@pytest.mark.usefixtures("stored")
def test_a_new_case_is_no_regression(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _measured(monkeypatch, w1=1.0)
    assert command.main(["compare", "w1"]) == 0
    assert "new" in capsys.readouterr().out


def test_timing_alone_neither_compares_nor_saves(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored.read_bytes()
    _measured(monkeypatch, w2=99.0)
    assert command.main(["w2"]) == 0
    assert stored.read_bytes() == before


def test_saving_adds_an_entry(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _measured(monkeypatch, w2=21.0)
    assert command.main(["w2", "--save"]) == 0
    entries = json.loads(stored.read_text())
    assert [each["figures"]["w2"]["ratio"] for each in entries] == [25.0, 20.0, 21.0]
    assert set(entries[-1]) == {"date", "commit", "machine", "figures"}


def test_an_unknown_case_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["w9"]) == 2
    assert "no case `w9`" in capsys.readouterr().err


def test_a_trace_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = {**CASES, "w1": command.CASES["w1"].__class__(needs=tmp_path / "none.csv.gz")}
    monkeypatch.setattr(command, "CASES", missing)
    assert command.main(["w1"]) == 0
    assert "left out: w1" in capsys.readouterr().err


def test_every_specification_compiles(tmp_path: Path) -> None:
    import hermesdsl

    for name, case in CASES.items():
        if case.load is None or (case.needs is not None and not case.needs.exists()):
            continue
        if case.load.requests > 10_000:
            continue
        folder = tmp_path / name
        folder.mkdir()
        assert not hermesdsl.compile(case.load.write(folder)).diagnostics, name
