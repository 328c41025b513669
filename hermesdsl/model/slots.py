"""Values on demand: which site sets one, and what it comes to.

A value is computed once, when first asked for. A twin has the values of its prototype, with
whatever lies inside the prototype replaced by its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, Label, error
from hermesdsl.model import outside, params, twins
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import (
    BY_CASE,
    BY_DEFAULT,
    BY_DEFINITION,
    VIA_DEFINITION,
    Instance,
    Site,
    Slot,
)
from hermesdsl.model.resolve import place_of
from hermesdsl.model.values import ComputedValue, Fail, Stop
from hermesdsl.schema import COMPUTED
from hermesdsl.schema.types import (
    AnyType,
    ComputedType,
    ListType,
    MapType,
    NumberType,
    Property,
    PropertyType,
)
from hermesdsl.syntax import ast
from hermesdsl.units.quantity import Quantity

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

#: Most values that may wait for each other: each needs the next.
DEPTH_BUDGET = 1000


def get(builder: Builder, instance: Instance, name: str) -> Any:
    """The value of a param, let or property; None if it is absent. Raises `Fail`."""
    slot = instance.slots.get(name)
    if slot is None:
        if instance.twin is not None:
            value = get(builder, instance.twin, name)
            return twins.renamed(builder, value, instance.twin, instance)
        slot = instance.slots[name] = _slot(instance, name)
    if slot.state == "done":
        return slot.value
    if slot.state == "failed":
        raise Fail
    if slot.state == "busy":
        raise Fail(_circle(builder, instance, slot))
    if len(builder.busy) >= DEPTH_BUDGET:
        span = slot.sites[-1].span if slot.sites else place_of(instance)
        raise Stop(error("HMS307", f"more than {DEPTH_BUDGET} values wait for each other", span,
                         notes=["help: each needs the next one; shorten the chain"]))  # fmt: skip
    slot.state = "busy"
    builder.busy.append((instance, slot))
    try:
        slot.value = _resolve(builder, instance, slot)
    except Fail as problem:
        slot.state = "failed"
        builder.report(problem)
        raise Fail from None
    finally:
        builder.busy.pop()
    slot.state = "done"
    return slot.value


# --- sites ---------------------------------------------------------------------------------


def _slot(instance: Instance, name: str) -> Slot:
    prop = instance.properties.get(name.partition(".")[0])
    made = Slot(name, None, [], prop)
    instance.slots[name] = made
    made.sites = sorted(sites(instance, name), key=lambda s: s.rank.key)
    return made


def sites(instance: Instance, name: str) -> list[Site]:
    """Every site that sets `name` of `instance`, in no order."""
    found = list(instance.sites.get(name, ()))
    head, _, key = name.partition(".")
    for config in instance.configs.get(head, ()):
        if len(config.steps) == (2 if key else 1) and (not key or config.steps[1].name == key):
            rank = config.popped().rank
            found.append(Site(rank, config.origin, config.span, config.expr, config.scope))
    if len(found) < 2:
        return found
    return _without_replaced(instance, name, found)


def _without_replaced(instance: Instance, name: str, found: list[Site]) -> list[Site]:
    """Leaves out what a definition further down the ``extends`` chain replaces.

    A param declared again starts anew. What a case or the command line says of a definition
    holds for those that extend it unless they say otherwise themselves.
    """
    declared = instance.params.get(name)
    first = declared.chain if declared is not None else 0
    own = [s.rank.chain for s in found
           if s.rank.stage in (BY_DEFAULT, BY_DEFINITION)]  # fmt: skip
    last = max(own, default=0)
    return [
        s for s in found
        if not (s.rank.stage <= BY_DEFINITION and s.rank.chain < first)
        and not (s.rank.stage >= BY_CASE and s.rank.form == VIA_DEFINITION and s.rank.chain < last)
    ]  # fmt: skip


def type_of(builder: Builder, instance: Instance, name: str) -> Any:
    """Type of a property or param; None if a param states none."""
    head, _, key = name.partition(".")
    prop = instance.properties.get(head)
    if prop is not None:
        return prop.type.item if key and isinstance(prop.type, MapType) else prop.type
    declared = instance.params.get(name)
    if declared is None or isinstance(declared.statement, ast.Let):
        return None
    return params.param_type(builder, declared)


# --- values --------------------------------------------------------------------------------


def _resolve(builder: Builder, instance: Instance, slot: Slot) -> Any:
    if not slot.sites:
        slot.type = type_of(builder, instance, slot.name)
        return _absent(builder, instance, slot)
    winner = slot.sites[-1]
    if len(slot.sites) > 1 and slot.sites[-2].rank.key == winner.rank.key:
        raise Fail(_equal_sites(instance, slot))
    slot.winner = winner
    slot.type = type_of(builder, instance, slot.name)
    if winner.expr is None:
        return winner.constant
    if isinstance(slot.type, AnyType):
        return winner.expr  # its reader knows what it may be
    assert winner.scope is not None
    context = Context(winner.scope, (instance, slot.name))
    outside.check_winner(builder, instance, slot)
    value = builder.evaluator.value(winner.expr, context, slot.type)
    declared = instance.params.get(slot.name)
    if declared is not None:
        given = winner.rank.stage != BY_DEFAULT
        span = winner.expr.span
        params.check_param(builder, declared, slot.type, value, span, given=given)
    return value


def _equal_sites(instance: Instance, slot: Slot) -> Diagnostic:
    """Two sites with the same right; the one written last is blamed."""
    pair = sorted(slot.sites[-2:], key=lambda s: s.span.start if s.span else 0)
    labels = [Label(pair[0].span, "set here too")] if pair[0].span else []
    where = f"`{slot.name}` of {instance}" if str(instance) else f"`{slot.name}`"
    note = "help: keep one; a narrower index such as `[0]`, or an outer scope, would win"
    return error("HMS209", f"{where} is set twice, and neither wins", pair[1].span, labels=labels,
                 notes=[note])  # fmt: skip


def _absent(builder: Builder, instance: Instance, slot: Slot) -> Any:
    prop = slot.property
    if slot.name in instance.params:
        raise Fail(_missing_params(instance))
    if prop is None or "." in slot.name:
        return None
    if isinstance(prop.type, MapType):
        return _map(builder, instance, slot.name)
    if prop.required:
        raise Fail(_missing_properties(instance))
    value = prop.default
    if callable(value):
        value = value(lambda name: builder.number(instance, name))
    return default(value, prop.type)


def _missing_params(instance: Instance) -> Diagnostic:
    """All params without a value at once."""
    missing = [p for name, p in instance.params.items() if not sites(instance, name)]
    listed = ", ".join(f"`{p.name}`" for p in missing)
    what = f"`{instance}` needs" if instance.path else "the specification needs"
    noun = "a value for" if len(missing) == 1 else "values for"
    labels = [Label(p.statement.name_span, "declared here") for p in missing]
    return error("HMS207", f"{what} {noun} {listed}",
                 place_of(instance) or missing[0].statement.name_span, labels=labels)  # fmt: skip


def _missing_properties(instance: Instance) -> Diagnostic:
    """All required properties without a value at once."""
    missing = [p for p in instance.properties.values() if p.required
               and not sites(instance, p.name)]  # fmt: skip
    listed = ", ".join(f"`{p.name}`" for p in missing)
    notes = [f"help: {p.name}: {_sentence(p)}" for p in missing[:3]]
    kind = instance.builtin.name if instance.builtin else instance.kind.name
    return error("HMS207", f"{kind} `{instance}` needs {listed}", place_of(instance), notes=notes)


def _sentence(prop: Property) -> str:
    return f"{prop.doc} ({prop.type})"


def _map(builder: Builder, instance: Instance, name: str) -> dict[str, Any]:
    keys = {s.partition(".")[2] for s in instance.sites if s.startswith(f"{name}.")}
    keys |= {c.steps[1].name for c in instance.configs.get(name, ()) if len(c.steps) == 2}
    return {key: get(builder, instance, f"{name}.{key}") for key in sorted(keys)}


def default(value: Any, kind: PropertyType) -> Any:
    """A schema default as a language value."""
    if isinstance(kind, ComputedType) and isinstance(value, str):
        computed = COMPUTED[kind.family, value]
        args = {p.name: default(p.default, p.type) for p in computed.parameters}
        return ComputedValue(kind.family, value, args)
    if isinstance(kind, ListType) and isinstance(value, tuple):
        return list(value)
    if isinstance(kind, NumberType) and isinstance(value, int | float):
        return Quantity(value, kind.dimension) if any(kind.dimension) else value
    return value


# --- circles -------------------------------------------------------------------------------


def _circle(builder: Builder, instance: Instance, slot: Slot) -> Diagnostic:
    """The diagnostic for a value that is needed to compute itself."""
    start = next(i for i, (_, busy) in enumerate(builder.busy) if busy is slot)
    circle = builder.busy[start:]
    if all(o is instance and _is_default(o, s) for o, s in circle):
        return _none_given(instance, [s.name for _, s in circle])
    names = [_path(o, s) for o, s in circle]
    shown = " -> ".join([*names, names[0]]) if len(names) > 1 else ""
    if len(names) > 8:
        shown = " -> ".join([*names[:4], f"… {len(names) - 7} more …", *names[-3:], names[0]])
    notes = [f"note: {shown}"] if shown else []
    span = slot.sites[-1].span if slot.sites else place_of(instance)
    return error("HMS208", f"`{names[0]}` depends on itself", span, notes=notes)


def _is_default(instance: Instance, slot: Slot) -> bool:
    """True for a param that nobody gave a value."""
    declared = instance.params.get(slot.name)
    if declared is None or isinstance(declared.statement, ast.Let):
        return False
    return slot.winner is not None and slot.winner.rank.stage == BY_DEFAULT


def _path(instance: Instance, slot: Slot) -> str:
    return f"{instance.path}.{slot.name}" if instance.path else slot.name


def _none_given(instance: Instance, names: list[str]) -> Diagnostic:
    """Params that are each other's defaults, and none of them was given a value."""
    listed = ", ".join(f"`{n}`" for n in names[:-1])
    either = f"{listed} or `{names[-1]}`" if listed else f"`{names[0]}`"
    declared = [instance.params[n].statement.name_span for n in names]
    labels = [Label(span, "declared here") for span in declared]
    what = f"`{instance}` needs" if instance.path else "the specification needs"
    notes = ["help: each follows from the other; set one of them"] if listed else []
    return error("HMS207", f"{what} a value for {either}", place_of(instance) or declared[0],
                 labels=labels if place_of(instance) else labels[1:], notes=notes)  # fmt: skip
