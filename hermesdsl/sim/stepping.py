"""Steps of an engine: put together, timed, and ended one by one.

What one step holds is decided by whoever composes it; how long it takes by a cost model. Decodes
alone go on in runs (`sim.running`). Knows no policy, pipeline, router or other engine, nor what
becomes of a sequence that leaves.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING

from hermesdsl.cost.types import EngineCost, StepWork
from hermesdsl.sim.answering import goes_out
from hermesdsl.sim.decoding import GONE, INCOMING, Sequence
from hermesdsl.sim.kernel import STEP, WAKE
from hermesdsl.sim.record import STEP_ROW
from hermesdsl.sim.running import DOWN, IDLE, RUNNING, STEPPING, Running
from hermesdsl.sim.turns import Turn, Turns

if TYPE_CHECKING:
    from hermesdsl.sim.guessing import Guessing
    from hermesdsl.sim.kernel import Kernel
    from hermesdsl.sim.kv import KvBlocks
    from hermesdsl.sim.order import Rank
    from hermesdsl.sim.rank_memory import RankedBlocks
    from hermesdsl.sim.record import Recorder
    from hermesdsl.sim.residents import Slice
    from hermesdsl.sim.reuse import ChainOf
    from hermesdsl.sim.speculating import Speculation
    from hermesdsl.sim.swap import HostMemory

#: Of a step of decodes alone.
_NO_SLICES: list[Slice] = []


class Stepping(Running):
    """A client that takes steps, which `cost` times.

    `prompts_done`, and prompt tokens `read`: by steps that have ended.
    """

    __slots__ = (
        "_due", "_parked", "_poked", "_step_decodes", "_step_prompts", "_step_start", "_turn",
        "cost", "prompts_done", "read",
    )  # fmt: skip

    def __init__(
        self, cost: EngineCost, index: int, kv: KvBlocks | RankedBlocks, max_batch: int,
        rank: Rank, host: HostMemory | None, kernel: Kernel, recorder: Recorder,
        chain: ChainOf | None, speculation: Speculation | None, guessing: Guessing | None,
    ) -> None:  # fmt: skip
        super().__init__(
            index, kv, max_batch, rank, host, kernel, recorder, chain, speculation, guessing
        )
        self.cost = cost
        self.prompts_done = 0
        self.read = 0
        self.ahead = bool(getattr(cost, "ahead", False))
        self._passes &= self.ahead
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

    def _compose(self, now: float) -> tuple[list[Slice], bool]:
        """The prompt slices of the step that begins now, and whether all decodes come along."""
        raise NotImplementedError

    def _starve(self, now: float) -> None:
        """It has fallen idle, perhaps while somebody waits."""
        raise NotImplementedError

    def _read_last(self, sequence: Sequence, now: float, end: float) -> None:
        """The last slice of a prompt whose KV moves layer by layer is read until `end`."""
        raise NotImplementedError

    def _gone(self, sequence: Sequence, now: float) -> None:
        """A sequence has got all it came for."""
        raise NotImplementedError

    def _poke(self, now: float, earliest: float) -> None:
        """Something came that may change the batch: look at the next boundary from `earliest`."""
        if self._state == IDLE:
            self._state = STEPPING
            self._kernel.at(now, WAKE, self.key, self._wake, self._version)
        elif self._state == RUNNING:
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
            slices, decodes = self._compose(now)
            # Whoever gave way to decodes that gave way themselves has left room for others.
            if slices or decoding.count or not (self.preemptions > before or self._unblock()):
                break
        self._known = self.waiting.turns
        self._slices = slices
        if not slices and not decoding.count:
            self._state = IDLE
            self._starve(now)
            return
        self._state = STEPPING
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
        self._passes = False

    def _take_turn(self, now: float) -> None:
        """Nothing is copied out any more: begin, or wait for devices that others use."""
        if self._turn is None:
            self._go(now)
        else:
            self._turn.ask(now)

    def _hurry(self, now: float) -> None:
        """Others wait for the devices: let them have them after this step."""
        if self._state == RUNNING:
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
        self._state = RUNNING
        self._seen_at = 0
        if self._passed:
            self._plan_one()
        else:
            self._plan_run()
            if self._poked:
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
        work = tuple.__new__(StepWork, (
            prefill + batch, sampled + batch, len(slices), prefill, pairs, kv_read, batch, context,
            self.fullest(slices, batch > 0) if self.dealt is not None else None,
        ))  # fmt: skip
        self._step_decodes = batch > 0
        self._step_prompts = prefill
        self._step_start = now
        end = self._due = now + self.cost.step(work)
        self._kernel.at(end, STEP, self.key, self._end_step, self._version)
        for sequence, take in slices:
            if sequence.layerwise and take == sequence.left:
                self._read_last(sequence, now, end)

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
            if self._answers is not None and goes_out(sequence):
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

    def _end_sequences(self, finished: list[Sequence], now: float) -> None:
        # The step is over: what happens now is seen when the next one is put together.
        self._state = STEPPING
        if self.reuse is not None:
            self.kv.trim()
        for sequence in finished:
            sequence.place = GONE
            self._stop_decoding(sequence)
            if not sequence.keeps:
                self.kv.release(sequence)
            if not sequence.cancelled:
                self._gone(sequence, now)

    # --- failing ----------------------------------------------------------------------------------

    def fail(self, now: float) -> list[Sequence]:
        """Lose everything, the step under way too; what has to go on elsewhere, see `afresh`."""
        if self._state == RUNNING:
            self._cut_run(self._settle_run(now), now)
        elif self._due > now:
            self._cut_step(now)
        self._due = 0.0
        self._version += 1
        self._state = DOWN
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

    def restart(self, now: float) -> None:
        """Serve again, with nothing but what has come to wait meanwhile."""
        self._state = IDLE
        if self.waiting:
            self._poke(now, now)
