"""The vocabulary: every kind, built-in type and computed setting, as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hermesdsl.schema import (
    calibration,
    experiment,
    hardware,
    pipeline,
    profile,
    serving,
    workload,
)
from hermesdsl.schema.types import BuiltinType, Computed, Fragment, Kind, Property, SymbolType

FRAGMENTS: tuple[Fragment, ...] = (
    hardware.FRAGMENT,
    calibration.FRAGMENT,
    profile.FRAGMENT,
    serving.FRAGMENT,
    pipeline.FRAGMENT,
    workload.FRAGMENT,
    experiment.FRAGMENT,
)

KINDS: Mapping[str, Kind] = {k.name: k for f in FRAGMENTS for k in f.kinds}
BUILTINS: Mapping[str, BuiltinType] = {b.name: b for f in FRAGMENTS for b in f.builtins}
#: Computed settings by (family, name): `uniform` is a distribution and a popularity. Plug-ins add
#: theirs.
COMPUTED: dict[tuple[str, str], Computed] = {
    (c.family, c.name): c for f in FRAGMENTS for c in f.computed
}


def words_beside(word: str) -> tuple[str, ...]:
    """Every word that stands in one enumeration of the schema with `word`."""
    tables = [k.properties for k in KINDS.values()] + [b.properties for b in BUILTINS.values()]
    types = [p.type for table in tables for p in table.values()]
    types += [p.type for c in COMPUTED.values() for p in c.parameters]
    found = [t.values for t in types if isinstance(t, SymbolType) and word in t.values]
    return tuple(dict.fromkeys(w for values in found for w in values))


def family(name: str) -> Iterator[Computed]:
    """The settings of one family, in order of declaration."""
    return (c for (own, _), c in COMPUTED.items() if own == name)


def properties_of(kind: Kind, builtin: BuiltinType | None) -> dict[str, Property]:
    """Every property of a kind and of the built-in type that extends it."""
    if builtin is None:
        return dict(kind.properties)
    return {**kind.properties, **builtin.properties}
