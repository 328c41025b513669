"""Evaluates expressions in a scope, with units, lazily and without side effects.

Knows names, units and built-in functions; the meaning of kinds is in `coerce` and `build`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Label, error
from hermesdsl.diagnostics.nearest import nearest, suggestion
from hermesdsl.model import arithmetic
from hermesdsl.model.coerce import coerce
from hermesdsl.model.functions import FUNCTIONS, LIST_BUDGET, FunctionError
from hermesdsl.model.instance import Definition, Instance, Scope, Selection, Vector
from hermesdsl.model.values import ComputedValue, Fail, Formula, SourcedText, text
from hermesdsl.schema import COMPUTED, family
from hermesdsl.schema.pipeline import REQUEST_ATTRIBUTES
from hermesdsl.schema.types import (
    OWN_DIMENSION,
    Computed,
    ComputedType,
    ListType,
    NumberType,
    PropertyType,
    RequestType,
    SymbolType,
    TupleType,
    UnitType,
)
from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.units import dimension as d
from hermesdsl.units.quantity import Quantity, UnitError, make, si
from hermesdsl.units.table import AMBIGUOUS, UNITS, find

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

INTEGER_BUDGET = 2**63


@dataclass(frozen=True, slots=True)
class Context:
    """Where an expression stands: its scope, the (instance, name) being set, the wanted type."""

    scope: Scope
    exclude: tuple[Instance, str] | None = None
    formula: bool = False


class Evaluator:
    """Evaluates for one build; all state is the builder's."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def value(self, expr: ast.Expr, context: Context, wanted: PropertyType | None = None) -> Any:
        """The value of `expr`, converted to `wanted`; raises `Fail`."""
        if isinstance(wanted, RequestType) and not context.formula:
            context = replace(context, formula=True)
        found = self._value(expr, context, wanted)
        if wanted is None:
            return found
        return coerce(self.builder, found, wanted, expr.span)

    def _value(self, expr: ast.Expr, context: Context, wanted: PropertyType | None) -> Any:
        return _DISPATCH[type(expr)](self, expr, context, wanted)

    # --- leaves ---

    def _number(self, expr: ast.Number, context: Context, wanted: Any) -> Any:
        return _bounded(expr.value, expr.span)

    def _text(self, expr: ast.Text, context: Context, wanted: Any) -> Any:
        return SourcedText(expr.value, self.builder.folder_of(expr.span.source))

    def _boolean(self, expr: ast.Boolean, context: Context, wanted: Any) -> Any:
        return expr.value

    def _quantity(self, expr: ast.QuantityLiteral, context: Context, wanted: Any) -> Any:
        made = make(expr.value, expr.unit)
        if made is not None:
            _bounded(made.value, expr.span)
            return made
        above, slash, below = expr.unit.partition("/")
        top = make(expr.value, above)
        if slash and top is not None:
            found = self.builder.lookup(context.scope, below, context.exclude)
            if found is not _MISSING and isinstance(found, int | float | Quantity):
                return arithmetic.apply("/", top, found)
        raise Fail(unknown_unit(expr))

    def _name(self, expr: ast.Name, context: Context, wanted: PropertyType | None) -> Any:
        word = self._word(expr.name, wanted)
        if word is not None:
            return word
        found = self.builder.lookup(context.scope, expr.name, context.exclude)
        if found is not _MISSING:
            return found
        if context.formula and expr.name in REQUEST_ATTRIBUTES:
            return Formula("attribute", (expr.name,), REQUEST_ATTRIBUTES[expr.name] or d.NUMBER)
        computed = self._any_family(expr.name)
        if computed is not None and not any(p.required for p in computed.parameters):
            return self._compute(computed, (), expr.span, context, None)
        raise Fail(self._unknown_name(expr, context, wanted))

    def _word(self, name: str, wanted: PropertyType | None) -> Any:
        """A word that the wanted type gives meaning to before any other name."""
        if isinstance(wanted, SymbolType) and name in wanted.values:
            return name
        if isinstance(wanted, UnitType) and find(name) is not None:
            return Quantity(1, find(name).dimension, find(name))  # type: ignore[union-attr]
        if isinstance(wanted, ComputedType):
            computed = COMPUTED.get((wanted.family, name))
            if computed is not None and not any(p.required for p in computed.parameters):
                return self._compute(computed, (), None, None, wanted)
        return None

    def _unknown_name(self, expr: ast.Name, context: Context, wanted: Any) -> Any:
        known = set(self.builder.visible(context.scope)) | set(FUNCTIONS)
        labels = []
        if isinstance(wanted, SymbolType):
            known = set(wanted.values)
            labels.append(f"one of: {', '.join(wanted.values)}")
        elif isinstance(wanted, ComputedType):
            members = [c.name for c in family(wanted.family)]
            known |= set(members)
            labels.append(f"one of: {', '.join(members)}")
        notes = suggestion(expr.name, known) or tuple(f"help: {t}" for t in labels)
        unset = self.builder.unset_property(context.scope, expr.name)
        if unset is not None:
            notes = (f"note: `{expr.name}` is a property of {unset} that has no value here",)
        return error("HMS201", f"unknown name `{expr.name}`", expr.span, notes=notes)

    def _any_family(self, name: str) -> Computed | None:
        for (_, own), computed in COMPUTED.items():
            if own == name:
                return computed
        return None

    # --- lists ---

    def _list(self, expr: ast.ListExpr, context: Context, wanted: Any) -> Any:
        item = wanted.item if isinstance(wanted, ListType) else None
        return [self._value(e, context, item) for e in expr.items]

    def _tuple(self, expr: ast.TupleExpr, context: Context, wanted: Any) -> Any:
        types: tuple[Any, ...] = wanted.items if isinstance(wanted, TupleType) else ()
        if len(types) != len(expr.items):
            types = (None,) * len(expr.items)
        return tuple(self._value(e, context, t) for e, t in zip(expr.items, types, strict=True))

    # --- paths ---

    def _attribute(self, expr: ast.Attribute, context: Context, wanted: Any) -> Any:
        base = self._value(expr.base, context, None)
        return self.builder.member(base, expr.name, expr.name_span, expr)

    def _index(self, expr: ast.Index, context: Context, wanted: Any) -> Any:
        base = self._value(expr.base, context, None)
        if isinstance(base, Selection):
            return self._pick_each(base, expr, context)
        items = base.items if isinstance(base, Vector) else base
        if isinstance(base, Instance | Definition):
            raise Fail(error("HMS303", f"`{base}` is one thing, not a vector", expr.span))
        if not isinstance(items, list | tuple):
            raise Fail(error("HMS303", f"{arithmetic.kind_of(base)} has no items", expr.span))
        return self._pick(base, items, expr, context)

    def _pick_each(self, base: Selection, expr: ast.Index, context: Context) -> Selection:
        """``node[*].gpu[0]``: the index is taken in every vector of the selection."""
        if base.vectors is None:
            raise Fail(
                error("HMS303", "a selection cannot be indexed again", expr.span,
                      notes=["help: index the vector inside the path, as in `node[0].gpu[2]`"])
            )  # fmt: skip
        items: list[Instance] = []
        for vector in base.vectors:
            picked = self._pick(vector, vector.items, expr, context)
            items.extend(picked.items if isinstance(picked, Selection) else [picked])
        return Selection(items, expr.span.text)

    def _pick(self, base: Any, items: Any, expr: ast.Index, context: Context) -> Any:
        shown = expr.span.text
        if isinstance(expr.item, ast.All):
            return Selection(list(items), shown) if isinstance(base, Vector) else list(items)
        if isinstance(expr.item, ast.Slice):
            start = self.whole(expr.item.start, context) if expr.item.start else None
            stop = self.whole(expr.item.stop, context) if expr.item.stop else None
            if stop is not None and stop > len(items):
                raise Fail(_outside(shown, stop - 1, len(items), expr.span))
            picked = list(items[start:stop])
            return Selection(picked, shown) if isinstance(base, Vector) else picked
        index = self.whole(expr.item, context)
        if not -len(items) <= index < len(items):
            raise Fail(_outside(shown, index, len(items), expr.span))
        return items[index]

    def whole(self, expr: ast.Expr, context: Context) -> int:
        """The value of `expr` as a whole number."""
        return int(si(self.value(expr, context, NumberType(integer=True))))

    # --- operators ---

    def _unary(self, expr: ast.Unary, context: Context, wanted: Any) -> Any:
        value = self._value(expr.operand, context, None)
        return _guarded(expr.span, lambda: arithmetic.unary(expr.op, value))

    def _binary(self, expr: ast.Binary, context: Context, wanted: Any) -> Any:
        if expr.op in ("and", "or"):
            return self._logic(expr, context)
        chain: list[tuple[ast.Binary, ast.Expr]] = []
        left_expr: ast.Expr = expr
        while isinstance(left_expr, ast.Binary) and left_expr.op not in ("and", "or"):
            chain.append((left_expr, left_expr.right))
            left_expr = left_expr.left
        left = self._value(left_expr, context, None)
        for node, right_expr in reversed(chain):
            right = self._value(right_expr, context, None)
            left = self._operate(node, left, right)
        return left

    def _operate(self, node: ast.Binary, left: Any, right: Any) -> Any:
        try:
            made = arithmetic.apply(node.op, left, right)
        except UnitError as problem:
            labels = [
                Label(node.left.span, arithmetic.described(left)),
                Label(node.right.span, arithmetic.described(right)),
            ]
            raise Fail(error("HMS301", str(problem), node.span, labels=labels)) from None
        except ZeroDivisionError:
            raise Fail(error("HMS304", "division by zero", node.right.span)) from None
        except OverflowError:
            raise Fail(error("HMS304", "the result is too large", node.span)) from None
        except TypeError as problem:
            raise Fail(error("HMS303", str(problem), node.span)) from None
        if isinstance(made, int | float | Quantity):
            _bounded(si(made), node.span)
        if isinstance(made, list) and len(made) > LIST_BUDGET:
            raise Fail(error("HMS307", f"a list of {len(made)} items", node.span))
        return made

    def _logic(self, expr: ast.Binary, context: Context) -> bool:
        left = self.truth(expr.left, context)
        if left is (expr.op == "or"):
            return left
        return self.truth(expr.right, context)

    def truth(self, expr: ast.Expr, context: Context) -> bool:
        """The value of `expr`, which must be true or false."""
        value = self._value(expr, context, None)
        if not isinstance(value, bool):
            raise Fail(
                error("HMS303", f"expected true or false, found {arithmetic.kind_of(value)}",
                      expr.span)
            )  # fmt: skip
        return value

    def _comparison(self, expr: ast.Comparison, context: Context, wanted: Any) -> Any:
        left_expr = expr.operands[0]
        left = self._value(left_expr, context, None)
        for op, right_expr in zip(expr.ops, expr.operands[1:], strict=True):
            symbols = SymbolType((left,)) if type(left) is str else None
            right = self._value(right_expr, context, symbols)
            if not self._compare(op, left, right, left_expr, right_expr, expr.span):
                return False
            left, left_expr = right, right_expr
        return True

    def _compare(
        self, op: str, left: Any, right: Any, a: ast.Expr, b: ast.Expr, span: Span
    ) -> bool:
        try:
            return arithmetic.compare(op, left, right)
        except UnitError as problem:
            labels = [
                Label(b.span, arithmetic.described(right)),
                Label(a.span, arithmetic.described(left)),
            ]
            raise Fail(
                error("HMS301", str(problem), b.span, labels=labels,
                      notes=_unit_help(left, b))
            ) from None  # fmt: skip
        except TypeError as problem:
            raise Fail(error("HMS303", str(problem), span)) from None

    def _conditional(self, expr: ast.Conditional, context: Context, wanted: Any) -> Any:
        chosen = expr.then if self.truth(expr.condition, context) else expr.otherwise
        return self._value(chosen, context, wanted)

    # --- calls ---

    def _call(self, expr: ast.Call, context: Context, wanted: Any) -> Any:
        if not isinstance(expr.function, ast.Name):
            raise Fail(error("HMS305", "only built-in functions can be called", expr.span))
        name = expr.function.name
        if isinstance(wanted, ComputedType | RequestType):
            own = "distribution" if isinstance(wanted, RequestType) else wanted.family
            computed = COMPUTED.get((own, name))
            if computed is not None:
                return self._compute(computed, expr.arguments, expr.span, context, wanted)
        if name in FUNCTIONS:
            return self._function(name, expr, context)
        computed = self._any_family(name)
        if computed is not None and not isinstance(wanted, ComputedType):
            return self._compute(computed, expr.arguments, expr.span, context, wanted)
        raise Fail(self._unknown_function(name, expr, wanted))

    def _unknown_function(self, name: str, expr: ast.Call, wanted: Any) -> Any:
        known = (
            [c.name for c in family(wanted.family)]
            if isinstance(wanted, ComputedType)
            else [*FUNCTIONS, *(n for _, n in COMPUTED)]
        )
        notes = list(suggestion(name, known))
        if isinstance(wanted, ComputedType):
            notes.append(f"help: one of {', '.join(known)}")
        what = f"{wanted.family} setting" if isinstance(wanted, ComputedType) else "function"
        return error("HMS305", f"unknown {what} `{name}`", expr.function.span, notes=notes[:1])

    def _function(self, name: str, expr: ast.Call, context: Context) -> Any:
        function, fewest, most = FUNCTIONS[name]
        if any(a.name for a in expr.arguments):
            raise Fail(error("HMS305", f"`{name}` takes no named arguments", expr.span))
        if not fewest <= len(expr.arguments) <= most:
            raise Fail(error("HMS305", f"`{name}` takes {_arity(fewest, most)}", expr.span))
        args = [self._value(a.value, context, None) for a in expr.arguments]
        return _guarded(expr.span, lambda: function(*args))

    def _compute(
        self,
        computed: Computed,
        arguments: tuple[ast.Argument, ...],
        span: Span | None,
        context: Context | None,
        wanted: Any,
    ) -> ComputedValue:
        own = getattr(wanted, "dimension", None)
        known = {p.name: p for p in computed.parameters}
        args: dict[str, Any] = {}
        for position, argument in enumerate(arguments):
            name = argument.name
            if name is None:
                if position >= len(computed.parameters):
                    raise Fail(error("HMS305", f"too many arguments for `{computed.name}`",
                                     argument.span))  # fmt: skip
                name = computed.parameters[position].name
            if name in args:
                raise Fail(error("HMS305", f"argument `{name}` given twice", argument.span))
            kind = known[name].type if name in known else computed.keywords
            if kind is None:
                notes = suggestion(name, known) or ((f"help: it takes {', '.join(known)}",)
                                                    if known else ())  # fmt: skip
                raise Fail(error("HMS305", f"`{computed.name}` has no argument `{name}`",
                                 argument.span, notes=notes))  # fmt: skip
            assert context is not None
            args[name] = self.value(argument.value, context, _own(kind, own))
        for name, parameter in known.items():
            if name not in args:
                if parameter.required:
                    raise Fail(error("HMS305", f"`{computed.name}` needs `{name}`", span))
                args[name] = self.builder.default(parameter.default, parameter.type)
        if computed.needs_one_of and all(args[n] is None for n in computed.needs_one_of):
            needed = ", ".join(f"`{n}`" for n in computed.needs_one_of)
            raise Fail(error("HMS305", f"`{computed.name}` needs one of {needed}", span))
        return ComputedValue(computed.family, computed.name, args, span)


