"""The sequences of an engine that are decoding, in constant work per step whatever their number.

All advance by one token per step (by more: `sim.speculating`), so one counter of steps (`clock`)
stands for every sequence's progress: a sequence is finished when the clock reaches its target, and
needs a new KV block whenever the clock meets its residue modulo the block size. Knows no time,
queue or policy. `sim.reference` holds the same interface written sequence by sequence.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import nan
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from hermesdsl.sim.guessing import Course
    from hermesdsl.sim.identity import Breaks
    from hermesdsl.sim.kv import Hold
    from hermesdsl.sim.walk import Thread

#: Where a sequence is: in the queue, waiting for KV that is under way, decoding, gone.
QUEUED, INCOMING, DECODING, GONE = 0, 1, 2, 3


class Sequence:
    """A request at one engine; `visit` is what its pipeline makes of it (None in tests).

    `prompt`: tokens whose KV its prefill computes; `left`: of these, not computed yet;
    `remaining`: tokens still to be produced (frozen while it decodes). `held`: KV blocks, while it
    is not decoding. While decoding: it joined at step `joined` of the engine with KV of `base`
    tokens, as the `serial`-th; `since` is when its last token before that came. `started`: had
    its first step; `fresh`: has no token from this visit; `again`: was preempted with tokens.
    `turn`: its place among the sequences that came to this engine, 0 before it waits; `swapped`:
    KV blocks it has in host memory. `shared`: full KV blocks below its own, those of `parent` and
    the known ones `pins`; `below`: tokens of `parent`. `text`: breaks in its text (`sim.identity`),
    None if it is not the request's; `names`: ids of its blocks, as far as they were needed; `lost`:
    tokens it must read again.
    `source`: KV at another engine that must be moved here first. `keeps`: its KV outlives it;
    `layerwise`: and begins to move with the last step of its prompt.
    `awaits`: KV that it goes on from is still on its way here; its first token waits for it.
    `carry`: part of a token that speculation had gained it when it was last preempted
    (`sim.speculating`). `rank`: where its KV is, of several data-parallel ranks; -1: nowhere yet.
    `guessed`: its steps of this visit before it joined; `course`: what they bring, where that is
    drawn (`sim.guessing`).
    `visible`: its tokens are the user's. `place`: see `QUEUED` and its like; `cancelled`: to be
    taken out at the next step boundary. `start`, `first`: times of its first step, first token.
    `worked`: seconds of the steps that it was in (`mark`: those of all steps with decodes when it
    last began to decode), `read` of them until its first token; `opened`: step of the engine's
    clock after which it first decoded (-1: not yet).
    """

    __slots__ = ("again", "awaits", "base", "below", "cancelled", "carry", "course",
                 "first", "fresh", "guessed", "held", "joined", "keeps", "layerwise", "left",
                 "lost", "mark", "names", "opened", "parent", "pins", "place", "prompt", "rank",
                 "read", "remaining",
                 "request", "serial", "shared", "since", "source", "start", "started", "swapped",
                 "text", "turn", "visible", "visit", "worked")  # fmt: skip

    def __init__(self, request: int, visit: Thread | None, prompt: int, remaining: int) -> None:
        self.request = request
        self.visit = visit
        self.prompt = prompt
        self.left = prompt
        self.remaining = remaining
        self.held = 0
        self.base = 0
        self.joined = 0
        self.carry = 0
        self.guessed = 0
        self.course: Course | None = None
        self.rank = -1
        self.serial = 0
        self.since = 0.0
        self.started = False
        self.fresh = True
        self.again = False
        self.turn = 0
        self.swapped = 0
        self.shared = 0
        self.pins: tuple[int, ...] = ()
        self.names: tuple[int, ...] = ()
        self.text: Breaks | None = None
        self.below = 0
        self.lost = 0
        self.parent: Hold | None = None
        self.source: Hold | None = None
        self.keeps = False
        self.awaits = False
        self.layerwise = False
        self.visible = True
        self.place = QUEUED
        self.cancelled = False
        self.start = nan
        self.first = nan
        self.worked = 0.0
        self.read = 0.0
        self.mark = 0.0
        self.opened = -1

    @property
    def key(self) -> int:
        """Places what happens at one instant among sequences."""
        return self.visit.key if self.visit is not None else self.request


class Decodes(Protocol):
    """What an engine asks of its decoding sequences, wherever they are."""

    @property
    def count(self) -> int:
        """Sequences decoding."""

    @property
    def clock(self) -> int:
        """Steps done since the run's start."""

    @property
    def context(self) -> float:
        """Tokens of KV that the next step reads, the one each sequence writes included."""

    @property
    def parts(self) -> int:
        """Into how many parts of a token a sequence's `carry` counts."""

    def join(self, sequence: Sequence) -> None:
        """Let a sequence whose KV holds `prompt` tokens decode from the next step on."""

    def need(self, steps: int) -> int:
        """KV blocks that the next `steps` steps take in all."""

    def finished(self) -> list[Sequence]:
        """Take out the sequences that are done now, in the order in which they joined."""

    def drop(self, sequence: Sequence) -> None:
        """Take out one sequence that has not finished."""

    def live(self) -> list[Sequence]:
        """The sequences in the order in which they joined."""

    def opening(self, sequence: Sequence) -> int:
        """Tokens whose KV the first step of a sequence that is about to join will write."""

    def done(self, sequence: Sequence) -> int:
        """Tokens that a sequence has produced since it joined."""

    def carried(self, sequence: Sequence) -> int:
        """What it has of the next token, in parts; for a sequence that has not finished."""

    def produced(self, stepped: int) -> int:
        """Tokens of all sequences so far, which were in `stepped` steps in all; -1: no number."""


