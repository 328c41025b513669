"""Walks requests through their plans: from arrival to visit to visit to the end.

Knows nodes, threads and where each kind of client takes them; not how a client works, nor what
results mean. What happens at one instant after all steps that end at it comes as an event of its
own (`DELIVERY`), ordered by thread, so that both forms of the engines see the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import TypeAlias

from hermesdsl.sim import ledger
from hermesdsl.sim.batch_engine import BatchEngine, Job
from hermesdsl.sim.branch import Onward
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.load import Offered
from hermesdsl.sim.network.network import Network
from hermesdsl.sim.nodes import (
    Again,
    End,
    EngineVisit,
    Fetch,
    Node,
    Pick,
    ReplicaEnd,
    Replicas,
    ServerVisit,
    Wait,
)
from hermesdsl.sim.outages import Outages
from hermesdsl.sim.record import COMPLETED, Recorder
from hermesdsl.sim.routing.admission import NOBODY
from hermesdsl.sim.routing.load import ClientLoad
from hermesdsl.sim.straight import Straight
from hermesdsl.sim.transfer import Transfers
from hermesdsl.sim.visiting import BY_PIPELINE, NOT_ADMITTED, QUEUE_FULL
from hermesdsl.sim.walk import Thread

#: Called now and then with (simulated seconds, requests that have ended, requests offered).
Progress: TypeAlias = Callable[[float, int, int], None]
#: Requests between two calls of progress.
_PROGRESS_EVERY = 512
#: Added to a key: what happens after everything else that arrives at the same instant.
_LAST = 1 << 60


class Interpreter(Straight):
    """Runs requests over `engines` and other `servers`, both by index of client."""

    def __init__(
        self,
        offered: Offered,
        kernel: Kernel,
        recorder: Recorder,
        *,
        load: ClientLoad,
        transfers: Transfers,
        network: Network,
        progress: Progress | None,
    ) -> None:
        super().__init__(offered, kernel, recorder, load, transfers)
        self._network = network
        self._progress = progress
        self.outages: Outages | None = None
        #: The thread that a request left behind, where another follows it.
        self._histories: dict[int, Thread] = {}

    def start(self) -> None:
        """Plan the arrivals."""
        if self.outages is not None:
            self.outages.start()
        offered = self._offered
        if offered.first:
            self._coming = 1
            self._straight = self._ways()
            if not self._come_heard(self._straight):
                self._kernel.arrivals(offered.arrivals[: offered.first], self._arrive)

    def run(self, until: float) -> None:
        """Process events up to time `until`."""
        self._kernel.run(until)

    def starved(self, engine: Engine, now: float) -> None:
        """An engine is idle while somebody waits there: KV must be given up if nobody frees it."""
        self._liveness.starved(engine, now)

    def idle(self) -> bool:
        """Nobody is on the way, and nobody will come."""
        return not (self._live or self._pausing or self._coming)

    def settle(self, until: float) -> None:
        """Count what was done by `until`, when the run is cut there."""
        self._network.settle(until)
        self.settle_moves(until)
        for engine in self.engines.values():
            engine.settle(until)
        for thread in self._live.values():
            if thread.client >= 0:
                sequence = thread.sequence
                start = thread.start if sequence is None else sequence.start
                self._record(thread, start, nan, sequence)
            self._flush(thread, 1.0)

    # --- arriving ----------------------------------------------------------------------------

    def _arrive(self, now: float, request: int) -> None:
        offered = self._offered
        if request + 1 == offered.first:
            self._coming -= 1
        self._arriving = True
        node = self._straight[offered.workload_of[request]]
        if node is not None:
            self._enter_straight(node, request, now)
        else:
            self._begin(request, None, now)
        self._arriving = False

    def _follow_up(self, now: float, request: int) -> None:
        self._coming -= 1
        self._recorder.arrival[request] = now
        before = self._offered.after[request]
        history = self._histories.pop(before, None)
        self._begin(request, history if self._offered.grows[request] else None, now)

    def _begin(self, request: int, history: Thread | None, now: float) -> None:
        offered = self._offered
        context = offered.prompts[request]
        context += offered.prefixes[request] if history is None else history.context
        thread = Thread(request, request, context)
        thread.cached = self._recorder.cached[request] = offered.cached[request]
        if history is not None:
            thread.breaks = history.breaks
        self._recorder.context[request] = context
        self._attempt(thread, now)

    # --- walking -----------------------------------------------------------------------------

    def _go_on(self, now: float, key: int) -> None:
        thread = self._live.get(key)
        if thread is not None and not thread.over:
            node = thread.node
            assert node is not None
            self._go(thread, node.onward, node.turn(thread), now)

    def _go(self, thread: Thread, onward: Onward, turn: int, now: float) -> None:
        """Walk on until something takes time."""
        if self._deadlines:
            self._leave_stage(thread)
        while True:
            targets = onward.targets or onward.decide(thread, turn)
            if len(targets) > 1:
                self._fork(thread, targets, now)
                return
            node = targets[0]
            if thread.holds:
                self._let_go(thread, node, now)
            if thread.withheld and not thread.secret and not (node.writes or node.contested):
                self._show_all(thread, now)
            if isinstance(node, EngineVisit):
                if not self._enter_engine(thread, node, now):
                    if node.hold is not None:
                        self._wait_with_kv(thread, node.hold, now)
                    return
            elif isinstance(node, ServerVisit):
                if node.hold is not None:
                    self._wait_with_kv(thread, node.hold, now)
                self._enter_server(thread, node, now)
                return
            elif isinstance(node, End):
                self._end(thread, node, now)
                return
            elif isinstance(node, Replicas):
                self._replicate(thread, node, now)
                return
            elif isinstance(node, ReplicaEnd):
                self._come_back(thread, node, now)
                return
            elif isinstance(node, Wait):
                joined = self._join(thread, node, now)
                if joined is None:
                    return
                thread = joined
            elif isinstance(node, Pick):
                picked = node.pick(thread)
                if picked is None:
                    self._refuse(thread, NOT_ADMITTED, now)
                    return
                onward, turn = picked, 0
                continue
            elif isinstance(node, Again) and self._repeats(thread, node):
                onward, turn = node.back, 0
                continue
            elif isinstance(node, Fetch) and not self._enter_fetch(thread, node, now):
                return
            onward, turn = node.onward, node.turn(thread)

    def _repeats(self, thread: Thread, node: Again) -> bool:
        request = thread.request
        node.count(thread)
        done = node.done[request] = node.done.get(request, 0) + 1
        assert node.turns is not None
        if node.repeat.again(thread, done, node.turns[request]):
            return True
        del node.done[request]
        return False

    def _let_go(self, thread: Thread, node: Node, now: float) -> None:
        """Free KV that no stage can read any more."""
        holds = thread.holds
        assert holds is not None
        for model in [model for model in holds if model not in node.models]:
            hold = holds.pop(model)
            hold.engine.release(hold, now)

    def _wait_with_kv(self, thread: Thread, seconds: float, now: float) -> None:
        """Keep a thread's KV for so long while it is in the stage that it enters now."""
        if thread.key not in self._deadlines:
            self._deadlines[thread.key] = end = now + seconds
            self._kernel.at(end, DELIVERY, _LAST + thread.key, self._give_up_kv, thread.key)

    def _leave_stage(self, thread: Thread) -> None:
        node = thread.node
        if not (isinstance(node, EngineVisit) and node.opens):
            self._deadlines.pop(thread.key, None)

    def _give_up_kv(self, now: float, key: int) -> None:
        """KV has waited long enough, if its thread is still in the stage: it is read again."""
        if self._deadlines.get(key) != now:
            return
        del self._deadlines[key]
        thread = self._live.get(key)
        if thread is not None:
            self._drop_all(thread, now)

    def _show_all(self, thread: Thread, now: float) -> None:
        """The user sees at once what was held back."""
        recorder, request = self._recorder, thread.request
        recorder.show(request, thread.withheld, now)
        recorder.last[request] = now
        thread.withheld = 0

    # --- servers -----------------------------------------------------------------------------

    def _enter_server(self, thread: Thread, node: ServerVisit, now: float) -> None:
        node.count(thread)
        turn = node.turn(thread)
        request = thread.request
        index = node.fixed
        if index is None:
            index = node.router.pick(request, node.draw(turn))
        if index == NOBODY:
            self._refuse(thread, NOT_ADMITTED, now)
            return
        thread.node, thread.enter, thread.start, thread.moved = node, now, nan, 0.0
        thread.produces = 0
        self._charge(thread, index, node.stage)
        server = self.servers[index]
        count = ledger.sequences(node.stage, thread)
        tokens = ledger.reads(node.stage, thread, self._offered.prompts[request])
        seconds = None if node.seconds is None else node.seconds(thread, turn)
        if isinstance(server, BatchEngine):
            cost = node.costs[index] if seconds is None else seconds
            if self._load.timed:
                alone = cost if isinstance(cost, float) else cost.seconds(count, tokens)
                self._load.ask(index, alone)
            server.submit(Job(thread, count, tokens, cost), now)
            return
        if seconds is None:
            seconds = node.costs[index].seconds(count, tokens)
        if self._load.timed:
            self._load.ask(index, seconds)
        if not server.submit(thread, seconds, now):
            self._discharge(thread)
            self._refuse(thread, QUEUE_FULL, now)

    def _seconds_at(self, thread: Thread, node: ServerVisit, index: int) -> float:
        """What a visit to a server takes there by itself."""
        if node.seconds is not None:
            return node.seconds(thread, node.turn(thread))
        count = ledger.sequences(node.stage, thread)
        tokens = ledger.reads(node.stage, thread, self._offered.prompts[thread.request])
        return node.costs[index].seconds(count, tokens)

    def served(self, thread: Thread, now: float) -> None:
        """A server has done its work for a thread."""
        node = thread.node
        assert isinstance(node, ServerVisit)
        self._record(thread, thread.start, now, None)
        self._discharge(thread)
        turn = node.turn(thread)
        assert node.leaves is not None
        node.leaves(thread, turn, self._part())
        self._go(thread, node.onward, turn, now)

    # --- ends --------------------------------------------------------------------------------

    def _end(self, thread: Thread, node: End, now: float) -> None:
        if not node.accepts:
            self._refuse(thread, BY_PIPELINE, now)
            return
        recorder, request = self._recorder, thread.request
        if not recorder.visible[request]:
            if not thread.withheld and thread.primed:
                thread.withheld = 1
            if thread.withheld:
                self._show_all(thread, now)
        self._drop_all(thread, now)
        if thread.rows is not None:
            self._flush(thread, 1.0)
        del self._live[thread.key]
        recorder.status[request] = COMPLETED
        self._finish(thread, now)

    def _finish(self, thread: Thread, now: float) -> None:
        request, recorder = thread.request, self._recorder
        if recorder.status[request] == COMPLETED:
            recorder.finish[request] = now
            if self._expires:
                self._expires.pop(request, None)
        recorder.ended += 1
        offered = self._offered
        if self._progress is not None and recorder.ended % _PROGRESS_EVERY == 0:
            self._progress(now, recorder.ended, len(offered))
        if not offered.followers:
            return
        for following in offered.followers.get(request, ()):
            self._histories[request] = thread
            time = now + offered.delays[following]
            if time < offered.until:
                self._coming += 1
                self._kernel.at(time, DELIVERY, following, self._follow_up, following)