_DISPATCH: dict[type, Callable[..., Any]] = {
    ast.Number: Evaluator._number,
    ast.Text: Evaluator._text,
    ast.Boolean: Evaluator._boolean,
    ast.QuantityLiteral: Evaluator._quantity,
    ast.Name: Evaluator._name,
    ast.ListExpr: Evaluator._list,
    ast.TupleExpr: Evaluator._tuple,
    ast.Attribute: Evaluator._attribute,
    ast.Index: Evaluator._index,
    ast.Unary: Evaluator._unary,
    ast.Binary: Evaluator._binary,
    ast.Comparison: Evaluator._comparison,
    ast.Conditional: Evaluator._conditional,
    ast.Call: Evaluator._call,
}

_MISSING = arithmetic.MISSING


def _own(kind: PropertyType, own: Any) -> PropertyType:
    """Puts the dimension of the distribution in place of its parameters' own."""
    if kind == OWN_DIMENSION:
        return NumberType(own) if own is not None else arithmetic.ANY_NUMBER
    if isinstance(kind, ComputedType) and kind.dimension == OWN_DIMENSION.dimension:
        return replace(kind, dimension=own if own is not None else d.NUMBER)
    if isinstance(kind, ListType):
        return ListType(_own(kind.item, own))
    if isinstance(kind, TupleType):
        return TupleType(tuple(_own(k, own) for k in kind.items))
    return kind


