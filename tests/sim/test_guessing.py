"""Sampled speculation: what a step brings is drawn for the request and the step alone."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
import pytest
from hand_built import RankedCost, batch, chat, run, system

from hermesdsl.cost.speculation import expected_tokens
from hermesdsl.graph.types import Spec
from hermesdsl.results.tokens import tokens_between
from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.guessing import Guessing
from hermesdsl.sim.load import merge
from hermesdsl.sim.planned import DrawnDecoding
from hermesdsl.sim.record import Run
from hermesdsl.sim.tokens import TokenTimes, token_gaps


def drawing(guesses: int, accept: float, seed: int = 1, requests: int = 4) -> Guessing:
    return Guessing(guesses, accept, seed, merge([batch([0.0] * requests)], None))


def done(load: Any, accept: float = 0.7, kv: int = 1 << 40, seed: int = 1, **more: Any) -> Run:
    args = {"depth": 3, "accept": accept, "sampled": True}
    options = {"batching": Spec("chunked", {"budget": 999}), "block_size": 1,
               "speculate": Spec("mtp", args), **more}  # fmt: skip
    cost = RankedCost(kv, base=1.0, advance=expected_tokens(accept, 3))
    return run(system(chat(), options=options), cost, load, seed=seed)


@pytest.mark.parametrize("guesses", [1, 3, 6])
@pytest.mark.parametrize("accept", [0.2, 0.7, 0.95])
def test_the_mean_is_the_closed_form(guesses: int, accept: float):
    # N of the guesses are right: P(N ≥ n) = a^n, so E[N] = Σ a^n and E[N²] = Σ (2n − 1)·a^n.
    sequence = Sequence(0, None, 1, 100_000)
    course = drawing(guesses, accept).course(sequence)
    gains = np.diff(course)
    mean = expected_tokens(accept, guesses)
    square = sum((2 * n - 1) * accept**n for n in range(1, guesses + 1))
    error = sqrt((square - (mean - 1.0) ** 2) / len(gains))
    assert abs(gains.mean() - mean) < 4.0 * error
    assert gains.min() >= 1
    assert gains.max() <= guesses + 1


@pytest.mark.parametrize(("accept", "tokens"), [(0.0, 1), (1.0, 4)])
def test_certain_guesses_are_no_luck(accept: float, tokens: int):
    course = drawing(3, accept).course(Sequence(0, None, 1, 40))
    assert set(np.diff(course).tolist()) == {tokens}


def test_a_draw_belongs_to_its_request_and_step():
    first, again = Sequence(2, None, 5, 300), Sequence(2, None, 9, 10)
    course = drawing(4, 0.8).course(first)
    other = drawing(4, 0.8, requests=9)
    assert [other.gain(again, step) for step in range(99)] == np.diff(course)[:99].tolist()
    assert drawing(4, 0.8, seed=2).course(Sequence(2, None, 5, 300)) != course
    assert drawing(4, 0.8).course(Sequence(1, None, 5, 300)) != course


def test_luck_does_not_depend_on_who_else_is_there():
    # One-second steps: alone or in company, a request needs the same number of them.
    load = batch([0.0, 0.0, 0.0], 4, 50)
    finish = done(load).requests["finish_s"]
    assert len(set(finish.tolist())) > 1
    alone = done(load, max_batch=1).requests
    np.testing.assert_array_equal(finish - 1.0, alone["finish_s"] - alone["first_token_s"])


def test_preemption_does_not_change_luck():
    # Steps of a stay go on where the last stay ended: the token that reading again brings is the
    # only one that no decode step brought, so the steps differ by the tokens of those at most.
    load = batch([0.0] * 3, 4, 50)
    free, tight = done(load), done(load, kv=120)
    assert tight.engines[0].preemptions > 0
    assert tight.requests["generated"].tolist() == free.requests["generated"].tolist()
    swapless = tight.residences["gained"].sum() + tight.engines[0].preemptions
    assert swapless + 3 == 150


def test_tokens_are_counted_when_they_come():
    found = done(batch([0.0, 0.5], 4, 40))
    times = TokenTimes(found)
    gains = found.gains.astype(int)
    came = [tokens_between(times, at, at + 1.0).tolist() for at in range(40)]
    assert np.sum(came, axis=0).tolist() == [40, 40]
    # The first request's first decode step ends at 3 (the second is read in between, 1-2).
    place = int(found.residences["carry"][found.residences["request"] == 0][0])
    seconds = [row[0] for row in came if row[0]]
    assert seconds[0] == 1
    assert seconds[1:4] == gains[place : place + 3].tolist()
    _, weights = token_gaps(found)
    assert weights.sum() == 78


def test_steps_that_do_not_add_up_are_noticed():
    decoding = DrawnDecoding(4, drawing(2, 0.5), None)
    decoding.join(Sequence(0, None, 4, 30))
    decoding.advance(3)
    assert decoding.produced(3) == decoding.done(decoding.live()[0])
    assert decoding.produced(4) == -1
