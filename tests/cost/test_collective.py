"""Collectives against their closed forms, and what an engine adds to them."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost import collective as c
from hermesdsl.cost.constants import ACCELERATOR, NONE, VLLM
from hermesdsl.graph.types import Fabric

EIGHT = Fabric(8, 1e-6, 450e9, 2)
FAR = Fabric(16, 5e-6, 50e9, 4)
V = 16 * 2**20
PLAIN = replace(
    ACCELERATOR, link=1.0, link_few=0.0, link_fill=0.0, pair=1.0, pair_fill=0.0, direct=1.0,
    direct_one=1.0,
)  # fmt: skip


def test_closed_forms() -> None:
    # n = 8, α = 1 µs, 16 MiB at 450 GB/s: V/bw = 37.283 µs.
    unit = V / 450e9
    assert unit == pytest.approx(37.283e-6, rel=1e-4)
    assert c.ring_all_reduce(EIGHT, V) == pytest.approx(14e-6 + 14 / 8 * unit, rel=1e-12)
    assert c.ring_pass(EIGHT, V) == pytest.approx(7e-6 + 7 / 8 * unit, rel=1e-12)
    assert c.one_shot_all_reduce(EIGHT, V) == pytest.approx(1e-6 + 7 * unit, rel=1e-12)
    assert c.two_shot_all_reduce(EIGHT, V) == pytest.approx(2e-6 + 14 / 8 * unit, rel=1e-12)
    assert c.p2p(EIGHT, V) == pytest.approx(1e-6 + unit, rel=1e-12)


def test_all_reduce_is_reduce_scatter_then_all_gather() -> None:
    assert c.ring_all_reduce(FAR, V) == pytest.approx(2 * c.ring_pass(FAR, V), rel=1e-12)


def test_without_overheads_a_far_group_gets_the_ring_forms() -> None:
    links = c.Collectives(FAR, PLAIN, NONE.overheads)
    assert links.all_reduce("a", 1, V).seconds == c.ring_all_reduce(FAR, V)
    for op in (links.all_gather, links.reduce_scatter, links.all_to_all):
        assert op("a", 1, V).seconds == c.ring_pass(FAR, V)
    assert links.p2p("a", 1, V).seconds == c.p2p(FAR, V)


def test_near_members_reduce_small_messages_directly() -> None:
    near = c.Collectives(EIGHT, ACCELERATOR, VLLM.overheads)
    # 16 KiB: launch 3.8 µs, one hop, seven buffers at 60 % of 450 GB/s = 0.42 µs.
    small = near.all_reduce("a", 1, 16384.0)
    assert small.seconds == pytest.approx(5.22e-6, rel=0.01)
    assert small.bound == "launch"
    assert near.all_reduce("a", 1, V).bound == "network"
    ring = VLLM.overheads.collective + c.ring_all_reduce(EIGHT, 16384.0)
    assert small.seconds < ring / 2


def test_latency_and_transfer_overlap_in_part() -> None:
    # The best number of parts: (√A + √B)², A = 6 µs + 14 hops of 1 µs, B = 14/8 · V/bw = 65.25 µs.
    best = replace(PLAIN, link_fill=1.0)
    ring = c.Collectives(replace(EIGHT, hops=4), best, VLLM.overheads).all_reduce("a", 1, V)
    assert ring.seconds == pytest.approx((20e-6**0.5 + 65.245e-6**0.5) ** 2, rel=1e-4)


def test_few_members_reach_less_of_their_links() -> None:
    few = replace(PLAIN, link_few=0.6)
    times = [
        c.Collectives(Fabric(n, 0.0, 450e9, 4), few, NONE.overheads).all_gather("a", 1, V).seconds
        for n in (2, 8)
    ]
    # (n−1)/n · V/bw over 1 − 0.6/n of it.
    assert times[0] == pytest.approx(V / 450e9 * 0.5 / 0.7, rel=1e-12)
    assert times[1] == pytest.approx(V / 450e9 * 0.875 / 0.925, rel=1e-12)


def test_messages_above_the_limit_of_the_direct_way_take_the_ring() -> None:
    near = c.Collectives(EIGHT, ACCELERATOR, VLLM.overheads)
    far = c.Collectives(replace(EIGHT, hops=4), ACCELERATOR, VLLM.overheads)
    limit = float(c.DIRECT_BYTES)
    assert near.all_reduce("a", 1, limit).seconds < far.all_reduce("a", 1, limit).seconds
    assert near.all_reduce("a", 1, limit + 1).seconds == far.all_reduce("a", 1, limit + 1).seconds


@pytest.mark.parametrize("fabric", [Fabric(16, 1e-6, 450e9, 2), Fabric(8, 1e-6, 450e9, 4)])
def test_large_or_distant_groups_do_not_reduce_directly(fabric: Fabric) -> None:
    op = c.Collectives(fabric, ACCELERATOR, VLLM.overheads).all_reduce("a", 1, 1024.0)
    assert op.seconds >= VLLM.overheads.collective + 2 * (fabric.size - 1) * fabric.alpha


def test_one_member_is_free() -> None:
    alone = c.Collectives(Fabric(1, 0.0, inf), ACCELERATOR, VLLM.overheads)
    for op in (alone.all_reduce, alone.all_gather, alone.all_to_all, alone.p2p):
        assert op("a", 1, V).seconds == 0.0
    assert c.p2p(Fabric(1, 0.0, inf), V) == 0.0


@given(
    size=st.integers(2, 64),
    volume=st.floats(0, 1e10),
    more=st.floats(0, 1e9),
    factor=st.floats(1.0, 10.0),
)
def test_monotone(size: int, volume: float, more: float, factor: float) -> None:
    slow = c.Collectives(Fabric(size, 1e-6, 50e9, 2), ACCELERATOR, VLLM.overheads)
    fast = c.Collectives(Fabric(size, 1e-6, 50e9 * factor, 2), ACCELERATOR, VLLM.overheads)
    for name in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p"):
        base = getattr(slow, name)("a", 1, volume).seconds
        assert getattr(slow, name)("a", 1, volume + more).seconds >= base
        assert getattr(fast, name)("a", 1, volume).seconds <= base
