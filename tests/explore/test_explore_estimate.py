"""Means over seeds and their confidence intervals, against values by hand and from tables."""

from __future__ import annotations

import pytest

from hermesdsl.explore.estimate import Estimate, estimate, student


def test_one_seed_has_no_interval() -> None:
    assert estimate([4.0]) == Estimate(4.0, None, 1)


def test_three_seeds_by_hand() -> None:
    # Mean 4, deviation 2, 4.302653 x 2 / sqrt(3) = 4.968275.
    found = estimate([2.0, 4.0, 6.0])
    assert (found.mean, found.n) == (4.0, 3)
    assert found.half == pytest.approx(4.968275, abs=1e-6)


def test_equal_seeds_have_an_interval_of_nothing() -> None:
    assert estimate([3.0, 3.0]).half == 0.0


@pytest.mark.parametrize(
    ("freedom", "point"),  # NIST/SEMATECH e-Handbook 1.3.6.7.2, two-sided 95 %
    [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (11, 2.201), (12, 2.179), (20, 2.086),
     (30, 2.042), (60, 2.000), (100, 1.984)],
)  # fmt: skip
def test_student(freedom: int, point: float) -> None:
    assert student(freedom) == pytest.approx(point, abs=5.1e-4)
