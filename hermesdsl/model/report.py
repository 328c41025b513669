"""Diagnostics as they are shown: one error per statement, in the order of the text.

The first error of a statement is kept: what follows is often only its echo.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from hermesdsl.model.instance import FILE_OUTERNESS
from hermesdsl.source import Source, Span
from hermesdsl.syntax import ast
from hermesdsl.syntax.checks import every_statement

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


def once_per_statement(builder: Builder) -> None:
    """Drops errors from the sink that stand in a statement with an earlier error; sorts the rest.

    A statement with a block is only its own head: what stands inside has errors of its own. The
    root file comes first, what has no place last.
    """
    seen: set[tuple[int, int]] = set()
    maps: dict[int, _Statements] = {}
    kept = []
    for item in builder.sink.items:
        place = None
        if item.is_error and item.span is not None:
            place = _place(builder, item.span, maps)
        if place is None or place not in seen:
            kept.append(item)
        if place is not None:
            seen.add(place)
    builder.sink.items[:] = sorted(kept, key=lambda item: _order(builder, item.span))


def _order(builder: Builder, span: Span | None) -> tuple[int, int]:
    if span is None:
        return (FILE_OUTERNESS, 0)
    module = builder.by_source.get(id(span.source))
    if module is None:
        return (-1, 0)  # the command line
    return (FILE_OUTERNESS - module.instance.outerness, span.start)


def _place(builder: Builder, span: Span, maps: dict[int, _Statements]) -> tuple[int, int] | None:
    """(file, start of the innermost statement) of a span; None outside any file."""
    source = span.source
    module = builder.by_source.get(id(source))
    if module is None:
        return None
    found = maps.get(id(source))
    if found is None:
        found = maps[id(source)] = _Statements(module.file, source)
    start = found.start_of(span.start)
    return None if start is None else (id(source), start)


class _Statements:
    """Which statement of a file an offset lies in."""

    def __init__(self, file: ast.File, source: Source) -> None:
        spans = [s.span for s in every_statement(file.statements)]
        self._spans = sorted(spans, key=lambda s: (s.start, -s.end))
        self._starts = [s.start for s in self._spans]

    def start_of(self, offset: int) -> int | None:
        """Start of the innermost statement around an offset."""
        for span in reversed(self._spans[: bisect_right(self._starts, offset)]):
            if span.end >= offset:
                return span.start
        return None
