"""Where and why a parse stopped, in plain data: no parser type leaves `parse`.

A token's `kind` is the grammar's name for it. It serves to tell tokens apart and is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias

from hermesdsl.diagnostics import Diagnostic, Fix, error
from hermesdsl.source import Source, Span

Rule: TypeAlias = Literal["file", "arms"]
"""What a stretch of text holds: statements, or the arms of a branch."""

KEYWORDS: Final = frozenset(
    {
        "IMPORT", "FROM", "_AS", "PARAM", "LET", "_EXTENDS", "_ON", "CONNECT", "_VIA", "BRANCH",
        "FOR", "IN", "IF", "ELSE", "ASSERT", "REQUIRE", "SWEEP", "AND", "OR", "NOT", "TRUE",
        "FALSE",
    }
)  # fmt: skip
"""Kinds of the reserved words."""

END: Final = "$END"
"""Kind of the token behind the last one."""

CHARACTER: Final = "?"
"""Kind of a character that begins no token."""

TOO_DEEP: Final = "(((…"
"""Kind of the bracket that opens one level too many."""


class Token(NamedTuple):
    """One token: what it is, how it is written, and the half-open range it covers."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Failure:
    """The token where the parser stopped.

    `before` holds the tokens ahead of it (the last few dozen), `opened` the brackets not yet
    closed, `expected` the kinds that would have been right.
    """

    source: Source
    rule: Rule
    found: Token
    before: tuple[Token, ...]
    opened: tuple[Token, ...]
    expected: frozenset[str]

    @property
    def previous(self) -> Token | None:
        """The token right before."""
        return self.before[-1] if self.before else None

    @property
    def statement(self) -> tuple[Token, ...]:
        """The tokens of the statement so far, back to a separator or a brace."""
        for back, token in enumerate(reversed(self.before)):
            if token.kind in ("_SEP", "LBRACE", "RBRACE"):
                return self.before[len(self.before) - back :]
        return self.before

    @property
    def first(self) -> Token:
        """The first token of the statement, or the one found."""
        return self.statement[0] if self.statement else self.found

    @property
    def kinds(self) -> list[str]:
        """The kinds of the statement's tokens."""
        return [token.kind for token in self.statement]

    @property
    def in_branch(self) -> bool:
        """True where arms stand and not statements."""
        braces = [token for token in self.opened if token.kind == "LBRACE"]
        if not braces:
            return self.rule == "arms"
        header: list[Token] = []
        for token in self.before:
            if token == braces[-1]:
                break
            ends = token.kind in ("_SEP", "LBRACE", "RBRACE")
            header = [] if ends else [*header, token]
        return bool(header) and header[0].kind == "BRANCH"

    @property
    def bracket(self) -> Token | None:
        """The innermost ``(`` or ``[`` if one is open inside the innermost ``{``."""
        innermost = self.opened[-1] if self.opened else None
        return innermost if innermost is not None and innermost.kind != "LBRACE" else None

    def span(self, first: Token, last: Token | None = None) -> Span:
        """The range of a token, or from one to another."""
        return Span(self.source, first.start, (last or first).end)


def is_path(tokens: tuple[Token, ...]) -> bool:
    """True for the tokens of a path and nothing else."""
    parts = ("NAME", "_DOT", "LSQB", "RSQB", "NUMBER", "STAR", "_COLON")
    if not tokens or tokens[0].kind != "NAME" or any(t.kind not in parts for t in tokens):
        return False
    return not any(a.kind == b.kind == "NAME" for a, b in pairwise(tokens))


def mistake(
    failure: Failure,
    message: str,
    first: Token | None = None,
    *,
    code: str = "HMS101",
    write: str | None = None,
) -> Diagnostic:
    """An error from `first` (or the token found) to the token found; `write` repairs that range."""
    span = failure.span(first or failure.found, failure.found)
    return error(code, message, span, fix=None if write is None else Fix(span, write))
