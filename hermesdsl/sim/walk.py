"""One way of a request through its pipeline: where it is and what the ledger says of it.

A request is one thread, except between a fork and its join. Knows no client and no clock; what
stages do to a thread is in `sim.ledger`, where it goes in `sim.interpreter`.
"""

from __future__ import annotations

from math import nan
from typing import TYPE_CHECKING

from hermesdsl.sim.decoding import Sequence

if TYPE_CHECKING:
    from hermesdsl.sim.fork import Gather
    from hermesdsl.sim.handing import Ahead
    from hermesdsl.sim.identity import Breaks
    from hermesdsl.sim.kv import Hold
    from hermesdsl.sim.nodes import Node
    from hermesdsl.sim.routing.load import Charge


class Thread:
    """What the request ledger says of one way of a request.

    `context` tokens so far, `cached` of them found in a cache; `holds`: KV by model name; `primed`:
    the model that has read all of the context and sampled the next token, "" if none; `text`:
    tokens that the last decode produced; `documents` found; `verdict` of the last check; `model`
    that served its last Prefill, Decode or Generate.
    `withheld`: tokens of the last decode that the user has not seen; `secret`: it was `hidden`.

    At a client: `node` it visits there, the client's index `client` (-1: none), when it came
    (`enter`), was first served (`start`), seconds its KV was on its way (`moved`), tokens it will
    have produced (`produces`, `owed` of them by steps), load it `charges`, its `sequence` or None.
    `bound`: the client of its next prefill, for which KV was fetched (-1: none); `fetching`: the
    row of a fetch that goes on while that prefill runs, as far as it is known.
    `resumed`: its prompt was read at a client that failed, and is read again to go on.
    `opened`: the first part of its visit is over, and the second still to come; `ahead`: the
    next visit, if it has begun before this one is over.

    While forked: the `scope` it belongs to; `parts`: what it added to the context since the fork,
    as part number → (tokens, documents), on top of `base`; `rows`: its visits, kept back until it
    is known whether they matter; `gather`: the replicas it waits for; `over`: cancelled;
    `waits`: for other threads of the request, at a join or while replicas run.
    `called`: when the API of the engines ahead will have passed it on (nan: not there), `heard`: it
    has. `breaks`: from where on its text is not the request's own, see `sim.identity`.
    """

    __slots__ = (
        "ahead", "base", "bound", "breaks", "cached", "called", "charges", "client", "context",
        "documents", "enter", "fetching", "gather", "heard", "holds", "key", "model", "moved",
        "node", "opened", "over",
        "owed", "parts", "primed", "produces", "request", "resumed", "rows", "scope", "secret",
        "sequence", "start", "text", "verdict", "waits", "withheld",
    )  # fmt: skip

    def __init__(self, request: int, key: int, context: int) -> None:
        self.request = request
        self.key = key
        self.context = context
        self.cached = 0
        self.bound = -1
        self.fetching: tuple[float, ...] | None = None
        self.holds: dict[str, Hold] | None = None
        self.primed = ""
        self.text = 0
        self.documents = 0
        self.verdict = ""
        self.model = ""
        self.withheld = 0
        self.secret = False
        self.node: Node | None = None
        self.client = -1
        self.enter = nan
        self.start = nan
        self.moved = 0.0
        self.produces = 0
        self.owed = 0
        self.charges: Charge = (0, 0, 0)
        self.sequence: Sequence | None = None
        self.opened = False
        self.resumed = False
        self.ahead: Ahead | None = None
        self.scope: Scope | None = None
        self.parts: dict[int, tuple[int, int]] | None = None
        self.base = (0, 0)
        self.rows: list[tuple[float, ...]] | None = None
        self.gather: Gather | None = None
        self.waits = False
        self.over = False
        self.breaks: Breaks = ()
        self.called = nan
        self.heard = False

    def rename(self, tokens: int, name: int) -> None:
        """From `tokens` on, its text is one that nobody else has: `name` was never used."""
        self.breaks = (*(known for known in self.breaks if known[0] < tokens), (tokens, name))

    def own(self, tokens: int) -> int:
        """How many of the first `tokens` of its context are the request's own text."""
        return min(tokens, self.breaks[0][0]) if self.breaks else tokens

    def child(self, key: int) -> Thread:
        """Another thread of the same request that goes on from here, with KV shared.

        What the user has not seen yet stays with this one.
        """
        made = Thread(self.request, key, self.context)
        made.cached, made.bound = self.cached, self.bound
        made.primed, made.text = self.primed, self.text
        made.documents, made.verdict, made.model = self.documents, self.verdict, self.model
        made.breaks = self.breaks
        made.rename(self.context, key)
        if self.holds:
            made.holds = dict(self.holds)
            for hold in made.holds.values():
                hold.refs += 1
        return made


class Scope:
    """The threads that live between a fork and its join, or in one replica.

    `gather` and `index`: the replica it is; None outside replicas. `arrived`: threads that wait
    at a join, by its node; `rows`: visits made before its threads parted.
    """

    __slots__ = ("arrived", "gather", "index", "rows", "threads")

    def __init__(self, gather: Gather | None, index: int) -> None:
        self.gather = gather
        self.index = index
        self.threads: dict[Thread, None] = {}
        self.rows: list[tuple[float, ...]] = []
        self.arrived: dict[Node, list[Thread]] = {}
