"""Speculation by hand: A tokens per sequence and step in expectation. Steps take one second."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import pytest
from hand_built import AffineCost, RankedCost, batch, chat, run, system
from hypothesis import given, settings
from hypothesis import strategies as st

from hermesdsl.graph.types import Client, Spec
from hermesdsl.results.tokens import longest_gaps, tokens_between
from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.record import COMPLETED, Run
from hermesdsl.sim.reference import ListedDecoding
from hermesdsl.sim.speculating import SpeculatingDecoding, speculation
from hermesdsl.sim.tokens import TokenTimes, token_gaps


def guessing(guesses: int, accept: float, **more: Any) -> dict[str, Any]:
    spec = Spec("mtp", {"depth": guesses, "accept": accept})
    return {"batching": Spec("chunked", {"budget": 99}), "block_size": 1, "speculate": spec, **more}


def done(guesses: int, accept: float, load: Any, kv: int = 1 << 40, **more: Any) -> Run:
    gained = sum(accept**n for n in range(guesses + 1))
    cost = RankedCost(kv, base=1.0, advance=gained)
    return run(system(chat(), options=guessing(guesses, accept, **more)), cost, load)


def gaps(found: Run) -> list[float]:
    values, weights = token_gaps(found)
    return sorted(np.repeat(values, weights).tolist())


def test_certain_guesses_bring_all_of_them_at_once():
    # The prompt's step brings one token of eight; three steps bring 3, 3 and the last 1.
    found = done(2, 1.0, batch([0.0], 4, 8))
    assert found.requests["first_token_s"].tolist() == [1.0]
    assert found.requests["finish_s"].tolist() == [4.0]
    assert found.steps["steps"].sum() == 4
    assert gaps(found) == [0.0] * 4 + [1.0] * 3


def test_guesses_that_are_never_right_bring_what_one_step_brings():
    load = batch([0.0, 2.5], 4, [8, 3])
    plain = run(
        system(chat(), options={"batching": Spec("chunked", {"budget": 99}), "block_size": 1}),
        AffineCost(base=1.0), load,
    )  # fmt: skip
    found = done(4, 0.0, load)
    for column in ("first_token_s", "finish_s", "generated", "visible"):
        np.testing.assert_array_equal(found.requests[column], plain.requests[column])
    assert gaps(found) == gaps(plain)


def test_fractions_are_carried_from_step_to_step():
    # 1.5 a step: 1, 3, 4, 6 tokens after steps 1 … 4, of which five are owed: 1, 2, 1, 1 come.
    found = done(1, 0.5, batch([0.0], 2, 6))
    assert found.requests["finish_s"].tolist() == [5.0]
    assert found.requests["generated"].tolist() == [6]
    assert gaps(found) == [0.0, 1.0, 1.0, 1.0, 1.0]
    # KV of two tokens of the prompt and five written: never those beyond what is owed.
    assert found.steps["kv_blocks"].tolist()[-1] == 7


def test_tokens_are_counted_when_they_come():
    # As above: one token at 1, then 1, 2, 1 and 1 at 2, 3, 4 and 5.
    times = TokenTimes(done(1, 0.5, batch([0.0], 2, 6)))
    came = [int(tokens_between(times, at, at + 1.0)[0]) for at in range(7)]
    assert came == [0, 1, 1, 2, 1, 1, 0]
    assert longest_gaps(times).tolist() == [1.0]


@given(
    st.integers(0, 4), st.floats(0, 1), st.lists(st.integers(1, 30), min_size=1, max_size=9),
    st.floats(0, 40),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_tokens_of_two_halves_are_all_tokens(
    guesses: int, accept: float, outputs: list[int], cut: float
):
    found = done(guesses, accept, batch(np.arange(len(outputs)) * 1.5, 6, outputs), kv=60)
    times = TokenTimes(found)
    halves = tokens_between(times, 0.0, cut) + tokens_between(times, cut, 1e9)
    assert halves.tolist() == found.requests["visible"].tolist()
    assert found.requests["generated"].tolist() == outputs


@pytest.mark.parametrize("guesses", [1, 2, 5])
@pytest.mark.parametrize("accept", [0.0, 0.25, 0.7, 0.9, 1.0])
def test_throughput_is_what_is_expected(guesses: int, accept: float):
    # 400 tokens after the first: ⌈400/A⌉ steps, so A tokens per second and sequence.
    found = done(guesses, accept, batch([0.0] * 3, 5, 401))
    gained = sum(accept**n for n in range(guesses + 1))
    assert found.requests["finish_s"].tolist() == [1.0 + ceil(400 / gained - 1e-9)] * 3


def test_the_budget_of_a_step_counts_guesses():
    # a decodes with three guesses: 4 of the budget of 6, so b's four tokens are read 2 and 2.
    load = batch([0.0, 1.0], [3, 4], [30, 1])
    found = done(3, 0.0, load, batching=Spec("chunked", {"budget": 6}))
    assert found.requests["first_token_s"].tolist() == [1.0, 3.0]


def test_a_request_that_just_fits_is_served_though_a_step_could_bring_more():
    # Four tokens of prompt, five of six written: nine blocks. Two steps of 3 would write six.
    found = done(2, 1.0, batch([0.0], 4, 6), kv=9)
    assert found.requests["status"].tolist() == [COMPLETED]
    assert found.engines[0].preemptions == 0


def test_a_request_that_cannot_fit_is_refused_with_guesses_too():
    found = done(2, 1.0, batch([0.0], 4, 7), kv=9)
    assert found.counts["refused"] == 1


def test_what_is_preempted_keeps_its_part_of_a_token():
    decoding = SpeculatingDecoding(4, 1.5)
    sequence = Sequence(0, None, 4, 10)
    decoding.join(sequence)
    assert decoding.opening(sequence) == 1
    decoding.advance(1)
    assert decoding.drop_last() is sequence
    assert (decoding.done(sequence), decoding.carried(sequence)) == (1, 1)
    sequence.carry, sequence.prompt, sequence.remaining = 1, 5, 9
    assert decoding.opening(sequence) == 2
    decoding.join(sequence)
    decoding.advance(1)
    assert decoding.done(sequence) == 2
    assert decoding.produced(2) == 3


def test_steps_that_do_not_add_up_are_noticed():
    decoding = SpeculatingDecoding(4, 1.5)
    decoding.join(Sequence(0, None, 4, 10))
    decoding.advance(2)
    assert decoding.produced(2) == 3
    assert decoding.produced(3) == -1


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from("jjad"), st.integers(1, 50), st.integers(1, 30))),
    st.integers(0, 60),
    st.floats(1.0, 6.0),
    st.integers(0, 99),
)
@settings(deadline=None)
def test_phases_agree_with_sequences_counted_one_by_one(
    size: int, moves: Any, spare: int, advance: float, carry: int
):
    phased, listed = SpeculatingDecoding(size, advance), ListedDecoding(size, advance)
    parts = advance.as_integer_ratio()[1]
    for number, (move, prompt, remaining) in enumerate(moves):
        if move == "j":
            for decoding in (phased, listed):
                sequence = Sequence(number, None, prompt, remaining)
                sequence.carry = carry * number % parts
                decoding.join(sequence)
        elif move == "d" and phased.count:
            gone = [decoding.drop_last() for decoding in (phased, listed)]
            assert gone[0].request == gone[1].request
            assert phased.done(gone[0]) == listed.done(gone[1])
            assert phased.carried(gone[0]) == listed.carried(gone[1])
        elif phased.count:
            free = phased.need(1) + spare
            steps = phased.horizon(free)
            assert steps == listed.horizon(free)
            assert phased.advance(steps) == listed.advance(steps) <= free
            ended = [[s.request for s in d.finished()] for d in (phased, listed)]
            assert ended[0] == ended[1]
        assert phased.count == listed.count
        assert phased.context == listed.context
        assert [s.request for s in phased.live()] == [s.request for s in listed.live()]


@pytest.mark.parametrize("spec", [None, "off", Spec("off")])
def test_an_engine_that_does_not_guess(spec: Any):
    client = Client("llm", "LlmEngine", None, options={} if spec is None else {"speculate": spec})
    assert speculation(client) is None


def test_the_draft_says_how_many_and_how_good():
    spec = Spec("draft", {"model": "Small", "gamma": 4, "accept": 0.5})
    found = speculation(Client("llm", "LlmEngine", None, options={"speculate": spec}))
    assert found is not None
    # 1 + 1/2 + 1/4 + 1/8 + 1/16
    assert (found.guesses, found.advance) == (4, 1.9375)
