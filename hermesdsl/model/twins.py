"""What a value of a prototype is for its twin: things inside it, under the twin's own path.

Equal siblings share every value; a reference that points inside the prototype must point inside
the twin instead, and one that points outside stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermesdsl.model.instance import Instance, Selection, Vector
from hermesdsl.model.members import single_of_clone
from hermesdsl.model.values import ComputedValue

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


def renamed(builder: Builder, value: Any, twin: Instance, clone: Instance) -> Any:
    """`value` of the prototype `twin` as `clone` sees it."""
    if isinstance(value, Instance):
        return counterpart(builder, value, twin, clone)
    if isinstance(value, Vector):
        found = [counterpart(builder, i, twin, clone) for i in value.items]
        if not found or found[0] is value.items[0]:
            return value
        return Vector(value.name, found[0].vector, found, value.span)
    if isinstance(value, Selection):
        items = [counterpart(builder, i, twin, clone) for i in value.items]
        return Selection(items, value.text)
    if isinstance(value, list | tuple):
        return type(value)(renamed(builder, v, twin, clone) for v in value)
    if isinstance(value, ComputedValue):
        args = {k: renamed(builder, v, twin, clone) for k, v in value.args.items()}
        return ComputedValue(value.family, value.name, args, value.span)
    return value


def counterpart(builder: Builder, value: Instance, twin: Instance, clone: Instance) -> Instance:
    """What `value`, seen from inside `twin`, is for `clone`: itself if it lies outside."""
    here: Instance | None = twin
    there: Instance | None = clone
    while here is not None and there is not None and here is not there:
        steps = _steps_below(value, here)
        if steps is not None:
            return _walk(builder, there, steps)
        here, there = here.parent, there.parent
    return value


def path_pairs(twin: Instance, clone: Instance) -> list[tuple[str, str]]:
    """(prefix inside the prototype, prefix inside the clone), innermost first."""
    pairs = []
    here: Instance | None = twin
    there: Instance | None = clone
    while here is not None and there is not None and here is not there:
        pairs.append((here.path, there.path))
        here, there = here.parent, there.parent
    return pairs


def _walk(builder: Builder, found: Instance, steps: list[tuple[str, int | None]]) -> Instance:
    for name, index in steps:
        child = found.children.get(name)
        if child is None:
            found = single_of_clone(builder, found, name)
        else:
            found = child.items[index or 0] if isinstance(child, Vector) else child
    return found


def _steps_below(value: Instance, top: Instance) -> list[tuple[str, int | None]] | None:
    steps: list[tuple[str, int | None]] = []
    current: Instance | None = value
    while current is not None and current is not top:
        steps.append((current.name, current.index))
        current = current.parent
    return steps[::-1] if current is top else None
