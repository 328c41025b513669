"""The data-parallel ranks of an engine: where each sequence lives, and what a step has there.

All ranks take every step together, so it is as long as the fullest makes it. A sequence goes to
the rank with the fewest sequences when it is given KV, among equals to the one with the fewest
tokens in this step, then to the first; it stays until its KV is lost. Seats and the budget of
prompt tokens are each rank's own. KV blocks are counted for all ranks together: as sequences are
dealt out evenly, ranks fill up nearly alike, but a rank that is full while others are not is not
seen; only a sequence that no rank alone could hold is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermesdsl.cost.types import StepWork
from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.order import BEGUN, SWAPPED
from hermesdsl.sim.residents import Residents, Slice

if TYPE_CHECKING:
    from collections.abc import Iterable


class RankedResidents(Residents):
    """Sequences at a client, dealt out to its ranks if it has several."""

    __slots__ = ()

    def fits(self, tokens: int) -> bool:
        """True if KV of `tokens` tokens of one sequence can ever be held by a rank."""
        ranks = len(self.dealt) if self.dealt is not None else 1
        return self.kv.blocks(tokens) <= self.kv.capacity // ranks

    def _fill_ranks(
        self, dealt: list[int], budget: float, reserve: int, now: float, whole: bool,
        beside: bool, most: int | None,
    ) -> list[Slice]:  # fmt: skip
        """As `fill`, where `budget` and `most` are those of each rank.

        A prompt that is cut stays at the head, and prompts on other ranks go on beside it.
        """
        waiting = self.waiting
        slices: list[Slice] = []
        cut: list[Sequence] = []
        spare = self.kv.free - reserve
        seats = self.seats() if most is None else min(most * len(dealt), self.seats())
        present = self._present(dealt)
        room = [budget - (n * self.queries if beside else 0) for n in dealt]
        while waiting and seats > 0:
            sequence = waiting.head
            if sequence.source is not None and sequence.source.lost:
                self._read_again(sequence, now)
            rank = sequence.rank if sequence.held else -1
            if rank < 0:
                rank = _emptiest(present, room)
                if rank < 0:
                    break
            elif room[rank] <= 0:
                cut.append(self._put_aside())
                seats -= 1
                continue
            found = self.reuse.look_up(sequence) if self.reuse is not None else None
            left = sequence.left - found.tokens if found is not None else sequence.left
            if whole and left > room[rank] and any(s.rank == rank for s, _ in slices):
                break
            held = sequence.held
            taken = self._take(sequence, found, spare)
            if taken < 0:
                break
            if not held or sequence.rank < 0:
                present[rank] += 1
            sequence.rank = rank
            spare -= taken
            seats -= 1
            if sequence.source is not None or not left:
                room[rank] -= self._go_straight(sequence, now)
                continue
            if not sequence.started:
                self._start(sequence, now)
            take = left if whole or left <= room[rank] else int(room[rank])
            slices.append((sequence, take))
            room[rank] -= take
            self._put_aside()
            if take < left:
                cut.append(sequence)
        for sequence in cut:
            waiting.push(sequence, BEGUN if sequence.started else SWAPPED)
        return slices

    def fullest(self, slices: Iterable[Slice], decodes: bool) -> StepWork:
        """The most of everything that any rank has in a step of prompt `slices`."""
        assert self.dealt is not None
        batch = self.dealt if decodes else [0] * len(self.dealt)
        prompts = [[0] * len(batch) for _ in range(4)]
        pairs = [0.0] * len(batch)
        for sequence, take in slices:
            done, rank = sequence.prompt - sequence.left, sequence.rank
            ends = take == sequence.left
            for column, value in zip(prompts, (1, take, done + take, ends), strict=True):
                column[rank] += value
            pairs[rank] += take * done + take * (take + 1) / 2
        number, read, kv, drawn = prompts
        return StepWork(
            max(n + t for n, t in zip(batch, read, strict=True)),
            max(n + t for n, t in zip(batch, drawn, strict=True)),
            max(number), max(read), max(pairs), max(kv), max(batch),
        )  # fmt: skip

    def _present(self, dealt: list[int]) -> list[int]:
        """Sequences with KV on each rank: decoding, read in part, or with KV on the way."""
        present = dealt.copy()
        for sequence in (*self._incoming, *(s for s in self.waiting if s.held)):
            if sequence.rank >= 0:
                present[sequence.rank] += 1
        return present

    def _put_aside(self) -> Sequence:
        sequence = self.waiting.pop()
        self._prune()
        return sequence

    def _preempt(self) -> None:
        """As `Residents`; of several prompts that were read in part, the last to come gives way."""
        if self.dealt is not None:
            begun = [s for s in self.waiting if s.held and s.started]
            if begun:
                self.preemptions += 1
                self._lose(max(begun, key=lambda s: s.turn))
                return
        super()._preempt()


def _emptiest(present: list[int], room: list[float]) -> int:
    """The rank that the next sequence goes to, of those with room for a token; -1 without any."""
    open_ = [rank for rank, left in enumerate(room) if left > 0]
    return min(open_, key=lambda rank: (present[rank], -room[rank], rank), default=-1)
