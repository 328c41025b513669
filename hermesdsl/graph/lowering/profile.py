"""From a `profile` of the language to the constants of a serving engine.

Knows which properties a profile has. Must not know formulas or devices.
"""

from __future__ import annotations

from dataclasses import fields
from math import inf
from typing import TYPE_CHECKING, Any

from hermesdsl import resources
from hermesdsl.diagnostics import Sink
from hermesdsl.graph.types import EngineProfile
from hermesdsl.model.elaborate import elaborate
from hermesdsl.model.instance import Definition, Instance

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder

#: Those that are no numbers.
_TEXTS = ("name", "source", "doc")
_WHOLE = ("reserved", "step_tokens")
_FLAGS = ("direct",)


def profile(builder: Builder, instance: Instance) -> EngineProfile:
    """The constants of a profile in SI units; may raise `Fail`."""
    values: dict[str, Any] = {}
    for field in fields(EngineProfile):
        if field.name in _FLAGS:
            values[field.name] = bool(builder.get(instance, field.name))
        elif field.name not in _TEXTS:
            value = builder.number(instance, field.name)
            value = inf if value is None else value
            values[field.name] = int(value) if field.name in _WHOLE else float(value)
    source = str(builder.get(instance, "source") or "")
    return EngineProfile(name=instance.name, source=source, doc=instance.doc, **values)


def library_profiles() -> dict[str, EngineProfile]:
    """The profiles of the standard library by name."""
    sink = Sink()
    tree = elaborate(resources.folder("stdlib") / "engines" / "profiles.hms", sink=sink)
    sink.raise_if_failed()
    assert tree is not None
    return {
        name: profile(tree.builder, definition.instance(tree.builder))
        for name, definition in tree.root.instance.members.items()
        if isinstance(definition, Definition)
    }
