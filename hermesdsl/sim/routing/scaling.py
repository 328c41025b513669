"""Autoscaling: how many members of a pool run, ``scale(min, max, target, idle, startup)``.

Members run in the pool's order: the first `min` from the start of the run on, never more than the
first `max`. A pool looks at itself whenever its router is asked, and finds a number of requests in
charge of its members, the one that comes included.

- *Up*: more than `target` for each member that runs or is being started: the next one is started.
  It loads its weights from the host memory next to each of its devices, over the links between
  that everybody uses, and takes `startup` seconds more. Then it runs, once those before it in the
  pool's order do. A client without a model has nothing to load.
- *Down*: `target` or fewer for each member but the last. Once requests have found so for `idle`
  seconds, counted from the first in a row, the last of more than `min` members is sent nothing
  more; after as many seconds again, the one before it. It stops when all that it has is finished
  and it keeps no KV for others; what it was still loading is given up. Started again before that,
  it goes on without loading anew.

A member that is down counts as none, so others are started in its place, and the pool's router goes
around it. What is bound to a member by its KV still goes there. The router of the pool has a state
of its own for each number of members, but remembers sessions and prefixes in one place. Knows no
router and no engine's inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from hermesdsl.graph.types import Spec
from hermesdsl.sim.routing.context import Router, Scene, number
from hermesdsl.sim.swap import nearest_memories

if TYPE_CHECKING:
    from array import array

    from hermesdsl.graph.types import Client, HardwareGraph
    from hermesdsl.sim.network.network import Flow, Network

#: The schema's own defaults.
TARGET, IDLE = 8, 60.0
#: Added to a key: weights are there after everything else that arrives at the same instant.
_LATE = 1 << 62


class Starts:
    """Brings the weights of clients, by index, to their devices."""

    def __init__(
        self, network: Network, hardware: HardwareGraph, clients: Mapping[int, Client]
    ) -> None:
        self._network = network
        self._hardware = hardware
        self._clients = clients
        #: What happens at one instant is ordered by the names of clients.
        paths = sorted(client.path for client in clients.values())
        self._keys = {c: _LATE + paths.index(client.path) for c, client in clients.items()}

    def begin(self, index: int, now: float, then: Callable[[float], None]) -> Flow | None:
        """Load a client's weights from now on; `then(time)` at once if there are none."""
        client = self._clients[index]
        memories = nearest_memories(self._hardware, client)
        if client.model is None or client.group is None or memories is None:
            then(now)
            return None
        return self._network.send(
            memories, client.group.devices, client.model.weight_bytes, now, self._keys[index],
            lambda time, _: then(time),
        )  # fmt: skip

    def give_up(self, flow: Flow, now: float) -> None:
        """Nobody waits for those weights any more."""
        self._network.cancel(flow, now)


@dataclass(eq=False)
class _Up:
    """A member that runs or is being started: since when, and when it is ready (inf: not known).

    `flow`: its weights on their way; `told`: since when it is sent nothing more.
    """

    started: float
    ready: float = inf
    flow: Flow | None = None
    told: float = inf


class Scaling:
    """The router of a pool whose number of members changes.

    `starts` loads the weights of those that are started. `make` makes the pool's router over some
    members. Rows of (client, started, ready, stopped) go to `rows` as members stop, and at the end.
    """

    def __init__(
        self,
        spec: Spec,
        members: tuple[int, ...],
        scene: Scene,
        *,
        starts: Starts,
        make: Callable[[tuple[int, ...]], Router],
        rows: array[float],
    ) -> None:
        self._least = min(int(number(spec, "min", 1)), len(members))
        most = int(number(spec, "max", len(members)))
        self._members = members[:most]
        self._target = number(spec, "target", TARGET)
        self._idle = number(spec, "idle", IDLE)
        self._starts = starts
        self._startup = number(spec, "startup", 0.0)
        self._scene = scene
        self._make = make
        self._rows = rows
        #: The members that run or are being started, in the pool's order.
        self._up = [_Up(0.0, 0.0) for _ in range(self._least)]
        #: Members that are sent nothing more, by client.
        self._leaving: dict[int, _Up] = {}
        #: Since when requests find that the last member is not needed.
        self._spare = inf
        self._routers: dict[int, Router] = {self._least: make(self._members[: self._least])}

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        now = self._scene.kernel.now
        self._look(now)
        waits = (place for place, member in enumerate(self._up) if member.ready > now)
        running = next(waits, len(self._up))
        router = self._routers.get(running)
        if router is None:
            router = self._routers[running] = self._make(self._members[:running])
        return router.pick(request, draw)

    def settle(self, until: float) -> None:
        """Record the members that have not stopped when the run ends."""
        self._stop()
        for client, member in (*self._leaving.items(), *zip(self._members, self._up, strict=False)):
            self._record(client, member, until)

    def _look(self, now: float) -> None:
        """Start or let go, as the requests in charge ask for."""
        up, requests = self._up, self._scene.load.requests
        while len(up) > self._least and now >= self._spare + self._idle:
            self._spare += self._idle
            member = up.pop()
            member.told = self._spare
            self._leaving[self._members[len(up)]] = member
        self._stop()
        there = 1 + sum(requests[client] for client in self._members)
        down = self._scene.down
        serving = len(up) - sum(client in down for client in self._members[: len(up)])
        if there > self._target * (serving - 1) or len(up) == self._least:
            self._spare = inf
        elif self._spare == inf:
            self._spare = now
        if there > self._target * serving and len(up) < len(self._members):
            client = self._members[len(up)]
            leaving = client in self._leaving
            up.append(self._leaving.pop(client) if leaving else self._start(client, now))

    def _start(self, client: int, now: float) -> _Up:
        member = _Up(now)

        def loaded(time: float) -> None:
            member.flow, member.ready = None, time + self._startup

        member.flow = self._starts.begin(client, now, loaded)
        return member

    def _stop(self) -> None:
        """Record who has left for good."""
        load, engines = self._scene.load, self._scene.engines
        for client, member in list(self._leaving.items()):
            if not (load.requests[client] or (client in engines and engines[client].kv.holds)):
                del self._leaving[client]
                self._record(client, member, max(member.told, load.left[client]))
                if member.flow is not None:
                    self._starts.give_up(member.flow, self._scene.kernel.now)

    def _record(self, client: int, member: _Up, stopped: float) -> None:
        self._rows.extend((client, member.started, min(member.ready, stopped), stopped))
