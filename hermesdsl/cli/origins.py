"""From a path of the language to what stands there: a value and the sites that set it, or a thing.

Reads the instance tree and returns plain texts; prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model.arithmetic import is_number, kind_of
from hermesdsl.model.build import Builder
from hermesdsl.model.elaborate import Tree
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import Definition, Instance, ModuleFile, Selection, Site, Vector
from hermesdsl.model.resolve import doc_of, place_of
from hermesdsl.model.values import Fail, text
from hermesdsl.schema.types import MapType
from hermesdsl.source import Source, Span
from hermesdsl.syntax import ast
from hermesdsl.syntax.parse import parse
from hermesdsl.units.dimension import describe
from hermesdsl.units.quantity import dimension_of

_LONGEST = 60
_OUTSIDE = "--set"


@dataclass(frozen=True)
class Origin:
    """One site: the value as written there, what sort of site it is, and ``file:line``."""

    value: str
    origin: str
    place: str = ""


@dataclass(frozen=True)
class Explained:
    """A value (`chain` weakest first, the last in force) or a thing (`rows`, `members`).

    `title` is ``path = value`` or ``path: what it is``; `sort` its type; `alike` how many more
    are the same.
    """

    title: str
    sort: str = ""
    doc: str = ""
    chain: tuple[Origin, ...] = ()
    rows: tuple[tuple[str, Origin], ...] = ()
    members: tuple[str, ...] = ()
    alike: int = 0


def explain(tree: Tree, path: str) -> list[Explained]:
    """What stands at `path`; alike members of a selection once. Raises `SpecError`."""
    target = _target(path)
    builder = tree.builder
    scope = tree.root.instance.scope
    assert scope is not None
    context = Context(scope)
    known = len(builder.sink.items)
    try:
        if isinstance(target, ast.Name) and target.name in scope.owner.params:
            return [_value(builder, scope.owner, target.name)]
        if isinstance(target, ast.Attribute):
            slots = list(_slots(builder, target, context))
            if slots:
                return _merged(_value(builder, owner, name) for owner, name in slots)
        return _things(builder, builder.evaluator.value(target, context), path)
    except Fail as problem:
        found = builder.sink.items[known:] if problem.diagnostic is None else [problem.diagnostic]
        raise SpecError(found or [error("HMS207", f"`{path}` has no value")]) from None


def _target(path: str) -> ast.Expr:
    parsed = parse(Source("PATH", f"{path} = 0"))
    statement = parsed.file.statements[0] if len(parsed.file.statements) == 1 else None
    whole = isinstance(statement, ast.Assign) and statement.target.span.text == path.strip()
    if parsed.diagnostics or not whole or "\n" in path:
        note = "help: such as `rack.node[0].gpu[*].power`"
        raise SpecError([error("HMS607", f"`{' '.join(path.split())}` is no path", notes=[note])])
    assert isinstance(statement, ast.Assign)
    target: ast.Expr = _alone(statement.target, Source("PATH", path))
    return target


def _alone(node: Any, source: Source) -> Any:
    """The same tree over a source that holds nothing but the path, for diagnostics."""
    if isinstance(node, Span):
        return Span(source, node.start, node.end)
    if isinstance(node, tuple):
        return tuple(_alone(item, source) for item in node)
    if not is_dataclass(node) or isinstance(node, type):
        return node
    return replace(node, **{f.name: _alone(getattr(node, f.name), source) for f in fields(node)})


# --- values ------------------------------------------------------------------------------------


def _slots(
    builder: Builder, target: ast.Attribute, context: Context
) -> Iterator[tuple[Instance, str]]:
    """The instances and value names that ``base.name`` means; nothing if it means things."""
    name = target.name
    base = builder.evaluator.value(target.base, context)
    if isinstance(base, dict) and isinstance(target.base, ast.Attribute):
        if name not in base:
            raise Fail(error("HMS201", f"no entry `{name}`", target.name_span,
                             notes=suggestion(name, base)))  # fmt: skip
        name = f"{target.base.name}.{name}"
        base = builder.evaluator.value(target.base.base, context)
    if isinstance(base, Definition) and not base.kind.free:
        base = base.instance(builder)
    if isinstance(base, ModuleFile):
        base = base.instance
    items = base.items if isinstance(base, Selection) else [base]
    for item in items:
        head = name.partition(".")[0]
        if isinstance(item, Instance) and (head in item.params or _is_plain(item, name)):
            yield item, name


def _is_plain(instance: Instance, name: str) -> bool:
    """True for a property with one value, or one entry of a map."""
    head, dot, _ = name.partition(".")
    return head in instance.properties and bool(dot) == (instance.map_property(head) is not None)


def _value(builder: Builder, instance: Instance, name: str) -> Explained:
    value = builder.get(instance, name)
    owner = instance if name in instance.slots else instance.twin or instance
    slot = owner.slots[name]
    path = f"{instance.path}.{name}" if instance.path else name
    sort = str(slot.type) if slot.type is not None else _sort(value)
    declared = instance.params.get(name)
    doc = slot.property.doc if slot.property is not None else ""
    if declared is not None:
        doc = doc_of(builder, declared.statement)
        domain = getattr(declared.statement, "domain", None)
        sort += f", in {_short(domain.span.text)}" if domain is not None else ""
    chain = [_origin(site) for site in slot.sites]
    first = _schema_default(builder, instance, name, value, alone=not chain)
    if first is not None:
        chain.insert(0, first)
    full = " ".join(_shown(value).split())
    title = f"{path} = {full}" if value is not None else f"{path} has no value"
    return Explained(title, sort, doc, tuple(chain))


def _schema_default(
    builder: Builder, instance: Instance, name: str, value: Any, *, alone: bool
) -> Origin | None:
    """What the schema says where nobody else does."""
    prop = instance.properties.get(name)
    if prop is None or isinstance(prop.type, MapType):
        return None
    if callable(prop.default):
        return Origin(_short(_shown(value)), "computed by the schema") if alone else None
    if prop.default is None:
        return None
    return Origin(_short(_shown(builder.default(prop.default, prop.type))), "schema default")


def _origin(site: Site) -> Origin:
    written = text(site.constant) if site.expr is None else site.expr.span.text
    return Origin(_short(written), site.origin, _place(site.span))


def _place(span: Span | None) -> str:
    return f"{span.source.name}:{span.line}" if span and span.source.name != _OUTSIDE else ""


def _sort(value: Any) -> str:
    return describe(dimension_of(value)) if is_number(value) else kind_of(value)


def _shown(value: Any) -> str:
    """A value as text; an expression that waits for its reader as it was written."""
    span = getattr(value, "span", None)
    if isinstance(span, Span) and type(value).__module__ == ast.__name__:
        return span.text
    return text(value)


def _short(shown: str) -> str:
    shown = " ".join(shown.split())
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


# --- things ------------------------------------------------------------------------------------


def _things(builder: Builder, found: Any, path: str) -> list[Explained]:
    if isinstance(found, Definition):
        if found.kind.free:
            return [_case(found)]
        found = found.instance(builder)
    if isinstance(found, ModuleFile):
        return [_thing(builder, found.instance, f"{path}: the file {found.name}")]
    items = found.items if isinstance(found, Vector | Selection) else [found]
    if items and all(isinstance(item, Instance) for item in items):
        return _merged(_thing(builder, item, _title(item)) for item in items)
    return [Explained(f"{path} = {_short(_shown(found))}", _sort(found))]


def _title(instance: Instance) -> str:
    if instance.decl is None:
        return f"{instance.path}: {instance.kind.name}"
    return f"{instance.path}: {instance.kind.name} {instance.type_name}"


def _thing(builder: Builder, instance: Instance, title: str) -> Explained:
    rows = []
    for name in _names(instance):
        try:
            explained = _value(builder, instance, name)
        except Fail:
            continue
        if explained.chain and " = " in explained.title:
            last = explained.chain[-1]
            value = explained.title.partition(" = ")[2]
            rows.append((name, replace(last, value=_short(value))))
    members = [
        f"{name}[{len(child.items)}]: {child.items[0].type_name}"
        if isinstance(child, Vector)
        else f"{name}: {child.type_name}"
        for name, child in instance.children.items()
        if not isinstance(child, Vector) or child.items
    ]
    place = _place(place_of(instance))
    return Explained(title, place, instance.doc, (), tuple(rows), tuple(members))


def _names(instance: Instance) -> Iterator[str]:
    """Params, then properties in the order of the schema, entries of maps one by one."""
    source = instance.twin or instance
    yield from instance.params
    for name, prop in instance.properties.items():
        if isinstance(prop.type, MapType):
            keys = {each for each in source.sites if each.startswith(f"{name}.")}
            keys |= {
                f"{name}.{config.steps[1].name}"
                for config in source.configs.get(name, ())
                if len(config.steps) == 2
            }
            yield from sorted(keys)
        else:
            yield name


def _case(case: Definition) -> Explained:
    """What a case sets, as written."""
    assert case.statement is not None
    rows = [
        (
            _short(statement.target.span.text),
            Origin(_short(statement.value.span.text), "case", _place(statement.span)),
        )
        for statement in case.statement.block.statements
        if isinstance(statement, ast.Assign)
    ]
    return Explained(f"case {case.name}", _place(case.span), case.doc, (), tuple(rows))


def _merged(found: Iterator[Explained]) -> list[Explained]:
    """The same things once, with their number; the path is that of the first."""
    kinds: dict[tuple[Any, ...], Explained] = {}
    for each in found:
        shown = each.title.partition(" = " if each.chain else ": ")[2]
        key = (shown, each.sort, each.chain, each.rows, each.members)
        first = kinds.get(key)
        kinds[key] = each if first is None else replace(first, alike=first.alike + 1)
    return list(kinds.values())
