"""Max-min fair rates of the flows on their ways: what is shared, by whom, and how much of it.

All flows on one way have one rate, so rates are found per way. Links that carry the same shares
of the same ways are one `Limit`, as narrow as the narrowest of them: the rails of a striped
transfer count once. A limit on which all its ways could have their full bandwidth at once binds
nobody, so it connects nobody. Knows no clock, bytes or events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    """A way and the `flows` on it that move now, at `rate` byte/s each.

    `limits`: all that it crosses, each with its share of the bytes.
    """

    __slots__ = ("flows", "limits", "rate", "way")

    def __init__(self, way: Way) -> None:
        self.way = way
        self.limits: list[tuple[Limit, float]] = []
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
            lane.limits.append((limit, share))

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
            for way, share in new.shares.items():
                self._lanes[way].limits.append((new, share))
        return new

    def enter(self, lane: Lane) -> None:
        """The first flow of a way has begun."""
        for limit, share in lane.limits:
            limit.users[lane] = None
            limit.demand += share * lane.way.bandwidth

    def leave(self, lane: Lane) -> None:
        """The last flow of a way has ended."""
        lane.rate = 0.0
        for limit, share in lane.limits:
            del limit.users[lane]
            limit.demand -= share * lane.way.bandwidth
            if not limit.users:
                limit.demand = 0.0

    def connected(self, changed: Iterable[Lane]) -> Iterator[list[Lane]]:
        """The lanes that a change of `changed` can reach, those that depend on each other together.

        In an order that depends on when their ways were first taken, and on nothing else.
        """
        found: set[Lane] = set()
        for lane in self._reached(changed):
            if lane not in found:
                group = _group(lane)
                found.update(group)
                yield sorted(group, key=lambda lane: lane.way.number)

    @staticmethod
    def _reached(changed: Iterable[Lane]) -> Iterable[Lane]:
        """Lanes that share with one of `changed` what was too narrow for them before, or is now."""
        reached: dict[Lane, None] = {}
        for lane in changed:
            if lane.flows:
                reached[lane] = None
            for limit, _ in lane.limits:
                before, limit.tight = limit.tight, limit.demand > limit.capacity * _ROUNDING
                if before or limit.tight:
                    reached.update(limit.users)
        return reached


def _group(first: Lane) -> list[Lane]:
    """All lanes joined with one by tight limits."""
    found = {first: None}
    queue = [first]
    seen: set[Limit] = set()
    for lane in queue:
        for limit, _ in lane.limits:
            if limit.tight and limit not in seen:
                seen.add(limit)
                new = [other for other in limit.users if other not in found]
                found.update(dict.fromkeys(new))
                queue += new
    return queue


class _Level:
    """A limit while rates are worked out: what is `left` of it for flows of `weight` in all.

    `lanes`: places of those that cross it; `waiting`: how many of them have no rate yet.
    """

    __slots__ = ("lanes", "left", "waiting", "weight")

    def __init__(self, capacity: float) -> None:
        self.left = capacity
        self.weight = 0.0
        self.lanes: list[int] = []
        self.waiting = 0

    @property
    def rate(self) -> float:
        """What each flow that is not stopped yet may have."""
        return max(self.left, 0.0) / self.weight


def max_min(lanes: list[Lane]) -> list[float]:
    """Rates such that none can be raised without lowering one that is no larger.

    Progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2): all rates grow together;
    whoever meets its own bandwidth or a limit that is used up stops there. Subject to
    Σ rate · share ≤ capacity on every tight limit. `lanes`: one of the groups of `connected`.
    """
    own = [lane.way.bandwidth / lane.flows for lane in lanes]
    if len(lanes) == 1:
        return own
    levels, crossed = _levels(lanes)
    #: (rate at which it stops somebody, place), the limits at the top of a heap, lanes in a row.
    heap = [(level.rate, place) for place, level in enumerate(levels)]
    heapify(heap)
    row = sorted(range(len(lanes)), key=own.__getitem__, reverse=True)
    rates = [-1.0] * len(lanes)
    missing = len(lanes)
    while missing:
        while rates[row[-1]] >= 0.0:
            row.pop()
        if not heap or own[row[-1]] <= heap[0][0]:
            stopped = [row[-1]]
            rate = own[row[-1]]
        else:
            before, place = heappop(heap)
            level = levels[place]
            if not level.waiting:
                continue
            rate = level.rate
            if rate > before:
                heappush(heap, (rate, place))
                continue
            stopped = [lane for lane in level.lanes if rates[lane] < 0.0]
        for lane in stopped:
            rates[lane] = rate
            for level, weight in crossed[lane]:
                level.left -= weight * rate
                level.weight -= weight
                level.waiting -= 1
        missing -= len(stopped)
    return rates


def _levels(lanes: list[Lane]) -> tuple[list[_Level], list[list[tuple[_Level, float]]]]:
    """The tight limits of some lanes, and which of them each lane crosses with which weight."""
    levels: dict[Limit, _Level] = {}
    crossed = []
    for place, lane in enumerate(lanes):
        mine = []
        for limit, share in lane.limits:
            if limit.tight:
                level = levels.get(limit)
                if level is None:
                    level = levels[limit] = _Level(limit.capacity)
                weight = share * lane.flows
                level.weight += weight
                level.lanes.append(place)
                level.waiting += 1
                mine.append((level, weight))
        crossed.append(mine)
    return list(levels.values()), crossed
