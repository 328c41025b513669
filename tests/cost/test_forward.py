"""A forward pass: its work, its operators, and the published embedding times."""

from dataclasses import replace
from math import inf

import pytest
from cost_systems import GIB, SHEETS, dense
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost.constants import NONE, VLLM
from hermesdsl.cost.forward import ForwardCost, forward_cost, memory_needed
from hermesdsl.cost.operator import total_seconds
from hermesdsl.graph.types import Group, Part

#: config.json of intfloat/e5-mistral-7b-instruct; tied: the count holds one embedding table.
E5_MISTRAL = dense("E5-Mistral", (4096, 32, 14336, 32000, 32, 8), tied=True)
#: config.json of intfloat/e5-base-v2 but for the head width of `dense`.
ENCODER = replace(dense("encoder", (768, 12, 3072, 30522, 6, 6), gated=False), kind="encoder")


def on(part: Part, bandwidth: float, capacity: float = 512 * GIB) -> Group:
    return Group((part.path,), part, ("dram",), capacity, bandwidth)


def cpu(name: str, fp32: float, cores: int) -> Part:
    return Part(name, "cpu", name, peak={"fp32": fp32}, cores=cores)


A100 = on(SHEETS["a100"].part, SHEETS["a100"].bandwidth, 80 * GIB)
#: 32-bit vector arithmetic, as the published times imply (4.7 and 11 TFLOP/s reached; the matrix
#: units of both parts would be far faster). Xeon 8480C: 56 cores × 64 FLOP × 2.0 GHz, eight
#: channels of DDR5-4800. Grace Superchip: 144 cores × 32 FLOP × 3.1 GHz, 768 GB/s.
SPR = on(cpu("SPR", 7.17e12, 56), 307.2e9)
GRACE = on(cpu("Grace Superchip", 14.3e12, 144), 768e9)


@pytest.mark.parametrize(
    ("group", "published"), [(SPR, 3.5), (GRACE, 1.5), (A100, 0.070)], ids=["SPR", "Grace", "A100"]
)
def test_embedding_takes_what_is_published(group, published):
    # oracles.md A6: 1,155 tokens through a 7B embedder, within 25 %.
    seconds = forward_cost(E5_MISTRAL, group, VLLM).seconds(1, 1155)
    assert seconds == pytest.approx(published, rel=0.25)


def test_an_embedding_is_bound_by_its_products():
    # 2 · 6.98e9 weights in layers · 1155 tokens = 16.1 TFLOP, at no more than the peak.
    cost = forward_cost(E5_MISTRAL, A100, NONE)
    layers = E5_MISTRAL.parameters - 32000 * 4096
    assert cost.seconds(1, 1155) > 2 * layers * 1155 / 312e12
    products = [op for op in cost.breakdown(1, 1155) if op.flops and "attention " not in op.name]
    flops = sum(op.count * op.flops for op in products)
    out = 32 * 2 * 1155 * 4096 * 4096  # the output projection is named `attention out`
    assert flops + out == pytest.approx(2 * layers * 1155, rel=1e-3)


def test_encoders_attend_both_ways_and_decoders_back():
    encoder = forward_cost(ENCODER, A100, NONE).work(4, 400)
    decoder = forward_cost(replace(ENCODER, kind="decoder"), A100, NONE).work(4, 400)
    assert encoder.prefill_pairs == 4 * 100**2
    assert decoder.prefill_pairs == 4 * 100 * 101 / 2
    assert (encoder.decodes, encoder.prefill_kv) == (0, 400)


def test_only_a_head_samples():
    plain, head = (forward_cost(E5_MISTRAL, A100, NONE, head=h) for h in (False, True))
    names = [op.name for op in plain.breakdown(2, 200)]
    assert "lm head" not in names
    assert "lm head" in [op.name for op in head.breakdown(2, 200)]
    # Two logits rows: the LM head streams its 32000 × 4096 weights once.
    extra = head.seconds(2, 200) - plain.seconds(2, 200)
    assert extra > 32000 * 4096 * 2 / 2.039e12


def test_the_breakdown_adds_up():
    cost = forward_cost(ENCODER, A100, VLLM)
    assert total_seconds(cost.breakdown(8, 900)) == pytest.approx(cost.seconds(8, 900), rel=1e-12)


@given(st.integers(1, 64), st.integers(1, 400))
def test_a_batch_is_no_slower_than_its_parts(requests, length):
    cost = forward_cost(ENCODER, A100, VLLM)
    whole = cost.seconds(requests, requests * length)
    assert 0 < cost.seconds(1, length) <= whole * (1 + 1e-12)
    assert whole <= requests * cost.seconds(1, length) * (1 + 1e-12)


def test_nothing_takes_no_time():
    assert forward_cost(ENCODER, A100, VLLM).seconds(0, 0) == 0.0


def test_memory_holds_weights_and_one_layer_of_kv():
    idle = memory_needed(E5_MISTRAL, A100, NONE, tokens=0, sequences=0)
    assert idle == pytest.approx(E5_MISTRAL.weight_bytes, rel=1e-3)
    full = memory_needed(E5_MISTRAL, A100, NONE, tokens=1000, sequences=0)
    kv = 1000 * 2 * 8 * 128 * 2  # keys and values of eight heads, bf16
    activations = 1000 * 2 * (4 * 4096 + 3 * 14336)
    assert full - idle == pytest.approx(kv + activations)


def test_a_device_without_a_peak_is_refused():
    blind = replace(A100, part=Part("x", "chip", "X", peak={"int8": 1e12}))
    with pytest.raises(ValueError, match="X has no peak for bf16"):
        forward_cost(E5_MISTRAL, blind, VLLM)


def test_a_faster_link_is_never_slower():
    four = [Group(("a", "b"), A100.part, ("m",), 80 * GIB, 2e12, tp=2, tp_fabric=fabric)
            for fabric in (replace(A100.tp_fabric, size=2, alpha=1e-6, bandwidth=1e10),
                           replace(A100.tp_fabric, size=2, alpha=1e-6, bandwidth=inf))]  # fmt: skip
    slow, fast = (forward_cost(E5_MISTRAL, group, VLLM).seconds(1, 1155) for group in four)
    assert fast < slow
    assert isinstance(forward_cost(E5_MISTRAL, four[0], VLLM), ForwardCost)
