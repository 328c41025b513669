"""Messages for text that is no token at all: stray characters, strings, typography."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from hermesdsl.diagnostics import Diagnostic, Fix, error
from hermesdsl.source import Source, Span

_STRING: Final = re.compile(r'"(?:[^"\\\n\r]|\\[^\n\r])*"')
_BAD_ESCAPE: Final = re.compile(r'\\[^"\\nt]')
_SINGLE_QUOTED: Final = re.compile(r"'[^'\"\\\n\r]*'")
_WORD: Final = re.compile(r"\w+")

_WRITE_INSTEAD: Final = {
    "→": "->", "⟶": "->", "⇒": "->", "↔": "<->", "⟷": "<->", "≤": "<=", "≥": ">=", "≠": "!=",
    "×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "—": "-", "“": '"', "”": '"', "„": '"',
    "«": '"', "»": '"', "‘": '"', "’": '"', "\u00a0": " ", "\u2007": " ", "\u202f": " ",
    "\u3000": " ", "\u200b": "", "，": ",", "：": ":", "；": ";",
}  # fmt: skip
_OPERATORS: Final = {"&&": "and", "&": "and", "||": "or", "|": "or", "!": "not"}


def unreadable(source: Source, at: int) -> Diagnostic:
    """The diagnostic for the character at an offset, which begins no token."""
    text = source.text
    character = text[at]
    span = Span(source, at, at + 1)
    if character == '"':
        return _bad_string(source, at)
    if character == "'":
        return _single_quotes(source, at)
    if character == "$":
        return error("HMS103", "`$` stands right before its number: `$2.50`", span)
    if character in _WRITE_INSTEAD:
        return _typography(span, character)
    for sign, word in _OPERATORS.items():
        if text.startswith(sign, at):
            span = Span(source, at, at + len(sign))
            fix = Fix(span, word + " " if word == "not" else word)
            return error("HMS101", f"`{sign}` is written `{word}`", span, fix=fix)
    if character.isalpha():
        return _foreign_name(source, at)
    if not character.isprintable():
        name = unicodedata.name(character, "a control character").lower()
        message = f"unexpected character U+{ord(character):04X} ({name})"
        return error("HMS101", message, span)
    return error("HMS101", f"unexpected character `{character}`", span)


def _bad_string(source: Source, at: int) -> Diagnostic:
    """A string that does not end on its line, or holds an escape that means nothing."""
    whole = _STRING.match(source.text, at)
    escape = whole and _BAD_ESCAPE.search(source.text, at, whole.end())
    if whole and escape:
        span = Span(source, escape.start(), escape.end())
        return error(
            "HMS101",
            f"unknown escape `{escape[0]}` in a string",
            span,
            notes=('help: the escapes are `\\"`, `\\\\`, `\\n` and `\\t`',),
            fix=Fix(span, "\\" + escape[0]),
        )
    end = source.text.find("\n", at)
    end = len(source.text) if end < 0 else end
    end = at + len(source.text[at:end].rstrip())
    return error(
        "HMS102",
        "the string is not closed on its line",
        Span(source, at, max(end, at + 1)),
        label="begins here",
        notes=('help: add the missing `"`',),
    )


def _single_quotes(source: Source, at: int) -> Diagnostic:
    quoted = _SINGLE_QUOTED.match(source.text, at)
    span = Span(source, at, quoted.end() if quoted else at + 1)
    fix = Fix(span, f'"{quoted[0][1:-1]}"') if quoted else None
    return error("HMS101", 'a string is written in double quotes: `"…"`', span, fix=fix)


def _typography(span: Span, character: str) -> Diagnostic:
    plain = _WRITE_INSTEAD[character]
    fix = Fix(span, plain)
    if not plain.strip():
        name = unicodedata.name(character).lower()
        message = f"{name} (U+{ord(character):04X}): write an ordinary blank"
        return error("HMS101", message, span, fix=fix)
    return error("HMS101", f"`{character}` is written `{plain}`", span, fix=fix)


def _foreign_name(source: Source, at: int) -> Diagnostic:
    """A letter beyond ASCII; the whole word is shown, the part before it was read already."""
    start = at
    while start > 0 and _WORD.match(source.text[start - 1]):
        start -= 1
    word = _WORD.match(source.text, start)
    end = word.end() if word else at + 1
    span = Span(source, start, end)
    message = f"`{span.text}` is no name: names hold the letters a to z, digits and `_`"
    return error("HMS101", message, span)
