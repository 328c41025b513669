"""Errors of predictions, by hand."""

import numpy as np
import pytest

from hermesdsl.measure.errors import Figure, compared


def test_signed_errors_and_their_size() -> None:
    found = compared(np.array([1.0, 2.0, 4.0]), np.array([1.1, 1.8, 4.0]))
    assert found.n == 3
    assert found.figures["mean"].error == pytest.approx(6.9 / 7.0 - 1.0)
    assert found.figures["p50"].error == pytest.approx(-0.1)
    assert found.paired == pytest.approx((0.1 + 0.1 + 0.0) / 3.0)


def test_sorted_lists_forgive_who_waited_for_whom() -> None:
    found = compared(np.array([1.0, 2.0]), np.array([2.0, 1.0]))
    assert found.paired == pytest.approx((1.0 + 0.5) / 2.0)
    assert found.ordered == 0.0
    assert found.figures["mean"].error == 0.0


def test_percentiles_are_linear() -> None:
    values = np.arange(1.0, 12.0)
    found = compared(values, 2.0 * values)
    assert found.figures["p90"].measured == 10.0
    assert found.figures["p99"].error == pytest.approx(1.0)


def test_what_one_side_has_not_is_left_out() -> None:
    found = compared(np.array([1.0, np.nan, 3.0]), np.array([1.0, 2.0, np.nan]))
    assert found.n == 1
    assert found.paired == 0.0


def test_nothing_in_common() -> None:
    found = compared(np.array([np.nan]), np.array([1.0]))
    assert (found.n, found.paired, found.ordered) == (0, None, None)
    assert not found.figures


def test_no_relative_error_against_nothing() -> None:
    assert Figure(0.0, 1.0).error is None
    assert compared(np.zeros(2), np.ones(2)).paired is None


def test_waiting_has_no_error_per_request() -> None:
    found = compared(np.array([1e-6, 1.0]), np.array([1e-3, 1.0]), relative=False)
    assert found.paired is None
    assert found.figures["mean"].measured == pytest.approx(0.5000005)
