"""Sliding windows in running engines, by hand: layers with one hold the last w tokens of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_built import MODEL, AffineCost, batch, chat, run, system, wires
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.graph.types import LlmModel, Spec
from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.holding import Holding, holding
from hermesdsl.sim.planned import PacedDecoding
from hermesdsl.sim.record import COMPLETED, REFUSED, Run
from hermesdsl.sim.reference import ListedDecoding
from hermesdsl.sim.transfer import kv_bytes

SECOND = AffineCost(base=1.0)


def windowed(window: int, layers: int = 1, full: int = 0) -> LlmModel:
    return replace(MODEL, layers=layers, full_layers=full, window=window)


def done(model: LlmModel, load: Any, kv: int, **options: Any) -> Run:
    options = {"batching": Spec("chunked", {"budget": 4096}), "block_size": 1, **options}
    return run(system(chat(), options=options, model=model), replace(SECOND, kv_tokens=kv), load)


def test_a_context_far_longer_than_memory_is_served():
    # 1000 tokens of prompt and 500 of answer in a window of 64, with memory for 64: one step for
    # the prompt and 499 for the rest, a second each, and not one preemption.
    found = done(windowed(64), batch([0.0], 1000, 500), kv=64)
    assert found.requests["status"].tolist() == [COMPLETED]
    assert found.requests["first_token_s"].tolist() == [1.0]
    assert found.requests["finish_s"].tolist() == [500.0]
    assert found.engines[0].preemptions == 0
    assert found.steps["kv_blocks"].max() == 64


@pytest.mark.parametrize(("window", "status"), [(64, COMPLETED), (65, REFUSED)])
def test_a_window_must_fit(window: int, status: int):
    found = done(windowed(window), batch([0.0], 1000, 500), kv=64)
    assert found.requests["status"].tolist() == [status]


def test_without_a_window_the_same_is_refused():
    found = done(MODEL, batch([0.0], 1000, 500), kv=1498)
    assert found.requests["status"].tolist() == [REFUSED]


def test_as_many_decode_at_once_as_windows_fit():
    # Ten windows of 8 fit 80 tokens; the eleventh waits for the first ten: 1 + 29 steps.
    found = done(windowed(8), batch([0.0] * 11, 20, 30), kv=80)
    assert found.requests["first_token_s"].tolist() == [1.0] * 10 + [31.0]
    assert found.steps["batch"].max() == 10


def test_layers_of_both_sorts_add_up():
    # Of four layers one sees all: (t + 3·min(t, 8))/4 tokens, 4-token blocks.
    held = Holding(4, 8, 1, 4)
    assert [held.blocks(t) for t in (0, 1, 4, 5, 8, 9, 16, 24, 25, 40, 41)] == [
        0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 5,
    ]  # fmt: skip
    # Memory of 10 single-token blocks: 8 + (t − 8)/4 ≤ 10 up to t = 16.
    assert done(windowed(8, 4, 1), batch([0.0], 10, 7), kv=10).counts["completed"] == 1
    assert done(windowed(8, 4, 1), batch([0.0], 10, 8), kv=10).counts["refused"] == 1


def test_all_layers_full_is_no_window():
    plain = Holding(16, 8, 1, 1)
    assert [plain.blocks(t) for t in range(99)] == [-(-t // 16) for t in range(99)]


@given(
    st.integers(1, 20), st.integers(1, 70), st.integers(0, 5), st.integers(1, 5),
    st.integers(1, 300),
)  # fmt: skip
def test_the_first_token_of_a_block_is_the_one_that_takes_it(
    size: int, window: int, full: int, more: int, tokens: int
):
    held = Holding(size, window, full, full + more)
    block = held.blocks(tokens)
    first = held.first(block)
    assert first is not None
    assert first <= tokens
    assert (held.blocks(first), held.blocks(first - 1)) == (block, block - 1)
    after = held.first(block + 1)
    assert after is None or after > tokens
    assert held.shared(tokens) <= block


@given(
    st.integers(1, 9), st.integers(1, 40), st.integers(0, 2), st.floats(1.0, 6.0),
    st.lists(st.tuples(st.sampled_from("jjad"), st.integers(1, 50), st.integers(1, 30))),
    st.integers(0, 30), st.integers(0, 99),
)  # fmt: skip
def test_plans_agree_with_sequences_counted_one_by_one(
    size: int, window: int, full: int, advance: float, moves: Any, spare: int, carry: int
):
    held = Holding(size, window, full, 3)
    planned = PacedDecoding(size, advance, held)
    listed = ListedDecoding(size, advance, held)
    parts = advance.as_integer_ratio()[1]
    for number, (move, prompt, remaining) in enumerate(moves):
        if move == "j":
            for decoding in (planned, listed):
                sequence = Sequence(number, None, prompt, remaining)
                sequence.carry = carry * number % parts
                decoding.join(sequence)
        elif move == "d" and planned.count:
            gone = [decoding.drop_last() for decoding in (planned, listed)]
            assert planned.done(gone[0]) == listed.done(gone[1])
        elif planned.count:
            free = planned.need(1) + spare
            steps = planned.horizon(free)
            assert steps == listed.horizon(free)
            assert planned.advance(steps) == listed.advance(steps) <= free
            ended = [[s.request for s in d.finished()] for d in (planned, listed)]
            assert ended[0] == ended[1]
        assert planned.context == listed.context


def test_a_prefix_cache_keeps_the_whole_context():
    # Blocks are found again by their text, so none is overwritten: 24 tokens need 24 blocks.
    assert holding(windowed(8), 16, whole=True) is None
    found = done(windowed(8), batch([0.0], 20, 5), kv=23, prefix_cache=True)
    assert found.counts["refused"] == 1
    assert done(windowed(8), batch([0.0], 20, 5), kv=24, prefix_cache=True).counts["completed"] == 1


def test_only_the_window_moves():
    # 1000 bytes per token over all four layers: a quarter of 100 tokens, three quarters of 8.
    assert kv_bytes(windowed(8, 4, 1), 100) == 31_000.0
    assert kv_bytes(windowed(8), 5) == 5000.0
    ends = [("p[0].gpu", "d[0].gpu", 1000.0, 0.0)]
    built = system(
        chat("p", "d"), engines={"p": 1, "d": 1}, hardware=wires(*ends), model=windowed(8),
        options={"batching": Spec("chunked", {"budget": 999})},
    )  # fmt: skip
    found = run(built, SECOND, batch([0.0], 100, 3))
    assert found.transfers["bytes"].tolist() == [8000.0]
    # 1 s to read, 8 s on the way, and two steps more.
    assert found.requests["finish_s"].tolist() == [11.0]


def test_what_gives_way_reads_all_of_its_text_again():
    # Windows of 8 in 12 blocks. Prompts of 6 both fit; the second needs a seventh block that is
    # not there, and reads its six tokens and the one that it had produced again.
    found = done(windowed(8), batch([0.0, 0.0], 6, 9), kv=12)
    assert found.engines[0].preemptions >= 1
    assert found.engines[0].recomputed >= 7
    assert np.all(found.requests["status"] == COMPLETED)
