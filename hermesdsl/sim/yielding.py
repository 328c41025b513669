"""Who has to give way at an engine whose KV memory is full, and what becomes of it.

Its KV is swapped out if there is a host memory with room, else given up and read again. Knows no
step, cost, pipeline or other engine; `sim.liveness` says why everybody gets through.
"""

from __future__ import annotations

from hermesdsl.sim.decoding import QUEUED, Sequence
from hermesdsl.sim.order import SWAPPED
from hermesdsl.sim.residents import Residents


class Yielding(Residents):
    """Sequences at a client that can be made to wait again."""

    __slots__ = ()

    def make_room(self) -> int:
        """Preempt until one step of all decodes fits; the KV blocks that step takes."""
        if self.dealt is not None:
            return sum(self._make_room_on(rank) for rank in range(len(self.dealt)))
        kv, decoding = self.parts[0]
        need = decoding.need(1)
        while need > kv.free:
            self._preempt()
            need = decoding.need(1)
        return need

    def _make_room_on(self, rank: int) -> int:
        """As `make_room`, on one of several ranks."""
        raise NotImplementedError

    def _store(self, blocks: int) -> None:
        """Copy blocks to the host; no step begins before that has ended."""
        raise NotImplementedError

    def _unblock(self) -> bool:
        """Nothing can run: give up the KV of who came last and waits with it behind the head."""
        waiting = self.waiting
        if not waiting or self._incoming:
            return False
        head = waiting.head
        holders = [s for s in self._holders() if s is not head]
        if not holders:
            return False
        last = max(holders, key=lambda s: s.turn)
        self._set_back(last)
        return True

    def _holders(self) -> list[Sequence]:
        """Those that wait with KV of their own, as far as that is in the way of the head."""
        return [s for s in self.waiting if s.held or s.pins]

    def _lift(self) -> bool:
        """Whoever came last of those that wait on top of kept KV lets go of it; False if none."""
        sharing = [s for s in self.waiting if s.parent is not None]
        if not sharing:
            return False
        head = self.waiting.head
        last = max(sharing, key=lambda s: (s is not head, s.turn))
        self.kv.release(last)
        last.shared = last.below = 0
        self._set_back(last)
        return True

    def _set_back(self, sequence: Sequence) -> None:
        """A sequence that waits with KV loses it."""
        self.preemptions += 1
        self._forget_copy(sequence)
        if not sequence.left:
            sequence.prompt += 1
        self._lose(sequence)

    def _preempt(self) -> None:
        """Take the KV of whoever was admitted last: a prompt read in part, or the last to decode.

        Its KV is swapped out if there is a host memory with room, else given up. A prompt read in
        part is always given up: nothing has been produced from its KV yet.
        """
        self.preemptions += 1
        waiting = self.waiting
        if waiting and waiting.head.held and waiting.head.started:
            sequence = waiting.pop()
            self._lose(sequence)
            waiting.push(sequence)
            return
        self._set_aside(self.parts[0][1].drop_last())

    def _set_aside(self, sequence: Sequence) -> None:
        """A sequence that was decoding waits, its KV in host memory or given up."""
        waiting = self.waiting
        sequence.place = QUEUED
        tokens = self._stop_decoding(sequence)
        blocks = sequence.held + len(sequence.pins)
        done = tokens - sequence.base
        sequence.guessed += self.decoding.clock - sequence.joined
        sequence.carry = self.decoding.carried(sequence)
        sequence.remaining -= done
        sequence.again = True
        if self.host is not None and self.host.fits(blocks):
            if done:
                sequence.since = self._decoded_at
            sequence.prompt, sequence.left = tokens, 0
            sequence.swapped = blocks
            self.kv.release_own(sequence)
            self._store(blocks)
            waiting.push(sequence, SWAPPED)
        else:
            sequence.prompt = tokens + 1
            self._lose(sequence)
            waiting.push(sequence)

    def _lose(self, sequence: Sequence) -> None:
        """Its own KV is given up: all but what it shares has to be read again."""
        self._forget_copy(sequence)
        self.kv.release_own(sequence)
        whole = sequence.prompt - sequence.below
        sequence.lost = whole - sequence.left
        self.recomputed += sequence.lost
        sequence.left = whole
