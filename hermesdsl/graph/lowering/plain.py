"""Language values as plain ones: SI numbers, specs, paths; and their text for labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import error
from hermesdsl.model.instance import Definition, Instance, Selection, Vector
from hermesdsl.model.values import ComputedValue, Fail, Formula, SourcedText, text
from hermesdsl.schema.values import Guard, Spec, Value
from hermesdsl.source import Span
from hermesdsl.units.quantity import Quantity

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


#: Arguments that name a file, looked up beside the one that writes them.
_FILES = ("file", "lengths")


def plain(builder: Builder, value: Any) -> Value:
    """A language value in SI units, things replaced by their paths."""
    if isinstance(value, Quantity):
        return value.value
    if isinstance(value, ComputedValue):
        args = {
            key: _argument(builder, key, item, value.span)
            for key, item in value.args.items()
            if item is not None
        }
        return Spec(value.name, args)
    if isinstance(value, Formula):
        return Spec("formula", {"op": value.op, "operands": tuple(
            plain(builder, o) for o in value.operands)})  # fmt: skip
    if isinstance(value, Instance | Vector):
        return value.path
    if isinstance(value, Selection):
        return tuple(item.path for item in value.items)
    if isinstance(value, Definition):
        return value.qualified
    if isinstance(value, list | tuple):
        return tuple(plain(builder, v) for v in value)
    if isinstance(value, dict):
        return {str(k): plain(builder, v) for k, v in value.items()}
    if value is None or isinstance(value, bool | int | float | str | Guard):
        return value
    return str(value)


def _argument(builder: Builder, key: str, value: Any, span: Span | None) -> Value:
    if key in _FILES and isinstance(value, SourcedText):
        return file_path(builder, value, span)
    return plain(builder, value)


def file_path(builder: Builder, value: SourcedText, span: Span | None) -> str:
    """Where a named file lies: beside the file that names it, or as the command line says.

    Names inside a specification must stay in the folders that it may read; links are followed
    first. Raises `Fail` with HMS205.
    """
    if value.folder is None:
        return str(Path(value).absolute())
    path = Path(value.folder) / value
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError) as problem:
        raise Fail(error("HMS104", f"`{value}` is no file that can be read: {problem}",
                         span)) from None  # fmt: skip
    if not any(real.is_relative_to(folder) for folder in builder.readable):
        note = "help: allow its folder with --path, or name the file with --set"
        raise Fail(error("HMS205", f"`{value}` leads out of the folders that may be read", span,
                         notes=[note]))  # fmt: skip
    return str(path)


def labels(
    builder: Builder, instance: Instance, names: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """(property, text) for every named property that has a value, in the user's units."""
    found = []
    for name in names:
        value = builder.get(instance, name)
        if value is None or value is False or (isinstance(value, Quantity) and value.value == 0):
            continue
        found.append((name, text(value)))
    return tuple(found)


def options(builder: Builder, instance: Instance) -> dict[str, Value]:
    """Every property of an instance that has a value, in SI units."""
    found: dict[str, Value] = {}
    for name in instance.properties:
        value = builder.get(instance, name)
        if value is not None:
            found[name] = plain(builder, value)
    return found
