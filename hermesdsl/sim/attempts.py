"""Requests that end without an answer, and those among them that are tried again.

The part of the interpreter that gives requests up: because somebody refuses them, or their
customer's patience is at its end. An attempt begins with nothing: it has the draws and the text of
the one before, and its passes are counted from the first. Knows no client's work.
"""

from __future__ import annotations

from math import inf, nan, nextafter
from typing import TYPE_CHECKING

from hermesdsl.sim.branch import Onward
from hermesdsl.sim.decoding import DECODING
from hermesdsl.sim.fetching import Fetching
from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.load import Offered
from hermesdsl.sim.nodes import Again, Node
from hermesdsl.sim.record import REFUSED, TIMED_OUT, UNFINISHED, Recorder, Tries
from hermesdsl.sim.routing.load import ClientLoad
from hermesdsl.sim.transfer import Transfers
from hermesdsl.sim.visiting import NOT_ADMITTED, QUEUE_FULL
from hermesdsl.sim.walk import Thread

if TYPE_CHECKING:
    from hermesdsl.sim.patience import Patience

#: Refusals that another attempt may not meet: what is too long, or refused by its pipeline, is
#: refused again.
_PASSING = (0, QUEUE_FULL, NOT_ADMITTED)
#: Added to a key: patience ends after everything that arrives at the same instant.
_AFTER_ALL = 1 << 61


class Attempts(Fetching):
    """Gives requests up. `patience`: None if nobody loses it; `entries`: where the requests of
    each workload begin; `counted`: nodes that count passes.
    """

    def __init__(
        self, offered: Offered, kernel: Kernel, recorder: Recorder, load: ClientLoad,
        transfers: Transfers,
    ) -> None:  # fmt: skip
        super().__init__(offered, kernel, recorder, load, transfers)
        self.patience: Patience | None = None
        self.entries: list[Onward] = []
        self.counted: list[Node] = []
        #: When the attempt that a request is in is given up.
        self._expires: dict[int, float] = {}
        #: The next attempts of requests that pause.
        self._pausing: dict[int, Thread] = {}

    def _finish(self, thread: Thread, now: float) -> None:
        raise NotImplementedError

    def _attempt(self, thread: Thread, now: float) -> None:
        """A request sets out, for the first time or again."""
        request = thread.request
        self._live[thread.key] = thread
        if self.patience is not None:
            end = now + self.patience.timeout(request)
            if end < inf:
                self._expires[request] = end
                self._kernel.at(end, DELIVERY, _AFTER_ALL + request, self._expire, request)
        self._go(thread, self.entries[self._offered.workload_of[request]], 0, now)

    def _expire(self, now: float, request: int) -> None:
        """A customer has waited long enough, unless what they wait for has come by now."""
        if self._expires.get(request) != now:
            return
        del self._expires[request]
        assert self.patience is not None
        threads = self._threads(request)
        if self.patience.of(request).to_finish or not self._seen(request, threads, now):
            self._give_up(threads[0], TIMED_OUT, 0, now)

    def _threads(self, request: int) -> list[Thread]:
        """Every thread of a request that is on its way."""
        whole = self._live.get(request)
        if whole is not None and whole.gather is None:
            return [whole]
        return [thread for thread in self._live.values() if thread.request == request]

    def _seen(self, request: int, threads: list[Thread], now: float) -> bool:
        """Whether the user has a token, one of a decode under way perhaps."""
        if self._recorder.visible[request]:
            # The first may still wait in a front end.
            return self._recorder.first[request] <= now
        earliest = nextafter(now, inf)
        for thread in threads:
            sequence = thread.sequence
            if sequence is None or not sequence.visible or sequence.place != DECODING:
                continue
            if self.engines[thread.client].decoded(sequence, earliest):
                return True
        return False

    def _refuse(self, thread: Thread, reason: int, now: float) -> None:
        """The whole request ends here, with everything that is under way for it."""
        self._give_up(thread, REFUSED, reason, now)

    def _give_up(self, thread: Thread, status: int, reason: int, now: float) -> None:
        """All of a request's threads are over; it has ended, or is tried again later."""
        request, recorder = thread.request, self._recorder
        recorder.status[request], recorder.reason[request] = status, reason
        attempts = recorder.tries[request].attempts if request in recorder.tries else 1
        retried = (
            self.patience is not None
            and reason in _PASSING
            and attempts <= self.patience.of(request).retries
        )
        self._hiding = retried or status == TIMED_OUT
        top = thread
        while top.scope is not None and top.scope.gather is not None:
            top = top.scope.gather.parent
        for other in [top] if top.scope is None else list(top.scope.threads):
            self._cancel(other, now)
        self._liveness.look(now)
        if self.patience is not None:
            self._expires.pop(request, None)
        if self._hiding:
            self._hiding = False
            self._hide(request)
        if retried:
            self._retry(thread, now)
            return
        if self.patience is not None:
            recorder.tries.setdefault(request, Tries()).left_s = now
        self._finish(thread, now)

    def _hide(self, request: int) -> None:
        """What a customer saw of an attempt that was given up is no answer."""
        recorder = self._recorder
        recorder.visible[request] = 0
        recorder.first[request] = recorder.last[request] = nan
        tries = recorder.tries.setdefault(request, Tries())
        tries.shown, tries.residences = len(recorder.shown), len(recorder.residences)

    def _retry(self, thread: Thread, now: float) -> None:
        """Plan the next attempt of a request."""
        assert self.patience is not None
        request, recorder = thread.request, self._recorder
        recorder.status[request], recorder.reason[request] = UNFINISHED, 0
        tries = recorder.tries[request]
        pause = self.patience.backoff(request, tries.attempts)
        tries.attempts += 1
        tries.paused_s += pause
        for node in self.counted:
            assert node.turns is not None
            node.turns.pop(request, None)
            if isinstance(node, Again):
                node.done.pop(request, None)
        self._keys += 1
        again = Thread(request, self._keys, recorder.context[request])
        again.breaks = self._own_breaks(thread)
        again.cached = self._offered.cached[request]
        self._pausing[request] = again
        self._kernel.at(now + pause, DELIVERY, request, self._set_out, request)

    def _own_breaks(self, thread: Thread) -> tuple[tuple[int, int], ...]:
        """Breaks in the text that a request came with: those before its own prompt."""
        own = self._recorder.context[thread.request]
        return tuple(known for known in thread.breaks if known[0] < own)

    def _set_out(self, now: float, request: int) -> None:
        self._recorder.tries[request].visits = len(self._recorder.visits)
        self._attempt(self._pausing.pop(request), now)
