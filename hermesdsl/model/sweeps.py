"""Swept values: every `sweep` of an experiment as axes of points, checked against what is swept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model import outside
from hermesdsl.model.arithmetic import kind_of
from hermesdsl.model.configure import target_steps
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import Definition, Instance, Scope
from hermesdsl.model.values import Fail, Interval, source_text
from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

#: What `sweep case in […]` names.
CASE = "case"


@dataclass(frozen=True)
class Axis:
    """One `sweep`: paths, and for each point the source text of every value.

    `targets` are paths from the file of the experiment. A declared domain ``between(lo, hi)`` is
    one point with that text. `values` are those of the points as the language has them, and of a
    case its name.
    """

    targets: tuple[str, ...]
    points: tuple[tuple[str, ...], ...]
    values: tuple[tuple[Any, ...], ...]


def axes(builder: Builder, experiment: Instance) -> list[Axis]:
    """Every `sweep` of an experiment; problems go to the builder's sink."""
    found: list[Axis] = []
    for wiring in experiment.wirings:
        if isinstance(wiring.statement, ast.Sweep):
            try:
                found += _Sweep(builder, wiring.statement, wiring.scope).axes()
            except Fail as problem:
                builder.report(problem)
    return found


def swept_path(scope: Scope, target: ast.Expr) -> str:
    """How a target is written from the file: what is the experiment's own begins with its name."""
    shown = " ".join(target.span.text.split())
    owner = scope.owner
    first = shown.partition(".")[0].partition("[")[0]
    own = first in owner.params or first in owner.properties
    return f"{owner.path}.{shown}" if own and owner.path else shown


@dataclass(frozen=True)
class _Value:
    """One value of a point: how it is written, and the expression or the value itself."""

    shown: str
    span: Span
    expr: ast.Expr | None = None
    value: Any = None


class _Sweep:
    """One statement: its targets, and the values they take."""

    def __init__(self, builder: Builder, statement: ast.Sweep, scope: Scope) -> None:
        self.builder = builder
        self.statement = statement
        self.scope = scope
        self.targets = tuple(swept_path(scope, t) for t in statement.targets)

    def axes(self) -> Iterator[Axis]:
        """Its axis, or one for each target without values. Raises `Fail`."""
        if self.statement.values is None:
            for target in self.statement.targets:
                yield self._domain(target)
            return
        points = [self._point(item) for item in self._items(self.statement.values)]
        values = [
            self._check(target, [point[number] for point in points])
            for number, target in enumerate(self.statement.targets)
        ]
        shown = tuple(tuple(v.shown for v in point) for point in points)
        yield Axis(self.targets, shown, tuple(zip(*values, strict=True)))

    # --- values ---

    def _items(self, values: ast.Expr) -> list[_Value]:
        if isinstance(values, ast.ListExpr):
            items = [_Value(e.span.text, e.span, e) for e in values.items]
        else:
            found = self.builder.evaluator.value(values, Context(self.scope))
            if isinstance(found, Interval) and not self.statement.zipped:
                return [_Value(source_text(found), values.span, None, found)]
            if not isinstance(found, list):
                raise Fail(error("HMS602", f"a sweep goes over a list, not {kind_of(found)}",
                                 values.span))  # fmt: skip
            items = [_Value(source_text(v), values.span, None, v) for v in found]
        if not items:
            raise Fail(error("HMS602", "a sweep over nothing", values.span))
        return items

    def _point(self, item: _Value) -> list[_Value]:
        """The values of one point, one for each target."""
        count = len(self.targets)
        if not self.statement.zipped:
            return [item]
        parts: list[_Value] | None = None
        if isinstance(item.expr, ast.TupleExpr):
            parts = [_Value(e.span.text, e.span, e) for e in item.expr.items]
        elif isinstance(item.value, tuple):
            parts = [_Value(source_text(v), item.span, None, v) for v in item.value]
        if parts is None or len(parts) != count:
            shape = ", ".join(self.targets)
            raise Fail(error("HMS602", f"every point of this sweep is a tuple ({shape}), found "
                             f"`{item.shown}`", item.span))  # fmt: skip
        return parts

    # --- targets ---

    def _check(self, target: ast.Expr, values: list[_Value]) -> list[Any]:
        """The values, after what is swept was found to exist, to be settable and to take them."""
        if isinstance(target, ast.Name) and target.name == CASE:
            for value in values:
                self._check_case(value)
            return [value.shown for value in values]
        steps = target_steps(self.builder, target, self.scope)
        found: list[Any] = []
        for instance, name in outside.reached(self.builder, self.scope, steps):
            found = [self._taken(instance, name, steps[-1].span, value) for value in values]
        return found

    def _taken(self, instance: Instance, name: str, path: Span, value: _Value) -> Any:
        """A value as `name` takes it; of an interval both ends."""
        if isinstance(value.value, Interval):
            ends = [
                outside.check_one(self.builder, instance, name, path, value.span, None,
                                  self.scope, end)
                for end in (value.value.low, value.value.high)
            ]  # fmt: skip
            return Interval(*ends)
        return outside.check_one(self.builder, instance, name, path, value.span, value.expr,
                                 self.scope, value.value)  # fmt: skip

    def _check_case(self, value: _Value) -> None:
        found = value.value
        if isinstance(value.expr, ast.Name):
            found = self.builder.lookup(self.scope, value.expr.name)
        if isinstance(found, Definition) and found.kind.free:
            return
        file = self.scope.parent.owner if self.scope.parent is not None else self.scope.owner
        cases = [n for n, m in file.members.items()
                 if isinstance(m, Definition) and m.kind.free]  # fmt: skip
        notes = suggestion(value.shown, cases) or (f"help: cases are {', '.join(cases)}",)
        raise Fail(error("HMS602", f"`{value.shown}` is no case", value.span,
                         notes=notes if cases else ()))  # fmt: skip

    def _domain(self, target: ast.Expr) -> Axis:
        """The declared domain of a param as an axis."""
        steps = target_steps(self.builder, target, self.scope)
        shown = swept_path(self.scope, target)
        reached = outside.reached(self.builder, self.scope, steps)
        owner, name = reached[0]
        declared = owner.params.get(name)
        domain = getattr(getattr(declared, "statement", None), "domain", None)
        if declared is None or domain is None:
            raise Fail(error("HMS602", f"`{shown}` has no domain to sweep over", target.span,
                             notes=["help: declare one, as in `param n = 2 in range(1, 9)`, or "
                                    "give values with `in`"]))  # fmt: skip
        if isinstance(domain, ast.ListExpr):
            texts = tuple((i.span.text,) for i in domain.items)
            wanted = self.builder.type_of(owner, name)
            context = Context(declared.scope, (owner, name))
            found = [self.builder.evaluator.value(i, context, wanted) for i in domain.items]
            return Axis((shown,), texts, tuple((v,) for v in found))
        values = self.builder.evaluator.value(domain, Context(declared.scope))
        listed = [values] if isinstance(values, Interval) else values
        if not listed:
            raise Fail(error("HMS602", f"the domain of `{shown}` is empty", target.span))
        return Axis((shown,), tuple((source_text(v),) for v in listed),
                    tuple((v,) for v in listed))  # fmt: skip
