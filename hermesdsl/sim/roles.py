"""Role switching: decode clients that read prompts while too many tokens wait to be read.

A decode pool with ``convert = threshold(tokens, back)`` lends clients to the pool that hands over
to it. A client of the decode pool has one of three roles:

- *writing*: takes hand-overs, as all do at first;
- *lent*: takes new prompts beside the clients of the prefill pool, and no hand-over. What it
  decodes already, it finishes there, under its own batching policy. KV that it reads is handed to
  a writing client over the links, as any other;
- *returning*: takes neither, until all that it read has been moved away; then it writes again.

Pending are the tokens of all prompts sent to be read and not read to their end. When a prompt
comes and more than `tokens` are pending per reading client (its own counted), one writing client
is lent: the one with the fewest requests, the last of equals, among those where nothing waits.
When a prompt has been read and `back` or fewer are pending per reading client, the client lent
last returns. One change at a time; one client always writes. None is lent that is down, nor the
last that stands.

Clients that write keep no KV for others, and none is lent while a hand-over waits for it: so no
two clients wait for each other's memory. Prompts and hand-overs are routed as their pools say,
among the clients that there are; a router has a state of its own for each set of clients. Knows
no clock, step or transfer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from hermesdsl.graph.types import Spec
    from hermesdsl.sim.routing import Router
    from hermesdsl.sim.routing.load import ClientLoad

#: Makes the router of a pool over some clients.
MakeRouter: TypeAlias = "Callable[[tuple[int, ...]], Router]"


class Waits(Protocol):
    """What a client shows of its queue."""

    @property
    def waiting(self) -> Sized:
        """What waits there."""


class _Picks:
    """A router whose clients change."""

    __slots__ = ("_clients", "_known", "_make")

    def __init__(self, make: MakeRouter, clients: Callable[[], tuple[int, ...]]) -> None:
        self._make = make
        self._clients = clients
        self._known: dict[tuple[int, ...], Router] = {}

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        clients = self._clients()
        router = self._known.get(clients)
        if router is None:
            router = self._known[clients] = self._make(clients)
        return router.pick(request, draw) if draw else router.pick(request)


class Roles:
    """The roles of a decode pool's `writers`, lent to the prefill pool of `readers` (by index).

    `down`: clients that are down. It is the router of prompts (`pick`); `writing` is that of
    hand-overs. The interpreter says when a prompt was `read` and when its KV has `moved` away (or
    its request was refused).
    """

    def __init__(
        self,
        spec: Spec,
        readers: tuple[int, ...],
        writers: tuple[int, ...],
        *,
        make_reading: MakeRouter,
        make_writing: MakeRouter,
        prompts: Sequence[int],
        load: ClientLoad,
        clients: Mapping[int, Waits] | Sequence[Waits],
        down: Collection[int] = (),
    ) -> None:
        tokens, back = spec.args["tokens"], spec.args.get("back", 0)
        assert isinstance(tokens, int | float)
        assert isinstance(back, int | float)
        self.writing: Router = _Picks(make_writing, lambda: self._writers)
        #: How often a client was lent.
        self.conversions = 0
        self._tokens, self._back = float(tokens), float(back)
        self._readers = readers
        self._writers = writers
        self._order = writers
        self._lent: tuple[int, ...] = ()
        self._reading = _Picks(make_reading, lambda: self._readers + self._lent)
        self._prompts = prompts
        self._load = load
        self._clients = clients
        self._down = down
        self._pending = 0
        #: Requests sent to each client to be read, and not moved away.
        self._here: dict[int, int] = dict.fromkeys((*readers, *writers), 0)

    def pick(self, request: int, draw: int = 0) -> int:
        """The client that reads a prompt which comes now; one may be lent for it."""
        self._pending += self._prompts[request]
        if self._pending > self._tokens * len(self._readers + self._lent):
            self._lend()
        client = self._reading.pick(request, draw)
        self._here[client] += 1
        return client

    def read(self, request: int) -> None:
        """A prompt has been read to its end."""
        self._pending -= self._prompts[request]
        if self._lent and self._pending <= self._back * len(self._readers + self._lent):
            *others, last = self._lent
            self._lent = tuple(others)
            self._settle(last)

    def moved(self, client: int) -> None:
        """KV that was read at a client is there no longer."""
        self._here[client] -= 1
        self._settle(client)

    def _lend(self) -> None:
        standing = [client for client in self._writers if client not in self._down]
        free = [client for client in standing if not self._clients[client].waiting]
        if len(standing) < 2 or not free:
            return
        chosen = min(reversed(free), key=self._load.requests.__getitem__)
        self.conversions += 1
        self._lent = (*self._lent, chosen)
        self._writers = tuple(client for client in self._writers if client != chosen)

    def _settle(self, client: int) -> None:
        """A client that returns writes again once all that it read has gone."""
        if client in self._order and client not in self._lent and not self._here[client]:
            writers = {*self._writers, client}
            self._writers = tuple(other for other in self._order if other in writers)
