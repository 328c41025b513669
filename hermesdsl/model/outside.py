"""Values from outside: what a case, a sweep or the command line may set, and to what.

They may set every param, and every property whose value is written out; a computed value, a
derived one and a `let` they may not.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, Label, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model import params, resolve
from hermesdsl.model.arithmetic import MISSING, kind_of
from hermesdsl.model.coerce import coerce
from hermesdsl.model.evaluate import Context
from hermesdsl.model.inputs import read_by
from hermesdsl.model.instance import (
    BY_CASE,
    Definition,
    Instance,
    ModuleFile,
    Scope,
    Selection,
    Site,
    Step,
    Vector,
)
from hermesdsl.model.messages import outside as index_outside
from hermesdsl.model.values import Fail
from hermesdsl.schema.types import SymbolType
from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.instance import Slot

# --- what may be set -----------------------------------------------------------------------


def check_winner(builder: Builder, instance: Instance, slot: Slot) -> None:
    """Raises `Fail` if the site in force comes from outside and may not set this."""
    winner = slot.winner
    assert winner is not None
    if winner.rank.stage >= BY_CASE:
        _check_settable(builder, instance, slot.name, slot.sites, winner.span)


def _check_settable(
    builder: Builder, instance: Instance, name: str, sites: list[Site], span: Span | None
) -> None:
    declared = instance.params.get(name)
    if declared is not None:
        if isinstance(declared.statement, ast.Let):
            inputs = read_by(builder, declared.statement.value, declared.scope)
            raise Fail(_not_settable(name, "is a `let`", inputs, span))
        return
    prop = instance.properties[name.partition(".")[0]]
    if prop.derived:
        raise Fail(resolve.derived(prop, span))
    inside = [s for s in sites if s.rank.stage < BY_CASE]
    if not inside or inside[-1].expr is None or inside[-1].scope is None:
        return
    expr, scope = inside[-1].expr, inside[-1].scope
    wanted = prop.type if isinstance(prop.type, SymbolType) else None
    inputs = read_by(builder, expr, scope, wanted, (instance, name))
    if inputs:
        labels = [Label(expr.span, "computed here")]
        raise Fail(_not_settable(name, "is computed", inputs, span, labels))


def _not_settable(
    name: str, what: str, inputs: list[str], span: Span | None, labels: list[Label] | None = None
) -> Diagnostic:
    named = [f"`{n}`" for n in dict.fromkeys(inputs) if n]
    notes = [f"help: set what it is computed from: {', '.join(named)}"] if named else []
    if not inputs and what == "is a `let`":
        notes = ["help: declare it with `param`"]
    return error("HMS210", f"`{name}` {what} and cannot be set from outside", span,
                 labels=labels or [], notes=notes)  # fmt: skip


# --- what a path reaches -------------------------------------------------------------------


def check_setting(
    builder: Builder, scope: Scope, steps: tuple[Step, ...], expr: ast.Expr, values: Scope
) -> None:
    """Raises `Fail` unless the value at a path may be set to `expr`.

    The path starts in `scope`; `expr` is evaluated in `values`.
    """
    for instance, name in reached(builder, scope, steps):
        check_one(builder, instance, name, steps[-1].span, expr.span, expr, values)


def check_one(
    builder: Builder,
    instance: Instance,
    name: str,
    path: Span,
    span: Span,
    expr: ast.Expr | None,
    scope: Scope,
    value: Any = None,
) -> Any:
    """The value of `expr`, or else `value`, as `name` of `instance` takes it; or raises `Fail`.

    `path` is where the name stands, `span` where the value does, `scope` that of the value.
    """
    owner = instance.twin or instance
    with suppress(Fail):  # without a value yet: this setting would be its first
        builder.get(owner, name)
    sites = owner.slots[name].sites if name in owner.slots else []
    _check_settable(builder, owner, name, sites, path)
    wanted = builder.type_of(owner, name)
    if expr is not None:
        value = builder.evaluator.value(expr, Context(scope, (owner, name)), wanted)
    elif wanted is not None:
        value = coerce(builder, value, wanted, span)
    declared = owner.params.get(name)
    if declared is not None:
        params.check_param(builder, declared, wanted, value, span, given=True)
    return value


def reached(builder: Builder, scope: Scope, steps: tuple[Step, ...]) -> list[tuple[Instance, str]]:
    """The (instance, name of a param or property) pairs that a path means. Raises `Fail`."""
    first, *later = steps
    if not later:
        return [_by_name(builder, scope, first)]
    found = builder.lookup(scope, first.name)
    if found is MISSING:
        raise Fail(error("HMS201", f"unknown name `{first.name}`", first.span,
                         notes=suggestion(first.name, builder.visible(scope))))  # fmt: skip
    things = _picked(found, first)
    for step in later[:-1]:
        maps = [t for t in things if isinstance(t, Instance) and t.map_property(step.name)]
        if maps and step is later[-2]:
            return [(t, f"{step.name}.{later[-1].name}") for t in maps]
        things = [t for thing in things for t in _picked(_member(builder, thing, step), step)]
    last = later[-1]
    return [(_owner(builder, thing, last), last.name) for thing in things]


def _by_name(builder: Builder, scope: Scope, step: Step) -> tuple[Instance, str]:
    current: Scope | None = scope
    while current is not None:
        owner = current.owner
        if step.name in owner.params or step.name in owner.properties:
            return owner, step.name
        home = resolve.origin_of(builder, owner, step.name)
        if home is not None and home[1] in home[0].instance.params:
            return home[0].instance, home[1]
        current = current.parent
    found = builder.lookup(scope, step.name)
    if found is MISSING:
        raise Fail(error("HMS201", f"unknown name `{step.name}`", step.span,
                         notes=suggestion(step.name, builder.visible(scope))))  # fmt: skip
    raise Fail(_without_value(step, found))


def _without_value(step: Step, found: Any) -> Diagnostic:
    what = "a vector" if isinstance(found, Vector) else kind_of(found)
    return error("HMS210", f"`{step.name}` is {what}; it has no value to set", step.span,
                 notes=["help: set one of its properties, such as "
                        f"`{step.name}.… = …`"])  # fmt: skip


def _member(builder: Builder, thing: Any, step: Step) -> Any:
    span = step.span
    return builder.member(thing, step.name, span, ast.Name(step.name, span))


def _picked(found: Any, step: Step) -> list[Any]:
    """What the index of a step chooses."""
    if not isinstance(found, Vector | Selection | list):
        if step.index is not None:
            raise Fail(error("HMS303", f"`{step.name}` is one thing, not a vector", step.span))
        return [found]
    items = found if isinstance(found, list) else found.items
    if isinstance(step.index, int) and not -len(items) <= step.index < len(items):
        raise Fail(index_outside(step.index, len(items), step.span))
    chosen = [item for i, item in enumerate(items) if step.matches(i, len(items))]
    if not chosen:
        raise Fail(error("HMS402", f"`{step.span.text}` selects nothing", step.span))
    return chosen


def _owner(builder: Builder, thing: Any, step: Step) -> Instance:
    """The instance whose value `step` names."""
    if isinstance(thing, Definition) and not thing.kind.free:
        thing = thing.instance(builder)
    if isinstance(thing, ModuleFile):
        home = resolve.exporter(thing, step.name)
        if home is not None and home[1] in home[0].instance.params:
            return home[0].instance
        if home is None:
            raise Fail(resolve.not_exported(thing, step.name, step.span))
        found = builder.own(home[0].instance, home[1])
        raise Fail(_without_value(step, found))
    if not isinstance(thing, Instance):
        raise Fail(error("HMS210", f"{kind_of(thing)} has no values to set", step.span))
    if step.name not in thing.params and step.name not in thing.properties:
        raise Fail(resolve.unknown_property(thing, step.name, step.span))
    return thing
