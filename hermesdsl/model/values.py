"""Values that expressions evaluate to, beyond numbers, quantities, text and lists.

Knows no syntax tree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hermesdsl.diagnostics import Diagnostic
from hermesdsl.source import Span
from hermesdsl.units import dimension as d
from hermesdsl.units.dimension import Dimension
from hermesdsl.units.quantity import Quantity


class Fail(Exception):
    """Evaluation cannot go on. `diagnostic` is None if the cause was reported already."""

    def __init__(self, diagnostic: Diagnostic | None = None) -> None:
        super().__init__(diagnostic.message if diagnostic else "")
        self.diagnostic = diagnostic


class Stop(Exception):
    """The build cannot go on at all: a budget is exceeded, and every next step would say so."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class SourcedText(str):
    """A string that remembers the folder that file names inside it resolve against.

    `folder` is None for text given by a person on the command line: the working directory.
    """

    __slots__ = ("folder",)
    folder: str | None

    def __new__(cls, text: str, folder: str | None = None) -> SourcedText:
        """The text itself, with its folder."""
        made = super().__new__(cls, text)
        made.folder = folder
        return made


@dataclass(frozen=True)
class ComputedValue:
    """A computed setting with evaluated arguments: ``chunked(budget = 8192 tok)``."""

    family: str
    name: str
    args: Mapping[str, Any]
    span: Span | None = field(default=None, compare=False)

    def __str__(self) -> str:
        shown = ", ".join(f"{k} = {text(v)}" for k, v in self.args.items() if v is not None)
        return f"{self.name}({shown})" if shown else self.name


@dataclass(frozen=True)
class Formula:
    """An expression over the request that is computed when it is served.

    `op` is an arithmetic operator, ``attribute`` (one operand: its name), ``value``, or ``if``
    (three: a condition on the request as a Guard, the value if it holds, the value if not).
    """

    op: str
    operands: tuple[Any, ...]
    dimension: Dimension = d.NUMBER

    def __str__(self) -> str:
        if self.op in ("attribute", "value"):
            return text(self.operands[0])
        if self.op == "if":
            guard, then, otherwise = self.operands
            return f"{text(then)} if {guard} else {text(otherwise)}"
        return f" {self.op} ".join(text(o) for o in self.operands)


@dataclass(frozen=True)
class Interval:
    """``between(low, high)``: a domain with both ends."""

    low: Any
    high: Any

    def __str__(self) -> str:
        return f"between({text(self.low)}, {text(self.high)})"


def source_text(value: Any) -> str:
    """A value as an expression of the language that gives it back, to the last digit."""
    from hermesdsl.units.table import preferred

    if isinstance(value, Quantity):
        unit = value.unit or preferred(value.value, value.dimension)
        if unit is None or unit.text.startswith("$"):
            return text(value)
        blank = "" if unit.text == "%" else " "
        return f"{unit.from_base(value.value)!r}{blank}{unit.text}"
    if isinstance(value, tuple):
        return f"({', '.join(source_text(v) for v in value)})"
    if isinstance(value, float):
        return repr(value)
    return text(value)


def text(value: Any) -> str:
    """How a value prints to a person."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if isinstance(value, SourcedText) else str(value)
    if isinstance(value, float):
        from hermesdsl.units.quantity import number_text

        return number_text(value)
    if isinstance(value, list | range):
        return f"[{', '.join(text(v) for v in value)}]"
    if isinstance(value, tuple):
        return f"({', '.join(text(v) for v in value)})"
    if value is None:
        return "none"
    return str(value)
