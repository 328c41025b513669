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
from math import inf, nextafter
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.cost.types import DecodeRun, EngineCost, StepWork
from hermesdsl.sim import batching
from hermesdsl.sim.answering import Answers
from hermesdsl.sim.decoding import GONE, INCOMING, QUEUED, Sequence, first_step_at
from hermesdsl.sim.holding import holding
from hermesdsl.sim.kernel import STEP, WAKE, Kernel
from hermesdsl.sim.kv import Hold, KvBlocks
from hermesdsl.sim.losing import Losing
from hermesdsl.sim.order import SWAPPED, Rank
from hermesdsl.sim.rank_memory import RankedBlocks
from hermesdsl.sim.record import STEP_ROW, Recorder
from hermesdsl.sim.speculating import speculation
from hermesdsl.sim.turns import Turn, Turns

if TYPE_CHECKING:
    from hermesdsl.graph.types import Client
    from hermesdsl.sim.batching import Batching
    from hermesdsl.sim.guessing import Guessing
    from hermesdsl.sim.identity import Identities
    from hermesdsl.sim.swap import HostMemory

#: What an engine calls with (itself, sequence, seconds).
Notice: TypeAlias = "Callable[[Engine, Sequence, float], None]"
#: The same, with two times.
Reading: TypeAlias = "Callable[[Engine, Sequence, float, float], None]"

#: What an engine has whose options leave it out (the schema's own defaults).
DEFAULT_MAX_BATCH = 256
DEFAULT_BLOCK_SIZE = 16

#: Of a step of decodes alone.
_NO_SLICES: list[tuple[Sequence, int]] = []
_IDLE, _STEPPING, _RUNNING, _DOWN = 0, 1, 2, 3


