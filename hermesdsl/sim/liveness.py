"""Why nothing stalls: who gives way to whom when KV memory is short, and when.

Whatever cannot fit alone is refused before it queues. (A branch on kept KV whose last block is
filled in part needs one block more than alone, as it has a copy of that block; but by 5 it can let
go of what it lies on, so that block decides nothing.) Of the rest, the head of an engine's queue
waits for memory that others hold; they give way in this order:

1. Unused known blocks of a prefix cache: they are free, and forgotten when their room is taken.
2. When a step of the decodes does not fit, whoever was admitted last: a prompt read in part, else
   the last to decode (`Residents.make_room`).
3. When nothing can run, those who wait behind the head with KV of their own, the last to come
   first (`Residents._unblock`).
4. When nothing can run and nobody will free memory by himself, KV kept for later stages, the last
   to be kept first, but none that is being copied or that other KV lies on.
5. Then whoever waits on top of kept KV lets go of it, the last to come first and the head at the
   very end, and reads all of it again.

Kept KV of a request that something happens to elsewhere (a tool answers, a transfer arrives) is
not touched: it is waited for, at most as long as `hold` says. So 4 and 5 need to know whether an
idle engine is *stuck*. A request is alive if one of its threads is at a client that works, on its
way, or queued at an engine that is not stuck; an engine is not stuck if it runs, if KV for it is on
its way, or if it keeps KV that is being copied or is a live request's. Engines that wait for each
other are stuck together. Stuckness is looked at where it can begin: when an engine falls idle or
kept KV changes while some of its queue waits, and when a thread begins to wait for its siblings or
at the engine where it queued before its prompt was read.

Why it ends: after 3 to 5 nothing but the head holds memory, so the head is admitted. A prompt
that is admitted has all its blocks and loses them only to decodes, and whatever decodes takes one
step at least or leaves its room to another that does. So between two preemptions without an end a
token is produced, tokens are never lost (only their KV), and there are finitely many.

Knows no stage and no policy; which sequence an engine gives up is in `sim.yielding`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from hermesdsl.sim.decoding import QUEUED
from hermesdsl.sim.kernel import WAKE, Kernel

if TYPE_CHECKING:
    from hermesdsl.sim.engine import Engine
    from hermesdsl.sim.walk import Thread

#: Key of the look: after all clients that begin at the same instant.
_LAST = 1 << 60


class Liveness:
    """Finds stuck `engines` (by index of client) among `live` threads, and makes one give way.

    `deadlines`: keys of the threads whose kept KV is given up at a time that is planned.
    """

    def __init__(
        self,
        engines: Mapping[int, Engine],
        live: Mapping[int, Thread],
        deadlines: Collection[int],
        kernel: Kernel,
    ) -> None:
        self._engines = engines
        self._live = live
        self._deadlines = deadlines
        self._kernel = kernel
        #: Engines that were idle while somebody waited when last seen; whether a look is planned.
        self._idle: dict[Engine, None] = {}
        self._planned = False

    def starved(self, engine: Engine, now: float) -> None:
        """An engine is idle while somebody waits there, or what it keeps has changed since."""
        self._idle[engine] = None
        self.look(now)

    def look(self, now: float) -> None:
        """Look for stuck engines once all that happens now has happened."""
        if self._idle and not self._planned:
            self._planned = True
            self._kernel.at(now, WAKE, _LAST, self._look)

    def _look(self, now: float, _: int) -> None:
        self._planned = False
        self._idle = {engine: None for engine in self._idle if engine.starved}
        if all(self._soon(engine) for engine in self._idle):
            return
        for engine in sorted(self._stuck(), key=lambda engine: engine.key):
            if engine.give_up(now):
                self.look(now)
                return

    def _soon(self, engine: Engine) -> bool:
        """Some of what an engine keeps is surely waited for: found without looking at everybody."""
        for hold in engine.kv.holds:
            thread = self._live.get(hold.request)
            if not hold.lost and (hold.moving or (thread is not None and self._moves(thread))):
                return True
        return False

    def _stuck(self) -> set[Engine]:
        stuck = set(self._idle)
        alive: set[int] = set()
        queued: dict[Engine, list[int]] = {engine: [] for engine in stuck}
        for thread in self._live.values():
            if self._moves(thread):
                alive.add(thread.request)
            elif thread.sequence is not None:
                queued[self._engines[thread.client]].append(thread.request)
        while True:
            freed = {engine for engine in stuck if _waits_for(engine, alive)}
            if not freed:
                return stuck
            stuck -= freed
            alive.update(request for engine in freed for request in queued[engine])

    def _moves(self, thread: Thread) -> bool:
        """Something will happen to a thread, or to KV that is kept for it, by itself."""
        if thread.holds and thread.key in self._deadlines:
            return True
        if thread.sequence is not None:
            engine = self._engines[thread.client]
            return thread.sequence.place != QUEUED or engine not in self._idle
        return thread.client >= 0 or not thread.waits


def _waits_for(engine: Engine, alive: Collection[int]) -> bool:
    """An engine keeps KV that is being copied, or that a live request will come back for."""
    return any(not hold.lost and (hold.moving or hold.request in alive) for hold in engine.kv.holds)
