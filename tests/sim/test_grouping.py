"""Rows by number, against looking for each number by itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.sim.grouping import rows_by

NUMBERS = st.lists(st.one_of(st.integers(-1, 5), st.integers(-100_000, 100_000)), max_size=60)


@given(NUMBERS)
def test_every_row_once_in_order(numbers: list[int]) -> None:
    column = np.array(numbers, np.int64)
    chosen = np.arange(len(column)) % 3 != 1
    for mask in (None, chosen):
        found = rows_by(column, mask)
        counted = np.ones(len(column), bool) if mask is None else mask
        assert list(found) == np.unique(column[counted]).tolist()
        for number, rows in found.items():
            assert rows.tolist() == np.flatnonzero(counted & (column == number)).tolist()


def test_no_rows() -> None:
    assert rows_by(np.empty(0, np.int64)) == {}
