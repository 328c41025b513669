"""Diagnostics for people, programs and GitHub.

Three renderings of the same data: text with the source lines marked, plain dictionaries for
JSON, and GitHub's workflow commands. Decides nothing and prints nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from hermesdsl.diagnostics import Diagnostic, Label, Severity
from hermesdsl.source import Source, Span

WIDTH: Final = 100
"""Columns of source shown; a longer line is cut to a window around the main range."""

_TAB: Final = 4
_COLORS: Final = {
    Severity.ERROR: "1;31", Severity.WARNING: "1;33", Severity.NOTE: "1;36",
}  # fmt: skip
_BLUE, _BOLD = "1;34", "1"


def render_text(diagnostics: Sequence[Diagnostic], *, color: bool = False) -> str:
    """Every diagnostic with its source lines, then a line that counts them; "" for none."""
    if not diagnostics:
        return ""
    blocks = [_block(diagnostic, _Paint(color)) for diagnostic in diagnostics]
    return "\n".join([*blocks, summary(diagnostics)]) + "\n"


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """``2 errors, 1 warning``, leaving out what there is none of."""
    found = [diagnostic.severity for diagnostic in diagnostics]
    counted = [(found.count(severity), severity.value) for severity in Severity]
    return ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in counted if n)


def render_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, Any]]:
    """One dictionary for each diagnostic; lines and columns count from 1, ends are exclusive."""
    return [
        {
            "code": d.code,
            "severity": d.severity.value,
            "message": d.message,
            **_range(d.span),
            "labels": [{"text": label.text, **_range(label.span)} for label in d.labels],
            "notes": list(d.notes),
            "fix": d.fix and {"replacement": d.fix.replacement, **_range(d.fix.span)},
        }
        for d in diagnostics
    ]


def render_github(diagnostics: Iterable[Diagnostic]) -> str:
    """One workflow command a line: GitHub shows them at the lines of a pull request.

    Escapes as GitHub's runner reads them: ``%``, line ends, and in properties ``:`` and ``,``.
    """
    return "".join(_command(diagnostic) + "\n" for diagnostic in diagnostics)


# --- JSON and GitHub -----------------------------------------------------------------------


def _range(span: Span | None) -> dict[str, Any]:
    if span is None:
        keys = ("file", "line", "column", "end_line", "end_column")
        return dict.fromkeys(keys)
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }


def _command(diagnostic: Diagnostic) -> str:
    kind = "notice" if diagnostic.severity is Severity.NOTE else diagnostic.severity.value
    where = _range(diagnostic.span)
    properties = {
        "file": where["file"],
        "line": where["line"],
        "col": where["column"],
        "endLine": where["end_line"],
        "endColumn": where["end_column"],
        "title": diagnostic.code,
    }
    listed = ",".join(
        f"{name}={_escaped(str(value), ':,')}"
        for name, value in properties.items()
        if value is not None
    )
    message = "\n".join([diagnostic.message, *diagnostic.notes])
    return f"::{kind} {listed}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


# --- text ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Paint:
    """Wraps text in terminal colours, or leaves it."""

    on: bool

    def __call__(self, text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text.strip() else text


@dataclass(frozen=True)
class _Mark:
    """A range of a printed line: columns [start, end), its text, and whether it is underlined."""

    start: int
    end: int
    main: bool
    text: str
    lined: bool = True


def _block(diagnostic: Diagnostic, paint: _Paint) -> str:
    color = _COLORS[diagnostic.severity]
    title = paint(f"{diagnostic.severity.value}[{diagnostic.code}]", color)
    lines = [title + paint(f": {_printable(diagnostic.message)}", _BOLD)]
    labels = _labels(diagnostic)
    numbers = [label.span.line for label, _ in labels]
    gutter = len(str(max(numbers, default=0)))
    for source, group in groupby(labels, key=lambda item: item[0].span.source):
        here = list(group)
        lines += _excerpt(source, here, gutter, color, paint)
    margin = " " * gutter if labels else ""
    for note in diagnostic.notes:
        first, *more = _printable(note).split("\n")
        lines.append(f"{margin} {paint('=', _BLUE)} {first}")
        lines += [f"{margin}   {line}" for line in more]
    return "\n".join(lines)


def _labels(diagnostic: Diagnostic) -> list[tuple[Label, bool]]:
    """All ranges to mark, the main one first, those of one file together."""
    if diagnostic.span is None:
        return [(label, False) for label in diagnostic.labels]
    rest = list(diagnostic.labels)
    main = Label(diagnostic.span, "", marked=all(label.marked for label in rest))
    if rest and rest[0].span == diagnostic.span:
        main = rest.pop(0)
    sources: list[Source] = []
    for label in (main, *rest):
        if label.span.source not in sources:
            sources.append(label.span.source)
    ordered = sorted(rest, key=lambda label: sources.index(label.span.source))
    return [(main, True), *((label, False) for label in ordered)]


def _excerpt(
    source: Source, labels: list[tuple[Label, bool]], gutter: int, color: str, paint: _Paint
) -> list[str]:
    """The lines of one file that labels are on, the first label's place above them."""
    arrow = paint("-->", _BLUE)
    lines = [f"{' ' * gutter}{arrow} {labels[0][0].span}"]
    by_line: dict[int, list[tuple[Label, bool]]] = {}
    for label, main in labels:
        by_line.setdefault(label.span.line, []).append((label, main))
    last = None
    for number in sorted(by_line):
        if last is not None and number > last + 1:
            lines.append(paint("." * max(gutter, 3), _BLUE))
        text, marks = _window(source, number, by_line[number])
        lines.append(f"{paint(f'{number:>{gutter}} |', _BLUE)} {text}".rstrip())
        bar = paint(" " * gutter + " |", _BLUE)
        lines += [f"{bar} {row}" for row in _underlines(marks, color, paint)]
        last = number
    return lines


