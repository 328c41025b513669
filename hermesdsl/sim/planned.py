"""Decoding sequences whose need for KV is planned when they join: block by block, for their stay.

For engines on which a sequence does not take a block every so many steps: those with sliding
windows, where it takes none any more once its rings are full (`sim.holding`), and those whose
guesses are drawn (`sim.guessing`). Every operation looks at one sequence, or at one step. Knows no
time, queue, policy or cost.
"""

from __future__ import annotations

from bisect import bisect_left
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from hermesdsl.sim.holding import Holding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hermesdsl.sim.decoding import Sequence
    from hermesdsl.sim.guessing import Guessing

#: More tokens than any context has: a window that nothing reaches.
_NEVER = 1 << 62


class PlannedDecoding:
    """`decoding.Decoding` by a plan of blocks; how fast sequences gain tokens is left open."""

    __slots__ = ("_ends", "_holding", "_live", "_planned", "_serial", "_takes", "clock", "count",
                 "parts")  # fmt: skip

    def __init__(self, block_size: int, holding: Holding | None, parts: int) -> None:
        self.count = 0
        self.clock = 0
        self.parts = parts
        self._holding = holding or Holding(block_size, _NEVER)
        self._serial = 0
        self._live: dict[int, Sequence] = {}
        #: (clock at its end, serial); entries of sequences that were dropped stay until reached.
        self._ends: list[tuple[int, int]] = []
        #: Blocks that the step which starts at a clock takes, and the sum of all that are planned.
        self._takes: dict[int, int] = {}
        self._planned = 0

    @property
    def context(self) -> float:
        """See `Decoding`."""
        raise NotImplementedError

    def _steps(self, sequence: Sequence, tokens: int) -> int:
        """Steps of its stay until it has gained so many tokens, at most those it owes."""
        raise NotImplementedError

    def _enter(self, sequence: Sequence) -> None:
        """Count a sequence that has just joined."""
        raise NotImplementedError

    def _exit(self, sequence: Sequence) -> None:
        """Count it no longer."""
        raise NotImplementedError

    def _pass(self, steps: int) -> None:
        """Everybody has done so many steps more; the clock says so already."""
        raise NotImplementedError

    def done(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        raise NotImplementedError

    def join(self, sequence: Sequence) -> None:
        """See `Decoding`."""
        sequence.base = sequence.prompt
        sequence.joined = self.clock
        self._serial = serial = sequence.serial = self._serial + 1
        self._live[serial] = sequence
        self._enter(sequence)
        heappush(self._ends, (self.clock + self._steps(sequence, sequence.remaining), serial))
        for at in self._plan(sequence, sequence.base):
            self._takes[at] = self._takes.get(at, 0) + 1
            self._planned += 1
        self.count += 1

    def need(self, steps: int) -> int:
        """See `Decoding`."""
        takes, clock = self._takes, self.clock
        return sum(takes.get(at, 0) for at in range(clock, clock + steps))

    def horizon(self, free: int) -> int:
        """See `Decoding`."""
        while self._ends[0][1] not in self._live:
            heappop(self._ends)
        takes, clock, end = self._takes, self.clock, self._ends[0][0]
        if self._planned <= free:
            return end - clock
        free -= takes.get(clock, 0)
        for at in range(clock + 1, end):
            free -= takes.get(at, 0)
            if free < 0:
                return at - clock
        return end - clock

    def advance(self, steps: int) -> int:
        """See `Decoding`."""
        takes, clock = self._takes, self.clock
        taken = sum(takes.pop(at, 0) for at in range(clock, clock + steps))
        self._planned -= taken
        self.clock = clock + steps
        self._pass(steps)
        return taken

    def finished(self) -> list[Sequence]:
        """See `Decoding`."""
        ends, live = self._ends, self._live
        found = []
        while ends and ends[0][0] <= self.clock:
            sequence = live.pop(heappop(ends)[1], None)
            if sequence is not None:
                self._leave(sequence)
                found.append(sequence)
        return found

    def drop_last(self) -> Sequence:
        """See `Decoding`."""
        _, sequence = self._live.popitem()
        self._leave(sequence)
        return sequence

    def drop(self, sequence: Sequence) -> None:
        """See `Decoding`."""
        self._leave(self._live.pop(sequence.serial))

    def live(self) -> list[Sequence]:
        """See `Decoding`."""
        return list(self._live.values())

    def _leave(self, sequence: Sequence) -> None:
        for at in self._plan(sequence, sequence.base + self.done(sequence)):
            self._takes[at] -= 1
            if not self._takes[at]:
                del self._takes[at]
            self._planned -= 1
        self._exit(sequence)
        self.count -= 1

    def _plan(self, sequence: Sequence, tokens: int) -> Iterator[int]:
        """Clocks of the steps that take a block each, once it has `tokens` tokens of KV."""
        holding, base, joined = self._holding, sequence.base, sequence.joined
        most = base + sequence.remaining
        block = holding.blocks(tokens) + 1
        while (first := holding.first(block)) is not None and first <= most:
            yield joined + self._steps(sequence, first - base) - 1
            block += 1


class PacedDecoding(PlannedDecoding):
    """All gain the same number of tokens per step, whole or not: see `sim.speculating`."""

    __slots__ = ("_lost", "_per_step", "_units")

    def __init__(self, block_size: int, advance: float, holding: Holding | None) -> None:
        self._per_step, parts = float(advance).as_integer_ratio()
        super().__init__(block_size, holding, parts)
        #: Parts of KV of all, and those parts that steps gave and nobody has as tokens.
        self._units = 0
        self._lost = 0

    @property
    def context(self) -> float:
        """See `Decoding`; with the parts of tokens that sequences have gained."""
        return (self._units + self.count * self.parts) / self.parts

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

    def _steps(self, sequence: Sequence, tokens: int) -> int:
        return -((sequence.carry - tokens * self.parts) // self._per_step)

    def _enter(self, sequence: Sequence) -> None:
        self._units += sequence.base * self.parts + sequence.carry

    def _exit(self, sequence: Sequence) -> None:
        self._units -= sequence.base * self.parts + self._gained(sequence)
        self._lost += self._astray(sequence)

    def _pass(self, steps: int) -> None:
        self._units += steps * self.count * self._per_step

    def _gained(self, sequence: Sequence) -> int:
        """Parts of tokens of its stay, and those it came with."""
        return (self.clock - sequence.joined) * self._per_step + sequence.carry

    def _astray(self, sequence: Sequence) -> int:
        """Parts that its steps gave it and that are no tokens of its own."""
        return self._gained(sequence) - self.done(sequence) * self.parts - sequence.carry


class DrawnDecoding(PlannedDecoding):
    """What a sequence gains in each of its steps has been drawn for it (`sim.guessing`)."""

    __slots__ = ("_gains", "_guessing", "_left", "_more", "_read")

    def __init__(self, block_size: int, guessing: Guessing, holding: Holding | None) -> None:
        super().__init__(block_size, holding, 1)
        self._guessing = guessing
        #: What all read in the next step.
        self._read = 0
        #: Tokens that all gain in the step which starts at a clock.
        self._gains: dict[int, int] = {}
        #: Of those that have left: their steps, and the tokens that these brought beyond one each.
        self._left = 0
        self._more = 0

    @property
    def context(self) -> int:
        """See `Decoding`."""
        return self._read

    def opening(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        course = self._guessing.course(sequence)
        first = course[sequence.guessed + 1] - course[sequence.guessed]
        return min(sequence.remaining, first)

    def done(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        return self._after(sequence, self.clock - sequence.joined)

    def carried(self, sequence: Sequence) -> int:
        """See `Decoding`; tokens come whole."""
        return 0

    def produced(self, stepped: int) -> int:
        """See `Decoding`; -1 unless sequences were in as many steps."""
        stays = [(self.clock - s.joined, self.done(s)) for s in self._live.values()]
        steps = self._left + sum(steps for steps, _ in stays)
        more = self._more + sum(done - steps for steps, done in stays)
        return stepped + more if stepped == steps else -1

    def _steps(self, sequence: Sequence, tokens: int) -> int:
        course, start = self._guessing.course(sequence), sequence.guessed
        return bisect_left(course, course[start] + tokens, start) - start

    def _after(self, sequence: Sequence, steps: int) -> int:
        """Tokens of the first steps of a stay."""
        course, start = self._guessing.course(sequence), sequence.guessed
        return min(sequence.remaining, course[start + steps] - course[start])

    def _enter(self, sequence: Sequence) -> None:
        self._read += sequence.base + 1
        self._foresee(sequence, 0, 1)

    def _exit(self, sequence: Sequence) -> None:
        steps, done = self.clock - sequence.joined, self.done(sequence)
        self._foresee(sequence, steps, -1)
        self._read -= sequence.base + 1 + done
        self._left += steps
        self._more += done - steps

    def _pass(self, steps: int) -> None:
        clock, gains = self.clock, self._gains
        self._read += sum(gains.pop(at, 0) for at in range(clock - steps, clock))

    def _foresee(self, sequence: Sequence, first: int, sign: int) -> None:
        """Count what its steps from the `first` of its stay on will bring, or no longer."""
        gains, joined = self._gains, sequence.joined
        before = self._after(sequence, first)
        for step in range(first, self._steps(sequence, sequence.remaining)):
            after = self._after(sequence, step + 1)
            gains[joined + step] = gains.get(joined + step, 0) + sign * (after - before)
            before = after
