"""Goals as data: `require`, and the metrics that goals name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermesdsl.diagnostics import Label, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model.arithmetic import is_number, kind_of
from hermesdsl.model.evaluate import Context
from hermesdsl.model.functions import FUNCTIONS
from hermesdsl.model.instance import Definition, Instance, Scope, Selection, Vector
from hermesdsl.model.messages import unit_help
from hermesdsl.model.values import Fail
from hermesdsl.schema.metrics import METRICS, OUTCOMES, SERIES
from hermesdsl.schema.values import Goal, Metric, Requirement
from hermesdsl.syntax import ast
from hermesdsl.units import dimension as d
from hermesdsl.units.quantity import Quantity, article, dimension_of, si

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


def requirements(builder: Builder, experiment: Instance) -> list[Requirement]:
    """Every `require` of an experiment; problems go to the builder's sink."""
    found = []
    for wiring in experiment.wirings:
        if isinstance(wiring.statement, ast.Require):
            try:
                found.append(_requirement(builder, wiring.statement, wiring.scope))
            except Fail as problem:
                builder.report(problem)
    return found


def _requirement(builder: Builder, statement: ast.Require, scope: Scope) -> Requirement:
    condition = statement.condition
    if not isinstance(condition, ast.Comparison):
        raise Fail(
            error("HMS604", "a goal compares metrics and values", condition.span,
                  notes=["help: such as `require p99(ttft) <= 500 ms`"])
        )  # fmt: skip
    operands: list[Metric | float] = []
    dimensions: list[tuple[d.Dimension, ast.Expr]] = []
    unit, scale = "", 1.0
    for expr in condition.operands:
        if is_metric(expr):
            metric, dimension = metric_of(builder, expr, scope)
            operands.append(metric)
            dimensions.append((dimension, expr))
            continue
        value = builder.evaluator.value(expr, Context(scope))
        if not is_number(value):
            raise Fail(error("HMS604", f"a goal compares numbers, not {kind_of(value)}",
                             expr.span))  # fmt: skip
        if isinstance(value, Quantity) and value.unit is not None:
            unit, scale = value.unit.text, value.unit.factor
        operands.append(float(si(value)))
        dimensions.append((dimension_of(value), expr))
    if not any(isinstance(o, Metric) for o in operands):
        raise Fail(error("HMS604", "a goal names at least one metric", condition.span,
                         notes=[f"help: metrics are {', '.join(METRICS)}"]))  # fmt: skip
    _same_dimension(dimensions)
    if any(op in ("==", "!=", "in") for op in condition.ops):
        raise Fail(error("HMS604", "a goal is a bound: use < <= > >=", condition.span))
    goal = Goal(tuple(operands), condition.ops, unit, scale)
    shown = " ".join(condition.span.text.split())
    return Requirement(shown, goal, statement.message)


def _same_dimension(dimensions: list[tuple[d.Dimension, ast.Expr]]) -> None:
    first, before = dimensions[0]
    for other, expr in dimensions[1:]:
        bare = other.is_number and not first.is_countlike
        if bare or not d.comparable(first, other):
            labels = [Label(expr.span, d.describe(other)), Label(before.span, d.describe(first))]
            raise Fail(
                error("HMS301", f"cannot compare {article(first)} with {article(other)}",
                      expr.span, labels=labels, notes=unit_help(Quantity(0, first), expr))
            )  # fmt: skip


def is_metric(expr: ast.Expr) -> bool:
    """True for a metric, or what looks like one: a call that is of no built-in function.

    `max` is both: of a series it is the metric.
    """
    if isinstance(expr, ast.Name):
        return expr.name in METRICS or expr.name in SERIES
    if not isinstance(expr, ast.Call) or not isinstance(expr.function, ast.Name):
        return False
    name, arguments = expr.function.name, expr.arguments
    of_series = any(isinstance(a.value, ast.Name) and a.value.name in SERIES for a in arguments)
    return name not in FUNCTIONS or (name in METRICS and (of_series or not arguments))


def metric_of(builder: Builder, expr: ast.Expr, scope: Scope) -> tuple[Metric, d.Dimension]:
    """A metric call such as ``p95(tpot, workload = chat)``, with its dimension."""
    name = expr.function if isinstance(expr, ast.Call) else expr
    if not isinstance(name, ast.Name):
        raise Fail(error("HMS604", "this is not a metric", expr.span))
    schema = METRICS.get(name.name)
    if schema is None:
        notes = suggestion(name.name, METRICS) or (f"help: metrics are {', '.join(METRICS)}",)
        if name.name in SERIES:
            notes = (f"help: say which value of it, such as `p99({name.name})`",)
        raise Fail(error("HMS604", f"unknown metric `{name.name}`", name.span, notes=notes))
    arguments = expr.arguments if isinstance(expr, ast.Call) else ()
    series: str | None = None
    where: dict[str, str] = {}
    for argument in arguments:
        if argument.name is None:
            if series is not None or not (schema.of_series or schema.of_path):
                raise Fail(error("HMS604", f"`{name.name}` takes no such argument",
                                 argument.span))  # fmt: skip
            series = _series(builder, argument, schema.of_path, scope)
        else:
            if argument.name not in schema.filters:
                raise Fail(
                    error("HMS604", f"`{name.name}` has no filter `{argument.name}`",
                          argument.span, notes=suggestion(argument.name, schema.filters)
                          or (f"help: it takes {', '.join(schema.filters)}",))
                )  # fmt: skip
            where[argument.name] = _filter(builder, argument, scope)
    if series is None and (schema.of_series or schema.of_path):
        wanted = "one of " + ", ".join(SERIES) if schema.of_series else "a path"
        raise Fail(error("HMS604", f"`{name.name}` needs {wanted}", expr.span))
    dimension = schema.dimension if schema.dimension is not None else SERIES[series or ""]
    return Metric(name.name, series, where), dimension


def _series(builder: Builder, argument: ast.Argument, of_path: bool, scope: Scope) -> str:
    if of_path:
        value = builder.evaluator.value(argument.value, Context(scope))
        if isinstance(value, Instance | Vector):
            return value.path
        if isinstance(value, Selection):
            return ", ".join(item.path for item in value.items)
        raise Fail(error("HMS604", f"expected a path, found {kind_of(value)}", argument.span))
    if isinstance(argument.value, ast.Name) and argument.value.name in SERIES:
        return argument.value.name
    found = argument.value.span.text
    raise Fail(
        error("HMS604", f"unknown series `{found}`", argument.span,
              notes=suggestion(found, SERIES) or (f"help: one of {', '.join(SERIES)}",))
    )  # fmt: skip


def _filter(builder: Builder, argument: ast.Argument, scope: Scope) -> str:
    """The thing a filter names, by the name results use."""
    expr = argument.value
    if argument.name == "outcome":
        word = expr.name if isinstance(expr, ast.Name) else expr.span.text
        if word not in OUTCOMES:
            raise Fail(error("HMS604", f"unknown outcome `{word}`", expr.span,
                             notes=suggestion(word, OUTCOMES)
                             or (f"help: one of {', '.join(OUTCOMES)}",)))  # fmt: skip
        return word
    value = builder.evaluator.value(expr, Context(scope))
    wanted = {"workload": "workload", "class": "class", "case": "case"}.get(argument.name or "")
    if isinstance(value, Definition) and wanted in (None, value.kind.name):
        return value.qualified
    if isinstance(value, Instance | Vector) and wanted is None:
        return value.path
    raise Fail(error("HMS604", f"`{argument.name}` takes a {wanted or argument.name}, "
                     f"not {kind_of(value)}", expr.span))  # fmt: skip
