"""The sequences at one engine: who waits, whose KV is under way, who decodes.

Decides who is admitted, block by block; `sim.yielding` adds who has to give way, `sim.engine` when,
and `sim.liveness` says why that lets everybody through. Knows no step, cost, pipeline or other
engine.
"""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.sim.decoding import (
    DECODING,
    GONE,
    INCOMING,
    QUEUED,
    CountedDecoding,
    Decodes,
    Decoding,
    Sequence,
)
from hermesdsl.sim.kv import Hold, KvBlocks
from hermesdsl.sim.order import SWAPPED, Rank, WaitingQueue
from hermesdsl.sim.planned import DrawnDecoding, PacedDecoding
from hermesdsl.sim.rank_memory import RankedBlocks, RankedDecoding, RankedReuse
from hermesdsl.sim.record import RESIDENCE_ROW
from hermesdsl.sim.reuse import ChainOf, Found, Reuse
from hermesdsl.sim.speculating import SpeculatingDecoding, Speculation

if TYPE_CHECKING:
    from hermesdsl.sim.guessing import Guessing
    from hermesdsl.sim.holding import Holding
    from hermesdsl.sim.kernel import Kernel
    from hermesdsl.sim.record import Recorder
    from hermesdsl.sim.swap import HostMemory

#: A prompt slice of a step: the sequence and its tokens.
Slice: TypeAlias = "tuple[Sequence, int]"


