"""Settings, conditions and goals as the compiled system carries them: plain, frozen, in SI units.

Pure data shared by the language side, the interpreter and the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class Spec:
    """A computed setting: ``chunked(2048 tok)``, ``lognormal(median = 300 tok, sigma = 1)``.

    `args` holds every argument by its parameter name, defaults filled in; quantities are floats
    in SI units (or counts). A distribution may hold further specs.
    """

    name: str
    args: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.args:
            return self.name
        return f"{self.name}({', '.join(f'{k} = {v}' for k, v in self.args.items())})"


Value: TypeAlias = (
    "bool | int | float | str | Spec | Guard | tuple[Value, ...] | Mapping[str, Value] | None"
)


@dataclass(frozen=True)
class Guard:
    """Condition of a branch arm, over a request.

    `op` is ``and``, ``or``, ``not`` (operands are Guards) or a comparison (operands are a
    request attribute name and a number or string), or ``verdict``/a bare attribute.
    """

    op: str
    operands: tuple[Guard | str | float | bool, ...]
    text: str = ""

    def __str__(self) -> str:
        return self.text or f"{self.op}({', '.join(map(str, self.operands))})"


@dataclass(frozen=True)
class Requirement:
    """One ``require``: `text` as written, and `goal` as a small tree for `results.slo`.

    `goal` is ``Goal``: comparison chain of metric calls and numbers (SI).
    """

    text: str
    goal: Goal
    message: str | None = None


@dataclass(frozen=True)
class Metric:
    """A metric call: ``p95(tpot, workload = chat)`` → name p95, of tpot, where {workload: chat}."""

    name: str
    of: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Goal:
    """`operands[0] ops[0] operands[1] ops[1] …`; an operand is a Metric or a number in SI units.

    `unit` and `scale`: how the user wrote the bound (``ms`` and 1e-3), for printing.
    """

    operands: tuple[Metric | float, ...]
    ops: tuple[str, ...]
    unit: str = ""
    scale: float = 1.0
