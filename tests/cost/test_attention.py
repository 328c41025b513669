"""Attention: FLOPs and bytes by hand, head replication, windows, latent attention."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hermesdsl.cost.attention import decode, grouped, latent, prefill
from hermesdsl.cost.constants import ACCELERATOR, NONE, VLLM
from hermesdsl.cost.device import Device
from hermesdsl.cost.types import StepWork

H100 = Device(989.4e12, 3.35e12, 132, False, ACCELERATOR, NONE.overheads)
BUSY = Device(989.4e12, 3.35e12, 132, False, ACCELERATOR, VLLM.overheads)


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
    # 64 sequences of 8192 tokens: 4096 B each at 90 % of 3.35 TB/s, padding 60 tokens each;
    # queries and outputs of 64 heads at half of it.
    model = decode(H100, grouped(build.llama, 1, 2.0, 2.0), 64)
    piece = model.pieces()[-1]
    total = piece.a + piece.b * 64 * 8192
    queries = 64 * 64 * 256 * 2
    expected = 4096 * 64 * (8192 + 60) / (3.35e12 * 0.90) + queries / (3.35e12 * 0.50)
    assert total == pytest.approx(expected, rel=1e-9)


def test_decode_pieces_meet_the_form_everywhere(build: SimpleNamespace) -> None:
    for kv_heads, queries in ((8, 1), (1, 1), (64, 4)):
        shape = grouped(replace(build.llama, kv_heads=kv_heads), 1, 2.0, 2.0)
        for window in (0, 512):
            model = decode(BUSY, replace(shape, window=window), 48, queries)
            pieces = model.pieces()
            assert [p.start for p in pieces] == sorted({p.start for p in pieces})
            for context in (0.0, 48.0, 4800.0, 24_000.0, 30_000.0, 480_000.0, 9.6e6):
                piece = [p for p in pieces if p.start <= context][-1]
                assert piece.a + piece.b * context == pytest.approx(model.seconds(context))


def test_short_contexts_cost_their_pairs_of_sequence_and_head(build: SimpleNamespace) -> None:
    # 1024 sequences × 8 KV heads over 132 multiprocessors, 2.2 µs each: 136.5 µs, whatever Σ is.
    # Queries and outputs: 1024 · 64 · 256 · 2 bytes at half of 3.35 TB/s: 20.03 µs.
    model = decode(BUSY, grouped(build.llama, 1, 2.0, 2.0), 1024)
    expected = 12e-6 + 136.533e-6 + 20.034e-6
    assert model.seconds(1024.0) == pytest.approx(expected, rel=1e-4)
    assert model.seconds(10_000.0) == model.seconds(1024.0)


def test_one_query_head_per_kv_head_leaves_bandwidth_unused(build: SimpleNamespace) -> None:
    # One sequence, one KV head: 8 of 132 shares of the bandwidth; two query heads split the work.
    alone = replace(build.llama, heads=1, kv_heads=1)
    shared = replace(build.llama, heads=2, kv_heads=1)
    slopes = [decode(H100, grouped(m, 1, 2.0, 2.0), 1).memory_slope for m in (alone, shared)]
    assert slopes[0] == pytest.approx(slopes[1] * 132 / 8)


def test_prefill_waits_for_its_longest_tile(build: SimpleNamespace) -> None:
    # One head, one slice of 128 tokens: a single tile, whatever other multiprocessors could do.
    lone = grouped(replace(build.llama, heads=1, kv_heads=1), 1, 2.0, 2.0)
    more = grouped(replace(build.llama, heads=64, kv_heads=1), 1, 2.0, 2.0)
    one, many = (prefill(H100, shape, 1, prompt(128, 8192)).seconds for shape in (lone, more))
    assert many < 1.5 * one


def test_narrow_kv_is_written_at_its_own_rate(build: SimpleNamespace) -> None:
    # 15 against 7.5 passes of 2 · 2 · 8 · 128 bytes per token at 3.35 TB/s: 10.0 µs per 1024 more.
    wide, narrow = (grouped(build.llama, 1, kv, 2.0) for kv in (2.0, 1.0))
    same = replace(narrow, kv_bytes=wide.kv_bytes / 2)
    assert (wide.narrow, narrow.narrow) == (False, True)
    e = replace(ACCELERATOR, prefill_narrow=ACCELERATOR.prefill_compute)
    device = replace(H100, efficiencies=e)
    gained = prefill(device, same, 1, prompt(1024)).seconds
    gained -= prefill(device, wide, 1, prompt(1024)).seconds
    assert gained == pytest.approx(7.5 * 4096 * 1024 / 3.35e12, rel=1e-9)


def test_an_unknown_number_of_multiprocessors_is_the_usual_one(build: SimpleNamespace) -> None:
    shape = grouped(build.llama, 1, 2.0, 2.0)
    unknown, usual = replace(H100, sms=0), replace(H100, sms=128)
    one, two = (prefill(device, shape, 1, prompt(4096)) for device in (unknown, usual))
    assert one.seconds == pytest.approx(two.seconds, rel=1e-12)


def test_many_query_heads_per_kv_head_turn_decode_compute_bound(build: SimpleNamespace) -> None:
    multi_query = replace(build.llama, kv_heads=1)
    pieces = decode(H100, grouped(multi_query, 1, 2.0, 2.0), 4, queries=2).pieces()
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
