"""What a param takes: its type, the sort of its default, its domain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Label, error
from hermesdsl.model.arithmetic import compare, equal, is_number, kind_of, type_name
from hermesdsl.model.coerce import MemberType, WantedType, coerce, named_type
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import Definition, ParamDecl
from hermesdsl.model.messages import unit_notes
from hermesdsl.model.values import Fail, Interval, text
from hermesdsl.schema import KINDS
from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.units import dimension as d
from hermesdsl.units.quantity import UnitError, article, dimension_of

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


def param_type(builder: Builder, declared: ParamDecl) -> WantedType | None:
    """The type a ``param x: T`` states, or None; raises `Fail`."""
    statement = declared.statement
    assert isinstance(statement, ast.Param)
    if statement.type is None:
        return None
    expr = statement.type
    if isinstance(expr, ast.Name) and expr.name in KINDS:
        return named_type(expr.name)
    exclude = (declared.scope.owner, declared.name)
    value = builder.evaluator.value(expr, Context(declared.scope, exclude))
    if isinstance(value, Definition):
        return MemberType(value)
    raise Fail(error("HMS303", f"{kind_of(value)} is not a type", expr.span,
                     notes=["help: a param takes a definition of a kind (`param x: chip`) or a "
                            "thing of a type (`param x: LlmEngine`)"]))  # fmt: skip


def check_param(
    builder: Builder,
    declared: ParamDecl,
    wanted: WantedType | None,
    value: Any,
    span: Span,
    *,
    given: bool,
) -> None:
    """Holds a value of type `wanted` against the param's domain and the sort of its default.

    `given`: it is not the default itself. Raises `Fail`.
    """
    statement = declared.statement
    if isinstance(statement, ast.Let):
        return
    if wanted is None and given and statement.default is not None:
        _same_sort(builder, declared, statement.default, value, span)
    if statement.domain is not None:
        _check_domain(builder, declared, statement.domain, wanted, value, span)


def _same_sort(
    builder: Builder, declared: ParamDecl, default: ast.Expr, value: Any, span: Span
) -> None:
    exclude = (declared.scope.owner, declared.name)
    usual = builder.evaluator.value(default, Context(declared.scope, exclude))
    labels = [Label(default.span, "its default")]
    plain = ("bool", "number", "text")
    if type_name(usual) != type_name(value) and (
        type_name(usual) in plain or type_name(value) in plain
    ):
        raise Fail(error("HMS303", f"`{declared.name}` takes a value like {text(usual)}, "
                         f"found {kind_of(value)}", span, labels=labels))  # fmt: skip
    if is_number(usual) and not d.assignable(dimension_of(value), dimension_of(usual)):
        wanted, found = dimension_of(usual), dimension_of(value)
        notes = []
        if found.is_number:
            notes = unit_notes(value, wanted, getattr(getattr(usual, "unit", None), "text", None))
        raise Fail(
            error("HMS301", f"`{declared.name}` takes {article(wanted)}, found {article(found)}",
                  span, labels=labels, notes=notes)
        )  # fmt: skip


def _check_domain(
    builder: Builder,
    declared: ParamDecl,
    expr: ast.Expr,
    wanted: WantedType | None,
    value: Any,
    span: Span,
) -> None:
    allowed = builder.evaluator.value(expr, Context(declared.scope))
    if isinstance(allowed, Interval):
        inside, shown = _within(value, allowed, expr.span), text(allowed)
    elif isinstance(allowed, list | tuple):
        options: list[Any] = list(allowed)
        if wanted is not None:
            options = [coerce(builder, o, wanted, expr.span) for o in allowed]
        inside = any(equal(value, option) for option in options)
        shown = f"one of {_listed(allowed)}"
    else:
        raise Fail(error("HMS303", f"a domain is a list, a range or `between(lo, hi)`, not "
                         f"{kind_of(allowed)}", expr.span))  # fmt: skip
    if not inside:
        raise Fail(error("HMS306", f"`{declared.name}` = {text(value)} is not in its domain",
                         span, labels=[Label(expr.span, shown)]))  # fmt: skip


def _within(value: Any, allowed: Interval, span: Span) -> bool:
    try:
        return compare("<=", allowed.low, value) and compare("<=", value, allowed.high)
    except (UnitError, TypeError) as problem:
        raise Fail(error("HMS301", str(problem), span)) from None


def _listed(options: list[Any] | tuple[Any, ...]) -> str:
    shown = ", ".join(text(option) for option in options[:12])
    return f"{shown}, …" if len(options) > 12 else shown
