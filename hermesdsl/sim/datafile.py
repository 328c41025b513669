"""Tables in files: CSV or JSON lines, plain or gzip, read in chunks within a size budget.

Knows how a file is opened, unpacked, decoded and cut into rows and columns, and where a cell
stands. Knows nothing of what a column means.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, TypeAlias

from hermesdsl.diagnostics import SpecError, error

__all__ = ["MAX_BYTES", "Chunk", "Table", "header_of", "open_table", "trace_error"]

#: A file may unpack to this many bytes.
MAX_BYTES = 2_000_000_000

#: A line may hold this many characters; a longer one is no row of a table.
_MAX_LINE = 1 << 20

_CHUNK = 16_384

#: First bytes of formats that people try, and what to say about them.
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it or use gzip"),
    (b"BZh", "compressed with bzip2; unpack it or use gzip"),
    (b"\xfd7zXZ\x00", "compressed with xz; unpack it or use gzip"),
    (b"PAR1", "a Parquet file; export it as CSV"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
)

Cell: TypeAlias = object
_Lines: TypeAlias = "Iterator[tuple[int, str]]"


def shown(file: str) -> str:
    """How a person is told of a file: from the working directory, if it lies below it."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def trace_error(file: str, what: str, *notes: str) -> SpecError:
    """The HMS603 diagnostic `FILE what`, as an exception."""
    return SpecError([error("HMS603", f"`{shown(file)}` {what}", notes=notes)])


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows: the 1-based `lines` they stand on and the cells of each asked column.

    Cells are text in a CSV file and JSON values in a JSONL file, where None stands for absent.
    """

    lines: Sequence[int]
    cells: tuple[Sequence[Cell], ...]


@dataclass(frozen=True)
class Table:
    """An open table: `kind` is ``csv`` or ``jsonl``, `columns` are its names in order.

    A JSONL file has the keys of its first row for columns.
    """

    file: str
    kind: str
    columns: tuple[str, ...]
    _lines: _Lines

    def chunks(self, wanted: Sequence[str]) -> Iterator[Chunk]:
        """The rows that follow, with the cells of the `wanted` columns. Once only.

        Raises SpecError (HMS603) for a row that is no row, naming its line.
        """
        rows = self._csv_rows(wanted) if self.kind == "csv" else self._json_rows(wanted)
        while batch := list(islice(rows, _CHUNK)):
            lines, cells = zip(*batch, strict=True)
            yield Chunk(lines, tuple(zip(*cells, strict=True)))

    def _csv_rows(self, wanted: Sequence[str]) -> Iterator[tuple[int, tuple[Cell, ...]]]:
        places = [self.columns.index(name) for name in wanted]
        width = len(self.columns)
        for number, line in self._lines:
            row = _split(line)
            if len(row) != width:
                raise trace_error(
                    self.file,
                    f"line {number}: {len(row)} values where the header names {width} columns",
                    f"the line is `{_shorten(line)}`",
                )
            yield number, tuple(row[place] for place in places)

    def _json_rows(self, wanted: Sequence[str]) -> Iterator[tuple[int, tuple[Cell, ...]]]:
        for number, line in self._lines:
            row = _json_row(self.file, number, line)
            yield number, tuple(row.get(name) for name in wanted)


@contextmanager
def open_table(file: str, *, budget: int = MAX_BYTES) -> Iterator[Table]:
    """Open a table for reading in one pass; `budget` limits the unpacked bytes.

    Raises SpecError (HMS603) for a file that is missing, unreadable, empty, binary, damaged,
    not UTF-8, too large, or without a header.
    """
    try:
        if not stat.S_ISREG(Path(file).stat().st_mode):
            raise trace_error(file, "is not a regular file")
        raw = Path(file).open("rb")  # noqa: SIM115
    except FileNotFoundError:
        raise trace_error(file, "does not exist", *_nearby(file)) from None
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise trace_error(file, f"cannot be read: {reason}") from None
    with raw:
        lines = _lines(file, raw, budget)
        first = next(lines, None)
        if first is None:
            raise trace_error(file, "is empty")
        number, text = first
        if text.lstrip().startswith(("{", "[")):
            keys = tuple(_json_row(file, number, text))
            yield Table(file, "jsonl", keys, chain((first,), lines))
        else:
            yield Table(file, "csv", header_of(file, number, text), lines)


def _nearby(file: str) -> tuple[str, ...]:
    """A note when the same name with or without `.gz` exists."""
    other = file.removesuffix(".gz") if file.endswith(".gz") else f"{file}.gz"
    return (f"help: `{other}` exists",) if Path(other).is_file() else ()


def header_of(file: str, number: int, text: str) -> tuple[str, ...]:
    """The names on a CSV file's first line. Raises SpecError (HMS603) if they are none."""
    names = tuple(name.strip() for name in _split(text))
    if len(names) == 1:
        for mark, spoken in ((";", "`;`"), ("\t", "tabs"), ("|", "`|`")):
            if mark in text:
                what = f"line {number}: columns are separated by {spoken}, not by `,`"
                raise trace_error(file, what, "help: save the file with commas")
    if all(_starts_like_number(name) for name in names):
        what = f"line {number}: no header line; the first line is `{_shorten(text)}`"
        raise trace_error(file, what, "help: put the column names on the first line")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise trace_error(file, f"line {number}: column `{twice[0]}` appears twice")
    return names


