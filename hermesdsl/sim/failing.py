"""Clients and stores that fail and come back: what was there goes on elsewhere, from its text.

The part of the interpreter that deals with outages. KV at a client that fails is lost, and moves of
KV to it and from it are called off; what it was serving is sent to the same pool again. What was
being fetched from a store that fails, or for a client that does, is looked for again. Knows no
schedule of failures: `sim.outages` does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import isnan, nan

from hermesdsl.sim.attempts import Attempts
from hermesdsl.sim.branch import Onward
from hermesdsl.sim.decoding import Sequence as Work
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.losing import afresh
from hermesdsl.sim.losses import Losses
from hermesdsl.sim.nodes import EngineVisit, Fetch, ServerVisit, Visit
from hermesdsl.sim.record import LOST
from hermesdsl.sim.routing.admission import NOBODY
from hermesdsl.sim.visiting import NOT_ADMITTED, TOO_LONG
from hermesdsl.sim.walk import Thread


class Failing(Attempts):
    """Takes requests away from clients that fail. `losses`: None if nothing ever does."""

    losses: Losses | None = None

    def _enter_server(self, thread: Thread, node: ServerVisit, now: float) -> None:
        raise NotImplementedError

    def _seconds_at(self, thread: Thread, node: ServerVisit, index: int) -> float:
        raise NotImplementedError

    def fail(self, clients: Sequence[int], now: float) -> list[int]:
        """Clients fail at one instant; how many sequences or requests each loses."""
        served: list[Thread] = []
        gone: list[tuple[Work, Work]] = []
        counts = []
        for client in clients:
            engine = self.engines.get(client)
            if engine is None:
                threads = [thread for thread in self.servers[client].fail(now) if not thread.over]
                served += threads
                counts.append(len(threads))
            else:
                found = self._lose(engine, now)
                gone += found
                counts.append(len(found))
        for thread in sorted(served, key=lambda thread: thread.key):
            if not thread.over:
                self._serve_again(thread, now)
        for old, new in sorted(gone, key=lambda pair: pair[0].key):
            self._replace(old, new, now)
        self._look_again(clients, now)
        self._liveness.look(now)
        return counts

    def restart(self, client: int, now: float) -> None:
        """A client is back, and empty."""
        engine = self.engines.get(client)
        if engine is None:
            self.servers[client].restart(now)
        else:
            engine.restart(now)

    # --- stores --------------------------------------------------------------------------------

    def lose_stores(self, parts: Collection[str], tier: str, now: float) -> None:
        """Stores of caches in some parts, or of one tier, fail: what comes from there is lost."""
        keys = [key for cache in self.caches.values() for key in cache.lose(parts, tier)]
        for key in sorted(keys):
            reading, engine = self._awaited.pop(key, (None, None))
            thread = self._live.get(key)
            if reading is not None and engine is not None:
                if thread is not None and not thread.over:
                    self._take_back(thread, reading, engine, now)
                    engine.arrived(reading, now)
                    self._go_elsewhere(thread, reading, afresh(reading, source=False), now)
                else:
                    engine.arrived(reading, now)
            elif thread is not None and not thread.over and isinstance(thread.node, Fetch):
                self._fetch_again(thread, now)

    def stores_back(self, parts: Collection[str], tier: str) -> None:
        """They are back, and empty."""
        for cache in self.caches.values():
            cache.back(parts, tier)

    def _look_again(self, clients: Sequence[int], now: float) -> None:
        """What was fetched for clients that fail, and is not in their charge yet, is lost too."""
        for thread in list(self._live.values()):
            if thread.bound in clients and thread.sequence is None and not thread.over:
                if isinstance(thread.node, Fetch) and thread.client == thread.bound:
                    self._fetch_again(thread, now)
                else:
                    thread.bound, thread.cached = -1, 0

    # --- engines -------------------------------------------------------------------------------

    def _lose(self, engine: Engine, now: float) -> list[tuple[Work, Work]]:
        """All that an engine has in charge, and sequences elsewhere that awaited KV from it.

        Each with the same work to be done elsewhere.
        """
        for cache in self.caches.values():
            cache.client_fails(engine.path)
        for thread in list(self._live.values()):
            if thread.ahead is not None and thread.ahead.hold.engine is engine:
                self._undo_ahead(thread, now)
        found = self._stop_moves(engine, now)
        return found + [(old, afresh(old, source=True)) for old in engine.fail(now)]

    def _undo_ahead(self, thread: Thread, now: float) -> None:
        """The prompt will not be read to its end here: its next visit has not begun after all."""
        ahead, thread.ahead = thread.ahead, None
        assert ahead is not None
        ahead.node.uncount(thread)
        if ahead.sequence is not None:
            self._take_back(thread, ahead.sequence, self.engines[ahead.client], now)
            self._load.remove(ahead.client, ahead.charges, now)

    def _stop_moves(self, engine: Engine, now: float) -> list[tuple[Work, Work]]:
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
                if thread.ahead is None:
                    self._count_moved(thread, flow, now)
                source.moving -= 1
            elif source.engine is engine:
                found.append((sequence, afresh(sequence, source=False)))
                self._count_moved(thread, flow, now)
                target.cancel(sequence, now)
                self._call_off(thread, now)
        return found

    def _replace(self, old: Work, new: Work, now: float) -> None:
        """What an engine has lost goes on elsewhere, if anybody still wants it."""
        thread = old.visit
        assert thread is not None
        ahead = thread.ahead
        if ahead is not None and ahead.sequence is old:
            self._load.remove(ahead.client, ahead.charges, now)
            ahead.sequence = None
            self._open(now, thread.key)
        elif thread.sequence is old and not thread.over:
            self._go_elsewhere(thread, old, new, now)
        elif new.source is not None and new.source in new.source.engine.kv.holds:
            new.source.engine.release(new.source, now)

    def _go_elsewhere(self, thread: Thread, old: Work, new: Work, now: float) -> None:
        """What an engine has lost is sent to its pool again."""
        node, client = thread.node, thread.client
        assert isinstance(node, EngineVisit)
        if self.losses is not None and old.started:
            self.losses.read(thread, node.stage.path, client, new, now)
        self._record_lost(thread, old, now)
        self._call_off_fetch(thread, now)
        self._awaited.pop(thread.key, None)
        self._discharge(thread)
        thread.sequence = None
        if node.roles is not None:
            node.roles.read(thread.request)
            node.roles.moved(client)
        if new.source is not None and new.source.lost:
            self._read_all(new, now)
        turn = node.turn(thread)
        index = self._pick_again(thread, node, new)
        if index != NOBODY and node.among is not None:
            node = self._other_side(thread, node, index, new, now)
            if node is None:
                return
        if index == NOBODY or not self.engines[index].fits(
            thread.context + max(thread.produces - 1, 0)
        ):
            if node.roles is not None and index != NOBODY:
                node.roles.read(thread.request)
                node.roles.moved(index)
            if new.source is not None:
                new.source.engine.release(new.source, now)
            self._recorder.cut_short[thread.request] = 1
            self._refuse(thread, NOT_ADMITTED if index == NOBODY else TOO_LONG, now)
            return
        assert turn == node.turn(thread)
        engine = self.engines[index]
        if engine.advance != self.engines[client].advance:
            new.carry = 0
        source = new.source
        if source is not None and source.engine is engine:
            new.source = None
            engine.resume(new, source)
        self._admit(thread, node, engine, new, now)

    @staticmethod
    def _pick_again(thread: Thread, node: EngineVisit, new: Work) -> int:
        """The client that goes on: one that a router picks, or the only one there is."""
        draw = node.draw(node.turn(thread))
        if node.among is not None:
            return node.among.router.pick(thread.request, draw)
        if node.fixed is not None:
            return node.fixed
        router = node.router
        if new.source is not None:
            router = node.paired.get(new.source.engine.index, router)
        return router.pick(thread.request, draw)

    def _other_side(
        self, thread: Thread, node: EngineVisit, index: int, new: Work, now: float
    ) -> EngineVisit | None:
        """The visit to another member, unlike the first; None if it has begun it as a new one."""
        assert node.among is not None
        side = node.among.visits[index]
        if not isinstance(side, EngineVisit) or node.judges:
            self._begin_again(thread, side, now)
            return None
        if side.model != node.model:
            if new.source is not None:
                self._read_all(new, now)
            kept = thread.holds.pop(side.model, None) if thread.holds else None
            if kept is not None:
                # Of an earlier stage: all of the text is read here, and kept anew.
                kept.engine.release(kept, now)
        thread.node = side
        new.keeps, new.layerwise = side.keeps, side.layerwise
        return side

    def _begin_again(self, thread: Thread, visit: Visit, now: float) -> None:
        """A pass that was counted begins once more, as `visit`."""
        turn = visit.turn(thread)
        visit.uncount(thread)
        self._go(thread, Onward((visit,)), turn, now)

    @staticmethod
    def _read_all(new: Work, now: float) -> None:
        """Work that cannot use the KV that is kept for it after all."""
        assert new.source is not None
        new.source.engine.release(new.source, now)
        new.source = None
        if not new.left:
            new.prompt += 1
        new.left = new.prompt

    # --- other servers -------------------------------------------------------------------------

    def _serve_again(self, thread: Thread, now: float) -> None:
        """What a server has lost is sent to its pool again, for the same service."""
        node = thread.node
        assert isinstance(node, ServerVisit)
        if self.losses is not None and not isnan(thread.start):
            seconds = self._seconds_at(thread, node, thread.client)
            self.losses.served(thread, node.stage.path, thread.client, seconds, now)
        start = now if isnan(thread.start) else thread.start
        row = (thread.request, node.columns[0], thread.client, node.turn(thread))
        times = (thread.enter, start, now, thread.moved)
        self._write(thread, (*row, *times, LOST, nan, now - start, -1))
        self._discharge(thread)
        if node.among is None:
            node.uncount(thread)
            self._enter_server(thread, node, now)
            return
        index = node.among.router.pick(thread.request, node.draw(node.turn(thread)))
        if index == NOBODY:
            self._refuse(thread, NOT_ADMITTED, now)
        else:
            self._begin_again(thread, node.among.visits[index], now)

    # --- records -------------------------------------------------------------------------------

    def _record_lost(self, thread: Thread, old: Work, now: float) -> None:
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
