"""Dimensions: integer exponents over eight base units, and their algebra.

Knows no unit names beyond the base ones and no values.
"""

from __future__ import annotations

from typing import NamedTuple


class Dimension(NamedTuple):
    """Exponents over byte, second, flop, watt, dollar and the counts token, request, session."""

    byte: int = 0
    second: int = 0
    flop: int = 0
    watt: int = 0
    dollar: int = 0
    token: int = 0
    request: int = 0
    session: int = 0

    @property
    def physical(self) -> tuple[int, ...]:
        """Exponents without the counts, which may be dropped."""
        return self[:5]

    @property
    def counts(self) -> tuple[int, ...]:
        """Exponents of token, request and session alone."""
        return self[5:]

    @property
    def is_pure_count(self) -> bool:
        """True for ``tok``, ``req`` …: a count, and nothing else."""
        return not any(self[:5]) and any(self[5:])

    @property
    def is_number(self) -> bool:
        """True if there is no dimension at all."""
        return not any(self)

    @property
    def is_countlike(self) -> bool:
        """True for bare numbers and pure counts: what may be compared with a bare number."""
        return not any(self[:5])


NUMBER = Dimension()
BYTE = Dimension(byte=1)
SECOND = Dimension(second=1)
FLOP = Dimension(flop=1)
WATT = Dimension(watt=1)
JOULE = Dimension(watt=1, second=1)
DOLLAR = Dimension(dollar=1)
TOKEN = Dimension(token=1)
REQUEST = Dimension(request=1)
SESSION = Dimension(session=1)
PER_SECOND = Dimension(second=-1)
BANDWIDTH = Dimension(byte=1, second=-1)
FLOPS = Dimension(flop=1, second=-1)
PRICE = Dimension(dollar=1, second=-1)
REQUEST_RATE = Dimension(request=1, second=-1)
SESSION_RATE = Dimension(session=1, second=-1)
TOKEN_RATE = Dimension(token=1, second=-1)

#: What a person calls a dimension, and its base unit.
NAMES: dict[Dimension, str] = {
    NUMBER: "number", BYTE: "size", SECOND: "time", FLOP: "operations", WATT: "power",
    JOULE: "energy", DOLLAR: "money", TOKEN: "tokens", REQUEST: "requests",
    SESSION: "sessions", PER_SECOND: "frequency", BANDWIDTH: "bandwidth", FLOPS: "compute rate",
    PRICE: "price", REQUEST_RATE: "request rate", SESSION_RATE: "session rate",
    TOKEN_RATE: "token rate", Dimension(byte=1, token=-1): "size per token",
    Dimension(second=1, token=-1): "time per token",
    Dimension(watt=1, second=1, token=-1): "energy per token",
    Dimension(dollar=1, token=-1): "cost per token",
}  # fmt: skip

_SYMBOLS = ("byte", "s", "flop", "W", "$", "tok", "req", "session")


def multiply(a: Dimension, b: Dimension) -> Dimension:
    """Dimension of a product."""
    return Dimension(*(x + y for x, y in zip(a, b, strict=True)))


def divide(a: Dimension, b: Dimension) -> Dimension:
    """Dimension of a quotient."""
    return Dimension(*(x - y for x, y in zip(a, b, strict=True)))


def power(a: Dimension, exponent: int) -> Dimension:
    """Dimension of an integer power."""
    return Dimension(*(x * exponent for x in a))


def comparable(a: Dimension, b: Dimension) -> bool:
    """True if two quantities may be added or compared.

    Two pure counts must agree; everywhere else counts may be dropped. A bare number agrees with
    a count, and with no other quantity.
    """
    if a[:5] != b[:5]:
        return False
    if a.is_pure_count and b.is_pure_count:
        return a == b
    return True


def assignable(value: Dimension, wanted: Dimension) -> bool:
    """True if a value may be given to a property: counts may be dropped, not exchanged."""
    if value[:5] != wanted[:5]:
        return False
    return not any(value[5:]) or not any(wanted[5:]) or value[5:] == wanted[5:]


def symbol(a: Dimension) -> str:
    """Base-unit text such as ``byte/s`` or ``W*s/tok``; empty for a number."""
    above = [_term(s, e) for s, e in zip(_SYMBOLS, a, strict=True) if e > 0]
    below = [_term(s, -e) for s, e in zip(_SYMBOLS, a, strict=True) if e < 0]
    if not below:
        return "*".join(above)
    return f"{'*'.join(above) or '1'}/{'/'.join(below)}"


def describe(a: Dimension) -> str:
    """Name with base unit for diagnostics: ``bandwidth, byte/s``."""
    name = NAMES.get(a)
    text = symbol(a)
    if name is None:
        return text
    return f"{name}, {text}" if text else name


def _term(text: str, exponent: int) -> str:
    return text if exponent == 1 else f"{text}^{exponent}"
