from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Hermes = Callable[..., "tuple[int, str, str]"]

TABLE = "arrival_s,prompt,output,ttft_ms,tpot_ms,latency_ms\n" + "".join(
    f"{second},1000,11,60,10,160\n" for second in range(10)
)


@pytest.fixture
def measured(tmp_path: Path) -> str:
    (tmp_path / "measured.csv").write_text(TABLE)
    return "measured.csv"


def test_a_table_of_figures(hermes: Hermes, measured: str) -> None:
    code, out, _ = hermes("validate", "small.hms", measured)
    assert code == 0
    assert "against measured.csv, 10 requests" in out
    for word in ("MAPE paired", "MAPE sorted", "makespan s", "tok/s", "in service, most", "decode"):
        assert word in out


def test_as_json(hermes: Hermes, measured: str) -> None:
    code, out, _ = hermes("validate", "small.hms", measured, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["latencies"]["ttft"]["mean"]["measured"] == pytest.approx(0.06)
    assert found["parts"]["decode"]["measured"] == pytest.approx(0.1)


def test_files_of_a_folder(hermes: Hermes, measured: str, tmp_path: Path) -> None:
    code, _, err = hermes("validate", "small.hms", measured, "--out", "found")
    assert code == 0
    names = sorted(path.name for path in (tmp_path / "found").iterdir())
    assert names == ["latency.svg", "pairs.csv", "tpot.svg", "ttft.svg", "validation.json"]
    assert "wrote: latency.svg" in err


def test_a_folder_that_is_not_its_own(hermes: Hermes, measured: str, tmp_path: Path) -> None:
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "mine.txt").write_text("mine")
    code, _, err = hermes("validate", "small.hms", measured, "--out", "found")
    assert code == 2
    assert "HMS608" in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nothing.csv",), "HMS603"),
        (("measured.csv", "--column", "ttft"), "HMS607"),
        (("measured.csv", "--column", "ttft=first:ms"), "HMS603"),
        (("measured.csv", "--workload", "laod"), "HMS602"),
    ],
)
def test_what_cannot_be_compared(
    hermes: Hermes, measured: str, arguments: tuple[str, ...], code: str
) -> None:
    status, out, err = hermes("validate", "small.hms", *arguments)
    assert (status, out) == (2, "")
    assert code in err
    assert "Traceback" not in err