def _window(
    source: Source, number: int, labels: list[tuple[Label, bool]]
) -> tuple[str, list[_Mark]]:
    """A source line as printed, cut to `WIDTH` columns around its main range, and the marks."""
    begin = source.line_starts[number - 1]
    line = source.line(number)
    focus = next((label for label, main in labels if main), labels[0][0]).span
    near = max(focus.start - begin - WIDTH, 0)
    line = line[: near + 4 * WIDTH]  # what lies further away cannot be in the window
    columns = _columns(line)
    marks = []
    for label, main in labels:
        start = columns[min(label.span.start - begin, len(line))]
        end = columns[min(max(label.span.end - begin, 0), len(line))]
        text = _printable(label.text)
        marks.append(_Mark(start, max(end, start + 1), main, text, label.marked))
    shown = "".join(_glyph(c, column) for c, column in zip(line, columns, strict=False))
    if columns[-1] <= WIDTH and len(line) == len(source.line(number)):
        return shown, marks
    return _cut(shown, marks, columns[min(focus.start - begin, len(line))])


def _cut(shown: str, marks: list[_Mark], focus: int) -> tuple[str, list[_Mark]]:
    """The part of a long line around a column; marks outside it are dropped."""
    left = max(focus - WIDTH // 3, 0)
    right = left + WIDTH
    before = "…" if left else ""
    after = "…" if right < len(shown) else ""
    shift = len(before) - left
    moved = [
        _Mark(max(m.start + shift, 0), min(m.end, right) + shift, m.main, m.text, m.lined)
        for m in marks
        if m.end > left and m.start < right
    ]
    return before + shown[left:right] + after, moved


def _underlines(marks: list[_Mark], color: str, paint: _Paint) -> list[str]:
    """The row of carets and dashes with the last one's text, and rows with the other texts."""
    lined = sorted((m for m in marks if m.lined), key=lambda mark: (mark.start, not mark.main))
    row = _Row(paint)
    for mark in lined:
        sign = "^" if mark.main else "-"
        row.put(max(mark.start, row.width), sign * (mark.end - max(mark.start, row.width)),
                color if mark.main else _BLUE)  # fmt: skip
    last = max(lined, key=lambda mark: (mark.end, mark.main), default=None)
    if last is not None and last.text:
        row.put(row.width + 1, last.text, color if last.main else _BLUE)
    rows = [row]
    for used in _text_rows([mark for mark in marks if mark is not last and mark.text]):
        row = _Row(paint)
        for mark in used:
            row.put(mark.start, mark.text, color if mark.main else _BLUE)
        rows.append(row)
    return [row.text for row in rows if row.text]


def _text_rows(marks: list[_Mark]) -> list[list[_Mark]]:
    """Texts below their ranges in as few rows as keep them apart, those on the right highest.

    What follows an arrow is long and sums up: it goes below what it would touch.
    """
    rows: list[list[_Mark]] = []
    for mark in sorted(marks, key=lambda mark: (mark.text.startswith("-> "), -mark.start)):
        free = next((row for row in rows if not any(_touch(mark, other) for other in row)), None)
        if free is None:
            rows.append(free := [])
        free.append(mark)
    return [sorted(row, key=lambda mark: mark.start) for row in rows]


def _touch(a: _Mark, b: _Mark) -> bool:
    return a.start <= b.start + _width(b.text) and b.start <= a.start + _width(a.text)


class _Row:
    """A line that is filled from left to right; colours take no columns."""

    def __init__(self, paint: _Paint) -> None:
        self.paint = paint
        self.text = ""
        self.width = 0

    def put(self, column: int, text: str, color: str) -> None:
        """Write a text at a column that was not reached yet."""
        if text:
            self.text += " " * (column - self.width) + self.paint(text, color)
            self.width = max(column, self.width) + _width(text)


def _columns(line: str) -> list[int]:
    """The printed column of every character of a line, and of its end."""
    columns = [0]
    for character in line:
        at = columns[-1]
        columns.append(at + len(_glyph(character, at)) + _is_wide(character))
    return columns


def _glyph(character: str, column: int) -> str:
    """A character as printed at a column: tabs as blanks, unprintable ones as a placeholder."""
    if character == "\t":
        return " " * (_TAB - column % _TAB)
    return character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"


def _is_wide(character: str) -> bool:
    return character > "\u10ff" and unicodedata.east_asian_width(character) in "WF"


def _width(text: str) -> int:
    return len(text) + sum(map(_is_wide, text))


def _printable(text: str) -> str:
    """A message without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
