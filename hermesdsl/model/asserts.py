"""Failed asserts: the values of the operands under them, what came out, and where values are from.

assert decode_n * decode_tp == 16
       4          8         -> 32 == 16 is false
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, Label, error
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import BY_DEFAULT, Instance, ModuleFile, Scope, Slot
from hermesdsl.model.resolve import origin_of
from hermesdsl.model.values import Fail, text
from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

#: Longest text of one value; a list of a thousand items helps nobody.
_LONGEST = 48


def failed(builder: Builder, statement: ast.Assert, scope: Scope) -> Diagnostic | None:
    """The diagnostic of an assert that does not hold, or None. Raises `Fail`."""
    context = Context(scope)
    if builder.evaluator.truth(statement.condition, context):
        return None
    explanation = _Explanation(builder, context)
    explanation.of(statement.condition)
    message = f": {statement.message}" if statement.message else ""
    notes = dict.fromkeys(_origins(builder, statement.condition, scope))
    if scope.owner.decl is not None:
        notes[f"note: of `{scope.owner}`"] = None
    return error("HMS401", f"assertion failed{message}", statement.condition.span,
                 labels=explanation.labels, notes=notes)  # fmt: skip


class _Explanation:
    """Collects labels: a value under every operand, and a verdict under what is false."""

    def __init__(self, builder: Builder, context: Context) -> None:
        self.builder = builder
        self.context = context
        self.labels: list[Label] = []

    def of(self, expr: ast.Expr, wanted: bool = True) -> None:
        """Explains why `expr` is not `wanted`, looking only at the part that decides."""
        if isinstance(expr, ast.Unary) and expr.op == "not":
            self.of(expr.operand, not wanted)
        elif isinstance(expr, ast.Binary) and expr.op in ("and", "or"):
            self._logic(expr, wanted)
        elif isinstance(expr, ast.Comparison):
            self._comparison(expr, wanted)
        else:
            self._label(expr.span, f"-> {'false' if wanted else 'true'}")

    def _logic(self, expr: ast.Binary, wanted: bool) -> None:
        """Of ``and`` the first side that is false, of ``or`` both."""
        for side in (expr.left, expr.right):
            if self.builder.evaluator.truth(side, self.context) is not wanted:
                self.of(side, wanted)
                if (expr.op == "and") is wanted:
                    return

    def _comparison(self, expr: ast.Comparison, wanted: bool) -> None:
        """The pair that decides: the first that is false, or the whole chain."""
        pairs = list(zip(expr.operands, expr.ops, expr.operands[1:], strict=False))
        for a, op, b in pairs if wanted else pairs[-1:]:
            pair = ast.Comparison((a, b), (op,), a.span.to(b.span))
            if wanted and self.builder.evaluator.truth(pair, self.context):
                continue
            self._operands(a)
            self._operands(b)
            shown = f"{self._shown(a)} {op} {self._shown(b)}"
            self._label(_between(a, op, b), f"-> {shown} is {'false' if wanted else 'true'}")
            return

    def _operands(self, expr: ast.Expr) -> None:
        """Labels the parts whose values are worth showing, left to right."""
        if isinstance(expr, ast.Comparison):
            for operand in expr.operands:
                self._operands(operand)
        elif isinstance(expr, ast.Binary):
            self._operands(expr.left)
            self._operands(expr.right)
        elif isinstance(expr, ast.Unary):
            self._operands(expr.operand)
        elif isinstance(expr, ast.Name | ast.Attribute | ast.Index | ast.Call):
            shown = self._shown(expr)
            if shown and shown != expr.span.text:
                self._label(expr.span, shown)

    def _shown(self, expr: ast.Expr) -> str:
        try:
            shown = text(self.builder.evaluator.value(expr, self.context))
        except Fail:  # a word, which is a value only beside what it is compared with
            return expr.span.text
        return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"

    def _label(self, span: Span, shown: str) -> None:
        self.labels.append(Label(span, shown, marked=False))


def _between(a: ast.Expr, op: str, b: ast.Expr) -> Span:
    """Where the operator between two operands stands."""
    gap = Span(a.span.source, a.span.end, b.span.start)
    at = gap.start + max(gap.text.find(op), 0)
    return Span(gap.source, at, at + len(op))


# --- origins -------------------------------------------------------------------------------


def _origins(builder: Builder, expr: Any, scope: Scope) -> Iterator[str]:
    """``decode_n = 4 from --set; default is 2 at serving.hms:13`` for every param that was set."""
    if isinstance(expr, ast.Name):
        found = _param(builder, scope, expr.name)
        if found is not None:
            yield from _origin(*found)
    elif isinstance(expr, ast.Attribute):
        try:
            base = builder.evaluator.value(expr.base, Context(scope))
        except Fail:
            return
        owner = base.instance if isinstance(base, ModuleFile) else base
        if isinstance(owner, Instance) and expr.name in owner.params:
            yield from _origin(owner, expr.name, expr.span.text)
    elif isinstance(expr, ast.Comparison):
        for operand in expr.operands:
            yield from _origins(builder, operand, scope)
    elif isinstance(expr, ast.Binary):
        yield from _origins(builder, expr.left, scope)
        yield from _origins(builder, expr.right, scope)
    elif isinstance(expr, ast.Unary):
        yield from _origins(builder, expr.operand, scope)
    elif isinstance(expr, ast.Call):
        for argument in expr.arguments:
            yield from _origins(builder, argument.value, scope)


def _param(builder: Builder, scope: Scope, name: str) -> tuple[Instance, str, str] | None:
    current: Scope | None = scope
    while current is not None:
        if name in current.owner.params:
            return current.owner, name, name
        home = origin_of(builder, current.owner, name)
        if home is not None:
            return (home[0].instance, home[1], name) if home[1] in home[0].instance.params else None
        current = current.parent
    return None


def _origin(owner: Instance, name: str, shown: str) -> Iterator[str]:
    slot = (owner.twin or owner).slots.get(name)
    if slot is not None and slot.winner is not None and slot.winner.rank.stage != BY_DEFAULT:
        yield origin_line(slot, shown)


def origin_line(slot: Slot, shown: str) -> str:
    """Where a value came from, and what the default would have been."""
    assert slot.winner is not None
    winner = slot.winner
    line = f"{shown} = {text(slot.value)} from {winner.origin}"
    if winner.span is not None and winner.span.source.path is not None:
        line += f" at {winner.span.source.name}:{winner.span.line}"
    first = slot.sites[0]
    if first.rank.stage == BY_DEFAULT and first.span is not None:
        where = f"{first.span.source.name}:{first.span.line}"
        line += f"; default is {first.span.text} at {where}"
    return line
