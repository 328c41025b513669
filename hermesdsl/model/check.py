"""Checks the built tree: asserts, every set value, paths that reach nothing, unused definitions.

Runs after building and before any graph; adds diagnostics, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Label, error, warning
from hermesdsl.model import resolve
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import DEFAULT, Definition, Instance, Scope, Slot
from hermesdsl.model.values import Fail, text
from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.elaborate import Tree


def check(tree: Tree) -> None:
    """Everything that must hold of a tree; diagnostics go to the builder's sink."""
    builder = tree.builder
    _instantiate_unused(tree)
    for instance in list(walk(tree)):
        _values(builder, instance)
    for instance in list(walk(tree)):
        _asserts(builder, instance)
    _unreached(builder)
    _unused(tree)


def walk(tree: Tree) -> Iterator[Instance]:
    """Every instance with values of its own (no twins): files, members, single things."""
    stack: list[Instance] = [m.instance for m in tree.modules]
    stack += tree.builder.singles
    seen: set[int] = set()
    while stack:
        instance = stack.pop(0)
        if id(instance) in seen or instance.twin is not None:
            continue
        seen.add(id(instance))
        yield instance
        stack.extend(instance.each_child())


def _instantiate_unused(tree: Tree) -> None:
    """Makes every single thing of the user's files, and types all of whose params have values."""
    builder = tree.builder
    for module in tree.modules:
        if module.library:
            continue
        for member in list(module.instance.members.values()):
            if not isinstance(member, Definition) or member.kind.free:
                continue
            try:
                if member.kind.single or _complete(builder, member):
                    member.instance(builder)
            except Fail as problem:
                builder.report(problem)


def _complete(builder: Builder, definition: Definition) -> bool:
    for link in definition.chain(builder):
        if link.statement is None:
            continue
        for statement in link.statement.block.statements:
            if isinstance(statement, ast.Param) and statement.default is None:
                return False
    return True


def _values(builder: Builder, instance: Instance) -> None:
    """Evaluates everything that was set, so that every problem is found in one go."""
    names = {*instance.sites, *instance.params}
    for head, configs in instance.configs.items():
        for config in configs:
            if head in instance.properties or head in instance.params:
                key = f".{config.steps[1].name}" if len(config.steps) > 1 else ""
                names.add(head + key)
    anonymous = instance.decl is None and instance.definition is not None
    names |= {p.name for p in instance.properties.values() if p.required and not (
        anonymous and instance.kind.name in ("workload", "stage", "link", "memory"))}  # fmt: skip
    for name in sorted(names):
        if name.partition(".")[0] not in instance.params and (
            name.partition(".")[0] not in instance.properties
        ):
            continue
        try:
            builder.get(instance, name)
        except Fail as problem:
            builder.report(problem)


def _asserts(builder: Builder, instance: Instance) -> None:
    for wiring in instance.wirings:
        if isinstance(wiring.statement, ast.Assert):
            try:
                _assert(builder, wiring.statement, wiring.scope)
            except Fail as problem:
                builder.report(problem)


def _assert(builder: Builder, statement: ast.Assert, scope: Scope) -> None:
    context = Context(scope)
    if builder.evaluator.truth(statement.condition, context):
        return
    labels, notes = [], []
    for span, shown in _operands(builder, statement.condition, context):
        labels.append(Label(span, shown))
    for name in _names(statement.condition):
        notes += _origin_notes(builder, scope, name.name)
    verdict = _verdict(builder, statement.condition, context)
    message = f": {statement.message}" if statement.message else ""
    builder.add(
        error("HMS401", f"assertion failed{message}", statement.condition.span, label=verdict,
              labels=labels, notes=dict.fromkeys(notes))
    )  # fmt: skip


def _operands(builder: Builder, expr: ast.Expr, context: Context) -> Iterator[tuple[Span, str]]:
    """The parts of a failed condition whose values are worth showing, left to right."""
    if isinstance(expr, ast.Comparison):
        for operand in expr.operands:
            yield from _operands(builder, operand, context)
    elif isinstance(expr, ast.Binary):
        yield from _operands(builder, expr.left, context)
        yield from _operands(builder, expr.right, context)
    elif isinstance(expr, ast.Unary):
        yield from _operands(builder, expr.operand, context)
    elif isinstance(expr, ast.Name | ast.Attribute | ast.Index | ast.Call):
        try:
            yield expr.span, text(builder.evaluator.value(expr, context))
        except Fail:
            return


def _verdict(builder: Builder, expr: ast.Expr, context: Context) -> str:
    """``32 == 16 is false``."""
    if not isinstance(expr, ast.Comparison):
        return "is false"
    values = [text(builder.evaluator.value(o, context)) for o in expr.operands]
    shown = values[0]
    for op, value in zip(expr.ops, values[1:], strict=True):
        shown += f" {op} {value}"
    return f"{shown} is false"


def _names(expr: Any) -> Iterator[ast.Name]:
    if isinstance(expr, ast.Name):
        yield expr
    elif isinstance(expr, ast.Comparison):
        for operand in expr.operands:
            yield from _names(operand)
    elif isinstance(expr, ast.Binary):
        yield from _names(expr.left)
        yield from _names(expr.right)
    elif isinstance(expr, ast.Unary):
        yield from _names(expr.operand)


def _origin_notes(builder: Builder, scope: Scope, name: str) -> list[str]:
    """``decode_n = 4 from --set; default is 2 at serving.hms:13``."""
    current: Scope | None = scope
    while current is not None:
        if name in current.owner.params:
            slot = current.owner.slots.get(name)
            if slot is None or slot.winner is None or slot.winner.rank.stage == DEFAULT:
                return []
            return [origin_line(slot)]
        current = current.parent
    return []


def origin_line(slot: Slot) -> str:
    """Where a value came from, and what the default would have been."""
    assert slot.winner is not None
    line = f"{slot.name} = {text(slot.value)} from {slot.winner.origin}"
    first = slot.sites[0]
    if first.rank.stage == DEFAULT and first.span is not None:
        where = f"{first.span.source.name}:{first.span.line}"
        line += f"; default is {first.span.text} at {where}"
    return line


def _unreached(builder: Builder) -> None:
    """Paths that set a value of nothing."""
    for config in builder.configs:
        if not config.used and not builder.sink.failed:
            path = config.span.text.partition("=")[0].strip()
            builder.add(
                error("HMS402", f"`{path}` reaches nothing", config.span,
                      notes=["note: its indices lie outside the vectors it names"])
            )  # fmt: skip


def _unused(tree: Tree) -> None:
    """Warns of definitions and imports of the root file whose names occur nowhere else in it."""
    builder = tree.builder
    root = tree.root
    used: set[str] = set()
    for statement in root.file.statements:
        used |= set(resolve.names_in(statement))
    named = {name for name, (_, inner, _) in root.imports.items() if inner is not None}
    for name, (_, _, span) in root.imports.items():
        if name not in used:
            builder.add(warning("HMS211", f"import `{name}` is not used", span))
    kinds = {m.kind.name for m in root.instance.members.values() if isinstance(m, Definition)}
    if "workload" not in kinds:
        return  # a library of parts for others
    for name, member in root.instance.members.items():
        if (
            isinstance(member, Definition)
            and name not in used | named
            and (member.kind.name not in _ENTRY_KINDS)
        ):
            builder.add(warning("HMS211", f"{member.kind.name} `{name}` is not used", member.span))


#: Kinds that are there for a reader or a command, not for other definitions.
_ENTRY_KINDS = frozenset({"workload", "experiment", "case", "view", "pipeline", "class"})
