"""Sequences that gain more than one token per decode step: speculative decoding in expectation.

A sequence that gains A tokens per step has floor(k·A + carried) tokens after k steps of a stay, no
more than it still owes; `carried` is the part of a token that it had when it was preempted last.
A is taken as the binary fraction n/d that a float is exactly, so every count here is an exact
integer: of tokens, or of d-th parts of one. Knows no time, queue, policy or cost.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from hermesdsl.graph.types import Client, Spec

if TYPE_CHECKING:
    from hermesdsl.sim.decoding import Sequence


class Speculation(NamedTuple):
    """Each step guesses so many tokens per sequence, each right with the chance `accept`.

    `sampled`: how many are right is drawn (`sim.guessing`); else a step brings what is expected.
    """

    guesses: int
    accept: float
    sampled: bool = False

    @property
    def advance(self) -> float:
        """Tokens that a sequence gains per step (`cost.speculation`)."""
        from hermesdsl.cost.speculation import expected_tokens

        return expected_tokens(self.accept, self.guesses)


def speculation(client: Client) -> Speculation | None:
    """What an engine's `speculate` asks for; None if it does not guess."""
    spec = client.options.get("speculate")
    if not isinstance(spec, Spec) or spec.name not in ("mtp", "draft"):
        return None
    guesses = spec.args.get("depth" if spec.name == "mtp" else "gamma")
    accept = spec.args.get("accept")
    assert isinstance(guesses, int | float)
    assert isinstance(accept, int | float)
    return Speculation(int(guesses), float(accept), spec.args.get("sampled") is True)


class SpeculatingDecoding:
    """`decoding.Decoding` in d-th parts of a token, in logarithmic work per question.

    In parts, all sequences advance alike: one that joined at step j with b tokens and c parts has
    b·d + c + (clock − j)·n parts. It takes a block where that passes a multiple of the block size,
    so sorted phases tell how many do in a run. Only in its last step may a sequence gain more than
    it owes; `need` leaves that out.
    """

    __slots__ = ("_due", "_ends", "_live", "_lost", "_per_step", "_phases", "_serial",
                 "_size", "_units", "clock", "count", "parts")  # fmt: skip

    def __init__(self, block_size: int, advance: float) -> None:
        self.count = 0
        self.clock = 0
        self._per_step, self.parts = float(advance).as_integer_ratio()
        self._size = block_size
        self._serial = 0
        self._live: dict[int, Sequence] = {}
        #: Sequences by the clock at their end, and these clocks; some have nobody any more.
        self._due: dict[int, dict[int, Sequence]] = {}
        self._ends: list[int] = []
        #: Sorted: parts that a sequence had past a block's edge, as if it had joined at step 0.
        self._phases: list[int] = []
        #: Parts of KV of all, and those parts that steps gave and nobody has as tokens.
        self._units = 0
        self._lost = 0

    @property
    def context(self) -> float:
        """See `Decoding`; with the parts of tokens that sequences have gained."""
        return (self._units + self.count * self.parts) / self.parts

    def join(self, sequence: Sequence) -> None:
        """See `Decoding`."""
        sequence.base = sequence.prompt
        sequence.joined = self.clock
        self._serial = serial = sequence.serial = self._serial + 1
        self._live[serial] = sequence
        end = self._end(sequence)
        if end not in self._due:
            self._due[end] = {}
            heappush(self._ends, end)
        self._due[end][serial] = sequence
        insort(self._phases, self._phase(sequence))
        self._units += self._now(sequence)
        self.count += 1

    def need(self, steps: int) -> int:
        """See `Decoding`; up to the step in which the first sequence finishes."""
        span = self._size * self.parts
        rounds, rest = divmod(steps * self._per_step, span)
        shift = self.clock * self._per_step % span
        phases, low = self._phases, span - rest - shift
        crossing = bisect_left(phases, span - shift)
        if low >= 0:
            crossing -= bisect_left(phases, low)
        else:
            crossing += len(phases) - bisect_left(phases, low + span)
        return rounds * self.count + crossing - self._beyond(self.clock + steps)

    def horizon(self, free: int) -> int:
        """See `Decoding`."""
        while self._ends[0] not in self._due:
            heappop(self._ends)
        low, high = 1, self._ends[0] - self.clock
        if self.need(high) <= free:
            return high
        while low < high - 1:
            middle = (low + high) // 2
            if self.need(middle) <= free:
                low = middle
            else:
                high = middle
        return low

    def advance(self, steps: int) -> int:
        """See `Decoding`."""
        taken = self.need(steps)
        self.clock += steps
        self._units += steps * self.count * self._per_step
        return taken

    def finished(self) -> list[Sequence]:
        """See `Decoding`."""
        found = list(self._due.get(self.clock, {}).values())
        for sequence in found:
            self.drop(sequence)
        return found

    def drop_last(self) -> Sequence:
        """See `Decoding`."""
        sequence = next(reversed(self._live.values()))
        self.drop(sequence)
        return sequence

    def drop(self, sequence: Sequence) -> None:
        """See `Decoding`."""
        del self._live[sequence.serial]
        end = self._end(sequence)
        del self._due[end][sequence.serial]
        if not self._due[end]:
            del self._due[end]
        del self._phases[bisect_left(self._phases, self._phase(sequence))]
        self._units -= self._now(sequence)
        self._lost += self._astray(sequence)
        self.count -= 1

    def live(self) -> list[Sequence]:
        """See `Decoding`."""
        return list(self._live.values())

    def opening(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        return min(sequence.remaining, (self._per_step + sequence.carry) // self.parts)

    def done(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        return min(sequence.remaining, self._gained(sequence) // self.parts)

    def carried(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        return self._gained(sequence) % self.parts

    def produced(self, stepped: int) -> int:
        """See `Decoding`; exact: nothing is left over when every part is accounted for."""
        astray = self._lost + sum(self._astray(s) for s in self._live.values())
        tokens, rest = divmod(stepped * self._per_step - astray, self.parts)
        return tokens if not rest else -1

    def _gained(self, sequence: Sequence) -> int:
        """Parts of tokens of its stay, and those it came with."""
        return (self.clock - sequence.joined) * self._per_step + sequence.carry

    def _now(self, sequence: Sequence) -> int:
        """Parts of its KV."""
        return sequence.base * self.parts + self._gained(sequence)

    def _astray(self, sequence: Sequence) -> int:
        """Parts that its steps gave it and that are no tokens of its own."""
        return self._gained(sequence) - self.done(sequence) * self.parts - sequence.carry

    def _end(self, sequence: Sequence) -> int:
        """The clock when it has all that it owes."""
        owed = sequence.remaining * self.parts - sequence.carry
        return sequence.joined - (-owed // self._per_step)

    def _phase(self, sequence: Sequence) -> int:
        parts = (sequence.base + self._size - 1) * self.parts + sequence.carry
        return (parts - sequence.joined * self._per_step) % (self._size * self.parts)

    def _beyond(self, clock: int) -> int:
        """Blocks for what sequences that end then would have beyond what they owe."""
        blocks, size = 0, self._size
        for sequence in self._due.get(clock, {}).values():
            gained = (clock - sequence.joined) * self._per_step + sequence.carry
            have, owe = sequence.base + gained // self.parts, sequence.base + sequence.remaining
            blocks += -(-have // size) + (-owe // size)
        return blocks
