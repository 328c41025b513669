"""Names behind a dot, imports, types of members: the rules that connect things to each other.

Functions over the builder's data; `build` calls them, they never expand bodies themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, Label, error
from hermesdsl.diagnostics.nearest import nearest, suggestion
from hermesdsl.model.arithmetic import MISSING, equal, is_number, kind_of
from hermesdsl.model.coerce import DefinitionType, named_type
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import (
    CASE,
    DEFAULT,
    Config,
    Definition,
    Instance,
    InstanceDeclared,
    ModuleFile,
    ParamDecl,
    Selection,
    Slot,
    Vector,
)
from hermesdsl.model.values import ComputedValue, Fail, text
from hermesdsl.schema import KINDS
from hermesdsl.schema.types import MapType, PropertyType
from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.units import dimension as d
from hermesdsl.units.quantity import article, dimension_of

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

# --- imports -------------------------------------------------------------------------------


def imported(builder: Builder, owner: Instance, name: str) -> Any:
    """What `name` was imported as into the file `owner`, or None."""
    module = builder.module_of(owner)
    if module is None or name not in module.imports:
        return None
    target, inner, _ = module.imports[name]
    if inner is None:
        return target
    return exported(builder, target, inner)


def import_names(builder: Builder, owner: Instance) -> Iterator[str]:
    """Names that a file imported."""
    module = builder.module_of(owner)
    if module is not None:
        yield from module.imports


def exported(builder: Builder, module: ModuleFile, name: str) -> Any:
    """Member `name` of a module: its own, or re-exported by an index file; MISSING if none."""
    own = module.instance
    if name in own.params or name in own.decls or name in own.members:
        return builder.own(own, name)
    if module.is_index and name in module.imports:
        return imported(builder, own, name)
    return MISSING


def export_names(module: ModuleFile) -> set[str]:
    """Everything that can be imported from a module."""
    own = module.instance
    names = {*own.params, *own.decls, *own.members}
    return names | set(module.imports) if module.is_index else names


# --- members -------------------------------------------------------------------------------


def member(builder: Builder, base: Any, name: str, span: Span, expr: ast.Expr) -> Any:
    """``base.name``; raises `Fail`."""
    if isinstance(base, Definition):
        if base.kind.name == "case":
            raise Fail(error("HMS303", f"case `{base}` has no members", span))
        base = base.instance(builder)
    if isinstance(base, Instance):
        return _of_instance(builder, base, name, span)
    if isinstance(base, ModuleFile):
        found = exported(builder, base, name)
        if found is MISSING:
            raise Fail(error("HMS201", f"module `{base.name}` has no `{name}`", span,
                             notes=suggestion(name, export_names(base))))  # fmt: skip
        return found
    if isinstance(base, Vector):
        raise Fail(
            error("HMS303", f"`{base.path}` is a vector of {len(base.items)}", span,
                  notes=[f"help: write `{base.name}[*].{name}` for all, or pick one by index"])
        )  # fmt: skip
    if isinstance(base, Selection) or (
        isinstance(base, list) and all(isinstance(x, Instance | Selection) for x in base)
    ):
        return _of_selection(builder, base, name, span, expr)
    if isinstance(base, dict):
        if name not in base:
            raise Fail(error("HMS201", f"no entry `{name}`", span,
                             notes=suggestion(name, base)))  # fmt: skip
        return base[name]
    if isinstance(base, ComputedValue) and name in base.args:
        return base.args[name]
    raise Fail(error("HMS303", f"{kind_of(base)} has no member `{name}`", span))


def _of_instance(builder: Builder, base: Instance, name: str, span: Span) -> Any:
    found = builder.own(base, name)
    if found is not MISSING:
        return found
    if name in base.properties:
        raise Fail(error("HMS207", f"`{name}` of {base} has no value", span))
    known = {*base.params, *base.decls, *base.members, *base.properties}
    raise Fail(
        error("HMS201", f"{base.kind.name} `{base}` has no `{name}`", span,
              notes=suggestion(name, known))
    )  # fmt: skip


def _of_selection(builder: Builder, base: Any, name: str, span: Span, expr: ast.Expr) -> Any:
    items = base.items if isinstance(base, Selection) else _flat(base)
    found = [_of_instance(builder, item, name, span) for item in items]
    if found and all(isinstance(x, Instance | Vector) for x in found):
        vectors = [x for x in found if isinstance(x, Vector)]
        whole = vectors if len(vectors) == len(found) else None
        return Selection(_flat(found), expr.span.text, whole)
    return found


def _flat(values: list[Any]) -> list[Instance]:
    made: list[Instance] = []
    for value in values:
        made.extend(value.items if isinstance(value, Vector | Selection) else [value])
    return made


def instances(builder: Builder, value: Any, span: Span) -> list[Instance]:
    """The instances that a selection, vector, list or single thing stands for."""
    if isinstance(value, Instance):
        return [value]
    if isinstance(value, Vector | Selection):
        if not value.items:
            raise Fail(error("HMS402", "the selection is empty", span))
        return value.items
    if isinstance(value, list) and value:
        return [i for v in value for i in instances(builder, v, span)]
    if isinstance(value, Definition) and value.kind.single:
        return [value.instance(builder)]
    raise Fail(error("HMS303", f"expected parts, found {kind_of(value)}", span))


# --- twins ---------------------------------------------------------------------------------


def renamed(builder: Builder, value: Any, twin: Instance, clone: Instance) -> Any:
    """`value` of the prototype as its clone sees it: things inside it under the clone's path."""
    if isinstance(value, Instance):
        return counterpart(value, twin, clone)
    if isinstance(value, Vector):
        found = [counterpart(i, twin, clone) for i in value.items]
        if not found or found[0] is value.items[0]:
            return value
        return Vector(value.name, found[0].vector, found, value.span)
    if isinstance(value, Selection):
        return Selection([counterpart(i, twin, clone) for i in value.items], value.text)
    if isinstance(value, list):
        return [renamed(builder, v, twin, clone) for v in value]
    return value


