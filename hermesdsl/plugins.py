"""Plug-ins: settings of the language that other packages bring, loaded only when they are named.

A package offers one as an entry point of a group below: an object with the `setting` that the
schema knows it by (`schema.types.Computed`) and `make`, which executes it and is called like those
of the same registry. The name of the entry point is that of the setting. Knows no specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hermesdsl import schema
from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.schema.types import Computed

#: Groups of the architecture that have no registry yet.
_CLOSED = ("hermesdsl.cost", "hermesdsl.stage", "hermesdsl.eviction")


@dataclass(frozen=True)
class Plugin:
    """A `setting` of the language and what it is made by."""

    setting: Computed
    make: Callable[..., Any]


def load(names: Iterable[str]) -> None:
    """Make the plug-ins of these names known to everything that is compiled and run from now on.

    Raises `SpecError`: HMS609 for one that is not installed, that cannot be loaded, that is none,
    or that has the name of a setting; HMS506 for one of a kind that cannot be executed yet.
    """
    families = _families()
    known = [entry for group in (*families, *_CLOSED) for entry in entry_points(group=group)]
    problems: list[Diagnostic] = []
    for name in names:
        found = [entry for entry in known if entry.name == name]
        if not found:
            notes = suggestion(name, [entry.name for entry in known])
            problems.append(error("HMS609", f"no plug-in `{name}` is installed", notes=notes))
        for entry in found:
            if entry.group in _CLOSED:
                problems.append(error("HMS506", f"plug-in `{name}`, an entry point of "
                                      f"`{entry.group}`, cannot be executed yet"))  # fmt: skip
            else:
                problems.extend(_add(entry, *families[entry.group]))
    if problems:
        raise SpecError(problems)


def version(name: str) -> str:
    """Versions of the packages that offer a plug-in, "" if none does."""
    groups = (*_families(), *_CLOSED)
    entries = [entry for group in groups for entry in entry_points(group=group, name=name)]
    return ", ".join(f"{e.dist.name} {e.dist.version}" for e in entries if e.dist is not None)


def _families() -> dict[str, tuple[str, MutableMapping[str, Any]]]:
    """Groups of entry points: the family of their settings, and the registry."""
    from hermesdsl.sim.batching import POLICIES
    from hermesdsl.sim.routing import ROUTERS
    from hermesdsl.sim.routing.admission import ADMISSIONS

    return {
        "hermesdsl.batching": ("batching", POLICIES),
        "hermesdsl.router": ("route", ROUTERS),
        "hermesdsl.admission": ("admission", ADMISSIONS),
    }


def _add(entry: EntryPoint, family: str, registry: MutableMapping[str, Any]) -> list[Diagnostic]:
    """Register one; what is wrong with it."""
    name = entry.name
    try:
        plugin = entry.load()
    except Exception as problem:  # whatever a foreign module raises
        return [error("HMS609", f"plug-in `{name}` cannot be loaded: {problem}")]
    setting, make = getattr(plugin, "setting", None), getattr(plugin, "make", None)
    if not isinstance(setting, Computed) or not callable(make):
        return [error("HMS609", f"`{entry.value}` is no plug-in: it has no `setting` or no `make`")]
    if (setting.name, setting.family) != (name, family):
        return [error("HMS609", f"plug-in `{name}` of `{entry.group}` brings the {setting.family} "
                      f"setting `{setting.name}`, not a {family} setting `{name}`")]  # fmt: skip
    if (family, name) in schema.COMPUTED and schema.COMPUTED[family, name] is not setting:
        return [error("HMS609", f"plug-in `{name}`: there is a {family} setting `{name}` already")]
    schema.COMPUTED[family, name] = setting
    registry[name] = make
    return []
