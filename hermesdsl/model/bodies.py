"""Takes in bodies: what they declare, what they set, what they wire.

The order of statements never matters. All bodies of an ``extends`` chain are taken in together:
first everything that is declared, then everything that is set without computing anything, then
settings whose path holds a computed index, last the `if`s and `for`s. What one of those last
ones reads can no longer be set afterwards, and trying is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from hermesdsl.diagnostics import Diagnostic, Label, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model import members, resolve
from hermesdsl.model.arithmetic import kind_of
from hermesdsl.model.configure import computes, configure, flatten_block, target_steps, too_late
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import (
    BY_DEFAULT,
    BY_DEFINITION,
    BY_INSTANCE,
    BY_PATH,
    FILE_KIND,
    IN_BODY,
    VIA_DEFINITION,
    Config,
    Definition,
    Instance,
    InstanceDeclared,
    ParamDecl,
    Rank,
    Scope,
    Selection,
    Site,
    Vector,
    Wiring,
)
from hermesdsl.model.values import Fail
from hermesdsl.schema import KINDS
from hermesdsl.schema.types import BRANCH, CONNECT, FLOW, INSTANCE, REQUIRE, SWEEP, MapType
from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

#: A body: whose members it declares, its statements, and the scope they stand in.
Body: TypeAlias = tuple[Instance, tuple[ast.Statement, ...], Scope]

_DECLARING = (ast.Param, ast.Let, ast.Definition, ast.InstanceDecl)
_BLOCKS = (ast.If, ast.For)
_FORMS = {
    ast.Connect: (CONNECT, "connect"), ast.Flow: (FLOW, "->"), ast.Branch: (BRANCH, "branch"),
    ast.Sweep: (SWEEP, "sweep"), ast.Require: (REQUIRE, "require"),
}  # fmt: skip
_FORM_HOMES = {
    CONNECT: "a node, rack, cluster or file", FLOW: "a pipeline or cache", BRANCH: "a pipeline",
    SWEEP: "an experiment", REQUIRE: "an experiment",
}  # fmt: skip


def expand(builder: Builder, instance: Instance) -> None:
    """Fills an instance from the bodies of its definitions and builds its members."""
    definition = instance.definition
    assert definition is not None
    chain: list[Body] = []
    for number, link in enumerate(definition.chain(builder)):
        link.expanded = True
        if link.statement is not None:
            scope = Scope(instance, link.scope, chain=number)
            chain.append((instance, link.statement.block.statements, scope))
        for config in link.configs:
            _take_config(instance, config, number)
    collect(builder, chain)
    members.build_children(builder, instance)
    check_names(builder, instance)


def _take_config(instance: Instance, config: Config, number: int) -> None:
    """A value set at a definition: in force wherever that is instanced or extended."""
    rank = config.rank
    stage = BY_DEFINITION if rank.stage == BY_INSTANCE else rank.stage
    rank = Rank(stage, rank.outerness, number, VIA_DEFINITION, rank.specificity)
    copy = replace(config, rank=rank)
    instance.configs.setdefault(config.steps[0].name, []).append(copy)


def collect(builder: Builder, chain: Iterable[Body]) -> None:
    """Takes in bodies that belong together, phase by phase."""
    chain = list(chain)
    for body in chain:
        declare(builder, body)
    for phase in (settle, settle_computed, expand_blocks):
        for body in chain:
            phase(builder, body)


def declare(builder: Builder, body: Body) -> None:
    """Registers the params, lets, definitions and instances of a body."""
    _each(builder, body, lambda s: isinstance(s, _DECLARING), _declare)


def settle(builder: Builder, body: Body) -> None:
    """Registers what a body sets and wires, where no index has to be computed for it."""
    _each(builder, body, lambda s: not isinstance(s, (*_DECLARING, *_BLOCKS)) and not computes(s),
          _settle)  # fmt: skip


def settle_computed(builder: Builder, body: Body) -> None:
    """Registers what a body sets by paths with computed indices."""
    _each(builder, body, lambda s: not isinstance(s, (*_DECLARING, *_BLOCKS)) and computes(s),
          _settle)  # fmt: skip


def expand_blocks(builder: Builder, body: Body) -> None:
    """Takes in what the `if`s and `for`s of a body hold."""
    _each(builder, body, lambda s: isinstance(s, _BLOCKS), _expand_block)


def _each(
    builder: Builder,
    body: Body,
    wanted: Callable[[ast.Statement], bool],
    act: Callable[[Builder, Instance, Any, Scope], None],
) -> None:
    owner, statements, scope = body
    for statement in statements:
        if wanted(statement):
            try:
                act(builder, owner, statement, scope)
            except Fail as problem:
                builder.report(problem)


# --- what is declared ----------------------------------------------------------------------


def _declare(builder: Builder, owner: Instance, statement: Any, scope: Scope) -> None:
    if isinstance(statement, ast.Definition):
        _declare_definition(builder, owner, statement, scope)
    elif isinstance(statement, ast.InstanceDecl):
        _declare_instance(builder, owner, statement, scope)
    else:
        _declare_param(builder, owner, statement, scope)


def _declare_param(
    builder: Builder, owner: Instance, statement: ast.Param | ast.Let, scope: Scope
) -> None:
    previous = owner.params.get(statement.name)
    if previous is not None and previous.chain == scope.chain:
        _twice(statement.name, statement.name_span, previous.statement.name_span)
    if statement.name in owner.properties:
        _property_of_all(owner, statement.name, statement.name_span)
    _free_name(builder, owner, statement.name, statement.name_span, "params")
    too_late(owner, statement.name, statement.name_span)
    owner.params[statement.name] = ParamDecl(statement.name, statement, scope, scope.chain)
    expr = statement.value if isinstance(statement, ast.Let) else statement.default
    if expr is not None:
        rank = Rank(BY_DEFAULT, 0, scope.chain)
        site = Site(rank, "default", expr.span, expr, scope)
        owner.sites.setdefault(statement.name, []).append(site)


def _declare_definition(
    builder: Builder, owner: Instance, statement: ast.Definition, scope: Scope
) -> None:
    kind = KINDS.get(statement.kind)
    if kind is None:
        raise Fail(error("HMS201", f"unknown kind `{statement.kind}`", statement.kind_span,
                         notes=suggestion(statement.kind, KINDS)
                         or [f"help: kinds are {', '.join(KINDS)}"]))  # fmt: skip
    if kind.top and owner.kind is not FILE_KIND:
        raise Fail(error("HMS106", f"a {kind.name} stands at the top level of a file",
                         statement.kind_span))  # fmt: skip
    _free_name(builder, owner, statement.name, statement.name_span, "members")
    doc = resolve.doc_of(builder, statement)
    made = Definition(statement.name, kind, statement=statement, scope=scope, doc=doc)
    owner.members[statement.name] = made


def _declare_instance(
    builder: Builder, owner: Instance, statement: ast.InstanceDecl, scope: Scope
) -> None:
    if INSTANCE not in owner.kind.statements:
        raise Fail(error("HMS106", f"a {owner.kind.name} holds no instances", statement.span,
                         notes=["help: `name = value` sets a property"]))  # fmt: skip
    if scope.locals:
        raise Fail(error("HMS106", "instances are not declared in a `for`", statement.span,
                         notes=["help: declare a vector, such as `gpu[8]: H100`"]))  # fmt: skip
    target = statement.target
    name_expr = target.base if isinstance(target, ast.Index) else target
    if not isinstance(name_expr, ast.Name):
        raise Fail(error("HMS106", "an instance is declared by its own name", target.span))
    name = name_expr.name
    previous = owner.decls.get(name)
    if previous is not None and previous.chain == scope.chain:
        _twice(name, name_expr.span, previous.statement.target.span)
    _free_name(builder, owner, name, name_expr.span, "decls")
    if name in owner.properties:
        _property_of_all(owner, name, name_expr.span)
    owner.decls[name] = InstanceDeclared(name, statement, scope, scope.chain)


def _property_of_all(owner: Instance, name: str, span: Span) -> None:
    what = owner.builtin.name if owner.builtin else owner.kind.name
    raise Fail(error("HMS202", f"`{name}` is a property of every {what}", span,
                     notes=["help: choose another name, or set it with `=`"]))  # fmt: skip


def _free_name(builder: Builder, owner: Instance, name: str, span: Span, own: str) -> None:
    """Raises if `name` is taken by another sort of member, by a definition, or by an import."""
    places: tuple[tuple[str, Callable[[Any], Span | None]], ...] = (
        ("params", lambda x: x.statement.name_span),
        ("decls", lambda x: x.statement.target.span),
        ("members", lambda x: x.span),
    )
    for table_name, where in places:
        table = getattr(owner, table_name)
        if name in table and (table_name != own or own == "members"):
            _twice(name, span, where(table[name]))
    module = builder.module_of(owner)
    if module is not None and name in module.imports:
        _twice(name, span, module.imports[name][2])


def _twice(name: str, span: Span, first: Span | None) -> None:
    labels = [Label(first, "first here")] if first is not None else []
    raise Fail(error("HMS202", f"`{name}` is declared twice", span, labels=labels))


# --- what is set and wired -----------------------------------------------------------------


def _settle(builder: Builder, owner: Instance, statement: ast.Statement, scope: Scope) -> None:
    if isinstance(statement, ast.Assign):
        _assign(builder, owner, statement, scope)
    elif isinstance(statement, ast.Reopen):
        for config in flatten_block(builder, statement, scope, BY_PATH):
            _send(builder, owner, config)
    elif isinstance(statement, ast.Assert):
        owner.wirings.append(Wiring(statement, scope))
    elif not isinstance(statement, ast.Import):
        form, word = _FORMS[type(statement)]
        if form not in owner.kind.statements:
            raise Fail(error("HMS106", f"`{word}` does not belong in a {owner.kind.name}",
                             statement.span,
                             notes=[f"help: it stands in {_FORM_HOMES[form]}"]))  # fmt: skip
        owner.wirings.append(Wiring(statement, scope))


def _send(builder: Builder, owner: Instance, config: Config) -> None:
    """Sends one of many values on its way; the others do not wait for its problems."""
    try:
        configure(builder, owner, config)
    except Fail as problem:
        builder.report(problem)


def _assign(builder: Builder, owner: Instance, statement: ast.Assign, scope: Scope) -> None:
    steps = target_steps(builder, statement.target, scope)
    first = steps[0].name
    key = ".".join(step.name for step in steps)
    plain = len(steps) == 1 and steps[0].index is None
    in_map = len(steps) == 2 and owner.map_property(first) is not None
    if (plain and owner.kind is not FILE_KIND) or in_map or (plain and first in owner.params):
        too_late(owner, key, statement.span)
        site = Site(Rank(BY_DEFINITION, 0, scope.chain, IN_BODY), "definition", statement.span,
                    statement.value, scope)  # fmt: skip
        owner.sites.setdefault(key, []).append(site)
        return
    rank = Rank(BY_INSTANCE, owner.outerness, scope.chain, BY_PATH)
    config = Config(steps, statement.value, scope, rank, "path statement", statement.span)
    configure(builder, owner, config)


# --- if and for ----------------------------------------------------------------------------


def _expand_block(builder: Builder, owner: Instance, block: ast.If | ast.For, scope: Scope) -> None:
    if isinstance(block, ast.If):
        holds = builder.evaluator.truth(block.condition, Context(scope))
        chosen = block.then if holds else block.otherwise
        if chosen is not None:
            collect(builder, [(owner, chosen.statements, scope)])
        return
    for variables in loop(builder, block, scope):
        collect(builder, [(owner, block.block.statements, scope.inner(variables))])


def loop(builder: Builder, block: ast.For, scope: Scope) -> Iterator[dict[str, Any]]:
    """The variables of each turn of a `for`; raises `Fail`."""
    values = builder.evaluator.value(block.values, Context(scope))
    if isinstance(values, Vector | Selection):
        values = values.items
    if not isinstance(values, list | tuple):
        raise Fail(error("HMS303", f"`for` goes over a list, not {kind_of(values)}",
                         block.values.span,
                         notes=["help: such as `range(8)` or a vector"]))  # fmt: skip
    for value in values:
        if len(block.names) == 1:
            yield {block.names[0]: value}
            continue
        if not isinstance(value, list | tuple) or len(value) != len(block.names):
            raise Fail(error("HMS303", f"{len(block.names)} names, but an item is {kind_of(value)}",
                             block.values.span))  # fmt: skip
        yield dict(zip(block.names, value, strict=True))


# --- checks of names -----------------------------------------------------------------------


def check_names(builder: Builder, instance: Instance) -> None:
    """Reports values set for names that the instance does not have."""
    for name, sites in instance.sites.items():
        head, _, key = name.partition(".")
        span = sites[0].span
        if head in instance.decls:
            builder.add(error("HMS210", f"`{head}` is an instance and has no value", span,
                              notes=["help: open it with braces"]))  # fmt: skip
        else:
            _check_name(builder, instance, head, key, span)
    for name, configs in instance.configs.items():
        if name not in instance.decls:
            for config in configs:
                _check_config(builder, instance, name, config)


def _check_config(builder: Builder, instance: Instance, name: str, config: Config) -> None:
    first, *later = config.steps
    if name in instance.members and later:
        builder.add(error("HMS210", f"`{name}` is a definition inside {instance}; it cannot be "
                          "set from here", first.span))  # fmt: skip
    elif (name in instance.params or name in instance.properties) and first.index is not None:
        builder.add(error("HMS303", f"`{name}` of {instance} is a value, not a vector", first.span))
    elif (
        later
        and name in {*instance.params, *instance.properties}
        and (len(later) > 1 or instance.map_property(name) is None)
    ):
        builder.add(_without_members(instance, name, later[-1].span))
    else:
        span = later[0].span if later else first.span
        _check_name(builder, instance, name, later[0].name if later else "", span)


def _check_name(
    builder: Builder, instance: Instance, name: str, key: str, span: Span | None
) -> None:
    prop = instance.properties.get(name)
    if prop is None:
        if name not in instance.params:
            builder.add(resolve.unknown_property(instance, name, span))
    elif prop.derived:
        builder.add(resolve.derived(prop, span))
    elif key and isinstance(prop.type, MapType) and key not in prop.type.keys:
        notes = suggestion(key, prop.type.keys) or (f"help: one of {', '.join(prop.type.keys)}",)
        builder.add(error("HMS206", f"`{name}` has no entry `{key}`", span, notes=notes))


def _without_members(instance: Instance, name: str, span: Span) -> Diagnostic:
    maps = [p.name for p in instance.properties.values() if isinstance(p.type, MapType)]
    notes = [f"note: dotted names are allowed below {', '.join(f'`{m}`' for m in maps)}"]
    return error("HMS303", f"`{name}` is a value and has no members", span,
                 notes=notes if maps else ())  # fmt: skip
