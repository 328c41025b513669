"""Names behind a dot, imported names, and where a thing was written.

Functions over the builder's data: they connect files and members, and never expand bodies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from hermesdsl import resources
from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.diagnostics.nearest import nearest, suggestion
from hermesdsl.model.arithmetic import MISSING, kind_of
from hermesdsl.model.functions import FUNCTIONS
from hermesdsl.model.instance import (
    Definition,
    Instance,
    ModuleFile,
    Scope,
    Selection,
    Vector,
)
from hermesdsl.model.values import ComputedValue, Fail
from hermesdsl.schema import family
from hermesdsl.schema.pipeline import REQUEST_ATTRIBUTES
from hermesdsl.schema.types import BoolType, ComputedType, MapType, Property, SymbolType
from hermesdsl.source import Span
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

# --- imports -------------------------------------------------------------------------------


def imported(builder: Builder, owner: Instance, name: str) -> Any:
    """What `name` was imported as into the file `owner`, or `MISSING`.

    Raises `Fail` for a name that the other file does not have; `missing_imports` reports those.
    """
    module = builder.module_of(owner)
    if module is None or name not in module.imports:
        return MISSING
    target, inner, _ = module.imports[name]
    if inner is None:
        return target
    home = exporter(target, inner)
    if home is None:
        raise Fail
    found = builder.own(home[0].instance, home[1])
    if found is MISSING:
        return imported(builder, home[0].instance, home[1])
    return found


def import_names(builder: Builder, owner: Instance) -> Iterator[str]:
    """Names that a file imported."""
    module = builder.module_of(owner)
    if module is not None:
        yield from module.imports


def exporter(module: ModuleFile, name: str) -> tuple[ModuleFile, str] | None:
    """The file that declares what `name` of `module` is, and its name there; None if nothing.

    Only an index file passes on what it imported. A module that it imported whole is given as
    the index file itself.
    """
    own = module.instance
    if name in own.params or name in own.decls or name in own.members:
        return module, name
    if not module.is_index or name not in module.imports:
        return None
    target, inner, _ = module.imports[name]
    return (module, name) if inner is None else exporter(target, inner)


def origin_of(builder: Builder, owner: Instance, name: str) -> tuple[ModuleFile, str] | None:
    """The file that declares an imported name, and its name there; None for other names."""
    module = builder.module_of(owner)
    if module is None or name not in module.imports:
        return None
    target, inner, _ = module.imports[name]
    return None if inner is None else exporter(target, inner)


def export_names(module: ModuleFile) -> set[str]:
    """Everything that can be imported from a module."""
    own = module.instance
    names = {*own.params, *own.decls, *own.members}
    return names | set(module.imports) if module.is_index else names


def missing_imports(builder: Builder) -> Iterator[Diagnostic]:
    """One for each ``from`` import of a name that the module does not have."""
    for module in builder.modules:
        for target, inner, span in module.imports.values():
            if inner is None or exporter(target, inner) is not None:
                continue
            yield not_exported(target, inner, span)


def not_exported(module: ModuleFile, name: str, span: Span) -> Diagnostic:
    """The diagnostic for a name that cannot be had from a module."""
    own = sorted(export_names(module))
    notes: Iterable[str] = suggestion(name, own)
    if name in module.imports:
        notes = ["note: it is imported there; only an index file passes names on",
                 f"help: import it from `{dotted(module.imports[name][0])}`"]  # fmt: skip
    elif not notes and own:
        notes = [f"note: it has {', '.join(own[:12])}{', …' if len(own) > 12 else ''}"]
    return error("HMS201", f"module `{dotted(module)}` has no `{name}`", span, notes=notes)


def dotted(module: ModuleFile) -> str:
    """How an import names a module: ``std.nvidia.hopper``, ``parts``."""
    path = PurePosixPath(module.name)
    parts = path.with_suffix("").parts if module.library else (path.stem,)
    inner = parts[:-1] if parts[-1] == "index" and len(parts) > 1 else parts
    return ".".join(("std", *inner[1:]) if module.library else inner)


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
        return _of_module(builder, base, name, span)
    if isinstance(base, Vector):
        shown = expr.base.span.text if isinstance(expr, ast.Attribute) else base.name
        raise Fail(
            error(
                "HMS303",
                f"`{shown}` is a vector of {len(base.items)}",
                span,
                notes=[f"help: write `{shown}[*].{name}` for all, or pick one by index"],
            )
        )
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


def _of_module(builder: Builder, base: ModuleFile, name: str, span: Span) -> Any:
    home = exporter(base, name)
    if home is None:
        raise Fail(not_exported(base, name, span))
    return builder.own(home[0].instance, home[1])


def _of_instance(builder: Builder, base: Instance, name: str, span: Span) -> Any:
    found = builder.own(base, name)
    if found is not MISSING:
        return found
    if name in base.properties:
        raise Fail(error("HMS207", f"`{name}` of {base} has no value", span))
    own = [*base.params, *base.decls, *base.members]
    notes = suggestion(name, [*own, *base.properties])
    if not notes and own:
        notes = (f"note: it has {', '.join(own[:12])}{', …' if len(own) > 12 else ''}",)
    raise Fail(error("HMS201", f"{base.kind.name} `{base}` has no `{name}`", span, notes=notes))


def _of_selection(builder: Builder, base: Any, name: str, span: Span, expr: ast.Expr) -> Any:
    items = base.items if isinstance(base, Selection) else _flat(base)
    found = [_of_instance(builder, item, name, span) for item in items]
    if all(isinstance(x, Instance | Vector) for x in found):
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
            shown = value.text if isinstance(value, Selection) else value.path
            raise Fail(error("HMS402", f"`{shown}` selects nothing", span))
        return value.items
    if isinstance(value, list) and value:
        return [i for v in value for i in instances(builder, v, span)]
    if isinstance(value, Definition):
        if value.kind.single:
            return [value.instance(builder)]
        note = f"help: declare one, as in `x: {value}`, and name that"
        raise Fail(error("HMS303", f"`{value}` is a type, not a thing", span, notes=[note]))
    raise Fail(error("HMS303", f"expected parts, found {kind_of(value)}", span))


def unknown_name(
    builder: Builder,
    expr: ast.Name,
    scope: Scope,
    exclude: tuple[Instance, str] | None,
    wanted: Any,
    *,
    formula: bool = False,
) -> Diagnostic:
    """The diagnostic for a name that means nothing where it stands.

    `wanted` is the type of the value it should be, `formula` that it may be of the request.
    """
    name = expr.name
    unset = builder.unset_property(scope, name)
    if unset is not None and exclude != (unset, name):
        return error("HMS207", f"`{name}` of {unset} has no value", expr.span)
    words: tuple[str, ...] = ()
    if isinstance(wanted, SymbolType):
        words = wanted.values
    elif isinstance(wanted, ComputedType):
        words = tuple(c.name for c in family(wanted.family))
    closed = words and not getattr(wanted, "literal", False)
    notes = suggestion(name, words if closed else [*words, *builder.visible(scope), *FUNCTIONS])
    if formula:
        read = [each for each, dimension in REQUEST_ATTRIBUTES.items() if dimension is not None]
        notes = (f"help: of the request a formula reads {', '.join(read)}",)
    if unset is not None:
        notes = (f"note: `{name}` of {unset} is what is being set here",)
    elif closed:
        notes = (*notes, f"help: one of {', '.join(words)}")
    elif isinstance(wanted, BoolType):
        notes = ("help: one of true, false",)
    elif not formula and name in REQUEST_ATTRIBUTES:
        note = f"help: `{name}` is of a request: conditions of a `branch` and formulas read it"
        notes = (note,)
    elif not formula:
        home = library_home(name)
        notes = (f"help: write `from {home} import {name}`",) if home else notes
    return error("HMS201", f"unknown name `{name}`", expr.span, notes=notes)


def library_home(name: str) -> str | None:
    """The module of the standard library that defines `name`, such as ``std.nvidia.hopper``."""
    folder = resources.folder("stdlib")
    defines = re.compile(rf"^[a-z]+ {re.escape(name)}\b", re.MULTILINE)
    for path in sorted(folder.rglob("*.hms")):
        if path.name != "prelude.hms" and defines.search(path.read_text(encoding="utf-8")):
            parts = path.relative_to(folder).with_suffix("").parts
            inner = parts[:-1] if parts[-1] == "index" else parts
            return ".".join(("std", *inner))
    return None


def parts_inside(container: Instance, kinds: tuple[str, ...]) -> str | None:
    """A path of parts of one of these kinds inside a container, the first kind that it has."""
    for kind in kinds:
        for name, child in container.children.items():
            first = child.items[:1] if isinstance(child, Vector) else [child]
            if any(item.kind.name == kind for item in first):
                return f"{container}.{name}[*]" if isinstance(child, Vector) else str(child)
    return None


# --- texts and places ----------------------------------------------------------------------


def parts_of(node: Any) -> Iterator[Any]:
    """The expressions and statements right below a node of the syntax tree."""
    if hasattr(node, "__slots__") and type(node).__module__ == ast.__name__:
        for field in type(node).__dataclass_fields__:
            if field not in ("span", "name_span", "unit_span", "function"):
                yield getattr(node, field)


def names_in(expr: Any) -> Iterator[str]:
    """Every plain name in an expression or statement; not those behind a dot."""
    if isinstance(expr, ast.Name):
        yield expr.name
    elif isinstance(expr, tuple):
        for part in expr:
            yield from names_in(part)
    else:
        for part in parts_of(expr):
            yield from names_in(part)


def words_in(expr: Any) -> Iterator[str]:
    """Every name in an expression or statement: those behind a dot and of arguments too."""
    if isinstance(expr, ast.Name | ast.Attribute):
        yield expr.name
    if isinstance(expr, ast.Argument) and expr.name is not None:
        yield expr.name
    parts = expr if isinstance(expr, tuple) else parts_of(expr)
    for part in parts:
        yield from words_in(part)


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


def derived(prop: Property, span: Span | None) -> Diagnostic:
    """The diagnostic for setting a value that the schema computes."""
    inputs = ", ".join(f"`{name}`" for name in prop.inputs)
    return error("HMS210", f"`{prop.name}` is derived and cannot be set", span,
                 notes=[f"help: set what it is computed from: {inputs}"])  # fmt: skip


def place_of(instance: Instance) -> Span | None:
    """Where an instance, or else its definition, was declared."""
    if instance.decl is not None:
        return instance.decl.statement.target.span
    return instance.definition.span if instance.definition is not None else None


def doc_of(builder: Builder, statement: ast.Statement) -> str:
    """The ``##`` text of a statement."""
    module = builder.by_source.get(id(statement.span.source))
    return module.file.docs.get(statement.span.start, "") if module else ""
