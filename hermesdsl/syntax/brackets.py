"""Which bracket closes which, told from the text alone and with an eye on indentation.

Used on texts that do not parse. A ``}`` that begins a line closes the brace whose line is
indented like its own, so that a missing ``}`` is blamed on the block that lacks it and not on
the one around it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

CLOSES: Final = {"(": ")", "[": "]", "{": "}"}
"""Opening bracket → the one that closes it."""

_PIECE: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"?|#[^\n]*|[()\[\]{}]')


_BLOCKS: Final = 200  # braces looked at for one that is indented alike


class _Open(NamedTuple):
    character: str
    offset: int
    indentation: int


@dataclass(frozen=True)
class Brackets:
    """`closer` maps the offset of an opening bracket to that of its partner."""

    closer: dict[int, int]
    unclosed: tuple[int, ...]


def indentation(text: str, offset: int) -> int:
    """Columns of blanks before the line that holds an offset; a tab goes to the next 8."""
    start = text.rfind("\n", 0, offset) + 1
    line = text[start : start + 400].expandtabs(8)
    return len(line) - len(line.lstrip(" \ufeff"))


def match(text: str, start: int, end: int) -> Brackets:
    """Pair the brackets of the characters [start, end), outside strings and comments."""
    closer: dict[int, int] = {}
    unclosed: list[int] = []
    stack: list[_Open] = []
    waiting = dict.fromkeys(CLOSES.values(), 0)  # closing bracket → how many on the stack want it
    for piece in _PIECE.finditer(text, start, end):
        character, at = piece[0], piece.start()
        if character in CLOSES:
            stack.append(_Open(character, at, indentation(text, at)))
            waiting[CLOSES[character]] += 1
        elif waiting.get(character):
            depth = _partner(text, at, character, stack)
            unclosed.extend(item.offset for item in stack[depth + 1 :])
            closer[stack[depth].offset] = at
            for item in stack[depth:]:
                waiting[CLOSES[item.character]] -= 1
            del stack[depth:]
    unclosed.extend(item.offset for item in stack)
    return Brackets(closer, tuple(sorted(unclosed)))


def _partner(text: str, at: int, character: str, stack: list[_Open]) -> int:
    """Position on the stack of the bracket that the closing one at `at` belongs to."""
    nearest = len(stack) - 1
    while CLOSES[stack[nearest].character] != character:
        nearest -= 1
    line = text.rfind("\n", 0, at) + 1
    if character == "}" and not text[line:at].strip():
        column = indentation(text, at)
        for depth in range(nearest, max(nearest - _BLOCKS, -1), -1):
            brace = stack[depth]
            if brace.indentation == column and brace.character == "{":
                return depth
            if brace.indentation < column:
                break
    return nearest
