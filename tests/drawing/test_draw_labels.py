"""Short texts of pictures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.drawing import labels
from hermesdsl.graph.types import Spec


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (450e9, "B/s", "450 GB/s"),
        (20.8e9, "B/s", "20.8 GB/s"),
        (989e12, "FLOPS", "989 TFLOPS"),
        (1.979e15, "FLOPS", "1.98 PFLOPS"),
        (700.0, "W", "700 W"),
        (0.0, "W", "0 W"),
        (float("inf"), "B/s", "∞ PB/s"),
    ],
)
def test_quantity_picks_the_prefix_that_leaves_one_to_three_digits(value, unit, text):
    assert labels.quantity(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(80 * 2.0**30, "80 GiB"), (30e12, "30 TB"), (2.0**40, "1 TiB"), (512 * 2.0**30, "512 GiB")],
)
def test_size_is_binary_where_that_comes_out_whole(value, text):
    assert labels.size(value) == text


@given(st.sets(st.integers(0, 60), min_size=1))
def test_indices_name_exactly_the_given_numbers(numbers):
    named: set[int] = set()
    for run in labels.indices(numbers).split(","):
        start, _, stop = run.partition(":")
        named |= set(range(int(start), int(stop or int(start) + 1)))
    assert named == numbers


def test_indices_join_neighbours():
    assert labels.indices([5, 0, 1, 2]) == "0:3,5"


def test_setting_reads_like_the_language():
    spec = Spec("lognormal", {"median": 300.0, "sigma": 0.9})
    assert labels.setting(spec) == "lognormal(median = 300, sigma = 0.9)"
    assert labels.setting((True, None, 3, "lru")) == "[true, none, 3, lru]"


def test_wrap_fills_lines_and_breaks_only_long_phrases():
    assert labels.wrap(["tp 4", "", "chunked(8192 tok)", "max_batch 256"], 24) == (
        "tp 4 · chunked(8192 tok)",
        "max_batch 256",
    )
    assert labels.wrap(["lognormal(median = 900 tok, sigma = 0.6)", "keep 8"], 28)[-1] == "keep 8"
    assert labels.wrap(["lognormal(median = 900 tok, sigma = 0.6)"], 28) == (
        "lognormal(median = 900 tok,",
        "sigma = 0.6)",
    )


@given(st.lists(st.text(max_size=300), max_size=6))
def test_wrap_never_exceeds_the_width_and_ends(phrases):
    lines = labels.wrap(phrases, 30)
    assert all(len(line) <= 30 for line in lines)
    assert len(lines) <= 3 * len(phrases)
