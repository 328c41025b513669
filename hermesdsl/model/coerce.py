"""Converts an evaluated value to the type that a property or parameter wants.

The only place that says a value has the wrong type.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.model.arithmetic import described, is_number, kind_of, with_article
from hermesdsl.model.instance import Definition, Instance, Selection, Vector
from hermesdsl.model.messages import unit_notes
from hermesdsl.model.values import ComputedValue, Fail, Formula
from hermesdsl.schema import KINDS, family
from hermesdsl.schema.types import (
    AnyType,
    BoolType,
    ComputedType,
    ConditionType,
    ListType,
    MapType,
    NumberType,
    PropertyType,
    ReferenceType,
    RequestType,
    SymbolType,
    TextType,
    TupleType,
    UnitType,
)
from hermesdsl.schema.values import Guard
from hermesdsl.source import Span
from hermesdsl.units import dimension as d
from hermesdsl.units.quantity import Quantity, article, dimension_of, number_text, si

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder


@dataclass(frozen=True)
class DefinitionType:
    """A definition of a kind: what ``param x: chip`` takes."""

    kind: str

    def __str__(self) -> str:
        return f"definition of a {self.kind}"


@dataclass(frozen=True, eq=False)
class MemberType:
    """Things made from a definition or one that extends it: what ``param x: LlmEngine`` takes.

    One, a vector, a selection, or a pool of them.
    """

    definition: Definition

    def __str__(self) -> str:
        return self.definition.name


WantedType: TypeAlias = PropertyType | DefinitionType | MemberType


def coerce(builder: Builder, value: Any, wanted: WantedType, span: Span) -> Any:
    """`value` as `wanted`; raises `Fail` with a diagnostic at `span`."""
    if isinstance(wanted, AnyType):
        return value
    if isinstance(wanted, NumberType):
        return _number(value, wanted, span)
    if isinstance(wanted, RequestType):
        return _request(value, wanted, span)
    if isinstance(wanted, ConditionType):
        if isinstance(value, Guard):
            return value
        return _number(value, NumberType(minimum=0, maximum=1), span)
    if isinstance(wanted, ComputedType):
        return _computed(builder, value, wanted, span)
    if isinstance(wanted, ListType):
        items = list(value) if isinstance(value, list | tuple) else [value]
        return [coerce(builder, item, wanted.item, span) for item in items]
    if isinstance(wanted, TupleType):
        return _tuple(builder, value, wanted, span)
    if isinstance(wanted, ReferenceType):
        return _reference(builder, value, wanted, span)
    if isinstance(wanted, DefinitionType):
        return _definition(builder, value, wanted, span)
    if isinstance(wanted, MemberType):
        return _member(builder, value, wanted, span)
    return _plain(builder, value, wanted, span)


def _plain(builder: Builder, value: Any, wanted: PropertyType, span: Span) -> Any:
    if isinstance(wanted, BoolType) and isinstance(value, bool):
        return value
    if isinstance(wanted, TextType) and isinstance(value, str):
        return value
    if isinstance(wanted, UnitType) and is_number(value):
        return value
    if isinstance(wanted, SymbolType):
        if isinstance(value, str) and str(value) in wanted.values:
            return str(value)
        if wanted.kinds and not isinstance(value, str):
            return _reference(builder, value, ReferenceType(wanted.kinds), span)
        notes = suggestion(str(value), wanted.values) if isinstance(value, str) else ()
        return _fail(value, str(wanted), span, notes)
    if isinstance(wanted, MapType):
        if isinstance(value, dict):
            return value
        note = f"help: set its entries one by one, such as `.{wanted.keys[0]} = …`"
        return _fail(value, f"a {wanted}", span, (note,))
    return _fail(value, str(wanted), span)


def _fail(value: Any, wanted: str, span: Span, notes: tuple[str, ...] = ()) -> Any:
    raise Fail(error("HMS303", f"expected {wanted}, found {kind_of(value)}", span, notes=notes))


def _number(value: Any, wanted: NumberType, span: Span) -> Any:
    if not is_number(value):
        return _fail(value, str(wanted), span)
    dimension = dimension_of(value)
    if not d.assignable(dimension, wanted.dimension):
        raise Fail(dimension_error(value, wanted.dimension, span))
    if dimension.is_number and not wanted.dimension.is_countlike and si(value) != 0:
        raise Fail(dimension_error(value, wanted.dimension, span))
    number = si(value)
    if wanted.integer and number != int(number):
        raise Fail(error("HMS303", f"expected a whole number, found {number_text(number)}", span))
    problem = _bounds(value, wanted)
    if problem:
        raise Fail(error("HMS306", f"{value} is out of range: {problem}", span))
    return value


def dimension_error(value: Any, wanted: d.Dimension, span: Span) -> Diagnostic:
    """The diagnostic for a value of the wrong dimension."""
    found = dimension_of(value)
    notes = []
    if found.is_number:
        notes = unit_notes(value, wanted)
    return error(
        "HMS301",
        f"expected {article(wanted)}, found {article(found)}",
        span,
        label=described(value),
        notes=notes,
    )


def _bounds(value: Any, wanted: NumberType) -> str | None:
    """Which bound a value breaks, in the unit it is written in."""
    number = si(value)

    def shown(bound: float) -> str:
        if isinstance(value, Quantity) and value.unit is not None:
            return str(Quantity(bound, value.dimension, value.unit))
        return number_text(bound)

    if wanted.above is not None and number <= wanted.above:
        return f"it must be above {shown(wanted.above)}"
    if wanted.minimum is not None and number < wanted.minimum:
        return f"it must be at least {shown(wanted.minimum)}"
    if wanted.maximum is not None and number > wanted.maximum:
        return f"it must be at most {shown(wanted.maximum)}"
    return None


def _request(value: Any, wanted: RequestType, span: Span) -> Any:
    if isinstance(value, Formula):
        if not d.assignable(value.dimension, wanted.dimension):
            raise Fail(
                error("HMS301", f"expected {article(wanted.dimension)}, "
                      f"found {article(value.dimension)}", span)
            )  # fmt: skip
        return value
    if isinstance(value, ComputedValue):
        if value.family != "distribution":
            return _fail(value, str(wanted), span)
        return value
    return _number(value, NumberType(wanted.dimension, minimum=0), span)


def _computed(builder: Builder, value: Any, wanted: ComputedType, span: Span) -> Any:
    if isinstance(value, ComputedValue):
        if value.family != wanted.family:
            return _fail(value, with_article(f"{wanted.family} setting"), span)
        return _checked_dimension(value, wanted, span)
    if wanted.literal and wanted.family == "distribution" and is_number(value):
        number = _number(value, NumberType(wanted.dimension, minimum=0), span)
        return ComputedValue("distribution", "fixed", {"value": number}, span)
    if wanted.literal and wanted.family == "mix":
        single = _reference(builder, value, ReferenceType(("class",)), span)
        return ComputedValue("mix", "mix", {single.name: 1.0}, span)
    note = f"help: one of {', '.join(each.name for each in family(wanted.family))}"
    return _fail(value, with_article(f"{wanted.family} setting"), span, (note,))


def _checked_dimension(value: ComputedValue, wanted: ComputedType, span: Span) -> Any:
    """A distribution made elsewhere must have the dimension wanted here."""
    if value.family == "distribution":
        for key in ("value", "median", "mean", "p50", "low", "high"):
            inner = value.args.get(key)
            if inner is not None and is_number(inner):
                _number(inner, NumberType(wanted.dimension), span)
    return value


def _tuple(builder: Builder, value: Any, wanted: TupleType, span: Span) -> Any:
    if not isinstance(value, tuple | list) or len(value) != len(wanted.items):
        return _fail(value, f"a tuple {wanted}", span)
    return tuple(coerce(builder, v, t, span) for v, t in zip(value, wanted.items, strict=True))


def _definition(builder: Builder, value: Any, wanted: DefinitionType, span: Span) -> Any:
    if isinstance(value, Definition) and value.kind.name == wanted.kind:
        return value
    return _fail(value, with_article(wanted.kind), span)


def _reference(builder: Builder, value: Any, wanted: ReferenceType, span: Span) -> Any:
    if isinstance(value, Definition) and _fits_definition(value, wanted):
        return value.instance(builder)
    if isinstance(value, Instance) and _fits(value, wanted):
        return value
    if isinstance(value, Vector | Selection) and all(_fits(item, wanted) for item in value.items):
        if wanted.many:
            return value
        raise Fail(
            error("HMS303", f"expected one {wanted}, found {len(value.items)}", span,
                  notes=["help: pick one with an index, such as `[0]`"])
        )  # fmt: skip
    if isinstance(value, list) and wanted.many:
        items = [i for v in value for i in _flat(_reference(builder, v, wanted, span))]
        return Selection(items, ", ".join(str(v) for v in value))
    return _fail(value, with_article(str(wanted)), span)


def _flat(value: Any) -> list[Instance]:
    return value.items if isinstance(value, Vector | Selection) else [value]


def _fits_definition(value: Definition, wanted: ReferenceType) -> bool:
    """A single thing, or a type of which one default instance is as good as any other."""
    kind = value.kind
    if kind.name == "pool":
        return wanted.pools
    return kind.name in wanted.kinds and (kind.single or kind.name == "pipeline")


def _fits(value: Instance, wanted: ReferenceType) -> bool:
    return value.kind.name in wanted.kinds or (value.kind.name == "pool" and wanted.pools)


def _member(builder: Builder, value: Any, wanted: MemberType, span: Span) -> Any:
    if isinstance(value, Definition) and value.kind.name in ("pool", "pipeline"):
        value = value.instance(builder)
    if isinstance(value, list):
        items = [i for v in value for i in _flat(_member(builder, v, wanted, span))]
        return Selection(items, ", ".join(str(v) for v in value))
    things = value.items if isinstance(value, Vector | Selection) else [value]
    for thing in things:
        is_pool = isinstance(thing, Instance) and thing.kind.name == "pool"
        if not is_pool and not _made_from(builder, thing, wanted.definition):
            notes = []
            if isinstance(value, Definition):
                notes = [f"help: declare one and name that, as in `x: {value} …`"]
            return _fail(thing, with_article(str(wanted)), span, tuple(notes))
    return value


def _made_from(builder: Builder, value: Any, definition: Definition) -> bool:
    return (
        isinstance(value, Instance)
        and value.definition is not None
        and (definition in value.definition.chain(builder))
    )


def named_type(name: str) -> PropertyType | DefinitionType:
    """What ``param x: kind`` takes: the thing itself if it is used by name, else a definition."""
    return ReferenceType((name,)) if KINDS[name].single else DefinitionType(name)
