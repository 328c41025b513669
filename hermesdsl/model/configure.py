"""Turns configuring statements into values on their way: one `Config` for each value set.

``rack { node[0].gpu[*] { power = 500 W } }`` becomes one config with the steps rack, node[0],
gpu[*], power.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import error
from hermesdsl.model.instance import INSTANCE, Config, Rank, Scope, Step
from hermesdsl.model.values import Fail
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

_ORIGINS = ("instance block", "path statement")


def target_steps(builder: Builder, target: ast.Expr, scope: Scope) -> tuple[Step, ...]:
    """The steps of a configuring path; raises `Fail` if it is no path."""
    from hermesdsl.model.evaluate import Context

    if isinstance(target, ast.Name):
        return (Step(target.name, None, target.span),)
    if isinstance(target, ast.Attribute):
        return (
            *target_steps(builder, target.base, scope),
            Step(target.name, None, target.name_span),
        )
    if isinstance(target, ast.Index):
        *before, last = target_steps(builder, target.base, scope)
        if last.index is not None:
            raise Fail(error("HMS303", "a vector has one index", target.span))
        evaluate = builder.evaluator
        context = Context(scope)
        index: int | slice | None = None
        if isinstance(target.item, ast.Slice):
            ends = [
                None if end is None else evaluate.whole(end, context)
                for end in (target.item.start, target.item.stop)
            ]
            index = slice(*ends)
        elif not isinstance(target.item, ast.All):
            index = evaluate.whole(target.item, context)
        return (*before, Step(last.name, index, target.span))
    raise Fail(error("HMS106", "only a path can be set or re-opened", target.span))


def flatten_block(
    builder: Builder, statement: ast.Reopen, scope: Scope, form: int
) -> Iterator[Config]:
    """Every value that a configuring block sets; problems go to the builder's sink."""
    rank = Rank(INSTANCE, scope.owner.outerness, scope.chain, form)
    yield from flatten(builder, statement, scope, rank, _ORIGINS[form])


def flatten(
    builder: Builder,
    statement: ast.Reopen,
    scope: Scope,
    rank: Rank,
    origin: str,
    prefix: tuple[Step, ...] = (),
) -> Iterator[Config]:
    """Every value set below `statement`, with `prefix` before its path."""
    steps = prefix + target_steps(builder, statement.target, scope)
    yield from statements(builder, statement.block.statements, scope, rank, origin, steps)


def statements(
    builder: Builder,
    body: tuple[ast.Statement, ...],
    scope: Scope,
    rank: Rank,
    origin: str,
    steps: tuple[Step, ...],
) -> Iterator[Config]:
    """Every value set by statements inside a configuring block that stands at `steps`."""
    for inner in body:
        try:
            yield from _one(builder, inner, scope, rank, origin, steps)
        except Fail as problem:
            builder.report(problem)


def _one(
    builder: Builder,
    inner: ast.Statement,
    scope: Scope,
    rank: Rank,
    origin: str,
    steps: tuple[Step, ...],
) -> Iterator[Config]:
    if isinstance(inner, ast.Assign):
        path = steps + target_steps(builder, inner.target, scope)
        config = Config(path, inner.value, scope, rank, origin, inner.span)
        builder.configs.append(config)
        yield config
    elif isinstance(inner, ast.Reopen):
        yield from flatten(builder, inner, scope, rank, origin, steps)
    elif isinstance(inner, ast.For):
        for variables in builder.loop(inner, scope):
            turn = scope.inner(variables)
            yield from statements(builder, inner.block.statements, turn, rank, origin, steps)
    elif isinstance(inner, ast.If):
        from hermesdsl.model.evaluate import Context

        chosen: Any = inner.otherwise
        if builder.evaluator.truth(inner.condition, Context(scope)):
            chosen = inner.then
        if chosen is not None:
            yield from statements(builder, chosen.statements, scope, rank, origin, steps)
    else:
        raise Fail(
            error("HMS106", "a block that configures an instance only sets values", inner.span,
                  notes=["help: write a definition that extends its type to add members"])
        )  # fmt: skip
