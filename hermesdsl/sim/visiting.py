"""Takes threads to engines and back: with which KV, for how many tokens, and what they leave.

The part of the interpreter that deals with LLM engines. Knows no pipeline beyond the visit and
the next; how KV gets from engine to engine is in `sim.handing`.
"""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import TypeAlias

from hermesdsl.sim import ledger
from hermesdsl.sim.branch import Onward
from hermesdsl.sim.decoding import INCOMING, QUEUED, Sequence
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.handing import (
    BY_PIPELINE,
    NOT_ADMITTED,
    QUEUE_FULL,
    TOO_LONG,
    HandOvers,
    let_go,
)
from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.kv import Hold
from hermesdsl.sim.load import Offered
from hermesdsl.sim.nodes import End, EngineVisit
from hermesdsl.sim.record import REFUSED, TIMED_OUT, Recorder
from hermesdsl.sim.routing.load import ClientLoad
from hermesdsl.sim.transfer import Transfers
from hermesdsl.sim.walk import Thread

#: (request, tokens, engine, seconds), see `EngineVisits.released`.
Released: TypeAlias = Callable[[int, int, Engine, float], None]


class EngineVisits(HandOvers):
    """Visits to engines; `sim.interpreter` adds the walk between visits."""

    def __init__(
        self, offered: Offered, kernel: Kernel, recorder: Recorder, load: ClientLoad,
        transfers: Transfers,
    ) -> None:  # fmt: skip
        super().__init__(offered, kernel, recorder, load, transfers)
        #: Prompts that are read while KV for them is fetched, by key of the thread.
        self._awaited: dict[int, tuple[Sequence, Engine]] = {}
        #: Told whenever an engine lets go of KV of a request's own text for good, once for each
        #: copy: the request's sequence has left it, or what was kept of it is not needed (or has
        #: moved away). (request, tokens of its context whose KV was there, engine, seconds.) The
        #: tokens are those before the first fork; `Identities.chain(request, tokens, size)` names
        #: them. Not called for KV that was cancelled, refused, preempted or given up.
        self.released: Released | None = None
        #: True while requests arrive from outside: they may join a step that begins now.
        self._arriving = False
        #: What comes of a request that is being given up is not for its user's eyes.
        self._hiding = False

    @property
    def arriving(self) -> bool:
        """Requests are arriving from outside: steps that end now have not ended yet."""
        return self._arriving

    def _go(self, thread: Thread, onward: Onward, turn: int, now: float) -> None:
        raise NotImplementedError

    def _go_on(self, now: float, key: int) -> None:
        raise NotImplementedError

    def _enter_engine(self, thread: Thread, node: EngineVisit, now: float) -> bool:
        """Begin a visit to an engine; True if there is nothing to do there."""
        node.count(thread)
        thread.node = node
        if node.judges:
            self._judge(thread, node, now)
            return False
        hold = self._hold(thread, node.model, now)
        resident = hold.tokens if hold is not None else 0
        left = thread.context - resident
        # The last token of a decode has no KV yet: the next decode begins with it.
        goes_on = left == 1 and hold is not None
        # KV of all of the context: the step that completed it has sampled the next token.
        primed = not left
        if node.produce is None:
            if not left or (node.opens and goes_on):
                self._skip(thread, node, now)
                return True
            tokens, owed = 0, 1
        else:
            tokens = node.produce(thread, node.turn(thread))
            owed = tokens - 1 if primed else tokens
            if primed and node.visible:
                self._recorder.show(thread.request, 1, now)
            if not owed:
                thread.produces = tokens
                self._produced(thread, node, now)
                self._skip(thread, node, now)
                return True
            left = 0 if goes_on else left
        thread.produces, thread.owed = tokens, owed
        self._send(thread, node, hold, left, now)
        return False

    def _send(
        self, thread: Thread, node: EngineVisit, hold: Hold | None, left: int, now: float
    ) -> None:
        """To the engine that will serve it, with `left` tokens of its context to be read.

        What is to be read comes by the engines' API, which takes its time before it asks where to.
        """
        if left and node.request and not thread.heard:
            self._call(thread, node.request, now)
            return
        thread.heard = False
        engine = self._choose(thread, node, hold, node.turn(thread))
        thread.bound = -1
        if engine is None:
            self._refuse(thread, NOT_ADMITTED, now)
            return
        if not engine.fits(thread.context + max(thread.produces - 1, 0)):
            if node.roles is not None:
                node.roles.read(thread.request)
                node.roles.moved(engine.index)
            self._refuse(thread, TOO_LONG, now)
            return
        resident = hold.tokens if hold is not None else 0
        prompt = thread.context if left else resident
        sequence = Sequence(thread.request, thread, prompt, thread.owed)
        sequence.left = left - min(thread.cached, left - 1) if left and thread.cached else left
        thread.cached = 0
        sequence.visible, sequence.keeps = node.visible, node.keeps
        sequence.layerwise, sequence.text = node.layerwise, thread.breaks
        if thread.fetching is not None:
            sequence.awaits = True
            self._awaited[thread.key] = (sequence, engine)
        if not left:
            sequence.fresh, sequence.again = False, True
            sequence.since = now if resident == thread.context else nan
        if hold is not None:
            assert thread.holds is not None
            del thread.holds[node.model]
            if hold.engine is engine:
                engine.resume(sequence, hold)
            else:
                sequence.source = hold
        self._admit(thread, node, engine, sequence, now)

    def _call(self, thread: Thread, seconds: float, now: float) -> None:
        """An API takes so long to pass a thread on."""
        thread.called = due = now + seconds
        self._kernel.at(due, DELIVERY, thread.key, self._heard, thread.key)

    def _heard(self, now: float, key: int) -> None:
        """An API passes a thread on, if it is still there."""
        thread = self._live.get(key)
        if thread is None or thread.over or thread.called != now:
            return
        thread.called, thread.heard = nan, True
        node = thread.node
        if not isinstance(node, EngineVisit):
            self._go_on_from_api(thread, now)
        elif node.judges:
            self._judge(thread, node, now)
        else:
            hold = self._hold(thread, node.model, now)
            left = thread.context - (hold.tokens if hold is not None else 0)
            self._send(thread, node, hold, left, now)

    def _go_on_from_api(self, thread: Thread, now: float) -> None:
        """The same for a thread that is not at an engine yet."""
        raise NotImplementedError

    def _judge(self, thread: Thread, node: EngineVisit, now: float) -> None:
        """A check by an engine's model: it reads a text of its own, and answers with one token."""
        if node.request and not thread.heard:
            self._call(thread, node.request, now)
            return
        thread.heard = False
        text = ledger.reads(node.stage, thread, self._offered.prompts[thread.request])
        engine = self._choose(thread, node, None, node.turn(thread))
        if engine is None or not engine.fits(text):
            self._refuse(thread, NOT_ADMITTED if engine is None else TOO_LONG, now)
            return
        sequence = Sequence(thread.request, thread, text, 1)
        sequence.visible = False
        thread.produces, thread.owed = 0, 1
        self._admit(thread, node, engine, sequence, now)

    def _hold(self, thread: Thread, model: str, now: float) -> Hold | None:
        """The KV of a model that can be used; what was lost or cut off is forgotten."""
        hold = thread.holds.get(model) if thread.holds else None
        if hold is not None and (hold.lost or hold.tokens > thread.context):
            assert thread.holds is not None
            del thread.holds[model]
            hold.engine.release(hold, now)
            return None
        return hold

    def _admit(
        self, thread: Thread, node: EngineVisit, engine: Engine, sequence: Sequence, now: float
    ) -> None:
        thread.sequence = sequence
        thread.enter, thread.moved = now, 0.0
        self._charge(thread, engine.index, node.decode)
        engine.submit(sequence, now, arrival=self._arriving)

    def leave(self, engine: Engine, sequence: Sequence, now: float) -> None:
        """A sequence has got what it came for: its thread goes on."""
        thread = sequence.visit
        assert thread is not None
        node = thread.node
        assert isinstance(node, EngineVisit)
        self._record(thread, sequence.start, now, sequence)
        self._discharge(thread)
        thread.sequence = None
        self._recorder.due[thread.request] += thread.owed
        if node.roles is not None:
            node.roles.read(thread.request)
        if node.judges:
            assert node.leaves is not None
            node.leaves(thread, node.turn(thread), self._part())
        elif node.produce is None:
            thread.primed = thread.model = node.model
            if sequence.keeps:
                self._keep(thread, node, engine, sequence, thread.context)
        else:
            thread.model = node.model
            self._produced(thread, node, now)
            if sequence.keeps:
                self._keep(thread, node, engine, sequence, thread.context - 1)
        if self.released is not None and not (sequence.keeps or node.judges):
            tokens = thread.context if node.produce is None else thread.context - 1
            if thread.own(tokens) > sequence.below:
                self.released(thread.request, thread.own(tokens), engine, now)
        if thread.ahead is not None:
            self._follow_ahead(thread, now)
            return
        onward = node.onward
        if len(onward.targets) == 1 and isinstance(onward.targets[0], End):
            self._go(thread, onward, 0, now)
        else:
            self._kernel.at(now, DELIVERY, thread.key, self._go_on, thread.key)

    def _keep(
        self, thread: Thread, node: EngineVisit, engine: Engine, sequence: Sequence, tokens: int
    ) -> None:
        if thread.holds is None:
            thread.holds = {}
        hold = thread.ahead.hold if thread.ahead is not None else None
        kept = thread.holds[node.model] = engine.keep(sequence, tokens, hold)
        kept.request = thread.request
        own = thread.own(tokens)
        kept.own = own if own > sequence.below else 0
        if node.roles is not None:
            kept.freed = node.roles.moved

    def dropped(self, hold: Hold) -> None:
        """Nobody refers to kept KV any more."""
        given_up = self._recorder.status[hold.request] in (REFUSED, TIMED_OUT)
        if self.released is not None and hold.own and not (hold.lost or given_up):
            self.released(hold.request, hold.own, hold.engine, self._kernel.now)

    def _produced(self, thread: Thread, node: EngineVisit, now: float) -> None:
        """A decode is over: its tokens are in the context, and seen or held back."""
        tokens = thread.produces
        ledger.produced(thread, tokens, self._part())
        if node.visible:
            self._recorder.last[thread.request] = now
            thread.withheld = 0
        else:
            thread.withheld, thread.secret = tokens, node.hidden

    def _skip(self, thread: Thread, node: EngineVisit, now: float) -> None:
        """There was nothing to do: the stage takes no time, and no client."""
        thread.enter, thread.client, thread.moved = now, -1, 0.0
        if thread.primed == node.model and node.produce is not None:
            thread.primed = ""
        self._record(thread, now, now, None)

    def _withdraw(self, thread: Thread, now: float) -> None:
        """Take a thread out of the engines where it is."""
        self._recorder.cut_short[thread.request] = 1
        ahead, thread.ahead = thread.ahead, None
        if ahead is not None and ahead.sequence is not None:
            ahead.sequence.visible &= not self._hiding
            self._take_back(thread, ahead.sequence, self.engines[ahead.client], now)
            self._load.remove(ahead.client, ahead.charges, now)
        sequence = thread.sequence
        assert sequence is not None
        sequence.visible &= not self._hiding
        self._take_back(thread, sequence, self.engines[thread.client], now)
        node = thread.node
        if isinstance(node, EngineVisit) and node.roles is not None:
            node.roles.read(thread.request)
            node.roles.moved(thread.client)
        self._discharge(thread)
        thread.sequence = None

    def _take_back(self, thread: Thread, sequence: Sequence, engine: Engine, now: float) -> None:
        """Cancel a sequence; KV that was to be moved for it stays where it is, and is let go."""
        hold = sequence.source
        if hold is not None and sequence.place == QUEUED:
            sequence.source = None
            let_go(hold, now)
        engine.cancel(sequence, now)
        if hold is not None and sequence.place == INCOMING:
            self._call_off(thread, now)


__all__ = ["BY_PIPELINE", "NOT_ADMITTED", "QUEUE_FULL", "TOO_LONG", "EngineVisits", "Released"]
