"""Gaps between tokens, computed from rows of steps, against the times of the tokens themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hand_built import AffineCost, KneeCost, batch, chat, run, system

from hermesdsl.graph.types import Spec
from hermesdsl.sim.tokens import step_ends, token_gaps


def expanded(done, chosen=None) -> np.ndarray:
    found, weights = token_gaps(done, chosen)
    return np.sort(np.repeat(found, weights))


@pytest.mark.parametrize(
    "cost",
    [
        AffineCost(base=0.01, per_context=1e-5),
        KneeCost(base=0.01, per_context=1e-5, knee=57.0),
        KneeCost(base=0.01, per_context=1e-5, knee=11.0, beyond=0.2),
    ],
)
def test_within_a_run_each_step_has_its_own_length(cost: AffineCost):
    # One request: context is 10 + 1 at its first decode step, and grows by one each.
    done = run(system(chat()), cost, batch([0.0], 10, 81))
    expected = [cost.decode_run(1, 11 + j).seconds(1) for j in range(80)]
    np.testing.assert_allclose(expanded(done), np.sort(expected), rtol=1e-9)
    ends = done.requests["first_token_s"][0] + np.cumsum(expected)
    np.testing.assert_allclose(step_ends(done, 0), ends, rtol=1e-9)
    assert step_ends(done, 0)[-1] == done.requests["finish_s"][0]


def test_a_request_is_weighted_with_the_steps_it_was_there_for():
    # Steps of one second; b joins two steps after a and leaves one step after it.
    options = {"batching": Spec("chunked", {"budget": 99})}
    done = run(system(chat(), options=options), AffineCost(base=1.0), batch([0.0, 1.5], 4, [4, 3]))
    found, weights = token_gaps(done)
    assert set(found.tolist()) == {1.0}
    assert weights.sum() == 3 + 2
    for request, tokens in enumerate([4, 3]):
        mine = np.arange(2) == request
        assert len(expanded(done, mine)) == tokens - 1


def test_gaps_of_a_request_sum_to_the_time_between_its_first_and_last_token():
    arrival = np.arange(60) * 0.03
    cost = AffineCost(base=0.01, per_token=1e-4, per_context=1e-6, kv_tokens=500)
    for batching in (Spec("continuous"), Spec("chunked", {"budget": 64})):
        built = system(chat(), engines={"llm": 2}, options={"batching": batching})
        done = run(built, cost, batch(arrival, 50, 70))
        assert sum(engine.preemptions for engine in done.engines) > 0
        spans = done.requests["last_token_s"] - done.requests["first_token_s"]
        for request in range(60):
            mine = expanded(done, np.arange(60) == request)
            assert len(mine) == 69
            assert mine.sum() == pytest.approx(spans[request], rel=1e-9)


def test_progress_is_told_time_ended_and_offered():
    calls: list[tuple[float, int, int]] = []
    arrival = np.arange(1500) * 1.0
    run(system(chat()), AffineCost(base=0.5), batch(arrival),
        progress=lambda *seen: calls.append(seen))  # fmt: skip
    assert [ended for _, ended, _ in calls] == [512, 1024]
    assert all(offered == 1500 for _, _, offered in calls)
    assert calls[0][0] < calls[1][0]
