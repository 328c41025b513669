"""Text to syntax tree: the only module that knows the parser library, but for its tables.

`parse` always returns a tree and never raises for a text, whatever it holds: what could not be
parsed is in the diagnostics, and the tree holds the rest. Lark is imported, and its parser made
(`syntax.tables`), at the first text; a process keeps one parser.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, cast

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.source import Source, Span
from hermesdsl.syntax import ast, comments, tables
from hermesdsl.syntax.build import Builder
from hermesdsl.syntax.checks import NESTING, check, every_statement
from hermesdsl.syntax.failure import CHARACTER, END, TOO_DEEP, Failure, Rule, Token
from hermesdsl.syntax.recover import Attempt, recover

if TYPE_CHECKING:
    from lark import Token as LarkToken
    from lark.exceptions import UnexpectedInput

LARGEST_SOURCE: Final = 16_000_000
"""Characters (bytes, for a file) of a specification that are read."""

_REMEMBERED: Final = 100  # tokens kept for messages; more than any one statement on a line


@dataclass(frozen=True)
class Parsed:
    """A file's tree and what was wrong with its text; statements with errors are left out."""

    file: ast.File
    diagnostics: tuple[Diagnostic, ...]


def parse(source: Source) -> Parsed:
    """Parse a whole file."""
    whole = Span(source, 0, len(source.text))
    if len(source.text) > LARGEST_SOURCE:
        return Parsed(ast.File((), (), {}, whole), (too_large(source.name),))
    attempt = _parser().attempt(source, 0, len(source.text), "file")
    if isinstance(attempt.result, Failure):
        recovered = recover(attempt.result, _parser().attempt)
        statements, problems = recovered.statements, recovered.diagnostics
    else:
        statements, problems = attempt.result, attempt.problems
    statements, more = check(statements)
    found = comments.scan(source)
    starts = {s.span.start for s in every_statement(statements)} if found else set()
    file = ast.File(statements, found, comments.document(source, found, starts), whole)
    return Parsed(file, tuple(sorted((*problems, *more), key=_position)))


def too_large(name: str) -> Diagnostic:
    """The diagnostic for a source above `LARGEST_SOURCE`."""
    return error("HMS105", f"{name} is larger than 16 MB, the limit for a specification")


def _position(diagnostic: Diagnostic) -> int:
    return diagnostic.span.start if diagnostic.span else -1


class _TooDeepError(Exception):
    """Raised out of the token filter at the bracket that opens one level too many."""

    def __init__(self, token: LarkToken) -> None:
        self.token = token
        super().__init__()


class _Separators:
    """Filters the tokens of one text: which separators the parser sees, and how deep it goes.

    Remembers what a message needs later: the `recent` tokens and the brackets still `opened`.
    """

    always_accept = ()

    def process(self, stream: Iterator[LarkToken]) -> Iterator[LarkToken]:
        """The tokens without the separators that end no statement."""
        opened: list[LarkToken] = []
        recent: deque[LarkToken] = deque(maxlen=_REMEMBERED)
        self.opened, self.recent = opened, recent
        separator: LarkToken | None = None
        last = "LBRACE"  # a file begins as a block does
        for token in stream:
            kind = token.type
            if kind == "_SEP":
                separator = token
                continue
            if separator is not None:
                if _ends_statement(separator, last, kind, opened):
                    yield separator
                    recent.append(separator)
                separator = None
            if kind in _OPENING:
                opened.append(token)
                if len(opened) > NESTING:
                    raise _TooDeepError(token)
            yield token
            recent.append(token)
            if kind in _CLOSING and opened:
                opened.pop()
            last = kind


_OPENING: Final = frozenset({"LPAR", "LSQB", "LBRACE"})
_CLOSING: Final = frozenset({"RPAR", "RSQB", "RBRACE"})


def _ends_statement(separator: Any, last: str, following: str, opened: list[LarkToken]) -> bool:
    """True unless the run of blank lines, comments and `;` is one that means nothing."""
    if last == "LBRACE" or following == "RBRACE":
        return False
    inside = opened and opened[-1].type != "LBRACE"
    if inside or following in ("ARROW", "ELSE"):
        code = (line.partition("#")[0] for line in separator.value.split("\n"))
        return any(";" in part for part in code)
    return True


class _Parser:
    """The Lark parser with its token filter and tree builder; one text at a time."""

    def __init__(self) -> None:
        self._separators = _Separators()
        self._builder = Builder()
        self._lock = Lock()
        self._lark = tables.parser(self._builder, self._separators)

    def attempt(self, source: Source, start: int, end: int, rule: Rule) -> Attempt:
        """Parse the characters [start, end) of a text as statements or as arms."""
        from lark import TextSlice
        from lark.exceptions import UnexpectedInput

        with self._lock:
            self._builder.begin(source)
            try:
                parsed = self._lark.parse(TextSlice(source.text, start, end), start=rule)
            except _TooDeepError as stop:
                token = _token(stop.token)._replace(kind=TOO_DEEP)
                return Attempt(self._failure(source, rule, token, frozenset()))
            except UnexpectedInput as stop:
                token = _stopped_at(stop, source, end)
                return Attempt(self._failure(source, rule, token, _accepted(stop)))
            return Attempt(cast("tuple[ast.Statement, ...]", parsed), tuple(self._builder.problems))

    def _failure(
        self, source: Source, rule: Rule, found: Token, expected: frozenset[str]
    ) -> Failure:
        before = tuple(_token(token) for token in self._separators.recent)
        opened = tuple(_token(token) for token in self._separators.opened)
        return Failure(source, rule, found, before, opened, expected)


@cache
def _parser() -> _Parser:
    return _Parser()


def _token(token: LarkToken) -> Token:
    start = token.start_pos or 0
    return Token(token.type, str(token.value), start, start + len(token.value))


def _stopped_at(stop: UnexpectedInput, source: Source, end: int) -> Token:
    from lark.exceptions import UnexpectedToken

    if not isinstance(stop, UnexpectedToken):
        at = stop.pos_in_stream or 0
        return Token(CHARACTER, source.text[at], at, at + 1)
    if stop.token.type == END:
        return Token(END, "", end, end)
    return _token(stop.token)


def _accepted(stop: Any) -> frozenset[str]:
    """The token kinds that the parser could have gone on with; a list begins with its bracket."""
    return frozenset(stop.interactive_parser.accepts()) - {"NUMBERS"}
