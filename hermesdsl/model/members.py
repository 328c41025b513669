"""Builds the members of an instance: lone ones, vectors, and the twins of equal siblings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import Label, error
from hermesdsl.model import resolve
from hermesdsl.model.arithmetic import kind_of
from hermesdsl.model.configure import flatten_block
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import (
    IN_BLOCK,
    Config,
    Definition,
    Instance,
    InstanceDeclared,
    Vector,
)
from hermesdsl.model.messages import outside
from hermesdsl.model.values import Fail, Stop
from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

#: Most parts, clients and stages a system may have, and how deep they may lie in each other.
PART_BUDGET = 10**6
DEPTH_BUDGET = 64


def build_children(builder: Builder, owner: Instance) -> None:
    """Builds every declared member instance."""
    for declared in list(owner.decls.values()):
        try:
            build_child(builder, owner, declared)
        except Fail as problem:
            builder.report(problem)


def build_child(builder: Builder, owner: Instance, declared: InstanceDeclared) -> None:
    """Builds one member: a lone instance or a vector. Raises `Fail`."""
    if declared.name in owner.children:
        return
    if declared.state == "failed":
        raise Fail
    if declared.state == "busy":
        raise Fail(error("HMS208", f"`{declared.name}` depends on itself",
                         declared.statement.target.span,
                         notes=["note: what it is made of needs it to be built"]))  # fmt: skip
    declared.state = "busy"
    try:
        owner.children[declared.name] = _child(builder, owner, declared)
    except Fail as problem:
        declared.state = "failed"
        builder.report(problem)
        raise Fail from None
    declared.state = "done"


def _child(builder: Builder, owner: Instance, declared: InstanceDeclared) -> Instance | Vector:
    statement = declared.statement
    context = Context(declared.scope)
    definition = _type_of(builder, statement, context)
    if definition.kind.name not in owner.kind.holds:
        holds = ", ".join(owner.kind.holds)
        raise Fail(error("HMS303", f"a {owner.kind.name} does not hold a {definition.kind.name}",
                         statement.type.span, notes=[f"note: it holds {holds}"]))  # fmt: skip
    _check_redeclared(builder, owner, declared, definition)
    size = None
    if isinstance(statement.target, ast.Index):
        size = _vector_size(builder, statement.target, context)
    passed = [*_own_block(builder, declared), *owner.configs.get(declared.name, [])]
    if size is None:
        path = f"{owner.path}.{declared.name}" if owner.path else declared.name
        return _make(builder, owner, declared, definition, path, _unindexed(builder, passed))
    return _vector(builder, owner, declared, definition, size, passed)


def _vector(
    builder: Builder,
    owner: Instance,
    declared: InstanceDeclared,
    definition: Definition,
    size: int,
    passed: list[Config],
) -> Vector:
    """A vector; members that the same configurations reach are twins of the first of them."""
    path = f"{owner.path}.{declared.name}" if owner.path else declared.name
    passed = [c for c in passed if _in_range(builder, c, size)]
    reached = list(_reached(passed, size))
    alike = Counter(reached)
    items: list[Instance] = []
    prototypes: dict[tuple[int, ...], Instance] = {}
    for index, chosen in enumerate(reached):
        here = f"{path}[{index}]"
        twin = prototypes.get(chosen)
        if twin is not None:
            items.append(clone(twin, here, owner, index, path))
            continue
        before = builder.parts
        configs = [passed[i] for i in chosen]
        made = _make(builder, owner, declared, definition, here, configs, index, path)
        prototypes[chosen] = made
        items.append(made)
        builder.parts += (alike[chosen] - 1) * (builder.parts - before)
        if builder.parts > PART_BUDGET:
            _over_budget(declared.statement.target.span)
    return Vector(declared.name, path, items, declared.statement.target.span)


def _in_range(builder: Builder, config: Config, size: int) -> bool:
    """True if a configuration's index fits the vector; reports it if not."""
    index, span = config.steps[0].index, config.steps[0].span
    stop = index.stop if isinstance(index, slice) else index
    if stop is None or (stop <= size if isinstance(index, slice) else -size <= stop < size):
        return True
    builder.add(outside(stop - isinstance(index, slice), size, span))
    return False


def _unindexed(builder: Builder, passed: list[Config]) -> list[Config]:
    """The configurations of a lone member; reports those with an index."""
    for config in passed:
        step = config.steps[0]
        if step.index is not None:
            builder.add(error("HMS303", f"`{step.name}` is one thing, not a vector", step.span,
                              notes=[f"help: write `{step.name}` without an index"]))  # fmt: skip
    return [c for c in passed if c.steps[0].index is None]


def _reached(passed: list[Config], size: int) -> Iterator[tuple[int, ...]]:
    """For each index of a vector, which of the configurations reach it."""
    everywhere: list[int] = []
    exact: dict[int, list[int]] = {}
    for number, config in enumerate(passed):
        index = config.steps[0].index
        if isinstance(index, int):
            exact.setdefault(index + size if index < 0 else index, []).append(number)
        else:
            everywhere.append(number)
    for index in range(size):
        common = [n for n in everywhere if passed[n].steps[0].matches(index, size)]
        yield tuple(sorted([*common, *exact[index]])) if index in exact else tuple(common)


def _own_block(builder: Builder, declared: InstanceDeclared) -> Iterator[Config]:
    block = declared.statement.block
    if block is None:
        return
    name = ast.Name(declared.name, declared.statement.target.span)
    reopened = ast.Reopen(name, block, declared.statement.span)
    yield from flatten_block(builder, reopened, declared.scope, IN_BLOCK)