def _arity(fewest: int, most: int) -> str:
    if fewest == most:
        return f"{fewest} argument{'s' if fewest != 1 else ''}"
    return f"at least {fewest} argument" if most > 10 else f"{fewest} to {most} arguments"


def _guarded(span: Span, compute: Callable[[], Any]) -> Any:
    """Runs a computation, turning its errors into diagnostics at `span`."""
    try:
        made = compute()
    except UnitError as problem:
        raise Fail(error("HMS301", str(problem), span)) from None
    except (FunctionError, TypeError) as problem:
        raise Fail(error("HMS303", str(problem), span)) from None
    except ZeroDivisionError:
        raise Fail(error("HMS304", "division by zero", span)) from None
    except (OverflowError, ValueError):
        raise Fail(error("HMS304", "the result is not a finite number", span)) from None
    if isinstance(made, int | float | Quantity) and not isinstance(made, bool):
        _bounded(si(made), span)
    return made


def _bounded(value: float, span: Span) -> float:
    """The number itself if it is finite and, if whole, below 2^63."""
    if isinstance(value, int):
        if abs(value) >= INTEGER_BUDGET:
            raise Fail(error("HMS307", "whole numbers end below 2^63", span))
    elif not math.isfinite(value):
        raise Fail(error("HMS304", "the result is not a finite number", span))
    return value


