"""The vertices of a plan: what a thread does at each, as data.

A plan is a pipeline graph with its sub-pipelines and replicas written out, bound to the clients
and random streams of one run. Knows no clock; `sim.interpreter` walks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hermesdsl.sim.branch import Onward

if TYPE_CHECKING:
    from hermesdsl.cost.types import ServiceCost
    from hermesdsl.graph.types import StageNode
    from hermesdsl.sim.draws import Draws
    from hermesdsl.sim.fork import Join
    from hermesdsl.sim.formula import Amount
    from hermesdsl.sim.ledger import Leaves
    from hermesdsl.sim.repeat import Repeat
    from hermesdsl.sim.roles import Roles
    from hermesdsl.sim.routing import Router
    from hermesdsl.sim.walk import Thread


class Node:
    """A vertex: `onward` says what follows.

    `models`: those whose KV a thread may still read from here on; `writes`: a decode may still
    come from here on (itself included); `contested`: in a replica that may lose. `turns` counts
    the passes of every request where there can be several, else None.
    """

    __slots__ = ("contested", "models", "onward", "turns", "writes")

    def __init__(self, onward: Onward) -> None:
        self.onward = onward
        self.models: frozenset[str] = frozenset()
        self.writes = False
        self.contested = False
        self.turns: dict[int, int] | None = None

    def turn(self, thread: Thread) -> int:
        """The number of the pass that a request is in, from 0."""
        return self.turns[thread.request] - 1 if self.turns is not None else 0

    def count(self, thread: Thread) -> None:
        """A request begins a pass."""
        turns = self.turns
        if turns is not None:
            turns[thread.request] = turns.get(thread.request, 0) + 1

    def uncount(self, thread: Thread) -> None:
        """The pass counted last has not begun after all."""
        if self.turns is not None:
            self.turns[thread.request] -= 1

    def following(self) -> list[Node]:
        """Every vertex that may come next."""
        return self.onward.all_targets()


class End(Node):
    """``output`` or ``refused``."""

    __slots__ = ("accepts",)

    def __init__(self, accepts: bool) -> None:
        super().__init__(Onward())
        self.accepts = accepts


class Wait(Node):
    """A join that waits for `count` threads."""

    __slots__ = ("count_in",)

    def __init__(self, onward: Onward, count: int) -> None:
        super().__init__(onward)
        self.count_in = count


class Again(Node):
    """The end of what is repeated: back to its beginning, or on."""

    __slots__ = ("back", "done", "repeat")

    def __init__(self, onward: Onward, repeat: Repeat) -> None:
        super().__init__(onward)
        self.repeat = repeat
        self.back = Onward()
        #: Times in a row, by request, of those that are repeating now.
        self.done: dict[int, int] = {}

    def following(self) -> list[Node]:
        """See `Node`."""
        return [*self.back.all_targets(), *self.onward.all_targets()]


class Replicas(Node):
    """A replicated fork: one thread goes into each of `entries`."""

    __slots__ = ("entries", "join", "scores")

    def __init__(self, onward: Onward, join: Join, scores: Draws) -> None:
        super().__init__(onward)
        self.join = join
        self.scores = scores
        self.entries: list[Onward] = []

    def following(self) -> list[Node]:
        """See `Node`."""
        inside = [node for entry in self.entries for node in entry.all_targets()]
        return [*inside, *self.onward.all_targets()]


class ReplicaEnd(Node):
    """Where the replicas of `replicas` come out."""

    __slots__ = ("replicas",)

    def __init__(self, replicas: Replicas) -> None:
        super().__init__(Onward())
        self.replicas = replicas

    def following(self) -> list[Node]:
        """See `Node`."""
        return self.replicas.onward.all_targets()


class Visit(Node):
    """A stay at a client of a pool, of one stage, or two that follow each other on one engine.

    `members` are the clients' indices; `fixed` the one of them a replica must go to. `columns`
    are the numbers of the stages it is recorded as, `lane` that of the replica it is in. `hold`:
    seconds that a request's KV waits at most for it to leave, None without limit. `among`: the
    choice that it is one side of. `request`: seconds that the API of its engines takes for what
    comes to them to be read.
    """

    __slots__ = ("among", "columns", "fixed", "hold", "lane", "leaves", "members", "pool",
                 "request", "router", "stage")  # fmt: skip

    def __init__(
        self, onward: Onward, stage: StageNode, pool: str, members: tuple[int, ...],
        router: Router,
    ) -> None:  # fmt: skip
        super().__init__(onward)
        self.stage = stage
        self.pool = pool
        self.members = frozenset(members)
        self.router = router
        self.fixed: int | None = None
        self.among: Pick | None = None
        self.leaves: Leaves | None = None
        self.columns: tuple[int, ...] = ()
        self.lane = 0
        self.hold: float | None = None
        self.request = 0.0

    def draw(self, turn: int) -> int:
        """The number of a router's draw for this visit: replicas have their own."""
        return turn + (self.lane << 32)


