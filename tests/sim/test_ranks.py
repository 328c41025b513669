"""Data-parallel ranks by hand: a step lasts as long as the rank with most to do, 1 s per token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
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


def test_a_full_rank_takes_back_what_it_gave_though_the_other_has_room():
    # Ranks of ten blocks. a (rank 0) and b (rank 1) are read 0-2; c of seven comes to rank 0, where
    # a third block of a and its own seven fill all ten. At 5 a needs one more, so c gives way; b
    # has ended, and c is read again on rank 1: three tokens, three and one, at 12.
    cost = RankedCost(20, per_token=1.0)
    load = batch([0.0, 0.0, 2.0], [2, 2, 7], [9, 2, 1])
    found = done(chat(), load, chunked(3), cost)
    assert found.engines[0].preemptions == 1
    assert found.engines[0].recomputed == 2
    assert found.requests["first_token_s"].tolist() == [2.0, 2.0, 12.0]
    assert found.steps["kv_blocks"].max() == 13


def test_a_sequence_goes_where_it_fits_if_the_emptiest_rank_is_too_full():
    # Ranks of ten: a of eight on rank 0; b and c of two on rank 1. d of five fits no rank but the
    # one with two sequences: there it is read at once.
    cost = RankedCost(20, per_token=1.0)
    load = batch([0.0, 0.0, 0.0, 0.0], [8, 2, 2, 5], [2, 2, 2, 1])
    found = done(reading(), load, chunked(99), cost)
    assert found.requests["first_token_s"].tolist() == [9.0, 9.0, 9.0, 9.0]


def test_nobody_is_read_on_a_rank_without_room():
    # d of seven fits neither beside eight nor beside two and two: it waits for the next step.
    cost = RankedCost(20, per_token=1.0)
    found = done(reading(), batch([0.0] * 4, [8, 2, 2, 7]), chunked(99), cost)
    assert found.requests["first_token_s"].tolist() == [8.0, 8.0, 8.0, 15.0]


def test_each_rank_has_a_prefix_cache_of_its_own():
    # Prompts of 16 tokens, of which the first four blocks of two are one text. a and b come
    # together, one on each rank, and find nothing; c comes later, goes to rank 0 and finds those.
    load = replace(
        batch([0.0, 0.0, 20.0], 8), prefix=np.zeros(3, np.int64),
        prefix_tokens=np.full(3, 8, np.int64),
    )  # fmt: skip
    found = done(reading(), load, chunked(99, block_size=2, prefix_cache=True))
    assert (found.engines[0].asked, found.engines[0].hits) == (48, 8)
    assert found.steps["kv_blocks"].tolist() == [16, 8]
