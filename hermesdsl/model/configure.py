"""Sends values that are set by a path, or in the block of an instance, to where they belong.

Every value set is one `Config`: ``rack { node[0].gpu[*] { power = 500 W } }`` becomes the steps
rack, node[0], gpu[*], power. A config waits at a member until that is built, at a definition
until something is made from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model import resolve
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import (
    BY_INSTANCE,
    EVERY,
    FILE_KIND,
    IN_BLOCK,
    Config,
    Definition,
    Instance,
    Rank,
    Scope,
    Step,
)
from hermesdsl.model.values import Fail
from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


# --- paths ---------------------------------------------------------------------------------


def target_steps(builder: Builder, target: ast.Expr, scope: Scope) -> tuple[Step, ...]:
    """The steps of a configuring path; raises `Fail` if it is no path."""
    if isinstance(target, ast.Name):
        return (Step(target.name, None, target.span),)
    if isinstance(target, ast.Attribute):
        before = target_steps(builder, target.base, scope)
        return (*before, Step(target.name, None, target.name_span))
    if isinstance(target, ast.Index):
        *earlier, last = target_steps(builder, target.base, scope)
        if last.index is not None:
            raise Fail(error("HMS303", "a vector has one index", target.span))
        return (*earlier, Step(last.name, _index(builder, target.item, scope), target.span))
    raise Fail(error("HMS106", "only a path can be set or re-opened", target.span))


def _index(builder: Builder, item: ast.Expr | ast.All | ast.Slice, scope: Scope) -> int | slice:
    whole = builder.evaluator.whole
    context = Context(scope)
    if isinstance(item, ast.All):
        return EVERY
    if isinstance(item, ast.Slice):
        ends = [None if end is None else whole(end, context) for end in (item.start, item.stop)]
        return slice(*ends)
    return whole(item, context)


def computes(statement: ast.Statement) -> bool:
    """True if taking in this setting has to compute an index, a condition or a list."""
    if isinstance(statement, ast.For | ast.If):
        return True
    if isinstance(statement, ast.Assign):
        return _has_computed_index(statement.target)
    if isinstance(statement, ast.Reopen):
        return _has_computed_index(statement.target) or any(
            computes(inner) for inner in statement.block.statements
        )
    return False


def _has_computed_index(target: ast.Expr) -> bool:
    while isinstance(target, ast.Attribute | ast.Index):
        if isinstance(target, ast.Index):
            item = target.item
            ends = (item.start, item.stop) if isinstance(item, ast.Slice) else (item,)
            if any(not isinstance(e, ast.Number | ast.All | None) for e in ends):
                return True
        target = target.base
    return False


# --- blocks --------------------------------------------------------------------------------


def flatten_block(
    builder: Builder, statement: ast.Reopen, scope: Scope, form: int
) -> Iterator[Config]:
    """Every value that a configuring block sets; problems go to the builder's sink."""
    rank = Rank(BY_INSTANCE, scope.owner.outerness, scope.chain, form)
    origin = "instance block" if form == IN_BLOCK else "path statement"
    steps = target_steps(builder, statement.target, scope)
    setting = Setting(builder, rank, origin)
    yield from setting.statements(statement.block.statements, scope, steps)


class Setting:
    """Turns the statements of configuring blocks into configs of one rank and origin."""

    def __init__(self, builder: Builder, rank: Rank, origin: str) -> None:
        self.builder = builder
        self.rank = rank
        self.origin = origin

    def statements(
        self, body: tuple[ast.Statement, ...], scope: Scope, steps: tuple[Step, ...]
    ) -> Iterator[Config]:
        """Every value set by statements of a block that stands at `steps`."""
        for inner in body:
            try:
                yield from self._one(inner, scope, steps)
            except Fail as problem:
                self.builder.report(problem)

    def _one(self, inner: ast.Statement, scope: Scope, steps: tuple[Step, ...]) -> Iterator[Config]:
        from hermesdsl.model.bodies import loop

        if isinstance(inner, ast.Assign):
            path = steps + target_steps(self.builder, inner.target, scope)
            yield Config(path, inner.value, scope, self.rank, self.origin, inner.span)
        elif isinstance(inner, ast.Reopen):
            path = steps + target_steps(self.builder, inner.target, scope)
            yield from self.statements(inner.block.statements, scope, path)
        elif isinstance(inner, ast.For):
            for variables in loop(self.builder, inner, scope):
                turn = scope.inner(variables)
                yield from self.statements(inner.block.statements, turn, steps)
        elif isinstance(inner, ast.If):
            holds = self.builder.evaluator.truth(inner.condition, Context(scope))
            chosen = inner.then if holds else inner.otherwise
            if chosen is not None:
                yield from self.statements(chosen.statements, scope, steps)
        else:
            raise Fail(
                error("HMS106", "a block that configures an instance only sets values",
                      inner.span, notes=["help: to add members, define a type that extends its "
                                         "type, and instance that"])
            )  # fmt: skip


