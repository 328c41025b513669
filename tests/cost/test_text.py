"""Work on text over cores: constants, rounds, and shares of a core."""

import pytest

from hermesdsl.cost.text import CONSTANTS, TextCost, text_cost


def test_a_request_takes_its_constants():
    assert text_cost("Tokenize").seconds(1, 1000) == pytest.approx(20e-6 + 1000 * 1e-6)


def test_a_batch_is_dealt_out_to_whole_cores():
    cost = TextCost(1e-6, 0.0, cores=4)
    one = cost.seconds(1, 100)
    assert one == pytest.approx(100e-6)
    assert cost.seconds(4, 400) == pytest.approx(one)
    assert cost.seconds(5, 500) == pytest.approx(2 * one)


def test_half_a_core_takes_twice_as_long():
    half = TextCost(1e-6, 5e-6, cores=0.5)
    assert half.seconds(1, 100) == pytest.approx(2 * TextCost(1e-6, 5e-6).seconds(1, 100))


def test_reading_is_slower_than_copying():
    # A million tokens: tokenising takes about a second, copying their ids under a millisecond.
    seconds = {name: text_cost(name).seconds(1, 10**6) for name in CONSTANTS}
    assert 0.2 < seconds["Tokenize"] < 2
    assert seconds["Pad"] == seconds["Truncate"] < 1e-3 < seconds["Filter"]
    assert seconds["Detokenize"] < seconds["Tokenize"]


def test_nothing_takes_no_time_and_other_stages_have_no_constants():
    assert text_cost("Filter").seconds(0, 0) == 0.0
    with pytest.raises(KeyError):
        text_cost("Decode")
