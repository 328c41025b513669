"""Access to stored KV against hand-computed and published times (oracles.md A3 to A5)."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost.store import Tier, expected, miss_rate

KIB, MIB, GIB = 2**10, 2**20, 2**30
GB = 1e9
#: Llama-3.1-70B in fp8: 80 layers × 2 × 8 × 128 values.
PER_TOKEN = 160 * KIB
A = Tier(0.1e-3, 128 * GB, 0.5e-3, 128 * GB)
B = Tier(0.1e-3, 32 * GB, 1e-3, 16 * GB)
C = Tier(2e-3, 2 * GB, 5e-3, 8 * GB)
D_SLOW = Tier(2e-3, 2 * GB, 20e-3, 1 * GB)
D_FAST = Tier(2e-3, 2 * GB, 20e-3, 128 * GB)
TIERS = [A, B, C, D_SLOW, D_FAST]


def published_ms(tier: Tier, tokens: int) -> float:
    """As the published tool counts: MiB divided by GB/s is taken for milliseconds."""
    mib = tokens * PER_TOKEN / MIB
    moved = mib / (tier.bandwidth / GB) + mib / (tier.link_bandwidth / GB)
    return moved + 1e3 * (tier.latency + tier.link_latency)


@pytest.mark.parametrize(
    ("tokens", "si", "tool"),
    [
        (4096, [11.1, 64.0, 426.4, 1028.6, 362.8], [10.6, 61.1, 407, 982, 347]),
        (24_576, [63.5, 378.6, 2523.6, 6061.8, 2066.7], [60.6, 361, 2407, 5782, 1972]),
    ],
)
def test_a3_unloaded_fetch(tokens, si, tool):
    # 4,096 tokens are 671.09 MB = 640 MiB. Tier A: 0.1 + 5.243 + 0.5 + 5.243 = 11.086 ms.
    for tier, right, printed in zip(TIERS, si, tool, strict=True):
        assert 1e3 * tier.access(tokens * PER_TOKEN) == pytest.approx(right, rel=0.01)
        assert published_ms(tier, tokens) == pytest.approx(printed, rel=0.01)


def test_a4_two_tiers_by_hand():
    near = Tier(20e-6, 256 * GB, hit_rate=0.4)
    far = Tier(100e-6, 32 * GB, hit_rate=0.8)
    size, recompute = 1 * GB, 0.25
    # 20 µs + 3.90625 ms; 100 µs + 31.25 ms; what neither has is 0.6 · 0.2 = 0.12.
    by_hand = 0.4 * 3.92625e-3 + 0.6 * (0.8 * 31.35e-3 + 0.2 * recompute)
    assert expected([near, far], size, recompute) == pytest.approx(by_hand, rel=1e-15)
    assert miss_rate([near, far]) == pytest.approx(0.12)
    flat = 0.4 * 3.92625e-3 + 0.48 * 31.35e-3 + 0.12 * recompute
    assert expected([near, far], size, recompute) == pytest.approx(flat, rel=1e-12)


@pytest.mark.parametrize(
    ("tier", "size", "fio_ms", "model_ms", "tool_ms"),
    [
        (Tier(40e-6, 8 * GB), 16 * MIB, 1.666, 2.137, 2.04),
        (Tier(40e-6, 8 * GB), 64 * MIB, 7.98, 8.429, 8.04),
        (Tier(40e-6, 8 * GB), 1 * GIB, 123.2, 134.26, 128.0),
        (Tier(0.08e-6, 200 * GB), 16 * MIB, 0.0746, 0.0840, 0.0801),
        (Tier(0.08e-6, 200 * GB), 64 * MIB, 0.285, 0.3356, 0.320),
        (Tier(0.08e-6, 200 * GB), 1 * GIB, 4.494, 5.3688, 5.120),
    ],
)
def test_a5_stores_measured_by_fio(tier, size, fio_ms, model_ms, tool_ms):
    got = 1e3 * tier.access(size)
    assert got == pytest.approx(model_ms, rel=0.005)
    assert size / MIB / (tier.bandwidth / GB) + 1e3 * tier.latency == pytest.approx(
        tool_ms, rel=0.005
    )
    # The data sheet's bandwidth is below what fio saw: the model is slower, by 5 to 30 %.
    assert 1.05 < got / fio_ms < 1.3


def test_recompute_alone_and_a_tier_that_never_misses():
    assert expected([], 1e9, 0.3) == 0.3
    assert expected([A], 1e9, inf) == inf or expected([A], 1e9, 1e300) == A.access(1e9)
    assert expected([Tier(0, 1.0, hit_rate=0.0)], 1e9, 0.3) == 0.3


shares = st.floats(0, 1)
rates = st.floats(1e6, 1e12)


@given(shares, shares, rates, rates, st.floats(0, 1e10), st.floats(1.0, 10.0))
def test_a4_monotone(h1, h2, bw1, bw2, size, factor):
    def mean(h=h1, bw=bw1, s=size):
        return expected([Tier(0, bw, hit_rate=h), Tier(0, bw2, hit_rate=h2)], s, worst)

    # Recomputing takes longer than any tier: then more hits are never worse.
    worst = factor * size * factor / min(bw1, bw2)
    tiny = 1e-9 * (worst + 1e-12)
    assert mean(bw=bw1 * factor) <= mean() + tiny
    assert mean(s=size * factor) >= mean() - tiny
    if bw1 >= bw2:
        assert mean(h=min(1.0, h1 * factor)) <= mean() + tiny


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((-1.0, 1.0), "a latency of -1.0 s"),
        ((inf, 1.0), "it must be finite"),
        ((0.0, 0.0), "a bandwidth must be above zero"),
        ((0.0, 1.0, 0.0, -2.0), "a bandwidth must be above zero"),
        ((0.0, 1.0, 0.0, 1.0, 1.5), "a hit rate of 1.5"),
    ],
)
def test_impossible_tiers_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Tier(*values)