def counterpart(value: Instance, twin: Instance, clone: Instance) -> Instance:
    """What `value`, seen from inside `twin`, is for `clone`: itself if it lies outside."""
    here: Instance | None = twin
    there: Instance | None = clone
    while here is not None and there is not None and here is not there:
        steps = _steps_below(value, here)
        if steps is not None:
            found = there
            for name, index in steps:
                child = found.children[name]
                found = child.items[index or 0] if isinstance(child, Vector) else child
            return found
        here, there = here.parent, there.parent
    return value


def _steps_below(value: Instance, top: Instance) -> list[tuple[str, int | None]] | None:
    steps: list[tuple[str, int | None]] = []
    current: Instance | None = value
    while current is not None and current is not top:
        steps.append((current.name, current.index))
        current = current.parent
    return steps[::-1] if current is top else None


# --- params --------------------------------------------------------------------------------


def param_type(builder: Builder, declared: ParamDecl) -> PropertyType | DefinitionType | None:
    """The type a ``param x: T`` states, or None."""
    statement = declared.statement
    assert isinstance(statement, ast.Param)
    if statement.type is None:
        return None
    expr = statement.type
    if isinstance(expr, ast.Name) and expr.name in KINDS:
        return named_type(builder, None, expr.name)
    value = builder.evaluator.value(expr, Context(declared.scope, (declared.scope.owner,
                                                                   declared.name)))  # fmt: skip
    made = None
    if isinstance(value, Definition):
        made = named_type(builder, value, value.name)
    if made is None:
        raise Fail(error("HMS303", f"{kind_of(value)} is not a type", expr.span))
    return made


def check_param(builder: Builder, instance: Instance, slot: Slot, value: Any) -> None:
    """Holds a set value against the param's domain and against the dimension of its default."""
    winner = slot.winner
    assert winner is not None
    _check_settable(instance, slot)
    declared = instance.params.get(slot.name)
    if declared is None or isinstance(declared.statement, ast.Let):
        return
    statement = declared.statement
    span = winner.span or statement.name_span
    if slot.type is None and winner.rank.stage != DEFAULT and statement.default is not None:
        _same_sort(builder, declared, statement.default, value, span)
    if statement.domain is not None:
        _in_domain(builder, declared, statement.domain, value, span, slot)


