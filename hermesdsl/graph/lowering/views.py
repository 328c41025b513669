"""From `view` definitions to named drawings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import error
from hermesdsl.graph.types import View
from hermesdsl.model.arithmetic import kind_of
from hermesdsl.model.instance import Definition, Instance, ModuleFile, Selection, Vector
from hermesdsl.model.values import Fail
from hermesdsl.syntax import ast

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.elaborate import Tree


def views(tree: Tree) -> dict[str, View]:
    """Every view of the specification, by name; problems go to the builder's sink."""
    found = {}
    for name, definition in tree.singles("view").items():
        try:
            found[name] = _view(tree.builder, name, definition.instance(tree.builder))
        except Fail as problem:
            tree.builder.report(problem)
    return found


def _view(builder: Builder, name: str, instance: Instance) -> View:
    shown = builder.get(instance, "show") or []
    fold = builder.get(instance, "fold")
    span = instance.definition.span if instance.definition is not None else None
    return View(
        name,
        builder.get(instance, "of"),
        tuple(path for value in shown for path in _paths(value, span)),
        fold=not (isinstance(fold, ast.Boolean) and not fold.value),
        color=builder.get(instance, "color"),
        title=builder.get(instance, "title") or "",
    )


def _paths(value: Any, span: Any) -> list[str]:
    """The paths of the things that a view shows."""
    if isinstance(value, Instance | Vector):
        return [value.path]
    if isinstance(value, Selection):
        return [item.path for item in value.items]
    if isinstance(value, ModuleFile):
        return [value.instance.path]
    if isinstance(value, Definition):
        return [value.qualified]
    raise Fail(error("HMS303", f"a view shows things of the system, not {kind_of(value)}", span))
