"""Experts: expected distinct experts, limits, splitting over devices."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost.moe import distinct_experts, expert_split
from hermesdsl.cost.types import StepWork


def test_one_token_touches_its_k_experts() -> None:
    assert distinct_experts(256, 8, 1) == pytest.approx(8)


def test_many_tokens_touch_all() -> None:
    assert distinct_experts(8, 2, 200) == pytest.approx(8, rel=1e-9)


def test_two_tokens_by_inclusion_and_exclusion() -> None:
    # 8 experts, 2 each: 2 + 2 − 8·(1/4)² = 3.5.
    assert distinct_experts(8, 2, 2) == pytest.approx(3.5)


@given(n=st.integers(1, 512), k=st.integers(1, 16), t=st.integers(1, 5000))
def test_bounded_and_monotone(n: int, k: int, t: int) -> None:
    k = min(k, n)
    now, then = distinct_experts(n, k, t), distinct_experts(n, k, t + 1)
    assert k * (1 - 1e-9) <= now <= then <= n <= n * 1.0


def test_all_experts_active_equals_a_dense_layer_of_the_summed_width(
    build: SimpleNamespace,
) -> None:
    on = build.group(build.sheets["h100"])
    moe = replace(build.mixtral, experts_active=8)
    wide = replace(build.mixtral, experts=0, experts_active=0, ffn=8 * 14336)
    work = StepWork(64, 64, decodes=64, decode_context=64e3)
    flops, traffic = {}, {}
    for name, model in (("moe", moe), ("wide", wide)):
        ops = [
            o
            for o in build.engine(model, on).breakdown(work)
            if o.name.split()[-1] in ("up", "down")
        ]
        flops[name] = sum(o.count * o.flops for o in ops)
        traffic[name] = sum(o.count * o.bytes for o in ops)
    assert flops["moe"] == pytest.approx(flops["wide"], rel=1e-12)
    # Each expert reads its own copy of the rows: 64·4096·2 bytes against weights of 939 MB.
    assert traffic["moe"] == pytest.approx(traffic["wide"], rel=0.02)


def test_small_batches_read_few_experts(build: SimpleNamespace) -> None:
    cost = build.engine(build.mixtral, build.group(build.sheets["h200"]))
    reads = {}
    for batch in (1, 256):
        ops = cost.breakdown(StepWork(batch, batch, decodes=batch, decode_context=0.0))
        reads[batch] = next(o.bytes for o in ops if o.name == "experts up")
    # 2 of 8 experts: 2 · 2·14336 · 4096 · 2 bytes = 470 MB.
    assert reads[1] == pytest.approx(470e6, rel=0.01)
    assert reads[256] == pytest.approx(4 * reads[1], rel=0.05)


def test_expert_parallel_exchanges_tokens(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h200"], tp=1, dp=8, ep=8)
    work = StepWork(512, 512, decodes=512, decode_context=512e3)
    names = [o.name for o in build.engine(build.mixtral, on).breakdown(work)]
    assert {"dispatch", "combine"} <= set(names)
    alone = build.group(build.sheets["h200"], tp=8)
    names = [o.name for o in build.engine(build.mixtral, alone).breakdown(work)]
    assert "dispatch" not in names
    assert "all-reduce" in names


def test_experts_are_cut_only_by_ranks_that_ep_leaves() -> None:
    assert [expert_split(8, ep) for ep in (1, 2, 8, 16)] == [8, 4, 1, 1]


def test_router_and_shared_experts_are_in_the_table(build: SimpleNamespace) -> None:
    model = replace(build.mixtral, shared_experts=1, dense_layers=3)
    ops = build.engine(model, build.group(build.sheets["h200"])).breakdown(
        StepWork(8, 8, decodes=8, decode_context=8e3)
    )
    counts = {o.name: o.count for o in ops}
    assert counts["router"] == counts["shared up"] == counts["experts down"] == 29
    assert counts["mlp up"] == 3
