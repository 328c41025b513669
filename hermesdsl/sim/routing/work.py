"""``least_work`` and ``oracle``: the member whose work in charge takes the fewest seconds.

The work of an engine is r × (prompt tokens that no step has read) + w × (tokens still owed to the
requests there), from its own cost model: r seconds per token of a prompt of mean length p read
alone, w seconds per token of a step that decodes for b sequences,

    r = step(p) / p,    w = decode step(b sequences of context p + o/2) / b,
    b = as many requests of p + o tokens as its KV holds, 1 … max_batch,

with p and o the means of all prompts and outputs offered. So engines of different speed and size
compare. Tokens owed count in full until a request is done there: `least_work` takes the expected
ones (`routing.load.Forecast`), `oracle` the true ones, which no router can know.

The work of a worker pool is requests in charge × mean seconds asked for there so far / workers; of
a batch engine the same with one worker; an outside service has none.
"""

from __future__ import annotations

from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Spec
from hermesdsl.sim.delay import Delay
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.load import Offered
from hermesdsl.sim.routing.context import RouterContext, Seen, least
from hermesdsl.sim.worker_pool import WorkerPool


def rates(engine: Engine, offered: Offered) -> tuple[float, float]:
    """(r, w): seconds per prompt token and per token produced, see above."""
    if not len(offered):
        return 0.0, 0.0
    prompt = max(round(float(offered.prompt.mean())), 1)
    output = max(round(float(offered.output.mean())), 1)
    cost = engine.cost
    pairs = prompt * (prompt + 1) / 2
    reading = cost.step(StepWork(prompt, 1, 1, prompt, pairs, prompt))
    batch = min(max(cost.kv_tokens // (prompt + output), 1), engine.max_batch)
    run = cost.decode_run(batch, batch * (prompt + output / 2))
    return reading / prompt, run.seconds(1) / (batch * run.advance)


def work(context: RouterContext, owed: Seen[int] | None = None) -> Seen[float]:
    """Seconds of work that a member has; `owed`: tokens it is to produce, the expected if None."""
    scene, load = context.scene, context.scene.load
    requests, unread = context.requests, context.unread
    owes = context.expected if owed is None else owed
    known: dict[int, tuple[float, float]] = {}
    workers: dict[int, int] = {}
    for client in context.members:
        if client in scene.engines:
            known[client] = rates(scene.engines[client], scene.offered)
        elif not isinstance(server := scene.servers[client], Delay):
            workers[client] = server.workers if isinstance(server, WorkerPool) else 1
            load.timed = True

    def seconds(client: int) -> float:
        if client in known:
            reading, writing = known[client]
            return unread(client) * reading + owes(client) * writing
        if client not in workers or not load.sent[client]:
            return 0.0
        return requests(client) * (load.seconds[client] / load.sent[client]) / workers[client]

    return seconds


class LeastWork:
    """The member with the least work in charge, in expected seconds."""

    __slots__ = ("_members", "_work")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        self._work = work(context)

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        return least(self._members, self._work)


class Oracle:
    """As `LeastWork`, knowing how many tokens every request will be given."""

    __slots__ = ("_members", "_work")

    def __init__(self, spec: Spec, context: RouterContext) -> None:
        self._members = context.members
        self._work = work(context, context.true)

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        return least(self._members, self._work)