def _same_sort(
    builder: Builder, declared: ParamDecl, default: ast.Expr, value: Any, span: Span
) -> None:
    usual = builder.evaluator.value(default, Context(declared.scope))
    if is_number(usual) != is_number(value):
        raise Fail(error("HMS303", f"`{declared.name}` takes a value like {text(usual)}, "
                         f"found {kind_of(value)}", span))  # fmt: skip
    if is_number(usual) and not d.assignable(dimension_of(value), dimension_of(usual)):
        wanted, found = dimension_of(usual), dimension_of(value)
        raise Fail(
            error("HMS301", f"`{declared.name}` takes {article(wanted)}, found {article(found)}",
                  span)
        )  # fmt: skip


def _in_domain(
    builder: Builder, declared: ParamDecl, expr: ast.Expr, value: Any, span: Span, slot: Slot
) -> None:
    context = Context(declared.scope)
    item = slot.type
    allowed = builder.evaluator.value(expr, context)
    if isinstance(allowed, list | tuple):
        if not any(equal(value, option) for option in allowed):
            options = ", ".join(text(option) for option in allowed[:12])
            raise Fail(
                error("HMS306", f"`{declared.name}` = {text(value)} is not in its domain", span,
                      labels=[Label(expr.span, f"one of {options}")])
            )  # fmt: skip
        return
    del item
    raise Fail(error("HMS303", f"a domain is a list, not {kind_of(allowed)}", expr.span))


def _check_settable(instance: Instance, slot: Slot) -> None:
    """Computed values and lets cannot be set from outside."""
    winner = slot.winner
    assert winner is not None
    if winner.rank.stage < CASE:
        return
    declared = instance.params.get(slot.name)
    if declared is not None and isinstance(declared.statement, ast.Let):
        raise Fail(_not_settable(slot, declared.statement.value, winner.span))
    if declared is None:
        for site in slot.sites[:-1]:
            if site.expr is not None and site.rank.stage < CASE and not is_literal(site.expr):
                raise Fail(_not_settable(slot, site.expr, winner.span))


def _not_settable(slot: Slot, expr: ast.Expr, span: Span | None) -> Diagnostic:
    inputs = sorted(set(names_in(expr)))
    notes = [f"help: it is computed from {', '.join(f'`{n}`' for n in inputs)}"] if inputs else []
    return error("HMS210", f"`{slot.name}` is computed and cannot be set from outside", span,
                 notes=notes)  # fmt: skip


def is_literal(expr: ast.Expr) -> bool:
    """True for values written out: numbers, quantities, text, words, and calls of such."""
    if isinstance(expr, ast.Call):
        return all(is_literal(a.value) for a in expr.arguments)
    if isinstance(expr, ast.ListExpr | ast.TupleExpr):
        return all(is_literal(e) for e in expr.items)
    if isinstance(expr, ast.Unary):
        return is_literal(expr.operand)
    return isinstance(
        expr, ast.Number | ast.QuantityLiteral | ast.Text | ast.Boolean | ast.Name | ast.Attribute
    )


def names_in(expr: Any) -> Iterator[str]:
    """Every plain name in an expression."""
    if isinstance(expr, ast.Name):
        yield expr.name
    elif isinstance(expr, tuple):
        for part in expr:
            yield from names_in(part)
    elif hasattr(expr, "__slots__") and type(expr).__module__ == ast.__name__:
        for field in type(expr).__dataclass_fields__:
            if field not in ("span", "name_span", "unit_span", "function"):
                yield from names_in(getattr(expr, field))


# --- declarations --------------------------------------------------------------------------


def type_of(builder: Builder, statement: ast.InstanceDecl, context: Context) -> Definition:
    """The definition that an instance declaration names; raises `Fail`."""
    value = builder.evaluator.value(statement.type, context)
    if isinstance(value, Definition):
        if value.kind.single:
            raise Fail(
                error("HMS303", f"the {value.kind.name} `{value}` is used by name, not instanced",
                      statement.type.span)
            )  # fmt: skip
        return value
    raise Fail(error("HMS303", f"{kind_of(value)} is not a type", statement.type.span))


