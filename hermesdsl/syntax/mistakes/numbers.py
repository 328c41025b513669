"""Messages for numbers and quantities that are almost right."""

from __future__ import annotations

import re
from typing import Final

from hermesdsl.diagnostics import Diagnostic, Fix, error
from hermesdsl.source import Span
from hermesdsl.syntax.failure import END, Failure, Token

_THOUSANDS: Final = re.compile(r"(?:,[0-9]{3})+(?![0-9_])")
_FRACTION: Final = re.compile(r"\.([0-9][0-9_]*)")
_RUN: Final = re.compile(r"[\w.]+")
_AFTER_VALUE: Final = frozenset({"_SEP", "RPAR", "RSQB", "RBRACE", "_COMMA", "ARROW", END})


def malformed_number(failure: Failure) -> Diagnostic | None:
    """The message if the token found does not go with the number before it."""
    previous = failure.previous
    if failure.found.kind == "_DOT":
        return _point(failure)
    if previous is None:
        return None
    if previous.kind == "_DOT":
        return _dangling_point(failure, previous)
    if previous.kind == "QUANTITY" and previous.text.endswith("%"):
        return _remainder(failure, previous)
    if previous.kind == "PERCENT" and failure.found.kind in _AFTER_VALUE:
        return _loose_percent(failure, previous)
    if previous.kind == "NUMBER" and failure.found.kind == "NAME":
        return _no_unit(failure, previous)
    if previous.kind == "NUMBER" and failure.found.kind == "_COMMA":
        return _thousands(failure, previous)
    return None


def _bad(failure: Failure, message: str, start: int, end: int, write: str | None) -> Diagnostic:
    span = Span(failure.source, start, end)
    fix = None if write is None else Fix(span, write)
    notes = () if write is None else (f"help: write `{write}`",)
    return error("HMS103", message, span, notes=notes, fix=fix)


def _point(failure: Failure) -> Diagnostic | None:
    """``.5``, a point without a digit before it."""
    found = failure.found
    fraction = _FRACTION.match(failure.source.text, found.start)
    if fraction is None or "NUMBER" not in failure.expected:
        return None
    message = f"`{fraction[0]}` is no number: a digit stands before the point"
    return _bad(failure, message, found.start, fraction.end(), "0" + fraction[0])


def _dangling_point(failure: Failure, point: Token) -> Diagnostic | None:
    """``5.`` and ``1.2.3``."""
    number = failure.before[-2] if len(failure.before) > 1 else None
    if number is None or number.kind != "NUMBER" or number.end != point.start:
        return None
    run = _RUN.match(failure.source.text, number.start)
    end = run.end() if run else point.end
    text = failure.source.text[number.start : end]
    if end == point.end and "." not in number.text:
        message = f"`{text}` is no number: a digit stands behind the point"
        return _bad(failure, message, number.start, end, f"{text}0")
    return _bad(failure, f"`{text}` is no number", number.start, end, None)


def _remainder(failure: Failure, share: Token) -> Diagnostic | None:
    """``10%3``: the sign that touches its number makes a share."""
    found = failure.found
    if found.kind not in ("NUMBER", "NAME", "LPAR", "QUANTITY") or "NUMBER" in failure.expected:
        return None
    if failure.in_branch and found.start > share.end:
        return None
    message = f"`{share.text}` is a share, and `{found.text}` cannot follow it"
    span = failure.span(share, found)
    write = f"{share.text[:-1]} % {found.text}"
    return error(
        "HMS103", message, span,
        notes=(f"help: the remainder is written with blanks: `{write}`",), fix=Fix(span, write),
    )  # fmt: skip


def _loose_percent(failure: Failure, sign: Token) -> Diagnostic | None:
    """``25 %`` at the end of a value."""
    number = failure.before[-2] if len(failure.before) > 1 else None
    if number is None or number.kind != "NUMBER":
        return None
    message = "the `%` of a share touches its number"
    return _bad(failure, message, number.start, sign.end, f"{number.text}%")


def _no_unit(failure: Failure, number: Token) -> Diagnostic | None:
    """``1__000``, ``0x1F`` and ``8 m2``."""
    found = failure.found
    text = failure.source.text[number.start : found.end]
    if "\n" in text or not re.search(r"[0-9_]", found.text):
        return None
    message = f"`{text}` is no number and no quantity: a unit holds letters only"
    if number.end == found.start and found.text.startswith("_"):
        message = f"`{text}` is no number: each `_` stands between two digits"
    elif number.text == "0" and re.fullmatch(r"[xob][0-9a-fA-F_]+", found.text):
        message = f"`{text}` is no number: numbers are decimal"
    return _bad(failure, message, number.start, found.end, None)


def _thousands(failure: Failure, number: Token) -> Diagnostic | None:
    """``1,000`` where no list is."""
    rest = _THOUSANDS.match(failure.source.text, failure.found.start)
    if rest is None or failure.bracket is not None:
        return None
    write = (number.text + rest[0]).replace(",", "_")
    return _bad(failure, "a number holds no commas", number.start, rest.end(), write)
