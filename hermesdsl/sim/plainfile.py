"""CSV files in which nothing is out of the ordinary, read block by block.

Long traces are such files: no quotes, no blank lines, as many cells on every line. Whatever else
comes up is `Irregular`, and the caller reads the file again line by line (`sim.datafile`), which
says what is wrong and where, or finds that nothing is. Knows nothing of what a column means.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

from hermesdsl.diagnostics import SpecError
from hermesdsl.sim.datafile import Chunk, header_of

__all__ = ["Irregular", "PlainTable", "open_plain"]

#: Characters that are cut into lines at once; a line may not be as long.
_BLOCK = 1 << 18


_Blocks: TypeAlias = "Iterator[tuple[int, list[str]]]"


class Irregular(Exception):
    """The file is not plain, or not right."""


@dataclass(frozen=True)
class PlainTable:
    """As `datafile.Table`; `_lines` come in blocks with the number of the first of each."""

    file: str
    columns: tuple[str, ...]
    _lines: _Blocks
    kind: str = "csv"

    def chunks(self, wanted: Sequence[str]) -> Iterator[Chunk]:
        """The rows that follow, with the cells of the `wanted` columns. Once only."""
        places = [self.columns.index(name) for name in wanted]
        width = len(self.columns)
        for first, lines in self._lines:
            if set(map(str.count, lines, [","] * len(lines))) != {width - 1}:
                raise Irregular
            cells = ",".join(lines).split(",")
            numbers = range(first, first + len(lines))
            yield Chunk(numbers, tuple(cells[place::width] for place in places))


@contextmanager
def open_plain(file: str, *, budget: int) -> Iterator[PlainTable]:
    """Open a plain CSV file for reading in one pass; `budget` limits the unpacked bytes.

    Raises Irregular here and while it is read, for anything that `open_table` should look at.
    """
    try:
        if not Path(file).is_file():
            raise Irregular
        with Path(file).open("rb") as raw:
            start = raw.read(4096)
            raw.seek(0)
            packed = start.startswith(b"\x1f\x8b")
            inner: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
            lines = _blocks(inner, budget)
            number, first = next(lines, (1, [""]))
            if first[0].lstrip()[:1] in ("{", "[", ""):
                raise Irregular
            columns = header_of(file, number, first.pop(0))
            yield PlainTable(file, columns, _after(first, lines))
    except (OSError, EOFError, ValueError, SpecError) as problem:
        # Damaged, not UTF-8, or something that is refused.
        raise Irregular from problem


def _after(first: list[str], others: _Blocks) -> _Blocks:
    if first:
        yield 2, first
    yield from others


def _blocks(data: IO[bytes], budget: int) -> _Blocks:
    """The lines of a file in blocks, with the number of the first of each."""
    number, rest = 1, ""
    while block := data.read(_BLOCK):
        budget -= len(block)
        text = rest + block.decode("ascii")
        *lines, rest = text.split("\n")
        if budget < 0 or len(rest) >= _BLOCK or '"' in text or "\0" in text:
            raise Irregular
        if lines:
            first, number = number, number + len(lines)
            yield first, _plain(lines, "\r" in text)
    if rest:
        yield number, _plain([rest], "\r" in rest)


def _plain(lines: list[str], returns: bool) -> list[str]:
    """Lines without the carriage returns at their ends, if there are any; none may be blank."""
    if returns:
        lines = [line.removesuffix("\r") for line in lines]
        if any("\r" in line for line in lines):
            raise Irregular
    if "" in lines or any(map(str.isspace, lines)):
        raise Irregular
    return lines
