"""Checks the built tree: every set value, asserts, cases, missing imports, unused names.

Runs after building and before any graph; adds diagnostics, changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import warning
from hermesdsl.model import asserts, outside, resolve
from hermesdsl.model.configure import Setting
from hermesdsl.model.instance import BY_CASE, Definition, Instance, Rank
from hermesdsl.model.values import Fail
from hermesdsl.syntax import ast
from hermesdsl.syntax.checks import every_statement

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.elaborate import Tree


def check(tree: Tree) -> None:
    """Everything that must hold of a tree; diagnostics go to the builder's sink."""
    builder = tree.builder
    for diagnostic in resolve.missing_imports(builder):
        builder.add(diagnostic)
    _instantiate_unused(tree)
    for instance in list(walk(tree)):
        _values(builder, instance)
    for instance in list(walk(tree)):
        _asserts(builder, instance)
    _cases(tree)
    if not builder.sink.failed:
        _unused(tree)


def walk(tree: Tree) -> Iterator[Instance]:
    """Every instance with values of its own (no twins): files, members, single things."""
    waiting = deque(m.instance for m in tree.modules)
    waiting.extend(tree.builder.singles)
    seen: set[int] = set()
    while waiting:
        instance = waiting.popleft()
        if id(instance) in seen or instance.twin is not None:
            continue
        seen.add(id(instance))
        yield instance
        waiting.extend(instance.each_child())


def _instantiate_unused(tree: Tree) -> None:
    """Makes what nobody named, so that its values are checked too.

    These are the single things of the user's files, the types all of whose params have values,
    and every definition that something was set of.
    """
    builder = tree.builder
    found = [
        member
        for module in tree.modules
        if not module.library
        for member in module.instance.members.values()
        if isinstance(member, Definition)
    ]
    for member in [*found, *builder.configured]:
        if member.kind.free or member.expanded:
            continue
        try:
            if member.kind.single or _complete(builder, member):
                member.instance(builder)
        except Fail as problem:
            builder.report(problem)


def _complete(builder: Builder, definition: Definition) -> bool:
    return all(
        statement.default is not None
        for link in definition.chain(builder)
        if link.statement is not None
        for statement in link.statement.block.statements
        if isinstance(statement, ast.Param)
    )


def _values(builder: Builder, instance: Instance) -> None:
    """Evaluates everything that was set, so that every problem is found in one go."""
    names = {*instance.sites, *instance.params}
    for head, configs in instance.configs.items():
        for config in configs:
            is_map = instance.map_property(head) is not None and len(config.steps) > 1
            names.add(f"{head}.{config.steps[1].name}" if is_map else head)
    anonymous = instance.decl is None and instance.definition is not None
    names |= {p.name for p in instance.properties.values() if p.required and not (
        anonymous and instance.kind.name in ("workload", "stage", "link", "memory"))}  # fmt: skip
    for name in sorted(names):
        head = name.partition(".")[0]
        if head in instance.params or head in instance.properties:
            try:
                builder.get(instance, name)
            except Fail as problem:
                builder.report(problem)


def _asserts(builder: Builder, instance: Instance) -> None:
    for wiring in instance.wirings:
        if isinstance(wiring.statement, ast.Assert):
            try:
                problem = asserts.failed(builder, wiring.statement, wiring.scope)
            except Fail as failure:
                builder.report(failure)
                continue
            if problem is not None:
                builder.add(problem)


def _cases(tree: Tree) -> None:
    """Holds every case to what it could set, whether it is applied or not."""
    builder = tree.builder
    for definition in tree.singles("case").values():
        assert definition.statement is not None
        assert definition.scope is not None
        setting = Setting(builder, Rank(BY_CASE), f"case {definition.name}")
        body = definition.statement.block.statements
        for config in setting.statements(body, definition.scope, ()):
            try:
                outside.check_setting(
                    builder, definition.scope, config.steps, config.expr, config.scope
                )
            except Fail as problem:
                builder.report(problem)


# --- unused names --------------------------------------------------------------------------


def _unused(tree: Tree) -> None:
    """Warns of imports, definitions and params of the root file that nothing names.

    A file without a workload is a library for others: only its imports are looked at.
    """
    builder, root = tree.builder, tree.root
    statements = list(every_statement(root.file.statements))
    words = set(resolve.words_in(root.file.statements))
    for name, (_, _, span) in root.imports.items():
        if name not in words:
            builder.add(warning("HMS211", f"import `{name}` is not used", span))
    members = [m for m in root.instance.members.values() if isinstance(m, Definition)]
    if not any(m.kind.name == "workload" for m in members):
        return
    for member in members:
        if member.name not in words and member.kind.name not in _ENTRY_KINDS:
            builder.add(warning("HMS211", f"{member.kind.name} `{member}` is not used",
                                member.span))  # fmt: skip
    unread = [s for s in statements if isinstance(s, ast.Param) and s.name not in words]
    if unread:
        for module in tree.modules:
            words |= set(resolve.words_in(module.file.statements))
    for param in unread:
        if param.name not in words:
            builder.add(warning("HMS211", f"param `{param.name}` is not used", param.name_span))


#: Kinds that are there for a reader or a command, not for other definitions.
_ENTRY_KINDS = frozenset({"workload", "experiment", "case", "view"})
