"""Takes threads to engines and back: which one, with which KV, and how that gets there.

The part of the interpreter that deals with LLM engines. KV stays where it was computed; a later
stage that reads it runs there, or pays the move. Knows no pipeline beyond the visit and the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan
from typing import TypeAlias

from hermesdsl.sim import ledger
from hermesdsl.sim.branch import Onward
from hermesdsl.sim.decoding import QUEUED, Sequence
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.kv import Hold
from hermesdsl.sim.load import Offered
from hermesdsl.sim.nodes import End, EngineVisit, Visit
from hermesdsl.sim.record import Recorder
from hermesdsl.sim.router import ClientLoad
from hermesdsl.sim.walk import Thread

#: (source, target, tokens, opened, read) → (bytes, end in seconds) of moving KV between clients.
Transfer: TypeAlias = Callable[[Engine, Engine, int, float, float], tuple[float, float]]

#: Why a request is refused (`record.REASONS`).
TOO_LONG, QUEUE_FULL, BY_PIPELINE = 1, 2, 3


@dataclass
class Ahead:
    """The visit that follows a prompt whose KV moves layer by layer, begun while it is read.

    `hold` is the KV as it will be at the source; `sequence` at the client `client`, None while
    there is none; `tokens` it will have produced; `charges` and `moved` as of threads.
    """

    node: EngineVisit
    hold: Hold
    tokens: int
    sequence: Sequence | None = None
    client: int = -1
    charges: int = 0
    moved: float = 0.0


class EngineVisits:
    """Visits to engines; `sim.interpreter` adds the walk between visits.

    `engines` by index of client. `transfer` tells how long KV moves from `opened` on, complete at
    its source since `read` or only then.
    """

    def __init__(
        self, offered: Offered, kernel: Kernel, recorder: Recorder, load: ClientLoad,
        transfer: Transfer,
    ) -> None:  # fmt: skip
        self.engines: dict[int, Engine] = {}
        self._offered = offered
        self._kernel = kernel
        self._recorder = recorder
        self._load = load
        self._transfer = transfer
        self._live: dict[int, Thread] = {}
        self._moving: dict[int, tuple[Sequence, Engine]] = {}
        self._parts = 0
        #: True while requests arrive from outside: they may join a step that begins now.
        self._arriving = False

    def _go(self, thread: Thread, onward: Onward, turn: int, now: float) -> None:
        raise NotImplementedError

    def _go_on(self, now: float, key: int) -> None:
        raise NotImplementedError

    def _refuse(self, thread: Thread, reason: int, now: float) -> None:
        raise NotImplementedError

    # --- engines -----------------------------------------------------------------------------

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
        """To the engine that will serve it, with `left` tokens of its context to be read."""
        engine = self._choose(thread, node, hold, node.turn(thread))
        if not self._fits(engine, thread.context + max(thread.produces - 1, 0), hold):
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
        sequence.layerwise = node.layerwise
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
        self._admit(thread, engine, sequence, now)

    def _judge(self, thread: Thread, node: EngineVisit, now: float) -> None:
        """A check by an engine's model: it reads a text of its own, and answers with one token."""
        text = ledger.reads(node.stage, thread, self._offered.prompts[thread.request])
        engine = self._choose(thread, node, None, node.turn(thread))
        if not engine.fits(text):
            self._refuse(thread, TOO_LONG, now)
            return
        sequence = Sequence(thread.request, thread, text, 1)
        sequence.visible = False
        thread.produces, thread.owed = 0, 1
        self._admit(thread, engine, sequence, now)

    def _hold(self, thread: Thread, model: str, now: float) -> Hold | None:
        """The KV of a model that can be used; what was lost or cut off is forgotten."""
        hold = thread.holds.get(model) if thread.holds else None
        if hold is not None and (hold.lost or hold.tokens > thread.context):
            assert thread.holds is not None
            del thread.holds[model]
            hold.engine.release(hold, now)
            return None
        return hold

    def _choose(self, thread: Thread, node: EngineVisit, hold: Hold | None, turn: int) -> Engine:
        """Where the KV is, if that is one of the pool's clients; else where its router says."""
        if node.fixed is not None:
            index = node.fixed
        elif hold is None:
            index = node.router.pick(thread.request, node.draw(turn))
        elif node.affine and hold.engine.index in node.members:
            index = hold.engine.index
        else:
            router = node.paired.get(hold.engine.index, node.router)
            index = router.pick(thread.request, node.draw(turn))
        return self.engines[index]

    @staticmethod
    def _fits(engine: Engine, tokens: int, hold: Hold | None) -> bool:
        if hold is not None and hold.refs > 1 and hold.tokens % engine.kv.size:
            tokens += engine.kv.size
        return engine.fits(tokens)

    def _admit(self, thread: Thread, engine: Engine, sequence: Sequence, now: float) -> None:
        thread.sequence = sequence
        thread.enter, thread.moved = now, 0.0
        self._charge(thread, engine.index)
        engine.submit(sequence, now, arrival=self._arriving)

    def _charge(self, thread: Thread, client: int) -> None:
        thread.client = client
        thread.charges = thread.context + (thread.produces or self._offered.outputs[thread.request])
        self._load.requests[client] += 1
        self._load.tokens[client] += thread.charges

    def _discharge(self, thread: Thread) -> None:
        client = thread.client
        self._load.requests[client] -= 1
        self._load.tokens[client] -= thread.charges
        thread.client = -1

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
            thread.primed = node.model
            if sequence.keeps:
                self._keep(thread, node, engine, sequence, thread.context)
        else:
            self._produced(thread, node, now)
            if sequence.keeps:
                self._keep(thread, node, engine, sequence, thread.context - 1)
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
        if node.roles is not None:
            kept.freed = node.roles.moved

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
            self._take_back(ahead.sequence, self.engines[ahead.client], now)
            self._load.requests[ahead.client] -= 1
            self._load.tokens[ahead.client] -= ahead.charges
        sequence = thread.sequence
        assert sequence is not None
        self._take_back(sequence, self.engines[thread.client], now)
        node = thread.node
        if isinstance(node, EngineVisit) and node.roles is not None:
            node.roles.read(thread.request)
            node.roles.moved(thread.client)
        self._discharge(thread)
        thread.sequence = None

    @staticmethod
    def _take_back(sequence: Sequence, engine: Engine, now: float) -> None:
        hold = sequence.source
        if hold is not None and sequence.place == QUEUED:
            sequence.source = None
            _let_go(hold, now)
        engine.cancel(sequence, now)

    # --- KV on its way -----------------------------------------------------------------------

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
                hold = Hold(source, sequence.prompt, 0, 0, None)
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
        if not self._fits(engine, thread.context + ahead.tokens - 1, hold):
            return
        sequence = Sequence(thread.request, thread, hold.tokens, ahead.tokens - 1)
        sequence.left = 0
        sequence.fresh, sequence.again = False, True
        sequence.since = hold.ready
        sequence.visible, sequence.keeps = node.visible, node.keeps
        sequence.source = hold
        ahead.sequence = sequence
        ahead.client = engine.index
        self._load.requests[engine.index] += 1
        ahead.charges = thread.context + ahead.tokens
        self._load.tokens[engine.index] += ahead.charges
        engine.submit(sequence, now, arrival=False)

    def _follow_ahead(self, thread: Thread, now: float) -> None:
        """The prompt is read, and the next visit has begun already."""
        ahead, thread.ahead = thread.ahead, None
        assert ahead is not None
        if ahead.sequence is None:
            self._refuse(thread, TOO_LONG, now)
            return
        assert thread.holds is not None
        del thread.holds[ahead.node.model]
        thread.node, thread.sequence = ahead.node, ahead.sequence
        thread.enter, thread.moved = now, ahead.moved
        thread.produces, thread.owed = ahead.tokens, ahead.tokens - 1
        thread.client, thread.charges = ahead.client, ahead.charges
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
        size, end = self._transfer(source, target, hold.tokens, now, hold.ready)
        self._recorder.transfers.extend(
            (thread.request, source.index, target.index, size, now, end)
        )
        if thread.ahead is not None:
            thread.ahead.moved = end - max(now, hold.ready)
        else:
            thread.moved += end - max(now, thread.enter)
        self._moving[thread.key] = (sequence, target)
        self._kernel.at(end, DELIVERY, thread.key, self._delivered, thread.key)

    def _delivered(self, now: float, key: int) -> None:
        sequence, engine = self._moving.pop(key)
        hold = sequence.source
        assert hold is not None
        hold.moving -= 1
        _let_go(hold, now)
        engine.deliver(sequence, now)

    # --- records -----------------------------------------------------------------------------

    def _part(self) -> int:
        self._parts += 1
        return self._parts

    def _record(self, thread: Thread, start: float, end: float, sequence: Sequence | None) -> None:
        """A stay is over (or cut, with an `end` of NaN): its rows, one per stage it stands for.

        `sequence` is None at a server, and where there was nothing to do.
        """
        node = thread.node
        assert isinstance(node, Visit)
        enter, turn = thread.enter, node.turn(thread)
        part = 0
        if isinstance(node, EngineVisit):
            part = 1 if node.opens else 2 if thread.opened else 0
            thread.opened = node.opens
        worked, opened = (sequence.worked, sequence.opened) if sequence else (end - start, -1)
        row = (thread.request, node.columns[0], thread.client, turn)
        whole = (thread.moved, part, _first_token(thread, node, sequence), worked, opened)
        if len(node.columns) == 1 or part == 1:
            self._write(thread, (*row, enter, start, end, *whole))
            return
        # Two stages in one visit: they part when the prompt is read (at once, if there is none).
        again = (thread.request, node.columns[1], thread.client, turn)
        read = sequence.first if sequence else end
        if not isnan(read):
            done = sequence.read if sequence else 0.0
            self._write(thread, (*row, enter, start, read, thread.moved, part, read, done, -1))
            self._write(thread, (*again, read, read, end, 0.0, 0, read, worked - done, -1))
        elif isnan(end):
            self._write(thread, (*row, enter, start, nan, thread.moved, part, nan, worked, -1))
        else:
            self._write(thread, (*row, enter, enter, enter, 0.0, part, nan, 0.0, -1))
            self._write(thread, (*again, enter, start, end, *whole))

    def _write(self, thread: Thread, row: tuple[float, ...]) -> None:
        if thread.rows is None:
            self._recorder.visits.extend((*row, 1.0))
        else:
            thread.rows.append(row)


def _let_go(hold: Hold, now: float) -> None:
    """Release KV at its source, unless its prompt was cancelled there before it was read."""
    if hold in hold.engine.holds:
        hold.engine.release(hold, now)


def _first_token(thread: Thread, node: Visit, sequence: Sequence | None) -> float:
    """When a visit had its first token, if a prompt brought it or it was there on entering."""
    if sequence is not None and not isnan(sequence.first):
        return sequence.first
    if isinstance(node, EngineVisit) and node.produce is not None:
        return thread.enter if sequence is None or thread.owed < thread.produces else nan
    return nan
