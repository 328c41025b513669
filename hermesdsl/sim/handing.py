"""Where the KV of a thread is read next, and how it gets there.

KV stays where it was computed; a later stage that reads it runs there, or pays the move. A move
may begin layer by layer while the prompt is still being read. Knows no pipeline beyond the next
visit.
"""

from __future__ import annotations

from dataclasses import dataclass

from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.kv import Hold
from hermesdsl.sim.liveness import Liveness
from hermesdsl.sim.load import Offered
from hermesdsl.sim.network.network import Flow
from hermesdsl.sim.nodes import EngineVisit
from hermesdsl.sim.record import Recorder
from hermesdsl.sim.routing.admission import NOBODY
from hermesdsl.sim.routing.load import Charge, ClientLoad
from hermesdsl.sim.transfer import Transfers
from hermesdsl.sim.visit_rows import VisitRows
from hermesdsl.sim.walk import Thread

#: Why a request is refused (`record.REASONS`).
TOO_LONG, QUEUE_FULL, BY_PIPELINE, NOT_ADMITTED = 1, 2, 3, 4


@dataclass
class Ahead:
    """The visit that follows a prompt whose KV moves layer by layer, begun while it is read.

    `hold` is the KV as it will be at the source; `sequence` at the client `client`, None while
    there is none, which is the `reason` to refuse it; `tokens` it will have produced; `charges` as
    of threads.
    """

    node: EngineVisit
    hold: Hold
    tokens: int
    sequence: Sequence | None = None
    client: int = -1
    charges: Charge = (0, 0, 0)
    reason: int = TOO_LONG


