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
    """Where in `lines` the lines are most like those of the chunk, by kind, then by size."""
    best, place = (_ALIKE, 0.0), None
    for begin in range(position, len(lines) - len(chunk) + 1):
        pairs = list(zip(chunk, lines[begin : begin + len(chunk)], strict=True))
        kind = sum(_ratio(_shape(a), _shape(b)) for a, b in pairs) / len(chunk)
        size = sum(_close(a, b) for a, b in pairs) / len(chunk)
        if (round(kind, 2), size) > best:
            best, place = (round(kind, 2), size), begin
    return place


def _ratio(a: str, b: str) -> float:
    return SequenceMatcher(None, a, b).ratio()


def _close(a: str, b: str) -> float:
    """1 for lines with the same numbers, near 0 for lines whose numbers have nothing in common."""
    pairs = list(zip(_numbers(a), _numbers(b), strict=False))
    parts = [min(x, y) / max(x, y) if max(x, y) > 0.0 else 1.0 for x, y in pairs]
    return sum(parts) / len(parts) if parts else 1.0


def _numbers(line: str) -> list[float]:
    return [float(text.replace(",", "")) for text in re.findall(r"\d[\d,]*\.?\d*", line)]


def _shape(line: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[\d.,]+", "0", line))


def _masked(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    return re.sub(r"computed in [\d.]+ \w+", "computed in … ms", "\n".join(lines))
