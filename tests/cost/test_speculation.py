"""Speculative decoding: tokens gained, cost of guesses and of verification, by hand."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost.llm import piece_at
from hermesdsl.cost.speculation import drafted, expected_tokens, mtp
from hermesdsl.cost.types import DecodeRun, Piece, StepWork
from hermesdsl.graph.types import Spec

AFTER = Spec("after_weights", {"f": 0.95})


@pytest.fixture
def target(build: SimpleNamespace):
    return build.engine(build.llama, build.group(build.sheets["h200"], tp=2), rule=AFTER)


@pytest.fixture
def small(build: SimpleNamespace):
    """Llama-3-8B by its config.json."""
    return build.dense("small", (4096, 32, 14336, 128256, 32, 8))


def decoding(batch: int, context: float, queries: int = 1) -> StepWork:
    tokens = batch * queries
    return StepWork(tokens, tokens, decodes=batch, decode_context=context)


def test_tokens_gained() -> None:
    # (1 − 0.8^5)/(1 − 0.8) = 3.3616.
    assert expected_tokens(0.8, 4) == pytest.approx(3.3616)
    assert expected_tokens(0.0, 4) == 1.0
    assert expected_tokens(1.0, 4) == 5.0
    assert expected_tokens(0.85, 1) == pytest.approx(1.85)


@given(accept=st.floats(0, 0.99), guesses=st.integers(0, 12))
def test_tokens_gained_are_the_closed_form(accept: float, guesses: int) -> None:
    closed = (1 - accept ** (guesses + 1)) / (1 - accept)
    assert expected_tokens(accept, guesses) == pytest.approx(closed, rel=1e-9)
    assert 1.0 <= expected_tokens(accept, guesses) <= guesses + 1


@pytest.mark.parametrize(("accept", "guesses"), [(1.1, 2), (-0.1, 2), (0.5, -1)])
def test_chances_beyond_certainty_are_refused(accept: float, guesses: int) -> None:
    with pytest.raises(ValueError, match="guess"):
        expected_tokens(accept, guesses)


def test_verification_reads_kv_once_and_multiplies_all_tokens(target) -> None:
    one = {op.name: op for op in target.breakdown(decoding(8, 8e3))}
    piece = target.run_pieces(8, 5)[0]
    plain = target.run_pieces(8)[0]
    # Five times the tokens through the layers, the same KV: the slope stays while memory bounds.
    assert piece.b == plain.b
    wide = {op.name: op for op in target.linear_operators(40, 40)}
    assert wide["mlp up"].flops == 5 * one["mlp up"].flops
    here = piece_at(target.run_pieces(8, 5), 8e3)
    assert target.step(decoding(8, 8e3, 5), 5) == here.a + here.b * 8e3


def test_a_step_is_guesses_and_a_verification(target, small) -> None:
    cost = drafted(target, small, accept=0.7, guesses=4)
    context = 8e3
    draft = cost.draft
    guesses = sum(draft.step(decoding(8, context + 8 * i)) for i in range(4))
    expected = guesses + target.step(decoding(8, context, 5), 5)
    assert cost.step(decoding(8, context)) == pytest.approx(expected, rel=1e-9)
    # The host schedules once.
    assert draft.breakdown(decoding(8, context))[-1].seconds == 0.0


def test_without_guesses_it_is_the_target(target, small) -> None:
    cost = drafted(target, small, accept=0.7, guesses=0)
    assert cost.gained == 1.0
    assert cost.step(decoding(8, 8e3)) == target.step(decoding(8, 8e3))
    assert cost.decode_run(8, 8e3).seconds(7) == target.decode_run(8, 8e3).seconds(7)


def test_prompts_are_read_by_both(target, small) -> None:
    cost = drafted(target, small, accept=0.7, guesses=4)
    work = StepWork(512, 1, 1, 512, 512 * 513 / 2, 512.0)
    assert cost.step(work) == target.step(work) + cost.draft.step(work)


def test_beside_prompts_decodes_verify_too(target, small) -> None:
    cost = drafted(target, small, accept=0.7, guesses=2)
    prompt = StepWork(512, 1, 1, 512, 512 * 513 / 2, 512.0)
    both = prompt._replace(tokens=520, sampled=9, decodes=8, decode_context=8e3)
    wide = both._replace(tokens=536, sampled=25)
    expected = target.step(wide, 3) + cost.draft.step(both) + cost.draft.step(decoding(8, 8008.0))
    assert cost.step(both) == pytest.approx(expected, rel=1e-12)


def test_context_grows_by_the_tokens_gained(target, small) -> None:
    cost = drafted(target, small, accept=0.5, guesses=1)
    run = cost.decode_run(4, 1000.0)
    single = [cost.step(decoding(4, 1000.0 + 6 * j)) for j in range(50)]
    assert run.advance == 1.5
    assert run.seconds(50) == pytest.approx(sum(single), rel=1e-9)


def test_knots_are_met_at_the_pace_of_the_tokens_gained() -> None:
    # One second per step below a context of 100, two from there on; 10, 40, 70, 100, 130.
    run = DecodeRun((Piece(0.0, 1.0, 0.0), Piece(100.0, 2.0, 0.0)), 10, 10.0, 3.0)
    assert [run.seconds(n) for n in (1, 3, 4, 5)] == [1.0, 3.0, 5.0, 7.0]
    assert run._replace(advance=1.0).seconds(9) == 9.0


def test_good_guesses_pay_in_small_batches_and_bad_ones_never(target, small) -> None:
    def per_token(cost, batch: int, gained: float) -> float:
        return cost.step(decoding(batch, batch * 1e3)) / gained

    good = drafted(target, small, accept=0.8, guesses=4)
    bad = drafted(target, small, accept=0.05, guesses=4)
    plain = per_token(target, 4, 1.0)
    assert per_token(good, 4, good.gained) < plain < per_token(bad, 4, bad.gained)


def test_draft_takes_its_part_of_the_memory(target, small) -> None:
    cost = drafted(target, small, accept=0.7, guesses=4)
    memory = target.memory
    # Half of 16.06 GB on each of two devices; 2 · 4 · 128 · 32 values of 2 bytes per token.
    room = memory.kv - small.weight_bytes / 2
    assert cost.weights == pytest.approx(small.weight_bytes / 2, rel=1e-4)
    assert cost.kv_tokens == pytest.approx(room / (81_920 * 2 + 65_536), rel=1e-4)
    assert cost.kv_tokens < target.kv_tokens


def test_prediction_modules_are_layers_of_the_model(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h200"])
    target = build.engine(build.latent, on, rule=AFTER)
    cost = mtp(target, depth=1, accept=0.85)
    assert cost.gained == pytest.approx(1.85)
    counts = {op.name: op.count for op in cost.draft.breakdown(decoding(8, 8e3))}
    assert counts["attention decode"] == counts["mlp up"] == counts["lm head"] == 1
    assert cost.weights == pytest.approx(target.memory.weights / 4)
    assert cost.kv == pytest.approx(target.memory.kv_per_token / 4)


def test_a_draft_that_does_not_fit_leaves_no_kv(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=2)
    target = build.engine(build.llama, on, rule=AFTER)
    assert drafted(target, build.llama, accept=0.9, guesses=2).kv_tokens == 0
