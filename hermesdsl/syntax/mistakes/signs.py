"""Mistakes in signs and brackets: a wrong arrow, one sign for another, items that do not fit."""

from __future__ import annotations

import re
from typing import Final

from hermesdsl.diagnostics import Diagnostic, Fix, error
from hermesdsl.source import Span
from hermesdsl.syntax.failure import END, Failure, is_path, mistake

_ENDS: Final = frozenset({"_SEP", "RBRACE", END})
_CLOSING: Final = frozenset({"RPAR", "RSQB", "RBRACE"})
_ARROWS: Final = {
    "=>": "->", "-->": "->", "<-->": "<->", "<=>": "<->", "<--": "<->", "<-": "<->", "--": "<->",
}  # fmt: skip
_ARROW: Final = re.compile(r"<-->|<=>|<--|-->|=>|<-|--")


def surplus_closer(failure: Failure) -> Diagnostic | None:
    """``x = 3)``."""
    if failure.found.kind not in _CLOSING or failure.opened:
        return None
    return mistake(failure, f"`{failure.found.text}` closes nothing: no bracket is open here")


def wrong_closer(failure: Failure) -> Diagnostic | None:
    """``f(1, 2]``."""
    found = failure.found
    if found.kind not in _CLOSING or not failure.opened:
        return None
    opening = failure.opened[-1]
    pairs = {"LPAR": "RPAR", "LSQB": "RSQB", "LBRACE": "RBRACE"}
    if pairs[opening.kind] == found.kind:
        return None
    return error(
        "HMS102",
        f"`{opening.text}` is closed by `{found.text}`",
        failure.span(opening),
        label="opened here",
    )


def semicolon_in_brackets(failure: Failure) -> Diagnostic | None:
    """``(a; b)``."""
    if failure.found.kind != "_SEP" or failure.bracket is None:
        return None
    at = failure.source.text.index(";", failure.found.start)
    span = Span(failure.source, at, at + 1)
    kind = "(" if failure.bracket.kind == "LPAR" else "["
    return error(
        "HMS101", f"`;` inside `{kind}`: items are separated by `,`", span, fix=Fix(span, ",")
    )


def comma_after_statement(failure: Failure) -> Diagnostic | None:
    """``tp = 4,``, ``{ a = 1, b = 2 }`` and lists where one thing stands."""
    found, first = failure.found, failure.first
    if found.kind != "_COMMA" or failure.bracket is not None or not failure.statement:
        return None
    one_only = {
        "PARAM": "one `param` declares one name", "LET": "one `let` declares one name",
        "SWEEP": "several names to sweep stand in parentheses: `sweep (a, b)`",
        "IMPORT": "one `import` names one module",
    }  # fmt: skip
    kinds = failure.kinds
    if first.kind in one_only and not {"_ASSIGN", "IN", "_COLON"} & set(kinds):
        return mistake(failure, one_only[first.kind])
    if "_EXTENDS" in kinds:
        return mistake(failure, "a definition extends one other, not several")
    if "_ON" in kinds and "LBRACE" in failure.expected:
        return mistake(failure, "several places stand in brackets: `on [a, b]`")
    if first.kind == "CONNECT":
        return mistake(failure, "several ends stand in brackets: `[a, b] <-> c`")
    if is_path(failure.statement):
        return mistake(failure, "a statement sets or declares one name")
    if not failure.expected & _ENDS:
        return None
    rest = failure.source.text[found.end : found.end + 200].lstrip(" \t\r")
    if not rest or rest[0] in "\n}#":
        return mistake(failure, "a statement does not end with a comma", write="")
    return mistake(
        failure, "statements are separated by `;` or a new line, not by a comma", write=";"
    )


def comment_sign(failure: Failure) -> Diagnostic | None:
    """``// text`` and ``/* text``."""
    if failure.found.kind not in ("FLOOR", "SLASH") or "PARAM" not in failure.expected:
        return None
    sign = failure.source.text[failure.found.start : failure.found.start + 2]
    if sign not in ("//", "/*"):
        return None
    span = Span(failure.source, failure.found.start, failure.found.start + 2)
    return error("HMS101", "a comment begins with `#`", span)


