"""The language reference, generated from the schema, so that it cannot lag behind it.

Writes Markdown as text; knows no file names beyond those of its pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hermesdsl.diagnostics import CODES
from hermesdsl.schema import BUILTINS, COMPUTED, KINDS
from hermesdsl.schema.metrics import METRICS, SERIES
from hermesdsl.schema.types import Computed, NumberType, Property
from hermesdsl.units import dimension as d
from hermesdsl.units.table import UNITS

_HEAD = "<!-- Generated from the schema: `python -m hermesdsl doc -o docs`. Do not edit. -->\n"


def pages() -> dict[str, str]:
    """File name → Markdown of every page."""
    return {"reference.md": "\n".join(_reference()) + "\n"}


def _reference() -> Iterator[str]:
    yield _HEAD
    yield "# Language reference\n"
    yield "[Kinds](#kinds) · [Built-in types](#built-in-types) · [Settings](#settings) ·"
    yield "[Metrics](#metrics) · [Units](#units) · [Diagnostics](#diagnostics)\n"
    yield "How statements are written and what they mean: [language.md](language.md).\n"
    yield "## Kinds\n"
    yield "A word that opens a definition: `chip H100 { … }`. Types are instanced with `:`;"
    yield "single things are used by name.\n"
    for kind in KINDS.values():
        sort = "single" if kind.single else "type"
        yield f"### `{kind.name}` ({sort})\n"
        yield f"{kind.doc}\n"
        if kind.holds:
            yield f"Holds: {_words(kind.holds)}.\n"
        yield from _properties(kind.properties.values())
    yield "## Built-in types\n"
    for builtin in BUILTINS.values():
        yield f"### `{builtin.name}` ({builtin.kind})\n"
        yield f"{builtin.doc}\n"
        yield from _properties(builtin.properties.values())
    yield from _settings()
    yield from _metrics()
    yield from _units()
    yield "## Diagnostics\n"
    yield "| code | meaning |\n|---|---|"
    yield from (f"| `{code}` | {title} |" for code, title in CODES.items())


def _properties(properties: Iterable[Property]) -> Iterator[str]:
    rows = list(properties)
    if not rows:
        return
    yield "| property | takes | default | |\n|---|---|---|---|"
    for row in rows:
        yield f"| `{row.name}` | {_escape(str(row.type))} | {_default(row)} | {_escape(row.doc)} |"
    yield ""


def _default(row: Property) -> str:
    if row.required:
        return "required"
    if row.derived:
        return "derived"
    if callable(row.default):
        return "from others"
    return "" if row.default is None else f"`{_shown(row.default, row)}`"


def _shown(value: Any, row: Property) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(row.type, NumberType) and any(row.type.dimension) and value:
        from hermesdsl.units.quantity import Quantity

        return str(Quantity(value, row.type.dimension))
    if isinstance(value, int | float):
        return f"{value:g}"
    return str(value)


def _settings() -> Iterator[str]:
    yield "## Settings\n"
    yield "Values written like calls: `batching = chunked(8192 tok)`,"
    yield "`prompt = lognormal(median = 300 tok, sigma = 0.9)`.\n"
    families: dict[str, list[Computed]] = {}
    for (family, _), computed in COMPUTED.items():
        families.setdefault(family, []).append(computed)
    for family, members in families.items():
        yield f"### {family}\n"
        yield "| setting | |\n|---|---|"
        for member in members:
            arguments = ", ".join(_argument(p) for p in member.parameters)
            call = f"{member.name}({arguments})" if arguments else member.name
            yield f"| `{_escape(call)}` | {_escape(member.doc)} |"
        yield ""


def _argument(parameter: Property) -> str:
    if parameter.required or parameter.default is None:
        return parameter.name if parameter.required else f"{parameter.name}?"
    return f"{parameter.name} = {_shown(parameter.default, parameter)}"


def _metrics() -> Iterator[str]:
    yield "## Metrics\n"
    yield f"Series: {_words(SERIES)}.\n"
    yield "| metric | filters | |\n|---|---|---|"
    for metric in METRICS.values():
        argument = "(series)" if metric.of_series else "(path)" if metric.of_path else ""
        yield f"| `{metric.name}{argument}` | {_words(metric.filters)} | {metric.doc} |"
    yield ""


def _units() -> Iterator[str]:
    yield "## Units\n"
    yield "`a/b` divides two of them: `GB/s`, `us/tok`, `$/hr`.\n"
    by_dimension: dict[d.Dimension, list[str]] = {}
    for unit in UNITS.values():
        by_dimension.setdefault(unit.dimension, []).append(unit.text)
    yield "| dimension | units |\n|---|---|"
    for dimension, texts in by_dimension.items():
        yield f"| {d.NAMES.get(dimension, d.symbol(dimension))} | {_words(texts)} |"
    yield ""


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