# --- routes --------------------------------------------------------------------------------


def configure(builder: Builder, owner: Instance, config: Config) -> None:
    """Puts a value on its way from `owner`, whose scope the path starts in. Raises `Fail`."""
    if owner.kind is FILE_KIND:
        _from_file(builder, owner, config)
        return
    step = config.steps[0]
    member = owner.members.get(step.name)
    if isinstance(member, Definition) and len(config.steps) > 1:
        _to_definition(builder, member, config)
        return
    _to_member(owner, config)


def _to_member(owner: Instance, config: Config) -> None:
    name = config.steps[0].name
    key = ".".join(step.name for step in config.steps[:2])
    too_late(owner, key if owner.map_property(name) else name, config.span)
    owner.configs.setdefault(name, []).append(config)


def _to_definition(builder: Builder, definition: Definition, config: Config) -> None:
    if definition.kind.free:
        raise Fail(error("HMS210", f"`{definition}` is a {definition.kind.name}, it cannot be set",
                         config.steps[0].span))  # fmt: skip
    if config.steps[0].index is not None:
        raise Fail(error("HMS303", f"`{definition}` is a definition, not a vector",
                         config.steps[0].span))  # fmt: skip
    if definition.expanded:
        raise Fail(_late(definition.name, config.span))
    builder.configured.append(definition)
    definition.configs.append(config.popped())


def too_late(owner: Instance, name: str, span: Span) -> None:
    """Raises `Fail` if what is about to be set was computed or built already."""
    head = name.partition(".")[0]
    if name in owner.slots or head in owner.slots or head in owner.children:
        raise Fail(_late(name, span))


def _late(name: str, span: Span) -> Diagnostic:
    return error("HMS208", f"`{name}` is in use before this sets it", span,
                 notes=["note: the condition of an `if`, the list of a `for`, or an index reads it",
                        "help: set it outside of `if` and `for`"])  # fmt: skip


def _from_file(builder: Builder, owner: Instance, config: Config) -> None:
    """Sends a value set at file level to a member, a definition or another file."""
    step = config.steps[0]
    name = step.name
    if name in owner.decls or name in owner.params:
        if name in owner.params and (len(config.steps) > 1 or step.index is not None):
            raise Fail(error("HMS303", f"`{name}` is a value and has no members", step.span))
        _to_member(owner, config)
        return
    found = owner.members.get(name)
    module = builder.module_of(owner)
    if found is None and module is not None and name in module.imports:
        _to_import(builder, owner, config)
        return
    if found is None and builder.prelude is not None:
        found = builder.prelude.owner.members.get(name) or builder.builtins.members.get(name)
    if not isinstance(found, Definition):
        problem = error("HMS201", f"unknown name `{name}`", step.span,
                        notes=suggestion(name, _settable_names(builder, owner)))  # fmt: skip
        builder.waiting.append((owner, config, Fail(problem)))
        return
    if len(config.steps) == 1:
        raise Fail(error("HMS210", f"`{name}` is a {found.kind.name}; it has no value to set",
                         step.span, notes=["help: open it with braces, or set one of its "
                                           f"properties, such as `{name}.… = …`"]))  # fmt: skip
    _to_definition(builder, found, config)


def _settable_names(builder: Builder, owner: Instance) -> set[str]:
    imports = resolve.import_names(builder, owner)
    return {*owner.decls, *owner.params, *owner.members, *imports}


def _to_import(builder: Builder, owner: Instance, config: Config) -> None:
    """Goes on in the file that an imported name comes from."""
    module = builder.module_of(owner)
    assert module is not None
    step = config.steps[0]
    target, inner, _ = module.imports[step.name]
    if inner is None:
        if len(config.steps) == 1 or step.index is not None:
            raise Fail(error("HMS210", f"`{step.name}` is a file; name something in it",
                             step.span))  # fmt: skip
        following = config.steps[1]
        home = resolve.exporter(target, following.name)
        if home is None:
            raise Fail(resolve.not_exported(target, following.name, following.span))
        steps = config.steps[1:]
    else:
        home = resolve.exporter(target, inner)
        if home is None:
            raise Fail  # reported at the import
        steps = config.steps
    first = Step(home[1], steps[0].index, steps[0].span)
    _from_file(builder, home[0].instance, replace(config, steps=(first, *steps[1:])))


def retry_waiting(builder: Builder) -> None:
    """Sends what waited for a name to be declared in an `if`; what still has none is an error."""
    waiting, builder.waiting = builder.waiting, []
    for owner, config, _ in waiting:
        try:
            _from_file(builder, owner, config)
        except Fail as problem:
            builder.report(problem)
    for _, _, unknown in builder.waiting:
        builder.report(unknown)
