"""Evaluates expressions in a scope, with units, lazily and without side effects.

Knows names, units and operators; calls are in `calls`, the meaning of kinds in `coerce`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Label, error
from hermesdsl.model import arithmetic, calls, guards, resolve
from hermesdsl.model.arithmetic import MISSING
from hermesdsl.model.coerce import WantedType, coerce
from hermesdsl.model.functions import LIST_BUDGET
from hermesdsl.model.instance import Definition, Instance, Scope, Selection, Vector
from hermesdsl.model.messages import outside, unit_help, unknown_unit
from hermesdsl.model.values import Fail, Formula, SourcedText
from hermesdsl.schema import COMPUTED, words_beside
from hermesdsl.schema.pipeline import REQUEST_ATTRIBUTES
from hermesdsl.schema.types import (
    ComputedType,
    ConditionType,
    ListType,
    NumberType,
    RequestType,
    SymbolType,
    TupleType,
    UnitType,
)
from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.syntax.checks import NESTING
from hermesdsl.units.quantity import Quantity, UnitError, make, si
from hermesdsl.units.table import find

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

INTEGER_BUDGET = 2**63


@dataclass(frozen=True, slots=True)
class Context:
    """Where an expression stands: its scope, and the (instance, name) being set.

    `formula`: names of the request's values, such as ``prompt``, stand for them.
    """

    scope: Scope
    exclude: tuple[Instance, str] | None = None
    formula: bool = False


class Evaluator:
    """Evaluates for one build; all state is the builder's, but for the sizes of nested lists."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self._sizes: dict[int, tuple[list[Any] | tuple[Any, ...], int, int]] = {}

    def value(self, expr: ast.Expr, context: Context, wanted: WantedType | None = None) -> Any:
        """The value of `expr`, converted to `wanted`; raises `Fail`."""
        if isinstance(wanted, RequestType) and not context.formula:
            context = replace(context, formula=True)
        if isinstance(wanted, ConditionType) and guards.reads_request(expr):
            return guards.guard_of(self.builder, expr, context)
        if isinstance(wanted, ListType) and isinstance(expr, ast.ListExpr):
            return self._sized([self.value(e, context, wanted.item) for e in expr.items], expr.span)
        found = self._value(expr, context, wanted)
        if wanted is None:
            return found
        return coerce(self.builder, found, wanted, expr.span)

    def whole(self, expr: ast.Expr, context: Context) -> int:
        """The value of `expr` as a whole number."""
        return int(si(self.value(expr, context, NumberType(integer=True))))

    def truth(self, expr: ast.Expr, context: Context) -> bool:
        """The value of `expr`, which must be true or false."""
        value = self._value(expr, context, None)
        if not isinstance(value, bool):
            raise Fail(error("HMS303", f"expected true or false, found "
                             f"{arithmetic.kind_of(value)}", expr.span))  # fmt: skip
        return value

    def _value(self, expr: ast.Expr, context: Context, wanted: WantedType | None) -> Any:
        return _DISPATCH[type(expr)](self, expr, context, wanted)

    # --- leaves ---

    def _number(self, expr: ast.Number, context: Context, wanted: Any) -> Any:
        return self.bounded(expr.value, expr.span)

    def _text(self, expr: ast.Text, context: Context, wanted: Any) -> Any:
        return SourcedText(expr.value, self.builder.folder_of(expr.span.source))

    def _boolean(self, expr: ast.Boolean, context: Context, wanted: Any) -> Any:
        return expr.value

    def _quantity(self, expr: ast.QuantityLiteral, context: Context, wanted: Any) -> Any:
        made, divisor = self._divided(expr, context)
        if divisor is None:
            return self.bounded(made, expr.span)
        return self._apply("/", made, divisor, expr, expr, expr.span)

    def _divided(self, expr: ast.QuantityLiteral, context: Context) -> tuple[Quantity, Any]:
        """A quantity, and what a ``/name`` behind it that is no unit divides it by."""
        made = make(expr.value, expr.unit)
        if made is not None:
            return made, None
        above, slash, below = expr.unit.partition("/")
        top = make(expr.value, above)
        if slash and top is not None:
            found = self.builder.lookup(context.scope, below, context.exclude)
            if arithmetic.is_number(found):
                return top, found
        raise Fail(unknown_unit(expr))

    # --- names ---

    def _name(self, expr: ast.Name, context: Context, wanted: WantedType | None) -> Any:
        word = self._word(expr.name, wanted)
        if word is not None:
            return word
        if context.formula and expr.name in REQUEST_ATTRIBUTES:
            return self._of_request(expr)
        found = self.builder.lookup(context.scope, expr.name, context.exclude)
        if found is not MISSING:
            return found
        computed = calls.any_family(expr.name)
        if computed is not None and not any(p.required for p in computed.parameters):
            return calls.compute(self, computed, (), expr.span, context, None)
        if isinstance(wanted, ComputedType) and (wanted.family, expr.name) in COMPUTED:
            # Fails, and says which arguments it needs.
            setting = COMPUTED[wanted.family, expr.name]
            return calls.compute(self, setting, (), expr.span, context, wanted)
        raise Fail(
            resolve.unknown_name(
                self.builder, expr, context.scope, context.exclude, wanted, formula=context.formula
            )
        )

    def _of_request(self, expr: ast.Name) -> Formula:
        dimension = REQUEST_ATTRIBUTES[expr.name]
        if dimension is None:
            message = f"`{expr.name}` of a request is a name, which no formula computes with"
            note = f"help: compare it, as in `2 ms if {expr.name} == … else 3 ms`"
            raise Fail(error("HMS303", message, expr.span, notes=[note]))
        return Formula("attribute", (expr.name,), dimension)

    def _word(self, name: str, wanted: WantedType | None) -> Any:
        """A word that the wanted type gives meaning to before any other name."""
        if isinstance(wanted, SymbolType) and name in wanted.values:
            return name
        if isinstance(wanted, UnitType):
            unit = find(name)
            return None if unit is None else Quantity(unit.factor, unit.dimension, unit)
        if isinstance(wanted, ComputedType):
            computed = COMPUTED.get((wanted.family, name))
            if computed is not None and not any(p.required for p in computed.parameters):
                return calls.compute(self, computed, (), None, None, wanted)
        return None

    # --- lists ---

    def _list(self, expr: ast.ListExpr, context: Context, wanted: Any) -> Any:
        item = wanted.item if isinstance(wanted, ListType) else None
        return self._sized([self._value(e, context, item) for e in expr.items], expr.span)

    def _tuple(self, expr: ast.TupleExpr, context: Context, wanted: Any) -> Any:
        types: tuple[Any, ...] = wanted.items if isinstance(wanted, TupleType) else ()
        if len(types) != len(expr.items):
            types = (None,) * len(expr.items)
        items = zip(expr.items, types, strict=True)
        return self._sized(tuple(self._value(e, context, t) for e, t in items), expr.span)

    def _sized(self, made: Any, span: Span) -> Any:
        """The list itself, if it and the lists in it keep the budgets.

        A list of lists is counted through: a few definitions of two items each would otherwise
        stand for more items than any memory holds.
        """
        size, depth = len(made), 1
        for item in made:
            if isinstance(item, list | tuple):
                _, below, deep = self._sizes.get(id(item), (item, len(item), 1))
                size, depth = size + below, max(depth, deep + 1)
        if size > LIST_BUDGET:
            raise Fail(error("HMS307", f"a list of {size} items; the most is {LIST_BUDGET}", span))
        if depth > NESTING:
            raise Fail(error("HMS307", f"lists nested more than {NESTING} deep", span))
        if depth > 1:
            self._sizes[id(made)] = (made, size, depth)
        return made

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
            raise Fail(error("HMS303", "a selection cannot be indexed again", expr.span,
                             notes=["help: index the vector inside the path, as in "
                                    "`node[0].gpu[2]`"]))  # fmt: skip
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
                raise Fail(outside(stop - 1, len(items), expr.span))
            picked = list(items[start:stop])
            return Selection(picked, shown) if isinstance(base, Vector) else picked
        index = self.whole(expr.item, context)
        if not -len(items) <= index < len(items):
            raise Fail(outside(index, len(items), expr.span))
        return items[index]

    # --- operators ---

    def _unary(self, expr: ast.Unary, context: Context, wanted: Any) -> Any:
        value = self._value(expr.operand, context, None)
        try:
            return self.bounded(arithmetic.unary(expr.op, value), expr.span)
        except TypeError as problem:
            raise Fail(error("HMS303", str(problem), expr.span)) from None

    def _binary(self, expr: ast.Binary, context: Context, wanted: Any) -> Any:
        if expr.op in ("and", "or"):
            return self._logic(expr, context)
        chain: list[ast.Binary] = []
        first: ast.Expr = expr
        while isinstance(first, ast.Binary) and first.op not in ("and", "or"):
            chain.append(first)
            first = first.left
        left = self._value(first, context, None)
        for node in reversed(chain):
            left = self._operate(node, left, context)
        return left

    def _operate(self, node: ast.Binary, left: Any, context: Context) -> Any:
        right_expr = node.right
        if isinstance(right_expr, ast.QuantityLiteral) and node.op in ("/", "//", "%"):
            # `x / 60 GB/n` is (x / 60 GB) / n, as it would be with blanks around the stroke.
            right, divisor = self._divided(right_expr, context)
            made = self._apply(node.op, left, right, node.left, right_expr, node.span)
            if divisor is None:
                return made
            return self._apply("/", made, divisor, node, right_expr, node.span)
        right = self._value(right_expr, context, None)
        return self._apply(node.op, left, right, node.left, right_expr, node.span)

    def _apply(self, op: str, left: Any, right: Any, a: ast.Expr, b: ast.Expr, span: Span) -> Any:
        try:
            made = arithmetic.apply(op, left, right)
        except UnitError as problem:
            labels = [Label(a.span, arithmetic.described(left)),
                      Label(b.span, arithmetic.described(right))]  # fmt: skip
            raise Fail(error("HMS301", str(problem), span, labels=labels)) from None
        except ZeroDivisionError:
            raise Fail(error("HMS304", "division by zero", b.span)) from None
        except OverflowError:
            raise Fail(error("HMS304", "the result is too large", span)) from None
        except ArithmeticError as problem:
            raise Fail(error("HMS304", str(problem), span)) from None
        except arithmetic.ExponentError as problem:
            raise Fail(error("HMS307", str(problem), b.span)) from None
        except TypeError as problem:
            raise Fail(error("HMS303", str(problem), span)) from None
        if isinstance(made, list):
            return self._sized(made, span)
        return self.bounded(made, span)

    def bounded(self, value: Any, span: Span) -> Any:
        """The value itself; a number must be finite and, if whole, below 2^63."""
        if isinstance(value, bool) or not isinstance(value, int | float | Quantity):
            return value
        number = si(value)
        if isinstance(number, int):
            if abs(number) >= INTEGER_BUDGET:
                raise Fail(error("HMS307", "whole numbers end below 2^63", span))
        elif not math.isfinite(number):
            raise Fail(error("HMS304", "the result is not a finite number", span))
        return value

    def _logic(self, expr: ast.Binary, context: Context) -> bool:
        left = self.truth(expr.left, context)
        if left is (expr.op == "or"):
            return left
        return self.truth(expr.right, context)

    def _comparison(self, expr: ast.Comparison, context: Context, wanted: Any) -> Any:
        a = expr.operands[0]
        left = self._value(a, context, None)
        for op, b in zip(expr.ops, expr.operands[1:], strict=True):
            right = self._value(b, context, _words(op, left))
            if not self._compare(op, left, right, a, b, expr.span):
                return False
            left, a = right, b
        return True

    def _compare(
        self, op: str, left: Any, right: Any, a: ast.Expr, b: ast.Expr, span: Span
    ) -> bool:
        try:
            return arithmetic.compare(op, left, right)
        except UnitError as problem:
            labels = [Label(b.span, arithmetic.described(right)),
                      Label(a.span, arithmetic.described(left))]  # fmt: skip
            raise Fail(error("HMS301", str(problem), b.span, labels=labels,
                             notes=unit_help(left, b))) from None  # fmt: skip
        except TypeError as problem:
            raise Fail(error("HMS303", str(problem), span)) from None

    def _conditional(self, expr: ast.Conditional, context: Context, wanted: Any) -> Any:
        if context.formula and guards.reads_request(expr.condition):
            return self._either(expr, context, wanted)
        chosen = expr.then if self.truth(expr.condition, context) else expr.otherwise
        return self._value(chosen, context, wanted)

    def _either(self, expr: ast.Conditional, context: Context, wanted: Any) -> Formula:
        """A formula with two cases, of which the request decides."""
        guard = guards.guard_of(self.builder, expr.condition, replace(context, formula=False))
        if isinstance(wanted, RequestType):
            then, otherwise = (self.value(e, context, wanted) for e in (expr.then, expr.otherwise))
            return Formula("if", (guard, then, otherwise), wanted.dimension)
        then, otherwise = (self._value(e, context, None) for e in (expr.then, expr.otherwise))
        try:
            dimension = arithmetic.common_dimension(then, otherwise)
        except UnitError as problem:
            raise Fail(error("HMS301", str(problem), expr.span)) from None
        except TypeError as problem:
            raise Fail(error("HMS303", str(problem), expr.span)) from None
        return Formula("if", (guard, then, otherwise), dimension)

    def _call(self, expr: ast.Call, context: Context, wanted: Any) -> Any:
        return calls.call(self, expr, context, wanted)


def _words(op: str, left: Any) -> SymbolType | ListType | None:
    """What a word on the right may be: one of the words that `left` was chosen from."""
    if type(left) is not str:
        return None
    words = SymbolType(words_beside(left))
    return ListType(words) if op == "in" else words


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