def _split(line: str) -> list[str]:
    """The cells of a CSV line; none, and so a wrong width, if a quoted one is too long."""
    try:
        return next(csv.reader((line,))) if '"' in line else line.split(",")
    except csv.Error:
        return []


def _starts_like_number(text: str) -> bool:
    return text[:1].isdigit() or (text[:1] in "+-." and text[1:2].isdigit())


def _json_row(file: str, number: int, text: str) -> dict[str, Cell]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as problem:
        what = f"line {number}, column {problem.colno}: not JSON ({problem.msg})"
        raise trace_error(file, what, f"the line is `{_shorten(text)}`") from None
    except (RecursionError, ValueError):
        raise trace_error(file, f"line {number}: not JSON that can be read") from None
    if not isinstance(row, dict):
        what = f"line {number}: a row must be a JSON object, {{…}}"
        raise trace_error(file, what, f"the line is `{_shorten(text)}`")
    return row


def _shorten(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 60 else f"{text[:57]}…"


# --- bytes to lines --------------------------------------------------------------------------


class _Limited(io.RawIOBase):
    """A readable stream that refuses to give more than `budget` bytes."""

    def __init__(self, file: str, inner: IO[bytes], budget: int) -> None:
        super().__init__()
        self._file, self._inner, self._left = file, inner, budget
        self._budget = budget

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._inner.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            what = f"unpacks to more than {self._budget:,} bytes, the most a trace may hold"
            raise trace_error(self._file, what)
        buffer[: len(data)] = data
        return len(data)


def _lines(file: str, raw: IO[bytes], budget: int) -> _Lines:
    """The (number, text) of each line that is not blank, errors turned into diagnostics."""
    number = 0
    try:
        text = _text(file, raw, budget)
        while line := text.readline(_MAX_LINE):
            number += 1
            if len(line) == _MAX_LINE and not line.endswith("\n"):
                raise trace_error(file, f"line {number}: longer than {_MAX_LINE:,} characters")
            if "\0" in line:
                raise trace_error(file, f"line {number}: holds NUL bytes; not a text file")
            if not line.isspace():
                yield number, line.rstrip("\r\n")
    except EOFError:
        what = f"is cut off: the gzip data ends early, after line {number}"
        raise trace_error(file, what) from None
    except (gzip.BadGzipFile, zlib.error):
        raise trace_error(file, f"is damaged: bad gzip data after line {number}") from None
    except UnicodeDecodeError:
        what = f"is not UTF-8 text (near line {number + 1})"
        raise trace_error(file, what) from None
    except OSError as problem:
        raise trace_error(file, f"cannot be read: {problem.strerror}") from None


def _text(file: str, raw: IO[bytes], budget: int) -> io.TextIOWrapper:
    start = raw.read(4096)
    raw.seek(0)
    for magic, meaning in _FOREIGN:
        if start.startswith(magic):
            raise trace_error(file, f"is {meaning}")
    inner = gzip.GzipFile(fileobj=raw) if start.startswith(b"\x1f\x8b") else raw
    limited = io.BufferedReader(_Limited(file, inner, budget), 1 << 16)  # type: ignore[arg-type]
    if b"\0" in limited.peek(4096)[:4096]:
        raise trace_error(file, "is a binary file, not a table")
    return io.TextIOWrapper(limited, encoding="utf-8-sig", newline=None)
