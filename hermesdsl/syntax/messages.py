"""What a person is told about a text that does not parse.

`explain` asks `mistakes` for a message made for the mistake and else says what was expected and
what was found. Token kinds are looked at here and never shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hermesdsl.diagnostics import Diagnostic, Label, error
from hermesdsl.source import Span
from hermesdsl.syntax.brackets import CLOSES
from hermesdsl.syntax.failure import CHARACTER, END, TOO_DEEP, Failure, Token
from hermesdsl.syntax.mistakes import hint
from hermesdsl.syntax.mistakes.characters import unreadable

_VALUES: Final = frozenset(
    {
        "NUMBER", "QUANTITY", "STRING", "TRUE", "FALSE", "NAME", "LPAR", "LSQB", "PLUS", "MINUS",
        "NOT",
    }
)  # fmt: skip
_STATEMENTS: Final = frozenset(
    {
        "IMPORT", "FROM", "PARAM", "LET", "CONNECT", "BRANCH", "FOR", "IF", "ASSERT", "REQUIRE",
        "SWEEP", "NAME", "LSQB",
    }
)  # fmt: skip
_OPERATORS: Final = frozenset(
    {"PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "PERCENT", "POWER", "COMPARE", "AND", "OR", "IF"}
)
_ENDS: Final = frozenset({"_SEP", END})
_NAMED_AFTER: Final = {
    "_COLON": "a type", "_EXTENDS": "a type", "_VIA": "a type", "ARROW": "a stage",
    "_ON": "a path", "CONNECT": "a path", "WIRE": "a path",
}  # fmt: skip
_WRITTEN: Final = {
    "_ASSIGN": "=", "_COLON": ":", "LBRACE": "{", "ARROW": "->", "WIRE": "<->", "STAR": "*",
    "_COMMA": ",", "IN": "in", "_ON": "on", "_VIA": "via", "_EXTENDS": "extends", "_AS": "as",
    "IMPORT": "import", "ELSE": "else", "RPAR": ")", "RSQB": "]", "RBRACE": "}", "_DOT": ".",
    "LSQB": "[", "LPAR": "(",
}  # fmt: skip
_POSTFIX: Final = frozenset({"_DOT", "LSQB", "LPAR"})


def explain(failure: Failure) -> Diagnostic:
    """The one diagnostic for a failure."""
    if failure.found.kind == TOO_DEEP:
        return error(
            "HMS105",
            f"more than {len(failure.opened) - 1} brackets are open at once",
            failure.span(failure.found),
        )
    if failure.found.kind == CHARACTER:
        return unreadable(failure.source, failure.found.start)
    failure = _at_line_end(failure)
    return hint(failure) or _plain(failure)


def never_closed(failure: Failure, offset: int) -> Diagnostic:
    """The diagnostic for a bracket without a partner that led the parser astray."""
    source, found = failure.source, failure.found
    character = source.text[offset]
    wanted = CLOSES[character]
    opening = Span(source, offset, offset + 1)
    if found.text in CLOSES.values():
        return error(
            "HMS102",
            f"`{character}` is closed by `{found.text}`",
            opening,
            label="opened here",
            labels=[Label(failure.span(found), f"expected `{wanted}`")],
        )
    labels = []
    if character != "{" and found.kind not in (END, CHARACTER):
        labels.append(Label(failure.span(found), f"expected `{wanted}` before this"))
    return error(
        "HMS102",
        f"`{character}` is never closed",
        opening,
        label="opened here",
        labels=labels,
        notes=(f"help: add the missing `{wanted}`",),
    )


def _at_line_end(failure: Failure) -> Failure:
    """The same failure at the end of the line, if a statement is missing its end there.

    The separator before ``}``, ``->`` and ``else`` is not shown to the parser, so that it
    stops at the next line where the line before is at fault.
    """
    found, previous = failure.found, failure.previous
    if previous is None or failure.bracket is not None or found.kind == "_SEP":
        return failure
    between = failure.source.text[previous.end : found.start]
    incomplete = not failure.expected & _ENDS and previous.kind != "LBRACE"
    hidden = found.kind in ("RBRACE", "ARROW", "ELSE", END) and "\n" in between
    if hidden and incomplete:
        return replace(failure, found=Token("_SEP", "\n", previous.end, previous.end))
    return failure


def _plain(failure: Failure) -> Diagnostic:
    """What was expected after what, and what was found."""
    wanted = _expected(failure)
    previous = failure.previous
    after = ""
    if previous is not None and previous.kind != "_SEP":
        after = f" after {_shown(previous)}"
    message = f"expected {wanted}{after}, found {_found(failure)}"
    if not wanted:
        message = f"unexpected {_found(failure)}"
    return error("HMS101", message, _where(failure), notes=_notes(failure))


def _where(failure: Failure) -> Span:
    """The token found, or the place behind the last one if that is the end of a line."""
    found, previous = failure.found, failure.previous
    if found.kind in (END, "_SEP") and not found.text.startswith(";") and previous is not None:
        return Span(failure.source, previous.end, previous.end)
    if found.kind == "_SEP":
        return Span(failure.source, found.start, min(found.start + 1, found.end))
    return failure.span(found)


def _notes(failure: Failure) -> tuple[str, ...]:
    """A word on what may be meant when a name follows a finished value."""
    complete = bool(failure.expected & (_ENDS | {"RBRACE"}))
    if complete and any(token.kind == "FLOOR" for token in failure.statement):
        return ("help: `//` divides; a comment begins with `#`",)
    if complete and failure.statement and failure.found.kind in _STATEMENTS - {"LSQB"}:
        return ("help: statements on one line are separated by `;`",)
    return ()


def _found(failure: Failure) -> str:
    found = failure.found
    if found.kind == "_SEP":
        return "`;`" if found.text.startswith(";") else "the end of the line"
    if found.kind == END:
        at = failure.previous.end if failure.previous else 0
        rest = failure.source.text[at:]
        return "the end of the line" if "\n" in rest else "the end of the file"
    return _shown(found)


def _shown(token: Token) -> str:
    if token.kind == "STRING":
        return "the string" if len(token.text) > 30 else f"the string `{token.text}`"
    return f"`{token.text}`"


def _expected(failure: Failure) -> str:
    """The alternatives in words, the likeliest first."""
    left, words = set(failure.expected), []
    if "NUMBER" in left and failure.in_branch and not failure.statement:
        return "an arm, `condition -> stage` or `else -> stage`,"
    if "NUMBER" in left:
        words.append("a value")
        left -= _VALUES
    elif "PARAM" in left:
        words.append("a statement")
        left -= _STATEMENTS | _ENDS | {"RBRACE"}
    elif "NAME" in left and "_ASSIGN" not in left:
        previous = failure.previous
        words.append(_NAMED_AFTER.get(previous.kind, "a name") if previous else "a name")
        left -= {"NAME", "LSQB"}
    operators = len(left & _OPERATORS) >= 3
    ends = bool(left & _ENDS)
    if operators:
        left -= _OPERATORS | {"NOT", "IN"}
    if ends:
        left -= _ENDS | {"RBRACE"}
    if operators or ends or (left & _WRITTEN.keys()) - _POSTFIX or words:
        left -= _POSTFIX
    words += [f"`{sign}`" for kind, sign in _WRITTEN.items() if kind in left]
    if operators:
        words.append("an operator")
    if ends:
        words.append("the end of the statement")
    return _listed(words)


def _listed(words: list[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}" if len(words) > 1 else "".join(words)