def vector_size(builder: Builder, target: ast.Index, context: Context) -> int:
    """The count in ``gpu[8]``; raises `Fail`."""
    if isinstance(target.item, ast.All | ast.Slice):
        raise Fail(error("HMS106", "a vector is declared with its size", target.span))
    count = builder.evaluator.whole(target.item, context)
    if count < 0:
        raise Fail(error("HMS306", f"a vector of {count}", target.item.span))
    if count > 10**6:
        raise Fail(
            error("HMS410", f"a vector of {count} parts; the most is 1000000", target.item.span)
        )
    return count


def check_redeclared(
    builder: Builder, owner: Instance, declared: InstanceDeclared, definition: Definition
) -> None:
    """A redeclared member must stay of its kind."""
    if owner.definition is None:
        return
    for link in owner.definition.chain(builder):
        if link.statement is None:
            continue
        for other in link.statement.block.statements:
            if not isinstance(other, ast.InstanceDecl) or other is declared.statement:
                continue
            name = other.target.base if isinstance(other.target, ast.Index) else other.target
            if not isinstance(name, ast.Name) or name.name != declared.name:
                continue
            before = builder.evaluator.value(other.type, declared.scope_context())
            if isinstance(before, Definition) and before.kind is not definition.kind:
                raise Fail(
                    error("HMS303", f"`{declared.name}` was a {before.kind.name} and cannot become "
                          f"a {definition.kind.name}", declared.statement.span,
                          labels=[Label(other.span, "declared here")])
                )  # fmt: skip


def unknown_property(instance: Instance, name: str, span: Span | None) -> Diagnostic:
    """The diagnostic for a name that a thing does not have."""
    known = {*instance.params, *instance.properties, *instance.decls}
    what = instance.type_name if instance.builtin else instance.kind.name
    notes = list(suggestion(name, known))
    if not notes:
        listed = sorted(p for p in instance.properties if not instance.properties[p].derived)
        notes = [f"note: {what} has {', '.join([*listed, *instance.params])}"]
    maps = [p.name for p in instance.properties.values() if isinstance(p.type, MapType)]
    if maps and nearest(name, instance.properties) is None and "." in name:
        notes = [f"help: dotted names are allowed under {', '.join(maps)}"]
    return error("HMS206", f"{what} has no property `{name}`", span, notes=notes)


def place_of(instance: Instance) -> Span | None:
    """Where an instance, or else its definition, was declared."""
    if instance.decl is not None:
        return instance.decl.statement.target.span
    return instance.definition.span if instance.definition is not None else None


def doc_of(builder: Builder, statement: ast.Statement) -> str:
    """The ``##`` text of a statement."""
    module = builder.by_source.get(id(statement.span.source))
    return module.file.docs.get(statement.span.start, "") if module else ""


# --- configuring files ---------------------------------------------------------------------


def configure_file(builder: Builder, owner: Instance, config: Config) -> None:
    """Sends a value set at file level to a member, a definition or another module."""
    first = config.steps[0]
    name = first.name
    if name in owner.decls:
        owner.configs.setdefault(name, []).append(config)
        return
    if name in owner.params:
        config.mark_used()
        owner.configs.setdefault(name, []).append(config)
        owner.slots.pop(name, None)
        return
    found: Any = owner.members.get(name)
    if found is None:
        found = imported(builder, owner, name)
    if found is None and builder.prelude is not None:
        found = builder.prelude.owner.members.get(name)
    if isinstance(found, Definition) and len(config.steps) > 1:
        config.mark_used()
        found.add_config(config.popped())
        return
    if isinstance(found, ModuleFile) and len(config.steps) > 1:
        inner = config.popped()
        configure_file(builder, found.instance, Config(
            inner.steps, inner.expr, inner.scope, config.rank, inner.origin, inner.span, config.root
        ))  # fmt: skip
        return
    if isinstance(found, Vector | Instance):
        home = found.parent if isinstance(found, Instance) else found.items[0].parent
        assert home is not None
        home.configs.setdefault(name, []).append(config)
        return
    known = {*owner.decls, *owner.params, *owner.members, *import_names(builder, owner)}
    if found is not None and found is not MISSING:
        raise Fail(error("HMS210", f"`{name}` cannot be set", first.span))
    raise Fail(error("HMS201", f"unknown name `{name}`", first.span,
                     notes=suggestion(name, known)))  # fmt: skip
