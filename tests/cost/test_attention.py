"""Attention: FLOPs and bytes by hand, head replication, windows, latent attention."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hermesdsl.cost.attention import decode, grouped, latent, prefill
from hermesdsl.cost.constants import ACCELERATOR, NONE
from hermesdsl.cost.device import Device
from hermesdsl.cost.types import StepWork

H100 = Device(989.4e12, 3.35e12, 132, False, ACCELERATOR, NONE.overheads)


def prompt(tokens: int, cached: int = 0, slices: int = 1) -> StepWork:
    pairs = slices * (tokens * cached + tokens * (tokens + 1) / 2)
    return StepWork(
        slices * tokens, slices, slices, slices * tokens, pairs, float(slices * (tokens + cached))
    )


def test_prefill_flops_are_causal(build: SimpleNamespace) -> None:
    # Llama-3-70B on one device: 4 · 64 · 128 · (t·s + t(t+1)/2), t = 512 after s = 1024.
    shape = grouped(build.llama, 1, 2.0, 2.0)
    op = prefill(H100, shape, 80, prompt(512, 1024))
    assert op.flops == 4 * 64 * 128 * (512 * 1024 + 512 * 513 / 2)
    assert op.count == 80


def test_chunks_do_the_work_of_the_whole_prompt(build: SimpleNamespace) -> None:
    shape = grouped(build.llama, 1, 2.0, 2.0)
    whole = prefill(H100, shape, 1, prompt(1024)).flops
    parts = (
        prefill(H100, shape, 1, prompt(512)).flops + prefill(H100, shape, 1, prompt(512, 512)).flops
    )
    assert parts == whole


def test_decode_bytes_and_flops_per_token(build: SimpleNamespace) -> None:
    # 2 · H_kv · d_h · b: 4096 bytes per token and layer on one device, split by tp until 8.
    assert grouped(build.llama, 1, 2.0, 2.0).kv_bytes == 4096
    assert grouped(build.llama, 8, 2.0, 2.0).kv_bytes == 512
    assert grouped(build.llama, 1, 2.0, 2.0).flops_per_token == 4 * 64 * 128


def test_kv_heads_are_copied_when_ranks_outnumber_them(build: SimpleNamespace) -> None:
    shape = grouped(build.llama, 16, 2.0, 2.0)
    assert (shape.heads, shape.kv_heads, shape.kv_bytes) == (4, 1, 512)


def test_decode_time_of_long_contexts_is_their_bytes(build: SimpleNamespace) -> None:
    # 64 sequences of 8192 tokens: 4096 B each at 89 % of 3.35 TB/s, padding 45 tokens each.
    model = decode(H100, grouped(build.llama, 1, 2.0, 2.0), 64)
    piece = model.pieces()[-1]
    total = piece.a + piece.b * 64 * 8192
    queries = 64 * 64 * 256 * 2
    assert total == pytest.approx((4096 * 64 * (8192 + 45) + queries) / (3.35e12 * 0.89), rel=1e-9)


def test_many_query_heads_per_kv_head_turn_decode_compute_bound(build: SimpleNamespace) -> None:
    multi_query = replace(build.llama, kv_heads=1)
    pieces = decode(H100, grouped(multi_query, 1, 2.0, 2.0), 4).pieces()
    first, second = pieces
    assert second.b > first.b
    knot = second.start
    assert first.a + first.b * knot == pytest.approx(second.a + second.b * knot, rel=1e-12)


def test_a_window_stops_the_growth(build: SimpleNamespace) -> None:
    shape = grouped(replace(build.llama, window=1024), 1, 2.0, 2.0)
    last = decode(H100, shape, 8).pieces()[-1]
    assert (last.start, last.b) == (8 * 1024, 0.0)
    full = grouped(build.llama, 1, 2.0, 2.0)
    assert prefill(H100, shape, 1, prompt(8192)).flops < prefill(H100, full, 1, prompt(8192)).flops


def test_a_window_longer_than_the_context_changes_nothing(build: SimpleNamespace) -> None:
    wide = grouped(replace(build.llama, window=100_000), 1, 2.0, 2.0)
    full = grouped(build.llama, 1, 2.0, 2.0)
    assert prefill(H100, wide, 1, prompt(512)) == prefill(H100, full, 1, prompt(512))


def test_latent_kv_is_held_whole_by_every_rank(build: SimpleNamespace) -> None:
    # 512 + 64 values of 2 bytes per token and layer (DeepSeek-V2, section 2.1), whatever tp.
    one, eight = (latent(build.latent, tp, 2.0, 2.0) for tp in (1, 8))
    assert one.kv_bytes == eight.kv_bytes == 576 * 2
    assert eight.heads == 16
    assert one.flops_per_token == 2 * 128 * (512 + 576)
    assert one.flops_per_token == 8 * eight.flops_per_token


def test_more_cached_context_is_never_faster(build: SimpleNamespace) -> None:
    shape = grouped(build.llama, 1, 2.0, 2.0)
    times = [prefill(H100, shape, 1, prompt(256, cached)).seconds for cached in range(0, 9000, 500)]
    assert times == sorted(times)
