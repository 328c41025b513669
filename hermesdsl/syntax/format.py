"""The canonical layout of a file.

Same statements, same comments, same order. Kept as the author chose: a block on one line and
statements that share a line (up to `WIDTH` columns), single blank lines, line breaks between the
items of a bracket, parentheses around operands, lined-up columns (see `align`). Everything else
has one form, and a formatted file is formatted to itself.

What the printer cannot place, a comment inside an expression, leaves that statement's head as
written, only indented anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.syntax.align import Cell, Line, one_line, render
from hermesdsl.syntax.cells import Item, blocks, contents, head, head_end

WIDTH: Final = 125
"""Columns that a one-line block, or statements sharing a line, may take; more are broken up.

The widest such line of the language's own programs has 122.
"""


def format_file(file: ast.File) -> str:
    """The text of a file in canonical layout; format only files without errors."""
    return _Formatter(file).text()


class _Formatter:
    """Lays out one file; `comments` are those not yet placed, in order."""

    def __init__(self, file: ast.File) -> None:
        self.file = file
        self.source = file.span.source
        self.comments = deque(file.comments)
        self.lines: list[Line] = []
        self.run = 0

    def text(self) -> str:
        """The whole file."""
        self._body(self.file.statements, self.file.span.start, self.file.span.end, 0)
        return render(self.source, self.lines)

    # --- blocks ----------------------------------------------------------------------------

    def _body(self, items: Sequence[Item], start: int, end: int, depth: int) -> None:
        """Statements (or arms) and comments between two offsets, one below the other."""
        self.run += 1
        begin, last = len(self.lines), start
        for item in items:
            last = self._comments_before(item.span.start, last, begin, depth)
            gap = self._blank_line(last, item.span.start, begin)
            if not self._shares_line(item, last, begin, depth):
                place = self._begin(gap)
                self._item(item, depth)
                self.lines[place].blank_before = gap
            last = self._comment_behind(item.span.end, end)
        self._comments_before(end, last, begin, depth)
        self.run += 1

    def _comments_before(self, offset: int, last: int, begin: int, depth: int) -> int:
        """Print the comments before an offset on lines of their own; the end of the last."""
        while self.comments and self.comments[0].span.start < offset:
            comment = self.comments.popleft()
            gap = self._blank_line(last, comment.span.start, begin)
            place = self._begin(gap)
            self._line(depth, [Cell("#", comment.text, None)])
            self.lines[place].blank_before = gap
            last = comment.span.end
        return last

    def _comment_behind(self, offset: int, limit: int) -> int:
        """Put a comment right behind an offset on the last line; where that line ends."""
        if not self.comments or self.comments[0].span.start >= limit:
            return offset
        comment = self.comments[0]
        if self.source.text[offset : comment.span.start].strip(" \t;\f"):
            return offset
        self.comments.popleft()
        self.lines[-1].comment = Cell("#", comment.text, comment.span.start)
        return comment.span.end

    def _blank_line(self, last: int, offset: int, begin: int) -> bool:
        """True if the author left a blank line here and it is not the first of a block."""
        return len(self.lines) > begin and self.source.text.count("\n", last, offset) > 1

    def _begin(self, after_blank: bool) -> int:
        """The index of the next line; a run ends at a blank line."""
        self.run += after_blank
        return len(self.lines)

    def _shares_line(self, item: Item, last: int, begin: int, depth: int) -> bool:
        """Add a statement to the line before if the author had both on one line and they fit."""
        if len(self.lines) == begin or _made(item.span):
            return False
        line = self.lines[-1]
        if line.depth != depth or line.comment is not None or "\n" in item.span.text:
            return False
        if "\n" in self.source.text[last : item.span.start] or line.cells[0].kind in ("#", "}"):
            return False
        cells = self._flat(item)
        if cells is None:
            return False
        cells[0].kind = ";"
        joined = Line(depth, [*line.cells[:-1], _with(line.cells[-1], ";"), *cells])
        if joined.width > WIDTH or not one_line(joined.cells):
            return False
        line.cells = joined.cells
        return True

    def _line(self, depth: int, cells: list[Cell]) -> None:
        self.lines.append(Line(depth, cells, self.run))

    # --- statements ------------------------------------------------------------------------

    def _item(self, item: Item, depth: int) -> None:
        cells = self._flat(item)
        if cells is not None and (not blocks(item) or Line(depth, cells).width <= WIDTH):
            self._line(depth, cells)
            self._drop_comments(item.span.end)
        elif isinstance(item, ast.If):
            self._if(item, depth, "")
        else:
            block = blocks(item)[0]
            self._opening(depth, self._head(item), block)
            self._inside(contents(item)[0], block, depth)
            self._line(depth, [Cell("}", "}", None)])

    def _opening(self, depth: int, cells: list[Cell], block: Span) -> None:
        """The line of a head and the brace that opens its block."""
        self._line(depth, [*cells, Cell("{", "{", block.start)])
        self._drop_comments(block.start)

    def _drop_comments(self, offset: int) -> None:
        """Forget the comments before an offset: they were printed with a head as written."""
        while self.comments and self.comments[0].span.start < offset:
            self.comments.popleft()

    def _inside(self, items: Sequence[Item], block: Span, depth: int) -> None:
        """The lines between a brace, whose line was printed last, and its partner."""
        end = block.end - 1
        start = self._comment_behind(block.start + 1, end)
        self._body(items, start, end, depth + 1)

    def _if(self, item: ast.If, depth: int, before: str) -> None:
        """``if … {`` to the last ``}``; `before` is ``} else `` or ``else `` in a chain."""
        cells = self._head(item)
        cells[0].text = before + cells[0].text
        self._opening(depth, cells, item.then.span)
        self._inside(item.then.statements, item.then.span, depth)
        if item.otherwise is None:
            self._line(depth, [Cell("}", "}", None)])
            return
        before = "} else "
        other = item.otherwise
        if self.comments and self.comments[0].span.start < other.span.start:
            before = "else "
            self._line(depth, [Cell("}", "}", None)])
            last = self._comment_behind(item.then.span.end, other.span.start)
            self._comments_before(other.span.start, last, len(self.lines), depth)
        following = _else_if(other)
        if following is not None:
            self._if(following, depth, before)
            return
        self._line(depth, [Cell("", before + "{", None)])
        self._inside(other.statements, other.span, depth)
        self._line(depth, [Cell("}", "}", None)])

    def _head(self, item: Item) -> list[Cell]:
        """The cells before the block, or the text as written if the printer cannot do it."""
        end = head_end(item)
        cells = head(item)
        written = self.source.text[item.span.start : end].rstrip()
        too_wide = "\n" in written and one_line(cells) and Line(0, cells).width > WIDTH
        commented = self.comments and item.span.start <= self.comments[0].span.start < end
        if not commented and not too_wide:
            return cells
        return [Cell("", self._as_written(item.span.start, written), item.span.start)]

    def _as_written(self, start: int, written: str) -> str:
        """Source text with its further lines indented relative to the first."""
        begin = self.source.text.rfind("\n", 0, start) + 1
        margin = _indentation(self.source.text[begin:start])
        first, *further = written.split("\n")
        lines = [" " * (_indentation(line) - margin) + line.strip() for line in further]
        return "\n".join([first.rstrip(), *lines])

    # --- on one line -----------------------------------------------------------------------

    def _flat(self, item: Item) -> list[Cell] | None:
        """The cells of a statement whose blocks the author kept on one line, else None."""
        parts = blocks(item)
        for block, inside in zip(parts, contents(item), strict=True):
            if inside and ("\n" in block.text or _made(block)):
                return None
        if parts and self.comments and self.comments[0].span.start < item.span.end:
            return None
        cells = self._head(item)
        if parts and not one_line(cells):
            return None
        if isinstance(item, ast.If):
            return self._flat_if(item, cells)
        return self._flat_block(cells, contents(item)[0], parts[0].start) if parts else cells

    def _flat_if(self, item: ast.If, cells: list[Cell]) -> list[Cell] | None:
        whole = self._flat_block(cells, item.then.statements, item.then.span.start)
        if whole is None or item.otherwise is None:
            return whole
        following = _else_if(item.otherwise)
        if following is not None:
            rest = self._flat(following)
            return None if rest is None else [*whole, _led("else ", rest[0]), *rest[1:]]
        at = item.otherwise.span.start
        return self._flat_block([*whole, Cell("", "else", None)], item.otherwise.statements, at)

    def _flat_block(self, cells: list[Cell], items: Sequence[Item], at: int) -> list[Cell] | None:
        """A head and its block ``{ a; b }`` on one line."""
        if not items:
            return [*cells, Cell("{", "{}", at)]
        inner: list[Cell] = []
        for item in items:
            more = self._flat(item)
            if more is None or not one_line(more):
                return None
            if inner:
                inner[-1] = _with(inner[-1], ";")
            more[0].kind = ";"
            inner += more
        inner[0] = Cell("{", "{ " + inner[0].text, at)
        inner[-1] = _with(inner[-1], " }")
        return [*cells, *inner]


def _with(cell: Cell, ending: str) -> Cell:
    return Cell(cell.kind, cell.text + ending, cell.origin)


def _led(beginning: str, cell: Cell) -> Cell:
    return Cell(cell.kind, beginning + cell.text, None)


def _made(span: Span) -> bool:
    """True for the span of a node that was never in a text."""
    return span.start == span.end


def _else_if(block: ast.Block) -> ast.If | None:
    """The ``if`` of an ``else if``, or None for an else with braces."""
    only = block.statements[0] if len(block.statements) == 1 else None
    if isinstance(only, ast.If) and not block.span.text.startswith("{"):
        return only
    return None


def _indentation(line: str) -> int:
    """Columns of blanks at the start of a line."""
    blanks = line[: len(line) - len(line.lstrip())]
    return len(blanks.expandtabs(4))
