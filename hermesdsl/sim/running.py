"""Decode steps of an engine, taken many at once.

Between changes of its composition, a batch of decodes is one *run*: the end of its j-th step is
defined as the run's start plus `DecodeRun.seconds(j)`, and one event stands for all its steps. A
run ends

- when a sequence finishes,
- when the next step would take more KV blocks than are free,
- at the end of the step during which something came that may join: a request at the head of the
  queue while the batch has a seat, KV that was handed over, or blocks that were given back; of an
  engine that puts steps together one ahead, a step later for a request.

Knows no prompt, cost of a step with one, pipeline or other engine; `sim.reference` replaces the run
by single steps.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING

from hermesdsl.cost.types import DecodeRun
from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.kernel import STEP
from hermesdsl.sim.losing import Losing
from hermesdsl.sim.record import STEP_ROW

if TYPE_CHECKING:
    from hermesdsl.sim.answering import Answers
    from hermesdsl.sim.guessing import Guessing
    from hermesdsl.sim.kernel import Kernel
    from hermesdsl.sim.kv import KvBlocks
    from hermesdsl.sim.order import Rank
    from hermesdsl.sim.rank_memory import RankedBlocks
    from hermesdsl.sim.record import Recorder
    from hermesdsl.sim.reuse import ChainOf
    from hermesdsl.sim.speculating import Speculation
    from hermesdsl.sim.swap import HostMemory

#: What an engine is doing.
IDLE, STEPPING, RUNNING, DOWN = 0, 1, 2, 3


class Running(Losing):
    """A client that decodes in runs. `key` places what happens at one instant among clients."""

    __slots__ = (
        "_answers", "_interrupted", "_limit", "_passes", "_run", "_run_start", "_seen", "_seen_at",
        "_state", "_version", "key",
    )  # fmt: skip

    def __init__(
        self, index: int, kv: KvBlocks | RankedBlocks, max_batch: int, rank: Rank,
        host: HostMemory | None, kernel: Kernel, recorder: Recorder, chain: ChainOf | None,
        speculation: Speculation | None, guessing: Guessing | None,
    ) -> None:  # fmt: skip
        super().__init__(
            index, kv, max_batch, rank, host, kernel, recorder, chain, speculation, guessing
        )
        self.key = index
        #: The front end that tokens go through, where it takes time.
        self._answers: Answers | None = None
        self._state = IDLE
        self._run = DecodeRun((), 1, 0.0)
        self._run_start = 0.0
        self._limit = 0
        self._interrupted = False
        self._version = 0
        #: Where a step is put together one ahead, a run takes a step beyond the one in which
        #: somebody came (`_pass_by`): nothing else is to be done between the two.
        drawn = speculation is not None or guessing is not None
        self._passes = self.dealt is None and host is None and self.reuse is None and not drawn
        #: The step of the run in which somebody came (0: nobody), and the last turn in the queue
        #: at its end.
        self._seen_at = 0
        self._seen = 0

    def _next(self, now: float) -> None:
        """Begin the next step or run, or fall idle."""
        raise NotImplementedError

    def _end_sequences(self, finished: list[Sequence], now: float) -> None:
        """A step is over that was the last of these."""
        raise NotImplementedError

    def free_blocks(self, earliest: float) -> int:
        """Blocks that nobody uses once all steps that end before `earliest` have ended."""
        free = self.kv.free
        if self._state == RUNNING:
            steps = self._run.first_step_at(earliest, self._run_start, self._limit) - 1
            free -= self.decoding.need(steps) if steps else 0
        return free

    def decoded(self, sequence: Sequence, earliest: float) -> int:
        """Tokens of a sequence since it last joined, by steps that end before `earliest`."""
        done = self.decoding.clock - sequence.joined
        if self._state == RUNNING:
            done += self._run.first_step_at(earliest, self._run_start, self._limit) - 1
        return done

    # --- runs -------------------------------------------------------------------------------------

    def _plan_run(self) -> None:
        self._interrupted = False
        if self.dealt is None:
            kv, decoding = self.parts[0]
            self._end_run_after(decoding.horizon(kv.free))
        else:
            self._end_run_after(self._horizon())

    def _plan_one(self) -> None:
        """A run of one step, for the next one is to take in whoever waits."""
        self._interrupted = True
        self._end_run_after(1)

    def _end_run_after(self, steps: int) -> None:
        self._limit = steps
        self._version = version = self._version + 1
        end = self._run_start + self._run.seconds(steps)
        self._kernel.at(end, STEP, self.key, self._end_run, version)

    def _end_run(self, now: float, version: int) -> None:
        if version == self._version:
            steps = self._limit
            if 0 < self._seen_at < steps:
                self._known = self._seen
            if self.dealt is None:
                kv, decoding = self.parts[0]
                kv.free -= decoding.advance(steps)
            else:
                self._advance(steps)
            self._record_run(steps, now)
            self._state = STEPPING
            finished = self.decoding.finished()
            if finished or self.reuse is not None:
                self._end_sequences(finished, now)
            self._next(now)

    def _horizon(self) -> int:
        """Steps until a sequence finishes, or until the next one does not fit."""
        if self.dealt is None:
            kv, decoding = self.parts[0]
            return decoding.horizon(kv.free)
        return min(part.horizon(kv.free) for kv, part in self.parts if part.count)

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
            steps = self._run.first_step_at(earliest, self._run_start, limit)
            if steps < limit:
                self._end_run_after(steps)

    def _pass_by(self, earliest: float) -> None:
        """Somebody came who may join from `earliest` on: with the step after the next.

        The next has been put together by then, so the run takes it too.
        """
        self._interrupted = True
        if self._seen_at:
            return
        limit = self._limit
        steps = 1 if limit == 1 else self._run.first_step_at(earliest, self._run_start, limit)
        self._seen_at, self._seen = steps, self.waiting.turns
        if steps + 1 < limit:
            self._end_run_after(steps + 1)

    def _see(self, earliest: float) -> None:
        """Somebody more came, perhaps in the same step as the first."""
        if earliest <= self._run_start + self._run.seconds(self._seen_at):
            self._seen = self.waiting.turns

    def _settle_run(self, until: float) -> int:
        """Count the steps of the run that have ended by `until`; how many."""
        after = nextafter(until, inf)
        steps = self._run.first_step_at(after, self._run_start, self._limit) - 1
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
