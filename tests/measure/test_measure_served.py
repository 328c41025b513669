"""Tables of measured requests: recognised, given, refused."""

from pathlib import Path

import numpy as np
import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.measure.served import given_column, read_served
from hermesdsl.sim.trace import Column


def _table(folder: Path, text: str) -> str:
    path = folder / "measured.csv"
    path.write_text(text)
    return str(path)


def test_names_and_units_are_recognised(tmp_path: Path) -> None:
    file = _table(tmp_path, "arrival_ms,input_toks,output_toks,ttft_ms,tpot_us,e2e_s\n"
                            "500,10,3,70,2000,0.5\n2500,20,1,80,,0.6\n")  # fmt: skip
    found = read_served(file)
    assert found.latencies == ("ttft", "tpot", "latency")
    assert found.columns["time"].tolist() == [0.0, 2.0]
    assert found.columns["ttft"].tolist() == [0.07, 0.08]
    assert found.columns["tpot"][0] == pytest.approx(0.002)
    assert np.isnan(found.columns["tpot"][1])
    assert found.columns["latency"].tolist() == [0.5, 0.6]
    assert found.columns["output"].tolist() == [3.0, 1.0]


def test_rows_are_put_in_order_of_arrival(tmp_path: Path) -> None:
    file = _table(tmp_path, "arrival_s,prompt,output,ttft_s\n3,1,1,0.3\n1,1,1,0.1\n2,1,1,0.2\n")
    found = read_served(file)
    assert found.columns["ttft"].tolist() == [0.1, 0.2, 0.3]
    assert found.columns["time"].tolist() == [0.0, 1.0, 2.0]


def test_dates_are_times(tmp_path: Path) -> None:
    file = _table(tmp_path, "timestamp,prompt,output,ttft_s\n2025-01-01 00:00:01,1,1,0.1\n"
                            "2025-01-01 00:00:02.5,1,1,0.2\n")  # fmt: skip
    assert read_served(file).columns["time"].tolist() == [0.0, 1.5]


def test_given_columns_go_first(tmp_path: Path) -> None:
    file = _table(tmp_path, "arrival_s,prompt,output,ttft_ms,first\n0,5,5,100,0.2\n")
    found = read_served(file, dict([given_column("ttft=first:s")]))
    assert found.columns["ttft"].tolist() == [0.2]


def test_a_role_with_its_unit() -> None:
    assert given_column("ttft=first:ms") == ("ttft", Column("first", 1e-3))
    assert given_column("ttft=first_us") == ("ttft", Column("first_us", 1e-6))
    assert given_column("cached = hits") == ("cached", Column("hits", 1.0))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ttft", "is not a role, `=` and a column"),
        ("ttft=", "is not a role, `=` and a column"),
        ("tttf=x:ms", "no role `tttf`"),
        ("ttft=x:min", "no unit `min`"),
        ("prompt=x:ms", "no unit `ms`"),
    ],
)
def test_a_column_that_is_none(text: str, problem: str) -> None:
    with pytest.raises(SpecError, match="HMS607") as caught:
        given_column(text)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("arrival_s,prompt,output\n0,1,1\n", "no column for ttft, tpot or latency"),
        ("prompt,output,ttft_s\n1,1,1\n", "no column for time"),
        ("arrival_s,prompt,output,ttft\n0,1,1,5\n", "in which unit is column `ttft`"),
        ("arrival_s,prompt,output,ttft_s\n", "has a header but no rows"),
        ("arrival_s,prompt,output,ttft_s\n0,1,1,-1\n", "line 2, column `ttft_s`: `-1` is negative"),
        ("arrival_s,prompt,output,ttft_s\n0,0,1,1\n", "column `prompt`: `0` is below 1 token"),
        ("arrival_s,prompt,output,ttft_s\n0,1,1,x\n", "`x` is not a number"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SpecError, match="HMS603") as caught:
        read_served(_table(tmp_path, text))
    assert problem in str(caught.value)


def test_a_given_column_that_is_not_there(tmp_path: Path) -> None:
    file = _table(tmp_path, "arrival_s,prompt,output,first_token\n0,1,1,1\n")
    with pytest.raises(SpecError, match="no column `first_tokn`"):
        read_served(file, {"ttft": Column("first_tokn", 1.0)})
