"""The table of a sweep as parquet: the same columns, units and cells as the one in text."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.explore import table

pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")

Compiled = Callable[..., System]


def stored() -> tuple[list[str], list[list[str]], pd.DataFrame]:
    """Titles and cells of the table in text, and the other one."""
    titles, *rows = csv.reader(Path("kept/sweep.csv").read_text(encoding="utf-8").splitlines())
    return titles, rows, pd.read_parquet("kept/sweep.parquet")


def test_titles_with_units_verdicts_and_numbers_survive(compiled: Compiled) -> None:
    body = """seeds = [1, 2]; sweep n; sweep load.rate in [1 req/s, 8 req/s]
    require p99(ttft) <= 1 ns; require max(e2e) <= 1 min"""
    found = hermesdsl.sweep(compiled(body, arrivals="poisson(rate)"), out="kept")
    assert "sweep.parquet" in found.files
    titles, rows, frame = stored()
    assert list(frame.columns) == titles == list(found.columns)
    assert {"load.rate [req/s]", "p99(ttft) [s]", "p99(ttft) [s] ±", "verdict"} <= set(titles)
    assert frame["status"].tolist() == ["done"] * 2 + ["skipped"] * 2 + ["done"] * 2
    assert frame["n"].tolist() == [1, 1, 2, 2, 3, 3]
    done = frame[frame["status"] == "done"]
    assert done["p99(ttft) <= 1 ns"].tolist() == [False] * 4
    assert done["max(e2e) <= 1 min"].tolist() == [True] * 4
    assert set(done["verdict"]) == {"stable"}
    skipped = frame[frame["status"] == "skipped"]
    assert skipped["max(e2e) <= 1 min"].isna().all()
    assert skipped["verdict"].isna().all()
    assert skipped["reason"].str.startswith("HMS401").all()
    place = titles.index("p99(ttft) [s]")
    for row, value in zip(rows, frame["p99(ttft) [s]"], strict=True):
        assert (row[place] == "") == bool(pd.isna(value))
        assert row[place] == "" or float(row[place]) == value


def test_it_is_the_same_file_for_any_number_of_workers(compiled: Compiled) -> None:
    system = compiled("sweep n; seeds = [1, 2]", arrivals="poisson(rate)")
    for workers in (1, 2):
        hermesdsl.sweep(system, workers=workers, out=f"w{workers}")
    one, two = (Path(f"w{n}", "sweep.parquet").read_bytes() for n in (1, 2))
    assert one == two


def test_words_beside_numbers_become_words(tmp_path: Path) -> None:
    """A column of a parquet file has one type."""
    mixed: table.Columns = {"n": ["auto", 4, None], "rate [req/s]": [1, 2.5, None]}
    assert table.write(tmp_path, mixed) == ["sweep.csv", "sweep.parquet"]
    frame = pd.read_parquet(tmp_path / "sweep.parquet")
    assert frame["n"].tolist()[:2] == ["auto", "4"]
    assert frame["n"].isna().tolist() == [False, False, True]
    assert frame["rate [req/s]"].tolist()[:2] == [1.0, 2.5]
    assert (tmp_path / "sweep.csv").read_text().splitlines()[2] == "4,2.5"


def test_where_nothing_ran_there_is_a_table_all_the_same(compiled: Compiled) -> None:
    hermesdsl.sweep(compiled("sweep n in [2]; require p99(ttft) <= 1 s"), out="kept")
    titles, rows, frame = stored()
    assert list(frame.columns) == titles
    assert len(rows) == len(frame) == 1
    assert frame["status"].tolist() == ["skipped"]
    assert frame["p99(ttft) <= 1 s"].isna().all()
