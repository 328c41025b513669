"""The prefix cache against a brute-force one, and against what no cache can beat."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermesdsl.sim.prefix import EVICTIONS, Chains, PrefixCache
from hermesdsl.sim.requests import Blocks, infinite_hit_rate
from hermesdsl.sim.trace import read_trace


@dataclass
class Naive:
    """Looks at everything each time: block → [uses, last use, depth, pins]."""

    capacity: int
    eviction: str
    blocks: dict[int, list[int]] = field(default_factory=dict)
    now: int = 0

    def match(self, chain) -> int:
        held = 0
        while held < len(chain) and chain[held] in self.blocks:
            held += 1
        return held

    def use(self, chain, pins: int = 0) -> None:
        self.now += 1
        for depth, block in enumerate(chain):
            entry = self.blocks.setdefault(block, [0, 0, depth, 0])
            entry[0] += 1
            entry[1] = self.now
            entry[3] += pins

    def evict(self, count: int, keep=()) -> tuple[int, ...]:
        gone = []
        while len(gone) < count:
            free = [b for b, e in self.blocks.items() if e[3] == 0 and b not in keep]
            if not free:
                break
            uses = 1 if self.eviction == "lfu" else 0
            block = min(
                free,
                key=lambda b: (
                    uses * self.blocks[b][0], self.blocks[b][1], -self.blocks[b][2],
                ),
            )  # fmt: skip
            gone.append(block)
            del self.blocks[block]
        return tuple(gone)

    def insert(self, chain):
        held = self.match(chain)
        gone = self.evict(len(chain) - held - (self.capacity - len(self.blocks)), chain[:held])
        room = self.capacity - len(self.blocks)
        self.use(chain[: held + room])
        return tuple(chain[held : held + room]), gone


#: Texts over two letters, as chained ids: a text's id is the text itself.
texts = st.text("ab", min_size=1, max_size=6)
steps = st.lists(
    st.tuples(st.sampled_from(["insert", "acquire", "release", "evict"]), texts), max_size=60
)


def chain_of(text: str) -> list[int]:
    return [
        int("1" + text[:end].translate({97: "0", 98: "1"}), 2) for end in range(1, len(text) + 1)
    ]


@settings(max_examples=300, deadline=None)
@given(steps, st.integers(0, 9), st.sampled_from(sorted(EVICTIONS)), st.integers(1, 16))
def test_equal_to_brute_force(actions, capacity, eviction, size):
    cache, naive = PrefixCache(capacity, size, eviction), Naive(capacity, eviction)
    held: list[tuple[list[int], int]] = []
    for action, text in actions:
        chain = chain_of(text)
        if action == "insert":
            change = cache.insert(chain)
            assert (change.inserted, change.evicted) == naive.insert(chain)
        elif action == "acquire":
            tokens = cache.acquire(chain)
            assert tokens == size * naive.match(chain)
            naive.use(chain[: tokens // size], pins=1)
            held.append((chain, tokens))
        elif action == "release" and held:
            old, tokens = held.pop(len(text) % len(held))
            cache.release(old, tokens)
            naive.use(old[: tokens // size], pins=-1)
        elif action == "evict":
            assert cache.evict(len(text)) == naive.evict(len(text))
        assert set(cache) == set(naive.blocks)
        assert len(cache) <= capacity
        assert cache.match(chain) == size * naive.match(chain)
        assert cache.pinned == sum(entry[3] > 0 for entry in naive.blocks.values())
        # The invariant that makes bisection right: a predecessor is there whenever a block is.
        assert all(block // 2 in cache or block // 2 == 1 for block in cache)


@given(st.lists(texts, min_size=1, max_size=40), st.sampled_from(sorted(EVICTIONS)))
def test_without_limit_it_hits_what_no_cache_can_beat(requests, eviction):
    chains = [chain_of(text) for text in requests]
    cache = PrefixCache(10**6, 1, eviction)
    hits = 0
    for chain in chains:
        hits += cache.match(chain)
        cache.insert(chain)
    starts = np.cumsum([0, *map(len, chains)])
    blocks = Blocks(np.array([b for chain in chains for b in chain]), starts, 1)
    assert hits / len(blocks.ids) == pytest.approx(infinite_hit_rate(blocks))


@given(st.lists(texts, min_size=1, max_size=40), st.integers(0, 12))
def test_more_room_never_loses_a_hit_under_lru(requests, capacity):
    # LRU is a stack algorithm as long as whole chains fit (Mattson et al., 1970).
    hits = []
    for room in (capacity + 6, capacity + 7):
        cache = PrefixCache(room, 1)
        total = 0
        for text in requests:
            total += cache.match(chain_of(text))
            cache.insert(chain_of(text))
        hits.append(total)
    assert hits[0] <= hits[1]


def test_lru_and_lfu_by_hand():
    a, b, c = [1, 2], [3, 4], [5]
    for eviction, left in (("lru", {1, 3, 4, 5}), ("lfu", {1, 2, 3, 5})):
        cache = PrefixCache(4, 16, eviction)
        cache.insert(a)
        cache.insert(a)  # twice used
        cache.insert(b)
        # lru: a is older and its deepest block goes; lfu: b is used less.
        assert cache.insert(c).evicted == ((2,) if eviction == "lru" else (4,))
        assert set(cache) == left


def test_a_chain_longer_than_the_cache_keeps_its_front():
    cache = PrefixCache(3, 16)
    change = cache.insert([1, 2, 3, 4, 5])
    assert (change.inserted, change.evicted) == ((1, 2, 3), ())
    assert cache.match([1, 2, 3, 4, 5]) == 48


def test_held_blocks_stay():
    cache = PrefixCache(2, 16)
    cache.insert([1, 2])
    assert cache.acquire([1, 2, 9]) == 32
    assert cache.insert([3]).inserted == ()
    assert cache.evict(5) == ()
    cache.release([1, 2, 9], 32)
    assert cache.insert([3]).evicted == (2,)


def test_no_room_at_all():
    cache = PrefixCache(0, 16)
    assert cache.insert([1, 2]).inserted == ()
    assert cache.match([1]) == 0


def test_ids_of_texts_known_by_identity():
    chains = Chains(16)
    first = chains.blocks("system", 40, ("session", 1), 100)
    again = chains.blocks("system", 40, ("session", 1), 130)
    other = chains.blocks("system", 40, ("session", 2), 100)
    # 40 tokens fill two blocks of 16; the third, where the prefix ends, is the session's own.
    assert len(first) == 6
    assert again[:6] == first
    assert len(again) == 8
    assert first[:2] == other[:2]
    assert not set(first[2:]) & set(other[2:])
    assert chains.blocks(None, 0, ("session", 1), 48)[0] not in {*first, *other}
    assert chains.blocks("system", 40, ("session", 1), 15) == []
    assert chains.blocks("system", 40, ("session", 1), 20) == first[:1]


streams = st.tuples(st.integers(-1, 2), st.integers(0, 3), st.integers(0, 200))


@given(st.lists(streams, max_size=20), st.integers(1, 16))
def test_ids_are_equal_where_the_texts_are(rows, size):
    chains = Chains(size)
    lengths = {-1: 0, 0: 13, 1: 32, 2: 50}

    def text(prefix, stream, tokens):
        shared = [("p", prefix, i) for i in range(lengths[prefix])]
        own = [("s", stream, i) for i in range(tokens)]
        return (shared + own)[:tokens]

    made = []
    for prefix, stream, tokens in rows:
        key = None if prefix < 0 else prefix
        made.append((chains.blocks(key, lengths[prefix], (prefix, stream), tokens),
                     text(prefix, (prefix, stream), tokens)))  # fmt: skip
    for ids, words in made:
        assert len(ids) == len(words) // size
        for other, theirs in made:
            for place in range(min(len(ids), len(other))):
                end = size * (place + 1)
                assert (ids[place] == other[place]) == (words[:end] == theirs[:end])


@pytest.mark.parametrize(
    ("name", "rate"), [("mooncake_conversation", 0.366), ("mooncake_synthetic", 0.640)]
)
def test_the_mooncake_traces_hit_what_is_published(name, rate):
    file = Path(__file__).parents[2] / f"../shared/data/traces/{name}.jsonl.gz"
    if not file.exists():
        pytest.skip(f"{name} is not beside this checkout")
    trace = read_trace(str(file))
    assert trace.blocks is not None
    assert trace.blocks.size == 512
    assert round(infinite_hit_rate(trace.blocks), 3) == rate
    cache = PrefixCache(10**9, 512)
    hits = 0
    for row in range(len(trace)):
        chain = trace.blocks.row(row).tolist()
        hits += cache.match(chain) // 512
        cache.insert(chain)
    # Chained as its ids are: no block is there without those before it.
    assert hits / len(trace.blocks.ids) == infinite_hit_rate(trace.blocks)


def test_no_blocks_no_hits():
    assert infinite_hit_rate(Blocks(np.empty(0, np.int64), np.zeros(1, np.int64), 16)) == 0.0


@pytest.mark.parametrize(("capacity", "size"), [(-1, 16), (4, 0)])
def test_impossible_caches_are_refused(capacity, size):
    with pytest.raises(ValueError, match="a cache of"):
        PrefixCache(capacity, size)


def test_unknown_eviction():
    with pytest.raises(KeyError):
        PrefixCache(4, 16, "fifo")


def test_wrong_releases_are_refused():
    cache = PrefixCache(4, 16)
    cache.insert([1, 2, 3])
    with pytest.raises(ValueError, match="released blocks that nobody holds"):
        cache.release([1, 2, 3], 16)
    cache.acquire([1, 2, 3])
    with pytest.raises(ValueError, match="front of a chain whose end is still held"):
        cache.release([1, 2, 3], 32)
    cache.release([1, 2, 3], 48)
    assert cache.pinned == 0
