"""Traces: known formats read exactly, and every way a file can be wrong said exactly."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.sim.trace import Column, Trace, read_column, read_trace, trace_of

DATA = Path(__file__).parents[2] / "../shared/data/traces"
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="the published traces are not beside the checkout"
)

PLAIN = "arrival_s,prompt,output\n"
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def write(folder: Path, content: str | bytes, name: str = "t.csv") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def refusal(file: str, **options) -> tuple[str, tuple[str, ...]]:
    """The only message, with the file's name as `F`, and its notes."""
    with pytest.raises(SpecError) as caught:
        read_trace(file, **options)
    (found,) = caught.value.diagnostics
    assert found.code == "HMS603"
    return found.message.replace(file, "F"), found.notes


def columns(trace: Trace) -> tuple[list[float], list[int], list[int]]:
    assert trace.prompt is not None
    assert trace.output is not None
    return trace.arrival.tolist(), trace.prompt.tolist(), trace.output.tolist()


# --- what is read -------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize(
    ("name", "rows", "prompt", "output", "seconds"),
    # DATA.md and oracles B: rows and means; last minus first TIMESTAMP of the file.
    [
        ("azure_llm_2023_conv.csv.gz", 19_366, 1155, 211, 3501.721937),
        ("azure_llm_2023_code.csv.gz", 8_819, 2048, 28, 3435.948056),
    ],
)
def test_the_azure_traces(name, rows, prompt, output, seconds):
    trace = read_trace(str(DATA / name))
    assert len(trace) == rows
    assert trace.format == "Azure"
    assert round(trace.prompt.mean()) == prompt
    assert round(trace.output.mean()) == output
    assert trace.arrival[0] == 0
    assert trace.arrival[-1] == pytest.approx(seconds, abs=1e-9)


