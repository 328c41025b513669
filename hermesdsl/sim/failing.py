"""Clients that fail and come back: what was there goes on elsewhere, from its text.

The part of the interpreter that deals with outages. KV at a client that fails is lost, and moves of
KV to it and from it are called off; what it was serving is sent to the same pool again. Knows no
schedule of failures: `sim.outages` does.
"""

from __future__ import annotations

from math import isnan, nan

from hermesdsl.sim.attempts import Attempts
from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.losing import afresh
from hermesdsl.sim.nodes import EngineVisit, ServerVisit
from hermesdsl.sim.record import LOST
from hermesdsl.sim.routing.admission import NOBODY
from hermesdsl.sim.visiting import NOT_ADMITTED, TOO_LONG
from hermesdsl.sim.walk import Thread


class Failing(Attempts):
    """Takes requests away from clients that fail."""

    def _enter_server(self, thread: Thread, node: ServerVisit, now: float) -> None:
        raise NotImplementedError

    def fail(self, client: int, now: float) -> int:
        """A client fails; how many sequences or requests it loses."""
        engine = self.engines.get(client)
        if engine is None:
            threads = [thread for thread in self.servers[client].fail(now) if not thread.over]
            for served in sorted(threads, key=lambda thread: thread.key):
                if not served.over:
                    self._serve_again(served, now)
            return len(threads)
        gone = self._stop_moves(engine, now)
        gone += [(old, afresh(old, source=True)) for old in engine.fail(now)]
        for old, new in sorted(gone, key=lambda pair: pair[0].key):
            thread = old.visit
            assert thread is not None
            if not thread.over:
                self._go_elsewhere(thread, old, new, now)
            elif new.source is not None:
                new.source.engine.release(new.source, now)
        self._liveness.look(now)
        return len(gone)

    def restart(self, client: int, now: float) -> None:
        """A client is back, and empty."""
        engine = self.engines.get(client)
        if engine is None:
            self.servers[client].restart(now)
        else:
            engine.restart(now)

    def _stop_moves(self, engine: Engine, now: float) -> list[tuple[Sequence, Sequence]]:
        """Call off all moves of KV to and from an engine; sequences elsewhere that awaited it.

        Those that come to it keep their KV where it is.
        """
        found = []
        for key in sorted(self._moving):
            sequence, target, flow = self._moving[key]
            thread, source = sequence.visit, sequence.source
            assert thread is not None
            assert source is not None
            if target is engine:
                del self._moving[key]
                self._transfers.cancel(flow, now)
                self._count_moved(thread, flow, now)
                source.moving -= 1
            elif source.engine is engine:
                found.append((sequence, afresh(sequence, source=False)))
                self._count_moved(thread, flow, now)
                target.cancel(sequence, now)
                self._call_off(thread, now)
        return found

    def _go_elsewhere(self, thread: Thread, old: Sequence, new: Sequence, now: float) -> None:
        """What an engine has lost is sent to its pool again."""
        node = thread.node
        assert isinstance(node, EngineVisit)
        self._record_lost(thread, old, now)
        self._discharge(thread)
        thread.sequence = None
        index, source = node.fixed, new.source
        if index is None:
            router = node.router
            if source is not None:
                router = node.paired.get(source.engine.index, router)
            index = router.pick(thread.request, node.draw(node.turn(thread)))
        if index == NOBODY or not self.engines[index].fits(
            thread.context + max(thread.produces - 1, 0)
        ):
            if source is not None:
                source.engine.release(source, now)
            self._recorder.cut_short[thread.request] = 1
            self._refuse(thread, NOT_ADMITTED if index == NOBODY else TOO_LONG, now)
            return
        engine = self.engines[index]
        if source is not None and source.engine is engine:
            new.source = None
            engine.resume(new, source)
        self._admit(thread, node, engine, new, now)

    def _serve_again(self, thread: Thread, now: float) -> None:
        """What a server has lost is sent to its pool again, for the same service."""
        node = thread.node
        assert isinstance(node, ServerVisit)
        start = now if isnan(thread.start) else thread.start
        row = (thread.request, node.columns[0], thread.client, node.turn(thread))
        times = (thread.enter, start, now, thread.moved)
        self._write(thread, (*row, *times, LOST, nan, now - start, -1))
        self._discharge(thread)
        node.uncount(thread)
        self._enter_server(thread, node, now)

    def _record_lost(self, thread: Thread, old: Sequence, now: float) -> None:
        """The rows of a stay that ends with its client."""
        node = thread.node
        assert isinstance(node, EngineVisit)
        turn, columns = node.turn(thread), node.columns
        read, worked = old.first, old.worked
        start = now if isnan(old.start) else old.start
        if len(columns) > 1 and not (node.opens or thread.resumed or isnan(read)):
            row = (thread.request, columns[0], thread.client, turn)
            times = (thread.enter, start, read, thread.moved)
            self._write(thread, (*row, *times, 0, read, old.read, -1))
            row = (thread.request, columns[1], thread.client, turn)
            self._write(thread, (*row, read, read, now, 0.0, LOST, read, worked - old.read, -1))
            thread.resumed = True
            return
        column = columns[1] if thread.resumed else columns[0]
        row = (thread.request, column, thread.client, turn)
        times = (thread.enter, start, now, thread.moved)
        self._write(thread, (*row, *times, LOST, read, worked, -1))
