"""Mistakes in the make-up of a statement: words, blocks, and what may stand where."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from hermesdsl.diagnostics import Diagnostic, Fix, error
from hermesdsl.source import Span
from hermesdsl.syntax.failure import END, KEYWORDS, Failure, Token, is_path, mistake

_LITERALS: Final = frozenset(
    {"NUMBER", "QUANTITY", "STRING", "TRUE", "FALSE", "LPAR", "LSQB", "MINUS", "PLUS", "NOT"}
)
_ENDS: Final = frozenset({"_SEP", "RBRACE", END})
_SETS_NAME: Final = re.compile(r"[ \t]*(?:=(?!=)|:|\[|\.)")
_SETS_VALUE: Final = re.compile(r"[ \t]*=(?!=)")
_FUNCTIONS: Final = frozenset({"def", "fn", "func", "function", "fun"})
_ELSE_IF: Final = frozenset({"elif", "elsif", "elseif"})


def two_statements(failure: Failure) -> Diagnostic | None:
    """``a = 80 b = 2`` (where ``80 b`` reads as a quantity), ``} chip`` and ``} elif``."""
    previous, found = failure.previous, failure.found
    if previous is None:
        return None
    if previous.kind == "RBRACE" and found.kind in ("NAME", "IF") and found.text in _ELSE_IF:
        return mistake(failure, f"`{found.text}` is written `else if`", write="else if")
    if previous.kind == "RBRACE" and (found.kind == "NAME" or found.kind in KEYWORDS - {"ELSE"}):
        where = Fix(Span(failure.source, previous.end, previous.end), ";")
        return error(
            "HMS101",
            f"expected a new line or `;` between `}}` and `{found.text}`",
            failure.span(found),
            fix=where,
        )
    setting = found.kind in ("_ASSIGN", "_COLON") and previous.kind == "QUANTITY"
    if setting and failure.bracket is None and failure.expected & _ENDS:
        number, _, unit = previous.text.partition(" ")
        if not unit:
            return None
        at = previous.start + len(number)
        return error(
            "HMS101",
            f"expected a new line or `;` between `{number}` and `{unit}`",
            Span(failure.source, at + 1, previous.end),
            fix=Fix(Span(failure.source, at, at), ";"),
        )
    return None


def reserved_word(failure: Failure) -> Diagnostic | None:
    """``param in = 4``, ``sweep: T``, ``f(in = 3)``."""
    found, previous, text = failure.found, failure.previous, failure.source.text
    word: Token | None = None
    if found.kind in KEYWORDS and found.kind not in failure.expected:
        names = "NAME" in failure.expected
        if "PARAM" in failure.expected or failure.in_branch:
            word = found if _SETS_NAME.match(text, found.end) else None
        elif "NUMBER" in failure.expected:
            word = found if _SETS_VALUE.match(text, found.end) else None
        elif names and "_ASSIGN" not in failure.expected:
            word = found
    starts = previous is not None and len(failure.statement) == 1 and previous.kind in KEYWORDS
    if starts and found.kind in ("_ASSIGN", "_COLON"):
        word = previous
    if word is None:
        return None
    return error(
        "HMS101",
        f"`{word.text}` is a reserved word and cannot be a name",
        failure.span(word),
    )


def misplaced_else(failure: Failure) -> Diagnostic | None:
    """``else`` without its ``if``."""
    if failure.found.kind != "ELSE" or failure.bracket is not None:
        return None
    if "PARAM" not in failure.expected and not failure.expected & _ENDS:
        return None
    if re.compile(r"\s*->").match(failure.source.text, failure.found.end):
        return _arm_outside(failure)
    return mistake(failure, "`else` without an `if { … }` before it", code="HMS106")


def _arm_outside(failure: Failure) -> Diagnostic | None:
    """An arm where statements stand."""
    return error(
        "HMS106",
        "`condition -> stage` is an arm, and arms stand in a `branch` block",
        failure.span(failure.first, failure.found),
        notes=("help: write `branch stage { … }` around the arms",),
    )


def arm_in_statements(failure: Failure) -> Diagnostic | None:
    """``70% -> a`` and ``turn > 1 -> a`` outside of a branch."""
    end = failure.source.text.find("\n", failure.found.end)
    line = failure.source.text[failure.found.end : end if end >= 0 else None]
    begins = "PARAM" in failure.expected and failure.found.kind in ("QUANTITY", "NUMBER", "NOT")
    compares = is_path(failure.statement) and failure.found.kind in ("COMPARE", "AND", "OR")
    if (begins or compares) and "->" in line.partition("#")[0]:
        return _arm_outside(failure)
    return None


def statement_in_branch(failure: Failure) -> Diagnostic | None:
    """``branch x { a = 3 }``."""
    if not failure.in_branch or failure.bracket is not None:
        return None
    statement = failure.found.kind in ("_ASSIGN", "_COLON", "LBRACE")
    statement = statement or (not failure.statement and failure.found.kind in KEYWORDS)
    if not statement:
        return None
    found = mistake(
        failure,
        "a `branch` block holds arms, `condition -> stage`, and no other statements",
        code="HMS106",
    )
    if failure.found.kind == "_ASSIGN":
        return replace(found, notes=("help: to compare, write `==`",))
    return found


def functions(failure: Failure) -> Diagnostic | None:
    """``def f(x)``, ``class A(B)`` and ``f(3)`` as a statement."""
    statement = failure.statement
    if len(statement) == 2 and statement[0].text in _FUNCTIONS and failure.found.kind == "LPAR":
        return error(
            "HMS101",
            "functions cannot be defined",
            failure.span(statement[0], statement[1]),
            notes=("help: a reusable part is a definition with params: `kind Name { param x }`",),
        )
    if len(statement) == 2 and failure.kinds == ["NAME", "NAME"] and failure.found.kind == "LPAR":
        name = failure.span(*statement).text
        return mistake(
            failure, f"`{name}` takes no parentheses: write `{name} extends Base {{ … }}`"
        )
    if failure.found.kind == "LPAR" and is_path(statement):
        return mistake(failure, "a call is a value and no statement", statement[0])
    return None


def imports(failure: Failure) -> Diagnostic | None:
    """``import "a.hms"``, ``from a import *``, ``from a import (b)``."""
    first, found = failure.first, failure.found
    if first.kind not in ("IMPORT", "FROM"):
        return None
    if found.kind == "STRING":
        return mistake(failure, "a module is named with dots: `import folder.file`")
    if found.kind == "STAR":
        return mistake(failure, "`import *` is not possible: name what is imported")
    if found.kind == "LPAR" and "IMPORT" in failure.kinds:
        return mistake(failure, "imported names stand without parentheses")
    return None


def value_after_colon(failure: Failure) -> Diagnostic | None:
    """``tp: 4`` and ``param n: 5``."""
    previous, found = failure.previous, failure.found
    if previous is None or previous.kind != "_COLON" or found.kind not in _LITERALS:
        return None
    if failure.bracket is not None:
        return None
    message = "`:` declares an instance of a type; a value is set with `=`"
    if failure.first.kind == "PARAM":
        message = "`:` gives a param its type; its default is set with `=`"
    span = failure.span(previous)
    before = failure.source.text[span.start - 1]
    fix = Fix(span, "=" if before in " \t" else " =")
    return error("HMS101", message, span, fix=fix)


def colon_before_block(failure: Failure) -> Diagnostic | None:
    """``if x: {``, ``chip X:`` and ``x: {``."""
    kinds, found = failure.kinds, failure.found
    heads = kinds[:1] in (["IF"], ["FOR"], ["BRANCH"], ["ELSE"]) or kinds[:2] == ["NAME", "NAME"]
    again = found.kind == "_COLON" and "_COLON" in kinds and failure.bracket is None
    if found.kind == "_COLON" and (heads or again) and "LBRACE" in failure.expected:
        return mistake(failure, "a block stands in braces, `{ … }`, not behind a colon")
    if found.kind == "LBRACE" and kinds[-1:] == ["_COLON"]:
        return mistake(failure, "expected a type between `:` and `{`", failure.previous)
    return None


def equals_before_block(failure: Failure) -> Diagnostic | None:
    """``llm = Engine { … }`` and ``x = { … }``."""
    kinds, statement = failure.kinds, failure.statement
    if failure.found.kind != "LBRACE" or "_ASSIGN" not in kinds or failure.bracket is not None:
        return None
    if kinds[-1] == "_ASSIGN":
        return mistake(
            failure, "braces configure; a value is a number, a name, a list `[…]` or a call"
        )
    at = kinds.index("_ASSIGN")
    if kinds[0] != "NAME" or set(kinds[at + 1 :]) - {"NAME", "_DOT"}:
        return None
    sign = failure.span(statement[at])
    return error(
        "HMS101",
        "`=` sets a value; an instance is declared with `:`",
        sign,
        notes=(f"help: write `{statement[0].text}: {statement[at + 1].text} {{ … }}`",),
        fix=Fix(sign, ":"),
    )


def missing_block(failure: Failure) -> Diagnostic | None:
    """``chip X`` at the end of its line."""
    first, found = failure.first, failure.found
    kinds = failure.kinds
    definition = kinds[:2] == ["NAME", "NAME"]
    if found.kind not in ("_SEP", END) or not (
        definition or first.kind in ("IF", "FOR", "BRANCH") or kinds[-1:] == ["ELSE"]
    ):
        return None
    if "LBRACE" not in failure.expected or failure.previous is None:
        return None
    end = failure.previous.end
    brace = re.compile(r"\s*\{").match(failure.source.text, end)
    if brace:
        span = Span(failure.source, brace.end() - 1, brace.end())
        return error(
            "HMS101",
            "the `{` of a block stands on the line of its header",
            span,
            fix=Fix(Span(failure.source, end, brace.end()), " {"),
        )
    header = failure.span(first, failure.previous)
    name = header.text if definition else f"{first.text} …"
    return error("HMS101", f"`{name}` needs a block: `{{ … }}`", Span(failure.source, end, end))


def sign_of_values(failure: Failure) -> Diagnostic | None:
    """``sweep a = …`` and ``for i = …``."""
    first = failure.first
    if failure.found.kind != "_ASSIGN" or first.kind not in ("SWEEP", "FOR"):
        return None
    if "IN" not in failure.expected:
        return None
    return mistake(failure, f"the values of a `{first.text}` follow `in`", write="in")


def wires(failure: Failure) -> Diagnostic | None:
    """``connect a - b``, ``via L 18``, ``via L * n + 1``."""
    if failure.first.kind != "CONNECT" or failure.bracket is not None:
        return None
    kinds = failure.kinds
    if "_VIA" in kinds:
        lanes = "STAR" in kinds[kinds.index("_VIA") :]
        if lanes and failure.found.kind in ("PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "POWER"):
            return mistake(failure, "a computed number of lanes stands in parentheses")
        if not lanes and failure.found.kind in ("NUMBER", "QUANTITY"):
            return mistake(failure, "lanes are written `via Link * 4`")
        return None
    if {"WIRE", "ARROW"} & set(kinds) or failure.found.kind not in ("NAME", "MINUS", "COMPARE"):
        return None
    return mistake(failure, "ends are joined by `<->` (both ways) or `->` (one way)")
