"""The arrows, branches and placements of pipelines, as plain values over instances."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model import guards, resolve, twins
from hermesdsl.model.arithmetic import is_number, kind_of
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import Definition, Instance, Scope, Selection, Vector, Wiring
from hermesdsl.model.values import Fail
from hermesdsl.schema.pipeline import REQUEST_ATTRIBUTES
from hermesdsl.schema.values import Guard
from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.units.quantity import Quantity, si

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

ENDS = ("input", "output", "refused", "recompute")


@dataclass(frozen=True)
class ArrowValue:
    """``source -> target``; the arm of a branch has an order and a guard, share or neither."""

    source: str
    target: str
    span: Span
    order: int | None = None
    guard: Guard | None = None
    share: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Clients:
    """What a stage runs on: one client, a vector, a selection, or a pool."""

    name: str
    members: tuple[Instance, ...]
    pool: Instance | None = None


def arrows(builder: Builder, pipeline: Instance) -> list[ArrowValue]:
    """Every arrow of a pipeline or cache; problems go to the builder's sink."""
    proto = pipeline.twin or pipeline
    found: list[ArrowValue] = []
    for wiring in proto.wirings:
        try:
            if isinstance(wiring.statement, ast.Flow):
                found += _flow(builder, proto, wiring)
            elif isinstance(wiring.statement, ast.Branch):
                found += _branch(builder, proto, wiring)
        except Fail as problem:
            builder.report(problem)
    return found


def _flow(builder: Builder, pipeline: Instance, wiring: Wiring) -> Iterator[ArrowValue]:
    statement = wiring.statement
    assert isinstance(statement, ast.Flow)
    steps = [_stages(pipeline, e) for e in statement.steps]
    for number, (before, after) in enumerate(itertools.pairwise(steps)):
        span = statement.steps[number].span.to(statement.steps[number + 1].span)
        for source in before:
            for target in after:
                yield ArrowValue(source, target, span)


def _branch(builder: Builder, pipeline: Instance, wiring: Wiring) -> Iterator[ArrowValue]:
    statement = wiring.statement
    assert isinstance(statement, ast.Branch)
    sources = _stages(pipeline, statement.source)
    if len(sources) != 1:
        raise Fail(error("HMS502", "a branch leaves one stage", statement.source.span))
    for order, arm in enumerate(statement.arms):
        guard, share, label = None, None, "else"
        if arm.guard is not None:
            guard, share, label = _condition(builder, arm.guard, wiring.scope)
        steps = [_stages(pipeline, e) for e in arm.steps]
        for target in steps[0]:
            yield ArrowValue(sources[0], target, arm.span, order, guard, share, label)
        for before, after in itertools.pairwise(steps):
            for source in before:
                for target in after:
                    yield ArrowValue(source, target, arm.span)


def _stages(pipeline: Instance, expr: ast.Expr) -> list[str]:
    """Names of the stages (or ends) that a step names."""
    if isinstance(expr, ast.ListExpr):
        return [name for item in expr.items for name in _stages(pipeline, item)]
    if not isinstance(expr, ast.Name):
        raise Fail(error("HMS501", "an arrow joins stages by name", expr.span))
    if expr.name in pipeline.children or expr.name in ENDS:
        return [expr.name]
    what = "stage" if pipeline.kind.name == "pipeline" else "tier"
    raise Fail(
        error("HMS201", f"{pipeline.kind.name} `{pipeline}` has no {what} `{expr.name}`",
              expr.span, notes=suggestion(expr.name, [*pipeline.children, *ENDS]))
    )  # fmt: skip


def _condition(
    builder: Builder, expr: ast.Expr, scope: Scope
) -> tuple[Guard | None, float | None, str]:
    """An arm's guard as a condition on the request, or as a share, with its text."""
    label = " ".join(expr.span.text.split())
    if guards.reads_request(expr):
        return guards.guard_of(builder, expr, Context(scope)), None, label
    value = builder.evaluator.value(expr, Context(scope))
    if not is_number(value) or not 0 <= si(value) <= 1:
        raise Fail(
            error("HMS502", f"an arm takes a share or a condition on the request, not "
                  f"{kind_of(value)}", expr.span,
                  notes=["help: a share is a percentage such as `70%`; conditions read "
                         + ", ".join(REQUEST_ATTRIBUTES)])
        )  # fmt: skip
    return None, float(si(value)), str(value) if isinstance(value, Quantity) else label


# --- clients -------------------------------------------------------------------------------


def clients(builder: Builder, stage: Instance) -> Clients | None:
    """What a stage runs on, or None if it says nothing; raises `Fail`."""
    chosen = _runs_on(builder, stage)
    return None if chosen is None else clients_of(builder, *chosen)


def _runs_on(builder: Builder, instance: Instance) -> tuple[Any, Span] | None:
    """What stands behind the ``on`` of an instance as that one sees it, and where; or None."""
    declared = instance.decl
    if declared is None or declared.statement.on is None:
        return None
    expr = declared.statement.on
    value = builder.evaluator.value(expr, Context(declared.scope))
    if instance.twin is not None:
        value = twins.renamed(builder, value, instance.twin, instance)
    return value, expr.span


def clients_of(builder: Builder, value: Any, span: Span) -> Clients:
    """The clients that a value names: engine, vector, selection or pool."""
    if isinstance(value, Definition):
        if value.kind.name != "pool":
            raise Fail(error("HMS505", f"a stage runs on a client, not on {kind_of(value)}", span))
        value = value.instance(builder)
    if isinstance(value, Instance) and value.kind.name == "pool":
        members = builder.get(value, "members")
        items = [i for v in members for i in resolve.instances(builder, v, span)]
        return Clients(value.path, tuple(_checked(items, span)), value)
    items = _checked(resolve.instances(builder, value, span), span)
    if isinstance(value, Vector):
        return Clients(value.path, tuple(items))
    if isinstance(value, Selection):
        return Clients(_selection_name(items), tuple(items))
    return Clients(items[0].path, tuple(items))


def _selection_name(items: list[Instance]) -> str:
    if len(items) == 1:
        return items[0].path
    if all(i.vector == items[0].vector != "" for i in items):
        indices = [i.index or 0 for i in items]
        if indices == list(range(indices[0], indices[-1] + 1)):
            return f"{items[0].vector}[{indices[0]}:{indices[-1] + 1}]"
    return ", ".join(i.path for i in items)


def _checked(items: list[Instance], span: Span) -> list[Instance]:
    for item in items:
        if item.kind.name != "client":
            note = "help: declare an engine or worker pool on that hardware"
            if item.kind.name == "stage":
                note = "help: a stage hides a client of its name; call one of them otherwise"
            raise Fail(error("HMS505", f"a stage runs on a client, not on {kind_of(item)}", span,
                             notes=[note]))  # fmt: skip
    return items


def devices(builder: Builder, client: Instance) -> list[Instance] | None:
    """The hardware a client is placed on; None if unplaced."""
    chosen = _runs_on(builder, client)
    return None if chosen is None else resolve.instances(builder, *chosen)
