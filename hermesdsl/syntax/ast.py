"""The syntax tree: frozen nodes with spans, and no meaning.

Knows no kind, unit or property name. Every node carries `span`. A path such as
``rack.node[0:2].gpu[*]`` is an ordinary expression built from `Name`, `Attribute`, `Index`;
`IndexItem`s tell ``[e]``, ``[*]`` and ``[a:b]`` apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hermesdsl.source import Span

# --- expressions ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """``80``, ``28_672``, ``70.6e9``: an int if written without point or exponent."""

    value: int | float
    span: Span


@dataclass(frozen=True, slots=True)
class QuantityLiteral:
    """``25 GB/s``, ``70%``, ``$2.50/hr``; `unit` is the text behind the number, blanks removed.

    A leading ``$`` gives unit ``$`` or ``$/hr``.
    """

    value: int | float
    unit: str
    span: Span
    unit_span: Span


@dataclass(frozen=True, slots=True)
class Text:
    """A string literal, escapes resolved."""

    value: str
    span: Span


@dataclass(frozen=True, slots=True)
class Boolean:
    """``true`` or ``false``."""

    value: bool
    span: Span


@dataclass(frozen=True, slots=True)
class Name:
    """A bare name."""

    name: str
    span: Span


@dataclass(frozen=True, slots=True)
class Attribute:
    """``base.name``; `name_span` covers the name alone."""

    base: Expr
    name: str
    span: Span
    name_span: Span


@dataclass(frozen=True, slots=True)
class All:
    """The ``*`` of ``[*]``."""

    span: Span


@dataclass(frozen=True, slots=True)
class Slice:
    """The ``a:b`` of ``[a:b]``; either end may be left out."""

    start: Expr | None
    stop: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class Index:
    """``base[item]``."""

    base: Expr
    item: Expr | All | Slice
    span: Span


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call; `name` is None if positional."""

    name: str | None
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Call:
    """``f(a, k = b)``; `function` is a plain name or a dotted path."""

    function: Expr
    arguments: tuple[Argument, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class ListExpr:
    """``[a, b]``; also a list of paths where a selection is wanted."""

    items: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class TupleExpr:
    """``(a, b)``; at least two items, or one with a trailing comma."""

    items: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Unary:
    """``-a``, ``+a``, ``not a``."""

    op: str
    operand: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Binary:
    """``a op b`` with op one of ``+ - * / // % ** and or``."""

    op: str
    left: Expr
    right: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Comparison:
    """``a < b <= c``: `ops` has one entry fewer than `operands`; ops ``== != < <= > >= in``."""

    operands: tuple[Expr, ...]
    ops: tuple[str, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Conditional:
    """``a if c else b``."""

    condition: Expr
    then: Expr
    otherwise: Expr
    span: Span


Expr: TypeAlias = (
    Number | QuantityLiteral | Text | Boolean | Name | Attribute | Index | Call | ListExpr
    | TupleExpr | Unary | Binary | Comparison | Conditional
)  # fmt: skip

# --- statements ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Block:
    """``{ … }``: its statements, and the span with the braces."""

    statements: tuple[Statement, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class ImportedName:
    """One name of a ``from`` import."""

    name: str
    alias: str | None
    span: Span


@dataclass(frozen=True, slots=True)
class Import:
    """``import a.b as c`` (`names` empty) or ``from a.b import X as Y, Z``."""

    module: str
    alias: str | None
    names: tuple[ImportedName, ...]
    span: Span
    module_span: Span


@dataclass(frozen=True, slots=True)
class Param:
    """``param name: type = default in domain``; each part after the name may be missing."""

    name: str
    type: Expr | None
    default: Expr | None
    domain: Expr | None
    span: Span
    name_span: Span


@dataclass(frozen=True, slots=True)
class Let:
    """``let name = value``."""

    name: str
    value: Expr
    span: Span
    name_span: Span


@dataclass(frozen=True, slots=True)
class Assign:
    """``path = value``."""

    target: Expr
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class Definition:
    """``kind Name extends Base { … }``."""

    kind: str
    name: str
    base: Expr | None
    block: Block
    span: Span
    kind_span: Span
    name_span: Span


@dataclass(frozen=True, slots=True)
class Reopen:
    """``path { … }``: statements applied to what is there already."""

    target: Expr
    block: Block
    span: Span


@dataclass(frozen=True, slots=True)
class InstanceDecl:
    """``name[count]: Type on selection { … }``; `target` is a Name or Index of a Name."""

    target: Expr
    type: Expr
    on: Expr | None
    block: Block | None
    span: Span


@dataclass(frozen=True, slots=True)
class Connect:
    """``connect left <-> right via Link * lanes { … }``.

    `right` and `arrow` are None for ``connect pattern(…) via Link``.
    """

    left: Expr
    arrow: str | None
    right: Expr | None
    link: Expr | None
    lanes: Expr | None
    block: Block | None
    span: Span


@dataclass(frozen=True, slots=True)
class Flow:
    """``a -> [b, c] -> d``: two or more selections in order."""

    steps: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm of a branch; `guard` is None for ``else``."""

    guard: Expr | None
    steps: tuple[Expr, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Branch:
    """``branch stage { guard -> a -> b … else -> c }``."""

    source: Expr
    arms: tuple[Arm, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class For:
    """``for a, b in values { … }``."""

    names: tuple[str, ...]
    values: Expr
    block: Block
    span: Span


@dataclass(frozen=True, slots=True)
class If:
    """``if condition { … } else { … }``; ``else if`` nests as a one-statement block."""

    condition: Expr
    then: Block
    otherwise: Block | None
    span: Span


@dataclass(frozen=True, slots=True)
class Assert:
    """``assert condition, "message"``."""

    condition: Expr
    message: str | None
    span: Span


@dataclass(frozen=True, slots=True)
class Require:
    """``require goal, "message"``."""

    condition: Expr
    message: str | None
    span: Span


@dataclass(frozen=True, slots=True)
class Sweep:
    """``sweep path in values`` or ``sweep (a, b) in values``; `zipped` is true for the latter."""

    targets: tuple[Expr, ...]
    zipped: bool
    values: Expr | None
    span: Span


Statement: TypeAlias = (
    Import | Param | Let | Assign | Definition | Reopen | InstanceDecl | Connect | Flow | Branch
    | For | If | Assert | Require | Sweep
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment as written; `doc` for ``##``; `own_line` if nothing stands before it."""

    text: str
    doc: bool
    own_line: bool
    span: Span


@dataclass(frozen=True, slots=True)
class File:
    """A whole file. `docs` maps the start offset of a statement to its ``##`` text."""

    statements: tuple[Statement, ...]
    comments: tuple[Comment, ...]
    docs: dict[int, str]
    span: Span
