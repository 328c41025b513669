"""What a router is made from, and what it sees of the clients it picks from.

A router that is given a `staleness` sees every number of its clients as it was just before the
last multiple of that time; what it remembers of its own picks is always fresh. Without one it sees
the instant of the request. Knows no rule of any router.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Ordered
from dataclasses import dataclass, field
from math import nextafter
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from hermesdsl.graph.types import Spec
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.identity import Identities
from hermesdsl.sim.routing.load import ClientLoad, Forecast
from hermesdsl.sim.servers import Server

if TYPE_CHECKING:
    from hermesdsl.graph.types import RequestClass
    from hermesdsl.sim.kernel import Kernel
    from hermesdsl.sim.load import Offered
    from hermesdsl.sim.record import Recorder

NumberT = TypeVar("NumberT", int, float)
#: A number of a client, by its index.
Seen: TypeAlias = Callable[[int], NumberT]


class Router(Protocol):
    """Picks clients."""

    def pick(self, request: int, draw: int = 0) -> int:
        """Index of the client that serves this request; `draw` counts its picks at this pool.

        Equals go to the member named first. Negative: the pool does not admit the request.
        """


class Arriving(Protocol):
    """Whoever knows whether requests are arriving from outside at this instant."""

    @property
    def arriving(self) -> bool:
        """If so, steps that end now have not ended yet; else they have."""


@dataclass(frozen=True, eq=False)
class Scene:
    """What all routers of a run share.

    `load`, `engines` and other `servers` by index of client; `recorder` has the requests' columns
    (`context`: their tokens on arrival); `classes` of customers by name; `down`:
    clients that are down, and until when at best.
    """

    seed: int
    offered: Offered
    load: ClientLoad
    engines: Mapping[int, Engine]
    servers: Mapping[int, Server]
    kernel: Kernel
    recorder: Recorder
    moment: Arriving
    classes: Mapping[str, RequestClass]
    down: dict[int, float] = field(default_factory=dict)
    identities: Identities = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "identities", Identities(self.offered))

    def earliest(self) -> float:
        """Steps that end before this time are over now."""
        now = self.kernel.now
        return now if self.moment.arriving else nextafter(now, float("inf"))

    def waiting(self, client: int) -> int:
        """Requests at a client whose service has not begun."""
        engine = self.engines.get(client)
        return len(engine.waiting) if engine is not None else self.servers[client].waiting()


@dataclass(frozen=True, eq=False)
class RouterContext:
    """What a router is made from: its `path` and `members` (client indices), the `scene` of the
    run, the pool's `staleness` in seconds, `everyone` who may be a member of one of the pool's
    routers, and what these `remember` together, by a name of their choice.
    """

    path: str
    members: tuple[int, ...]
    scene: Scene
    staleness: float
    everyone: tuple[int, ...]
    remember: dict[str, dict[object, object]]

    @property
    def requests(self) -> Seen[int]:
        """Requests that a client has in charge."""
        return self.seen("requests", self.scene.load.requests.__getitem__)

    @property
    def tokens(self) -> Seen[int]:
        """Tokens of prompt and output of each of them."""
        return self.seen("tokens", self.scene.load.tokens.__getitem__)

    @property
    def unread(self) -> Seen[int]:
        """Prompt tokens at an engine that no step has read; 0 for other clients."""
        engines = self.scene.engines
        return self.seen("unread", lambda c: engines[c].unread if c in engines else 0)

    @property
    def kv_free(self) -> Seen[int]:
        """Tokens for which an engine has free KV blocks."""
        engines = self.scene.engines

        def free(client: int, earliest: float) -> int:
            return engines[client].free_blocks(earliest) * engines[client].kv.size

        if not self.staleness:
            earliest = self.scene.earliest
            return lambda client: free(client, earliest())
        return self._aged("kv_free", free)

    @property
    def expected(self) -> Seen[int]:
        """Tokens that a client is expected to produce for what it has in charge."""
        self.scene.load.foresee(Forecast(self.scene.offered))
        return self.seen("expected", self.scene.load.expected.__getitem__)

    @property
    def true(self) -> Seen[int]:
        """Tokens that it will produce."""
        self.scene.load.foresee(Forecast(self.scene.offered))
        return self.seen("true", self.scene.load.true.__getitem__)

    def seen(self, name: str, now: Seen[int]) -> Seen[int]:
        """`now`, a number of a client that only events change, as old as this router sees it.

        `name` tells it from other numbers: the routers of a pool look once for all.
        """
        return self._aged(name, lambda client, _: now(client)) if self.staleness else now

    def _aged(self, name: str, at: Callable[[int, float], int]) -> Seen[int]:
        looks = self.remember.setdefault("seen", {})
        if name not in looks:
            look = looks[name] = _Look(at, self.everyone)
            self.scene.kernel.every(self.staleness, look)
        found = looks[name]
        assert isinstance(found, _Look)
        return found.known.__getitem__


class _Look:
    """One number of every client of a pool as it was when last looked at; first before the run."""

    def __init__(self, at: Callable[[int, float], int], clients: tuple[int, ...]) -> None:
        self.known = {client: at(client, 0.0) for client in clients}
        self._at = at

    def __call__(self, time: float) -> None:
        known, at = self.known, self._at
        for client in known:
            known[client] = at(client, time)


def number(spec: Spec, name: str, default: float) -> float:
    """An argument of a setting, or what the schema has where it is left out."""
    value = spec.args.get(name)
    return float(value) if isinstance(value, int | float) else default


def least(members: Ordered[int], of: Seen[NumberT]) -> int:
    """The member with the least of it, the first of equals."""
    return min(members, key=of)
