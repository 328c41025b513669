"""Numbers for people."""

from __future__ import annotations

import pytest

from hermesdsl.cli import figures


@pytest.mark.parametrize(
    ("typical", "value", "shown"),
    [
        (0.1234, 0.1234, "123 ms"),
        (0.0123, 0.0456, "45.6 ms"),
        (0.00123, 12.3, "12,300.00 ms"),
        (1.234, 0.001, "<0.01 s"),
        (1.234, 0.0, "0.00 s"),
        (123.4, 123.4, "123 s"),
        (4.2e-5, 4.2e-5, "42.0 us"),
        (0.99999, 0.99999, "1.00 s"),
        (0.0, 0.0, "0 ms"),
        (None, None, "- ms"),
    ],
)
def test_times_of_a_row_share_unit_and_precision(
    typical: float | None, value: float | None, shown: str
) -> None:
    scale = figures.time_scale(typical)
    assert f"{scale.text(value)} {scale.unit}" == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1868.2, "1,868"), (99.61, "99.61"), (8.963, "8.963"), (0.475, "0.4750"), (0.0, "0"),
     (None, "-")],
)  # fmt: skip
def test_rates_have_four_digits(value: float | None, shown: str) -> None:
    assert figures.rate(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "100%"), (0.99999, ">99.9%"), (0.951, "95.1%"), (1e-9, "<0.1%"), (0.0, "0%"),
     (None, "-")],
)  # fmt: skip
def test_only_the_whole_is_all_and_only_nothing_is_none(value: float | None, shown: str) -> None:
    assert figures.share(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.082, "82.0 ms"), (90.0, "90.0 s"), (600.0, "10.0 min"),
                           (7200.0, "2.0 h")]
)  # fmt: skip
def test_durations(seconds: float, shown: str) -> None:
    assert figures.duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "unit", "scale", "shown"),
    [
        (0.01437, "ms", 1e-3, "14.37 ms"),
        (0.9513, "%", 0.01, "95.13%"),
        (0.9, "1", 1.0, "0.9"),
        (2.5 / 3600, "$/hr", 1 / 3600, "$2.5/hr"),
        (1868.0, "tok/s", 1.0, "1,868 tok/s"),
        (None, "ms", 1e-3, "-"),
    ],
)
def test_values_print_in_the_unit_of_their_bound(
    value: float | None, unit: str, scale: float, shown: str
) -> None:
    assert figures.quantity(value, unit, scale) == shown
