"""Paged KV memory of one engine: how many blocks there are and how many are free.

Counts blocks only; who holds them is known to the sequences. No clock, no policy.
"""

from __future__ import annotations


class KvBlocks:
    """`capacity` blocks of `size` tokens each; `free` of them are held by nobody."""

    __slots__ = ("capacity", "free", "size")

    def __init__(self, tokens: int, size: int) -> None:
        self.size = size
        self.capacity = tokens // size
        self.free = self.capacity

    @property
    def used(self) -> int:
        """Blocks held by sequences."""
        return self.capacity - self.free

    def blocks(self, tokens: int) -> int:
        """Blocks that `tokens` tokens of one sequence fill, the last one perhaps in part."""
        return -(-tokens // self.size)
