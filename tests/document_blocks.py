"""What a block of a document prints, held against what stands there, and put there anew.

A line ``…`` stands for any lines. `renewed` keeps these lines and the choice of lines between them,
and takes their text from what was printed: for numbers that moved, not for output of another kind.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from pathlib import Path

#: Lines are of one kind if they are this much alike without their numbers, on average.
_ALIKE = 0.7


def problem(printed: str, expected: list[str]) -> str | None:
    """What is wrong if not every run of lines between ``…`` occurs in order, else None.

    Time measured by the clock is masked.
    """
    text = _masked(printed)
    position = 0
    for chunk in re.split(r"^…$", "\n".join(expected), flags=re.MULTILINE):
        wanted = _masked(chunk).strip("\n")
        if wanted:
            found = text.find(wanted, position)
            if found < 0:
                return f"expected:\n{wanted}\nprinted:\n{text}"
            position = found + len(wanted)
    return None


def renewed(printed: str, expected: list[str]) -> list[str] | None:
    """The expected lines as they are printed now; None if what is printed is something else."""
    lines = [line.rstrip() for line in printed.splitlines()]
    found: list[str] = []
    position, chunk = 0, []
    for line in [*expected, "…"]:
        if line != "…":
            chunk.append(line)
            continue
        if chunk:
            begin = _place(lines, chunk, position)
            if begin is None:
                return None
            found += lines[begin : begin + len(chunk)]
            position = begin + len(chunk)
        found.append("…")
        chunk = []
    return found[:-1]


def rewrite(file: Path, before: list[str], after: list[str]) -> None:
    """Put lines of a document in the place of others; raises ValueError if these are not there."""
    text = file.read_text(encoding="utf-8")
    old = "\n".join(before)
    if text.count(old) != 1:
        raise ValueError(f"{file.name}: the block occurs {text.count(old)} times")
    file.write_text(text.replace(old, "\n".join(after)), encoding="utf-8")


def _place(lines: list[str], chunk: list[str], position: int) -> int | None:
    """Where in `lines` the lines are most like those of the chunk."""
    wanted = [_shape(line) for line in chunk]
    shapes = [_shape(line) for line in lines]
    best, place = _ALIKE, None
    for begin in range(position, len(lines) - len(chunk) + 1):
        pairs = zip(wanted, shapes[begin : begin + len(chunk)], strict=True)
        score = sum(SequenceMatcher(None, a, b).ratio() for a, b in pairs) / len(chunk)
        if score > best:
            best, place = score, begin
    return place


def _shape(line: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]+", "0", line))


def _masked(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    return re.sub(r"computed in [\d.]+ \w+", "computed in … ms", "\n".join(lines))
