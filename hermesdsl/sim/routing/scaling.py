"""Autoscaling: how many members of a pool run, ``scale(min, max, target, idle, startup)``.

Members run in the pool's order: the first `min` from the start of the run on, never more than the
first `max`. A pool looks at itself whenever its router is asked, and finds a number of requests in
charge of its members, the one that comes included.

- *Up*: more than `target` for each member that runs or is being started: the next one is started.
  It loads its weights from the host memory next to each of its devices, latency + bytes / bandwidth
  of the links between (as `sim.swap`, nobody else on them), and takes `startup` seconds more. Then
  it runs. A client without a model has nothing to load.
- *Down*: `target` or fewer for each member but the last. Once requests have found so for `idle`
  seconds, counted from the first in a row, the last of more than `min` members is sent nothing
  more; after as many seconds again, the one before it. It stops when all that it has is finished
  and it keeps no KV for others. Started again before that, it goes on without loading.

A member that is down counts as none, so others are started in its place, and the pool's router goes
around it. What is bound to a member by its KV still goes there. The router of the pool has a state
of its own for each number of members, but remembers sessions and prefixes in one place. Knows no
router and no engine's inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING

from hermesdsl.graph.types import Spec
from hermesdsl.sim.network.ways import Ways
from hermesdsl.sim.routing.context import Router, Scene, number
from hermesdsl.sim.swap import nearest_memories

if TYPE_CHECKING:
    from array import array

    from hermesdsl.graph.types import Client, HardwareGraph

#: The schema's own defaults.
TARGET, IDLE = 8, 60.0


def loading(hardware: HardwareGraph, client: Client) -> float | None:
    """Seconds until a client's weights are in its devices; None if it reaches no host memory."""
    if client.model is None or client.group is None:
        return 0.0
    memories = nearest_memories(hardware, client)
    if memories is None:
        return None
    way = Ways(hardware).between(memories, client.group.devices)
    return way.latency + client.model.weight_bytes / way.bandwidth


class Scaling:
    """The router of a pool whose number of members changes.

    `starting`: seconds that each client takes to start. `make` makes the pool's router over some
    members. Rows of (client, started, ready, stopped) go to `rows` as members stop, and at the end.
    """

    def __init__(
        self,
        spec: Spec,
        members: tuple[int, ...],
        scene: Scene,
        *,
        starting: Mapping[int, float],
        make: Callable[[tuple[int, ...]], Router],
        rows: array[float],
    ) -> None:
        self._least = min(int(number(spec, "min", 1)), len(members))
        most = int(number(spec, "max", len(members)))
        self._members = members[:most]
        self._target = number(spec, "target", TARGET)
        self._idle = number(spec, "idle", IDLE)
        self._starting = {c: starting[c] + number(spec, "startup", 0.0) for c in self._members}
        self._scene = scene
        self._make = make
        self._rows = rows
        #: When each member that runs or is being started was started, and when it is ready.
        self._since = [(0.0, 0.0)] * self._least
        #: The same of members that are sent nothing more, by client, and since when.
        self._leaving: dict[int, tuple[float, float, float]] = {}
        #: Since when requests find that the last member is not needed.
        self._spare = inf
        self._routers: dict[int, Router] = {self._least: make(self._members[: self._least])}

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        now = self._scene.kernel.now
        self._look(now)
        since = self._since
        running = len(since)
        while since[running - 1][1] > now:
            running -= 1
        router = self._routers.get(running)
        if router is None:
            router = self._routers[running] = self._make(self._members[:running])
        return router.pick(request, draw)

    def settle(self, until: float) -> None:
        """Record the members that have not stopped when the run ends."""
        self._stop()
        for client, (started, ready, _) in self._leaving.items():
            self._record(client, started, ready, until)
        for client, (started, ready) in zip(self._members, self._since, strict=False):
            self._record(client, started, ready, until)

    def _look(self, now: float) -> None:
        """Start or let go, as the requests in charge ask for."""
        since, requests = self._since, self._scene.load.requests
        while len(since) > self._least and now >= self._spare + self._idle:
            self._spare += self._idle
            started, ready = since.pop()
            self._leaving[self._members[len(since)]] = (started, ready, self._spare)
        self._stop()
        there = 1 + sum(requests[client] for client in self._members)
        down = self._scene.down
        serving = len(since) - sum(client in down for client in self._members[: len(since)])
        if there > self._target * (serving - 1) or len(since) == self._least:
            self._spare = inf
        elif self._spare == inf:
            self._spare = now
        if there > self._target * serving and len(since) < len(self._members):
            client = self._members[len(since)]
            started, ready, _ = self._leaving.pop(client, (now, now + self._starting[client], now))
            since.append((started, ready))

    def _stop(self) -> None:
        """Record who has left for good."""
        load, engines = self._scene.load, self._scene.engines
        for client, (started, ready, told) in list(self._leaving.items()):
            if not (load.requests[client] or (client in engines and engines[client].kv.holds)):
                del self._leaving[client]
                self._record(client, started, ready, max(told, load.left[client]))

    def _record(self, client: int, started: float, ready: float, stopped: float) -> None:
        self._rows.extend((client, started, min(ready, stopped), stopped))
