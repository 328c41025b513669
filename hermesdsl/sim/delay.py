"""An outside service: a delay without a queue. The one server without limit, and it says so."""

from __future__ import annotations

from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.record import Recorder
from hermesdsl.sim.walk import Thread
from hermesdsl.sim.worker_pool import Served


class Delay:
    """One client of type ``Delay``."""

    __slots__ = ("_kernel", "_recorder", "_served", "_serving", "index", "path")

    def __init__(
        self, index: int, path: str, kernel: Kernel, recorder: Recorder, served: Served
    ) -> None:
        self.index = index
        self.path = path
        self._kernel = kernel
        self._recorder = recorder
        self._served = served
        self._serving: dict[int, Thread] = {}

    def submit(self, thread: Thread, seconds: float, now: float) -> bool:
        """Hand a thread back after `seconds`."""
        thread.start = now
        self._serving[thread.key] = thread
        self._kernel.at(now + seconds, DELIVERY, thread.key, self._end, thread.key)
        return True

    def cancel(self, thread: Thread) -> None:
        """Its answer will be ignored."""

    def fail(self, now: float) -> list[Thread]:
        """An outside service does not fail here."""
        return []

    def restart(self, now: float) -> None:
        """It never failed."""

    def waiting(self) -> int:
        """Nobody ever waits."""
        return 0

    def _end(self, now: float, key: int) -> None:
        thread = self._serving.pop(key)
        if not thread.over:
            self._served(thread, now)