class Pick(Node):
    """The choice of one client among those of a pool that are not alike.

    `sides`: the visit to each client, by index; their passes are counted together, in `turns`.
    A thread goes where KV is that it can use there, the most of it, or else where `router` says;
    `lane` is that of visits; `visits`: those of `sides` that end there, a part that reads elsewhere
    left out.
    """

    __slots__ = ("lane", "router", "sides", "visits")

    def __init__(self, router: Router, lane: int) -> None:
        super().__init__(Onward())
        self.router = router
        self.lane = lane
        self.sides: dict[int, Onward] = {}
        self.visits: dict[int, Visit] = {}

    def pick(self, thread: Thread) -> Onward | None:
        """The visit for a thread that comes now; None if the pool does not admit it."""
        best = None
        for hold in (thread.holds or {}).values():
            onward = self.sides.get(hold.engine.index)
            if onward is None or hold.lost or hold.tokens > thread.context:
                continue
            visit = onward.targets[0]
            if isinstance(visit, EngineVisit) and not visit.judges and (
                best is None or hold.tokens > best.tokens
            ):  # fmt: skip
                best = hold
        if best is not None:
            return self.sides[best.engine.index]
        turn = self.turns.get(thread.request, 0) if self.turns is not None else 0
        return self.sides.get(self.router.pick(thread.request, turn + (self.lane << 32)))

    def following(self) -> list[Node]:
        """See `Node`."""
        return [node for onward in self.sides.values() for node in onward.targets]


class EngineVisit(Visit):
    """Reading the context, producing tokens, or both, on an LLM engine.

    `model` names whose KV it reads and leaves; `produce` the tokens of its decode, None if it only
    reads; `decode` the stage that says so; `hidden` as written; `visible`: they are the user's as
    they come. `keeps`: a later stage may read its KV. `opens`: the first half of a stage that reads
    elsewhere. `layerwise`: its KV begins to move to the next visit with the last step of the
    prompt. `paired`: routers by the
    client that hands over. `roles`: of the clients that may read here, if they change; `affine`: it
    runs where its KV is, if it can. `judges`: it reads a text of its own and leaves no KV.
    `straight`: nothing comes before it, and nothing but the end after it (`sim.straight`).
    """

    __slots__ = ("affine", "decode", "hidden", "judges", "keeps", "layerwise", "model", "opens",
                 "paired", "produce", "roles", "straight", "visible")  # fmt: skip

    def __init__(
        self, onward: Onward, stage: StageNode, pool: str, members: tuple[int, ...],
        router: Router, model: str,
    ) -> None:  # fmt: skip
        super().__init__(onward, stage, pool, members, router)
        self.model = model
        self.produce: Callable[[Thread, int], int] | None = None
        self.decode = stage
        self.hidden = False
        self.visible = False
        self.keeps = False
        self.opens = False
        self.layerwise = False
        self.judges = False
        self.paired: Mapping[int, Router] = {}
        self.roles: Roles | None = None
        self.affine = True
        self.straight = False


class ServerVisit(Visit):
    """Work at a worker pool, batch engine or outside service.

    `seconds`: its time by itself, or None if `costs` has a cost model by client index.
    """

    __slots__ = ("costs", "seconds")

    def __init__(
        self, onward: Onward, stage: StageNode, pool: str, members: tuple[int, ...],
        router: Router, seconds: Amount | None, costs: Mapping[int, ServiceCost],
    ) -> None:  # fmt: skip
        super().__init__(onward, stage, pool, members, router)
        self.seconds = seconds
        self.costs = costs


class Fetch(Visit):
    """A look into a cache for KV of `model` that the next prefill need not compute.

    Its router picks the client where that prefill runs; with `affine`, that is where the request's
    KV is, if it can be.
    """

    __slots__ = ("affine", "cache", "model")

    def __init__(
        self, onward: Onward, stage: StageNode, pool: str, members: tuple[int, ...],
        router: Router, model: str,
    ) -> None:  # fmt: skip
        super().__init__(onward, stage, pool, members, router)
        self.cache = str(stage.options.get("cache"))
        self.model = model
        self.affine = True


__all__ = ["Again", "End", "EngineVisit", "Fetch", "Node", "Pick", "ReplicaEnd", "Replicas",
           "ServerVisit", "Visit", "Wait"]  # fmt: skip
