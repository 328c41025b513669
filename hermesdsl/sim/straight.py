"""Requests whose whole way is one stay at one engine: read the prompt, answer, end.

Most requests of most systems are such, so what the general walk would find out for each of them is
found out once for their pipeline: no fork, cache, check, pass or kept KV can concern them. They
take the same steps, in the same order, as on the general way, on which they go on if anything
befalls them (a refusal, a client that fails). Knows no engine's work.
"""

from __future__ import annotations

from array import array
from math import isnan, nan
from struct import Struct

import numpy as np

from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.failing import Failing
from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.load import Offered
from hermesdsl.sim.nodes import End, EngineVisit
from hermesdsl.sim.record import COMPLETED, VISIT_COLUMNS, VISIT_ROW, Recorder
from hermesdsl.sim.routing.admission import NOBODY
from hermesdsl.sim.routing.load import ClientLoad
from hermesdsl.sim.transfer import Transfers
from hermesdsl.sim.visiting import NOT_ADMITTED, TOO_LONG
from hermesdsl.sim.walk import Thread

#: Two rows of visits.
_TWO_VISITS = Struct(f"{2 * len(VISIT_COLUMNS)}d").pack


class Straight(Failing):
    """The short way there and back."""

    def __init__(
        self, offered: Offered, kernel: Kernel, recorder: Recorder, load: ClientLoad,
        transfers: Transfers,
    ) -> None:  # fmt: skip
        super().__init__(offered, kernel, recorder, load, transfers)
        #: 1 while requests are yet to come for the first time, and all follow-ups that will.
        self._coming = 0
        #: By workload, the one visit of its requests, where that is all.
        self._straight: list[EngineVisit | None] = []

    def _ways(self) -> list[EngineVisit | None]:
        """By workload, the one visit of its requests; None if they have another way."""
        found: list[EngineVisit | None] = []
        for onward in self.entries:
            node = onward.targets[0] if len(onward.targets) == 1 else None
            straight = isinstance(node, EngineVisit) and _is_straight(node)
            if straight and self.patience is None:
                assert isinstance(node, EngineVisit)
                node.straight = True
                found.append(node)
            else:
                found.append(None)
        return found

    def _come_heard(self, ways: list[EngineVisit | None]) -> bool:
        """Plan all requests as they come out of the API of their engines, if that is all there is.

        Every way is straight, and takes the same time in an API, where nothing can happen to a
        request: it need not be there before.
        """
        first = ways[0]
        delay = first.request if first is not None else 0.0
        alike = all(node is not None and node.request == delay for node in ways)
        if not (delay and alike) or self._kernel.watched:
            return False
        offered, count = self._offered, self._offered.first
        context = offered.prompt[:count] + np.frombuffer(offered.prefixes, np.int64)[:count]
        self._recorder.context[:count] = array("q", context.tobytes())
        times = array("d", (offered.arrival[:count] + delay).tobytes())
        self._kernel.arrivals(times, self._enter_heard, DELIVERY)
        return True

    def _enter_heard(self, now: float, request: int) -> None:
        """A request comes out of the API, and enters the engine that serves it."""
        offered = self._offered
        if request + 1 == offered.first:
            self._coming -= 1
        node = self._straight[offered.workload_of[request]]
        assert node is not None
        thread = Thread(request, request, self._recorder.context[request])
        self._live[request] = thread
        thread.node = node
        self._send_straight(thread, node, now)

    def _enter_straight(self, node: EngineVisit, request: int, now: float) -> None:
        """A request arrives, and enters the engine that serves it."""
        offered = self._offered
        context = offered.prompts[request] + offered.prefixes[request]
        self._recorder.context[request] = context
        thread = Thread(request, request, context)
        self._live[request] = thread
        thread.node = node
        if node.request:
            thread.called = due = now + node.request
            self._kernel.at(due, DELIVERY, request, self._heard, request)
            return
        self._send_straight(thread, node, now)

    def _heard(self, now: float, key: int) -> None:
        """See `EngineVisits`."""
        thread = self._live.get(key)
        node = thread.node if thread is not None else None
        if thread is None or not isinstance(node, EngineVisit) or not node.straight:
            super()._heard(now, key)
        elif thread.called == now:
            thread.called = nan
            self._send_straight(thread, node, now)

    def _send_straight(self, thread: Thread, node: EngineVisit, now: float) -> None:
        """To the engine that serves it."""
        offered, request, context = self._offered, thread.request, thread.context
        thread.enter = now
        assert node.produce is not None
        thread.produces = thread.owed = tokens = node.produce(thread, 0)
        client = node.router.pick(request, node.lane << 32)
        if client == NOBODY:
            self._refuse(thread, NOT_ADMITTED, now)
            return
        engine = self.engines[client]
        if not engine.fits(context + tokens - 1):
            self._refuse(thread, TOO_LONG, now)
            return
        thread.sequence = sequence = Sequence(request, thread, context, tokens)
        cached = offered.cached[request]
        if cached:
            self._recorder.cached[request] = cached
            sequence.left -= min(cached, context - 1)
        sequence.text = thread.breaks
        thread.client = client
        thread.charges = self._load.add(client, request, node.decode, context + tokens, tokens)
        engine.submit(sequence, now, arrival=self._arriving)

    def leave(self, engine: Engine, sequence: Sequence, now: float) -> None:
        """See `EngineVisits`."""
        thread = sequence.visit
        assert thread is not None
        node = thread.node
        assert isinstance(node, EngineVisit)
        first = sequence.first
        if not node.straight or thread.resumed or isnan(first):
            super().leave(engine, sequence, now)
            return
        request, recorder, client = thread.request, self._recorder, thread.client
        enter, start, worked = thread.enter, sequence.start, sequence.worked
        columns = node.columns
        if len(columns) == 1:
            recorder.visits.frombytes(VISIT_ROW(
                request, columns[0], client, 0, enter, start, now, 0.0, 0, first, worked,
                sequence.opened, 1.0,
            ))  # fmt: skip
        else:
            # Its two stages part when the prompt has been read.
            read = sequence.read
            recorder.visits.frombytes(_TWO_VISITS(
                request, columns[0], client, 0, enter, start, first, 0.0, 0, first, read, -1, 1.0,
                request, columns[1], client, 0, first, first, now, 0.0, 0, first, worked - read,
                -1, 1.0,
            ))  # fmt: skip
        self._load.remove(client, thread.charges, now)
        thread.client, thread.sequence = -1, None
        recorder.due[request] += thread.owed
        recorder.last[request] = now
        thread.context += thread.produces
        self._parts += 1
        thread.model, thread.text = node.model, thread.produces
        if self.released is not None:
            tokens = thread.own(thread.context - 1)
            if tokens > sequence.below:
                self.released(request, tokens, engine, now)
        del self._live[request]
        recorder.status[request] = COMPLETED
        self._finish(thread, now)


def _is_straight(node: EngineVisit) -> bool:
    """Nothing but its own tokens, seen as they come, can happen to who goes through it."""
    after = node.onward.targets
    ends = len(after) == 1 and isinstance(after[0], End) and after[0].accepts
    plain = node.turns is None and node.fixed is None and node.roles is None and node.hold is None
    whole = node.produce is not None and node.visible and not (node.judges or node.opens)
    return ends and plain and whole and not (node.keeps or node.layerwise or node.contested)


__all__ = ["Straight"]
