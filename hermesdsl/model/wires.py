"""The wires that `connect` statements ask for, as plain values over instances.

Expands selectors; patterns are left to the graph. A twin's wires are its prototype's under
other paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import error
from hermesdsl.model import resolve, twins
from hermesdsl.model.arithmetic import kind_of
from hermesdsl.model.coerce import coerce
from hermesdsl.model.configure import flatten_block
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import IN_BLOCK, Definition, Instance, Scope
from hermesdsl.model.values import Fail
from hermesdsl.schema.types import ListType, NumberType
from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.units.quantity import si

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

PARTS = ("chip", "cpu", "memory", "switch", "nic")


@dataclass(frozen=True)
class WireValue:
    """One `connect`: both ends as paths, or a pattern over groups of paths.

    `link` is None where `via` was omitted. `both`: traffic may flow both ways.
    """

    groups: tuple[tuple[str, ...], ...]
    pattern: str | None
    options: dict[str, int | tuple[int, ...]]
    both: bool
    link: Instance | None
    lanes: int
    span: Span


def wires(builder: Builder, instance: Instance) -> list[WireValue]:
    """The wires of one instance's body; problems go to the builder's sink."""
    proto = instance.twin or instance
    if not proto.wirings:
        return []
    known = builder.wire_values.get(id(proto))
    if known is None:
        known = builder.wire_values[id(proto)] = list(_evaluate(builder, proto))
    if instance.twin is None:
        return known
    pairs = twins.path_pairs(proto, instance)
    return [_renamed(wire, pairs) for wire in known]


def _renamed(wire: WireValue, pairs: list[tuple[str, str]]) -> WireValue:
    groups = tuple(tuple(_path(p, pairs) for p in group) for group in wire.groups)
    return replace(wire, groups=groups)


def _path(path: str, pairs: list[tuple[str, str]]) -> str:
    """A path inside the prototype, or inside something around it, as its twin has it."""
    for before, after in pairs:
        if path.startswith(before) and path[len(before) : len(before) + 1] in (".", "[", ""):
            return after + path[len(before) :]
    return path


def _evaluate(builder: Builder, instance: Instance) -> Iterator[WireValue]:
    for wiring in instance.wirings:
        if isinstance(wiring.statement, ast.Connect):
            try:
                yield _wire(builder, wiring.statement, wiring.scope)
            except Fail as problem:
                builder.report(problem)


def _wire(builder: Builder, statement: ast.Connect, scope: Scope) -> WireValue:
    context = Context(scope)
    link, lanes = _link(builder, statement, scope)
    if statement.right is None:
        name, groups, options = _pattern(builder, statement.left, context)
        return WireValue(groups, name, options, True, link, lanes, statement.span)
    ends = tuple(_ends(builder, e, context) for e in (statement.left, statement.right))
    both = statement.arrow != "->"
    return WireValue(ends, None, {}, both, link, lanes, statement.span)


def _pattern(
    builder: Builder, expr: ast.Expr, context: Context
) -> tuple[str, tuple[tuple[str, ...], ...], dict[str, int | tuple[int, ...]]]:
    if not isinstance(expr, ast.Call) or not isinstance(expr.function, ast.Name):
        raise Fail(
            error("HMS404", "a connection has two ends", expr.span,
                  notes=["help: write `connect a <-> b`, or a pattern such as `ring(a[*])`"])
        )  # fmt: skip
    groups, options = [], {}
    for argument in expr.arguments:
        if argument.name is None:
            groups.append(_ends(builder, argument.value, context))
        else:
            options[argument.name] = _option(builder, argument.value, context)
    return expr.function.name, tuple(groups), options


def _option(builder: Builder, expr: ast.Expr, context: Context) -> int | tuple[int, ...]:
    """A setting of a pattern: a whole number, or a list of them (``shape = [4, 2]``)."""
    value = builder.evaluator.value(expr, context)
    if not isinstance(value, list):
        return builder.evaluator.whole(expr, context)
    whole = coerce(builder, value, ListType(NumberType(integer=True)), expr.span)
    return tuple(int(si(number)) for number in whole)


def _ends(builder: Builder, expr: ast.Expr, context: Context) -> tuple[str, ...]:
    value = builder.evaluator.value(expr, context)
    parts = resolve.instances(builder, value, expr.span)
    for part in parts:
        if part.kind.name not in PARTS:
            inside = resolve.parts_inside(part, ("nic", "switch", "cpu", "chip", "memory"))
            notes = [f"help: name a part inside it, such as `{inside}`"] if inside else []
            raise Fail(error("HMS404", f"a wire ends at a part, not at {kind_of(part)}", expr.span,
                             notes=notes))  # fmt: skip
    return tuple(part.path for part in parts)


def _link(builder: Builder, statement: ast.Connect, scope: Scope) -> tuple[Instance | None, int]:
    context = Context(scope)
    lanes = 1
    if statement.lanes is not None:
        kind = NumberType(integer=True, minimum=1)
        lanes = int(si(builder.evaluator.value(statement.lanes, context, kind)))
    if statement.link is None:
        return None, lanes
    value: Any = builder.evaluator.value(statement.link, context)
    if not isinstance(value, Definition) or value.kind.name != "link":
        raise Fail(error("HMS404", f"`via` takes a link, not {kind_of(value)}",
                         statement.link.span))  # fmt: skip
    if statement.block is None:
        return value.instance(builder), lanes
    return _own_link(builder, value, statement, scope), lanes


def _own_link(
    builder: Builder, definition: Definition, statement: ast.Connect, scope: Scope
) -> Instance:
    """A link with the settings of the connection's own block."""
    assert statement.block is not None
    assert definition.scope is not None
    made = Instance(definition.name, definition.qualified, definition.kind, definition, None,
                    definition.scope.owner)  # fmt: skip
    made.doc = definition.doc
    reopened = ast.Reopen(
        ast.Name(definition.name, statement.span), statement.block, statement.span
    )
    for config in flatten_block(builder, reopened, scope, IN_BLOCK):
        inner = config.popped()
        made.configs.setdefault(inner.steps[0].name, []).append(inner)
    builder.expand(made)
    return made


def holders(instance: Instance) -> Iterator[Instance]:
    """An instance and everything below it, in path order, twins included."""
    yield instance
    for child in instance.each_child():
        yield from holders(child)
