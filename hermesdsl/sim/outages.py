"""When clients are down: from the start until their weights are there, and whenever they fail.

Read from a client's ``fails`` and ``cold_start``. A client that failed is down for as long as is
said, or drawn; then it loads its weights from the host memory next to each of its devices, over the
links that everybody uses, and serves again. Each client draws from a stream of its own, and draws
are numbered by its failures. Nothing fails any more once no request is left. Knows no request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from hermesdsl.graph.types import Spec
from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.network.network import Network
from hermesdsl.sim.streams import Stream
from hermesdsl.sim.swap import nearest_memories

if TYPE_CHECKING:
    from array import array

    from hermesdsl.graph.types import Client, HardwareGraph

#: Types of clients that hold the weights of a model.
WITH_WEIGHTS = ("LlmEngine", "BatchEngine")
#: Added to a key: a client fails, or is back, after everything that arrives at the same instant.
_LATE = 1 << 62


class Fails(Protocol):
    """What loses its work when a client fails."""

    def fail(self, client: int, now: float) -> int:
        """A client fails; how much it loses."""

    def restart(self, client: int, now: float) -> None:
        """A client is back."""


class Outages:
    """The outages of `clients`, by index; `down` has those that are down, and until when at best.

    `idle()`: whether nobody is on the way or will come, and nothing is left to fail for.
    Rows of (client, down, up, lost) go to `rows`.
    """

    def __init__(
        self, clients: Mapping[int, Client], seed: int, kernel: Kernel, network: Network,
        hardware: HardwareGraph, *, down: dict[int, float], rows: array[float], of: Fails,
        idle: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._clients = {c: client for c, client in clients.items() if may_be_down(client)}
        self._seed = seed
        self._kernel = kernel
        self._network = network
        self._hardware = hardware
        self._down = down
        self._rows = rows
        self._of = of
        self._idle = idle
        #: What happens at one instant is ordered by the names of clients.
        paths = sorted(client.path for client in self._clients.values())
        self._places = {c: paths.index(client.path) for c, client in self._clients.items()}
        self._failures = dict.fromkeys(self._clients, 0)
        #: When each that is down went down, and what it lost then.
        self._since: dict[int, tuple[float, int]] = {}

    def start(self) -> None:
        """Begin with what is cold, and plan the first failure of each client."""
        for client in sorted(self._clients, key=self._places.__getitem__):
            if self._clients[client].options.get("cold_start"):
                self._of.fail(client, 0.0)
                self._since[client] = (0.0, 0)
                self._down[client] = 0.0
                self._load(0.0, client)
            else:
                self._plan(client, 0.0)

    def settle(self, until: float) -> None:
        """The run has ended: record who is down."""
        for client in sorted(self._since):
            since, lost = self._since[client]
            self._rows.extend((client, since, until, lost))

    def _plan(self, client: int, now: float) -> None:
        """Plan the next failure of a client that serves from now on."""
        spec = self._clients[client].options.get("fails")
        if not isinstance(spec, Spec):
            return
        if spec.name == "random":
            self._plan_at(now + self._draw(client, spec, "mtbf"), client)
            return
        times = spec.args["times"]
        assert isinstance(times, tuple)
        later = [time for time in times if isinstance(time, int | float) and time >= now]
        if later:
            self._plan_at(min(later), client)

    def _plan_at(self, time: float, client: int) -> None:
        self._kernel.at(time, DELIVERY, _LATE + self._places[client], self._fail, client)

    def _draw(self, client: int, spec: Spec, name: str) -> float:
        path = f"client.{self._clients[client].path}/{name}"
        draw = Stream(self._seed, path).exponential(1, self._failures[client])
        return float(draw[0]) * _seconds(spec, name)

    def _fail(self, now: float, client: int) -> None:
        if self._idle():
            return
        spec = self._clients[client].options["fails"]
        assert isinstance(spec, Spec)
        random = spec.name == "random"
        seconds = self._draw(client, spec, "mttr") if random else _seconds(spec, "down")
        self._failures[client] += 1
        self._down[client] = now + seconds
        self._since[client] = (now, 0)
        self._since[client] = (now, self._of.fail(client, now))
        self._kernel.at(now + seconds, DELIVERY, _LATE + self._places[client], self._load, client)

    def _load(self, now: float, index: int) -> None:
        """A client's weights come from host memory, if it has any and reaches one."""
        client = self._clients[index]
        memories = weights_from(self._hardware, client)
        if memories is None or client.model is None or client.group is None:
            self._up(now, index)
            return

        def loaded(time: float, _: int) -> None:
            self._up(time, index)

        self._network.send(
            memories, client.group.devices, client.model.weight_bytes, now,
            _LATE + self._places[index], loaded,
        )  # fmt: skip

    def _up(self, now: float, client: int) -> None:
        since, lost = self._since.pop(client)
        del self._down[client]
        self._rows.extend((client, since, now, lost))
        self._of.restart(client, now)
        self._plan(client, now)


def may_be_down(client: Client) -> bool:
    """Whether a client is ever down."""
    return bool(client.options.get("fails") or client.options.get("cold_start"))


def weights_from(hardware: HardwareGraph, client: Client) -> tuple[str, ...] | None:
    """The memories that a client's weights come from, one per device; None if there are none."""
    devices = client.group.devices if client.group is not None else ()
    if client.type_name not in WITH_WEIGHTS or not all(d in hardware for d in devices):
        return None
    return nearest_memories(hardware, client)


def _seconds(spec: Spec, name: str) -> float:
    value = spec.args[name]
    assert isinstance(value, int | float)
    return float(value)