class Engine(Losing):
    """One client of type ``LlmEngine``, the `index`-th of the run.

    `reading` is called with (engine, sequence, start, end) of the step that completes a prompt
    whose KV moves layer by layer, when that step is put together. `leave` is called with a sequence
    that has got all it came for, its KV already freed unless it says ``keeps`` (then `keep` makes a
    `Hold` of it, and `release` frees that; `dropped` is told of one that is gone for good); `fetch`
    with one whose KV at another engine has been given blocks here and must now be moved (then
    `deliver` hands it in). `starved` is told (engine, seconds) when the engine falls idle while
    somebody waits, and when what it keeps changes then. `texts` name blocks for
    ``prefix_cache = true``. `kv_tokens`: room for KV, if it is less than the cost model's because
    something else is in that memory. `guessing` draws what guesses bring, if they are sampled.
    """

    __slots__ = (
        "_answers", "_due", "_fetch", "_interrupted", "_leave", "_limit", "_parked", "_poked",
        "_reading", "_run", "_run_start", "_starved", "_state", "_step_decodes", "_step_prompts",
        "_step_start", "_turn", "_version", "batching", "cost", "key", "path", "prompts_done",
        "read",
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
        dropped: Callable[[Hold], None] | None = None,
        starved: Callable[[Engine, float], None] | None = None,
        host: HostMemory | None = None,
        texts: Identities | None = None,
        kv_tokens: int | None = None,
        guessing: Guessing | None = None,
    ) -> None:
        room = cost.kv_tokens if kv_tokens is None else kv_tokens
        size, ranks = block_size(client), client.group.dp if client.group is not None else 1
        caches = bool(client.options.get("prefix_cache"))
        held = holding(client.model, size, whole=caches)
        shares = tuple(KvBlocks(room // ranks, size, dropped, held) for _ in range(ranks))
        kv = shares[0] if ranks == 1 else RankedBlocks(shares)
        places = _count(client, "max_batch", DEFAULT_MAX_BATCH)
        most = max(places - int(getattr(cost, "reserved", 0)), 1) * ranks
        chain = texts.chain if texts is not None and caches else None
        super().__init__(
            index, kv, most, rank, host, kernel, recorder, chain, speculation(client), guessing
        )
        #: Places what happens at one instant among clients.
        self.key = index
        self.path = client.path
        self.cost = cost
        self.batching: Batching = batching.make(client.options)
        self.prompts_done = 0
        #: Prompt tokens that steps which have ended have read.
        self.read = 0
        self.ahead = bool(getattr(cost, "ahead", False))
        self._reading = reading
        self._leave = leave
        self._fetch = fetch
        self._starved = starved
        self._state = _IDLE
        self._step_start = 0.0
        self._step_decodes = False
        self._step_prompts = 0
        #: When the step under way ends.
        self._due = 0.0
        #: What was put together waits until KV is copied out; something came meanwhile.
        self._parked = False
        #: Its claim to devices that it shares with others; None if they are its own.
        self._turn: Turn | None = None
        self._poked = False
        self._run = DecodeRun((), 1, 0.0)
        self._run_start = 0.0
        self._limit = 0
        self._interrupted = False
        self._version = 0
        each = float(getattr(cost, "answer_seconds", 0.0))
        self._answers = Answers(each, kernel, index, self._answered) if each else None

    # --- from outside -----------------------------------------------------------------------------

    def submit(self, sequence: Sequence, now: float, *, arrival: bool = True) -> None:
        """Let a sequence wait where its rank says; one that has KV here before all that have none.

        An `arrival` at the very end of a step is there when the next step is put together; what
        another client sends on is not (it comes after all steps that end at that time).
        """
        waiting = self.waiting
        alone = not waiting.entries
        if sequence.held or sequence.pins or sequence.parent is not None:
            waiting.push(sequence, SWAPPED)
        else:
            waiting.push(sequence)
        self.accepted += sequence.left
        if self._poked and self._state == _STEPPING:
            return
        first = alone or self.dealt is not None or waiting.head is sequence
        if self._state == _IDLE or (first and self.seats() > 0):
            self._poke(now, now if arrival else nextafter(now, inf))

    def deliver(self, sequence: Sequence, now: float) -> None:
        """Hand in the KV that `fetch` was asked for: the sequence goes on with the next step."""
        sequence.source = None
        self._ready.append(sequence)
        self._poke(now, nextafter(now, inf))

    def arrived(self, sequence: Sequence, now: float) -> None:
        """KV that a sequence awaited is here; if its text has been read, it goes on."""
        sequence.awaits = False
        if sequence in self._incoming:
            self._ready.append(sequence)
            self._poke(now, nextafter(now, inf))

    def cancel(self, sequence: Sequence, now: float) -> None:
        """Take a sequence out, at once if it waits, else at the next step boundary."""
        sequence.cancelled = True
        sequence.keeps = False
        stepping = any(s is sequence for s, _ in self._slices)
        if sequence.place == QUEUED and not stepping:
            self._discard(sequence)
            self._given_back(now)
        elif sequence.place != GONE:
            if sequence.place == INCOMING and sequence.swapped:
                assert self.host is not None
                self.host.drop(_key(sequence), now)
                self._swapped_in(now, _key(sequence))
            self._cancelled = True
            self._poke(now, nextafter(now, inf))

    def keep(self, sequence: Sequence, tokens: int, hold: Hold | None = None) -> Hold:
        """The KV of `tokens` tokens that a sequence has just left; as `hold`, if it exists."""
        if hold is None:
            hold = Hold(self, tokens)
        self.kv.keep(hold, sequence)
        return hold

    def release(self, hold: Hold, now: float) -> None:
        """Drop one reference to kept KV; without any, its blocks are free."""
        if self.kv.drop(hold):
            self._given_back(now)
        else:
            self._tell_starved(now)

    @property
    def starved(self) -> bool:
        """True if nothing runs or is on its way here though somebody waits."""
        return self._state == _IDLE and bool(self.waiting) and not self._incoming

    def give_up(self, now: float) -> bool:
        """Free KV for whoever waits, when nobody else will; False if there is none.

        The kept KV that came last and that nothing lies on; else whoever came last of those that
        wait with KV below them lets go of it.
        """
        if self.kv.give_up():
            self.preemptions += 1
        elif not self._lift():
            return False
        self._poke(now, nextafter(now, inf))
        return True

    def _tell_starved(self, now: float) -> None:
        if self._starved is not None and self.starved:
            self._starved(self, now)

    def _given_back(self, now: float) -> None:
        if self._state == _RUNNING:
            self._extend()
        if self.waiting:
            self._poke(now, nextafter(now, inf))

    def fail(self, now: float) -> list[Sequence]:
        """Lose everything, the step under way too; what has to go on elsewhere, see `afresh`."""
        if self._state == _RUNNING:
            self._cut_run(self._settle_run(now), now)
        elif self._due > now:
            self._cut_step(now)
        self._due = 0.0
        self._version += 1
        self._state = _DOWN
        self._parked = False
        if self._turn is not None:
            self._turn.withdraw(now)
        return self._lose_all(now)

    def _cut_step(self, now: float) -> None:
        """A step has begun and will never end: it worked for nothing."""
        prefill = sum(take for _, take in self._slices)
        batch = self.decoding.count if self._step_decodes else 0
        self._recorder.cut_steps.extend((
            self.index, self._step_start, now, 1, batch, batch + prefill, prefill, self.kv.used,
            self._due - self._step_start,
        ))  # fmt: skip

    def _cut_run(self, done: int, now: float) -> None:
        """The same for the step of a run after the first `done`, which have ended."""
        run, start = self._run, self._run_start
        begin = start + run.seconds(done) if done else start
        if begin < now:
            batch = run.decodes
            length = start + run.seconds(done + 1) - begin
            self._recorder.cut_steps.extend(
                (self.index, begin, now, 1, batch, batch, 0, self.kv.used, length)
            )

    def restart(self, now: float) -> None:
        """Serve again, with nothing but what has come to wait meanwhile."""
        self._state = _IDLE
        if self.waiting:
            self._poke(now, now)

    def settle(self, until: float) -> None:
        """Count what was done by `until`, when the run is cut there."""
        if self._state == _RUNNING:
            self._settle_run(until)
        for sequence in self.decoding.live():
            self._record_residence(sequence)

    @property
    def unread(self) -> int:
        """Prompt tokens here that no step which has ended has read."""
        found = self.reuse.hits if self.reuse is not None else 0
        return self.accepted + self.recomputed - found - self.read

    def free_blocks(self, earliest: float) -> int:
        """Blocks that nobody uses once all steps that end before `earliest` have ended."""
        free = self.kv.free
        if self._state == _RUNNING:
            steps = first_step_at(self._run, earliest, self._run_start, self._limit) - 1
            free -= self.decoding.need(steps) if steps else 0
        return free

    def decoded(self, sequence: Sequence, earliest: float) -> int:
        """Tokens of a sequence since it last joined, by steps that end before `earliest`."""
        done = self.decoding.clock - sequence.joined
        if self._state == _RUNNING:
            done += first_step_at(self._run, earliest, self._run_start, self._limit) - 1
        return done

    # --- steps ------------------------------------------------------------------------------------

    def _poke(self, now: float, earliest: float) -> None:
        """Something came that may change the batch: look at the next boundary from `earliest`."""
        if self._state == _IDLE:
            self._state = _STEPPING
            self._kernel.at(now, WAKE, self.key, self._wake, self._version)
        elif self._state == _RUNNING:
            self._interrupt(earliest)
        else:
            self._poked = True

    def _wake(self, now: float, version: int) -> None:
        if version == self._version:
            self._next(now)

    def _next(self, now: float) -> None:
        """Begin the next step or run, or fall idle."""
        if self._turn is not None:
            self._turn.free(now)
        if self._cancelled:
            self._take_out()
        if self._ready:
            self._join_ready(now)
        decoding = self.decoding
        # Any policy lets decodes go on alone when nobody waits.
        alone = self.dealt is None and not self.waiting.entries
        alone = alone and decoding.need(1) <= self.kv.free
        slices, decodes = _NO_SLICES, True
        self._passed = False
        while not alone:
            before = self.preemptions
            slices, decodes = self.batching.plan(self, now)
            # Whoever gave way to decodes that gave way themselves has left room for others.
            if slices or decoding.count or not (self.preemptions > before or self._unblock()):
                break
        self._known = self.waiting.turns
        self._slices = slices
        if not slices and not decoding.count:
            self._state = _IDLE
            self._tell_starved(now)
            return
        self._state = _STEPPING
        self._step_decodes = decodes
        self._poked = False
        self._parked = self.host is not None and self.host.storing
        if self._turn is None and not self._parked:
            self._go(now)
        elif not self._parked:
            self._take_turn(now)

    def share(self, turns: Turns, devices: tuple[str, ...]) -> None:
        """Take turns with others on `devices`; to be said before the run."""
        self._turn = Turn(turns, self.key, devices, self._go, self._hurry)

    def _take_turn(self, now: float) -> None:
        """Nothing is copied out any more: begin, or wait for devices that others use."""
        if self._turn is None:
            self._go(now)
        else:
            self._turn.ask(now)

    def _hurry(self, now: float) -> None:
        """Others wait for the devices: let them have them after this step."""
        if self._state == _RUNNING:
            self._interrupt(nextafter(now, inf))

    def _go(self, now: float) -> None:
        """Begin what was put together."""
        if self._begun:
            for sequence in self._begun:
                sequence.start = now
            self._begun.clear()
        if self._slices:
            self._begin_step(self._step_decodes, now)
            return
        decoding = self.decoding
        if self.dealt is None:
            self._run = self.cost.decode_run(decoding.count, decoding.context)
        else:
            self._run = self.cost.decode_run(decoding.count, decoding.context, max(self.dealt))
        self._run_start = now
        self._state = _RUNNING
        self._plan_run()
        if self._poked or self._passed:
            self._interrupt(now)

    def _begin_step(self, decodes: bool, now: float) -> None:
        slices = self._slices
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
            prefill + batch, sampled + batch, len(slices), prefill, pairs, kv_read, batch, context,
            self.fullest(slices, batch > 0) if self.dealt is not None else None,
        )  # fmt: skip
        self._step_decodes = batch > 0
        self._step_prompts = prefill
        self._step_start = now
        end = self._due = now + self.cost.step(work)
        self._kernel.at(end, STEP, self.key, self._end_step, self._version)
        for sequence, take in slices:
            if sequence.layerwise and take == sequence.left:
                self._reading(self, sequence, now, end)

    def _end_step(self, now: float, version: int) -> None:
        if version != self._version:
            return
        decoding, kv, prefill, batch = self.decoding, self.kv, self._step_prompts, 0
        start = self._step_start
        seconds = now - start
        if self._step_decodes:
            batch = decoding.count
            if self.dealt is None:
                own, decodes = self.parts[0]
                own.free -= decodes.advance(1)
            else:
                self._advance(1)
            self._decoded_at = now
            self.decoded_s += seconds
        self.read += prefill
        if self._answers is not None:
            ended = sum(take == s.left and not s.awaits for s, take in self._slices)
            self._answers.step(batch * self.advance + ended, now)
        self._recorder.steps.frombytes(STEP_ROW(
            self.index, start, now, 1, batch, batch + prefill, prefill, kv.capacity - kv.free,
            seconds,
        ))  # fmt: skip
        if batch:
            finished = decoding.finished()
            if finished or self.reuse is not None:
                self._end_sequences(finished, now)
        for sequence, take in self._slices:
            sequence.left -= take
            sequence.worked += seconds
            if self.reuse is not None:
                self.reuse.publish(sequence, sequence.prompt - sequence.left)
            if sequence.cancelled:
                self._discard(sequence)
            elif not sequence.left:
                self._end_prompt(sequence, now)
        self._next(now)

    def _end_prompt(self, sequence: Sequence, now: float) -> None:
        """The step that completes a prompt brings a token: the first, unless it was preempted."""
        if sequence.awaits:
            # It keeps its seat; the batch goes on without it.
            sequence.place = INCOMING
            self._incoming[sequence] = None
            return
        request = sequence.request
        recorder = self._recorder
        self.prompts_done += 1
        recorder.generated[request] += 1
        sequence.since = now
        if sequence.visible:
            recorder.show(request, 1, now)
            if self._answers is not None and _goes_out(sequence):
                recorder.went_out(request, self._answers.free)
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
                (request, self.index, self.decoding.clock, self.decoding.clock, now, 0, 0.0)
            )
        if not sequence.keeps:
            self.kv.release(sequence)
        self._gone(sequence, now)

    def _gone(self, sequence: Sequence, now: float) -> None:
        """A sequence has made all its tokens: it leaves, once they are out."""
        if self._answers is None or not _goes_out(sequence):
            self._leave(self, sequence, now)
        else:
            self._answers.hold(sequence)

    def _answered(self, sequence: Sequence, now: float) -> None:
        self._leave(self, sequence, now)

    def _end_sequences(self, finished: list[Sequence], now: float) -> None:
        # The step is over: what happens now is seen when the next one is put together.
        self._state = _STEPPING
        if self.reuse is not None:
            self.kv.trim()
        for sequence in finished:
            self._record_residence(sequence)
            sequence.place = GONE
            self._count_kv(sequence)
            if not sequence.keeps:
                self.kv.release(sequence)
            if not sequence.cancelled:
                self._gone(sequence, now)

    def _bring(self, sequence: Sequence, now: float) -> None:
        """Begin to move KV, for which blocks were just taken, from wherever it is."""
        if not sequence.swapped:
            self._fetch(self, sequence, now)
            return
        assert self.host is not None
        self.host.load(sequence.swapped, now, _key(sequence), self._swapped_in)

    def _store(self, blocks: int) -> None:
        assert self.host is not None
        self.host.store(blocks, self._kernel.now, -1 - self.key, self._stored)

    def _stored(self, now: float) -> None:
        """All that was to be copied out is out: a step that waits for it begins."""
        if self._parked:
            self._parked = False
            self._take_turn(now)

    def _swapped_in(self, now: float, key: int) -> None:
        sequence = next(s for s in self._incoming if s.swapped and _key(s) == key)
        assert self.host is not None
        self.host.held -= sequence.swapped
        sequence.swapped = 0
        self.deliver(sequence, now)

    # --- runs of decode steps ---------------------------------------------------------------------

    def _plan_run(self) -> None:
        self._interrupted = False
        if self.dealt is None:
            kv, decoding = self.parts[0]
            self._end_run_after(decoding.horizon(kv.free))
        else:
            self._end_run_after(self._horizon())

    def _end_run_after(self, steps: int) -> None:
        self._limit = steps
        self._version = version = self._version + 1
        end = self._run_start + self._run.seconds(steps)
        self._kernel.at(end, STEP, self.key, self._end_run, version)

    def _end_run(self, now: float, version: int) -> None:
        if version == self._version:
            steps = self._limit
            if self.dealt is None:
                kv, decoding = self.parts[0]
                kv.free -= decoding.advance(steps)
            else:
                self._advance(steps)
            self._record_run(steps, now)
            self._state = _STEPPING
            finished = self.decoding.finished()
            if finished or self.reuse is not None:
                self._end_sequences(finished, now)
            self._next(now)

    def _extend(self) -> None:
        """Blocks were given back: memory may end the run later, unless it was interrupted."""
        if not self._interrupted:
            steps = self._horizon()
            if steps > self._limit:
                self._end_run_after(steps)

    def _interrupt(self, earliest: float) -> None:
        """End the run with its first step that ends at `earliest` or later."""
        self._interrupted = True
        limit = self._limit
        if limit > 1:
            steps = first_step_at(self._run, earliest, self._run_start, limit)
            if steps < limit:
                self._end_run_after(steps)

    def _settle_run(self, until: float) -> int:
        """Count the steps of the run that have ended by `until`; how many."""
        after = nextafter(until, inf)
        steps = first_step_at(self._run, after, self._run_start, self._limit) - 1
        if steps:
            self._advance(steps)
            self._record_run(steps, self._run_start + self._run.seconds(steps))
        return steps

    def _record_run(self, steps: int, last: float) -> None:
        """The first `steps` steps of the run are done, the last of them at `last`."""
        self._decoded_at = last
        start, run, kv = self._run_start, self._run, self.kv
        self.decoded_s += last - start
        used = kv.capacity - kv.free
        pieces, batch, context, advance = run
        if self._answers is not None:
            self._answers.run(steps, batch * advance, start + run.seconds(1), last)
        if len(pieces) == 1 or context + (steps - 1) * (batch * advance) < pieces[1][0]:
            _, a, b = pieces[0]
            self._recorder.steps.frombytes(STEP_ROW(
                self.index, start, last, steps, batch, steps * batch, 0, used, a + b * context
            ))  # fmt: skip
        else:
            self._recorder.decoded(self.index, run, start, last, steps, used)


def _goes_out(sequence: Sequence) -> bool:
    """Whether its tokens are a user's, and its KV not another engine's to wait for."""
    return sequence.visible and not sequence.keeps


def _key(sequence: Sequence) -> int:
    return sequence.visit.key if sequence.visit is not None else sequence.request


def block_size(client: Client) -> int:
    """Tokens per KV block of an engine."""
    return _count(client, "block_size", DEFAULT_BLOCK_SIZE)


def _count(client: Client, name: str, default: int) -> int:
    value = client.options.get(name)
    return int(value) if isinstance(value, int | float) else default
