"""When things are down: from the start until weights are there, and whenever something fails.

Read from ``fails`` and ``cold_start``. What fails takes clients with it (`sim.causes`), all at one
instant. It is down for as long as is said, or drawn. A client serves again when all that took it
is back and its weights have come from the host memory next to each of its devices, over the links
that everybody uses; while such a memory is down they wait for it. Each thing that fails has a clock
and a random stream of its own, and draws are numbered by its failures: it fails when it does,
whatever else is down. Nothing fails any more once no request is left. Knows no request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.graph.types import Spec
from hermesdsl.sim.kernel import DELIVERY, Kernel
from hermesdsl.sim.network.network import Flow, Network
from hermesdsl.sim.streams import Stream
from hermesdsl.sim.swap import nearest_memories

if TYPE_CHECKING:
    from array import array

    from hermesdsl.graph.types import Client, HardwareGraph
    from hermesdsl.sim.causes import Cause

#: Types of clients that hold the weights of a model.
WITH_WEIGHTS = ("LlmEngine", "BatchEngine")
#: After so many failures in a row without an end, what was begun each time never ends.
MOST_LOSSES = 1000
#: Added to a key: a thing fails, or is back, after everything that arrives at the same instant.
_LATE = 1 << 62


class Fails(Protocol):
    """What loses its work when something fails."""

    def fail(self, clients: Sequence[int], now: float) -> list[int]:
        """Clients fail at one instant; how much each loses."""

    def restart(self, client: int, now: float) -> None:
        """A client is back."""

    def lose_stores(self, parts: Collection[str], tier: str, now: float) -> None:
        """What tiers keep in these parts, or in all of one tier, is lost."""

    def stores_back(self, parts: Collection[str], tier: str) -> None:
        """They are back, and empty."""


class Outages:
    """The outages of `clients`, by index; `down` has those that are down, and until when at best.

    `causes`: all that fails. `idle()`: whether nobody is on the way or will come, and nothing is
    left to fail for. Rows of (client, down, up, lost) go to `rows`, those of (number of the cause
    among all that are no clients, down, up) to `breakdowns`. With `endless`, a client whose weights
    never come may wait for ever.
    """

    def __init__(
        self, causes: Sequence[Cause], clients: Mapping[int, Client], seed: int, kernel: Kernel,
        network: Network, hardware: HardwareGraph, *, down: dict[int, float], rows: array[float],
        breakdowns: array[float], of: Fails, idle: Callable[[], bool], endless: bool = False,
    ) -> None:  # fmt: skip
        self._causes = causes
        self._clients = clients
        self._seed = seed
        self._kernel = kernel
        self._network = network
        self._hardware = hardware
        self._down = down
        self._rows = rows
        self._breakdowns = breakdowns
        self._of = of
        self._idle = idle
        self._endless = endless
        #: What happens at one instant is ordered by the names of things.
        paths = {cause.path for cause in causes} | {client.path for client in clients.values()}
        self._places = {path: place for place, path in enumerate(sorted(paths))}
        self._numbers = {path: n for n, path in enumerate(things(causes))}
        self._own = {cause.clients[0]: n for n, cause in enumerate(causes) if cause.itself}
        self._failures = [0] * len(causes)
        #: Causes that are down, since when; clients that will fail by themselves at a time.
        self._broken: dict[int, float] = {}
        self._planned: set[int] = set()
        #: When each client that is down went down, and what it lost then; what holds it down.
        self._since: dict[int, tuple[float, int]] = {}
        self._held: dict[int, set[int]] = {}
        #: Weights on their way, or waiting for a memory; loads called off since the last ended.
        self._loading: dict[int, Flow] = {}
        self._stalled: set[int] = set()
        self._called_off: dict[int, int] = {}

    def start(self) -> None:
        """Begin with what is cold, and plan the first failure of each thing."""
        cold = [c for c, client in self._clients.items() if client.options.get("cold_start")]
        cold.sort(key=self._place)
        self._of.fail(cold, 0.0)
        for client in cold:
            self._since[client] = (0.0, 0)
            self._held[client] = set()
            self._down[client] = 0.0
        for client in cold:
            self._load(0.0, client)
        for number, cause in enumerate(self._causes):
            if not (cause.itself and cause.clients[0] in self._since):
                self._plan(number, 0.0)

    def settle(self, until: float) -> None:
        """The run has ended: record what is down."""
        for client in sorted(self._since):
            since, lost = self._since[client]
            self._rows.extend((client, since, until, lost))
        for number, since in sorted(self._broken.items()):
            if not self._causes[number].itself:
                place = self._numbers[self._causes[number].path]
                self._breakdowns.extend((place, since, until))

    # --- failing -----------------------------------------------------------------------------

    def _plan(self, number: int, now: float) -> None:
        """Plan the next failure of a thing that is there from now on."""
        spec = self._causes[number].spec
        if spec.name == "random":
            self._plan_at(now + self._draw(number, "mtbf"), number)
            return
        times = spec.args["times"]
        assert isinstance(times, tuple)
        later = [time for time in times if isinstance(time, int | float) and time >= now]
        if later:
            self._plan_at(min(later), number)

    def _plan_at(self, time: float, number: int) -> None:
        self._planned.add(number)
        place = self._places[self._causes[number].path]
        self._kernel.at(time, DELIVERY, _LATE + place, self._fail, number)

    def _draw(self, number: int, name: str) -> float:
        cause = self._causes[number]
        draw = Stream(self._seed, f"{cause.stream}/{name}").exponential(1, self._failures[number])
        return float(draw[0]) * _seconds(cause.spec, name)

    def _fail(self, now: float, number: int) -> None:
        if self._idle():
            return
        cause = self._causes[number]
        self._planned.discard(number)
        random = cause.spec.name == "random"
        seconds = self._draw(number, "mttr") if random else _seconds(cause.spec, "down")
        self._failures[number] += 1
        self._broken[number] = now
        self._take_down(cause, number, now, now + seconds)
        if cause.parts:
            self._stall(cause.parts, now)
        place = self._places[cause.path]
        self._kernel.at(now + seconds, DELIVERY, _LATE + place, self._mend, number)

    def _take_down(self, cause: Cause, number: int, now: float, until: float) -> None:
        """All its clients and stores are down together, before what they lose goes elsewhere."""
        fallen = [client for client in cause.clients if client not in self._since]
        for client in cause.clients:
            self._down[client] = max(self._down.get(client, until), until)
            self._held.setdefault(client, set()).add(number)
            self._call_off(client, now)
        for client in fallen:
            self._since[client] = (now, 0)
        if cause.parts or cause.tier:
            self._of.lose_stores(cause.parts, cause.tier, now)
        for client, lost in zip(fallen, self._of.fail(fallen, now), strict=True):
            self._since[client] = (now, lost)

    # --- coming back -------------------------------------------------------------------------

    def _mend(self, now: float, number: int) -> None:
        cause = self._causes[number]
        since = self._broken.pop(number)
        if not cause.itself:
            self._breakdowns.extend((self._numbers[cause.path], since, now))
            self._plan(number, now)
        if cause.parts or cause.tier:
            self._of.stores_back(cause.parts, cause.tier)
        for client in cause.clients:
            self._held[client].discard(number)
            if not self._held[client]:
                self._load(now, client)
        for client in sorted(self._stalled, key=self._place):
            self._load(now, client)

    def _load(self, now: float, index: int) -> None:
        """A client's weights come from host memory, if it has any and reaches one."""
        client = self._clients[index]
        memories = weights_from(self._hardware, client)
        if memories is None or client.model is None or client.group is None:
            self._up(now, index)
            return
        self._stalled.discard(index)
        if any(not self._causes[n].parts.isdisjoint(memories) for n in self._broken):
            self._stalled.add(index)
            return

        def loaded(time: float, _: int) -> None:
            del self._loading[index]
            self._called_off.pop(index, None)
            self._up(time, index)

        self._loading[index] = self._network.send(
            memories, client.group.devices, client.model.weight_bytes, now,
            _LATE + self._place(index), loaded,
        )  # fmt: skip

    def _stall(self, parts: Collection[str], now: float) -> None:
        """Memories are down: the weights that come from there wait for them."""
        for index in sorted(self._loading, key=self._place):
            memories = weights_from(self._hardware, self._clients[index])
            if memories is not None and not set(memories).isdisjoint(parts):
                self._call_off(index, now)
                self._stalled.add(index)

    def _call_off(self, client: int, now: float) -> None:
        self._stalled.discard(client)
        flow = self._loading.pop(client, None)
        if flow is None:
            return
        self._network.cancel(flow, now)
        times = self._called_off[client] = self._called_off.get(client, 0) + 1
        if times >= MOST_LOSSES and not self._endless:
            raise SpecError([error(
                "HMS701", f"`{self._clients[client].path}` never comes back: {times:_} times in a "
                "row something failed before its weights had come",
                notes=("help: let things fail more rarely, load from nearer, or run with `horizon "
                       "= cut`",))])  # fmt: skip

    def _up(self, now: float, client: int) -> None:
        since, lost = self._since.pop(client)
        del self._down[client]
        self._held.pop(client, None)
        self._rows.extend((client, since, now, lost))
        self._of.restart(client, now)
        number = self._own.get(client)
        if number is not None and number not in self._planned:
            self._plan(number, now)

    def _place(self, client: int) -> int:
        return self._places[self._clients[client].path]


def things(causes: Sequence[Cause]) -> tuple[str, ...]:
    """Paths of all that fails and is no client."""
    return tuple(cause.path for cause in causes if not cause.itself)


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
