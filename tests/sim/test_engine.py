"""Schedules worked out by hand. Every step takes one second unless a test says otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hand_built import AffineCost, batch, chat, generate, reading, run, system

from hermesdsl.graph.types import Spec
from hermesdsl.sim.record import COMPLETED, REFUSED, Run
from hermesdsl.sim.tokens import token_gaps

SECOND = AffineCost(base=1.0)
CONTINUOUS = {"batching": Spec("continuous"), "block_size": 1}


def chunked(budget: int, **more: Any) -> dict[str, Any]:
    return {"batching": Spec("chunked", {"budget": budget}), "block_size": 1, **more}


def times(done: Run, *columns: str) -> list[list[float]]:
    return [done.requests[column].tolist() for column in columns]


def gaps(done: Run, chosen: Any = None) -> list[float]:
    found, weights = token_gaps(done, chosen)
    return sorted(np.repeat(found, weights).tolist())


def test_continuous_stalls_decodes_while_it_reads_a_prompt():
    # 0-1 read a; 1-2 decode a, cut there by b's arrival at 1.5; 2-3 read b; 3-4 decode both.
    done = run(system(chat(), options=CONTINUOUS), SECOND, batch([0.0, 1.5], 4, [3, 2]))
    assert times(done, "first_token_s", "finish_s") == [[1.0, 3.0], [4.0, 4.0]]
    assert gaps(done) == [1.0, 1.0, 2.0]
    assert gaps(done, np.array([True, False])) == [1.0, 2.0]


def test_chunked_decodes_beside_the_prompt():
    # 0-1 read a; 1-2 decode a; 2-3 decode a and read b; 3-4 decode b.
    done = run(system(chat(), options=chunked(8)), SECOND, batch([0.0, 1.5], 4, [3, 2]))
    assert times(done, "first_token_s", "finish_s") == [[1.0, 3.0], [3.0, 4.0]]
    assert gaps(done) == [1.0, 1.0, 1.0]


def test_chunked_cuts_a_long_prompt_and_fills_the_budget_in_order():
    # Steps of four tokens: a4, a4, a2+b2, then a decodes and b reads its last three.
    done = run(system(reading(), options=chunked(4)), SECOND, batch([0.0, 0.0], [10, 5]))
    assert times(done, "chat.prefill.start_s", "first_token_s") == [[0.0, 2.0], [3.0, 4.0]]
    assert done.steps["prefill_tokens"].tolist() == [4, 4, 4, 3]


def test_chunked_counts_decodes_against_the_budget():
    # a decodes from 1 on, one token of the three: b's five are read as 2, 2, 1.
    load = batch([0.0, 1.0], [3, 5], [9, 1])
    done = run(system(chat(), options=chunked(3)), SECOND, load)
    assert done.requests["first_token_s"].tolist() == [1.0, 4.0]
    assert done.steps["tokens"].tolist()[:4] == [3, 3, 3, 2]


def test_a_prompt_over_max_tokens_gets_a_step_alone_in_continuous():
    options = CONTINUOUS | {"max_tokens": 4}
    done = run(system(reading(), options=options), SECOND, batch([0.0] * 4, [2, 9, 2, 2]))
    assert done.steps["prefill_tokens"].tolist() == [2, 9, 4]
    assert done.requests["first_token_s"].tolist() == [1.0, 2.0, 3.0, 3.0]


def test_arrivals_at_the_end_of_a_step_are_in_the_next():
    done = run(system(reading(), options=chunked(99)), SECOND, batch([0.0, 1.0, 1.0], 2))
    assert done.requests["first_token_s"].tolist() == [1.0, 2.0, 2.0]


def test_max_batch_limits_sequences_in_prefill_and_decode_together():
    options = chunked(99, max_batch=2)
    done = run(system(chat(), options=options), SECOND, batch([0.0] * 3, 2, 2))
    assert done.requests["first_token_s"].tolist() == [1.0, 1.0, 3.0]


def test_preemption_recomputes_the_last_admitted():
    # Ten blocks of one token. 0-1 read both (6); two decodes each (10); at 3 the next would need
    # 12: b gives up 5 and waits with 3 + 3 tokens to read. a ends at 5, b reads 5-6, decodes 6-7.
    cost = AffineCost(base=1.0, kv_tokens=10)
    done = run(system(chat(), options=chunked(99)), cost, batch([0.0, 0.0], 3, 5))
    assert done.requests["finish_s"].tolist() == [5.0, 7.0]
    assert gaps(done, np.array([False, True])) == [1.0, 1.0, 1.0, 3.0]
    engine = done.engines[0]
    assert (engine.preemptions, engine.recomputed, engine.capacity_blocks) == (1, 6, 10)
    assert done.steps["kv_blocks"].max() == 10
    assert done.requests["generated"].tolist() == [5, 5]


def test_an_unfinished_prompt_is_preempted_before_any_decode():
    # Twelve blocks of one token, budget 3. 0-1 reads a's 2 and 1 of b's 10, whose blocks are all
    # taken. At 1 none is free for a's next token: b gives up, and fits again when a ends at 3.
    cost = AffineCost(base=1.0, kv_tokens=12)
    load = batch([0.0, 0.0], [2, 10], [3, 1])
    done = run(system(chat(), options=chunked(3)), cost, load)
    assert done.engines[0].preemptions == 1
    assert done.requests["finish_s"].tolist() == [3.0, 7.0]
    assert done.engines[0].recomputed == 1


def test_generate_is_one_stage_over_the_same_work():
    load = batch([0.0, 1.5], 4, [3, 2])
    apart = run(system(chat(), options=CONTINUOUS), SECOND, load)
    whole = run(system(generate(), options=CONTINUOUS), SECOND, load)
    for column in ("first_token_s", "finish_s", "generated"):
        np.testing.assert_array_equal(apart.requests[column], whole.requests[column])
    assert times(whole, "chat.answer.enter_s", "chat.answer.start_s", "chat.answer.end_s") == [
        [0.0, 1.5], [0.0, 2.0], [4.0, 4.0],
    ]  # fmt: skip


def test_stages_on_one_pool_share_the_client_and_queue_once():
    built = system(chat(), engines={"llm": 2}, options=CONTINUOUS)
    done = run(built, SECOND, batch([0.0, 0.0, 0.0], 4, 3))
    assert done.requests["chat.prefill.client"].tolist() == [0, 1, 0]
    for column in ("enter_s", "start_s"):
        np.testing.assert_array_equal(
            done.requests[f"chat.decode.{column}"], done.requests["chat.prefill.end_s"]
        )
    np.testing.assert_array_equal(
        done.requests["chat.decode.client"], done.requests["chat.prefill.client"]
    )


def test_one_token_is_done_when_the_prompt_is():
    done = run(system(chat(), options=CONTINUOUS), SECOND, batch([0.0], 4, 1))
    assert times(done, "first_token_s", "last_token_s", "finish_s") == [[1.0]] * 3
    assert not len(token_gaps(done)[0])


def test_a_request_that_can_never_fit_is_refused_with_a_reason():
    # Ten tokens: prompt 6 and output 5 hold KV of 6 + 5 - 1 = 10; one more of either does not.
    cost = AffineCost(base=1.0, kv_tokens=10)
    load = batch([0.0, 0.0, 0.0], [6, 6, 7], [5, 6, 5])
    done = run(system(chat(), options=CONTINUOUS), cost, load)
    assert done.requests["status"].tolist() == [COMPLETED, REFUSED, REFUSED]
    reasons = [done.reasons[index] for index in done.requests["reason"]]
    assert reasons == ["", "needs more KV than the client has", "needs more KV than the client has"]
    assert dict(done.counts) == {
        "offered": 3, "admitted": 1, "completed": 1, "refused": 2, "unfinished": 0,
    }  # fmt: skip
    assert np.isnan(done.requests["finish_s"][1:]).all()


def test_blocks_are_rounded_up_per_sequence():
    # Two blocks of 16: prompts of 17 need both, so the second waits for the first to end.
    options = {"batching": Spec("chunked", {"budget": 99}), "block_size": 16}
    cost = AffineCost(base=1.0, kv_tokens=47)
    done = run(system(reading(), options=options), cost, batch([0.0, 0.0], 17))
    assert done.engines[0].capacity_blocks == 2
    assert done.requests["first_token_s"].tolist() == [1.0, 2.0]


def test_attention_work_of_slices_adds_up_to_the_causal_triangle():
    # One second per pair: t new after s cached are t·s + t(t+1)/2, in all 10·11/2 = 55.
    cost = AffineCost(per_pair=1.0)
    done = run(system(reading(), options=chunked(4)), cost, batch([0.0], 10))
    assert (done.steps["end_s"] - done.steps["start_s"]).tolist() == [10.0, 26.0, 19.0]
    assert done.requests["finish_s"].tolist() == [55.0]


@pytest.mark.parametrize("horizon", ["drain", "cut"])
def test_horizon(horizon: str):
    # Steps end at whole seconds; at 10.5 ten tokens are there.
    built = system(chat(), options=CONTINUOUS, duration=10.5, horizon=horizon)
    done = run(built, SECOND, batch([0.0, 10.5], 4, 100))
    assert done.counts["offered"] == 1, "what arrives at the end of the window is not offered"
    if horizon == "drain":
        assert done.requests["finish_s"].tolist() == [100.0]
        assert (done.makespan_s, done.end_s) == (100.0, 100.0)
    else:
        assert done.counts["unfinished"] == 1
        assert done.requests["generated"].tolist() == [10]
        assert done.end_s == 10.5
        assert done.steps["steps"].sum() == 10


def test_nothing_offered_is_an_empty_run():
    done = run(system(chat()), SECOND, batch([]))
    assert done.counts["offered"] == 0
    assert done.makespan_s == 0.0
    assert not len(token_gaps(done)[0])