class Residents:
    """Sequences at the client of number `index`, at most `max_batch` of them in the batch.

    `host`: where preempted KV goes; None: it is given up and computed again. `accepted`: prompt
    tokens handed in; `recomputed`: added by preemption (counted as first prefilled, then lost).
    `reuse`: how prompts find KV that is here already; None: they do not. `queries`: tokens of each
    decoding sequence in a step, more than one with speculation, of which `guessing` draws how many
    are right, if that is drawn. `dealt`: how many decode on each of
    several data-parallel ranks; None: there is one (`sim.ranks`).
    """

    __slots__ = (
        "_begun", "_cancelled", "_decoded_at", "_incoming", "_kernel", "_known", "_passed",
        "_ready", "_recorder", "_slices", "accepted", "advance", "ahead", "dealt", "decoded_s",
        "decoding", "guessing", "host", "index", "kv", "max_batch", "parts",
        "preemptions", "queries", "recomputed", "reuse", "waiting",
    )  # fmt: skip

    def __init__(
        self, index: int, kv: KvBlocks | RankedBlocks, max_batch: int, rank: Rank,
        host: HostMemory | None,
        kernel: Kernel, recorder: Recorder, chain: ChainOf | None,
        speculation: Speculation | None, guessing: Guessing | None,
    ) -> None:  # fmt: skip
        self.index = index
        self.kv = kv
        self.max_batch = max_batch
        self.dealt = [0] * len(kv.parts) if len(kv.parts) > 1 else None
        self.queries = 1 if speculation is None else speculation.guesses + 1
        #: Tokens that a decoding sequence gains per step.
        self.advance = 1.0 if speculation is None else speculation.advance
        self.guessing = guessing
        #: The KV memory of each data-parallel rank, and who decodes there; one without ranks.
        self.parts = tuple(
            (part, self._make_decoding(part.size, self.advance, part.holding, guessing))
            for part in kv.parts
        )
        self.decoding: Decodes = self.parts[0][1]
        self.waiting = self._make_queue(rank)
        self.host = host
        self.reuse: Reuse | RankedReuse | None = None
        if chain is not None:
            self.reuse = Reuse(kv.parts[0], chain)
        if self.dealt is not None:
            self.decoding = RankedDecoding(tuple(decoding for _, decoding in self.parts))
            if chain is not None:
                self.reuse = RankedReuse(tuple(Reuse(part, chain) for part in kv.parts))
        #: Steps are put together one ahead; the last turn in the queue that the next one knows of;
        #: whether the head was passed over because it came later.
        self.ahead = False
        self._known = 0
        self._passed = False
        self.accepted = 0
        self.recomputed = 0
        self.preemptions = 0
        self._kernel = kernel
        self._recorder = recorder
        #: Sequences with blocks here whose KV is under way or has arrived (`_ready`).
        self._incoming: dict[Sequence, None] = {}
        self._ready: list[Sequence] = []
        #: The prompts of the step that runs.
        self._slices: list[Slice] = []
        #: Something in the batch is to be taken out at the next boundary.
        self._cancelled = False
        #: End of the last step in which anything decoded; who begins with the next step.
        self._decoded_at = 0.0
        self._begun: list[Sequence] = []
        #: Seconds of all steps so far in which anything decoded.
        self.decoded_s = 0.0

    def _make_decoding(
        self, block_size: int, advance: float, holding: Holding | None, guessing: Guessing | None
    ) -> Decoding:
        if guessing is not None:
            return DrawnDecoding(block_size, guessing, holding)
        if holding is not None:
            return PacedDecoding(block_size, advance, holding)
        if advance == 1.0:
            return CountedDecoding(block_size)
        return SpeculatingDecoding(block_size, advance)

    def _make_queue(self, rank: Rank) -> WaitingQueue:
        return WaitingQueue(rank)

    def fits(self, tokens: int) -> bool:
        """True if KV of `tokens` tokens of one sequence can ever be held here."""
        return self.kv.blocks(tokens) <= self.kv.capacity

    def swapped(self) -> int:
        """KV blocks in host memory of everything that is here."""
        return sum(s.swapped for s in (*self.waiting, *self._incoming))

    @property
    def seated(self) -> int:
        """Sequences that decode or whose KV is under way here."""
        return self.decoding.count + len(self._incoming)

    def seats(self) -> int:
        """How many more sequences the batch may take."""
        return self.max_batch - self.decoding.count - len(self._incoming)

    def fill(
        self, budget: float, reserve: int, now: float, *, whole: bool, beside: bool = False,
        most: int | None = None,
    ) -> list[Slice]:  # fmt: skip
        """Take prompts from the head of the queue, in order, for up to `budget` tokens.

        `beside`: all decodes are in the step too, and take their tokens of the budget first.
        A prompt is admitted when there is a seat and its KV fits beside `reserve` blocks; its
        blocks are taken at once. `whole`: no prompt is cut, and one above the budget goes alone.
        Otherwise the last is cut to the budget and stays at the head. `most`: sequences to take.
        """
        if self.dealt is not None:
            return self._fill_ranks(self.dealt, budget, now, whole, beside, most)
        waiting = self.waiting
        entries = waiting.entries
        slices: list[Slice] = []
        if not entries:
            return slices
        if beside:
            budget -= self.decoding.count * self.queries
        spare = self.kv.free - reserve
        seats = self.seats() if most is None else min(most, self.seats())
        ahead = self.ahead
        while entries and seats > 0 and budget > 0:
            sequence = waiting.head
            if ahead:
                self._passed = sequence.turn > self._known and self.decoding.count > 0
                if self._passed:
                    break
            if sequence.source is not None and sequence.source.lost:
                self._read_again(sequence, now)
            found = self.reuse.look_up(sequence) if self.reuse is not None else None
            left = sequence.left - found.tokens if found is not None else sequence.left
            if whole and slices and left > budget:
                break
            taken = self._take(sequence, found, spare)
            if taken < 0:
                break
            spare -= taken
            seats -= 1
            if sequence.source is not None or not left:
                budget -= self._go_straight(sequence, now)
                continue
            if not sequence.started:
                self._start(sequence, now)
            take = left if whole or left <= budget else int(budget)
            slices.append((sequence, take))
            budget -= take
            if take < left:
                waiting.hold_head()
                break
            waiting.pop()
            if entries:
                self._prune()
        return slices

    def _take(self, sequence: Sequence, found: Found | None, spare: int) -> int:
        """Take the KV blocks of the head of the queue; how many, -1 if that is above `spare`."""
        kv, prompt = self.kv.of(sequence), sequence.prompt
        taken = need = kv.blocks(prompt) - sequence.shared - sequence.held
        if found is not None:
            need -= len(found.blocks)
            taken = need + found.idle
        if not sequence.left and sequence.source is None:
            # What goes straight to decoding takes its first step's blocks with it.
            taken += kv.blocks(prompt + self.decoding.opening(sequence)) - kv.blocks(prompt)
        if taken > spare:
            return -1
        kv.free -= need
        sequence.held += need
        if self.reuse is not None:
            if found is not None:
                new = self.reuse.take(sequence, found)
                self._recorder.cached[sequence.request] += new
                self.recomputed -= found.tokens - new
            kv.trim()
        return taken

    def _go_straight(self, sequence: Sequence, now: float) -> int:
        """The head of the queue has nothing to read: it decodes, now or once its KV has come.

        The tokens it has in the step that begins now.
        """
        self.waiting.pop()
        if sequence.source is None and not sequence.swapped:
            self._start(sequence, now)
            self._join(sequence)
            tokens = self.queries
        else:
            self._incoming[sequence] = None
            sequence.place = INCOMING
            self._bring(sequence, now)
            tokens = 0
        self._prune()
        return tokens

    def outstanding(self) -> tuple[int, int]:
        """(prompt tokens not yet computed, KV blocks in use) of everything that is here."""
        queue = [*self._undecided(), *self._incoming]
        decoding, kv = self.decoding, self.kv
        held = sum(s.held for s in queue) + kv.kept + kv.pinned
        held += sum(kv.blocks(s.base + decoding.done(s)) - s.shared for s in decoding.live())
        return sum(s.left for s in queue), held

    def pins(self) -> int:
        """Uses of known blocks by everything that is here, kept KV included."""
        sequences = (*self._undecided(), *self._incoming, *self.decoding.live())
        return sum(len(s.pins) for s in sequences) + sum(len(hold.pins) for hold in self.kv.holds)

    def _undecided(self) -> list[Sequence]:
        """Whoever waits or is being read."""
        waiting = dict.fromkeys(self.waiting)
        return [*waiting, *(s for s, _ in self._slices if s not in waiting)]

    def reusable(self, chain: Ordered[int]) -> int:
        """Tokens of a text whose KV a prompt that began with it would find here now.

        `chain`: ids of its full blocks of this engine's size (`Identities.chain`). Uses nothing;
        0 without a prefix cache.
        """
        return self.reuse.reusable(chain) if self.reuse is not None else 0

    # --- coming and going -------------------------------------------------------------------------

    def _start(self, sequence: Sequence, now: float) -> None:
        if not sequence.started:
            sequence.started = True
            sequence.start = now
            self._begun.append(sequence)

    def _join(self, sequence: Sequence) -> None:
        sequence.held = 0
        sequence.place = DECODING
        if self.dealt is not None:
            self.dealt[sequence.rank] += 1
        sequence.mark = self.decoded_s
        self.decoding.join(sequence)
        if sequence.opened < 0:
            sequence.opened = sequence.joined

    def _join_ready(self, now: float) -> None:
        for sequence in self._ready:
            del self._incoming[sequence]
            if sequence.cancelled:
                # Its KV may have been on the way still: nobody is told of it.
                self._discard(sequence)
                continue
            if self.reuse is not None:
                self.reuse.publish(sequence, sequence.prompt - sequence.left)
            if sequence.left:
                sequence.place = QUEUED
                self.waiting.push(sequence, SWAPPED)
            elif sequence.fresh:
                self._end_prompt(sequence, now)
            else:
                self._start(sequence, now)
                self._join(sequence)
        self._ready.clear()

    def resume(self, sequence: Sequence, hold: Hold) -> None:
        """Let a sequence that is not yet here go on from kept KV: its own, or shared from now on.

        The caller's reference passes to the sequence.
        """
        self.kv.resume(sequence, hold)

    def _discard(self, sequence: Sequence) -> None:
        """Forget a cancelled sequence that is not decoding: what it has not read it never will."""
        self.accepted -= sequence.left
        sequence.left = 0
        sequence.place = GONE
        self._forget_copy(sequence)
        self.kv.release(sequence)
        self._prune()

    def _forget_copy(self, sequence: Sequence) -> None:
        """What a waiting sequence has in host memory is of no use any more."""
        if sequence.swapped:
            assert self.host is not None
            self.host.held -= sequence.swapped
            self.host.back += sequence.swapped
            sequence.swapped = 0

    def _take_out(self) -> None:
        """At a step boundary, take what was cancelled out of the batch."""
        self._cancelled = False
        decoding = self.decoding
        for sequence in decoding.live():
            if sequence.cancelled:
                decoding.drop(sequence)
                sequence.place = GONE
                self._stop_decoding(sequence)
                self.kv.release(sequence)

    def _stop_decoding(self, sequence: Sequence) -> int:
        """A sequence decodes no longer: its KV is its own to count. Returns the tokens of that."""
        tokens = sequence.base + self._record_residence(sequence)
        sequence.held = self.kv.blocks(tokens) - sequence.shared
        if self.reuse is not None:
            self.reuse.publish(sequence, tokens)
        return tokens

    def _prune(self) -> None:
        waiting = self.waiting
        entries = waiting.entries
        while entries and waiting.head.place == GONE:
            waiting.pop()

    def _read_again(self, sequence: Sequence, now: float) -> None:
        """The KV that was to be moved here is lost."""
        assert sequence.source is not None
        sequence.source.engine.release(sequence.source, now)
        if not sequence.left:
            sequence.prompt += 1
        sequence.lost = sequence.prompt - sequence.left
        self.recomputed += sequence.lost
        sequence.left = sequence.prompt
        sequence.source = None

    def _end_prompt(self, sequence: Sequence, now: float) -> None:
        """A prompt has been read, and what else its first token waits for is here."""
        raise NotImplementedError

    def _advance(self, steps: int) -> None:
        """Do so many steps of all decodes, which take their blocks."""
        raise NotImplementedError

    def _bring(self, sequence: Sequence, now: float) -> None:
        """Begin to move KV, for which blocks were just taken, from wherever it is."""
        raise NotImplementedError

    def _fill_ranks(
        self, dealt: list[int], budget: float, now: float, whole: bool, beside: bool,
        most: int | None,
    ) -> list[Slice]:  # fmt: skip
        """As `fill`, where `budget` and `most` are those of each rank."""
        raise NotImplementedError

    def _record_residence(self, sequence: Sequence) -> int:
        """The stay of a sequence among those that decode, until now; the tokens that it brought."""
        clock = self.decoding.clock
        recorder = self._recorder
        request, done = sequence.request, self.decoding.done(sequence)
        recorder.generated[request] += done
        if self.dealt is not None:
            self.dealt[sequence.rank] -= 1
        sequence.worked += self.decoded_s - sequence.mark
        if sequence.visible:
            recorder.visible[request] += done
            carry = sequence.carry and sequence.carry / self.decoding.parts
            if self.guessing is not None:
                carry = recorder.drawn(self.guessing.gains(sequence, clock - sequence.joined))
            recorder.residences.frombytes(RESIDENCE_ROW(
                request, self.index, sequence.joined, clock, sequence.since, done, carry
            ))  # fmt: skip
        return done
