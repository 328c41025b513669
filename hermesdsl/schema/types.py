"""What a schema entry is: property types, properties, kinds, built-in types, computed values.

Pure data. Feeds checking, completion, drawing labels and the generated reference; knows no
syntax tree and evaluates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hermesdsl.units.dimension import NUMBER, Dimension, describe

#: Reads a sibling property by name, already evaluated (numbers in base units); None if unset.
Getter: TypeAlias = Callable[[str], Any]


@dataclass(frozen=True)
class NumberType:
    """A number or quantity of one dimension. Bounds are in base units; `above` is exclusive."""

    dimension: Dimension = NUMBER
    integer: bool = False
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None

    def __str__(self) -> str:
        return (
            "whole number" if self.integer and not any(self.dimension) else describe(self.dimension)
        )


@dataclass(frozen=True)
class BoolType:
    """``true`` or ``false``."""

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class TextType:
    """A string."""

    def __str__(self) -> str:
        return "text"


@dataclass(frozen=True)
class SymbolType:
    """One of a few words, looked up before any other name; or a thing of one of `kinds`."""

    values: tuple[str, ...]
    kinds: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "one of " + ", ".join((*self.values, *(f"a {kind}" for kind in self.kinds)))


@dataclass(frozen=True)
class UnitType:
    """A unit, bare (``ms``) or with a count (``512 tok``); evaluates to its size in base units."""

    def __str__(self) -> str:
        return "unit"


@dataclass(frozen=True)
class ComputedType:
    """A computed setting of a family: ``chunked(8192 tok)``, ``lognormal(median = 300 tok)``.

    `dimension` is that of the values of a distribution; `literal` allows a plain quantity,
    read as ``fixed(value)``.
    """

    family: str
    dimension: Dimension = NUMBER
    literal: bool = False

    def __str__(self) -> str:
        return f"{self.family} setting"


@dataclass(frozen=True)
class ReferenceType:
    """A thing of one of these kinds; `many` allows vectors and selections, and `pools` pools."""

    kinds: tuple[str, ...]
    many: bool = False
    pools: bool = False

    def __str__(self) -> str:
        return " or ".join(self.kinds)


@dataclass(frozen=True)
class ListType:
    """A list; a single item is taken as a list of one."""

    item: PropertyType

    def __str__(self) -> str:
        return f"list of {self.item}"


@dataclass(frozen=True)
class TupleType:
    """A tuple of fixed item types."""

    items: tuple[PropertyType, ...]

    def __str__(self) -> str:
        return f"({', '.join(str(i) for i in self.items)})"


@dataclass(frozen=True)
class MapType:
    """Dotted entries: ``peak.fp8 = …``. New keys are allowed here and only here."""

    item: PropertyType
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"map of {self.item}"


@dataclass(frozen=True)
class RequestType:
    """A value that may be computed from the request: a plain one, a distribution, or a formula.

    Names such as ``prompt`` and ``context`` stand for the request's own values.
    """

    dimension: Dimension = NUMBER

    def __str__(self) -> str:
        return f"{describe(self.dimension)}, a distribution or a formula over the request"


@dataclass(frozen=True)
class ConditionType:
    """A share of requests, or a condition on the request that decides for each."""

    def __str__(self) -> str:
        return "share, or a condition on the request"


@dataclass(frozen=True)
class AnyType:
    """Whatever value was written (metric expressions, swept values)."""

    def __str__(self) -> str:
        return "value"


PropertyType: TypeAlias = (
    NumberType | BoolType | TextType | SymbolType | UnitType | ComputedType | ReferenceType
    | ListType | TupleType | MapType | RequestType | ConditionType | AnyType
)  # fmt: skip


@dataclass(frozen=True)
class Property:
    """One named value of a kind.

    `default` is the value in base units, or a function of the other values. `derived` values
    are computed from their `inputs` and cannot be set. A property that is neither set nor
    defaulted is absent; `required` makes that an error.
    """

    name: str
    type: PropertyType
    doc: str
    default: Any | Callable[[Getter], Any] = None
    required: bool = False
    derived: bool = False
    inputs: tuple[str, ...] = ()


#: Statement forms that a kind's body may hold beside params, lets, settings and asserts.
INSTANCE, CONNECT, FLOW, BRANCH, SWEEP, REQUIRE = (
    "instance", "connect", "flow", "branch", "sweep", "require",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """A word that may open a definition.

    `single` things are used by name; others are types, instanced with ``:``. `holds` names the
    kinds that its instances may be; `free` marks ``case``, whose statements act on the file;
    `top` kinds stand at the top level of a file.
    """

    name: str
    doc: str
    single: bool
    properties: Mapping[str, Property]
    statements: frozenset[str] = frozenset()
    holds: tuple[str, ...] = ()
    free: bool = False
    top: bool = False


@dataclass(frozen=True)
class BuiltinType:
    """A type that exists without import; extends its kind by further properties.

    `on_cores`: a stage whose time on a worker pool follows from its properties and the hardware;
    any other needs `service` there.
    """

    name: str
    kind: str
    doc: str
    properties: Mapping[str, Property]
    on_cores: bool = False


@dataclass(frozen=True)
class Computed:
    """A function of the language that builds a setting: ``chunked(budget)``.

    `parameters` in order; with `keywords`, any further keyword of that type is taken.
    `own_dimension` parameters have the dimension of the distribution's values.
    """

    name: str
    family: str
    doc: str
    parameters: tuple[Property, ...] = ()
    keywords: PropertyType | None = None
    needs_one_of: tuple[str, ...] = ()


#: Stands for the dimension of the distribution a parameter belongs to.
OWN_DIMENSION = NumberType(Dimension(*(99,) * 8))


def props(*properties: Property) -> dict[str, Property]:
    """Properties by name."""
    return {p.name: p for p in properties}


@dataclass(frozen=True)
class Fragment:
    """What one schema module contributes."""

    kinds: tuple[Kind, ...] = ()
    builtins: tuple[BuiltinType, ...] = ()
    computed: tuple[Computed, ...] = ()
    metrics: Mapping[str, str] = field(default_factory=dict)