def _outside(shown: str, index: int, count: int, span: Span) -> Any:
    return error(
        "HMS403",
        f"index {index} is out of range",
        span,
        notes=[f"note: the vector has {count} items, 0 to {count - 1}" if count
               else "note: the vector is empty"],
    )  # fmt: skip


def unknown_unit(expr: ast.QuantityLiteral) -> Any:
    """The diagnostic for a unit that is none, with the nearest right one."""
    if expr.unit in AMBIGUOUS:
        choices = " or ".join(f"`{u}`" for u in AMBIGUOUS[expr.unit])
        return error(
            "HMS302",
            f"`{expr.unit}` could be bits or bytes",
            expr.unit_span,
            notes=[f"help: write {choices}" + (
                "" if "/" in expr.unit else f", or `{expr.unit[:-1]}bit/s` for a rate")],
        )  # fmt: skip
    above, slash, below = expr.unit.partition("/")
    known = list(UNITS)
    if slash:
        best_top = above if above in UNITS else nearest(above, known)
        best_bottom = below if below in UNITS else nearest(below, known)
        guess = f"{best_top}/{best_bottom}" if best_top and best_bottom else None
    else:
        guess = nearest(expr.unit, known)
    notes = [f"help: did you mean `{guess}`?"] if guess else []
    return error("HMS302", f"unknown unit `{expr.unit}`", expr.unit_span, notes=notes)


def _unit_help(left: Any, right: ast.Expr) -> list[str]:
    """Offers the right unit where only the unit of a literal is wrong."""
    if not isinstance(right, ast.QuantityLiteral) or not isinstance(left, Quantity):
        if isinstance(right, ast.Number) and isinstance(left, Quantity):
            unit = left.unit.text if left.unit else None
            return [f"help: give it a unit, such as `{text(right.value)} {unit}`"] if unit else []
        return []
    top = right.unit.partition("/")[0]
    for choice in (top, f"{right.unit}/s", f"{right.unit}/tok"):
        unit = find(choice)
        if unit is not None and d.comparable(unit.dimension, left.dimension):
            return [f"help: did you mean `{text(right.value)} {choice}`?"]
    return []
