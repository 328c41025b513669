"""Looks for KV in caches before a prefill, and offers them the KV that stages let go of.

The part of the interpreter between engines and caches. The look-up binds the request's next
prefill to the client for which it fetches. Knows no tier: `sim.caches` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan

from hermesdsl.sim.branch import Onward
from hermesdsl.sim.caches import Hierarchy
from hermesdsl.sim.caches.hierarchy import Lookup
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.kv import Hold
from hermesdsl.sim.nodes import Fetch
from hermesdsl.sim.parting import Partings
from hermesdsl.sim.record import LOST
from hermesdsl.sim.roles import Roles
from hermesdsl.sim.routing.admission import NOBODY
from hermesdsl.sim.visiting import NOT_ADMITTED
from hermesdsl.sim.walk import Thread


class Fetching(Partings):
    """Visits to caches. `caches` by name, filled before the run."""

    caches: Mapping[str, Hierarchy]
    #: Clients that are down: nothing is fetched for them.
    down: Mapping[int, float]

    def _go_on_from_api(self, thread: Thread, now: float) -> None:
        """See `EngineVisits`: it looks into the cache."""
        assert thread.node is not None
        self._go(thread, Onward((thread.node,)), 0, now)

    def _enter_fetch(self, thread: Thread, node: Fetch, now: float) -> bool:
        """Look into a cache; True if the thread goes on at once."""
        if node.request and not thread.heard:
            thread.node = node
            self._call(thread, node.request, now)
            return False
        node.count(thread)
        turn, request = node.turn(thread), thread.request
        hold = self._hold(thread, node.model, now)
        client = self._fetcher(thread, node, hold, turn)
        if client == NOBODY:
            self._refuse(thread, NOT_ADMITTED, now)
            return False
        thread.node, thread.enter, thread.moved, thread.produces = node, now, 0.0, 0
        thread.bound = client
        lookup = Lookup(
            request=request,
            turn=turn,
            context=thread.context,
            resident=hold.tokens if hold is not None else 0,
            old=self._recorder.context[request] - self._offered.prompts[request],
            client=self.engines[client].path,
            key=thread.key,
            breaks=thread.breaks,
        )
        found, thread.start = 0, now
        if client not in self.down:
            found, thread.start = self.caches[node.cache].fetch(lookup, now, self._fetched)
        # Of a prompt that a trace says was cached, what is found as well is not cached twice.
        self._recorder.cached[request] += max(found - thread.cached, 0)
        thread.cached = max(found, thread.cached)
        if found and self.caches[node.cache].cache.overlap:
            thread.fetching = (request, node.columns[0], client, turn, now, thread.start)
            return True
        if found:
            self._charge(thread, client, node.stage)
            return False
        thread.client = client
        self._record(thread, now, now, None)
        thread.client = -1
        return True

    def _fetcher(self, thread: Thread, node: Fetch, hold: Hold | None, turn: int) -> int:
        """The client of the next prefill: where the rest of the KV is, or where a router says."""
        if node.fixed is not None:
            return node.fixed
        if hold is not None and node.affine and hold.engine.index in node.members:
            return hold.engine.index
        return node.router.pick(thread.request, node.draw(turn))

    def _fetched(self, now: float, key: int) -> None:
        sequence, engine = self._awaited.pop(key, (None, None))
        if sequence is not None and engine is not None:
            engine.arrived(sequence, now)
        thread = self._live.get(key)
        if thread is None or thread.over:
            return
        if thread.fetching is not None:
            self._write(thread, (*thread.fetching, now, 0.0, 0, nan, nan, -1))
            thread.fetching = None
            return
        node = thread.node
        assert isinstance(node, Fetch)
        self._record(thread, thread.start, now, None)
        self._discharge(thread)
        self._go(thread, node.onward, node.turn(thread), now)

    def _stop(self, thread: Thread, now: float) -> None:
        """See `Partings`; a thread is cancelled while KV comes for a prefill that will not be."""
        node = thread.node
        if not isinstance(node, Fetch):
            super()._stop(thread, now)
        elif isinstance(node.router, Roles):
            node.router.read(thread.request)
            node.router.moved(thread.client)

    def _fetch_again(self, thread: Thread, now: float) -> None:
        """What was on its way for a thread is lost: it looks again, at a client that stands."""
        node = thread.node
        assert isinstance(node, Fetch)
        row = (thread.request, node.columns[0], thread.client, node.turn(thread), thread.enter)
        self._write(thread, (*row, min(thread.start, now), now, 0.0, LOST, nan, nan, -1))
        self._call_off_fetch(thread, now)
        if isinstance(node.router, Roles):
            node.router.read(thread.request)
            node.router.moved(thread.client)
        self._discharge(thread)
        node.uncount(thread)
        thread.bound, thread.cached = -1, 0
        if self._enter_fetch(thread, node, now):
            self._go(thread, node.onward, node.turn(thread), now)

    def _call_off_fetch(self, thread: Thread, now: float) -> None:
        """Nobody waits any more for what is fetched for a thread, if anything is."""
        for cache in self.caches.values():
            cache.call_off(thread.key)
        if thread.fetching is not None:
            *row, start = thread.fetching
            # It may not have begun: the tier was busy with others.
            self._write(thread, (*row, min(start, now), now, 0.0, 0, nan, nan, -1))
            thread.fetching = None

    def offer(self, request: int, tokens: int, engine: Engine, now: float) -> None:
        """KV of the first tokens of a request's context is let go of at an engine."""
        for cache in self.caches.values():
            if cache.cache.write == "on_release":
                cache.release(request, tokens, engine.path, now)
