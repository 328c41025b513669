"""The step-by-step form: one event per engine step, every sequence counted by itself.

Slow and plain on purpose. `sim.running` with `sim.decoding` must give the same records bit for
bit; what interrupts a run of decode steps, and that the end of its j-th step is its start plus
`DecodeRun.seconds(j)`, are the definitions that both share.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import TYPE_CHECKING

from hermesdsl.sim.decoding import Decoding, Sequence
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.kernel import STEP
from hermesdsl.sim.order import BEGUN, WAITING, Entry, Rank, WaitingQueue

if TYPE_CHECKING:
    from hermesdsl.sim.guessing import Guessing
    from hermesdsl.sim.holding import Holding


@dataclass
class _Entry:
    """A sequence with `base` tokens of KV that owes `due` more and has gained `gained` of them."""

    sequence: Sequence
    base: int
    due: int
    gained: Fraction | int

    def after(self, gained: Fraction | int) -> int:
        """Tokens of KV when so much more has been gained."""
        return self.base + min(self.due, floor(self.gained + gained))

    @property
    def tokens(self) -> int:
        return self.after(0)


class ListedDecoding:
    """`decoding.Decoding` as a list of sequences with their own token counts."""

    def __init__(
        self, block_size: int, advance: float = 1.0, holding: Holding | None = None,
        guessing: Guessing | None = None,
    ) -> None:  # fmt: skip
        self.clock = 0
        self._size = block_size
        self._holding = holding
        self._guessing = guessing
        self._advance = 1 if advance == 1.0 else Fraction(advance)
        self.parts = Fraction(advance).denominator if guessing is None else 1
        self._produced = 0
        self._entries: list[_Entry] = []

    @property
    def count(self) -> int:
        """See `Decoding`."""
        return len(self._entries)

    @property
    def context(self) -> float:
        """See `Decoding`."""
        whole = sum(entry.base + entry.gained + 1 for entry in self._entries)
        return whole if isinstance(whole, int) else float(whole)

    def join(self, sequence: Sequence) -> None:
        """See `Decoding`."""
        sequence.base = sequence.prompt
        sequence.joined = self.clock
        gained = self._after(sequence, 0)
        self._entries.append(_Entry(sequence, sequence.prompt, sequence.remaining, gained))

    def need(self, steps: int) -> int:
        """See `Decoding`."""
        return sum(
            self._blocks(entry.after(self._gain(entry, steps))) - self._blocks(entry.tokens)
            for entry in self._entries
        )

    def horizon(self, free: int) -> int:
        """See `Decoding`; found by trying one step after the other."""
        steps = 1
        while not any(self._ends(entry, steps) for entry in self._entries):
            if self.need(steps + 1) > free:
                break
            steps += 1
        return steps

    def advance(self, steps: int) -> int:
        """See `Decoding`."""
        taken = self.need(steps)
        for entry in self._entries:
            before = entry.tokens
            entry.gained += self._gain(entry, steps)
            self._produced += entry.tokens - before
        self.clock += steps
        return taken

    def finished(self) -> list[Sequence]:
        """See `Decoding`."""
        done = [entry.sequence for entry in self._entries if self._ends(entry, 0)]
        self._entries = [entry for entry in self._entries if not self._ends(entry, 0)]
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

    def opening(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        return min(sequence.remaining, floor(self._after(sequence, 1)))

    def done(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        steps = self.clock - sequence.joined
        return min(sequence.remaining, floor(self._after(sequence, steps)))

    def carried(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        rest = Fraction(self._after(sequence, self.clock - sequence.joined)) % 1
        return int(rest * self.parts)

    def produced(self, stepped: int) -> int:
        """See `Decoding`; each token was counted when it came."""
        return self._produced

    def _after(self, sequence: Sequence, steps: int) -> Fraction | int:
        """What a sequence has gained in so many steps of a stay."""
        if self._guessing is not None:
            return self._drawn(sequence, 0, steps)
        carry = sequence.carry
        return steps * self._advance + (Fraction(carry, self.parts) if carry else 0)

    def _gain(self, entry: _Entry, steps: int) -> Fraction | int:
        """What a sequence gains in the next steps."""
        if self._guessing is not None:
            done = self.clock - entry.sequence.joined
            return self._drawn(entry.sequence, done, steps)
        return steps * self._advance

    def _drawn(self, sequence: Sequence, first: int, steps: int) -> int:
        assert self._guessing is not None
        first += sequence.guessed
        return sum(self._guessing.gain(sequence, at) for at in range(first, first + steps))

    def _ends(self, entry: _Entry, steps: int) -> bool:
        return entry.after(self._gain(entry, steps)) == entry.base + entry.due

    def _blocks(self, tokens: int) -> int:
        if self._holding is not None:
            return self._holding.blocks(tokens)
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
        self.entries.append(self._entry(sequence, standing))

    def pop(self) -> Sequence:
        """See `WaitingQueue`."""
        least = self._least()
        self.entries.remove(least)
        return least[-1]

    def hold_head(self) -> None:
        """See `WaitingQueue`."""
        self.push(self.pop(), BEGUN)

    def _least(self) -> Entry:
        return min(self.entries, key=lambda entry: entry[:-1])


class SteppedEngine(Engine):
    """An engine that takes one decode step per event and asks after each whether its run ends."""

    __slots__ = ("_done", "_stop")

    def _make_decoding(
        self, block_size: int, advance: float, holding: Holding | None, guessing: Guessing | None
    ) -> Decoding:
        return ListedDecoding(block_size, advance, holding, guessing)

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
            return
        self._advance(1)
        self._done += 1
        finished = self.decoding.finished()
        if 0 < self._seen_at < self._done:
            self._known = self._seen
            self._stop = True
        if finished or self._stop or any(d.need(1) > kv.free for kv, d in self.parts):
            self._record_run(self._done, now)
            self._end_sequences(finished, now)
            self._next(now)
        else:
            self._plan_step()

    def _extend(self) -> None:
        """Nothing to do: memory is looked at after every step."""

    def _plan_one(self) -> None:
        self._plan_run()
        self._stop = True

    def _interrupt(self, earliest: float) -> None:
        self._stop = True

    def _pass_by(self, earliest: float) -> None:
        if not self._seen_at:
            self._seen_at, self._seen = self._done + 1, self.waiting.turns

    def _see(self, earliest: float) -> None:
        if self._done < self._seen_at:
            self._seen = self.waiting.turns

    def _settle_run(self, until: float) -> int:
        if self._done:
            self._record_run(self._done, self._run_start + self._run.seconds(self._done))
        return self._done
