"""Max-min fair rates of the flows on their ways: what is shared, by whom, and how much of it.

All flows on one way have one rate, so rates are found per way. Links that carry the same shares
of the same ways are one `Limit`, as narrow as the narrowest of them: the rails of a striped
transfer count once. A limit on which all its ways could have their full bandwidth at once binds
nobody, so it connects nobody. Knows no clock, bytes or events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush

from hermesdsl.sim.network.ways import Hop, Way

#: By how much the demand must exceed a capacity to count: more than sums of doubles are off.
_ROUNDING = 1.0 + 1e-12


class Limit:
    """Some hops that always carry the same shares: `capacity` in byte/s.

    `shares` of every way known that crosses it; `users`: those with flows now; `demand`: byte/s
    that crossed it if each of these had its links alone; `tight`: that was above the capacity
    when rates were last worked out.
    """

    __slots__ = ("capacity", "demand", "hops", "shares", "tight", "users")

    def __init__(self, hops: dict[Hop, float], shares: dict[Way, float]) -> None:
        self.hops = hops
        self.capacity = min(hops.values())
        self.shares = shares
        self.users: dict[Lane, None] = {}
        self.demand = 0.0
        self.tight = False


class Lane:
    """A way and the `flows` on it that move now, at `rate` byte/s each."""

    __slots__ = ("flows", "limits", "rate", "way")

    def __init__(self, way: Way) -> None:
        self.way = way
        self.limits: list[Limit] = []
        self.flows = 0
        self.rate = 0.0


class Sharing:
    """Who shares which links; `capacity` gives byte/s of a hop."""

    def __init__(self, capacity: Callable[[Hop], float]) -> None:
        self._capacity = capacity
        self._limit_of: dict[Hop, Limit] = {}
        self._lanes: dict[Way, Lane] = {}

    def add(self, lane: Lane) -> None:
        """Get to know a way: limits of which it uses a part are split."""
        way = lane.way
        self._lanes[way] = lane
        parts: dict[tuple[Limit | None, float], dict[Hop, float]] = {}
        for hop, share in way.shares.items():
            limit = self._limit_of.get(hop)
            parts.setdefault((limit, share), {})[hop] = self._capacity(hop)
        for (limit, share), hops in parts.items():
            if limit is None or len(hops) < len(limit.hops):
                limit = self._split(limit, hops)
            limit.shares[way] = share
            lane.limits.append(limit)

    def _split(self, limit: Limit | None, hops: dict[Hop, float]) -> Limit:
        """`hops` become a limit of their own."""
        new = Limit(hops, {} if limit is None else dict(limit.shares))
        self._limit_of.update(dict.fromkeys(hops, new))
        if limit is not None:
            for hop in hops:
                del limit.hops[hop]
            limit.capacity = min(limit.hops.values())
            new.users.update(limit.users)
            new.demand = limit.demand
            new.tight = limit.tight
            for way in new.shares:
                self._lanes[way].limits.append(new)
        return new

    def enter(self, lane: Lane) -> None:
        """The first flow of a way has begun."""
        for limit in lane.limits:
            limit.users[lane] = None
            limit.demand += limit.shares[lane.way] * lane.way.bandwidth

    def leave(self, lane: Lane) -> None:
        """The last flow of a way has ended."""
        lane.rate = 0.0
        for limit in lane.limits:
            del limit.users[lane]
            limit.demand -= limit.shares[lane.way] * lane.way.bandwidth
            if not limit.users:
                limit.demand = 0.0

    def rates(self, changed: Iterable[Lane]) -> dict[Lane, float]:
        """New rates of all lanes that a change of `changed` can reach through shared links."""
        lanes = self._connected(changed)
        if len(lanes) == 1:
            return {lane: lane.way.bandwidth / lane.flows for lane in lanes}
        return max_min(lanes)

    def _connected(self, changed: Iterable[Lane]) -> list[Lane]:
        found: dict[Lane, None] = {}
        queue: list[Lane] = []

        def reach(lane: Lane) -> None:
            if lane.flows and lane not in found:
                found[lane] = None
                queue.append(lane)

        for lane in changed:
            reach(lane)
            for limit in lane.limits:
                before, limit.tight = limit.tight, limit.demand > limit.capacity * _ROUNDING
                if before or limit.tight:
                    for other in limit.users:
                        reach(other)
        seen: set[Limit] = set()
        for lane in queue:
            for limit in lane.limits:
                if limit.tight and limit not in seen:
                    seen.add(limit)
                    for other in limit.users:
                        reach(other)
        return sorted(found, key=lambda lane: lane.way.number)


class _Level:
    """A limit while rates are worked out: what is left of it, for which weight of flows."""

    __slots__ = ("lanes", "left", "limit", "weight")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.left = limit.capacity
        self.weight = 0.0
        self.lanes = 0

    @property
    def rate(self) -> float:
        """What each flow that is not yet limited elsewhere may have."""
        return max(self.left, 0.0) / self.weight


def max_min(lanes: list[Lane]) -> dict[Lane, float]:
    """Rates such that none can be raised without lowering one that is no larger.

    Progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2): all rates grow together;
    whoever meets its own bandwidth or a limit that is used up stops there. Subject to
    Σ rate · share ≤ capacity on every tight limit. `lanes` in an order that is theirs alone:
    all that share a tight limit with one of them.
    """
    levels: dict[Limit, _Level] = {}
    for lane in lanes:
        for limit in lane.limits:
            if limit.tight:
                level = levels.get(limit)
                if level is None:
                    level = levels[limit] = _Level(limit)
                level.weight += limit.shares[lane.way] * lane.flows
                level.lanes += 1
    order = list(levels.values())
    first = len(order)
    #: (rate at which it stops somebody, place): limits first, then every lane's own bandwidth.
    heap = [(level.rate, place) for place, level in enumerate(order)]
    heap += [(lane.way.bandwidth / lane.flows, first + i) for i, lane in enumerate(lanes)]
    heapify(heap)
    found: dict[Lane, float] = {}
    while len(found) < len(lanes):
        rate, place = heappop(heap)
        if place >= first:
            stopped = [lanes[place - first]]
        else:
            level = order[place]
            if not level.lanes:
                continue
            if level.rate > rate:
                heappush(heap, (level.rate, place))
                continue
            rate = level.rate
            stopped = list(level.limit.users)
        for lane in stopped:
            if lane not in found:
                found[lane] = rate
                _take(lane, rate, levels)
    return found


def _take(lane: Lane, rate: float, levels: Mapping[Limit, _Level]) -> None:
    """A lane has its rate: what it uses is gone from its limits."""
    for limit in lane.limits:
        level = levels.get(limit)
        if level is not None:
            weight = limit.shares[lane.way] * lane.flows
            level.left -= weight * rate
            level.weight -= weight
            level.lanes -= 1
