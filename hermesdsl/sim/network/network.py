"""Transfers as fluid flows over the links of the hardware, which they share max-min fairly.

A flow is open from its start until its last byte has left; its bytes are there one latency later.
What starts or ends at one instant changes the rates once, after everything else at that instant.
Flows that have one rate for one reason progress together: what each has sent is one number, which
is accounted for when the rate changes. A flow alone takes exactly latency + bytes / bandwidth.
Messages below `SMALL` bytes take just that, and so does everything without fairness. Knows parts,
bytes and the clock; not what moves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from math import fsum, inf
from typing import TypeAlias, cast

from hermesdsl.graph.types import HardwareGraph
from hermesdsl.sim.kernel import DELIVERY, SHARING, Kernel
from hermesdsl.sim.network.passing import Passing
from hermesdsl.sim.network.sharing import Band, Crossing, Lane, Sharing
from hermesdsl.sim.network.ways import Hop, Way, Ways
from hermesdsl.sim.record import LinkSummary

#: Bytes below which a message pays latency + bytes / bandwidth and takes nothing from others.
SMALL = 64 * 1024

#: Called with (seconds, key) when the last byte of a flow has arrived.
Arrived: TypeAlias = Callable[[float, int], None]


class Flow:
    """`size` bytes on a `way` since `start`.

    `tail`: of these, bytes that cannot leave before another moment (0 once that has come);
    `moved`: bytes that left before it last joined a stream, there at `begun` of the stream's
    service, to leave it at `goal`. `lane` is None while it waits for its tail, or has left.
    """

    __slots__ = ("arrived", "begun", "goal", "key", "lane", "left", "moved", "number", "size",
                 "start", "tail", "way")  # fmt: skip

    def __init__(
        self, number: int, way: Way, size: float, start: float, key: int, arrived: Arrived
    ) -> None:
        self.number = number
        self.way = way
        self.size = size
        self.start = start
        self.key = key
        self.arrived = arrived
        self.tail = 0.0
        self.moved = 0.0
        self.begun = 0.0
        self.goal = 0.0
        self.lane: Lane | None = None
        self.left = False


class Stream(Band):
    """The flows of a band, which send equally much.

    `service`: bytes that a flow which was here all the time has sent by `since`, when the rate
    last changed. `goals` is a heap of (service at which a flow leaves, key, number); entries of
    flows that left otherwise stay until met. `planned`: number of the event for the next, or 0.
    """

    __slots__ = ("_passing", "goals", "planned", "service", "since")

    def __init__(self, number: int, tight: Crossing, passing: Passing) -> None:
        super().__init__(number, tight)
        self._passing = passing
        self.service = 0.0
        self.since = 0.0
        self.goals: list[tuple[float, int, int]] = []
        self.planned = 0

    def advance(self, now: float) -> None:
        """Account for what was sent until now."""
        self.reach(self.at(now), now)

    def reach(self, service: float, now: float) -> None:
        """So much was sent by now."""
        if self._passing.parts and service > self.service:
            sent = service - self.service
            each = ((lane.way, len(lane.flows) * sent) for lane in self.lanes)
            self._passing.note(each, self.since, now)
        self.service, self.since = service, now

    def at(self, now: float) -> float:
        """The service by `now`; never beyond what the next to leave came for."""
        service = self.service + self.rate * (now - self.since)
        return min(service, self.goals[0][0]) if self.goals else service


class Network:
    """All transfers of a run. `fair`: they share links; else each has them to itself."""

    def __init__(self, hardware: HardwareGraph, kernel: Kernel, *, fair: bool = True) -> None:
        self.ways = Ways(hardware)
        self._kernel = kernel
        self._fair = fair
        self.passing = Passing(hardware)
        self._sharing = Sharing(
            self.ways.capacity, make=partial(Stream, passing=self.passing), changing=self._advance,
            moved=self._moved,
        )  # fmt: skip
        self._flows: dict[int, Flow] = {}
        self._numbers = 0
        self._plans: dict[int, Stream] = {}
        self._changed: dict[Band, None] = {}
        self._carried: dict[Way, float] = {}
        self._last: dict[Way, float] = {}

    def send(
        self,
        sources: tuple[str, ...],
        targets: tuple[str, ...],
        size: float,
        now: float,
        key: int,
        then: Arrived,
        *,
        ready: float = 0.0,
        layers: int = 1,
        joints: bool = True,
    ) -> Flow:
        """Move `size` bytes from some parts to others from `now` on.

        `then(time, key)` is called when all has arrived, as a `DELIVERY` of that `key`. The last
        of `layers` equal parts cannot leave before `ready` (seconds): while the flow waits for it,
        it takes nothing from others. `joints`: see `Ways.between`. Raises `SpecError` (HMS408) if
        two of the parts are not joined.
        """
        way = self.ways.between(sources, targets, joints=joints)
        self._numbers += 1
        flow = Flow(self._numbers, way, size, now, key, then)
        self._flows[flow.number] = flow
        if not self._fair or size < SMALL or way.bandwidth == inf:
            end = now + (way.latency + size / way.bandwidth)
            if ready > now:
                end = max(end, ready + (way.latency + size / layers / way.bandwidth))
            self._plan_arrival(flow, end)
        elif ready > now:
            flow.tail = size / layers
            self._kernel.at(ready, DELIVERY, key, self._complete, flow.number)
            if layers > 1:
                self._join(flow, size - flow.tail, now)
        else:
            self._join(flow, size, now)
        return flow

    def cancel(self, flow: Flow, now: float) -> None:
        """Give a transfer up: the links are free of it, and nobody is called."""
        del self._flows[flow.number]
        self._carry_part(flow, now)
        if flow.lane is not None:
            stream = _stream(flow.lane)
            stream.advance(now)
            self._quit(flow, stream)
            self._change(stream, now)

    def settle(self, until: float) -> None:
        """Count what is under way, when the run is cut at `until`."""
        for flow in self._flows.values():
            if flow.lane is not None:
                _stream(flow.lane).advance(until)
            self._carry_part(flow, until)

    @property
    def under_way(self) -> int:
        """Transfers that have not arrived."""
        return len(self._flows)

    @property
    def carried(self) -> float:
        """Bytes that have left their sources."""
        return fsum(self._carried.values())

    def links(self) -> tuple[LinkSummary, ...]:
        """Every hop that carried anything, in the order of their names."""
        loads: dict[Hop, list[float]] = {}
        last: dict[Hop, float] = {}
        for way, size in self._carried.items():
            for hop, share in way.shares.items():
                loads.setdefault(hop, []).append(size * share)
                last[hop] = max(last.get(hop, 0.0), self._last[way])
        found = []
        for hop in sorted(loads):
            total, bandwidth = fsum(loads[hop]), self.ways.capacity(hop)
            if total:
                found.append(LinkSummary(*hop, total, bandwidth, total / bandwidth, last[hop]))
        return tuple(found)

    # --- one flow --------------------------------------------------------------------------

    def _join(self, flow: Flow, size: float, now: float) -> None:
        """`size` more bytes of a flow may leave."""
        lane = flow.lane = self._sharing.lane(flow.way)
        self._sharing.enter(lane, flow)
        stream = _stream(lane)
        stream.advance(now)
        flow.begun = stream.service
        self._aim(flow, stream, flow.begun + size)
        self._change(stream, now)

    def _aim(self, flow: Flow, stream: Stream, goal: float) -> None:
        flow.goal = goal
        heappush(stream.goals, (goal, flow.key, flow.number))

    def _quit(self, flow: Flow, stream: Stream) -> None:
        """A flow takes its stream's rate no longer."""
        assert flow.lane is not None
        self._sharing.leave(flow.lane, flow)
        flow.lane = None
        self._clean(stream)

    def _complete(self, now: float, number: int) -> None:
        """The rest of a flow can leave."""
        flow = self._flows.get(number)
        if flow is None:
            return
        tail, flow.tail = flow.tail, 0.0
        if flow.lane is None:
            self._join(flow, tail, now)
        else:
            stream = _stream(flow.lane)
            self._aim(flow, stream, flow.begun + flow.size - flow.moved)
            self._clean(stream)
            self._change(stream, now)

    def _sent(self, flow: Flow, now: float) -> float:
        """Bytes of a flow that have left by now and are not counted yet."""
        if flow.left:
            return 0.0
        if flow.lane is not None:
            return flow.moved + _stream(flow.lane).at(now) - flow.begun
        if flow.tail or flow.moved:
            return flow.moved
        return min(flow.size, (now - flow.start) * flow.way.bandwidth)

    def _plan_arrival(self, flow: Flow, time: float) -> None:
        self._kernel.at(time, DELIVERY, flow.key, self._arrive, flow.number)

    def _arrive(self, now: float, number: int) -> None:
        flow = self._flows.pop(number, None)
        if flow is None:
            return
        if not flow.left:
            self._carry(flow.way, flow.size, now)
            self.passing.note(((flow.way, flow.size),), flow.start, now - flow.way.latency)
        flow.arrived(now, flow.key)

    def _carry_part(self, flow: Flow, now: float) -> None:
        """Count what has left of a flow that will not arrive."""
        sent = self._sent(flow, now)
        self._carry(flow.way, sent, now)
        if not flow.left and flow.lane is None and not flow.tail and not flow.moved:
            end = min(now, flow.start + sent / flow.way.bandwidth)
            self.passing.note(((flow.way, sent),), flow.start, end)

    def _carry(self, way: Way, size: float, now: float) -> None:
        self._carried[way] = self._carried.get(way, 0.0) + size
        self._last[way] = now

    # --- streams ---------------------------------------------------------------------------

    def _clean(self, stream: Stream) -> None:
        """Let the next to leave stand at the top of the heap."""
        goals = stream.goals
        while goals:
            goal, _, number = goals[0]
            flow = self._flows.get(number)
            if flow is not None and flow.goal == goal:
                lane = flow.lane
                if lane is not None and lane.band is stream:
                    return
            heappop(goals)

    def _plan(self, stream: Stream, end: float) -> None:
        """Plan the event at which the next flow leaves."""
        self._numbers += 1
        stream.planned = self._numbers
        self._plans[stream.planned] = stream
        self._kernel.at(end, DELIVERY, stream.goals[0][1], self._leave, stream.planned)

    def _unplan(self, stream: Stream) -> None:
        if stream.planned:
            del self._plans[stream.planned]
            stream.planned = 0

    def _leave(self, now: float, planned: int) -> None:
        """The next flow of a stream has sent what it could, with all that have sent as much."""
        stream = self._plans.pop(planned, None)
        if stream is None:
            return
        stream.planned = 0
        goals, goal = stream.goals, stream.goals[0][0]
        since, seconds = stream.since, (goal - stream.service) / stream.rate
        stream.reach(goal, now)
        while goals and goals[0][0] == goal:
            flow = self._flows[goals[0][2]]
            if flow.tail:
                flow.moved = flow.size - flow.tail
            else:
                flow.left = True
                self._carry(flow.way, flow.size, now)
                self._plan_arrival(flow, since + (flow.way.latency + seconds))
            self._quit(flow, stream)
        self._change(stream, now)

    def _change(self, stream: Stream, now: float) -> None:
        """Rates are worked out again when all that happens now has happened."""
        self._unplan(stream)
        if not self._changed:
            self._kernel.at(now, SHARING, 0, self._share)
        self._changed[stream] = None

    def _share(self, now: float, _: int) -> None:
        """New rates; of flows that depend on each other only the next to leave is planned."""
        changed, self._changed = self._changed, {}
        for rates in self._sharing.rates(changed):
            ends = []
            for band, rate in rates:
                stream = cast("Stream", band)
                if rate != stream.rate:
                    stream.advance(now)
                    stream.rate = rate
                self._unplan(stream)
                ends.append(stream.since + (stream.goals[0][0] - stream.service) / rate)
            first = min(ends)
            for (band, _rate), end in zip(rates, ends, strict=True):
                if end == first:
                    self._plan(cast("Stream", band), end)

    def _advance(self, band: Band) -> None:
        cast("Stream", band).advance(self._kernel.now)

    def _moved(self, lane: Lane, before: Band) -> None:
        """A lane came to another stream: its flows go on there from where they are."""
        old, new = cast("Stream", before), _stream(lane)
        self._advance(new)
        for flow in lane.flows.values():
            flow.moved += old.service - flow.begun
            flow.begun = new.service
            self._aim(flow, new, new.service + (flow.goal - old.service))
        self._clean(old)
        self._unplan(old)


def _stream(lane: Lane) -> Stream:
    """Where the flows of a lane are."""
    return cast("Stream", lane.band)
