"""Plain traces block by block: what line by line reads too, and nothing that is not plain."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.sim import plainfile, trace
from hermesdsl.sim.plainfile import Irregular, open_plain
from hermesdsl.sim.trace import read_trace

HEADER = "arrival_s,prompt,output\n"


def write(folder: Path, content: bytes) -> str:
    path = folder / "t.csv"
    path.write_bytes(content)
    return str(path)


def rows(file: str, *, budget: int = 10**9) -> list[tuple[object, ...]]:
    """(line, cells…) of every row of a plain file."""
    found: list[tuple[object, ...]] = []
    with open_plain(file, budget=budget) as table:
        for chunk in table.chunks(table.columns):
            found += zip(chunk.lines, *chunk.cells, strict=True)
    return found


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "end"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("block", [29, 31, 64])
def test_blocks_may_end_anywhere(tmp_path, monkeypatch, end, last, pack, block):
    monkeypatch.setattr(plainfile, "_BLOCK", block)
    text = (HEADER + "0.5,10,2\n1.25,300,4\n7,8,9").replace("\n", end) + end * (last == "end")
    expected = [(2, "0.5", "10", "2"), (3, "1.25", "300", "4"), (4, "7", "8", "9")]
    assert rows(write(tmp_path, pack(text.encode()))) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        '{"arrival_s": 0, "prompt": 1, "output": 1}\n',
        "0,1,2\n",
        HEADER + "0,1\n",
        HEADER + "0,1,2,3\n1,2\n",
        HEADER + '0,"1",2\n',
        HEADER + "0,1,2\n\n1,2,3\n",
        HEADER + "0,1,2\n  \n",
        HEADER + "0,1\0,2\n",
        HEADER + "0,1,2\r1,2,3\n",
        HEADER + "0,1,٣\n",
        HEADER + "0,1," + "2" * 600_000 + "\n",
    ],
)
def test_what_is_not_plain(tmp_path, text):
    with pytest.raises(Irregular):
        rows(write(tmp_path, text.encode()))


def test_files_that_are_none(tmp_path):
    with pytest.raises(Irregular):
        rows(str(tmp_path / "missing.csv"))
    with pytest.raises(Irregular):
        rows(str(tmp_path))
    whole = gzip.compress((HEADER + "0,1,2\n" * 1000).encode())
    with pytest.raises(Irregular):
        rows(write(tmp_path, whole[:-20]))
    with pytest.raises(Irregular):
        rows(write(tmp_path, (HEADER + "0,1,2\n").encode()), budget=len(HEADER))


def test_irregular_files_are_read_line_by_line(tmp_path):
    plain = read_trace(write(tmp_path, (HEADER + "0,10,2\n1,20,4\n").encode()))
    quoted = read_trace(write(tmp_path, (HEADER + '0,"10",2\n\n1,20,4\n').encode()))
    assert plain.prompt is not None
    assert plain.prompt.tolist() == [10, 20]
    assert np.array_equal(plain.prompt, quoted.prompt)
    assert np.array_equal(plain.arrival, quoted.arrival)


@pytest.mark.parametrize("row", ["x,2,3", "1,-2,3", "1,2.5,3", "1,,3", "1,2", "1,2,3,4"])
def test_diagnostics_do_not_depend_on_how_a_file_was_read(tmp_path, monkeypatch, row):
    file = write(tmp_path, (HEADER + "0,10,2\n" + row + "\n2,bad,4\n").encode())
    with pytest.raises(SpecError) as quick:
        read_trace(file)

    def refuse(file: str, *, budget: int) -> None:
        raise Irregular

    monkeypatch.setattr(trace, "open_plain", refuse)
    with pytest.raises(SpecError) as careful:
        read_trace(file)
    assert quick.value.diagnostics == careful.value.diagnostics
