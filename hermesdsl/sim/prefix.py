"""A cache of prefix blocks: which blocks of KV are there, which leave when room is needed.

A block id stands for its own text and all text before it (chained), so a block is of use only if
its predecessors are there too. The cache keeps that invariant: a block never leaves before those
that continue it. Knows no engine, tier, byte or clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import Protocol

#: Bits of a block id below the number of its namespace: the place in the text.
_PLACE_BITS = 32


class Chains:
    """Block ids for texts known by identity instead of content.

    A request's text is its shared prefix followed by its own stream: the growing text of its
    session, or text of its own. Same identity, same text: block i of a stream is id
    (namespace << 32) + i, with a namespace for every prefix, and for every stream behind a prefix.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._namespaces: dict[Hashable, int] = {}

    def blocks(
        self, prefix: Hashable | None, prefix_tokens: int, stream: Hashable, tokens: int
    ) -> list[int]:
        """Ids of the full blocks of the first `tokens` tokens of a text, prefix included.

        `prefix` (None for none) covers `prefix_tokens` of them; the block in which it ends, if
        it is not full, belongs to the stream. Equal prefixes must have equal lengths.
        """
        full = tokens // self.size
        shared = min(prefix_tokens // self.size, full) if prefix is not None else 0
        found: list[int] = []
        if shared:
            base = self._namespace(("prefix", prefix))
            found.extend(range(base, base + shared))
        if full > shared:
            base = self._namespace(("stream", prefix, stream))
            found.extend(range(base + shared, base + full))
        return found

    def _namespace(self, key: Hashable) -> int:
        return self._namespaces.setdefault(key, len(self._namespaces)) << _PLACE_BITS


@dataclass(frozen=True)
class Change:
    """What an insertion did: ids that are new, and ids that had to leave, in that order."""

    inserted: tuple[int, ...]
    evicted: tuple[int, ...]


class Eviction(Protocol):
    """Keeps the order in which unused blocks leave."""

    def touch(self, chain: Sequence[int]) -> None:
        """The blocks of a chain, from its first, were used now; all are in the cache."""

    def candidates(self) -> Generator[int, None, None]:
        """Blocks in the order in which they would leave, pinned ones included."""

    def remove(self, block: int) -> None:
        """A block has left."""


class Lru:
    """The block whose last use is longest ago; of one use, the deepest first.

    A use is noted once for its whole chain; what it says of a block holds until the next that has
    that block.
    """

    def __init__(self) -> None:
        self._used: dict[int, int] = {}
        self._uses: deque[tuple[int, tuple[int, ...]]] = deque()
        self._now = 0
        #: Blocks of all uses that are noted.
        self._noted = 0

    def touch(self, chain: Sequence[int]) -> None:
        """Use all of a chain: its last block becomes the first of them to leave."""
        self._now = now = self._now + 1
        self._used.update(dict.fromkeys(chain, now))
        self._uses.append((now, tuple(chain)))
        self._noted += len(chain)
        if self._noted > 64 + 4 * len(self._used):
            self._forget()

    def candidates(self) -> Generator[int, None, None]:
        """From the least recently used."""
        self._drop_first()
        for now, chain in self._uses:
            for block in reversed(chain):
                if self._used.get(block) == now:
                    yield block

    def remove(self, block: int) -> None:
        """Forget a block."""
        del self._used[block]

    def _drop_first(self) -> None:
        """The first use begins with a block that is here: what left before is not looked at."""
        used, uses = self._used, self._uses
        while uses:
            now, chain = uses[0]
            left = len(chain)
            while left and used.get(chain[left - 1]) != now:
                left -= 1
            self._noted -= len(chain) - left
            if left:
                uses[0] = (now, chain[:left])
                return
            uses.popleft()

    def _forget(self) -> None:
        """Keep of every use what still holds."""
        used = self._used
        kept = [
            (now, tuple(block for block in chain if used.get(block) == now))
            for now, chain in self._uses
        ]
        self._uses = deque(entry for entry in kept if entry[1])
        self._noted = len(used)


class Lfu:
    """The block used the fewest times since it came; then as `Lru`."""

    def __init__(self) -> None:
        self._keys: dict[int, tuple[int, int, int]] = {}
        self._heap: list[tuple[int, int, int, int]] = []
        self._now = 0

    def touch(self, chain: Sequence[int]) -> None:
        """Use all of a chain once."""
        self._now += 1
        for depth, block in enumerate(chain):
            count = self._keys[block][0] + 1 if block in self._keys else 1
            key = (count, self._now, -depth)
            self._keys[block] = key
            heappush(self._heap, (*key, block))
        if len(self._heap) > 64 + 4 * len(self._keys):
            self._heap = [(*key, block) for block, key in self._keys.items()]
            heapify(self._heap)

    def candidates(self) -> Generator[int, None, None]:
        """From the least frequently used; what is passed over keeps its place."""
        passed = []
        try:
            while self._heap:
                entry = heappop(self._heap)
                if self._keys.get(entry[3]) == entry[:3]:
                    passed.append(entry)
                    yield entry[3]
        finally:
            for entry in passed:
                heappush(self._heap, entry)

    def remove(self, block: int) -> None:
        """Forget a block; its entry in the heap is skipped later."""
        del self._keys[block]


#: Orders of eviction by name (property `eviction` of a cache).
EVICTIONS: Mapping[str, Callable[[], Eviction]] = MappingProxyType(
    {
        "lru": Lru,
        "lfu": Lfu,
    }
)


class PrefixCache:
    """Blocks of `size` tokens, `capacity` of them, shared by every chain that begins with them.

    `eviction`: a name of `EVICTIONS`. A chain is the ids of a text's full blocks from its first;
    all chains come from one source of ids. `acquire` pins what a request uses, `release` lets go;
    pinned blocks do not leave. Deterministic: equal calls, equal results.
    """

    def __init__(self, capacity: int, size: int, eviction: str = "lru") -> None:
        if capacity < 0 or size < 1:
            raise ValueError(f"a cache of {capacity} blocks of {size} tokens")
        self.capacity = capacity
        self.size = size
        self._eviction = EVICTIONS[eviction]()
        self._pins: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._pins)

    def __contains__(self, block: int) -> bool:
        return block in self._pins

    def __iter__(self) -> Iterator[int]:
        return iter(self._pins)

    @property
    def pinned(self) -> int:
        """Blocks in use."""
        return sum(count > 0 for count in self._pins.values())

    def match(self, chain: Sequence[int]) -> int:
        """Tokens of the longest prefix of a chain that is here. Uses nothing.

        Since predecessors never leave first, presence only falls along a chain: bisection.
        """
        return self.size * self._present(chain)

    def acquire(self, chain: Sequence[int]) -> int:
        """Use and pin the longest prefix that is here; its tokens, for `release`."""
        held = self._present(chain)
        used = chain[:held]
        for block in used:
            self._pins[block] += 1
        self._eviction.touch(used)
        return self.size * held

    def release(self, chain: Sequence[int], tokens: int) -> None:
        """Let go of the first `tokens` tokens of a chain: all that one `acquire` gave.

        Raises ValueError for blocks that are not pinned, and for less than was acquired.
        """
        used, rest = chain[: tokens // self.size], chain[tokens // self.size :]
        if any(self._pins.get(block, 0) < 1 for block in used):
            raise ValueError("released blocks that nobody holds")
        if used and rest and self._pins.get(rest[0], 0) >= self._pins[used[-1]]:
            raise ValueError("released the front of a chain whose end is still held")
        for block in used:
            self._pins[block] -= 1
        self._eviction.touch(used)

    def insert(self, chain: Sequence[int]) -> Change:
        """Use a chain and bring in what is missing, its front first, as far as there is room.

        Others leave in the order of eviction, never pinned blocks or blocks of this chain. What
        does not fit is left out at the chain's end.
        """
        held = self._present(chain)
        missing = chain[held:]
        room = self.capacity - len(self._pins)
        evicted = self._evict(len(missing) - room, keep=chain[:held])
        inserted = missing[: room + len(evicted)]
        for block in inserted:
            self._pins[block] = 0
        self._eviction.touch(chain[: held + len(inserted)])
        return Change(tuple(inserted), tuple(evicted))

    def evict(self, count: int) -> tuple[int, ...]:
        """Make `count` blocks leave, fewer if the others are pinned; their ids in order."""
        return tuple(self._evict(count, keep=()))

    def _evict(self, count: int, keep: Iterable[int]) -> list[int]:
        if count <= 0:
            return []
        kept = set(keep)
        chosen: list[int] = []
        candidates = self._eviction.candidates()
        for block in candidates:
            if not self._pins[block] and block not in kept:
                chosen.append(block)
                if len(chosen) == count:
                    break
        candidates.close()
        for block in chosen:
            self._eviction.remove(block)
            del self._pins[block]
        return chosen

    def _present(self, chain: Sequence[int]) -> int:
        low, high = 0, len(chain)
        while low < high:
            middle = (low + high) // 2
            if chain[middle] in self._pins:
                low = middle + 1
            else:
                high = middle
        return low
