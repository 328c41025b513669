"""The step-by-step form: one event per engine step, every sequence counted by itself.

Slow and plain on purpose. `sim.engine` with `sim.decoding` must give the same records bit for
bit; what interrupts a run of decode steps, and that the end of its j-th step is its start plus
`DecodeRun.seconds(j)`, are the definitions that both share.
"""

from __future__ import annotations

from dataclasses import dataclass

from hermesdsl.sim.decoding import Decoding, Sequence
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.kernel import STEP
from hermesdsl.sim.order import BEGUN, WAITING, Entry, Rank, WaitingQueue


@dataclass
class _Entry:
    sequence: Sequence
    tokens: int
    left: int


class ListedDecoding:
    """`decoding.Decoding` as a list of sequences with their own token counts."""

    def __init__(self, block_size: int) -> None:
        self.clock = 0
        self._size = block_size
        self._entries: list[_Entry] = []

    @property
    def count(self) -> int:
        """See `Decoding`."""
        return len(self._entries)

    @property
    def context(self) -> int:
        """See `Decoding`."""
        return sum(entry.tokens + 1 for entry in self._entries)

    def join(self, sequence: Sequence) -> None:
        """See `Decoding`."""
        sequence.base = sequence.prompt
        sequence.joined = self.clock
        self._entries.append(_Entry(sequence, sequence.prompt, sequence.remaining))

    def need(self, steps: int) -> int:
        """See `Decoding`."""
        return sum(
            self._blocks(entry.tokens + steps) - self._blocks(entry.tokens)
            for entry in self._entries
        )

    def horizon(self, free: int) -> int:
        """See `Decoding`; found by trying one step after the other."""
        steps = 1
        while all(entry.left > steps for entry in self._entries) and self.need(steps + 1) <= free:
            steps += 1
        return steps

    def advance(self, steps: int) -> int:
        """See `Decoding`."""
        taken = self.need(steps)
        self.clock += steps
        for entry in self._entries:
            entry.tokens += steps
            entry.left -= steps
        return taken

    def finished(self) -> list[Sequence]:
        """See `Decoding`."""
        done = [entry.sequence for entry in self._entries if entry.left == 0]
        self._entries = [entry for entry in self._entries if entry.left]
        return done

    def drop_last(self) -> Sequence:
        """See `Decoding`."""
        return self._entries.pop().sequence

    def drop(self, sequence: Sequence) -> None:
        """See `Decoding`."""
        self._entries = [entry for entry in self._entries if entry.sequence is not sequence]

    def live(self) -> list[Sequence]:
        """See `Decoding`."""
        return [entry.sequence for entry in self._entries]

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self._size)


class ListedQueue(WaitingQueue):
    """`order.WaitingQueue` as a list that is searched for its least entry whenever asked."""

    __slots__ = ()

    @property
    def head(self) -> Sequence:
        """See `WaitingQueue`."""
        return self._least()[-1]

    def push(self, sequence: Sequence, standing: int = WAITING) -> None:
        """See `WaitingQueue`."""
        self._entries.append(self._entry(sequence, standing))

    def pop(self) -> Sequence:
        """See `WaitingQueue`."""
        least = self._least()
        self._entries.remove(least)
        return least[-1]

    def hold_head(self) -> None:
        """See `WaitingQueue`."""
        self.push(self.pop(), BEGUN)

    def _least(self) -> Entry:
        return min(self._entries, key=lambda entry: entry[:-1])


class SteppedEngine(Engine):
    """An engine that takes one decode step per event and asks after each whether its run ends."""

    __slots__ = ("_done", "_stop")

    def _make_decoding(self, block_size: int) -> Decoding:
        return ListedDecoding(block_size)

    def _make_queue(self, rank: Rank) -> WaitingQueue:
        return ListedQueue(rank)

    def free_blocks(self, earliest: float) -> int:
        """See `Engine`; every step counts as it ends."""
        return self.kv.free

    def decoded(self, sequence: Sequence, earliest: float) -> int:
        """See `Engine`; the clock counts every step as it ends."""
        return self.decoding.clock - sequence.joined

    def _plan_run(self) -> None:
        self._done = 0
        self._stop = False
        self._plan_step()

    def _plan_step(self) -> None:
        end = self._run_start + self._run.seconds(self._done + 1)
        self._kernel.at(end, STEP, self.key, self._end_one, self._version)

    def _end_one(self, now: float, version: int) -> None:
        if version != self._version:
            self.stale -= 1
            return
        self._advance(1)
        self._done += 1
        finished = self.decoding.finished()
        if finished or self._stop or self.decoding.need(1) > self.kv.free:
            self._record_run(self._done, now)
            self._end_sequences(finished, now)
            self._next(now)
        else:
            self._plan_step()

    def _extend(self) -> None:
        """Nothing to do: memory is looked at after every step."""

    def _interrupt(self, earliest: float) -> None:
        self._stop = True

    def _settle_run(self, until: float) -> None:
        if self._done:
            self._record_run(self._done, self._run_start + self._run.seconds(self._done))
