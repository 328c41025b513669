"""Conditions on a request as data: what an arm of a branch, `pass` and `while` may hold.

A condition compares what a request has with numbers and names; it is decided when a request comes
there. Knows syntax and names; nothing of pipelines or of when conditions are tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hermesdsl.diagnostics import Label, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model import resolve
from hermesdsl.model.arithmetic import MISSING, is_number, kind_of, with_article
from hermesdsl.model.instance import Definition, Instance
from hermesdsl.model.values import Fail
from hermesdsl.schema.pipeline import REQUEST_ATTRIBUTES
from hermesdsl.schema.values import Guard
from hermesdsl.syntax import ast
from hermesdsl.units import dimension as d
from hermesdsl.units.quantity import article, dimension_of, si

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.evaluate import Context

VERDICTS = ("pass", "fail")
#: What is a condition by itself: a verdict that is a pass, a number that is not 0.
_ALONE = set(REQUEST_ATTRIBUTES) - {"class", "model"}


def reads_request(expr: ast.Expr) -> bool:
    """True for an expression that names something which only a request has."""
    return any(name in REQUEST_ATTRIBUTES for name in resolve.names_in(expr))


def guard_of(builder: Builder, expr: ast.Expr, context: Context) -> Guard:
    """A condition over the request as data; raises `Fail`."""
    shown = " ".join(expr.span.text.split())
    if isinstance(expr, ast.Binary) and expr.op in ("and", "or"):
        sides = (guard_of(builder, expr.left, context), guard_of(builder, expr.right, context))
        return Guard(expr.op, sides, shown)
    if isinstance(expr, ast.Unary) and expr.op == "not":
        return Guard("not", (guard_of(builder, expr.operand, context),), shown)
    if isinstance(expr, ast.Name) and expr.name in _ALONE:
        return Guard("is", (expr.name,), shown)
    if isinstance(expr, ast.Comparison):
        pairs = zip(expr.operands, expr.ops, expr.operands[1:], strict=False)
        parts = tuple(_compared(builder, a, op, b, context, shown) for a, op, b in pairs)
        return parts[0] if len(parts) == 1 else Guard("and", parts, shown)
    raise Fail(
        error("HMS502", "this is not a condition on the request", expr.span,
              notes=["help: compare " + ", ".join(REQUEST_ATTRIBUTES)])
    )  # fmt: skip


class _Side(NamedTuple):
    """A side of a comparison: a number has a `dimension`, a name is one of a `sort` of names."""

    operand: str | float | bool
    dimension: d.Dimension | None
    sort: str = ""


def _compared(
    builder: Builder, a: ast.Expr, op: str, b: ast.Expr, context: Context, shown: str
) -> Guard:
    """One comparison; both sides must be of one dimension, and words are equal or not."""
    for one, other in ((a, b), (b, a)):
        if isinstance(one, ast.Name) and one.name == "verdict":
            _check_verdict(builder, other, context)
    left, right = _side(builder, a, context), _side(builder, b, context)
    first, second = left.dimension, right.dimension
    if first is None or second is None:
        if first is not second or op not in ("==", "!="):
            raise Fail(error("HMS502", "a class, a model and a verdict are compared with a name, "
                             "by == or !=", b.span))  # fmt: skip
        if left.sort != right.sort and left.sort and right.sort:
            message = f"{with_article(left.sort)} is never {with_article(right.sort)}"
            raise Fail(error("HMS502", message, b.span))
    elif not d.comparable(first, second):
        labels = [Label(b.span, d.describe(second)), Label(a.span, d.describe(first))]
        raise Fail(error("HMS301", f"cannot compare {article(first)} with {article(second)}",
                         b.span, labels=labels))  # fmt: skip
    return Guard(op, (left.operand, right.operand), shown)


def _check_verdict(builder: Builder, expr: ast.Expr, context: Context) -> None:
    """What a verdict is compared with must be one."""
    notes: Sequence[str] = ()
    if isinstance(expr, ast.Name):
        known = expr.name in VERDICTS or builder.lookup(context.scope, expr.name) is not MISSING
        notes = suggestion(expr.name, VERDICTS)
    else:
        known = not isinstance(expr, ast.Boolean)
    if not known:
        raise Fail(error("HMS502", f"a verdict is one of {', '.join(VERDICTS)}", expr.span,
                         notes=notes))  # fmt: skip


def _side(builder: Builder, expr: ast.Expr, context: Context) -> _Side:
    if isinstance(expr, ast.Name) and expr.name in REQUEST_ATTRIBUTES:
        dimension = REQUEST_ATTRIBUTES[expr.name]
        return _Side(expr.name, dimension, "" if dimension is not None else expr.name)
    word = expr.name if isinstance(expr, ast.Name) and expr.name in VERDICTS else None
    if word is not None and builder.lookup(context.scope, word) is MISSING:
        return _Side(f"={word}", None, "verdict")
    value: Any = builder.evaluator.value(expr, context)
    if isinstance(value, Definition | Instance) and value.kind.name in ("class", "model"):
        return _Side(f"={value.name}", None, value.kind.name)
    if isinstance(value, str):
        return _Side(f"={value}", None)
    if isinstance(value, bool) or not is_number(value):
        raise Fail(error("HMS502", f"cannot compare a request with {kind_of(value)}", expr.span))
    return _Side(float(si(value)), dimension_of(value))
