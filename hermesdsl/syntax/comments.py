"""Comments, found and attached by position, never by grammar.

`scan` finds every comment of a text. `document` gives the text of ``##`` comments on lines of
their own to the statement that comes next, whatever lies between, as long as nothing but blank
lines and comments does. A ``##`` behind a statement is kept and documents nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from hermesdsl.source import Source, Span
from hermesdsl.syntax.ast import Comment

_STRING_OR_COMMENT: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*')
_BLANK: Final = re.compile(r"[\s;\ufeff]*")


def scan(source: Source) -> tuple[Comment, ...]:
    """Every comment in order; trailing blanks are no part of one."""
    text = source.text
    found = []
    for match in _STRING_OR_COMMENT.finditer(text):
        if match[0][0] == '"':
            continue
        written = match[0].rstrip()
        start = match.start()
        before = text[text.rfind("\n", 0, start) + 1 : start]
        own_line = not before.strip(" \t\f\ufeff;")
        span = Span(source, start, start + len(written))
        found.append(Comment(written, written.startswith("##"), own_line, span))
    return tuple(found)


def document(
    source: Source, comments: tuple[Comment, ...], starts: Collection[int]
) -> dict[int, str]:
    """Start offset of a statement → its documentation, one line for each ``##``.

    `starts` holds the start offsets of all statements, nested ones too.
    """
    lines: dict[int, list[str]] = {}
    following = -1
    upcoming: Comment | None = None
    for comment in reversed(comments):
        code = _BLANK.match(source.text, comment.span.end).end()  # type: ignore[union-attr]
        if upcoming is None or code != upcoming.span.start:
            following = code
        upcoming = comment
        if comment.doc and comment.own_line and following in starts:
            lines.setdefault(following, []).append(comment.text[2:].removeprefix(" "))
    return {start: "\n".join(reversed(texts)) for start, texts in sorted(lines.items())}
