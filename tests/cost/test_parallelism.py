"""Stages and micro-batches, data-parallel ranks, experts: against formulas worked out by hand."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost.bind import diagnose
from hermesdsl.cost.moe import distinct_experts
from hermesdsl.cost.operator import total_seconds
from hermesdsl.cost.pipelining import Schedule, candidates, schedule
from hermesdsl.cost.slowest import fullest, fullest_of_binomials
from hermesdsl.cost.speculation import mtp
from hermesdsl.cost.types import StepWork


def decoding(batch: int, context: float) -> StepWork:
    return StepWork(batch, batch, decodes=batch, decode_context=context)


def prompts(count: int, length: int) -> StepWork:
    tokens = count * length
    pairs = count * length * (length + 1) / 2
    return StepWork(tokens, count, count, tokens, pairs, float(tokens))


# --- pipeline stages -----------------------------------------------------------------------------


@given(stages=st.integers(1, 16), cuts=st.integers(1, 64))
def test_equal_stages_take_m_plus_s_minus_one_micro_batches(stages: int, cuts: int) -> None:
    order = schedule(4 * stages, stages, cuts)
    # A pass of all layers is s stages.
    assert order.passes * stages == pytest.approx(cuts + stages - 1)
    assert order.bubble == pytest.approx((stages - 1) / (cuts + stages - 1))


def test_one_stage_has_no_bubbles() -> None:
    assert schedule(80, 1, 4).bubble == 0.0
    assert Schedule().passes == 1.0


def test_stages_of_unequal_depth_wait_for_the_deepest() -> None:
    # 10 layers on 4 stages: 3, 3, 3, 1. Two micro-batches: 10 + 3 layers.
    assert schedule(10, 4, 2).passes == pytest.approx(1.3)


def test_no_more_micro_batches_than_tokens() -> None:
    assert candidates(4, 1) == (1,)
    assert candidates(4, 6) == (1, 2, 4)
    assert candidates(4, 4096) == (1, 2, 4, 8, 16)


def test_a_cut_step_is_that_of_its_micro_batches(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=2, pp=4)
    whole = build.engine(build.llama, on, micro_batches=1)
    cut = build.engine(build.llama, on, micro_batches=4)
    small = {op.name: op for op in whole.breakdown(prompts(4, 512))}
    for op in cut.breakdown(prompts(16, 512)):
        times = {"host": 1, "embedding": 1, "stage hand-over": 1}.get(op.name)
        if op.name == "host":
            continue
        if op.name in ("lm head", "gather logits", "sample"):
            times = 4  # the last stage samples for each
        elif op.name == "stage hand-over":
            times = 6 / 3  # to three stages, and three more micro-batches through the slowest
        elif times is None:
            times = 7 / 4  # (m + s - 1) / s
        assert op.count == pytest.approx(small[op.name].count * times), op.name
        assert op.seconds == pytest.approx(small[op.name].seconds, rel=1e-12), op.name


def test_micro_batches_help_prompts_and_not_small_decodes(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=2, pp=4)
    engine = build.engine(build.llama, on)
    assert engine.schedule(8192).cuts > 1
    assert engine.schedule(8).cuts == 1
    one = build.engine(build.llama, on, micro_batches=1)
    work = prompts(4, 2048)
    # At most four stages at work at once.
    assert one.step(work) / 4 < engine.step(work) < 0.5 * one.step(work)
    assert engine.step(decoding(8, 8e3)) == one.step(decoding(8, 8e3))


def test_stages_never_beat_their_number(build: SimpleNamespace) -> None:
    alone = build.engine(build.llama, build.group(build.sheets["h200"], tp=2))
    staged = build.engine(build.llama, build.group(build.sheets["h200"], tp=2, pp=4))
    for work in (prompts(8, 1024), decoding(64, 64e3)):
        assert staged.step(work) > alone.step(work) / 4


def test_given_micro_batches_are_kept_to(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=2, pp=2)
    engine = build.engine(build.llama, on, micro_batches=8)
    assert engine.schedule(2048).cuts == 8
    assert engine.schedule(3).cuts == 3


def test_micro_batches_without_stages_are_refused(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    found = diagnose(build.client(build.llama, on, micro_batches=4))
    assert [item.code for item in found] == ["HMS405"]
    assert found[0].message == "`micro_batches` of `llm` cut nothing: it has one pipeline stage"
    assert diagnose(build.client(build.llama, on)) == []


# --- data-parallel attention ---------------------------------------------------------------------


def test_data_parallel_ranks_wait_for_the_fullest(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    four = build.engine(build.latent, build.group(h200, dp=4))
    one = build.engine(build.latent, build.group(h200))
    most = fullest(64, 4)
    assert most > 64 / 4
    by_name = {op.name: op for op in four.breakdown(decoding(64, 64e3))}
    alone = {op.name: op for op in one.breakdown(decoding(-(-int(most * 1e6) // 10**6), 0.0))}
    assert by_name["mlp up"].seconds == alone["mlp up"].seconds
    # The fullest rank reads its sequences' part of all context.
    read = by_name["attention decode"].bytes
    assert read == pytest.approx(64e3 * most / 64 * 576 * 2, rel=1e-12)


def test_one_sequence_keeps_one_rank_busy_and_the_others_waiting(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    four, one = (build.engine(build.latent, build.group(h200, dp=n)) for n in (4, 1))
    assert four.step(decoding(1, 1e3)) == pytest.approx(one.step(decoding(1, 1e3)), rel=1e-12)


def test_prompts_fall_on_ranks_whole(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    four, one = (build.engine(build.latent, build.group(h200, dp=n)) for n in (4, 1))
    # A lone prompt is not shared out.
    gap = four.step(prompts(1, 1024)) - one.step(prompts(1, 1024))
    assert gap == pytest.approx(0.0, abs=1e-9)
    assert four.step(prompts(16, 1024)) < one.step(prompts(16, 1024))


# --- experts -------------------------------------------------------------------------------------


def test_devices_with_experts_wait_for_the_one_with_most(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h200"], dp=8, ep=8)
    model = replace(build.mixtral, experts=64, experts_active=4, expert_ffn=2048)
    batch = 128
    ops = {op.name: op for op in build.engine(model, on).breakdown(decoding(batch, 1e5))}
    chance = distinct_experts(64, 4, batch) / 64
    local = fullest_of_binomials(8, chance, 8)
    moved = fullest(batch * 4, 8)
    # bf16: weights of the touched experts, and their rows in and out.
    width, hidden = 2 * 2048, 4096
    expected = 2 * (local * width * hidden + moved * (hidden + width))
    assert ops["experts up"].bytes == pytest.approx(expected, rel=1e-12)
    assert ops["dispatch"].bytes == pytest.approx(moved * hidden * 2, rel=1e-12)


def test_two_blocks_of_experts_see_half_the_tokens_each(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    on = build.group(h200, dp=8, ep=4)
    ops = {op.name: op for op in build.engine(build.mixtral, on).breakdown(decoding(128, 1e5))}
    assert ops["dispatch"].bytes == pytest.approx(fullest(64 * 2, 4) * 4096 * 2, rel=1e-12)


@pytest.mark.parametrize("ep", [1, 2, 8])
def test_tables_still_add_up(build: SimpleNamespace, ep: int) -> None:
    on = build.group(build.sheets["h200"], dp=8, ep=ep)
    cost = build.engine(build.mixtral, on)
    for work in (
        prompts(3, 700),
        decoding(32, 3e4),
        prompts(2, 100)._replace(tokens=216, sampled=18, decodes=16, decode_context=1e4),
    ):
        assert total_seconds(cost.breakdown(work)) == pytest.approx(cost.step(work), rel=1e-12)


# --- a step that says what its fullest rank has --------------------------------------------------


def test_decodes_of_a_known_rank_are_those_of_one_engine(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    four, one = (build.engine(build.latent, build.group(h200, dp=n)) for n in (4, 1))
    # Of 64 sequences 20 are on one rank, which reads 20/64 of the context.
    work = decoding(64, 64e3)._replace(rank=decoding(20, 0.0))
    assert four.step(work) == pytest.approx(one.step(decoding(20, 20e3)), rel=1e-12)
    assert four.step(work) == four.decode_run(64, 64e3, 20).seconds(1)
    assert four.step(work) > four.step(decoding(64, 64e3)._replace(rank=decoding(16, 0.0)))


def test_prompts_of_a_known_rank_are_those_of_one_engine(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    four, one = (build.engine(build.latent, build.group(h200, dp=n)) for n in (4, 1))
    work = prompts(16, 1024)._replace(rank=prompts(4, 1024))
    assert four.step(work) == pytest.approx(one.step(prompts(4, 1024)), rel=1e-12)
    table = four.breakdown(work)
    assert total_seconds(table) == pytest.approx(four.step(work), rel=1e-12)


def test_guesses_are_made_and_verified_on_the_fullest_rank(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    four, one = (
        mtp(build.engine(build.latent, build.group(h200, dp=n)), depth=2, accept=0.5)
        for n in (4, 1)
    )
    expected = one.decode_run(20, 20e3).seconds(1)
    assert four.decode_run(64, 64e3, 20).seconds(1) == pytest.approx(expected, rel=1e-9)
    mixed = decoding(64, 64e3)._replace(
        tokens=64 + 400, prefills=1, prefill_tokens=400, prefill_pairs=80_200.0, prefill_kv=400,
        sampled=65,
    )  # fmt: skip
    rank = mixed._replace(tokens=416, sampled=17, decodes=16, decode_context=0.0)
    assert four.step(mixed._replace(rank=rank)) > four.step(decoding(64, 64e3))
