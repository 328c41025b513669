"""What fits: KV capacity against published figures and engine logs, weights per device."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hermesdsl.cost.constants import VLLM
from hermesdsl.cost.memory import (
    plan,
    position_table,
    rule_fraction,
    step_tokens,
    weights_per_device,
)
from hermesdsl.graph.types import Spec

AFTER = Spec("after_weights", {"f": 0.95})


def test_published_capacity_of_llama_70b_on_two_h100(build: SimpleNamespace) -> None:
    # HERMES (arXiv 2504.09775): 95 % of what the weights leave of 2 × 80 GiB. By hand:
    # (171.80 − 141.11) GB · 0.95 / 327,680 B = 88,979; in fp8 (171.80 − 70.55) · 0.95 / 163,840.
    on = build.group(build.sheets["h100"], tp=2)
    assert build.engine(build.llama, on, rule=AFTER).kv_tokens == pytest.approx(88_700, rel=0.03)
    half = build.dense("fp8", (8192, 80, 28672, 128256, 64, 8), dtype="fp8")
    assert build.engine(half, on, rule=AFTER).kv_tokens == pytest.approx(587_000, rel=0.03)


LLAMA_70B = (8192, 80, 28672, 128256, 64, 8)
NEMO = (5120, 40, 14336, 131072, 32, 8)
QWEN_7B = (3584, 28, 18944, 152064, 28, 4)
#: vLLM 0.15.1 on H100 SXM, 90 % of memory, 128 sequences: shape (each model's config), tp, tokens
#: per step, and blocks of 16 tokens that it logged: every dense configuration of
#: inference-sim/sim-to-real-accuracy-validation @ dcec3fd4711c. The reserve was chosen on them.
LOGGED = [
    ((4096, 32, 11008, 32000, 32, 32), 1, 2048, 7463),
    (LLAMA_70B, 4, 2048, 30425),
    (LLAMA_70B, 4, 8192, 30425),
    (NEMO, 2, 1024, 48009),
    (NEMO, 1, 2048, 19251),
    (QWEN_7B, 1, 2048, 65368),
    (QWEN_7B, 1, 1024, 65368),
    ((7168, 60, 20480, 64000, 56, 8), 2, 2048, 20793),
]


@pytest.mark.parametrize(("shape", "tp", "budget", "blocks"), LOGGED)
def test_capacity_that_an_engine_logged(
    build: SimpleNamespace, shape: tuple[int, ...], tp: int, budget: int, blocks: int
) -> None:
    on = build.group(build.sheets["h100"], tp=tp)
    options = {"memory_rule": Spec("of_device", {"f": 0.9}), "max_batch": 128, "max_tokens": budget}
    found = plan(build.dense("served", shape), on, VLLM, options)
    # 0.7 % at most but for 8192 tokens per step, 2.05 %.
    assert found.kv_tokens == pytest.approx(16 * blocks, rel=0.025)


def test_rules_in_closed_form(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h200"], tp=2)
    device = plan(build.llama, on, VLLM, {"memory_rule": Spec("of_device", {"f": 0.8})})
    assert device.kv == pytest.approx(0.8 * device.capacity - device.weights - device.reserve)
    # runtime + communicator + 8192 tokens · 2 B · (4·8192 + 3·14336) + 256 · 128256 · 50 B.
    by_hand = 0.9e9 + 0.36e9 + 8192 * 2 * (4 * 8192 + 3 * 28672 / 2) + 256 * 128256 * 50
    assert device.reserve == pytest.approx(by_hand)
    rest = plan(build.llama, on, VLLM, {"memory_rule": Spec("after_weights", {"f": 0.8})})
    assert rest.kv == pytest.approx(0.8 * (rest.capacity - rest.weights))
    assert rest.reserve == 0


def test_positions_of_long_contexts_have_a_table_on_every_device(build: SimpleNamespace) -> None:
    # Llama 4 Scout: 10,485,760 positions · 128 · 2 B = 2.68 GB, however many devices share it.
    long = replace(build.llama, max_context=10_485_760)
    assert position_table(long) == 10_485_760 * 128 * 2
    for tp in (2, 4):
        on = build.group(build.sheets["h100"], tp=tp)
        without, with_table = plan(build.llama, on, VLLM, {}), plan(long, on, VLLM, {})
        assert without.kv - with_table.kv == pytest.approx(2 * 128 * 10_485_760)
    # A latent rotates its 64 values apart, not the width of a head.
    latent = replace(long, kv_lora_rank=512, rope_head_dim=64, max_context=163_840)
    assert position_table(latent) == 163_840 * 64 * 2
    assert position_table(build.llama) == 0


def test_default_rule_is_ninety_percent_of_the_device(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h200"], tp=2)
    named = plan(build.llama, on, VLLM, {"memory_rule": Spec("of_device", {"f": 0.9})})
    assert plan(build.llama, on, VLLM, {}) == named


def test_devices_hold_all_weights_between_them(build: SimpleNamespace) -> None:
    h100 = build.sheets["h100"]
    for tp in (1, 2, 8):
        share = weights_per_device(build.llama, build.group(h100, tp=tp))
        assert tp * share == pytest.approx(build.llama.weight_bytes)
    # Two stages: half the layers, and one of two tables of 128256 · 8192 · 2 bytes each.
    table = 128256 * 8192 * 2
    stage = weights_per_device(build.llama, build.group(h100, pp=2))
    assert stage == pytest.approx((build.llama.weight_bytes - 2 * table) / 2 + table)


def test_experts_are_spread_and_the_rest_is_copied(build: SimpleNamespace) -> None:
    model = build.mixtral
    expert = 32 * 8 * 3 * 4096 * 14336 * 2
    on = build.group(build.sheets["h200"], dp=8, ep=8)
    assert weights_per_device(model, on) == pytest.approx(model.weight_bytes - expert + expert / 8)


def test_kv_grows_with_copies_of_the_model_only(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    one = build.engine(build.llama, build.group(h200, tp=2), rule=AFTER).kv_tokens
    two = build.engine(build.llama, build.group(h200, tp=2, dp=2), rule=AFTER).kv_tokens
    assert two == 2 * one
    # 16 ranks keep 16 copies of 8 KV heads: as many tokens per device as with 8 heads on 8.
    eight = plan(build.llama, build.group(h200, tp=8), VLLM, {})
    sixteen = plan(build.llama, build.group(h200, tp=16), VLLM, {})
    assert eight.kv_per_token == sixteen.kv_per_token


def test_latent_kv_is_not_split(build: SimpleNamespace) -> None:
    h200 = build.sheets["h200"]
    for tp in (1, 8):
        found = plan(build.latent, build.group(h200, tp=tp), VLLM, {})
        assert found.kv_per_token == 4 * 576 * 2


def test_weights_that_do_not_fit_leave_no_tokens(build: SimpleNamespace) -> None:
    found = plan(build.llama, build.group(build.sheets["h100"]), VLLM, {})
    assert found.kv < 0
    assert found.kv_tokens == 0


def test_step_tokens_come_from_the_first_setting_that_says() -> None:
    chunked = Spec("chunked", {"budget": 512})
    assert step_tokens({"max_tokens": 1024, "batching": chunked}, VLLM) == 1024
    assert step_tokens({"max_tokens": None, "batching": chunked}, VLLM) == 512
    assert step_tokens({"batching": Spec("continuous")}, VLLM) == 8192


def test_a_rule_without_a_fraction_is_refused() -> None:
    with pytest.raises(ValueError, match="without a fraction"):
        rule_fraction(Spec("of_device"))


def test_more_sequences_or_tokens_keep_more_in_reserve(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h200"], tp=2)
    small = plan(build.llama, on, VLLM, {"max_batch": 64, "max_tokens": 512})
    for options in ({"max_batch": 128, "max_tokens": 512}, {"max_batch": 64, "max_tokens": 1024}):
        assert plan(build.llama, on, VLLM, options).kv_tokens < small.kv_tokens
    tied = replace(build.llama, tied_embeddings=True)
    assert weights_per_device(tied, on) == weights_per_device(build.llama, on)