def _make(
    builder: Builder,
    owner: Instance,
    declared: InstanceDeclared,
    definition: Definition,
    path: str,
    passed: list[Config],
    index: int | None = None,
    vector: str = "",
) -> Instance:
    """One new member, with the configurations that reach it. Raises `Fail` and `Stop`."""
    made = Instance(
        declared.name, path, definition.kind, definition, definition.builtin_type(builder), owner
    )
    made.index, made.vector, made.decl = index, vector, declared
    made.doc = resolve.doc_of(builder, declared.statement) or definition.doc
    builder.parts += 1
    if builder.parts > PART_BUDGET:
        _over_budget(declared.statement.target.span)
    if made.depth > DEPTH_BUDGET:
        _too_deep(made)
    for config in passed:
        inner = config.popped()
        if not inner.steps:
            raise Fail(error("HMS210", f"`{declared.name}` is an instance and has no value",
                             config.span, notes=["help: open it with braces"]))  # fmt: skip
        made.configs.setdefault(inner.steps[0].name, []).append(inner)
    builder.expand(made)
    return made


def _over_budget(span: Span) -> None:
    raise Stop(error("HMS410", f"more than {PART_BUDGET:,} parts".replace(",", "_"), span))


def _too_deep(made: Instance) -> None:
    """Something lies in itself, or there are very many levels of containers."""
    assert made.decl is not None
    names: list[str] = []
    current: Instance | None = made
    while current is not None and current.definition is not None:
        names.insert(0, current.type_name)
        if names.count(made.type_name) == 2:
            break
        current = current.parent
    span = made.decl.statement.target.span
    if names.count(made.type_name) == 2:
        raise Stop(error("HMS410", f"`{made.type_name}` holds itself without end: "
                         f"{' -> '.join(names)}", span))  # fmt: skip
    raise Stop(error("HMS410", f"instances lie more than {DEPTH_BUDGET} deep in each other", span))


# --- twins ---------------------------------------------------------------------------------


def clone(
    twin: Instance, path: str, owner: Instance, index: int | None, vector: str = ""
) -> Instance:
    """An equal sibling of `twin` and of everything in it: the same values under another path."""
    made = Instance.like(twin, path, owner, index)
    made.vector = vector
    for name, child in twin.children.items():
        below = f"{path}.{name}"
        if isinstance(child, Vector):
            items = [clone(item, f"{below}[{i}]", made, i, below)
                     for i, item in enumerate(child.items)]  # fmt: skip
            made.children[name] = Vector(name, below, items, child.span)
        else:
            made.children[name] = clone(child, below, made, None)
    return made


def single_of_clone(builder: Builder, owner: Instance, name: str) -> Instance:
    """The single thing `name` (a pool, a cache, a model) defined inside the clone `owner`."""
    known = builder.single_twins.get((id(owner), name))
    if known is None:
        found = owner.members[name]
        prototype = found.instance(builder) if isinstance(found, Definition) else found
        known = clone(prototype, f"{owner.path}.{name}", owner, None)
        builder.single_twins[id(owner), name] = known
    return known


# --- declarations --------------------------------------------------------------------------


def _type_of(builder: Builder, statement: ast.InstanceDecl, context: Context) -> Definition:
    """The definition that an instance declaration names."""
    value = builder.evaluator.value(statement.type, context)
    if not isinstance(value, Definition):
        raise Fail(error("HMS303", f"{kind_of(value)} is not a type", statement.type.span))
    if value.kind.single:
        raise Fail(error("HMS303", f"the {value.kind.name} `{value}` is used by name, not "
                         "instanced", statement.type.span))  # fmt: skip
    return value


def _vector_size(builder: Builder, target: ast.Index, context: Context) -> int:
    """The count in ``gpu[8]``."""
    if isinstance(target.item, ast.All | ast.Slice):
        raise Fail(error("HMS106", "a vector is declared with its size", target.span,
                         notes=["help: such as `gpu[8]: H100`"]))  # fmt: skip
    size = builder.evaluator.whole(target.item, context)
    if size < 0:
        raise Fail(error("HMS306", f"a vector cannot have {size} parts", target.item.span))
    if size > PART_BUDGET:
        raise Fail(error("HMS410", f"a vector of {size} parts; the most is {PART_BUDGET}",
                         target.item.span))  # fmt: skip
    return size


def _check_redeclared(
    builder: Builder, owner: Instance, declared: InstanceDeclared, definition: Definition
) -> None:
    """A member declared again further down an ``extends`` chain must stay of its kind."""
    if owner.definition is None or declared.chain == 0:
        return
    for number, link in enumerate(owner.definition.chain(builder)[: declared.chain]):
        for other in link.statement.block.statements if link.statement is not None else ():
            if not isinstance(other, ast.InstanceDecl) or _declared_name(other) != declared.name:
                continue
            assert link.scope is not None
            scope = type(declared.scope)(owner, link.scope, chain=number)
            before = builder.evaluator.value(other.type, Context(scope))
            if isinstance(before, Definition) and before.kind is not definition.kind:
                raise Fail(
                    error("HMS303", f"`{declared.name}` was a {before.kind.name} and cannot "
                          f"become a {definition.kind.name}", declared.statement.type.span,
                          labels=[Label(other.span, "declared here")])
                )  # fmt: skip


def _declared_name(statement: ast.InstanceDecl) -> str:
    target = statement.target
    name = target.base if isinstance(target, ast.Index) else target
    return name.name if isinstance(name, ast.Name) else ""
