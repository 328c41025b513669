"""The words of diagnostics that several parts of the model share.

Builds diagnostics from plain facts; looks nothing up.
"""

from __future__ import annotations

from typing import Any

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.diagnostics.nearest import nearest
from hermesdsl.model.values import text
from hermesdsl.source import Span
from hermesdsl.syntax import ast
from hermesdsl.units import dimension as d
from hermesdsl.units.quantity import Quantity
from hermesdsl.units.table import AMBIGUOUS, SPELLED, UNITS, find


def outside(index: int, size: int, span: Span) -> Diagnostic:
    """An index that a vector or list does not have."""
    has = f"{size} items, 0 to {size - 1}" if size > 1 else "1 item, 0" if size else "no items"
    return error("HMS403", f"index {index} is out of range", span,
                 notes=[f"note: there {'is' if size == 1 else 'are'} {has}"])  # fmt: skip


def unknown_unit(expr: ast.QuantityLiteral) -> Any:
    """The diagnostic for a unit that is none, with the nearest right one."""
    if expr.unit in AMBIGUOUS:
        choices = " or ".join(f"`{u}`" for u in AMBIGUOUS[expr.unit])
        return error(
            "HMS302",
            f"`{expr.unit}` could be bits or bytes",
            expr.unit_span,
            notes=[f"help: write {choices}" + (
                "" if "/" in expr.unit else f", or `{expr.unit[:-1]}bit/s` for a rate")],
        )  # fmt: skip
    above, slash, below = expr.unit.partition("/")
    known = list(UNITS)
    if slash:
        best_top = above if above in UNITS else nearest(above, known)
        best_bottom = below if below in UNITS else nearest(below, known)
        guess = f"{best_top}/{best_bottom}" if best_top and best_bottom else None
    else:
        guess = SPELLED.get(expr.unit.lower()) or nearest(expr.unit, known)
    notes = [f"help: did you mean `{guess}`?"] if guess else []
    return error("HMS302", f"unknown unit `{expr.unit}`", expr.unit_span, notes=notes)


#: What people write most for a dimension.
_USUAL = {
    d.BYTE: "GB", d.SECOND: "ms", d.FLOP: "TFLOP", d.FLOPS: "TFLOPS", d.BANDWIDTH: "GB/s",
    d.WATT: "W", d.JOULE: "J", d.DOLLAR: "$", d.PRICE: "$/hr", d.TOKEN: "tok", d.REQUEST: "req",
    d.SESSION: "session", d.PER_SECOND: "req/s",
}  # fmt: skip


def unit_notes(value: Any, dimension: d.Dimension, unit: str | None = None) -> list[str]:
    """The help for a bare number where a quantity of `dimension` is wanted."""
    unit = unit or _USUAL.get(dimension) or _USUAL.get(d.Dimension(*dimension[:5]))
    if unit is None:
        return []
    number = text(value)
    written = f"${number}{unit[1:]}" if unit.startswith("$") else f"{number} {unit}"
    return [f"help: give it a unit, such as `{written}`"]


def unit_help(left: Any, right: ast.Expr) -> list[str]:
    """Offers the right unit where only the unit of a literal is wrong."""
    if not isinstance(right, ast.QuantityLiteral) or not isinstance(left, Quantity):
        if isinstance(right, ast.Number) and isinstance(left, Quantity):
            unit = left.unit.text if left.unit else None
            return unit_notes(right.value, left.dimension, unit)
        return []
    top = right.unit.partition("/")[0]
    for choice in (top, f"{right.unit}/s", f"{right.unit}/tok"):
        found = find(choice)
        fits = found is not None and d.comparable(found.dimension, left.dimension)
        if fits and not left.dimension.is_number:
            return [f"help: did you mean `{text(right.value)} {choice}`?"]
    return []
