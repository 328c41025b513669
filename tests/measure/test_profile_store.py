"""Tables that grow row by row: what a crash leaves, what is gone on with, what is refused."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.measure.profile.grid import SIZES, Case
from hermesdsl.measure.profile.store import Store
from hermesdsl.measure.profile.timing import Timing
from hermesdsl.measure.tables import read_table, tables_in

META = {"chip": "H200", "device": "NVIDIA H200", "driver": "1.2", "torch": "2.9"}
GEMM = Case("gemm", "bf16", (16, 1024, 4096))
DECODE = Case("decode", "bf16", (512, 4, 32, 8, 128))
TIMING = Timing(1.25e-5, 1.2e-5, 1.3e-5, 30, 412.34)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = Store(tmp_path / "times", META)
    store.add(GEMM, TIMING)
    store.add(DECODE, TIMING)
    return tmp_path / "times"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_row_has_sizes_times_and_watts(folder: Path) -> None:
    assert (folder / "gemm.csv").read_text() == (
        "operator,dtype,m,n,k,seconds,low_s,high_s,board_w,repeats\n"
        "gemm,bf16,16,1024,4096,1.25e-05,1.2e-05,1.3e-05,412.3,30\n"
    )
    assert json.loads((folder / "meta.json").read_text()) == META


@pytest.mark.parametrize("case", [GEMM, DECODE, Case("prefill", "fp16", (64, 64, 2, 8, 1, 128))])
def test_tables_are_those_that_a_fit_reads(tmp_path: Path, case: Case) -> None:
    Store(tmp_path, META).add(case, TIMING)
    table = read_table(tmp_path / f"{case.operator}.csv")
    assert table.operator == case.operator
    row = table.frame.iloc[0]
    assert (row["dtype"], row["seconds"]) == (case.dtype, 1.25e-5)
    assert tuple(int(row[name]) for name in SIZES[case.operator]) == case.sizes


def test_an_earlier_run_is_gone_on_with(folder: Path) -> None:
    again = Store(folder, META)
    assert again.done == {GEMM, DECODE}
    more = Case("gemm", "bf16", (32, 1024, 4096))
    again.add(more, TIMING)
    assert (folder / "gemm.csv").read_text().count("operator") == 1
    assert Store(folder, META).done == {GEMM, DECODE, more}


@pytest.mark.parametrize("cut", [1, 20, 57])
def test_a_last_line_that_was_cut_off_is_done_again(folder: Path, cut: int) -> None:
    path = folder / "gemm.csv"
    path.write_bytes(path.read_bytes()[:-cut])
    again = Store(folder, META)
    assert again.done == {DECODE}
    again.add(GEMM, TIMING)
    assert len(read_table(path).frame) == 1


def test_a_row_that_cannot_be_written_is_taken_off_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(folder)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store = Store(folder, META)
    monkeypatch.setattr(os, "fsync", full)
    for case in (Case("gemm", "bf16", (32, 1024, 4096)), Case("device_copy", "bf16", (1024,))):
        with pytest.raises(SpecError, match="No space left on device") as found:
            store.add(case, TIMING)
        assert [each.code for each in found.value.diagnostics] == ["HMS608"]
    assert contents(folder) == before
    assert store.done == {GEMM, DECODE}


def test_a_fit_leaves_a_line_out_that_was_cut_off(folder: Path) -> None:
    path = folder / "gemm.csv"
    path.write_bytes(path.read_bytes() + b"gemm,bf16,16,2048,4096,1.2")
    assert len(read_table(path).frame) == 1
    # A table that somebody wrote without a last line end is whole.
    path.write_bytes(b"dtype,m,n,k,seconds\nbf16,1,2,3,4\nbf16,1,2,3,5")
    assert len(read_table(path).frame) == 2


def test_a_folder_stands_for_its_tables(folder: Path) -> None:
    Store(folder, META).add(Case("device_copy", "bf16", (1024,)), TIMING)
    assert [path.name for path in tables_in(folder)] == ["gemm.csv", "decode.csv"]


def refused(folder: Path, code: str, words: str, meta: dict[str, str] = META) -> None:
    before = contents(folder) if folder.is_dir() else None
    with pytest.raises(SpecError, match=words) as found:
        Store(folder, meta)
    assert [each.code for each in found.value.diagnostics] == [code]
    assert before is None or contents(folder) == before


@pytest.mark.parametrize("name", ["chip", "device", "driver", "torch"])
def test_another_machine_is_refused(folder: Path, name: str) -> None:
    refused(folder, "HMS608", f"was measured with {name} ", {**META, name: "other"})


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    refused(tmp_path, "HMS608", "holds files and no profile")
    refused(tmp_path / "notes.txt", "HMS608", "is not a folder")


def test_tables_and_facts_that_were_changed_are_refused(folder: Path) -> None:
    path = folder / "gemm.csv"
    whole = path.read_text()
    path.write_text(whole.replace("low_s", "low"))
    refused(folder, "HMS608", "is no table of a profile")
    path.write_text(whole.replace("16,1024", "16,many"))
    refused(folder, "HMS608", "line 2 of .* is no row")
    path.write_text(whole)
    (folder / "meta.json").write_text("[")
    refused(folder, "HMS608", "cannot be read")


def test_a_folder_without_tables_is_nothing_to_fit(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="holds no table to fit"):
        tables_in(tmp_path)
