"""Where values come from: the chain of sites behind a value, and all params of a system."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hermesdsl.model.check import walk
from hermesdsl.model.instance import Instance, Site
from hermesdsl.model.values import Fail, text
from hermesdsl.syntax import ast
from hermesdsl.units.quantity import Quantity

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.elaborate import Tree


def parameters(tree: Tree) -> dict[str, dict[str, Any]]:
    """Every param of the user's files: path → ``{"value", "unit", "origin"}`` in base units."""
    found: dict[str, dict[str, Any]] = {}
    files = {m.instance for m in tree.modules if m.library}
    for instance in walk(tree):
        if instance in files or in_library(tree, instance):
            continue
        for name, declared in instance.params.items():
            if not isinstance(declared.statement, ast.Param):
                continue
            path = f"{instance.path}.{name}" if instance.path else name
            entry = _entry(tree.builder, instance, name)
            if entry is not None:
                found[path] = entry
    return dict(sorted(found.items()))


def in_library(tree: Tree, instance: Instance) -> bool:
    """True for single things and defaults of library modules."""
    while instance.parent is not None:
        instance = instance.parent
    module = tree.builder.module_of(instance)
    return module is None or module.library


def _entry(builder: Builder, instance: Instance, name: str) -> dict[str, Any] | None:
    try:
        value = builder.get(instance, name)
    except Fail:
        return None
    slot = instance.slots.get(name)
    origin = slot.winner.origin if slot is not None and slot.winner is not None else "default"
    if isinstance(value, Quantity):
        unit = value.unit.text if value.unit else ""
        return {"value": value.value, "unit": unit, "origin": origin}
    shown = value if isinstance(value, bool | int | float) else text(value)
    return {"value": shown, "unit": None, "origin": origin}


def instance_at(tree: Tree, path: str) -> Instance | None:
    """The instance with that path, or None."""
    for module in tree.modules:
        for child in module.instance.each_child():
            found = _below(child, path)
            if found is not None:
                return found
    return None


def _below(instance: Instance, path: str) -> Instance | None:
    if instance.path == path:
        return instance
    if not path.startswith((f"{instance.path}.", f"{instance.path}[")):
        return None
    for child in instance.each_child():
        found = _below(child, path)
        if found is not None:
            return found
    return None


def chain(builder: Builder, instance: Instance, name: str) -> Iterator[Site]:
    """Every site that sets a value, weakest first; the last one is in force."""
    owner = instance.twin or instance
    builder.get(owner, name)
    yield from owner.slots[name].sites
