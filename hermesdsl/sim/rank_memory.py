"""KV, prefix caches and decoding sequences of data-parallel ranks, as those of one engine.

Each rank has its own share of everything; a sequence's are those of its `rank`. What is asked of
one sequence goes to its rank, what is asked of the engine is the sum. Knows no queue and no policy;
which rank a sequence goes to is said by `sim.ranks`.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from typing import TYPE_CHECKING

from hermesdsl.sim.kv import Hold, KvBlocks

if TYPE_CHECKING:
    from hermesdsl.sim.decoding import Decoding, Sequence
    from hermesdsl.sim.reuse import Found, Reuse


class RankedBlocks:
    """`KvBlocks` of every rank: `parts`, in order of rank."""

    __slots__ = ("parts",)

    def __init__(self, parts: tuple[KvBlocks, ...]) -> None:
        self.parts = parts

    @property
    def size(self) -> int:
        """Tokens per block."""
        return self.parts[0].size

    @property
    def capacity(self) -> int:
        """Blocks of all ranks."""
        return sum(part.capacity for part in self.parts)

    @property
    def free(self) -> int:
        """Blocks that nobody uses, of all ranks."""
        return sum(part.free for part in self.parts)

    @property
    def used(self) -> int:
        """Blocks held by sequences, of all ranks."""
        return self.capacity - self.free

    @property
    def kept(self) -> int:
        """Blocks of KV that outlives its sequences, of all ranks."""
        return sum(part.kept for part in self.parts)

    @property
    def pinned(self) -> int:
        """Known blocks in use, of all ranks."""
        return sum(part.pinned for part in self.parts)

    @property
    def holds(self) -> dict[Hold, None]:
        """KV that outlives its sequences, rank by rank."""
        return {hold: None for part in self.parts for hold in part.holds}

    def of(self, sequence: Sequence) -> KvBlocks:
        """The blocks of the rank where a sequence is."""
        return self.parts[sequence.rank]

    def blocks(self, tokens: int) -> int:
        """See `KvBlocks`."""
        return self.parts[0].blocks(tokens)

    def trim(self) -> None:
        """See `KvBlocks`."""
        for part in self.parts:
            part.trim()

    def release_own(self, sequence: Sequence) -> None:
        """See `KvBlocks`."""
        self.of(sequence).release_own(sequence)

    def release(self, sequence: Sequence) -> None:
        """See `KvBlocks`."""
        self.of(sequence).release(sequence)

    def keep(self, hold: Hold, sequence: Sequence) -> None:
        """See `KvBlocks`; it stays on the rank of its sequence."""
        hold.rank = sequence.rank
        self.of(sequence).keep(hold, sequence)

    def resume(self, sequence: Sequence, hold: Hold) -> None:
        """See `KvBlocks`; a sequence goes on where its KV is."""
        sequence.rank = hold.rank
        self.of(sequence).resume(sequence, hold)

    def drop(self, hold: Hold) -> int:
        """See `KvBlocks`."""
        return self.parts[hold.rank].drop(hold)

    def give_up(self) -> bool:
        """See `KvBlocks`; of the rank with the fewest free blocks that has any to give up."""
        by_room = sorted(self.parts, key=lambda part: part.free)
        return any(part.give_up() for part in by_room)


class RankedDecoding:
    """The sequences that decode on every rank: `parts`, in order of rank, all at one clock."""

    __slots__ = ("_parts", "_stepped")

    def __init__(self, parts: tuple[Decoding, ...]) -> None:
        self._parts = parts
        #: Steps of all sequences so far, on each rank.
        self._stepped = [0] * len(parts)

    @property
    def count(self) -> int:
        """See `decoding.Decoding`."""
        return sum(part.count for part in self._parts)

    @property
    def clock(self) -> int:
        """See `decoding.Decoding`."""
        return self._parts[0].clock

    @property
    def context(self) -> float:
        """See `decoding.Decoding`."""
        return sum(part.context for part in self._parts)

    @property
    def parts(self) -> int:
        """See `decoding.Decoding`."""
        return self._parts[0].parts

    def join(self, sequence: Sequence) -> None:
        """See `decoding.Decoding`."""
        self._parts[sequence.rank].join(sequence)

    def need(self, steps: int) -> int:
        """See `decoding.Decoding`."""
        return sum(part.need(steps) for part in self._parts)

    def finished(self) -> list[Sequence]:
        """See `decoding.Decoding`; rank by rank."""
        return [sequence for part in self._parts for sequence in part.finished()]

    def drop(self, sequence: Sequence) -> None:
        """See `decoding.Decoding`."""
        self._parts[sequence.rank].drop(sequence)

    def live(self) -> list[Sequence]:
        """See `decoding.Decoding`; rank by rank."""
        return [sequence for part in self._parts for sequence in part.live()]

    def opening(self, sequence: Sequence) -> int:
        """See `decoding.Decoding`."""
        return self._parts[0].opening(sequence)

    def done(self, sequence: Sequence) -> int:
        """See `decoding.Decoding`."""
        return self._parts[0].done(sequence)

    def carried(self, sequence: Sequence) -> int:
        """See `decoding.Decoding`."""
        return self._parts[0].carried(sequence)

    def advance(self, rank: int, steps: int) -> int:
        """Do `steps` steps on one rank, as all others will; the blocks they took there."""
        part = self._parts[rank]
        self._stepped[rank] += steps * part.count
        return part.advance(steps)

    def produced(self, stepped: int) -> int:
        """See `decoding.Decoding`."""
        if sum(self._stepped) != stepped:
            return -1
        pairs = zip(self._parts, self._stepped, strict=True)
        tokens = [part.produced(steps) for part, steps in pairs]
        return -1 if -1 in tokens else sum(tokens)


class RankedReuse:
    """`Reuse` of every rank: each knows the blocks that are its own."""

    __slots__ = ("_parts",)

    def __init__(self, parts: tuple[Reuse, ...]) -> None:
        self._parts = parts

    @property
    def asked(self) -> int:
        """See `Reuse`."""
        return sum(part.asked for part in self._parts)

    @property
    def hits(self) -> int:
        """See `Reuse`."""
        return sum(part.hits for part in self._parts)

    def reusable(self, chain: Ordered[int]) -> int:
        """See `Reuse`; on the rank that knows most of it."""
        return max(part.reusable(chain) for part in self._parts)

    def look_up(self, sequence: Sequence) -> Found | None:
        """See `Reuse`."""
        return self._parts[sequence.rank].look_up(sequence)

    def take(self, sequence: Sequence, found: Found) -> int:
        """See `Reuse`."""
        return self._parts[sequence.rank].take(sequence, found)

    def publish(self, sequence: Sequence, tokens: int) -> None:
        """See `Reuse`."""
        self._parts[sequence.rank].publish(sequence, tokens)
