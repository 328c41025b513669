"""Threads part and meet: forks, joins that wait, replicas and those of them that lose.

The part of the interpreter that makes several threads of one request, and one of several. Knows
no client's work; where threads go in between is said by `sim.interpreter`.
"""

from __future__ import annotations

from hermesdsl.sim import ledger
from hermesdsl.sim.branch import Onward
from hermesdsl.sim.fork import Gather
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.load import Offered
from hermesdsl.sim.nodes import Node, ReplicaEnd, Replicas, Wait
from hermesdsl.sim.record import Recorder
from hermesdsl.sim.routing.load import ClientLoad
from hermesdsl.sim.servers import Server
from hermesdsl.sim.transfer import Transfers
from hermesdsl.sim.visiting import EngineVisits
from hermesdsl.sim.walk import Scope, Thread


class Partings(EngineVisits):
    """What happens to the threads of a request between a fork and its join.

    `servers`: clients that are no engines, by index.
    """

    def __init__(
        self, offered: Offered, kernel: Kernel, recorder: Recorder, load: ClientLoad,
        transfers: Transfers,
    ) -> None:  # fmt: skip
        super().__init__(offered, kernel, recorder, load, transfers)
        self.servers: dict[int, Server] = {}
        self._keys = len(offered)

    def _child(self, thread: Thread, scope: Scope) -> Thread:
        self._keys += 1
        child = thread.child(self._keys)
        child.scope = scope
        child.rows = []
        scope.threads[child] = None
        self._live[child.key] = child
        return child

    def _sample(self, thread: Thread, count: int) -> None:
        """`count` threads go on from one read prompt: each has a first token of its own."""
        if thread.primed:
            recorder, request = self._recorder, thread.request
            recorder.generated[request] += count - 1
            recorder.due[request] += count - 1
            recorder.samples += count - 1

    def _fork(self, thread: Thread, targets: tuple[Node, ...], now: float) -> None:
        """All of `targets` at once, until a join."""
        scope = thread.scope
        if scope is None:
            scope = Scope(None, 0)
        else:
            del scope.threads[thread]
        self._sample(thread, len(targets))
        children = []
        for _ in targets:
            child = self._child(thread, scope)
            child.parts = dict(thread.parts) if thread.parts is not None else {}
            child.base = (
                thread.base if thread.parts is not None else (thread.context, thread.documents)
            )
            children.append(child)
        # What is held back goes where it may still be superseded.
        heir = next((c for c, t in zip(children, targets, strict=True) if t.writes), children[0])
        heir.withheld, heir.secret = thread.withheld, thread.secret
        scope.rows += thread.rows or []
        del self._live[thread.key]
        self._drop_all(thread, now)
        for child, target in zip(children, targets, strict=True):
            if not child.over:
                self._go(child, Onward((target,)), 0, now)

    def _join(self, thread: Thread, node: Wait, now: float) -> Thread | None:
        """Wait for the other threads; the last to come goes on as all of them."""
        scope = thread.scope
        assert scope is not None
        arrived = scope.arrived.setdefault(node, [])
        if len(arrived) + 1 < node.count_in:
            arrived.append(thread)
            self._stand(thread, now)
            return None
        del scope.arrived[node]
        ledger.merge(thread, arrived)
        for other in arrived:
            self._take_holds(thread, other, now)
            self._flush(other, 0.0)
            del self._live[other.key]
            del scope.threads[other]
        thread.rename(thread.base[0], -self._part())
        for model, hold in (thread.holds or {}).items():
            if hold.tokens == thread.context:
                thread.primed = model
        if len(scope.threads) == 1:
            thread.parts = None
            thread.rows = [*scope.rows, *(thread.rows or [])]
            scope.rows = []
            if scope.gather is None:
                thread.scope = None
                self._flush(thread, 1.0)
        return thread

    def _take_holds(self, thread: Thread, other: Thread, now: float) -> None:
        """Of each model, the KV with most tokens."""
        for model, hold in (other.holds or {}).items():
            if thread.holds is None:
                thread.holds = {}
            mine = thread.holds.get(model)
            if mine is None or hold.tokens > mine.tokens:
                thread.holds[model], hold = hold, mine  # type: ignore[assignment]
            if hold is not None:
                hold.engine.release(hold, now)
        other.holds = None

    def _replicate(self, thread: Thread, node: Replicas, now: float) -> None:
        """A thread for each replica; this one waits for them."""
        node.count(thread)
        turn = node.turn(thread)
        thread.node = node
        self._stand(thread, now)
        gather = thread.gather = Gather(thread, node.join, turn, [], [])
        self._sample(thread, len(node.entries))
        children = []
        for index in range(len(node.entries)):
            scope = Scope(gather, index)
            gather.scopes.append(scope)
            children.append(self._child(thread, scope))
        for child, entry in zip(children, node.entries, strict=True):
            if not child.over:
                self._go(child, entry, turn, now)

    def _come_back(self, thread: Thread, node: ReplicaEnd, now: float) -> None:
        """A replica is done; with enough of them, what waits goes on and the others are over."""
        scope = thread.scope
        assert scope is not None
        gather = scope.gather
        assert gather is not None
        thread.rows = [*scope.rows, *(thread.rows or [])]
        thread.node = None
        gather.done.append((scope.index, thread))
        replicas, request = node.replicas, thread.request
        first = gather.turn * len(gather.scopes)
        chosen = gather.result(lambda index: replicas.scores(request, first + index))
        if chosen is None:
            self._stand(thread, now)
            return
        parent = gather.parent
        ledger.outcome(parent, *chosen, self._part())
        self._drop_all(parent, now)
        best = chosen[1]
        parent.holds, best.holds = best.holds, None
        parent.breaks = best.breaks
        parent.rename(best.context, -self._part())
        for row in thread.rows:
            self._write(parent, row)
        thread.rows = []
        for other in gather.scopes:
            for loser in list(other.threads):
                self._cancel(loser, now)
        parent.gather, parent.waits = None, False
        self._go(parent, replicas.onward, gather.turn, now)

    def _stand(self, thread: Thread, now: float) -> None:
        """A thread waits for others of its request from now on."""
        thread.waits = True
        self._liveness.look(now)

    # --- threads that are over -----------------------------------------------------------------

    def _cancel(self, thread: Thread, now: float) -> None:
        """A thread is over: it leaves its client and frees its KV, as do all below it."""
        if thread.over:
            return
        thread.over = True
        self._live.pop(thread.key, None)
        if thread.scope is not None:
            thread.scope.threads.pop(thread, None)
        if thread.gather is not None:
            for scope in thread.gather.scopes:
                for inner in list(scope.threads):
                    self._cancel(inner, now)
        if thread.sequence is not None:
            self._withdraw(thread, now)
        elif thread.client >= 0:
            self._stop(thread, now)
            self._discharge(thread)
        self._drop_all(thread, now)
        self._flush(thread, 0.0)

    def _stop(self, thread: Thread, now: float) -> None:
        """A client that is no engine works for a thread no more."""
        self.servers[thread.client].cancel(thread)

    def _drop_all(self, thread: Thread, now: float) -> None:
        if thread.holds:
            for hold in thread.holds.values():
                hold.engine.release(hold, now)
            thread.holds = None

    def _flush(self, thread: Thread, critical: float) -> None:
        for row in thread.rows or ():
            self._recorder.visits.extend((*row, critical))
        thread.rows = None
