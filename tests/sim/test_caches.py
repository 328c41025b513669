"""Caches of KV: lookups, queues, writes, scopes and what is counted, on systems built by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cached import BLOCK, BLOCK_BYTES, LINK_BYTES, LINK_S, PER_TOKEN, Shelf, cached, fetched
from cached import sharing as load
from cached import simulated as run
from hand_built import pipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reference import assert_same

from hermesdsl.cost.store import Tier as StoreModel
from hermesdsl.cost.store import expected
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec, StageNode
from hermesdsl.sim.caches import BlockStore, TierServer
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.requests import Blocks


def access(tokens: int, shelf: Shelf = Shelf()) -> float:  # noqa: B008
    """Seconds until `tokens` tokens are read and have come, nothing else in the way."""
    size = tokens * PER_TOKEN
    way = StoreModel(shelf.latency, shelf.bandwidth, LINK_S, LINK_BYTES)
    return way.access(size)


# --- the blocks of a store -----------------------------------------------------------------------


def test_the_least_recently_used_block_leaves_first():
    store = BlockStore(4, "lru")
    assert store.insert([1, 2]).inserted == (1, 2)
    assert store.insert([3, 4]).evicted == ()
    store.use([1, 2])
    # 3 and 4 were used before 1 and 2; of one text, the end leaves first.
    assert store.insert([5]).evicted == (4,)
    assert store.insert([6, 7]).evicted == (3, 2)
    assert [block in store for block in range(1, 8)] == [True, False, False, False, True, True,
                                                         True]  # fmt: skip


def test_the_least_frequently_used_block_leaves_first():
    store = BlockStore(3, "lfu")
    store.insert([1, 2])
    store.use([1, 2])
    store.insert([3])
    # 3 was used once, the others twice.
    assert store.insert([4]).evicted == (3,)
    store.use([4])
    store.use([4])
    # 4 three times by now; 1 and 2 twice, at one time: the end of the text goes.
    assert store.insert([5]).evicted == (2,)


def test_a_store_may_hold_the_end_of_a_text_alone():
    store = BlockStore(8, "lru")
    store.insert([12, 13])
    assert (store.leading([11, 12, 13]), store.leading([11, 12, 13, 14], 1)) == (0, 2)


def test_pinned_blocks_stay_and_what_does_not_fit_is_left_out():
    store = BlockStore(2, "lru")
    store.insert([1, 2])
    store.pin([1])
    change = store.insert([3, 4])
    assert (change.inserted, change.evicted) == ((3,), (2,))
    store.unpin([1])
    assert store.insert([5]).evicted == (1,)


# --- one store: time -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latency", "bandwidth", "mebibytes", "milliseconds"),
    [
        # A5, latency + bytes/bandwidth in SI: NVMe, then DDR4.
        (40e-6, 8e9, 16, 2.137), (40e-6, 8e9, 64, 8.429), (40e-6, 8e9, 1024, 134.26),
        (0.08e-6, 200e9, 16, 0.0840), (0.08e-6, 200e9, 64, 0.3356), (0.08e-6, 200e9, 1024, 5.3688),
    ],
)  # fmt: skip
def test_storage_as_measured(latency, bandwidth, mebibytes, milliseconds):
    kernel = Kernel()
    ends: list[float] = []
    server = TierServer(kernel, latency, bandwidth)
    server.serve(mebibytes * 2**20, 0.0, 1, lambda now, key: ends.append(now))
    kernel.run()
    assert ends[0] * 1e3 == pytest.approx(milliseconds, rel=5e-3)


def test_a_fetch_alone_takes_tier_and_links():
    done = run(cached(Shelf()), load([0.0, 50.0], 7))
    # 100 tokens: 0.5 s + 100 kB at 1 MB/s, then 0.125 s + 100 kB at 400 kB/s.
    assert access(100) == 0.5 + 0.1 + 0.125 + 0.25
    assert fetched(done) == [(0, 0.0), (100, pytest.approx(0.975, abs=1e-12))]
    columns = done.requests
    # It goes on to the prefill at once, which reads only what is missing.
    assert columns["chat.read.enter_s"][1] == columns["chat.fetch.end_s"][1]
    assert done.steps["prefill_tokens"].tolist() == [105, 5]


def test_fetches_queue_at_their_store_in_order():
    done = run(cached(Shelf()), load([0.0, 50.0, 50.0, 50.25], 7))
    # Each takes 0.6 s of the store; the links of one do not wait for another's.
    starts = [50.0, 50.6, 51.2]
    columns = done.requests
    np.testing.assert_allclose(columns["chat.fetch.start_s"][1:], starts, rtol=0, atol=1e-9)
    ends = [start + access(100) for start in starts]
    np.testing.assert_allclose(columns["chat.fetch.end_s"][1:], ends, rtol=0, atol=1e-9)
    # Three reads, and one write: the others let go of what was there already.
    (tier,) = done.tiers
    assert tier.busy_s == pytest.approx(4 * 0.6)
    assert (tier.read_bytes, tier.hits, tier.asked) == (3 * 100 * PER_TOKEN, 300, 400)


def test_what_is_being_written_is_not_there_yet():
    # Request 0 ends at 1 s; its 100 tokens are written at 1 + 0.375 (links) + 0.6 (store).
    at = 1.0 + 0.375 + 0.6
    done = run(cached(Shelf()), load([0.0, at - 1 / 64, at + 1 / 64], [7, 7, 7]))
    assert [tokens for tokens, _ in fetched(done)] == [0, 0, 100]


def test_what_is_on_its_way_to_a_store_is_not_sent_again():
    # Both engines let go of one text at 1 s, and of a text behind it: 60 tokens come twice.
    rows = load([0.0, 0.0, 30.0], [-1, -1, -1], prompt=[60, 80, 90])
    ids = np.array([1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 4, 9])
    rows = replace(rows, blocks=Blocks(ids, np.array([0, 3, 7, 12]), 20))
    done = run(cached(Shelf(), engines=2), rows)
    assert [tokens for tokens, _ in fetched(done)] == [0, 0, 80]
    (tier,) = done.tiers
    assert tier.written == 60 + 20 + 10
    # Three writes and one read, of 60, 20 and 10 kB, and of 80.
    assert tier.busy_s == pytest.approx(4 * 0.5 + 0.06 + 0.02 + 0.01 + 0.08)


def test_the_last_token_is_left_to_the_prefill():
    # 100 tokens in front and a prompt of 10 that the session repeats word for word: 11 blocks.
    first = replace(load([0.0, 50.0], 7, prompt=10), session=np.array([3, 3]), grows=True)
    done = run(cached(Shelf()), first)
    assert [tokens for tokens, _ in fetched(done)] == [0, 100]


# --- several tiers -------------------------------------------------------------------------------


def test_what_the_first_tier_evicts_is_written_to_the_next_and_found_there():
    near, far = Shelf(blocks=10, latency=0.25), Shelf(bandwidth=2e5, latency=1.0)
    sizes = {1: 100, 2: 60}
    # Prefix 1 fills the near tier; prefix 2 takes the place of the last six of its ten blocks.
    done = run(cached(near, far), load([0.0, 20.0, 60.0], [1, 2, 1], sizes, prompt=5))
    assert fetched(done)[:2] == [(0, 0.0), (0, 0.0)]
    tokens, seconds = fetched(done)[2]
    assert tokens == 100
    # Four blocks from the near tier and six from the far one, side by side: the last one counts.
    assert seconds == pytest.approx(max(access(40, near), access(60, far)))
    assert seconds == pytest.approx(1.0 + 0.3 + 0.125 + 0.15)
    one, two = done.tiers
    assert (one.asked, one.hits, two.asked, two.hits) == (100 + 60 + 100, 40, 220 - 0, 60)
    assert (one.written, two.written) == (100 + 60 + 60, 60 + 60)
    assert (one.evicted, two.evicted) == (120, 0)
    assert one.peak_bytes == 10 * BLOCK_BYTES == one.capacity_bytes


def test_a_block_in_both_tiers_is_read_from_the_first():
    done = run(cached(Shelf(blocks=4), Shelf()), load([0.0, 20.0, 50.0], [1, 1, 1], 80))
    # Only the first four blocks fit; what is beyond was never written.
    assert [tokens for tokens, _ in fetched(done)] == [0, 40, 40]
    assert done.tiers[1].written == 0


def test_lookups_stop_at_the_first_gap():
    # Both prefixes fill the near tier of 6 blocks; without a second tier the ends are lost.
    done = run(cached(Shelf(blocks=6)), load([0.0, 20.0, 40.0], [1, 2, 1], {1: 60, 2: 40}))
    assert [tokens for tokens, _ in fetched(done)] == [0, 0, 20]


def test_nothing_is_written():
    done = run(cached(Shelf(), write="none"), load([0.0, 20.0], 1))
    assert [tokens for tokens, _ in fetched(done)] == [0, 0]
    assert done.tiers[0].written == 0


def test_no_tiers_at_all():
    done = run(cached(), load([0.0, 20.0], 1))
    assert fetched(done) == [(0, 0.0), (0, 0.0)]
    assert done.tiers == ()


# --- who reaches what ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stores", "found"),
    [(1, [0, 100, 100, 100]), (2, [0, 100, 0, 100]), (4, [0, 0, 0, 0])],
    ids=["all", "node", "client"],
)  # fmt: skip
def test_a_store_serves_the_clients_in_its_reach(stores: int, found: list[int]):
    # Round robin: each of four engines serves one of the requests, one after the other.
    built = cached(Shelf(stores=stores), engines=4)
    done = run(built, load([0.0, 20.0, 40.0, 60.0], 1))
    assert [tokens for tokens, _ in fetched(done)] == found
    assert done.tiers[0].stores == stores


def test_the_prefill_runs_where_its_kv_was_brought():
    built = cached(Shelf(), engines=3)
    done = run(built, load([0.0, 20.0, 40.0, 60.0], 1))
    clients = [done.requests[f"chat.{stage}.client"].tolist() for stage in ("fetch", "read")]
    assert clients == [[0, 1, 2, 0]] * 2
    np.testing.assert_array_equal(done.visits["client"], np.repeat([0, 1, 2, 0], 3))


def test_a_client_out_of_reach_is_not_asked():
    built = cached(Shelf(), engines=2)
    (tier,) = built.caches["kv"].tiers
    cache = replace(built.caches["kv"], tiers=(replace(tier, reach={"llm[1]": 0}),))
    done = run(replace(built, caches={"kv": cache}), load([0.0, 20.0, 40.0, 60.0], 1))
    assert [tokens for tokens, _ in fetched(done)] == [0, 0, 0, 100]
    assert done.tiers[0].asked == 200


# --- what is let go of ---------------------------------------------------------------------------


def test_a_later_turn_finds_what_earlier_turns_read_and_wrote():
    # Turn 1 has a prompt of 25 and an answer of 16: KV of 40 tokens, the last has none yet.
    turns = load([0.0, np.inf], -1, prompt=[25, 7], output=[16, 1])
    turns = replace(
        turns, session=np.array([5, 5]), after=np.array([-1, 0]), delay=np.array([0.0, 30.0]),
        turn=np.array([1, 2], np.int32), grows=True,
    )  # fmt: skip
    done = run(cached(Shelf()), turns)
    assert [tokens for tokens, _ in fetched(done)] == [0, 40]
    assert done.requests["context_tokens"].tolist() == [25, 25 + 16 + 7]


def test_blocks_of_a_trace_are_what_the_trace_says():
    ids = np.array([1, 2, 1, 3, 9, 2])
    rows = replace(
        load([0.0, 30.0, 60.0], -1, prompt=[40, 40, 40]),
        blocks=Blocks(ids, np.array([0, 2, 4, 6]), 20),
    )
    done = run(cached(Shelf()), rows)
    # Blocks of 20 are cut in two. Row 1 shares the first; row 2 begins anew: its 2 is another text.
    assert [tokens for tokens, _ in fetched(done)] == [0, 20, 0]


def test_branches_of_a_request_offer_what_they_share():
    inner = pipeline("chat.try", StageNode("chat.try.write", "Generate", "llm", {"tokens": 30}))
    graph = pipeline(
        "chat",
        StageNode("chat.fetch", "KvFetch", "llm", {"cache": "kv"}),
        StageNode("chat.read", "Prefill", "llm"),
        StageNode("chat.try", "Try", None, inner=inner, replicas=3, join=Spec("first")),
    )
    turns = load([0.0, np.inf], -1, prompt=[25, 7], output=[1, 1])
    turns = replace(
        turns, session=np.array([5, 5]), after=np.array([-1, 0]), delay=np.array([0.0, 90.0]),
        turn=np.array([1, 2], np.int32), grows=True,
    )  # fmt: skip
    done = run(cached(Shelf(), graph=graph), turns)
    # Three answers to one prompt of 25: which of them the conversation goes on with, none knows
    # when its KV is let go of.
    assert [tokens for tokens, _ in fetched(done)] == [0, 20]


# --- fetches that overlap the prefill ------------------------------------------------------------


@pytest.mark.parametrize(("latency", "seconds"), [(0.5, 0.975), (2.0, 2.475)])
def test_a_prefill_may_run_while_its_kv_comes(latency: float, seconds: float):
    done = run(cached(Shelf(latency=latency), overlap=True), load([0.0, 50.0], 7, output=3))
    columns = done.requests
    assert fetched(done)[1] == (100, pytest.approx(seconds))
    assert columns["chat.read.enter_s"][1] == columns["chat.fetch.enter_s"][1] == 50.0
    # The prompt's only step takes a second; the first token waits for the later of the two.
    first = max(51.0, 50.0 + seconds)
    assert columns["first_token_s"][1] == pytest.approx(first)
    assert columns["finish_s"][1] == pytest.approx(first + 2)
    assert done.steps["prefill_tokens"].sum() == 105 + 5


def test_the_batch_does_not_wait_for_kv_that_is_on_its_way():
    rows = load([0.0, 49.5, 50.0], [7, -1, 7], output=[1, 10, 2])
    built = cached(Shelf(latency=3.0), overlap=True, options={"batching": Spec("mixed")})
    done = run(built, rows)
    columns = done.requests
    # Request 1 begins at 49.5 and has a token every second, from 50.5 on. Request 2 is read from
    # 50.5 to 51.5; its KV comes at 50 + 3.475, and its tokens with the boundaries after that.
    assert columns["finish_s"][1] == 59.5
    assert columns["first_token_s"][2] == 53.5
    assert columns["finish_s"][2] == 54.5


def test_a_cancelled_prefill_lets_go_of_its_seat_when_its_kv_has_come():
    inner = pipeline(
        "chat.try",
        StageNode("chat.try.fetch", "KvFetch", "llm", {"cache": "kv"}),
        StageNode("chat.try.write", "Generate", "llm", {"tokens": Spec("uniform", {
            "low": 1.0, "high": 9.0})}),
    )  # fmt: skip
    graph = pipeline(
        "chat", StageNode("chat.try", "Try", None, inner=inner, replicas=3, join=Spec("first"))
    )
    built = cached(
        Shelf(stores=3, bandwidth=2e4), engines=3, graph=graph, overlap=True,
        options={"max_batch": 2},
    )  # fmt: skip
    rows = load(np.arange(20) * 3.0, 1, 60)
    one, other = run(built, rows), run(built, rows, reference=True)
    assert_same(one, other)
    assert one.counts["completed"] == 20
    assert one.tiers[0].hits > 0


# --- fixed hit rates -----------------------------------------------------------------------------


def test_fixed_hit_rates_follow_the_recursion():
    # A4: two tiers, 256 GB/s, 20 us, h 0.4, and 32 GB/s, 100 us, h 0.8; the rest is recomputed.
    one = Shelf(bandwidth=256e9, latency=20e-6, hit_rate=0.4)
    two = Shelf(bandwidth=32e9, latency=100e-6, hit_rate=0.8)
    n = 2000
    done = run(
        cached(one, two), load(np.arange(n) * 10.0, np.arange(n), dict.fromkeys(range(n), 100))
    )
    found = fetched(done)
    near, far = access(100, one), access(100, two)
    seconds = np.array([s for _, s in found])
    first, second = np.abs(seconds - near) < 1e-9, np.abs(seconds - far) < 1e-9
    missed = seconds == 0
    assert (first | second | missed).all()
    np.testing.assert_array_equal([tokens for tokens, _ in found], np.where(missed, 0, 100))
    h = [first.mean(), second.sum() / (~first).sum()]
    tiers = [
        StoreModel(s.latency, s.bandwidth, LINK_S, LINK_BYTES, rate)
        for s, rate in zip((one, two), h, strict=True)
    ]
    assert seconds.mean() == pytest.approx(expected(tiers, 100 * PER_TOKEN, 0.0), abs=1e-9)
    # Binomial shares: four standard errors.
    assert abs(h[0] - 0.4) < 4 * np.sqrt(0.4 * 0.6 / n)
    assert abs(h[1] - 0.8) < 4 * np.sqrt(0.8 * 0.2 / (0.6 * n))
    assert [(t.asked, t.hits) for t in done.tiers] == [
        (100 * n, 100 * int(first.sum())), (100 * int((~first).sum()), 100 * int(second.sum())),
    ]  # fmt: skip


def test_a_fixed_hit_rate_reuses_no_more_than_was_there_before():
    sure = Shelf(hit_rate=1.0)
    assert [t for t, _ in fetched(run(cached(sure), load([0.0, 50.0], -1, prompt=95)))] == [0, 0]
    ids = np.array([1, 2, 1, 3])
    rows = replace(load([0.0, 50.0], -1, prompt=40), blocks=Blocks(ids, np.array([0, 2, 4]), 20))
    assert [t for t, _ in fetched(run(cached(sure), rows))] == [0, 20]


def test_draws_of_a_hit_rate_belong_to_the_request():
    half = Shelf(hit_rate=0.5)
    some = load(np.arange(40) * 10.0, 1)
    first = fetched(run(cached(half), some))
    assert first == fetched(run(cached(half), some))
    more = load(np.arange(80) * 10.0, 1)
    assert fetched(run(cached(half), more))[:40] == first
    assert {tokens for tokens, _ in first} == {0, 100}


# --- must fail -----------------------------------------------------------------------------------


def refusal(built, requests=None) -> list[str]:
    with pytest.raises(SpecError) as caught:
        run(built, load([0.0], 1) if requests is None else requests)
    return [f"{d.code}: {d.message}" for d in caught.value.diagnostics]


def test_an_unknown_cache():
    built = cached(Shelf())
    (found,) = refusal(replace(built, caches={"kw": built.caches["kv"]}))
    assert found == "HMS505: unknown cache `kv` of stage `chat.fetch`"


def test_kv_for_no_prefill():
    graph = pipeline("chat", StageNode("chat.read", "Prefill", "llm"),
                     StageNode("chat.fetch", "KvFetch", "llm", {"cache": "kv"}),
                     StageNode("chat.write", "Decode", "llm"))  # fmt: skip
    assert refusal(cached(Shelf(), graph=graph)) == [
        "HMS505: stage `chat.fetch` brings KV that no prefill behind it goes on from"
    ]


_FETCH = StageNode("chat.fetch", "KvFetch", "llm", {"cache": "kv"})
BESIDE = pipeline("chat", _FETCH, StageNode("chat.check", "Guard", "llm"),
                  StageNode("chat.write", "Generate", "llm"))  # fmt: skip


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"write": "on_evict"}, "`write = on_evict` of cache `kv`"),
        ({"overlap": True, "graph": BESIDE},
         "`overlap = true` of cache `kv` with something between `chat.fetch` and the prefill"),
    ],
)  # fmt: skip
def test_what_cannot_be_executed_yet(more, message):
    expected_text = f"HMS506: {message} cannot be executed yet"
    assert expected_text in refusal(cached(Shelf(), **more))


def test_a_store_that_no_link_leads_to():
    built = cached(Shelf())
    built.hardware.remove_edge("bus", "llm[0].gpu")
    (found,) = refusal(built)
    assert found.startswith("HMS408")


def test_a_store_without_room_for_one_block():
    assert refusal(cached(Shelf(blocks=0))) == [
        "HMS407: tier `t0` has 0 MB, less than one block of 10 tok, 0.01 MB"
    ]


def test_blocks_of_a_trace_that_do_not_divide():
    rows = replace(load([0.0], -1, prompt=30), blocks=Blocks(np.array([1]), np.array([0, 1]), 15))
    assert refusal(cached(Shelf()), rows) == [
        "HMS601: cache `kv` has blocks of 10 tok, the trace of workload `w` of 15 tok: neither "
        "divides the other"
    ]


# --- whatever is offered -------------------------------------------------------------------------

shelves = st.builds(
    Shelf,
    blocks=st.sampled_from([1, 3, 8, 20, None]),
    stores=st.sampled_from([1, 2]),
    bandwidth=st.sampled_from([2e4, 1e5, 1e6]),
    latency=st.sampled_from([0.0, 0.25, 2.0]),
    hit_rate=st.sampled_from([None, None, None, 0.5]),
)


@settings(max_examples=60, deadline=None)
@given(
    tiers=st.lists(shelves, min_size=1, max_size=3),
    arrivals=st.lists(st.integers(0, 60), min_size=1, max_size=14),
    prefixes=st.lists(st.integers(-1, 2), min_size=14, max_size=14),
    outputs=st.lists(st.integers(1, 25), min_size=14, max_size=14),
    eviction=st.sampled_from(["lru", "lfu"]),
    overlap=st.booleans(),
)
def test_blocks_are_conserved_and_both_forms_agree(
    tiers, arrivals, prefixes, outputs, eviction, overlap
):
    n = len(arrivals)
    rows = load(np.sort(np.array(arrivals) / 2), prefixes[:n], {0: 30, 1: 64, 2: 110}, 7,
                outputs[:n])  # fmt: skip
    built = cached(*tiers, engines=2, options={"max_batch": 3}, eviction=eviction,
                   overlap=overlap)  # fmt: skip
    # The checks at the end of a run hold written, evicted and held blocks against each other.
    one, other = run(built, rows), run(built, rows, reference=True)
    assert_same(one, other)
    assert one.tiers == other.tiers
    for tier in one.tiers:
        assert tier.hits <= tier.asked
        assert tier.evicted <= tier.written
        assert tier.peak_bytes <= tier.capacity_bytes
        assert tier.read_bytes == tier.hits * PER_TOKEN
    assert sum(tier.hits for tier in one.tiers) == one.requests["cached_tokens"].sum()
    assert one.tiers[0].asked % BLOCK == 0