@needs_data
def test_mooncake_with_its_blocks():
    trace = read_trace(str(DATA / "mooncake_conversation.jsonl.gz"))
    assert (trace.format, len(trace)) == ("Mooncake", 12_031)
    assert round(trace.prompt.mean()) == 12_035
    # DATA.md: ceil(input/512) ids of 512-token blocks, infinite-cache hit rate 0.366.
    assert trace.blocks.size == 512
    assert (np.diff(trace.blocks.starts) == -(-trace.prompt // 512)).all()
    ids = trace.blocks.ids
    assert 1 - len(np.unique(ids)) / len(ids) == pytest.approx(0.366, abs=0.001)


def test_azure_digits_are_kept_to_100_ns(tmp_path):
    rows = "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:46.6805901,396,109"
    trace = read_trace(write(tmp_path, AZURE + rows))
    assert columns(trace) == ([0.0, 1e-7], [374, 396], [44, 109])


@pytest.mark.parametrize("zone", ["Z", "+00:00"])
def test_utc_may_be_written_out(tmp_path, zone):
    rows = f"2024-02-28T23:59:59{zone},1,1\n2024-03-01T00:00:00.5{zone},1,1\n"
    assert read_trace(write(tmp_path, AZURE + rows)).arrival.tolist() == [0.0, 86_401.5]


def test_own_format_with_class_and_session(tmp_path):
    text = (
        "arrival_s,prompt,output,class,session\r\n"
        "0.5,10,1,gold,b\r\n1.5,20,2,free,a\r\n\r\n2.5,30.0,3,gold,b\r\n3,40,4,,\r\n"
    )
    trace = read_trace(write(tmp_path, "\ufeff" + text))
    assert columns(trace) == ([0.5, 1.5, 2.5, 3.0], [10, 20, 30, 40], [1, 2, 3, 4])
    assert trace.classes == ("gold", "free", "")
    assert trace.klass.tolist() == [0, 1, 0, 2]
    assert trace.session.tolist() == [0, 1, 0, -1]


def test_jsonl_and_gzip_give_the_same(tmp_path):
    rows = [(0.0, 5, 6), (0.25, 7, 8)]
    text = "".join(
        json.dumps({"arrival_s": a, "prompt": p, "output": o}) + "\n" for a, p, o in rows
    )
    csv = PLAIN + "".join(f"{a},{p},{o}\n" for a, p, o in rows)
    files = [
        write(tmp_path, text, "a.jsonl"),
        write(tmp_path, gzip.compress(text.encode()), "a.jsonl.gz"),
        write(tmp_path, csv, "a.csv"),
        write(tmp_path, gzip.compress(csv[:30].encode()) + gzip.compress(csv[30:].encode()), "b"),
    ]
    assert {str(columns(read_trace(file))) for file in files} == {
        str(([0.0, 0.25], [5, 7], [6, 8]))
    }


def test_given_columns_with_units_and_speed(tmp_path):
    rows = (
        '{"ts": 4000, "in": 1.5, "out": 2, "conv": 9}\n{"ts": 6000, "in": 2, "out": 1, "conv": 9}\n'
    )
    spec = Spec(
        "trace",
        {
            "file": write(tmp_path, rows),
            "time": Spec("column", {"name": "ts", "unit": 1e-3}),
            "prompt": Spec("column", {"name": "in", "unit": 1000.0}),
            "output": Spec("column", {"name": "out", "unit": 1.0}),
            "session": Spec("column", {"name": "conv", "unit": 1.0}),
            "blocks": None,
            "speed": 4.0,
            "replay": "open",
        },
    )
    trace = trace_of(spec)
    assert columns(trace) == ([0.0, 0.5], [1500, 2000], [2, 1])
    assert trace.session.tolist() == [0, 0]


def test_lengths_that_are_not_needed_are_not_read(tmp_path):
    file = write(tmp_path, PLAIN + "0,broken,1\n1,2,3\n")
    trace = read_trace(file, needed=("time", "output"))
    assert trace.prompt is None
    assert trace.output.tolist() == [1, 3]


def test_rows_out_of_order_are_sorted_stably_with_their_blocks(tmp_path):
    rows = [(2, [5, 6]), (1, [1]), (2, [7]), (0, [])]
    text = "".join(
        json.dumps(
            {"timestamp": t * 1000, "input_length": 9, "output_length": k + 1, "hash_ids": b}
        )
        + "\n"
        for k, (t, b) in enumerate(rows)
    )
    trace = read_trace(write(tmp_path, text))
    assert columns(trace) == ([0, 1, 2, 2], [9] * 4, [4, 2, 1, 3])
    assert trace.blocks.ids.tolist() == [1, 5, 6, 7]
    assert trace.blocks.starts.tolist() == [0, 0, 1, 3, 4]
    assert any("sorted" in note for note in trace.notes)


def test_the_format_is_announced(tmp_path):
    file = write(tmp_path, PLAIN + "0,1,1\n")
    assert read_trace(file).notes == (
        f"`{file}`: hermesdsl format (arrival_s, prompt, output), 1 rows",
    )


def test_quoted_cells(tmp_path):
    file = write(tmp_path, 'arrival_s,"prompt",output,note\n0,"5",6,"a, b"\n')
    assert columns(read_trace(file)) == ([0.0], [5], [6])


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "`F` is empty"),
        (b"\n \n", "`F` is empty"),
        (PLAIN, "`F` has a header but no rows"),
        (b"\x7fELF\0\0\0", "`F` is a binary file, not a table"),
        (b"PK\x03\x04rest", "`F` is a zip archive; unpack it first"),
        (PLAIN.encode("utf-16"), "`F` is UTF-16 text; save it as UTF-8"),
        (PLAIN.encode() + b"0,1,\xff\n", "`F` is not UTF-8 text (near line 1)"),
        (PLAIN + "0,1,1\n1,1\0,1\n", "`F` is a binary file, not a table"),
        ("0.0,10,20\n0.1,10,20\n", "`F` line 1: no header line; the first line is `0.0,10,20`"),
        (PLAIN.replace(",", ";") + "0;1;1\n",
         "`F` line 1: columns are separated by `;`, not by `,`"),
        (PLAIN.replace(",", "\t") + "0\t1\t1\n",
         "`F` line 1: columns are separated by tabs, not by `,`"),
        ("prompt,arrival_s,prompt,output\n", "`F` line 1: column `prompt` appears twice"),
        (PLAIN + "0,1,1\n1,1\n", "`F` line 3: 2 values where the header names 3 columns"),
        (PLAIN + "0,1,1\n\n1,12x,1\n", "`F` line 4, column `prompt`: `12x` is not a number"),
        (PLAIN + "0,1,\n", "`F` line 2, column `output`: `` is empty"),
        (PLAIN + "0,-5,1\n", "`F` line 2, column `prompt`: `-5` is below 1 token"),
        (PLAIN + "0,5,0\n", "`F` line 2, column `output`: `0` is below 1 token"),
        (PLAIN + "0,nan,1\n", "`F` line 2, column `prompt`: `nan` is not a finite number"),
        (PLAIN + "0,1e999,1\n", "`F` line 2, column `prompt`: `1e999` is not a finite number"),
        (PLAIN + "0,12.5,1\n",
         "`F` line 2, column `prompt`: `12.5` is not a whole number of tokens"),
        (PLAIN + "0,99999999999999999999,1\n",
         "`F` line 2, column `prompt`: `99999999999999999999` is more than 1,000,000,000 tokens"),
        (PLAIN + "-1,1,1\n",
         "`F` line 2, column `arrival_s`: `-1` is before the start of the run"),
        (PLAIN + "1,1,1\nsoon,1,1\n",
         "`F` line 3, column `arrival_s`: `soon` is neither a number nor a UTC date-time "
         "like 2023-11-16 18:15:46.6805900"),
        (AZURE + "2023-11-16 18:15:46,1,1\n2023-13-16 18:15:46,1,1\n",
         "`F` line 3, column `TIMESTAMP`: `2023-13-16 18:15:46` is not a UTC date-time "
         "like 2023-11-16 18:15:46.6805900"),
        (AZURE + "2023-11-16 18:15:46,1,1\nnow,1,1\n",
         "`F` line 3, column `TIMESTAMP`: `now` is not a UTC date-time "
         "like 2023-11-16 18:15:46.6805900"),
        ('{"arrival_s": 0, "prompt": 1, "output": 1}\n{"arrival_s": 1, "prompt" 1}\n',
         "`F` line 2, column 27: not JSON (Expecting ':' delimiter)"),
        ('{"arrival_s": 0, "prompt": 1, "output": 1}\n[1, 2]\n',
         "`F` line 2: a row must be a JSON object, {…}"),
        ('{"arrival_s": 0, "prompt": 1, "output": 1}\n{"arrival_s": 1, "prompt": 1}\n',
         "`F` line 2, column `output`: `` is missing"),
        ('{"arrival_s": 0, "prompt": true, "output": 1}\n',
         "`F` line 1, column `prompt`: `True` is not a number"),
        ('{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [1, "x"]}\n',
         "`F` line 1, column `hash_ids`: `[1, 'x']` is not a list of whole numbers"),
        ("[" * 100_000, "`F` line 1: not JSON that can be read"),
        (PLAIN + "0,1,1\n" + "9" * (1 << 21), "`F` line 3: longer than 1,048,576 characters"),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_refused(tmp_path, content, message):
    assert refusal(write(tmp_path, content))[0] == message


def test_truncated_and_damaged_gzip(tmp_path):
    packed = gzip.compress((PLAIN + "0,1,1\n" * 50_000).encode())
    message, _ = refusal(write(tmp_path, packed[: len(packed) // 2]))
    assert message.startswith("`F` is cut off: the gzip data ends early, after line ")
    middle = len(packed) // 2
    torn = packed[:middle] + bytes(64) + packed[middle + 64 :]
    assert refusal(write(tmp_path, torn))[0].startswith("`F` is damaged: bad gzip data after line ")


def test_a_gzip_bomb_stops_at_the_budget(tmp_path):
    packed = gzip.compress((PLAIN + "0,1,1\n" * 1_000_000).encode())
    assert len(packed) < 20_000
    message, _ = refusal(write(tmp_path, packed), budget=1_000_000)
    assert message == "`F` unpacks to more than 1,000,000 bytes, the most a trace may hold"


def test_missing_file_names_its_neighbour(tmp_path):
    write(tmp_path, PLAIN, "t.csv.gz")
    message, notes = refusal(str(tmp_path / "t.csv"))
    assert message == "`F` does not exist"
    assert notes == (f"help: `{tmp_path / 't.csv.gz'}` exists",)
    assert refusal(str(tmp_path))[0] == "`F` is not a regular file"


def test_a_misspelt_column_of_a_known_format(tmp_path):
    file = write(tmp_path, "TIMESTAMP,ContextToken,GeneratedTokens\n2023-11-16 18:15:46,1,1\n")
    message, notes = refusal(file)
    assert message == "`F` is in no known format; no column for time, prompt, output"
    assert notes[0] == (
        "help: is `ContextToken` the `ContextTokens` of the Azure format? then write "
        '`prompt = column("ContextToken")`'
    )
    assert notes[1] == "columns of the file: TIMESTAMP, ContextToken, GeneratedTokens"


def test_a_given_column_that_is_not_there(tmp_path):
    file = write(tmp_path, "ts,in_len,out\n0,1,1\n")
    given = {"time": Column("ts"), "prompt": Column("in_length"), "output": Column("out")}
    message, notes = refusal(file, columns=given)
    assert message == "`F` has no column `in_length`"
    assert notes == ("help: did you mean `in_len`?", "columns of the file: ts, in_len, out")


def test_several_bad_cells_are_listed_in_order_but_not_all(tmp_path):
    file = write(tmp_path, PLAIN + "0,x,1\n1,1,y\n" + "2,z,1\n" * 50)
    with pytest.raises(SpecError) as caught:
        read_trace(file)
    lines = [d.message.split("line ")[1].split(",")[0] for d in caught.value.diagnostics]
    assert lines == ["2", "3", "4", "5", "6"]


def test_a_class_nobody_declared(tmp_path):
    file = write(tmp_path, "arrival_s,prompt,output,class\n0,1,1,gold\n1,1,1,godl\n")
    message, _ = refusal(file, known_classes=("gold", "free"))
    assert message == (
        "`F` line 3, column `class`: `godl` is none of the declared classes; did you mean `gold`?"
    )


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ({}, "HMS601", "`trace` needs the name of a file"),
        ({"file": "t", "speed": 0}, "HMS601", "`speed` of `trace` is 0, not above zero"),
        ({"file": "t", "speed": "fast"}, "HMS601", "`speed` of `trace` is not a number"),
        ({"file": "t", "replay": "ajar"}, "HMS601",
         "`replay` of `trace` is ajar, not open or closed"),
        ({"file": "t", "promt": Spec("column", {"name": "a"})}, "HMS601",
         "`trace` has no argument `promt`"),
        ({"file": "t", "prompt": 3}, "HMS601", "`prompt` of `trace` is not a column of a file"),
    ],
)  # fmt: skip
def test_wrong_arguments(args, code, message):
    with pytest.raises(SpecError) as caught:
        trace_of(Spec("trace", args))
    assert [(d.code, d.message) for d in caught.value.diagnostics] == [(code, message)]


def test_read_column_refuses_what_is_no_amount(tmp_path):
    file = write(tmp_path, "a,b\n1,2\n3,-4\n")
    assert read_column(file, "a").tolist() == [1, 3]
    for column, message in (
        ("b", "`F` line 3, column `b`: `-4` is negative"),
        ("c", "`F` has no column `c`"),
    ):
        with pytest.raises(SpecError) as caught:
            read_column(file, column)
        assert caught.value.diagnostics[0].message.replace(file, "F") == message
