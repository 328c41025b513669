"""Moves requests through their pipelines: from arrival to visit to visit to the end.

Knows clients, routers and the order of visits; not how a client works, nor what results mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.kernel import ARRIVAL, DELIVERY, Kernel
from hermesdsl.sim.load import Offered
from hermesdsl.sim.plan import Visit
from hermesdsl.sim.record import COMPLETED, REFUSED, Recorder
from hermesdsl.sim.router import ClientLoad, Router

#: Called now and then with (simulated seconds, requests that have ended, requests offered).
Progress: TypeAlias = Callable[[float, int, int], None]
#: Requests between two calls of progress.
_PROGRESS_EVERY = 512


class _HandOver(NamedTuple):
    """KV of a request on its way: from `source`, where it is complete at time `read` and then
    holds `blocks`; `target` and the `sequence` there once known.
    """

    source: Engine
    read: float
    blocks: int = 0
    target: Engine | None = None
    sequence: Sequence | None = None


class Interpreter:
    """Runs requests over engines; `routes` is the first visit of each workload.

    `transfer(source, target, tokens, opened, read)` gives (bytes, end in seconds) of moving KV
    between two clients from `opened` on, complete at the source since `read` or only then.
    """

    def __init__(
        self,
        offered: Offered,
        kernel: Kernel,
        recorder: Recorder,
        *,
        load: ClientLoad,
        transfer: Callable[[Engine, Engine, int, float, float], tuple[float, float]],
        progress: Progress | None,
    ) -> None:
        self.engines: list[Engine] = []
        self.routes: list[Visit] = []
        self._offered = offered
        self._kernel = kernel
        self._recorder = recorder
        self._load = load
        self._transfer = transfer
        self._progress = progress
        self._moving: dict[int, _HandOver] = {}

    def start(self) -> None:
        """Plan the first arrival; each plans the next."""
        if len(self._offered):
            self._kernel.at(self._offered.arrivals[0], ARRIVAL, 0, self._arrive, 0)

    # --- arriving --------------------------------------------------------------------------

    def _arrive(self, now: float, request: int) -> None:
        offered = self._offered
        following = request + 1
        if following < len(offered.arrivals):
            self._kernel.at(
                offered.arrivals[following], ARRIVAL, following, self._arrive, following
            )
        visit = self.routes[offered.workload_of[request]]
        output = offered.outputs[request] if visit.decodes else 1
        engine = self._choose(visit, visit.router, request, output, now)
        if engine is None:
            self._refuse(request)
        else:
            engine.submit(Sequence(request, visit, offered.prompts[request], output), now)

    def _choose(
        self, visit: Visit, router: Router, request: int, output: int, now: float
    ) -> Engine | None:
        """Where the router sends a request that will produce `output` tokens; None: too long."""
        engine = self.engines[router.pick(request)]
        prompt = self._offered.prompts[request]
        if not engine.fits(prompt + output - 1):
            if visit.roles is not None:
                visit.roles.read(request)
                visit.roles.moved(engine.index)
            return None
        visit.times.enter[request] = now
        visit.times.client[request] = engine.index
        self._load.requests[engine.index] += 1
        self._load.tokens[engine.index] += prompt + self._offered.outputs[request]
        return engine

    def _refuse(self, request: int) -> None:
        self._recorder.status[request] = REFUSED
        self._recorder.reason[request] = 1
        self._count()

    # --- leaving ---------------------------------------------------------------------------

    def leave(self, engine: Engine, sequence: Sequence, now: float) -> None:
        """A visit is over: go on to the next, or out."""
        request, visit = sequence.request, sequence.visit
        offered, load = self._offered, self._load
        visit.times.end[request] = now
        load.requests[engine.index] -= 1
        load.tokens[engine.index] -= offered.prompts[request] + offered.outputs[request]
        if visit.following is None:
            self._complete(request, now)
            return
        if visit.roles is not None:
            visit.roles.read(request)
        opened = self._moving.get(request)
        if opened is None:
            self._moving[request] = _HandOver(engine, now, sequence.held)
            self._kernel.at(now, DELIVERY, request, self._hand_over, request)
        else:
            self._moving[request] = opened._replace(blocks=sequence.held)
            if opened.sequence is None:
                self._free_source(request, now)
                self._refuse(request)

    def _complete(self, request: int, now: float) -> None:
        self._recorder.finish[request] = now
        self._recorder.status[request] = COMPLETED
        self._count()

    def _count(self) -> None:
        recorder = self._recorder
        recorder.ended += 1
        if self._progress is not None and recorder.ended % _PROGRESS_EVERY == 0:
            self._progress(self._kernel.now, recorder.ended, len(self._offered))

    # --- handing KV over -------------------------------------------------------------------

    def reading(self, source: Engine, sequence: Sequence, start: float, end: float) -> None:
        """A prompt will be read at `end`, and its KV may move layer by layer from `start` on."""
        request = sequence.request
        if self._offered.outputs[request] > 1 and start < end:
            self._moving[request] = _HandOver(source, end)
            self._kernel.at(start, DELIVERY, request, self._hand_over, request)

    def _hand_over(self, now: float, request: int) -> None:
        """Queue for a decode client; KV stays where it is until that has room.

        A request of one output token has it already, and needs no further client.
        """
        offered = self._offered
        first = self.routes[offered.workload_of[request]]
        visit = first.following
        assert visit is not None
        moving = self._moving[request]
        output = offered.outputs[request]
        times = visit.times
        if output == 1:
            times.enter[request] = times.start[request] = times.end[request] = now
            self._free_source(request, now)
            self._complete(request, now)
            return
        router = visit.paired.get(moving.source.index, visit.router)
        engine = self._choose(visit, router, request, output, now)
        if engine is None:
            if moving.read <= now:
                self._free_source(request, now)
                self._refuse(request)
            return
        times.enter[request] = moving.read
        sequence = Sequence(request, visit, offered.prompts[request], output - 1)
        sequence.left = 0
        sequence.fresh = False
        sequence.again = True
        sequence.since = moving.read
        self._moving[request] = moving._replace(target=engine, sequence=sequence)
        engine.submit(sequence, now, arrival=False)

    def fetch(self, target: Engine, sequence: Sequence, now: float) -> None:
        """`target` has blocks for a handed-over sequence: move its KV."""
        request = sequence.request
        source, read, *_ = self._moving[request]
        size, end = self._transfer(source, target, sequence.prompt, now, read)
        self._recorder.transfers.extend((request, source.index, target.index, size, now, end))
        self._kernel.at(end, DELIVERY, request, self._delivered, request)

    def _delivered(self, now: float, request: int) -> None:
        moving = self._moving[request]
        assert moving.target is not None
        assert moving.sequence is not None
        self._free_source(request, now)
        moving.target.deliver(moving.sequence, now)

    def _free_source(self, request: int, now: float) -> None:
        moving = self._moving.pop(request)
        moving.source.release(moving.blocks, now)
        roles = self.routes[self._offered.workload_of[request]].roles
        if roles is not None:
            roles.moved(moving.source.index)
