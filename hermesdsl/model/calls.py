"""Calls: built-in functions, and computed settings such as ``chunked(8192 tok)``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model.arithmetic import ANY_NUMBER
from hermesdsl.model.functions import FUNCTIONS, BudgetError, FunctionError
from hermesdsl.model.values import ComputedValue, Fail
from hermesdsl.schema import COMPUTED, family
from hermesdsl.schema.types import (
    OWN_DIMENSION,
    Computed,
    ComputedType,
    ListType,
    NumberType,
    PropertyType,
    RequestType,
    TupleType,
)
from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.units.dimension import NUMBER
from hermesdsl.units.quantity import UnitError

if TYPE_CHECKING:
    from hermesdsl.model.evaluate import Context, Evaluator


def call(evaluator: Evaluator, expr: ast.Call, context: Context, wanted: Any) -> Any:
    """The value of a call; raises `Fail`."""
    if not isinstance(expr.function, ast.Name):
        raise Fail(error("HMS305", "only built-in functions can be called", expr.span))
    name = expr.function.name
    if isinstance(wanted, ComputedType | RequestType):
        own = "distribution" if isinstance(wanted, RequestType) else wanted.family
        computed = COMPUTED.get((own, name))
        if computed is not None:
            return compute(evaluator, computed, expr.arguments, expr.span, context, wanted)
    if name in FUNCTIONS:
        return _function(evaluator, name, expr, context)
    computed = any_family(name)
    if computed is not None and not isinstance(wanted, ComputedType):
        return compute(evaluator, computed, expr.arguments, expr.span, context, wanted)
    raise Fail(_unknown_function(name, expr, wanted))


def any_family(name: str) -> Computed | None:
    """The first computed setting of that name, whatever its family."""
    return next((c for (_, own), c in COMPUTED.items() if own == name), None)


def _unknown_function(name: str, expr: ast.Call, wanted: Any) -> Diagnostic:
    if isinstance(wanted, ComputedType):
        known = [c.name for c in family(wanted.family)]
        notes = suggestion(name, known) or (f"help: one of {', '.join(known)}",)
        what = f"unknown {wanted.family} setting `{name}`"
        return error("HMS305", what, expr.function.span, notes=notes)
    near = suggestion(name, [*FUNCTIONS, *(n for _, n in COMPUTED)])
    notes = near or (f"help: functions are {', '.join(FUNCTIONS)}",)
    return error("HMS305", f"unknown function `{name}`", expr.function.span, notes=notes)


# --- functions -----------------------------------------------------------------------------


def _function(evaluator: Evaluator, name: str, expr: ast.Call, context: Context) -> Any:
    function, fewest, most = FUNCTIONS[name]
    if any(a.name for a in expr.arguments):
        raise Fail(error("HMS305", f"`{name}` takes no named arguments", expr.span))
    if not fewest <= len(expr.arguments) <= most:
        raise Fail(error("HMS305", f"`{name}` takes {_arity(fewest, most)}, found "
                         f"{len(expr.arguments)}", expr.span))  # fmt: skip
    args = [evaluator.value(a.value, context) for a in expr.arguments]
    return evaluator.bounded(_applied(lambda: function(*args), expr.span), expr.span)


def _applied(compute_it: Callable[[], Any], span: Span) -> Any:
    """Runs a function, turning its errors into diagnostics at `span`."""
    try:
        return compute_it()
    except UnitError as problem:
        raise Fail(error("HMS301", str(problem), span)) from None
    except BudgetError as problem:
        raise Fail(error("HMS307", str(problem), span)) from None
    except (FunctionError, TypeError) as problem:
        raise Fail(error("HMS303", str(problem), span)) from None
    except ZeroDivisionError:
        raise Fail(error("HMS304", "division by zero", span)) from None
    except (ArithmeticError, ValueError):
        raise Fail(error("HMS304", "the result is not a finite number", span)) from None


def _arity(fewest: int, most: int) -> str:
    if fewest == most:
        return f"{fewest} argument{'s' if fewest != 1 else ''}"
    return f"at least {fewest} argument" if most > 10 else f"{fewest} to {most} arguments"


# --- computed settings ---------------------------------------------------------------------


def compute(
    evaluator: Evaluator,
    computed: Computed,
    arguments: tuple[ast.Argument, ...],
    span: Span | None,
    context: Context | None,
    wanted: Any,
) -> ComputedValue:
    """A computed setting with its arguments evaluated and its defaults filled in."""
    own = getattr(wanted, "dimension", None)
    args: dict[str, Any] = {}
    for position, argument in enumerate(arguments):
        name, kind = _parameter(computed, position, argument)
        if name in args:
            raise Fail(error("HMS305", f"argument `{name}` given twice", argument.span))
        assert context is not None
        args[name] = evaluator.value(argument.value, context, _own(kind, own))
    for parameter in computed.parameters:
        if parameter.name not in args:
            if parameter.required:
                raise Fail(error("HMS305", f"`{computed.name}` needs `{parameter.name}`", span,
                                 notes=[f"help: {parameter.name}: {parameter.doc}"]))  # fmt: skip
            args[parameter.name] = evaluator.builder.default(parameter.default, parameter.type)
    if computed.needs_one_of and all(args[n] is None for n in computed.needs_one_of):
        needed = ", ".join(f"`{n}`" for n in computed.needs_one_of)
        raise Fail(error("HMS305", f"`{computed.name}` needs one of {needed}", span))
    return ComputedValue(computed.family, computed.name, args, span)


def _parameter(
    computed: Computed, position: int, argument: ast.Argument
) -> tuple[str, PropertyType]:
    """Which parameter an argument is for, and its type."""
    known = {p.name: p.type for p in computed.parameters}
    takes = f"help: it takes {', '.join(known)}" if known else "help: it takes no arguments"
    name = argument.name
    if name is None:
        if position >= len(computed.parameters):
            raise Fail(error("HMS305", f"too many arguments for `{computed.name}`", argument.span,
                             notes=[takes]))  # fmt: skip
        name = computed.parameters[position].name
    kind = known.get(name, computed.keywords)
    if kind is None:
        raise Fail(error("HMS305", f"`{computed.name}` has no argument `{name}`", argument.span,
                         notes=suggestion(name, known) or (takes,)))  # fmt: skip
    return name, kind


def _own(kind: PropertyType, own: Any) -> PropertyType:
    """Puts the dimension of the distribution in place of its parameters' own."""
    if kind == OWN_DIMENSION:
        return NumberType(own) if own is not None else ANY_NUMBER
    if isinstance(kind, ComputedType) and kind.dimension == OWN_DIMENSION.dimension:
        return replace(kind, dimension=own if own is not None else NUMBER)
    if isinstance(kind, ListType):
        return ListType(_own(kind.item, own))
    if isinstance(kind, TupleType):
        return TupleType(tuple(_own(k, own) for k in kind.items))
    return kind
