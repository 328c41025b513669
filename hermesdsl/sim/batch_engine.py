"""A batch engine: one forward pass over a batch that closes when it is full or has waited enough.

For models without decoding: embedding, reranking, guards, rewards. Knows threads only as what it
serves; how long a pass takes is said by the cost of each thread's stage.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from hermesdsl.cost.types import ServiceCost
from hermesdsl.sim.kernel import DELIVERY, WAKE, Kernel
from hermesdsl.sim.record import Recorder
from hermesdsl.sim.turns import Turn, Turns
from hermesdsl.sim.worker_pool import Served, ServerRank

if TYPE_CHECKING:
    from hermesdsl.sim.walk import Thread


class Job(NamedTuple):
    """A thread in the queue: its `sequences` and `tokens`, and its cost model or fixed seconds."""

    thread: Thread
    sequences: int
    tokens: int
    cost: ServiceCost | float


class BatchEngine:
    """One client of type ``BatchEngine``.

    An idle engine begins once `max_batch` requests or `max_tokens` tokens wait, or the first of
    them has waited `max_wait` seconds; a batch takes requests in order of rank up to these limits,
    at least one. What comes at one instant can share a batch. On devices that others use too it
    takes turns with them, a pass at a time, and takes what waits when its turn has come.
    """

    __slots__ = ("_asked", "_batch", "_begun", "_down", "_due", "_gone", "_kernel", "_max_batch",
                 "_max_tokens", "_max_wait", "_number", "_queue", "_rank", "_recorder", "_row",
                 "_served", "_tokens", "_turn", "index", "key", "path")  # fmt: skip

    def __init__(
        self,
        index: int,
        path: str,
        kernel: Kernel,
        recorder: Recorder,
        served: Served,
        *,
        rank: ServerRank,
        max_batch: int,
        max_tokens: float,
        max_wait: float,
    ) -> None:
        self.index = index
        #: Places what happens at one instant among clients.
        self.key = index
        self.path = path
        self._kernel = kernel
        self._recorder = recorder
        self._served = served
        self._rank = rank
        self._max_batch = max_batch
        self._max_tokens = max_tokens
        self._max_wait = max_wait
        self._queue: list[tuple[tuple[float, ...], int, Job]] = []
        self._gone = 0
        self._tokens = 0
        self._number = 0
        self._batch: list[Job] = []
        #: Passes that have begun; the client has failed.
        self._begun = 0
        self._down = False
        self._row = 0
        #: When a look at the queue is planned for; -1 for never.
        self._due = -1.0
        #: Its claim to devices that it shares with others, None if they are its own; whether it
        #: waits for them.
        self._turn: Turn | None = None
        self._asked = False

    def share(self, turns: Turns, devices: tuple[str, ...]) -> None:
        """Take turns with others on `devices`; to be said before the run."""
        self._turn = Turn(turns, self.key, devices, self._go, lambda _now: None)

    def submit(self, job: Job, now: float) -> bool:
        """Let a thread wait for its batch."""
        self._number += 1
        heappush(self._queue, (self._rank(job.thread, 0.0), self._number, job))
        self._tokens += job.tokens
        if not (self._batch or self._down):
            self._look_at(now if self._full() else max(self._latest(), now))
        return True

    def cancel(self, thread: Thread) -> None:
        """A thread that waits is forgotten; a pass that has begun runs to its end."""
        for _, _, job in self._queue:
            if job.thread is thread:
                self._gone += 1
                self._tokens -= job.tokens

    def fail(self, now: float) -> list[Thread]:
        """Lose everything; the threads that were here, those that are over among them."""
        self._down = True
        lost = [job.thread for job in self._batch] + [job.thread for _, _, job in self._queue]
        if self._batch:
            self._recorder.cut_service(self._row, now)
        self._batch = []
        self._queue.clear()
        self._gone = self._tokens = 0
        self._begun += 1
        self._due = -1.0
        self._asked = False
        if self._turn is not None:
            self._turn.withdraw(now)
        return lost

    def restart(self, now: float) -> None:
        """Serve again."""
        self._down = False
        if self.waiting():
            self._look_at(now if self._full() else max(self._latest(), now))

    def waiting(self) -> int:
        """Threads that wait."""
        return len(self._queue) - self._gone

    def _full(self) -> bool:
        return self.waiting() >= self._max_batch or self._tokens >= self._max_tokens

    def _latest(self) -> float:
        """When whoever has waited longest has waited enough."""
        return min(j.thread.enter for _, _, j in self._queue if not j.thread.over) + self._max_wait

    def _look_at(self, time: float) -> None:
        if self._due < 0 or time < self._due:
            self._due = time
            self._kernel.at(time, WAKE, self.key, self._look)

    def _look(self, now: float, _: int) -> None:
        if now != self._due:
            return
        self._due = -1.0
        if self._batch or self._asked or self._down or not self.waiting():
            return
        latest = self._latest()
        if not self._full() and latest > now:
            self._look_at(latest)
        elif self._turn is None:
            self._begin(now)
        else:
            self._asked = True
            self._turn.ask(now)

    def _go(self, now: float) -> None:
        """The devices are its own; whoever waited may have gone meanwhile."""
        self._asked = False
        if self.waiting():
            self._begin(now)
        else:
            self._give_back(now)

    def _give_back(self, now: float) -> None:
        if self._turn is not None:
            self._turn.free(now)

    def _begin(self, now: float) -> None:
        tokens = 0
        queue, batch = self._queue, self._batch
        while queue and len(batch) < self._max_batch:
            job = queue[0][2]
            if job.thread.over:
                heappop(queue)
                self._gone -= 1
                continue
            if batch and tokens + job.tokens > self._max_tokens:
                break
            heappop(queue)
            tokens += job.tokens
            job.thread.start = now
            batch.append(job)
        self._tokens -= tokens
        end = now + _seconds(batch)
        self._begun += 1
        self._row = len(self._recorder.services)
        self._recorder.services.extend((self.index, now, end, len(batch), 1.0))
        self._kernel.at(end, DELIVERY, -1 - self.key, self._end, self._begun)

    def _end(self, now: float, number: int) -> None:
        if number != self._begun:
            return
        batch, self._batch = self._batch, []
        self._give_back(now)
        for job in batch:
            if not job.thread.over:
                self._served(job.thread, now)
        if self.waiting():
            self._look_at(now if self._full() else max(self._latest(), now))


def _seconds(batch: list[Job]) -> float:
    """One pass per cost model, one after the other; a fixed time is that of the slowest."""
    fixed = 0.0
    work: dict[int, tuple[ServiceCost, int, int]] = {}
    for job in batch:
        if isinstance(job.cost, float):
            fixed = max(fixed, job.cost)
            continue
        cost, count, tokens = work.get(id(job.cost), (job.cost, 0, 0))
        work[id(job.cost)] = (cost, count + job.sequences, tokens + job.tokens)
    return fixed + sum(cost.seconds(count, tokens) for cost, count, tokens in work.values())
