"""The blocks that one store of a tier holds.

Unlike `sim.prefix.PrefixCache`, a store may hold the end of a text without its beginning: that
may lie in a faster tier, or have left. Knows no byte, tier or clock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice

from hermesdsl.sim.prefix import EVICTIONS, Change


class BlockStore:
    """Up to `capacity` block ids, which leave in the order of `eviction` (a name of `EVICTIONS`).

    Blocks are given in the order of their text. Pinned ones do not leave.
    """

    __slots__ = ("_eviction", "_pins", "capacity")

    def __init__(self, capacity: int, eviction: str) -> None:
        self.capacity = capacity
        self._eviction = EVICTIONS[eviction]()
        self._pins: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._pins)

    def __contains__(self, block: int) -> bool:
        return block in self._pins

    @property
    def pinned(self) -> int:
        """Blocks in use."""
        return sum(count > 0 for count in self._pins.values())

    def leading(self, chain: Sequence[int], start: int = 0) -> int:
        """How many blocks of a chain are here without a gap, from place `start` on."""
        end = start
        while end < len(chain) and chain[end] in self._pins:
            end += 1
        return end - start

    def use(self, blocks: Sequence[int]) -> None:
        """Count blocks that are here as used now."""
        self._eviction.touch(blocks)

    def pin(self, blocks: Sequence[int]) -> None:
        """Keep blocks that are here until `unpin`."""
        for block in blocks:
            self._pins[block] += 1

    def unpin(self, blocks: Sequence[int]) -> None:
        """Undo one `pin`."""
        for block in blocks:
            self._pins[block] -= 1

    def insert(self, blocks: Sequence[int]) -> Change:
        """Use these blocks and bring in those that are missing, the first of them first.

        Others leave to make room, never pinned ones or any of `blocks`; what does not fit is left
        out.
        """
        pins = self._pins
        missing = [block for block in blocks if block not in pins]
        room = self.capacity - len(pins)
        evicted = self._evict(len(missing) - room, set(blocks))
        inserted = missing[: room + len(evicted)]
        for block in inserted:
            pins[block] = 0
        self._eviction.touch([block for block in blocks if block in pins])
        return Change(tuple(inserted), tuple(evicted))

    def clear(self) -> int:
        """Lose all blocks, used or not; how many there were."""
        lost = len(self._pins)
        for block in self._pins:
            self._eviction.remove(block)
        self._pins.clear()
        return lost

    def _evict(self, count: int, keep: Collection[int]) -> list[int]:
        if count <= 0:
            return []
        pins = self._pins
        candidates = self._eviction.candidates()
        free = (block for block in candidates if not pins[block] and block not in keep)
        chosen = list(islice(free, count))
        candidates.close()
        for block in chosen:
            self._eviction.remove(block)
            del pins[block]
        return chosen
