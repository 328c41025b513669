"""Short texts for pictures: quantities, settings, index ranges.

The user's own wording (``labels`` of the graph types) comes first; what is made here from SI
values is for graphs built by hand and for settings left at their defaults.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from hermesdsl.graph.types import Spec, Value

#: Longest line in a node; the tooltip has the whole text.
LINE = 40

#: Blanks that hold together what is read as one: around ``=``, between a number and its unit.
_GLUED = re.compile(r"(?<==) | (?==)|(?<=\d) (?=[A-Za-zµ%])")
_STEPS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_BINARY = ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))


def number(value: float) -> str:
    """Three significant digits, no exponent below a million: ``20.8``, ``450``, ``0.35``."""
    if not isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "?"
    text = f"{value:.3g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e6 else text


def quantity(value: float, unit: str) -> str:
    """An SI value with a decimal prefix: ``(4.5e11, "B/s")`` → ``450 GB/s``."""
    for step, prefix in _STEPS:
        if abs(value) >= step:
            return f"{number(value / step)} {prefix}{unit}"
    return f"{number(value)} {unit}"


def size(value: float) -> str:
    """Bytes, in binary units where they come out whole: ``80 GiB``, ``30 TB``."""
    for step, unit in _BINARY:
        if value >= step and value % step == 0 and value // step < 10_000:
            return f"{value // step:.0f} {unit}"
    return quantity(value, "B")


def duration(value: float) -> str:
    """Seconds in a readable unit: ``2 ms``, ``0.5 us``."""
    for step, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= step:
            return f"{number(value / step)} {unit}"
    return f"{number(value * 1e6)} us" if value else "0 s"


def count(number: int, noun: str) -> str:
    """``1 client``, ``11 clients``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def percent(share: float) -> str:
    """A share of one as ``35 %``."""
    return f"{number(share * 100)} %"


def setting(value: Value) -> str:
    """A setting in the notation of the language: ``chunked(tokens = 8192)``."""
    if isinstance(value, Spec):
        inner = ", ".join(f"{name} = {setting(arg)}" for name, arg in value.args.items())
        return f"{value.name}({inner})" if inner else value.name
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value) if isinstance(value, float) else str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(setting(item) for item in value)}]"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {setting(item)}" for name, item in value.items())
    return "none" if value is None else str(value)


def indices(numbers: Iterable[int]) -> str:
    """Indices as slices of the language: ``0:4``, ``0``, ``0:2,5``."""
    runs: list[list[int]] = []
    for index in sorted(numbers):
        if runs and index == runs[-1][1]:
            runs[-1][1] = index + 1
        else:
            runs.append([index, index + 1])
    return ",".join(str(a) if b - a == 1 else f"{a}:{b}" for a, b in runs)


def clip(line: str, width: int = LINE) -> str:
    """The line, cut with an ellipsis if it is longer than `width` characters."""
    line = " ".join(line.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def wrap(phrases: Sequence[str], width: int = LINE, joint: str = " · ") -> tuple[str, ...]:
    """Phrases on as few lines of about `width` characters as they need.

    A phrase is broken only if it is longer than a line, at blanks (but not within ``900 tok`` or
    ``sigma = 0.6``), and ends with an ellipsis after its third line.
    """
    lines: list[str] = []
    broken = False
    for phrase in filter(None, phrases):
        if lines and not broken and len(lines[-1]) + len(joint) + len(phrase) <= width:
            lines[-1] += joint + phrase
        else:
            glued = _GLUED.sub("\N{NO-BREAK SPACE}", phrase)
            parts = textwrap.wrap(glued, width, max_lines=3, placeholder=" …")
            lines += [part.replace("\N{NO-BREAK SPACE}", " ") for part in parts]
            broken = len(parts) > 1
    return tuple(lines)


def tooltip(paths: Sequence[str], doc: str, pairs: Iterable[tuple[str, str]] = ()) -> str:
    """Where it is, what its ``##`` text says, and every labelled property, one a line."""
    shown = list(paths[:4]) + ([f"… {len(paths)} in all"] if len(paths) > 4 else [])
    rows = [", ".join(shown), doc.strip(), *(f"{name} = {text}" for name, text in pairs)]
    return "\n".join(row for row in rows if row)
