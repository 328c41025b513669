"""Columns the author lined up stay lined up; no column is ever imposed.

A line is a row of cells: ``gpu:``, ``LlmEngine``, ``on rack``, ``{ tp = 4;``, ``dp = 2 }``. Cells
stand one blank apart, unless the author had set cells of one kind in neighbouring lines at one
column and used more than one blank to get there. Such cells share a column again: the first one
that fits them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from hermesdsl.source import Source
from hermesdsl.syntax.printing import INDENT, PINNED

_COMMENT_GAP: Final = 2


@dataclass
class Cell:
    """A piece of a line; `origin` is where it began in the source, None if nowhere."""

    kind: str
    text: str
    origin: int | None


@dataclass
class Line:
    """Cells at an indentation (in levels), and the comment behind them.

    Lines of one `run` follow each other in one block without a blank line between.
    """

    depth: int
    cells: list[Cell]
    run: int = 0
    comment: Cell | None = None
    starts: list[int] = field(default_factory=list)
    blank_before: bool = False

    @property
    def width(self) -> int:
        """Columns needed without any alignment, up to the first line break."""
        text = " ".join(cell.text for cell in self.cells)
        return len(INDENT) * self.depth + len(text.partition("\n")[0])


def render(source: Source, lines: list[Line]) -> str:
    """The text of the lines, aligned run by run."""
    for _, run in groupby(lines, key=lambda line: line.run):
        _place(source, list(run))
    return "".join(("\n" if line.blank_before else "") + _text(line) + "\n" for line in lines)


def _place(source: Source, run: list[Line]) -> None:
    """Give every cell and comment of a run its column."""
    columns: dict[tuple[int, str], list[tuple[Line, int]]] = {}
    padded: set[tuple[int, str]] = set()
    for line in run:
        line.starts = [-1] * len(line.cells)
        for index, column, blanks in _alignable(source, line):
            key = (column, line.cells[index].kind)
            columns.setdefault(key, []).append((line, index))
            if blanks > 1:
                padded.add(key)
    for key in sorted(padded):
        shared = max(_natural(line, index) for line, index in columns[key])
        for line, index in columns[key]:
            line.starts[index] = shared
    for line in run:
        for index in range(len(line.cells)):
            line.starts[index] = _start(line, index)
    _place_comments(source, run)


def _alignable(source: Source, line: Line) -> Iterator[tuple[int, int, int]]:
    """(index, source column, blanks before) of the cells on the source line of the first one."""
    first = line.cells[0].origin
    if first is None:
        return
    begin = source.text.rfind("\n", 0, first) + 1
    for index, cell in enumerate(line.cells[1:], 1):
        before = "".join(earlier.text for earlier in line.cells[:index])
        if cell.origin is None or "\n" in before:
            continue
        ahead = source.text[begin : cell.origin]
        if "\n" not in ahead:
            yield index, len(ahead), len(ahead) - len(ahead.rstrip(" "))


def _start(line: Line, index: int) -> int:
    return line.starts[index] if line.starts[index] >= 0 else _natural(line, index)


def _natural(line: Line, index: int) -> int:
    """The column of a cell that stands one blank behind the one before."""
    if index == 0:
        return len(INDENT) * line.depth
    return _end(_start(line, index - 1), line.cells[index - 1].text, line.depth) + 1


def _end(start: int, text: str, depth: int) -> int:
    """The column behind a text that starts at a column and may have several lines."""
    *_, last = text.split("\n")
    if last == text:
        return start + len(text)
    if last.startswith(PINNED):
        return start + len(last) - 1
    return len(INDENT) * depth + len(last)


def _place_comments(source: Source, run: list[Line]) -> None:
    """Comments the author set apart keep their column where they can, and stay together."""
    columns: dict[int, list[Line]] = {}
    apart: set[int] = set()
    for line in run:
        if line.comment is None or line.comment.origin is None:
            continue
        at = line.comment.origin
        ahead = source.text[source.text.rfind("\n", 0, at) + 1 : at]
        columns.setdefault(len(ahead), []).append(line)
        if len(ahead) - len(ahead.rstrip(" ")) > _COMMENT_GAP:
            apart.add(len(ahead))
    for column, lines in columns.items():
        ends = [_end(line.starts[-1], line.cells[-1].text, line.depth) for line in lines]
        together = max(column, max(ends) + _COMMENT_GAP)
        for line, end in zip(lines, ends, strict=True):
            assert line.comment is not None
            gap = together - end if column in apart else _COMMENT_GAP
            line.comment.text = " " * gap + line.comment.text


def _text(line: Line) -> str:
    whole = ""
    margin = INDENT * line.depth
    for start, cell in zip(line.starts, line.cells, strict=True):
        column = len(whole) - whole.rfind("\n") - 1
        whole += " " * (start - column)
        further = cell.text.replace("\n", "\n" + margin)
        whole += further.replace("\n" + margin + PINNED, "\n" + " " * start)
    comment = line.comment.text if line.comment is not None else ""
    return "\n".join(part.rstrip() for part in (whole + comment).split("\n"))


def one_line(cells: Iterable[Cell]) -> bool:
    """True if no cell has a line break."""
    return not any("\n" in cell.text for cell in cells)
