"""An LLM engine: a queue, iteration-level batches, paged KV, and decode steps taken many at once.

What one step holds is decided by a batching policy (`sim.batching`); how long it takes by a cost
model. Between changes of its composition, a batch of decodes is one *run*: the end of its j-th
step is defined as the run's start plus `DecodeRun.seconds(j)`, and one event stands for all its
steps. A run ends

- when a sequence finishes,
- when the next step would take more KV blocks than are free,
- at the end of the step during which something came that may join: a request at the head of the
  queue while the batch has a seat, KV that was handed over, or blocks that were given back.

Knows no pipeline, router or other engine; `sim.reference` replaces the run by single steps.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf, nextafter
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.cost.types import DecodeRun, EngineCost, StepWork
from hermesdsl.sim import batching
from hermesdsl.sim.decoding import (
    DECODING,
    GONE,
    INCOMING,
    QUEUED,
    CountedDecoding,
    Decoding,
    Sequence,
    first_step_at,
)
from hermesdsl.sim.kernel import DELIVERY, STEP, WAKE, Kernel
from hermesdsl.sim.kv import Hold, KvBlocks
from hermesdsl.sim.order import SWAPPED, Rank, WaitingQueue
from hermesdsl.sim.record import Recorder

if TYPE_CHECKING:
    from hermesdsl.graph.types import Client
    from hermesdsl.sim.batching import Batching
    from hermesdsl.sim.swap import HostMemory

#: A prompt slice of a step: the sequence and its tokens.
Slice: TypeAlias = "tuple[Sequence, int]"
#: What an engine calls with (itself, sequence, seconds).
Notice: TypeAlias = "Callable[[Engine, Sequence, float], None]"

#: The same, with two times.
Reading: TypeAlias = "Callable[[Engine, Sequence, float, float], None]"

#: What an engine has whose options leave it out (the schema's own defaults).
DEFAULT_MAX_BATCH = 256
DEFAULT_BLOCK_SIZE = 16

_IDLE, _STEPPING, _RUNNING = 0, 1, 2


class Engine:
    """One client of type ``LlmEngine``, the `index`-th of the run.

    `reading` is called with (engine, sequence, start, end) of the step that completes a prompt
    whose KV moves layer by layer, when that step is put together. `leave` is called with a sequence
    that has got all it came for, its KV already freed unless
    it says ``keeps`` (then `keep` makes a `Hold` of it, and `release` frees that); `fetch` with one
    whose KV at another engine has been given blocks here and must now be moved (then `deliver`
    hands it in).
    """

    __slots__ = (
        "_cancelled", "_decoded_at", "_fetch", "_free_from", "_incoming", "_interrupted", "_kernel",
        "_leave", "_limit", "_reading", "_ready", "_recorder", "_run", "_run_start", "_slices",
        "_state", "_step_decodes", "_step_start", "_version", "accepted", "batching", "cost",
        "decoded_s", "decoding", "holds", "host", "idle_since", "index", "kept", "key", "kv",
        "max_batch", "path", "preemptions", "prompts_done", "recomputed", "stale", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        index: int,
        client: Client,
        cost: EngineCost,
        kernel: Kernel,
        recorder: Recorder,
        *,
        rank: Rank,
        reading: Reading,
        leave: Notice,
        fetch: Notice,
        host: HostMemory | None = None,
    ) -> None:
        size = block_size(client)
        self.index = index
        #: Places what happens at one instant among clients.
        self.key = index
        self.path = client.path
        self.cost = cost
        self.batching: Batching = batching.make(client.options)
        self.max_batch = _count(client, "max_batch", DEFAULT_MAX_BATCH)
        self.kv = KvBlocks(cost.kv_tokens, size)
        self.decoding = self._make_decoding(size)
        self.waiting = self._make_queue(rank)
        #: Where preempted KV goes; None: it is given up and computed again.
        self.host = host
        #: Prompt tokens handed in, and added by preemption (counted as first prefilled, then lost).
        self.accepted = 0
        self.recomputed = 0
        self.preemptions = 0
        self.prompts_done = 0
        #: KV that outlives its sequences, in the order in which they left, and its blocks.
        self.holds: dict[Hold, None] = {}
        self.kept = 0
        self._kernel = kernel
        self._recorder = recorder
        self._reading = reading
        self._leave = leave
        self._fetch = fetch
        #: Sequences with blocks here whose KV is under way or has arrived (`_ready`).
        self._incoming: dict[Sequence, None] = {}
        self._ready: list[Sequence] = []
        #: Something in the batch is to be taken out at the next boundary.
        self._cancelled = False
        self._state = _IDLE
        self._slices: list[Slice] = []
        self._step_start = 0.0
        self._step_decodes = False
        #: End of the last step in which anything decoded; earliest start of the next step.
        self._decoded_at = 0.0
        self._free_from = 0.0
        #: Seconds of all steps so far in which anything decoded.
        self.decoded_s = 0.0
        self._run = DecodeRun((), 1, 0.0)
        self._run_start = 0.0
        self._limit = 0
        self._interrupted = False
        self._version = 0
        #: Events of run ends that were planned and will not be; when it last fell idle.
        self.stale = 0
        self.idle_since = 0.0

    def _make_decoding(self, block_size: int) -> Decoding:
        return CountedDecoding(block_size)

    def _make_queue(self, rank: Rank) -> WaitingQueue:
        return WaitingQueue(rank)

    # --- from outside ----------------------------------------------------------------------

    def fits(self, tokens: int) -> bool:
        """True if KV of `tokens` tokens of one sequence can ever be held here."""
        return self.kv.blocks(tokens) <= self.kv.capacity

    def submit(self, sequence: Sequence, now: float, *, arrival: bool = True) -> None:
        """Let a sequence wait where its rank says; one that has KV here before all that have none.

        An `arrival` at the very end of a step is there when the next step is put together; what
        another client sends on is not (it comes after all steps that end at that time).
        """
        waiting = self.waiting
        if sequence.held or sequence.parent is not None:
            waiting.push(sequence, SWAPPED)
        else:
            waiting.push(sequence)
        self.accepted += sequence.left
        if self._state == _IDLE or (waiting.head is sequence and self.seats() > 0):
            self._poke(now, now if arrival else nextafter(now, inf))

    def deliver(self, sequence: Sequence, now: float) -> None:
        """Hand in the KV that `fetch` was asked for: the sequence goes on with the next step."""
        sequence.source = None
        self._ready.append(sequence)
        self._poke(now, nextafter(now, inf))

    def cancel(self, sequence: Sequence, now: float) -> None:
        """Take a sequence out, at once if it waits, else at the next step boundary."""
        sequence.cancelled = True
        sequence.keeps = False
        stepping = self._state == _STEPPING and any(s is sequence for s, _ in self._slices)
        if sequence.place == QUEUED and not stepping:
            self._discard(sequence, now)
            self._given_back(now)
        elif sequence.place != GONE:
            self._cancelled = True
            self._poke(now, nextafter(now, inf))

    # --- KV that outlives a sequence ---------------------------------------------------------

    def keep(self, sequence: Sequence, tokens: int, hold: Hold | None = None) -> Hold:
        """The KV of `tokens` tokens that a sequence has just left; as `hold`, if it exists."""
        if hold is None:
            hold = Hold(self, tokens, sequence.held, sequence.shared, sequence.parent)
        else:
            hold.blocks, hold.shared, hold.parent = sequence.held, sequence.shared, sequence.parent
        self.kept += hold.blocks
        self.holds[hold] = None
        return hold

    def resume(self, sequence: Sequence, hold: Hold) -> None:
        """Let a sequence that is not yet here go on from kept KV: its own, or shared from now on.

        The caller's reference passes to the sequence.
        """
        if hold.refs == 1:
            sequence.held, sequence.shared, sequence.parent = hold.blocks, hold.shared, hold.parent
            self.kept -= hold.blocks
            del self.holds[hold]
            if hold.freed is not None:
                hold.freed(self.index)
        else:
            hold.children += 1
            sequence.parent = hold
            sequence.shared = hold.tokens // self.kv.size

    def release(self, hold: Hold, now: float) -> None:
        """Drop one reference to kept KV; without any, its blocks are free."""
        if self._drop(hold):
            self._given_back(now)

    def give_up(self, now: float) -> bool:
        """Free KV for whoever waits, when nothing else can happen; False if there is none.

        The kept KV that came last and that nothing lies on; else whoever came last of those that
        wait with KV below them lets go of it.
        """
        for hold in reversed(self.holds):
            if not (hold.children or hold.moving or hold.lost):
                self.preemptions += 1
                hold.lost = True
                self.kv.free += hold.blocks
                self.kept -= hold.blocks
                hold.blocks = 0
                parent, hold.parent = hold.parent, None
                self._drop_parent(parent)
                self._poke(now, nextafter(now, inf))
                return True
        sharing = [s for s in self.waiting if s.parent is not None]
        if not sharing:
            return False
        head = self.waiting.head
        last = max(sharing, key=lambda s: (s is not head, s.turn))
        self.preemptions += 1
        self._free(last, last.held)
        last.shared = 0
        if not last.left:
            last.prompt += 1
        self._lose(last)
        self._poke(now, nextafter(now, inf))
        return True

    def _given_back(self, now: float) -> None:
        if self._state == _RUNNING:
            self._extend()
        if self.waiting:
            self._poke(now, nextafter(now, inf))

    def _drop(self, hold: Hold) -> int:
        hold.refs -= 1
        if hold.refs:
            return 0
        freed = hold.blocks
        self.kv.free += freed
        self.kept -= freed
        del self.holds[hold]
        if hold.freed is not None:
            hold.freed(self.index)
        return freed + self._drop_parent(hold.parent)

    def _drop_parent(self, parent: Hold | None) -> int:
        if parent is None:
            return 0
        parent.children -= 1
        return self._drop(parent)

    def settle(self, until: float) -> None:
        """Count what was done by `until`, when the run is cut there."""
        if self._state == _RUNNING:
            self._settle_run(until)
        for sequence in self.decoding.live():
            self._record_residence(sequence)

    def outstanding(self) -> tuple[int, int]:
        """(prompt tokens not yet computed, KV blocks held) of everything that is here."""
        started = [sequence for sequence, _ in self._slices] if self._state == _STEPPING else []
        half = [s for s in started if not (self.waiting and s is self.waiting.head)]
        queue = [*self.waiting, *half]
        clock = self.decoding.clock
        held = sum(s.held for s in queue) + sum(s.held for s in self._incoming)
        blocks = self.kv.blocks
        held += sum(blocks(s.base + clock - s.joined) - s.shared for s in self.decoding.live())
        left = sum(s.left for s in queue) + sum(s.left for s in self._incoming)
        return left, held + self.kept

    def swapped(self) -> int:
        """KV blocks in host memory of everything that is here."""
        return sum(s.swapped for s in (*self.waiting, *self._incoming))

    # --- for batching policies -------------------------------------------------------------

    @property
    def seated(self) -> int:
        """Sequences that decode or whose KV is under way here."""
        return self.decoding.count + len(self._incoming)

    def seats(self) -> int:
        """How many more sequences the batch may take."""
        return self.max_batch - self.seated

    def make_room(self) -> int:
        """Preempt until one step of all decodes fits; the KV blocks that step takes."""
        decoding, kv = self.decoding, self.kv
        need = decoding.need(1)
        while need > kv.free:
            self._preempt()
            need = decoding.need(1)
        return need

    def fill(
        self, budget: float, reserve: int, now: float, *, whole: bool, most: int | None = None
    ) -> list[Slice]:
        """Take prompts from the head of the queue, in order, for up to `budget` tokens.

        A prompt is admitted when there is a seat and its KV fits beside `reserve` blocks; its
        blocks are taken at once. `whole`: no prompt is cut, and one above the budget goes alone.
        Otherwise the last is cut to the budget and stays at the head. `most`: sequences to take.
        """
        waiting, kv = self.waiting, self.kv
        slices: list[Slice] = []
        if not waiting:
            return slices
        spare = kv.free - reserve
        seats = self.seats() if most is None else min(most, self.seats())
        while waiting and seats > 0 and budget > 0:
            sequence = waiting.head
            if sequence.source is not None and sequence.source.lost:
                self._read_again(sequence, now)
            left = sequence.left
            if whole and slices and left > budget:
                break
            need = kv.blocks(sequence.prompt) - sequence.shared - sequence.held
            # What goes straight to decoding takes its first step's block with it.
            step = 0 if left else kv.blocks(sequence.prompt + 1) - kv.blocks(sequence.prompt)
            if need + step:
                arrives = sequence.source is not None
                if need + (0 if arrives else step) > spare:
                    break
                spare -= need if arrives else need + step
                kv.free -= need
                sequence.held += need
            seats -= 1
            if sequence.source is not None or not left:
                waiting.pop()
                if sequence.source is None and not sequence.swapped:
                    budget -= 1
                    self._start(sequence, max(now, self._free_from))
                    self._join(sequence)
                else:
                    self._incoming[sequence] = None
                    sequence.place = INCOMING
                    self._bring(sequence, now)
                self._prune()
                continue
            if not sequence.started:
                self._start(sequence, max(now, self._free_from))
            take = left if whole or left <= budget else int(budget)
            slices.append((sequence, take))
            budget -= take
            if take < left:
                waiting.hold_head()
                break
            waiting.pop()
            self._prune()
        return slices

    # --- steps -----------------------------------------------------------------------------

    def _poke(self, now: float, earliest: float) -> None:
        """Something came that may change the batch: look at the next boundary from `earliest`."""
        if self._state == _IDLE:
            self._state = _STEPPING
            self._slices = []
            self._kernel.at(now, WAKE, self.key, self._wake)
        elif self._state == _RUNNING:
            self._interrupt(earliest)

    def _wake(self, now: float, _: int) -> None:
        self._next(now)

    def _next(self, now: float) -> None:
        """Begin the next step or run, or fall idle."""
        if self._cancelled:
            self._take_out(now)
        if self._ready:
            self._join_ready(now)
        slices, decodes = self.batching.plan(self, now)
        while not slices and not self.decoding.count and self._unblock():
            slices, decodes = self.batching.plan(self, now)
        if slices:
            self._begin_step(slices, decodes, now)
        elif self.decoding.count:
            self._begin_run(now)
        else:
            self._state = _IDLE
            self.idle_since = now

    def _unblock(self) -> bool:
        """Nothing can run: give up the KV of who came last and waits with it behind the head."""
        waiting = self.waiting
        if not waiting or self._incoming:
            return False
        head = waiting.head
        holders = [s for s in waiting if s.held and s is not head]
        if not holders:
            return False
        last = max(holders, key=lambda s: s.turn)
        self.preemptions += 1
        self.kv.free += last.held
        if not last.left:
            last.prompt += 1
        self._lose(last)
        return True

    def _begin_step(self, slices: list[Slice], decodes: bool, now: float) -> None:
        prefill = sampled = kv_read = 0
        pairs = 0.0
        for sequence, take in slices:
            done = sequence.prompt - sequence.left
            prefill += take
            kv_read += done + take
            pairs += take * done + take * (take + 1) / 2
            sampled += take == sequence.left
        batch = self.decoding.count if decodes else 0
        context = self.decoding.context if batch else 0
        work = StepWork(
            prefill + batch, sampled + batch, len(slices), prefill, pairs, kv_read, batch, context
        )
        self._state = _STEPPING
        self._slices = slices
        self._step_decodes = batch > 0
        self._step_start = start = max(now, self._free_from)
        end = start + self.cost.step(work)
        self._kernel.at(end, STEP, self.key, self._end_step, prefill)
        for sequence, take in slices:
            if sequence.layerwise and take == sequence.left:
                self._reading(self, sequence, start, end)

    def _end_step(self, now: float, prefill: int) -> None:
        decoding, kv = self.decoding, self.kv
        batch = 0
        if self._step_decodes:
            batch = decoding.count
            kv.free -= decoding.advance(1)
            self._decoded_at = now
            self.decoded_s += now - self._step_start
        start = self._step_start
        self._recorder.steps.extend((
            self.index, start, now, 1, batch, batch + prefill, prefill, kv.used, now - start
        ))  # fmt: skip
        if batch:
            self._end_sequences(decoding.finished(), now)
        for sequence, take in self._slices:
            sequence.left -= take
            sequence.worked += now - start
            if sequence.cancelled:
                self._discard(sequence, now)
            elif not sequence.left:
                self._end_prompt(sequence, now)
        self._next(now)

    def _begin_run(self, now: float) -> None:
        decoding = self.decoding
        self._run = self.cost.decode_run(decoding.count, decoding.context)
        self._run_start = max(now, self._free_from)
        self._state = _RUNNING
        self._plan_run()

    def _plan_run(self) -> None:
        self._interrupted = False
        self._end_run_after(self.decoding.horizon(self.kv.free))

    def _end_run_after(self, steps: int) -> None:
        self._limit = steps
        self._version += 1
        end = self._run_start + self._run.seconds(steps)
        self._kernel.at(end, STEP, self.key, self._end_run, self._version)

    def _end_run(self, now: float, version: int) -> None:
        if version != self._version:
            self.stale -= 1
        else:
            self._advance(self._limit)
            self._record_run(self._limit)
            self._end_sequences(self.decoding.finished(), now)
            self._next(now)

    def _extend(self) -> None:
        """Blocks were given back: memory may end the run later, unless it was interrupted."""
        if not self._interrupted:
            steps = self.decoding.horizon(self.kv.free)
            if steps > self._limit:
                self.stale += 1
                self._end_run_after(steps)

    def _interrupt(self, earliest: float) -> None:
        """End the run with its first step that ends at `earliest` or later."""
        self._interrupted = True
        limit = self._limit
        if limit > 1:
            steps = first_step_at(self._run, earliest, self._run_start, limit)
            if steps < limit:
                self.stale += 1
                self._end_run_after(steps)

    def _settle_run(self, until: float) -> None:
        after = nextafter(until, inf)
        steps = first_step_at(self._run, after, self._run_start, self._limit) - 1
        if steps:
            self._advance(steps)
            self._record_run(steps)

    def _advance(self, steps: int) -> None:
        self.kv.free -= self.decoding.advance(steps)

    # --- sequences -------------------------------------------------------------------------

    def _start(self, sequence: Sequence, now: float) -> None:
        if not sequence.started:
            sequence.started = True
            sequence.start = now

    def _join(self, sequence: Sequence) -> None:
        sequence.held = 0
        sequence.place = DECODING
        sequence.mark = self.decoded_s
        self.decoding.join(sequence)
        if sequence.opened < 0:
            sequence.opened = sequence.joined

    def _join_ready(self, now: float) -> None:
        for sequence in self._ready:
            del self._incoming[sequence]
            if sequence.cancelled:
                self._discard(sequence, now)
            elif sequence.left:
                sequence.place = QUEUED
                self.waiting.push(sequence, SWAPPED)
            else:
                self._start(sequence, now)
                self._join(sequence)
        self._ready.clear()

    def _end_prompt(self, sequence: Sequence, now: float) -> None:
        """The step that completes a prompt brings a token: the first, unless it was preempted."""
        request = sequence.request
        recorder = self._recorder
        self.prompts_done += 1
        recorder.generated[request] += 1
        sequence.since = now
        if sequence.visible:
            recorder.show(request, 1, now)
        if sequence.fresh:
            sequence.fresh = False
            sequence.first = now
            sequence.read = sequence.worked
        sequence.remaining -= 1
        if sequence.remaining:
            self._join(sequence)
            return
        sequence.place = GONE
        if sequence.again and sequence.visible:
            recorder.residences.extend(
                (request, self.index, self.decoding.clock, self.decoding.clock, now)
            )
        if not sequence.keeps:
            self._free(sequence, sequence.held)
        self._leave(self, sequence, now)

    def _end_sequences(self, finished: list[Sequence], now: float) -> None:
        # The step is over: what happens now is seen when the next one is put together.
        self._state = _STEPPING
        clock, blocks = self.decoding.clock, self.kv.blocks
        for sequence in finished:
            self._record_residence(sequence)
            sequence.place = GONE
            held = blocks(sequence.base + clock - sequence.joined) - sequence.shared
            if sequence.keeps:
                sequence.held = held
            else:
                self._free(sequence, held)
            if not sequence.cancelled:
                self._leave(self, sequence, now)

    def _free(self, sequence: Sequence, blocks: int) -> None:
        """Free the KV of a sequence that is leaving, and its claim to what lies below."""
        self.kv.free += blocks
        sequence.held = 0
        if sequence.parent is not None:
            parent, sequence.parent = sequence.parent, None
            self._drop_parent(parent)

    def _discard(self, sequence: Sequence, now: float) -> None:
        """Forget a cancelled sequence that is not decoding: what it has not read it never will."""
        self.accepted -= sequence.left
        sequence.left = 0
        sequence.place = GONE
        if sequence.swapped:
            assert self.host is not None
            self.host.held -= sequence.swapped
            self.host.back += sequence.swapped
            sequence.swapped = 0
        self._free(sequence, sequence.held)
        self._prune()

    def _take_out(self, now: float) -> None:
        """At a step boundary, take what was cancelled out of the batch."""
        self._cancelled = False
        decoding = self.decoding
        for sequence in decoding.live():
            if sequence.cancelled:
                decoding.drop(sequence)
                self._record_residence(sequence)
                sequence.place = GONE
                tokens = sequence.base + decoding.clock - sequence.joined
                self._free(sequence, self.kv.blocks(tokens) - sequence.shared)

    def _prune(self) -> None:
        waiting = self.waiting
        while waiting and waiting.head.place == GONE:
            waiting.pop()

    def _preempt(self) -> None:
        """Take the KV of whoever was admitted last: a prompt read in part, or the last to decode.

        Its KV is swapped out if there is a host memory with room, else given up. A prompt read in
        part is always given up: nothing has been produced from its KV yet.
        """
        self.preemptions += 1
        waiting = self.waiting
        if waiting and waiting.head.held and waiting.head.started:
            sequence = waiting.pop()
            self.kv.free += sequence.held
            self._lose(sequence)
            waiting.push(sequence)
            return
        sequence = self.decoding.drop_last()
        self._record_residence(sequence)
        sequence.place = QUEUED
        done = self.decoding.clock - sequence.joined
        tokens = sequence.base + done
        blocks = self.kv.blocks(tokens) - sequence.shared
        self.kv.free += blocks
        sequence.remaining -= done
        sequence.again = True
        if self.host is not None and self.host.fits(blocks):
            if done:
                sequence.since = self._decoded_at
            sequence.prompt, sequence.left = tokens, 0
            sequence.swapped = blocks
            self._free_from = self.host.store(blocks, max(self._kernel.now, self._free_from))
            waiting.push(sequence, SWAPPED)
        else:
            sequence.prompt = tokens + 1
            self._lose(sequence)
            waiting.push(sequence)

    def _lose(self, sequence: Sequence) -> None:
        """Its own KV is given up: all but what it shares has to be read again."""
        shared = sequence.parent.tokens if sequence.parent is not None else 0
        sequence.held = 0
        self.recomputed += sequence.prompt - shared - sequence.left
        sequence.left = sequence.prompt - shared

    def _read_again(self, sequence: Sequence, now: float) -> None:
        """The KV that was to be moved here is lost."""
        assert sequence.source is not None
        sequence.source.engine.release(sequence.source, now)
        if not sequence.left:
            sequence.prompt += 1
        self.recomputed += sequence.prompt - sequence.left
        sequence.left = sequence.prompt
        sequence.source = None

    def _bring(self, sequence: Sequence, now: float) -> None:
        """Begin to move KV, for which blocks were just taken, from wherever it is."""
        if not sequence.swapped:
            self._fetch(self, sequence, now)
            return
        assert self.host is not None
        end = self.host.load(sequence.swapped, max(now, self._free_from))
        key = _key(sequence)
        self._kernel.at(end, DELIVERY, key, self._swapped_in, key)

    def _swapped_in(self, now: float, key: int) -> None:
        sequence = next(s for s in self._incoming if s.swapped and _key(s) == key)
        assert self.host is not None
        self.host.held -= sequence.swapped
        sequence.swapped = 0
        self.deliver(sequence, now)

    # --- records ---------------------------------------------------------------------------

    def _record_residence(self, sequence: Sequence) -> None:
        clock = self.decoding.clock
        recorder = self._recorder
        request, done = sequence.request, clock - sequence.joined
        recorder.generated[request] += done
        sequence.worked += self.decoded_s - sequence.mark
        if sequence.visible:
            recorder.visible[request] += done
            recorder.residences.extend(
                (request, self.index, sequence.joined, clock, sequence.since)
            )

    def _record_run(self, steps: int) -> None:
        """Add the run's rows, one per piece of its step times that it has passed."""
        run, start = self._run, self._run_start
        self._decoded_at = last = start + run.seconds(steps)
        self.decoded_s += last - start
        batch, context, pieces = run.decodes, run.context, run.pieces
        used = self.kv.used
        extend = self._recorder.steps.extend
        if len(pieces) == 1:
            first = pieces[0].a + pieces[0].b * context
            extend((self.index, start, last, steps, batch, steps * batch, 0, used, first))
            return
        done = 0
        begin = start
        for index, piece in enumerate(pieces):
            edge = pieces[index + 1].start if index + 1 < len(pieces) else inf
            upto = steps
            if context + (steps - 1) * batch >= edge:
                upto = max(ceil((edge - context) / batch), 0)
            if upto > done:
                n = upto - done
                end = start + run.seconds(upto)
                first = piece.a + piece.b * (context + done * batch)
                extend((self.index, begin, end, n, batch, n * batch, 0, used, first))
                done, begin = upto, end
            if done == steps:
                break


def _key(sequence: Sequence) -> int:
    return sequence.visit.key if sequence.visit is not None else sequence.request


def block_size(client: Client) -> int:
    """Tokens per KV block of an engine."""
    return _count(client, "block_size", DEFAULT_BLOCK_SIZE)


def _count(client: Client, name: str, default: int) -> int:
    value = client.options.get(name)
    return int(value) if isinstance(value, int | float) else default