class HandOvers(VisitRows):
    """Moves KV between `engines`, by index of client, with `transfers`."""

    def __init__(
        self, offered: Offered, kernel: Kernel, recorder: Recorder, load: ClientLoad,
        transfers: Transfers,
    ) -> None:  # fmt: skip
        super().__init__(offered, kernel, recorder, load)
        self.engines: dict[int, Engine] = {}
        self._transfers = transfers
        self._moving: dict[int, tuple[Sequence, Engine, Flow]] = {}
        #: Until when KV of a thread waits for the stage that it is in, where that has a limit.
        self._deadlines: dict[int, float] = {}
        self._liveness = Liveness(self.engines, self._live, self._deadlines, kernel)

    def _refuse(self, thread: Thread, reason: int, now: float) -> None:
        raise NotImplementedError

    def _choose(
        self, thread: Thread, node: EngineVisit, hold: Hold | None, turn: int
    ) -> Engine | None:
        """Where the KV is, if that is one of the pool's clients; else where its router says.

        None: the pool does not admit it.
        """
        if node.fixed is not None:
            index = node.fixed
        elif thread.bound in node.members and not node.judges:
            index = thread.bound
        elif hold is None:
            index = node.router.pick(thread.request, node.draw(turn))
        elif node.affine and hold.engine.index in node.members:
            index = hold.engine.index
        else:
            router = node.paired.get(hold.engine.index, node.router)
            index = router.pick(thread.request, node.draw(turn))
        return None if index == NOBODY else self.engines[index]

    def reading(self, source: Engine, sequence: Sequence, start: float, end: float) -> None:
        """A prompt will be read at `end`, and its KV may move layer by layer from `start` on."""
        thread = sequence.visit
        assert thread is not None
        if start < end and not thread.over:
            assert thread.node is not None
            node = thread.node.onward.targets[0]
            assert isinstance(node, EngineVisit)
            assert node.produce is not None
            node.count(thread)
            tokens = node.produce(thread, node.turn(thread))
            if tokens > 1:
                hold = Hold(source, sequence.prompt)
                hold.ready = end
                thread.ahead = Ahead(node, hold, tokens)
                self._kernel.at(start, DELIVERY, thread.key, self._open, thread.key)
            else:
                node.uncount(thread)

    def _open(self, now: float, key: int) -> None:
        """Queue for the next visit while the prompt is still being read."""
        thread = self._live.get(key)
        if thread is None or thread.over or thread.ahead is None:
            return
        ahead = thread.ahead
        node, hold = ahead.node, ahead.hold
        engine = self._choose(thread, node, hold, node.turn(thread))
        if engine is None:
            ahead.reason = NOT_ADMITTED
            return
        if not engine.fits(thread.context + ahead.tokens - 1):
            return
        sequence = Sequence(thread.request, thread, hold.tokens, ahead.tokens - 1)
        sequence.left = 0
        sequence.fresh, sequence.again = False, True
        sequence.since = hold.ready
        sequence.visible, sequence.keeps = node.visible, node.keeps
        sequence.source, sequence.text = hold, thread.breaks
        ahead.sequence = sequence
        ahead.client = engine.index
        whole = thread.context + ahead.tokens
        ahead.charges = self._load.add(
            engine.index, thread.request, node.decode, whole, ahead.tokens
        )
        engine.submit(sequence, now, arrival=False)

    def _follow_ahead(self, thread: Thread, now: float) -> None:
        """The prompt is read, and the next visit has begun already."""
        ahead, thread.ahead = thread.ahead, None
        assert ahead is not None
        if ahead.sequence is None:
            self._refuse(thread, ahead.reason, now)
            return
        assert thread.holds is not None
        del thread.holds[ahead.node.model]
        thread.node, thread.sequence = ahead.node, ahead.sequence
        thread.enter, thread.moved = now, 0.0
        thread.produces, thread.owed = ahead.tokens, ahead.tokens - 1
        thread.client, thread.charges = ahead.client, ahead.charges
        self._liveness.look(now)
        thread.primed = ""
        if ahead.node.visible:
            self._recorder.show(thread.request, 1, now)

    def fetch(self, target: Engine, sequence: Sequence, now: float) -> None:
        """`target` has blocks for a sequence whose KV is elsewhere: move it."""
        thread, hold = sequence.visit, sequence.source
        assert thread is not None
        assert hold is not None
        source = hold.engine
        hold.moving += 1
        flow = self._transfers.move(
            source.path, target.path, hold.tokens, now, thread.key, self._delivered,
            ready=hold.ready,
        )  # fmt: skip
        self._moving[thread.key] = (sequence, target, flow)

    def _delivered(self, now: float, key: int) -> None:
        sequence, engine, flow = self._moving[key]
        thread, hold = sequence.visit, sequence.source
        assert thread is not None
        assert hold is not None
        self._count_moved(thread, flow, now)
        row = (thread.request, hold.engine.index, engine.index, flow.size, flow.start, now)
        self._recorder.transfers.extend(row)
        self._arrived(now, key)

    def _call_off(self, thread: Thread, now: float) -> None:
        """Nobody waits any more for the KV of a thread that is on its way."""
        self._transfers.cancel(self._moving[thread.key][2], now)
        self._arrived(now, thread.key)

    def _arrived(self, now: float, key: int) -> None:
        """KV is where its sequence is, or will never be needed there."""
        sequence, engine, _ = self._moving.pop(key)
        hold = sequence.source
        assert hold is not None
        hold.moving -= 1
        let_go(hold, now)
        engine.deliver(sequence, now)

    @staticmethod
    def _count_moved(thread: Thread, flow: Flow, until: float) -> None:
        """Of a thread's wait, the part in which its KV was on the way."""
        thread.moved += until - max(flow.start, thread.enter)

    def settle_moves(self, until: float) -> None:
        """Count the moves under way, when the run is cut there."""
        for sequence, _, flow in self._moving.values():
            thread = sequence.visit
            assert thread is not None
            if thread.ahead is None:
                self._count_moved(thread, flow, until)


def let_go(hold: Hold, now: float) -> None:
    """Release KV at its source, unless its prompt was cancelled there before it was read."""
    if hold in hold.engine.kv.holds:
        hold.engine.release(hold, now)
