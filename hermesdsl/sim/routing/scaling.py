"""Autoscaling: how many members of a pool run, ``scale(min, max, target, idle, startup)``.

Members run in the pool's order: the first `min` from the start of the run on, never more than the
first `max`. A pool looks at itself whenever its router is asked.

- *Up*: if its members have more than `target` requests in charge for each that runs or is being
  started, the one that now comes included, the next member is started. It loads its weights: from
  the host memory next to each of its devices, latency + bytes / bandwidth of the links between (as
  `sim.swap`, nobody else on them), and `startup` seconds more. Then it runs. A client without
  a model has nothing to load.
- *Down*: the last of more than `min` members has stopped once it has had nothing in charge for
  `idle` seconds since it ran, kept no KV for others, and no member behind it ran. It stopped when
  those seconds were over, even if the pool looks later.

A member that does not run is sent nothing; one that runs finishes what it has. The router of the
pool has a state of its own for each number of members, what it remembers of sessions and prefixes
apart. Knows no router and no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from hermesdsl.graph.types import Spec
from hermesdsl.sim.routing.context import Router, Scene, number
from hermesdsl.sim.swap import host_path

if TYPE_CHECKING:
    from array import array

    from hermesdsl.graph.types import Client, HardwareGraph

#: The schema's own defaults.
TARGET, IDLE = 8, 60.0


def loading(hardware: HardwareGraph, client: Client) -> float | None:
    """Seconds until a client's weights are in its devices; None if it reaches no host memory."""
    if client.model is None or client.group is None:
        return 0.0
    way = host_path(hardware, client)
    return None if way is None else way.latency + client.model.weight_bytes / way.rate


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
        self._routers: dict[int, Router] = {self._least: make(self._members[: self._least])}

    def pick(self, request: int, draw: int = 0) -> int:
        """See `Router`."""
        now, requests = self._scene.kernel.now, self._scene.load.requests
        self._stop(now)
        since = self._since
        there = 1 + sum(requests[client] for client in self._members)
        if there > self._target * len(since) and len(since) < len(self._members):
            since.append((now, now + self._starting[self._members[len(since)]]))
        running = len(since)
        while since[running - 1][1] > now:
            running -= 1
        router = self._routers.get(running)
        if router is None:
            router = self._routers[running] = self._make(self._members[:running])
        return router.pick(request, draw)

    def settle(self, until: float) -> None:
        """Record the members that run or are being started when the run ends."""
        self._stop(until)
        for client, (started, ready) in zip(self._members, self._since, strict=False):
            self._rows.extend((client, started, min(ready, until), until))

    def _stop(self, now: float) -> None:
        load, engines, since = self._scene.load, self._scene.engines, self._since
        behind = 0.0
        while len(since) > self._least:
            client = self._members[len(since) - 1]
            started, ready = since[-1]
            over = max(load.left[client], ready) + self._idle
            if load.requests[client] or max(over, behind) > now:
                return
            if client in engines and engines[client].holds:
                return
            behind = max(over, behind)
            self._rows.extend((client, started, ready, behind))
            since.pop()
