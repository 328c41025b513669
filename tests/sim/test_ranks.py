"""Data-parallel ranks by hand: a step lasts as long as the rank with most to do, 1 s per token."""

from __future__ import annotations

from typing import Any

import pytest
from hand_built import RankedCost, batch, chat, reading, run, system

from hermesdsl.graph.types import Spec
from hermesdsl.sim.record import COMPLETED, REFUSED, Run

TOKENS = RankedCost(per_token=1.0)


def chunked(budget: int, **more: Any) -> dict[str, Any]:
    return {"batching": Spec("chunked", {"budget": budget}), "block_size": 1, **more}


def done(graph: Any, load: Any, options: Any, cost: RankedCost = TOKENS, dp: int = 2) -> Run:
    return run(system(graph, options=options, dp=dp), cost, load)


def test_two_prompts_are_read_side_by_side():
    found = done(reading(), batch([0.0, 0.0], 4), chunked(4))
    assert found.requests["first_token_s"].tolist() == [4.0, 4.0]
    assert found.steps["prefill_tokens"].tolist() == [8]


def test_one_rank_reads_them_one_after_the_other():
    found = done(reading(), batch([0.0, 0.0], 4), chunked(4), dp=1)
    assert found.requests["first_token_s"].tolist() == [4.0, 8.0]


def test_all_wait_for_the_fullest_rank():
    # 0-4: four of a's six beside b's two; 4-6: the rest of a. b's token came at 4.
    found = done(reading(), batch([0.0, 0.0], [6, 2]), chunked(4))
    assert found.requests["first_token_s"].tolist() == [6.0, 4.0]


def test_prompts_are_cut_on_every_rank():
    # Two of ten and one of two: 4 + 4, then 4 + 4, then 2 + 2; c waits for a rank with room.
    found = done(reading(), batch([0.0] * 3, [10, 10, 2]), chunked(4))
    assert found.steps["prefill_tokens"].tolist() == [8, 8, 6]
    assert found.requests["first_token_s"].tolist() == [12.0, 12.0, 12.0]


def test_decodes_wait_for_the_rank_with_most():
    # 0-2: two prompts of one token on rank 0, one on rank 1. Then steps of 2 s for all three.
    found = done(chat(), batch([0.0] * 3, 1, 3), chunked(4))
    assert found.requests["finish_s"].tolist() == [6.0, 6.0, 6.0]
    assert found.steps["batch"].tolist() == [0, 3]


def test_a_sequence_goes_to_the_rank_with_fewest():
    # a and c on rank 0, b on rank 1; b ends first, so d joins rank 1 and steps stay at 2 s.
    load = batch([0.0, 0.0, 0.0, 3.0], 1, [9, 2, 9, 3])
    found = done(chat(), load, chunked(9))
    steps = found.steps
    assert ((steps["end_s"] - steps["start_s"]) / steps["steps"]).tolist() == [2.0] * len(
        steps["steps"]
    )


def test_seats_are_of_each_rank():
    found = done(chat(), batch([0.0] * 3, 2, 2), chunked(99, max_batch=1))
    # Two at once: read 0-2, decode 2-3; then the third.
    assert found.requests["first_token_s"].tolist() == [2.0, 2.0, 5.0]


def test_whole_prompts_go_in_order():
    options = {"batching": Spec("continuous"), "max_tokens": 5, "block_size": 1}
    found = done(reading(), batch([0.0] * 3, 5), options)
    assert found.steps["prefill_tokens"].tolist() == [10, 5]


def test_static_sets_are_of_each_rank():
    options = {"batching": Spec("static", {"n": 2}), "block_size": 1}
    found = done(reading(), batch([0.0] * 5, 3), options)
    assert found.steps["prefill_tokens"].tolist() == [12, 3]


@pytest.mark.parametrize(("prompt", "status"), [(10, COMPLETED), (11, REFUSED)])
def test_a_sequence_must_fit_one_rank(prompt: int, status: int):
    # Twenty blocks on two ranks.
    cost = RankedCost(20, per_token=1.0)
    found = done(reading(), batch([0.0], prompt), chunked(99), cost)
    assert found.requests["status"].tolist() == [status]


def test_blocks_that_no_rank_has_whole_are_not_there():
    # 39 tokens: nineteen on each rank, one block of sixteen each.
    cost = RankedCost(39, per_token=1.0)
    found = done(reading(), batch([0.0], 4), chunked(99, block_size=16), cost)
    assert found.engines[0].capacity_blocks == 2


def test_of_prompts_cut_on_two_ranks_the_last_gives_way():
    # Ranks of 13 blocks. a decodes on rank 0; b of eight and c of twelve are cut. At the end of
    # the second step 26 blocks are taken and a needs one more: c, which came last, is read again.
    cost = RankedCost(26, per_token=1.0)
    load = batch([0.0, 2.0, 2.0], [2, 10, 12], [9, 1, 1])
    found = done(chat(), load, chunked(3), cost)
    assert found.engines[0].preemptions == 1
    assert found.requests["status"].tolist() == [COMPLETED] * 3
    assert found.requests["finish_s"][2] > found.requests["finish_s"][1]
