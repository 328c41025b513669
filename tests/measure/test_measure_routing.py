"""Rows and experts on the device that was timed, against counts by hand."""

import numpy as np
import pandas as pd
import pytest

from hermesdsl.cost.moe import distinct_experts
from hermesdsl.measure.operators import routed
from hermesdsl.measure.routing import fullest


def test_a_free_choice_and_an_even_one_do_alike_on_every_device() -> None:
    """64 tokens, 2 of 8 experts on 4 devices: 128 choices, 32 each; nearly all experts touched."""
    rows, touched = fullest("", 64, 2, 8, 4)
    assert rows == 32.0
    assert touched == pytest.approx(distinct_experts(8, 2, 64) / 4)
    assert fullest("uniform", 64, 2, 8, 4) == (rows, touched)
    assert fullest("balanced", 64, 2, 8, 4) == (32.0, 2.0)
    assert fullest("balanced", 1, 2, 8, 4) == (0.5, 0.5)


def test_one_device_gets_every_choice_however_they_are_spread() -> None:
    rows, touched = fullest("power_law_1.2", 1000, 4, 16, 1)
    assert rows == pytest.approx(4000.0)
    assert touched <= 16.0


def test_the_fullest_of_many_devices_gets_more_than_its_share_but_no_more_than_all_tokens() -> None:
    even = 1024 * 8 / 64
    rows, touched = fullest("power_law_1.2", 1024, 8, 64, 64)
    assert 2 * even < rows <= 1024.0
    assert touched == 1.0
    fewer, _ = fullest("power_law_1.2", 1024, 8, 64, 8)
    assert 8 * even < fewer < 8 * rows


def test_a_law_with_a_steeper_fall_is_less_even_and_one_that_does_not_fall_is_nearly() -> None:
    """α = 0 draws every load alike from [1, 0.8 T]: twice the mean at most on one device."""
    flat, _ = fullest("power_law_0", 1024, 8, 64, 64)
    one, _ = fullest("power_law_1", 1024, 8, 64, 64)
    near, _ = fullest("power_law_1.000001", 1024, 8, 64, 64)
    assert 128 < flat <= 2 * 128 * 1.2
    assert flat < one
    assert near == pytest.approx(one, rel=1e-3)


def test_devices_that_cannot_share_experts_evenly_and_single_tokens_are_taken_as_free() -> None:
    assert fullest("power_law_1.2", 100, 2, 10, 4) == fullest("", 100, 2, 10, 4)
    assert fullest("power_law_1.2", 1, 1, 8, 1) == fullest("", 1, 1, 8, 1)


def test_no_choice_is_lost_or_made_up() -> None:
    for tokens, active, experts in ((3, 2, 64), (40, 1, 64), (77, 6, 160)):
        rows, touched = fullest("power_law_1.01", tokens, active, experts, 1)
        assert rows == pytest.approx(tokens * active)
        assert 0 < touched <= min(experts, tokens * active)


def test_rows_of_a_table_with_and_without_a_distribution() -> None:
    frame = pd.DataFrame(
        {"tokens": [64.0, 64.0], "active": [2.0, 2.0], "experts": [8, 8], "ep": [4, 4]}
    )
    moved, touched = routed(frame)
    assert np.array_equal(moved, [32.0, 32.0])
    assert touched[0] == touched[1]
    moved, _ = routed(frame.assign(distribution=["balanced", "power_law_1.2"]))
    assert moved[0] == 32.0 < moved[1]
