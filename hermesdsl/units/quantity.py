"""Quantities: a number in base units, its dimension, and the unit the user wrote it in."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, isclose

from hermesdsl.units import dimension as d
from hermesdsl.units.dimension import Dimension
from hermesdsl.units.table import Unit, find, preferred


class UnitError(ValueError):
    """Arithmetic between quantities that do not go together; the message is for a person."""


@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """`value` in base units (B, s, FLOP, W, $, tok, req, session) of `dimension`.

    `unit` is the unit in which it prints: the one written, or None for a computed value.
    """

    value: float
    dimension: Dimension
    unit: Unit | None = None

    def __str__(self) -> str:
        unit = self.unit or preferred(self.value, self.dimension)
        if unit is None:
            text = d.symbol(self.dimension)
            return f"{number_text(self.value)} {text}".rstrip()
        number = number_text(unit.from_base(self.value))
        if unit.text == "%":
            return f"{number}%"
        if unit.text.startswith("$"):
            return f"${number}{unit.text[1:]}"
        return f"{number} {unit.text}"


#: A number of the language: bare, or with a dimension.
Numeric = int | float | Quantity


def number_text(value: float) -> str:
    """Up to six significant digits, integers in full, no trailing zeros."""
    if value == floor(value) and abs(value) < 1e15:
        return str(int(value))
    text = f"{value:.6g}"
    return text if "e" not in text else f"{value:.4g}"


def make(value: float, text: str) -> Quantity | None:
    """The quantity written as `value` and unit `text`; None if the unit is unknown."""
    unit = find(text)
    return None if unit is None else Quantity(unit.to_base(value), unit.dimension, unit)


def dimension_of(value: Numeric) -> Dimension:
    """Dimension of a number or quantity."""
    return value.dimension if isinstance(value, Quantity) else d.NUMBER


def si(value: Numeric) -> int | float:
    """The plain number in base units."""
    return value.value if isinstance(value, Quantity) else value


def add(a: Numeric, b: Numeric, sign: int = 1) -> Numeric:
    """a + b, or a − b with sign −1; raises `UnitError` if dimensions differ."""
    if not isinstance(a, Quantity) and not isinstance(b, Quantity):
        return a + sign * b
    left, right = dimension_of(a), dimension_of(b)
    if not d.comparable(left, right):
        verb = "add" if sign > 0 else "subtract"
        raise UnitError(f"cannot {verb} {article(left)} and {article(right)}")
    lead = a if isinstance(a, Quantity) and (any(left) or not isinstance(b, Quantity)) else b
    assert isinstance(lead, Quantity)
    return _plain(Quantity(si(a) + sign * si(b), lead.dimension, lead.unit))


def multiply(a: Numeric, b: Numeric) -> Numeric:
    """a · b; the unit is kept when the other factor is a bare number."""
    if not isinstance(a, Quantity) and not isinstance(b, Quantity):
        return a * b
    unit = None
    if not isinstance(a, Quantity) or a.dimension.is_number:
        unit = b.unit if isinstance(b, Quantity) else None
    elif not isinstance(b, Quantity) or b.dimension.is_number:
        unit = a.unit
    product = d.multiply(dimension_of(a), dimension_of(b))
    if unit is not None and unit.dimension != product:
        unit = None
    return _plain(Quantity(si(a) * si(b), product, unit))


def divide(a: Numeric, b: Numeric) -> Numeric:
    """a / b; raises ZeroDivisionError."""
    if not isinstance(a, Quantity) and not isinstance(b, Quantity):
        return a / b
    unit = a.unit if isinstance(a, Quantity) and dimension_of(b).is_number else None
    return _plain(Quantity(si(a) / si(b), d.divide(dimension_of(a), dimension_of(b)), unit))


def floor_divide(a: Numeric, b: Numeric) -> Numeric:
    """a // b: how often b goes into a; by a bare number, that part of a in whole units of a.

    Raises ZeroDivisionError.
    """
    if not isinstance(a, Quantity) and not isinstance(b, Quantity):
        return a // b
    dimension = d.divide(dimension_of(a), dimension_of(b))
    if (
        isinstance(a, Quantity)
        and a.unit is not None
        and dimension == a.dimension
        and any(a.dimension)
    ):
        whole = _times(a.unit.from_base(a.value), si(b))
        return Quantity(a.unit.to_base(whole), a.dimension, a.unit)
    return _plain(Quantity(_times(si(a), si(b)), dimension, None))


def modulo(a: Numeric, b: Numeric) -> Numeric:
    """a % b; raises `UnitError` if dimensions differ, and ZeroDivisionError."""
    if not isinstance(a, Quantity) and not isinstance(b, Quantity):
        return a % b
    if not d.comparable(dimension_of(a), dimension_of(b)):
        raise UnitError(f"cannot take {article(dimension_of(a))} modulo {article(dimension_of(b))}")
    unit = a.unit if isinstance(a, Quantity) else None
    rest = si(a) - si(b) * _times(si(a), si(b))
    return _plain(Quantity(rest, dimension_of(a), unit))


def _times(a: float, b: float) -> float:
    """How often b goes into a: 0.3 holds 0.1 three times, whatever the last bit says."""
    quotient = a / b
    near = round(quotient)
    return near if isclose(quotient, near, rel_tol=1e-12) else floor(quotient)


def power(a: Numeric, exponent: Numeric) -> Numeric:
    """a ** exponent; a quantity takes whole exponents only.

    Raises `UnitError`, and ArithmeticError if the result is no real number.
    """
    if isinstance(exponent, Quantity):
        if not exponent.dimension.is_countlike:
            raise UnitError(f"an exponent must be a number, not {article(exponent.dimension)}")
        exponent = exponent.value
    if not isinstance(a, Quantity):
        return _real(a**exponent)
    if exponent != int(exponent):
        raise UnitError("a quantity can be raised to whole powers only")
    return _plain(Quantity(_real(a.value**exponent), d.power(a.dimension, int(exponent)), None))


def negate(a: Numeric) -> Numeric:
    """−a."""
    return Quantity(-a.value, a.dimension, a.unit) if isinstance(a, Quantity) else -a


def article(dimension: Dimension) -> str:
    """How a sentence names a dimension: ``a size``, ``a bandwidth``, ``a number``."""
    name = d.NAMES.get(dimension)
    if name is None:
        return f"a quantity in {d.symbol(dimension)}"
    if name in ("tokens", "requests", "sessions", "operations", "money", "power", "energy"):
        return {"power": "a power", "energy": "an energy", "money": "an amount of money"}.get(
            name, f"a number of {name}"
        )
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _real(value: complex) -> float:
    if value.imag:
        raise ArithmeticError("the result is not a real number")
    return value.real


def _plain(quantity: Quantity) -> Numeric:
    """A quantity without dimension and unit is a bare number."""
    if quantity.unit is None and quantity.dimension.is_number:
        return quantity.value
    return quantity
