"""Dimensions and quantities: laws that hold for all of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hermesdsl.units import dimension as d
from hermesdsl.units.dimension import Dimension
from hermesdsl.units.quantity import (
    Numeric,
    Quantity,
    UnitError,
    add,
    dimension_of,
    divide,
    floor_divide,
    make,
    modulo,
    multiply,
    negate,
    power,
    si,
)
from hermesdsl.units.table import UNITS, find

exponents = st.integers(-3, 3)
dimensions = st.builds(Dimension, *[exponents] * 8)
units = st.sampled_from(sorted(UNITS))
numbers = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
quantities = st.builds(make, numbers, units)
positive = st.builds(make, st.floats(1e-3, 1e6), units)


def same(a: Numeric, b: Numeric) -> bool:
    return dimension_of(a) == dimension_of(b) and math.isclose(
        si(a), si(b), rel_tol=1e-9, abs_tol=1e-12 * max(abs(si(a)), 1e-300)
    )


# --- dimensions ----------------------------------------------------------------------------


@given(dimensions, dimensions, dimensions)
def test_dimensions_are_a_group(a: Dimension, b: Dimension, c: Dimension) -> None:
    assert d.multiply(a, b) == d.multiply(b, a)
    assert d.multiply(d.multiply(a, b), c) == d.multiply(a, d.multiply(b, c))
    assert d.divide(a, a) == d.NUMBER
    assert d.multiply(d.divide(a, b), b) == a


@given(dimensions, st.integers(-4, 4))
def test_a_power_is_a_repeated_product(a: Dimension, n: int) -> None:
    wanted = d.NUMBER
    for _ in range(abs(n)):
        wanted = d.multiply(wanted, a) if n > 0 else d.divide(wanted, a)
    assert d.power(a, n) == wanted


@given(dimensions, dimensions)
def test_what_compares_does_so_both_ways_and_with_itself(a: Dimension, b: Dimension) -> None:
    assert d.comparable(a, a)
    assert d.comparable(a, b) == d.comparable(b, a)


@pytest.mark.parametrize(
    ("a", "b", "agree"),
    [
        (d.TOKEN, d.TOKEN, True),
        (d.TOKEN, d.REQUEST, False),  # two pure counts must agree
        (d.TOKEN, d.NUMBER, True),  # a bare number is a count of whatever is wanted
        (d.BYTE, Dimension(byte=1, token=-1), True),  # elsewhere counts may be dropped
        (d.BYTE, Dimension(byte=1, token=1), True),
        (d.TOKEN_RATE, d.REQUEST_RATE, True),
        (d.TOKEN_RATE, d.PER_SECOND, True),
        (d.BYTE, d.NUMBER, False),
        (d.BYTE, d.SECOND, False),
        (d.BYTE, d.TOKEN, False),
    ],
)
def test_counts_may_be_dropped_but_not_exchanged(a: Dimension, b: Dimension, agree: bool) -> None:
    assert d.comparable(a, b) is agree


@pytest.mark.parametrize(
    ("value", "wanted", "fits"),
    [
        (d.TOKEN, d.TOKEN, True), (d.NUMBER, d.TOKEN, True), (d.TOKEN, d.NUMBER, True),
        (d.REQUEST, d.TOKEN, False), (d.REQUEST_RATE, d.PER_SECOND, True),
        (d.PER_SECOND, d.REQUEST_RATE, True), (d.TOKEN_RATE, d.REQUEST_RATE, False),
        (d.BYTE, d.NUMBER, False),
    ],
)  # fmt: skip
def test_what_may_be_given_to_a_property(value: Dimension, wanted: Dimension, fits: bool) -> None:
    assert d.assignable(value, wanted) is fits


def test_names_of_dimensions() -> None:
    assert d.describe(d.BANDWIDTH) == "bandwidth, byte/s"
    assert d.describe(d.NUMBER) == "number"
    assert d.symbol(Dimension(watt=1, second=1, token=-1)) == "s*W/tok"
    assert d.symbol(Dimension(second=-2)) == "1/s^2"


# --- quantities ----------------------------------------------------------------------------


@given(quantities, quantities, quantities)
def test_products(a: Quantity, b: Quantity, c: Quantity) -> None:
    assert same(multiply(a, b), multiply(b, a))
    assert same(multiply(multiply(a, b), c), multiply(a, multiply(b, c)))


@given(numbers, numbers, numbers, units)
def test_sums(x: float, y: float, z: float, unit: str) -> None:
    a, b, c = (make(v, unit) for v in (x, y, z))
    assert a is not None
    assert b is not None
    assert c is not None
    assert same(add(a, b), add(b, a))
    left, right = add(add(a, b), c), add(a, add(b, c))
    scale = max(abs(si(v)) for v in (a, b, c)) or 1.0
    assert abs(si(left) - si(right)) <= 1e-9 * scale
    assert si(add(a, a, -1)) == 0
    assert same(add(a, negate(b)), add(a, b, -1))


@given(quantities, positive)
def test_a_quotient_undoes_a_product(a: Quantity, b: Quantity) -> None:
    assert same(divide(multiply(a, b), b), a)
    assert dimension_of(divide(a, b)) == d.divide(a.dimension, b.dimension)


@given(st.integers(-10_000, 10_000), st.integers(1, 100), units)
def test_floor_division_and_remainder_fit_together(x: int, y: int, unit: str) -> None:
    a, b = make(x, unit), make(y, unit)
    assert a is not None
    assert b is not None
    whole, rest = floor_divide(a, b), modulo(a, b)
    back = add(multiply(b, whole), rest)
    assert math.isclose(si(back), si(a), rel_tol=1e-9, abs_tol=1e-9 * abs(si(b)))


@given(positive, st.integers(0, 4))
def test_whole_powers(a: Quantity, n: int) -> None:
    wanted: Numeric = 1
    for _ in range(n):
        wanted = multiply(wanted, a)
    assert same(power(a, n), wanted)


@given(quantities, quantities)
def test_unlike_quantities_neither_add_nor_compare(a: Quantity, b: Quantity) -> None:
    assume(not d.comparable(a.dimension, b.dimension))
    for operation in (add, modulo):
        with pytest.raises(UnitError):
            operation(a, b)


def test_what_powers_refuse() -> None:
    size = make(4, "GB")
    assert size is not None
    with pytest.raises(UnitError):
        power(size, 0.5)
    with pytest.raises(UnitError):
        power(2, size)
    with pytest.raises(ArithmeticError):
        power(-8, 0.5)
    with pytest.raises(ZeroDivisionError):
        divide(size, 0)


# --- units ---------------------------------------------------------------------------------


@given(st.integers(-1_000_000, 1_000_000), units)
def test_a_written_quantity_prints_as_it_was_written(number: int, unit: str) -> None:
    made = make(number, unit)
    assert made is not None
    amount = str(number)
    if abs(number) >= 1_000_000:
        return
    wanted = {"%": f"{amount}%", "$": f"${amount}"}.get(unit, f"{amount} {unit}")
    assert str(made) == wanted


@given(st.floats(1e-3, 1e6), units)
def test_to_base_and_back(number: float, unit: str) -> None:
    found = UNITS[unit]
    assert math.isclose(found.from_base(found.to_base(number)), number, rel_tol=1e-14)


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("35 %", 0.35), ("8 ms", 0.008), ("3 us", 3e-6), ("7 ns", 7e-9), ("2.5 $/hr", 2.5 / 3600),
        ("400 Gbit/s", 50e9), ("400 Gbps", 50e9), ("80 GiB", 80 * 2**30), ("80 GB", 80e9),
        ("1 kWh", 3.6e6), ("5 TFLOPS", 5e12), ("1979 TOPS", 1.979e15), ("2 Ktok", 2000),
        ("1 min", 60), ("1 day", 86_400), ("1 bit", 0.125), ("1 MiB/tok", 2**20),
    ],
)  # fmt: skip
def test_factors(text: str, base: float) -> None:
    number, unit = text.split()
    made = make(float(number), unit)
    assert made is not None
    assert made.value == base


def test_a_quotient_of_units_is_a_unit() -> None:
    found = find("GB/ms")
    assert found is not None
    assert (found.dimension, found.to_base(3)) == (d.BANDWIDTH, 3e12)
    for text in ("GB/", "/s", "GB/s/s", "GB/%", "Gb", "b/s", "gb", "", "GB s"):
        assert find(text) is None


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (17.65e9, d.BYTE, "17.65 GB"), (999, d.BYTE, "999 B"), (0.0215, d.SECOND, "21.5 ms"),
        (7200, d.SECOND, "2 hr"), (0, d.BYTE, "0 B"), (-3e9, d.BYTE, "-3 GB"),
        (989e12, d.FLOPS, "989 TFLOPS"), (10_200, d.WATT, "10.2 kW"),
        (2.5 / 3600, d.PRICE, "$2.5/hr"),
        (12, d.TOKEN, "12 tok"), (1e18, d.multiply(d.BYTE, d.BYTE), "1e+18 byte^2"),
        (1 / 3, d.NUMBER, "0.333333"),
    ],
)  # fmt: skip
def test_computed_values_print_in_the_unit_that_reads_best(
    value: float, dimension: Dimension, text: str
) -> None:
    assert str(Quantity(value, dimension)) == text
