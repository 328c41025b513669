"""Sketched percentiles against the exact ones of the same observations."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.results.definitions import PERCENTILES
from hermesdsl.results.series import Series, series_of
from hermesdsl.results.sketch import ERROR, Sketch

TIMES = st.floats(min_value=0.0, max_value=1e7).map(lambda t: t if t > 1e-12 else 0.0)


def _check(sketch: Sketch, exact: Series) -> None:
    assert sketch.n == exact.n
    for name in PERCENTILES:
        assert sketch.statistic(name) == pytest.approx(exact.statistic(name), rel=ERROR, abs=0.0)
    assert sketch.statistic("max") == exact.statistic("max")
    assert sketch.statistic("mean") == pytest.approx(exact.statistic("mean"), rel=1e-12)


@given(st.lists(TIMES, min_size=1, max_size=60))
def test_percentiles_are_within_the_error(values: list[float]) -> None:
    sketch = Sketch()
    sketch.add(np.array(values))
    _check(sketch, series_of(np.array(values)))


@given(
    st.lists(st.tuples(TIMES, st.integers(1, 1000)), min_size=1, max_size=40),
    st.lists(st.tuples(TIMES, st.integers(1, 1000)), min_size=1, max_size=40),
)
def test_chunks_weights_and_merging(
    one: list[tuple[float, int]], other: list[tuple[float, int]]
) -> None:
    first, second = Sketch(), Sketch()
    for sketch, rows in ((first, one), (second, other)):
        for value, count in rows:
            sketch.add(np.array([value]), np.array([count]))
    first.merge(second)
    values, counts = (np.array(column) for column in zip(*one, *other, strict=True))
    order = np.argsort(values, kind="stable")
    _check(first, Series(values[order], counts[order]))


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_many_observations(spread: float) -> None:
    values = np.random.default_rng(7).lognormal(-3.0, spread, 200_000)
    sketch = Sketch()
    for chunk in np.split(values, 8):
        sketch.add(chunk)
    _check(sketch, series_of(values))


def test_nothing_is_no_observation() -> None:
    sketch = Sketch()
    sketch.add(np.array([np.nan]))
    assert sketch.n == 0
    assert sketch.statistic("p99") is None
    assert sketch.statistic("mean") is None


def test_means_do_not_depend_on_threads() -> None:
    code = (
        "import numpy as np; from hermesdsl.results.series import series_of;"
        "print(series_of(np.random.default_rng(1).random(300_000)).statistic('mean').hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "2")
    }  # fmt: skip
    assert len(found) == 1
