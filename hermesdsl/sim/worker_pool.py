"""A worker pool: c workers and one queue. Knows threads only as what it serves and hands back."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.record import Recorder

if TYPE_CHECKING:
    from hermesdsl.sim.walk import Thread

#: What a server calls with (thread, seconds) when it has served it.
Served: TypeAlias = "Callable[[Thread, float], None]"
#: Lower goes first.
ServerRank: TypeAlias = "Callable[[Thread, float], tuple[float, ...]]"


class WorkerPool:
    """One client of type ``WorkerPool``: serves `workers` requests at once, others wait.

    `rank(thread, its service seconds)`: lowest first, equals in the order in which they came. With
    `queue_limit` waiting, `submit` takes no more.
    """

    __slots__ = ("_begun", "_busy", "_down", "_gone", "_kernel", "_limit", "_queue", "_rank",
                 "_recorder", "_served", "_serving", "_turns", "index", "path",
                 "workers")  # fmt: skip

    def __init__(
        self,
        index: int,
        path: str,
        workers: int,
        kernel: Kernel,
        recorder: Recorder,
        served: Served,
        *,
        rank: ServerRank,
        queue_limit: int | None = None,
    ) -> None:
        self.index = index
        self.path = path
        self.workers = workers
        self._limit = queue_limit
        self._kernel = kernel
        self._recorder = recorder
        self._served = served
        self._rank = rank
        self._busy = 0
        self._turns = 0
        self._queue: list[tuple[tuple[float, ...], int, Thread, float]] = []
        #: Entries of the queue whose thread was cancelled.
        self._gone = 0
        #: Threads that are served, and the rows of their services, by the number of the service.
        self._serving: dict[int, tuple[Thread, int]] = {}
        self._begun = 0
        self._down = False

    def submit(self, thread: Thread, seconds: float, now: float) -> bool:
        """Serve a thread for `seconds` as soon as a worker is free; False: the queue is full."""
        if self._busy < self.workers and not self._down:
            self._begin(thread, seconds, now)
            return True
        if self._limit is not None and len(self._queue) - self._gone >= self._limit:
            return False
        self._turns += 1
        heappush(self._queue, (self._rank(thread, seconds), self._turns, thread, seconds))
        return True

    def cancel(self, thread: Thread) -> None:
        """A thread that waits is forgotten; one that is served takes its worker to the end."""
        if not any(served is thread for served, _ in self._serving.values()):
            self._gone += 1

    def fail(self, now: float) -> list[Thread]:
        """Lose everything; the threads that were here, those that are over among them."""
        self._down = True
        for _, row in self._serving.values():
            self._recorder.cut_service(row, now)
        lost = [thread for thread, _ in self._serving.values()]
        lost += [thread for _, _, thread, _ in self._queue]
        self._serving.clear()
        self._queue.clear()
        self._busy = self._gone = 0
        return lost

    def restart(self, now: float) -> None:
        """Serve again."""
        self._down = False
        for _ in range(self.workers):
            self._begin_next(now)

    def waiting(self) -> int:
        """Threads that wait."""
        return len(self._queue) - self._gone

    def _begin(self, thread: Thread, seconds: float, now: float) -> None:
        self._busy += 1
        thread.start = now
        self._begun += 1
        self._serving[self._begun] = (thread, len(self._recorder.services))
        end = now + seconds
        self._recorder.services.extend((self.index, now, end, 1, 1 / self.workers))
        self._kernel.at(end, DELIVERY, thread.key, self._end, self._begun)

    def _end(self, now: float, number: int) -> None:
        if number not in self._serving:
            return
        thread, _ = self._serving.pop(number)
        self._busy -= 1
        self._begin_next(now)
        if not thread.over:
            self._served(thread, now)

    def _begin_next(self, now: float) -> None:
        """A worker is free for whoever waits."""
        queue = self._queue
        while queue:
            _, _, following, seconds = heappop(queue)
            if following.over:
                self._gone -= 1
                continue
            self._begin(following, seconds, now)
            break