def equals_twice(failure: Failure) -> Diagnostic | None:
    """``x == 5`` as a statement."""
    declares = [k for k in failure.kinds if k in ("PARAM", "LET")]
    target = is_path(failure.statement) or (declares and "_ASSIGN" in failure.expected)
    if failure.found.text != "==" or not target:
        return None
    return mistake(failure, "`==` compares; a value is set with `=`", write="=")


def colon_equals(failure: Failure) -> Diagnostic | None:
    """``x := 3``."""
    previous = failure.previous
    if failure.found.kind != "_ASSIGN" or previous is None or previous.kind != "_COLON":
        return None
    return mistake(failure, "a value is set with `=`, not `:=`", previous, write="=")


def in_place(failure: Failure) -> Diagnostic | None:
    """``x += 1`` and ``x++``."""
    found = failure.found
    sign = failure.source.text[found.start : found.start + 3]
    if not is_path(failure.statement) or found.kind not in ("PLUS", "MINUS", "STAR", "SLASH"):
        return None
    if sign[1:2] != "=" and sign[:2] not in ("++", "--"):
        return None
    span = Span(failure.source, found.start, found.start + 2)
    return error("HMS101", f"there is no `{sign[:2]}`: a name is set once, with `=`", span)


def _arrow_text(failure: Failure) -> re.Match[str] | None:
    """The mistaken arrow that the token found begins, or continues."""
    at = failure.found.start
    match = _ARROW.match(failure.source.text, at)
    previous = failure.previous
    if match is None and previous is not None and previous.end == at:
        match = _ARROW.match(failure.source.text, previous.start)
    return match


def wrong_arrow(failure: Failure) -> Diagnostic | None:
    """``a => b``, ``a <- b``, ``connect a -- b``."""
    match = _arrow_text(failure)
    wiring = failure.first.kind == "CONNECT"
    if match is None or not (wiring or is_path(failure.statement[:-1]) or _flowing(failure)):
        return None
    right = _ARROWS[match[0]]
    if not wiring:
        right = "->"
    span = Span(failure.source, match.start(), match.end())
    return error("HMS101", f"`{match[0]}` is written `{right}`", span, fix=Fix(span, right))


def _flowing(failure: Failure) -> bool:
    return failure.in_branch or is_path(failure.statement) or "ARROW" in failure.kinds


def colon_in_call(failure: Failure) -> Diagnostic | None:
    """``f(a: 3)``."""
    bracket, previous = failure.bracket, failure.previous
    if failure.found.kind != "_COLON" or bracket is None or bracket.kind != "LPAR":
        return None
    if previous is None or previous.kind != "NAME":
        return None
    return mistake(failure, "an argument is named with `=`: `f(name = value)`", write=" =")


def indices(failure: Failure) -> Diagnostic | None:
    """``a[]`` and ``a[1, 2]``."""
    bracket, previous = failure.bracket, failure.previous
    if bracket is None or bracket.kind != "LSQB" or previous is None:
        return None
    if failure.found.kind == "RSQB" and previous == bracket and "STAR" in failure.expected:
        return mistake(failure, "an index is missing: `[0]`, `[*]` or `[0:4]`", bracket)
    if failure.found.kind == "_COMMA" and "RSQB" in failure.expected:
        return mistake(failure, "brackets hold one index each: `a[0].b[1]`")
    return None


def forks(failure: Failure) -> Diagnostic | None:
    """``a -> (b, c)``."""
    previous = failure.previous
    if failure.found.kind == "LPAR" and previous is not None and previous.kind == "ARROW":
        return mistake(failure, "a fork is written in brackets: `a -> [b, c] -> d`")
    return None


def not_in(failure: Failure) -> Diagnostic | None:
    """``a not in b``."""
    following = failure.source.text[failure.found.end : failure.found.end + 20].split()
    if failure.found.kind == "NOT" and following[:1] == ["in"] and "NUMBER" not in failure.expected:
        return mistake(failure, "`a not in b` is written `not a in b`")
    return None


def message_without_comma(failure: Failure) -> Diagnostic | None:
    """``assert x "message"``."""
    first = failure.first
    if failure.found.kind != "STRING" or first.kind not in ("ASSERT", "REQUIRE"):
        return None
    if "_COMMA" not in failure.expected or failure.previous is None:
        return None
    after = Span(failure.source, failure.previous.end, failure.previous.end)
    return error(
        "HMS101",
        f"expected `,` between the condition and the message of `{first.text}`",
        failure.span(failure.found),
        fix=Fix(after, ","),
    )
