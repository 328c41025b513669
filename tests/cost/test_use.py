"""What recorded steps used of their devices, against the operators that made them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from hermesdsl.cost.constants import NONE, VLLM
from hermesdsl.cost.forward import ForwardCost
from hermesdsl.cost.rag import Machine, SearchCost, flat
from hermesdsl.cost.speculation import drafted, mtp
from hermesdsl.cost.text import TextCost
from hermesdsl.cost.types import StepRows, StepWork, Use
from hermesdsl.cost.use import cores_use, work_of


def decoding(batch: int, context: float) -> StepWork:
    return StepWork(batch, batch, decodes=batch, decode_context=context)


def prompt(tokens: int, decodes: int = 0, context: float = 0.0) -> StepWork:
    return StepWork(
        tokens + decodes, 1 + decodes, 1, tokens, tokens * (tokens + 1) / 2, float(tokens),
        decodes, context,
    )  # fmt: skip


def rows(cost, *works: StepWork) -> StepRows:
    """Steps as a run records them: their time, but not their context."""
    held = [work.decode_context + work.prefill_tokens for work in works]
    return StepRows(
        np.array([cost.step(work) for work in works]),
        np.array([work.decodes for work in works]),
        np.array([float(work.tokens) for work in works]),
        np.array([float(work.prefill_tokens) for work in works]),
        np.array(held),
    )


def shares(cost, work: StepWork) -> tuple[float, float, float, float]:
    """The same from the operators, of which everything is known."""
    seconds = cost.step(work)
    sums = work_of(cost, cost.breakdown(work))
    part = (1.0 - cost.schedule(work.tokens).bubble) / seconds
    return tuple(x * part for x in (seconds - sums.host, sums.compute, sums.memory, sums.wire))  # type: ignore[return-value]


def every_kind(build: SimpleNamespace) -> list:
    h100, h200 = build.sheets["h100"], build.sheets["h200"]
    return [
        build.engine(build.llama, build.group(h100, tp=4)),
        build.engine(build.llama, build.group(h100, tp=2, pp=2)),
        build.engine(build.mixtral, build.group(h200, tp=2)),
        build.engine(build.latent, build.group(h200, tp=2)),
    ]


def test_of_decodes_the_context_is_found_from_the_time(build: SimpleNamespace) -> None:
    works = [decoding(1, 1e3), decoding(64, 96e3), decoding(256, 4e5), decoding(64, 1e4)]
    for cost in every_kind(build):
        used = cost.use(rows(cost, *works))
        for row, work in enumerate(works):
            found = [column[row] for column in used[:4]]
            assert found == pytest.approx(shares(cost, work), rel=1e-6), (cost.group.pp, work)


def test_a_full_window_reads_the_window(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h200"], tp=2)
    cost = build.engine(replace(build.llama, window=512), on)
    works = [decoding(64, 64 * 300.0), decoding(64, 64 * 9000.0)]
    used = cost.use(rows(cost, *works))
    for row, work in enumerate(works):
        assert used.memory[row] == pytest.approx(shares(cost, work)[2], rel=1e-6)


def test_of_prompts_the_attention_is_what_is_left_of_the_time(build: SimpleNamespace) -> None:
    works = [prompt(2048), prompt(512, 32, 48e3), prompt(8192)]
    for cost in every_kind(build):
        used = cost.use(rows(cost, *works))
        for row, work in enumerate(works):
            busy, compute, memory, link = shares(cost, work)
            assert used.busy[row] == pytest.approx(busy, rel=1e-6)
            assert used.link[row] == pytest.approx(link, rel=1e-6)
            # Padding of attention counts as arithmetic, its traffic not at all.
            assert used.compute[row] == pytest.approx(compute, rel=0.12, abs=0.02)
            assert used.memory[row] == pytest.approx(memory, rel=0.12, abs=0.02)


def test_shares_stay_between_nothing_and_all(build: SimpleNamespace) -> None:
    cost = every_kind(build)[0]
    for seconds in (0.0, 1e-9, 1e-3, 10.0):
        used = cost.use(StepRows(np.array([seconds]), np.array([8]), np.array([8.0]),
                                 np.array([0.0]), np.array([8e3])))  # fmt: skip
        assert all(0.0 <= column[0] <= 1.0 for column in used)


def test_no_rows_no_use(build: SimpleNamespace) -> None:
    cost = every_kind(build)[0]
    nothing = np.zeros(0)
    used = cost.use(StepRows(nothing, nothing.astype(int), nothing, nothing, nothing))
    assert [len(column) for column in used] == [0, 0, 0, 0, 0]


def test_an_idle_host_keeps_the_devices_waiting(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    busy = build.engine(build.llama, on, profile=NONE)
    assert busy.use(rows(busy, decoding(8, 8e3))).busy[0] == 1.0
    host = replace(VLLM.overheads, step=3e-4, sequence=2.5e-5)
    late = build.engine(build.llama, on, profile=replace(VLLM, overheads=host))
    # 0.3 ms per step and 25 us per sequence.
    seconds = late.step(decoding(8, 8e3))
    assert late.use(rows(late, decoding(8, 8e3))).busy[0] == pytest.approx(1 - 5e-4 / seconds)


def test_devices_that_wait_for_launches_are_idle(build: SimpleNamespace) -> None:
    """80 ms of launches over some 20 ms of work: busy, computing and reading as long as alone."""
    on = build.group(build.sheets["h100"], tp=4)
    host = replace(VLLM.overheads, graph_limit=0.0, eager=1e-3)
    eager = build.engine(build.llama, on, profile=replace(VLLM, overheads=host))
    bare = build.engine(build.llama, on)
    work = decoding(64, 96e3)
    assert eager.step(work) == pytest.approx(0.08)
    late, soon = eager.use(rows(eager, work)), bare.use(rows(bare, work))
    part = bare.step(work) / eager.step(work)
    for waiting, working in zip(late, soon, strict=True):
        assert waiting[0] == pytest.approx(working[0] * part, rel=1e-6)


def test_two_stages_with_one_micro_batch_work_half_the_time(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=2, pp=2)
    cost = build.engine(build.llama, on, micro_batches=1, profile=NONE)
    assert cost.use(rows(cost, decoding(8, 8e3))).busy[0] == pytest.approx(0.5)


# --- other servers -------------------------------------------------------------------------------


def test_a_forward_pass_finds_its_length_from_its_time(build: SimpleNamespace) -> None:
    cost = ForwardCost(build.engine(build.llama, build.group(build.sheets["h100"], tp=4)))
    for tokens in (512, 3000):
        seconds = np.array([cost.seconds(4, tokens)])
        used = cost.use(np.array([4]), seconds, np.ones(1))
        sums = work_of(cost.engine, cost.breakdown(4, tokens))
        assert used.compute[0] == pytest.approx(sums.compute / seconds[0], rel=0.1)
        assert used.memory[0] == pytest.approx(sums.memory / seconds[0], rel=0.1)


def test_a_search_uses_what_it_reads(build: SimpleNamespace) -> None:
    # 1e6 vectors of 100 bytes at 1e9 B/s: 0.1 s of memory; 2e8 operations of 1e10 FLOP/s: 0.02 s.
    cost = SearchCost(flat(vectors=1e6, dim=100, value=1.0), Machine(1e10, 1e9))
    seconds = np.array([cost.seconds(1)])
    used = cost.use(np.array([1]), seconds, np.ones(1))
    assert [column[0] for column in used[:4]] == pytest.approx([1.0, 0.2, 1.0, 0.0])
    assert used.drawn is None


def test_a_worker_uses_no_more_than_its_share() -> None:
    share = np.array([0.25])
    cost = SearchCost(flat(vectors=1e6, dim=100, value=1.0), Machine(1e10, 1e9), workers=4)
    used = cost.use(np.array([1]), np.array([1e-3]), share)
    assert max(column[0] for column in used[:4]) == 0.25
    text = TextCost(1e-6, 0.0).use(np.array([1]), np.array([1.0]), share)
    assert text == cores_use(share) == Use(share, share, 0 * share, 0 * share)


def test_steps_that_guess_use_what_guesses_and_verification_use(build: SimpleNamespace) -> None:
    target = build.engine(build.llama, build.group(build.sheets["h200"], tp=2))
    small = build.dense("small", (4096, 32, 14336, 128256, 32, 8))
    cost = drafted(target, small, accept=0.7, guesses=3)
    work = decoding(32, 64e3)
    seconds = cost.step(work)
    verified = StepWork(128, 128, decodes=32, decode_context=64e3)
    first = [work_of(cost.draft, cost.draft.breakdown(work))] * 3
    parts = [work_of(target, target.breakdown(verified)), *first]
    found = cost.use(rows(cost, work))
    # All read their weights and KV; contexts of the guesses differ by a token.
    assert found.memory[0] == pytest.approx(sum(p.memory for p in parts) / seconds, rel=0.01)
    assert found.compute[0] == pytest.approx(sum(p.compute for p in parts) / seconds, rel=0.03)
    assert found.link[0] == pytest.approx(sum(p.wire for p in parts) / seconds, rel=0.02)


def test_without_guesses_steps_use_what_the_model_uses(build: SimpleNamespace) -> None:
    target = build.engine(build.llama, build.group(build.sheets["h200"], tp=2))
    cost = mtp(target, depth=0, accept=0.5)
    recorded = rows(target, decoding(32, 64e3), prompt(700, 9, 1e4))
    for mine, theirs in zip(cost.use(recorded), target.use(recorded), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_guesses_beside_prompts_use_no_more_than_there_is(build: SimpleNamespace) -> None:
    target = build.engine(build.latent, build.group(build.sheets["h200"], dp=4, ep=4))
    cost = mtp(target, depth=2, accept=0.5)
    for share in cost.use(rows(cost, decoding(64, 64e3), prompt(900, 30, 3e4), prompt(500))):
        assert ((share >= 0.0) & (share <= 1.0)).all()