class Decoding(Decodes, Protocol):
    """The decoding sequences of one KV memory."""

    def horizon(self, free: int) -> int:
        """Steps until a sequence finishes or the next one would exceed `free` blocks (≥ 1)."""

    def advance(self, steps: int) -> int:
        """Do `steps` steps, at most the horizon; the blocks they took."""

    def drop_last(self) -> Sequence:
        """Take out the sequence that joined last."""


class CountedDecoding:
    """`Decoding` by counters: no operation looks at more than one sequence or one block size."""

    __slots__ = ("_ends", "_grow", "_live", "_serial", "_size", "clock", "context", "count")

    #: See `Decoding`.
    parts: Final = 1

    def __init__(self, block_size: int) -> None:
        self.count = 0
        self.clock = 0
        self.context = 0
        self._size = block_size
        self._serial = 0
        self._live: dict[int, Sequence] = {}
        #: (clock at its end, serial); entries of sequences that were dropped stay until reached.
        self._ends: list[tuple[int, int]] = []
        #: Sequences that take a block in the step which starts when clock ≡ index (mod size).
        self._grow = [0] * block_size

    def join(self, sequence: Sequence) -> None:
        """See `Decoding`."""
        clock = self.clock
        base = sequence.base = sequence.prompt
        sequence.joined = clock
        self._serial = serial = sequence.serial = self._serial + 1
        self._live[serial] = sequence
        heappush(self._ends, (clock + sequence.remaining, serial))
        self._grow[(clock - base) % self._size] += 1
        self.context += base + 1
        self.count += 1

    def need(self, steps: int) -> int:
        """See `Decoding`."""
        if steps == 1:
            return self._grow[self.clock % self._size]
        size = self._size
        grow = self._grow
        first = self.clock % size
        rounds, rest = divmod(steps, size)
        last = first + rest
        if last <= size:
            return rounds * self.count + sum(grow[first:last])
        return rounds * self.count + sum(grow[first:]) + sum(grow[: last - size])

    def horizon(self, free: int) -> int:
        """See `Decoding`."""
        ends, live = self._ends, self._live
        while ends[0][1] not in live:
            heappop(ends)
        steps = ends[0][0] - self.clock
        size, count = self._size, self.count
        if (steps // size + 1) * count <= free or self.need(steps) <= free:
            return steps
        rounds, spare = divmod(free, count)
        most = rounds * size
        at = self.clock
        while most < steps:
            spare -= self._grow[at % size]
            if spare < 0:
                break
            at += 1
            most += 1
        return most

    def advance(self, steps: int) -> int:
        """See `Decoding`."""
        clock, grow = self.clock, self._grow
        first = clock % self._size
        last = first + steps
        if steps == 1:
            taken = grow[first]
        elif last <= self._size:
            taken = sum(grow[first:last])
        else:
            taken = self.need(steps)
        self.clock = clock + steps
        self.context += steps * self.count
        return taken

    def finished(self) -> list[Sequence]:
        """See `Decoding`."""
        ends, clock = self._ends, self.clock
        found: list[Sequence] = []
        while ends and ends[0][0] <= clock:
            sequence = self._live.pop(heappop(ends)[1], None)
            if sequence is not None:
                # As `_leave`, for every sequence ends so.
                start = sequence.joined - sequence.base
                self._grow[start % self._size] -= 1
                self.context -= clock - start + 1
                self.count -= 1
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

    def opening(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        return 1

    def done(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        return self.clock - sequence.joined

    def carried(self, sequence: Sequence) -> int:
        """See `Decoding`."""
        return 0

    def produced(self, stepped: int) -> int:
        """See `Decoding`."""
        return stepped

    def _leave(self, sequence: Sequence) -> None:
        start = sequence.joined - sequence.base
        self._grow[start % self._size] -= 1
        self.context -= self.clock - start + 1
        self.count -= 1
