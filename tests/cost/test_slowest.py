"""Expected load of the fullest rank: small cases by counting, large ones by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost import slowest
from hermesdsl.cost.slowest import fullest, fullest_of_binomials


@pytest.mark.parametrize(
    ("items", "ranks", "expected"),
    [
        (0, 4, 0.0),
        (5, 1, 5.0),
        (1, 8, 1.0),
        (2, 2, 1.5),  # together 1/2, apart 1/2
        (3, 2, 2.25),  # 3 with 1/4, 2 with 3/4
        (2, 8, 1.125),  # together 1/8
        (3, 3, 17 / 9),  # 3: 3/27, 2: 18/27, 1: 6/27
    ],
)
def test_small_cases_are_counted(items: int, ranks: int, expected: float) -> None:
    assert fullest(items, ranks) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("items", "ranks"), [(64, 8), (300, 64), (2000, 8), (65_536, 64)])
def test_as_in_a_simulation(items: int, ranks: int) -> None:
    drawn = np.random.default_rng(1).multinomial(items, [1 / ranks] * ranks, size=20_000)
    assert fullest(items, ranks) == pytest.approx(drawn.max(axis=1).mean(), rel=0.005)


@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_both_forms_meet(ranks: int) -> None:
    most = slowest.EXACT_ITEMS
    assert slowest._levin(most, ranks) == pytest.approx(slowest._exact(most, ranks), rel=0.01)


@given(st.integers(1, 200), st.integers(1, 64))
def test_never_less_than_an_even_share_nor_more_than_all(items: int, ranks: int) -> None:
    assert max(items / ranks, 1.0) - 1e-9 <= fullest(items, ranks) <= items + 1e-9


def test_binomials() -> None:
    assert fullest_of_binomials(1, 0.5, 2) == pytest.approx(0.75)  # none of two: 1/4
    assert fullest_of_binomials(4, 1.0, 8) == 4.0
    assert fullest_of_binomials(4, 0.0, 8) == 0.0
    assert fullest_of_binomials(10, 0.3, 1) == pytest.approx(3.0)
    drawn = np.random.default_rng(2).binomial(32, 0.4, size=(20_000, 8)).max(axis=1).mean()
    assert fullest_of_binomials(32, 0.4, 8) == pytest.approx(drawn, rel=0.005)
