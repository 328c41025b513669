"""Counters against sequences counted one by one, and the closed form of a run's steps."""

from __future__ import annotations

from math import fsum
from typing import Any

import numpy as np
import pytest
from hand_built import AffineCost, KneeCost
from hypothesis import given, settings
from hypothesis import strategies as st

from hermesdsl.sim.decoding import CountedDecoding, Sequence
from hermesdsl.sim.reference import ListedDecoding


@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from("jjad"), st.integers(1, 50), st.integers(1, 30))),
    st.integers(0, 60),
)
@settings(deadline=None)
def test_counters_agree_with_sequences_counted_one_by_one(size: int, moves: Any, spare: int):
    counted, listed = CountedDecoding(size), ListedDecoding(size)
    for number, (move, prompt, remaining) in enumerate(moves):
        if move == "j":
            for decoding in (counted, listed):
                decoding.join(Sequence(number, None, prompt, remaining))
        elif move == "d" and counted.count:
            assert counted.drop_last().request == listed.drop_last().request
        elif counted.count:
            free = counted.need(1) + spare
            steps = counted.horizon(free)
            assert steps == listed.horizon(free)
            assert counted.advance(steps) == listed.advance(steps) <= free
            done = [[s.request for s in decoding.finished()] for decoding in (counted, listed)]
            assert done[0] == done[1]
        assert counted.count == listed.count
        assert counted.context == listed.context
        assert [s.request for s in counted.live()] == [s.request for s in listed.live()]


runs = st.builds(
    lambda cost, decodes, each: cost.decode_run(decodes, decodes * each),
    st.sampled_from(
        [
            AffineCost(base=0.009, per_token=5e-5, per_context=8e-8),
            AffineCost(base=0.009),
            KneeCost(base=0.004, per_context=1e-6, knee=700.0),
        ]
    ),
    st.integers(1, 64),
    st.integers(1, 400),
)


@given(runs, st.integers(1, 300))
def test_a_run_of_steps_lasts_as_long_as_its_steps_one_by_one(run: Any, steps: int):
    # Each step priced anew from the piece that covers its context; summed exactly.
    contexts = [run.context + done * run.decodes for done in range(steps)]
    pieces = [[p for p in run.pieces if p.start <= context][-1] for context in contexts]
    single = [piece.a + piece.b * at for piece, at in zip(pieces, contexts, strict=True)]
    assert run.seconds(steps) == pytest.approx(fsum(single), rel=1e-12)


@given(runs, st.integers(1, 200), st.floats(-0.1, 4.0), st.integers(0, 220), st.booleans())
def test_first_step_at_or_after_a_time(run: Any, limit: int, time: float, tie: int, on: bool):
    origin = 12.5
    when = origin + run.seconds(tie) if on else origin + time
    ends = np.array([origin + run.seconds(j) for j in range(1, limit + 1)])
    expected = min(int(np.searchsorted(ends, when, "left")) + 1, limit)
    assert run.first_step_at(when, origin, limit) == expected
