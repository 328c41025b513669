"""Finds every error of a text whose first error stopped the parser.

The text is cut where a line is indented no deeper than the first: there statements begin, or
so the author meant. The piece at fault is found and blamed, the parser goes on behind it, and
where the fault lies in a sound block over several lines, the block is cut the same way. Each
piece has at most one error, so no error is the consequence of another.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

from hermesdsl.diagnostics import Diagnostic
from hermesdsl.source import Source
from hermesdsl.syntax import ast
from hermesdsl.syntax.brackets import Brackets, indentation, match
from hermesdsl.syntax.failure import TOO_DEEP, Failure, Rule
from hermesdsl.syntax.messages import explain, never_closed

MOST_ERRORS: Final = 100
"""Errors reported for one file; the search for more ends there."""

_LINE: Final = re.compile(r"^[ \t\ufeff]*(?=[^\s#\ufeff])", re.MULTILINE)
_CONTINUES: Final = re.compile(r"[)\]}{]|->")
_ELSE: Final = re.compile(r"else\b")
_BRANCH: Final = re.compile(r"[ \t]*branch\b")
_REST_OF_LINE: Final = re.compile(r"[ \t]*(#[^\n]*)?\r?\n")


@dataclass(frozen=True)
class Attempt:
    """What the parser made of a stretch of text: its statements or arms, or where it stopped."""

    result: tuple[ast.Statement, ...] | Failure
    problems: tuple[Diagnostic, ...] = ()


class Parser(Protocol):
    """Parses the characters [start, end) of a text."""

    def __call__(self, source: Source, start: int, end: int, rule: Rule) -> Attempt:
        """Never raises."""


@dataclass(frozen=True)
class Recovered:
    """The statements of the pieces without errors, and the errors of the others."""

    statements: tuple[ast.Statement, ...]
    diagnostics: tuple[Diagnostic, ...]


def recover(first: Failure, parser: Parser) -> Recovered:
    """All errors of a text that does not parse, at most `MOST_ERRORS`; `first` stopped it."""
    search = _Search(first.source, parser)
    search.region(0, len(first.source.text), "file", first)
    if not search.diagnostics:
        search.diagnostics.append(explain(first))
    if len(search.diagnostics) >= MOST_ERRORS:
        last = search.diagnostics[-1]
        note = f"stopped after {MOST_ERRORS} errors"
        search.diagnostics[-1] = replace(last, notes=(*last.notes, note))
    return Recovered(tuple(search.statements), tuple(search.diagnostics))


class _Search:
    """One pass over a text; `statements` and `diagnostics` grow."""

    def __init__(self, source: Source, parser: Parser) -> None:
        self.source = source
        self.parser = parser
        self.statements: list[ast.Statement] = []
        self.diagnostics: list[Diagnostic] = []

    def region(self, start: int, end: int, rule: Rule, seen: Failure | None = None) -> None:
        """Cut a stretch of text into pieces and blame those at fault.

        `seen` is how the whole stretch failed, if that is known.
        """
        cuts = [*_cuts(self.source.text, start, end, rule), end]
        brackets = match(self.source.text, start, end)
        piece = 0
        while piece < len(cuts) - 1 and len(self.diagnostics) < MOST_ERRORS:
            attempt = Attempt(seen) if seen else self.parser(self.source, cuts[piece], end, rule)
            failure, seen = attempt.result, None
            if not isinstance(failure, Failure):
                self._keep(attempt)
                return
            guilty = _piece_at_fault(failure, cuts, piece, brackets)
            if guilty > piece:
                self._keep(self.parser(self.source, cuts[piece], cuts[guilty], rule))
            self._blame(failure, cuts[guilty], cuts[guilty + 1], rule, brackets)
            piece = guilty + 1

    def _keep(self, attempt: Attempt) -> None:
        if not isinstance(attempt.result, Failure):
            self.statements.extend(attempt.result)
        self.diagnostics.extend(attempt.problems)

    def _blame(self, seen: Failure, start: int, end: int, rule: Rule, brackets: Brackets) -> None:
        """Report what is wrong with one piece; `seen` is how the text around it failed."""
        alone = self.parser(self.source, start, end, rule).result
        failure = alone if isinstance(alone, Failure) else seen
        inner = _sound_block(failure, start, end, brackets)
        before = len(self.diagnostics)
        if inner is not None:
            kept = len(self.statements)
            arms = _BRANCH.match(self.source.text, start) is not None
            self.region(*inner, "arms" if arms else "file")
            del self.statements[kept:]
        if len(self.diagnostics) == before:
            missing = _missing(failure, start, brackets)
            found = explain(failure) if missing is None else never_closed(failure, missing)
            self.diagnostics.append(found)


def _cuts(text: str, start: int, end: int, rule: Rule) -> Iterator[int]:
    """Offsets of the lines that begin a statement (or an arm)."""
    deepest: int | None = None
    for line in _LINE.finditer(text, start, end):
        code = line.end()
        column = indentation(text, code)
        if deepest is None:
            deepest = column
            yield line.start()
        elif (
            column <= deepest
            and not _CONTINUES.match(text, code)
            and (rule == "arms" or not _ELSE.match(text, code))
        ):
            yield line.start()


def _piece_at_fault(failure: Failure, cuts: list[int], piece: int, brackets: Brackets) -> int:
    """The piece where the parser stopped, or the one with the bracket that misled it."""
    at = failure.found.start
    guilty = min(bisect_right(cuts, at), len(cuts) - 1) - 1
    if failure.found.kind != TOO_DEEP:
        for offset in brackets.unclosed:
            if cuts[piece] <= offset < at:
                return min(guilty, bisect_right(cuts, offset) - 1)
    return max(guilty, piece)


def _missing(failure: Failure, start: int, brackets: Brackets) -> int | None:
    """Offset of a bracket of the piece that is never closed, if that is what stopped the parser."""
    if failure.found.kind == TOO_DEEP:
        return None
    between = (at for at in brackets.unclosed if start <= at < failure.found.start)
    return next(between, None)


def _sound_block(
    failure: Failure, start: int, end: int, brackets: Brackets
) -> tuple[int, int] | None:
    """The inside of the outermost block around a failure, if it has lines of its own."""
    text = failure.source.text
    if not failure.opened or failure.opened[0].kind != "LBRACE":
        return None
    opening = failure.opened[0].start
    closing = brackets.closer.get(opening)
    if closing is None or not (start <= opening < closing <= end):
        return None
    if not _REST_OF_LINE.match(text, opening + 1):
        return None
    return opening + 1, closing
