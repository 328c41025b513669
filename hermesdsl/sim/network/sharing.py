"""Max-min fair rates of the flows on their ways: what is shared, by whom, and how much of it.

Links that carry the same shares of the same ways are one `Limit`, as narrow as the narrowest of
them: the rails of a striped transfer count once. If nobody on a limit is faster than its fair
share (capacity / weight of all on it), it cannot be used up, so rates may be worked out without
it; the others are *tight*. Flows that cross the same tight limits with the same shares have one
rate, whatever else they cross: they are a `Band`. Most traffic through one narrow link is one
band, and what a flow more or less costs does not grow with the flows there.

The answer is exact: the fairest rates under some of the limits that keep to all of them are the
fairest under all. Knows no clock, bytes or events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.sim.network.ways import Hop, Way

if TYPE_CHECKING:
    from hermesdsl.sim.network.network import Flow

#: By how much a rate must exceed a fair share to count: more than sums of doubles are off.
_ROUNDING = 1.0 + 1e-12
#: A limit is tight until nobody on it has more than this part of its fair share. Any number up to
#: 1 gives the same rates; this one keeps limits from changing at every flow.
_SLACK = 0.5


class Limit:
    """Some hops that always carry the same shares: `capacity` in byte/s, the `number`-th made.

    `shares` of every way known that crosses it; `lanes`: those with flows now; `bands`: how many
    lanes of each; `weight`: share · flows, summed; `tight`: rates are worked out with it.
    """

    __slots__ = ("bands", "capacity", "hops", "lanes", "number", "shares", "tight", "weight")

    def __init__(self, number: int, hops: dict[Hop, float], shares: dict[Way, float]) -> None:
        self.number = number
        self.hops = hops
        self.capacity = min(hops.values())
        self.shares = shares
        self.lanes: dict[Lane, None] = {}
        self.bands: dict[Band, int] = {}
        self.weight = 0.0
        self.tight = False

    @property
    def fair(self) -> float:
        """Byte/s of each flow if all that cross it had the same and used it up."""
        return self.capacity / self.weight


#: The tight limits that some lanes cross, each with its share of their bytes.
Crossing: TypeAlias = tuple[tuple[Limit, float], ...]


class Lane:
    """A way, the `flows` on it that move now by their numbers, and the `band` they are in.

    `limits`: all that it crosses, each with its share of the bytes.
    """

    __slots__ = ("band", "flows", "limits", "way")

    def __init__(self, way: Way) -> None:
        self.way = way
        self.limits: list[tuple[Limit, float]] = []
        self.flows: dict[int, Flow] = {}
        self.band: Band | None = None


class Band:
    """Lanes that cross the same `tight` limits alike, their `flows` at `rate` byte/s each.

    `safe`: a rate at which no other limit that they cross can be used up; the `number`-th made.
    """

    __slots__ = ("flows", "lanes", "number", "rate", "safe", "tight")

    def __init__(self, number: int, tight: Crossing) -> None:
        self.number = number
        self.tight = tight
        self.lanes: dict[Lane, None] = {}
        self.flows = 0
        self.rate = 0.0
        self.safe = inf


class Sharing:
    """Who shares which links; `capacity` gives byte/s of a hop.

    `make(number, tight)` makes a band; `changing(band)` is called before flows come to a
    band or leave it for another, and `moved(lane, before)` when all of a lane have.
    """

    def __init__(
        self,
        capacity: Callable[[Hop], float],
        *,
        make: Callable[[int, Crossing], Band] = Band,
        changing: Callable[[Band], None] = lambda band: None,
        moved: Callable[[Lane, Band], None] = lambda lane, before: None,
    ) -> None:
        self._capacity = capacity
        self._make = make
        self._changing = changing
        self._moved = moved
        self._limit_of: dict[Hop, Limit] = {}
        self._lanes: dict[Way, Lane] = {}
        self._bands: dict[Crossing, Band] = {}
        self._made = 0
        #: Bands for whose rates something has become too narrow.
        self._unsafe: dict[Band, None] = {}

    def lane(self, way: Way) -> Lane:
        """The flows on a way; limits of which a new one uses a part are split."""
        known = self._lanes.get(way)
        if known is not None:
            return known
        lane = self._lanes[way] = Lane(way)
        parts: dict[tuple[Limit | None, float], dict[Hop, float]] = {}
        for hop, share in way.shares.items():
            limit = self._limit_of.get(hop)
            parts.setdefault((limit, share), {})[hop] = self._capacity(hop)
        for (limit, share), hops in parts.items():
            if limit is None or len(hops) < len(limit.hops):
                limit = self._split(limit, hops)
            limit.shares[way] = share
            lane.limits.append((limit, share))
        return lane

    def _split(self, limit: Limit | None, hops: dict[Hop, float]) -> Limit:
        """`hops` become a limit of their own, not tight until somebody is too fast for it."""
        self._made += 1
        new = Limit(self._made, hops, {} if limit is None else dict(limit.shares))
        self._limit_of.update(dict.fromkeys(hops, new))
        if limit is not None:
            for hop in hops:
                del limit.hops[hop]
            limit.capacity = min(limit.hops.values())
            new.lanes.update(limit.lanes)
            new.bands.update(limit.bands)
            new.weight = limit.weight
            for way, share in new.shares.items():
                self._lanes[way].limits.append((new, share))
            for band in new.bands:
                band.safe = min(band.safe, new.fair)
        return new

    def enter(self, lane: Lane, flow: Flow) -> Band:
        """A flow has begun on a lane; the band that it is in."""
        band = lane.band
        if band is not None:
            self._changing(band)
        lane.flows[flow.number] = flow
        for limit, share in lane.limits:
            limit.weight += share
        if band is None:
            _hold(lane)
            band = self._place(lane)
        else:
            band.flows += 1
        for limit, _ in lane.limits:
            if not limit.tight:
                fair = limit.fair
                for other in limit.bands:
                    if fair < other.safe:
                        other.safe = fair
                        if fair < other.rate:
                            self._unsafe[other] = None
        return band

    def leave(self, lane: Lane, flow: Flow) -> None:
        """A flow has ended."""
        assert lane.band is not None
        del lane.flows[flow.number]
        for limit, share in lane.limits:
            limit.weight -= share
        if lane.flows:
            lane.band.flows -= 1
        else:
            self._take_out(lane, 1)
            for limit, _ in lane.limits:
                if not limit.lanes:
                    limit.weight = 0.0
                    limit.tight = False

    def _place(self, lane: Lane) -> Band:
        """Put a lane with flows into the band where it belongs now."""
        crossed = ((limit, share) for limit, share in lane.limits if limit.tight)
        tight = tuple(sorted(crossed, key=lambda pair: pair[0].number))
        band = self._bands.get(tight)
        if band is None:
            self._made += 1
            band = self._bands[tight] = self._make(self._made, tight)
        else:
            self._changing(band)
        lane.band = band
        band.lanes[lane] = None
        band.flows += len(lane.flows)
        for limit, _ in lane.limits:
            limit.lanes[lane] = None
            limit.bands[band] = limit.bands.get(band, 0) + 1
            if not limit.tight:
                band.safe = min(band.safe, limit.fair)
        return band

    def _take_out(self, lane: Lane, flows: int) -> None:
        """A lane leaves its band, with that many flows."""
        band = lane.band
        assert band is not None
        lane.band = None
        band.flows -= flows
        del band.lanes[lane]
        if not band.lanes:
            del self._bands[band.tight]
        for limit, _ in lane.limits:
            del limit.lanes[lane]
            limit.bands[band] -= 1
            if not limit.bands[band]:
                del limit.bands[band]

    def rates(self, changed: Iterable[Band]) -> Iterator[list[tuple[Band, float]]]:
        """New rates of all that a change of some bands can reach, by bands that depend on others.

        In an order that depends on when the bands came to be, and on nothing else. Who is named
        twice has the later rate; who has lost all its flows on the way is not named.
        """
        waiting: dict[Band, None] = {}
        unsafe, self._unsafe = self._unsafe, {}
        for band in (*changed, *unsafe):
            waiting[band] = None
            for limit, _ in band.tight:
                waiting.update(dict.fromkeys(limit.bands))
        while waiting:
            band = next(iter(waiting))
            del waiting[band]
            if not band.flows:
                continue
            group = _group(band)
            rates = max_min(group)
            again = self._tighten(group, rates) or self._loosen(group, rates)
            if again:
                waiting.update(again)
                continue
            for band in group:
                waiting.pop(band, None)
            yield list(zip(group, rates, strict=True))

    def _tighten(self, group: list[Band], rates: list[float]) -> dict[Band, None]:
        """Who is reached if a limit must be tight that was not."""
        found: dict[Limit, None] = {}
        for band, rate in zip(group, rates, strict=True):
            if rate > band.safe * _ROUNDING:
                crossed = {limit: limit for lane in band.lanes for limit, _ in lane.limits}
                loose = (limit for limit in crossed if not limit.tight)
                narrowest = min(loose, key=lambda limit: (limit.fair, limit.number), default=None)
                band.safe = inf if narrowest is None else narrowest.fair
                if narrowest is not None and rate > band.safe * _ROUNDING:
                    found[narrowest] = None
        reached = dict.fromkeys(group) if found else {}
        for limit in found:
            limit.tight = True
            reached.update(self._replace(limit))
        return reached

    def _loosen(self, group: list[Band], rates: list[float]) -> dict[Band, None]:
        """Who is reached if limits are tight no longer."""
        if len(group) == 1 and len(group[0].tight) == 1:
            return {}
        fastest: dict[Limit, float] = {}
        for band, rate in zip(group, rates, strict=True):
            for limit, _ in band.tight:
                if rate > fastest.get(limit, 0.0):
                    fastest[limit] = rate
        found = [limit for limit, rate in fastest.items() if rate <= limit.fair * _SLACK]
        reached = dict.fromkeys(group) if found else {}
        for limit in found:
            limit.tight = False
            reached.update(self._replace(limit))
        return reached

    def _replace(self, limit: Limit) -> dict[Band, None]:
        """Bands that lanes across a limit left or came to, as it became tight or ceased to be."""
        reached = dict.fromkeys(limit.bands)
        for lane in list(limit.lanes):
            before = lane.band
            assert before is not None
            self._changing(before)
            self._take_out(lane, len(lane.flows))
            reached[self._place(lane)] = None
            self._moved(lane, before)
        return reached


def _hold(lane: Lane) -> None:
    """A lane that crosses nothing tight has no bound: the narrowest on its way will have to be."""
    if not any(limit.tight for limit, _ in lane.limits):
        narrowest = min((limit for limit, _ in lane.limits), key=lambda limit: limit.fair)
        narrowest.tight = not narrowest.lanes


def _group(first: Band) -> list[Band]:
    """All bands joined with one by tight limits."""
    found = {first: None}
    queue = [first]
    seen: set[Limit] = set()
    for band in queue:
        for limit, _ in band.tight:
            if limit not in seen:
                seen.add(limit)
                new = [other for other in limit.bands if other not in found]
                found.update(dict.fromkeys(new))
                queue += new
    queue.sort(key=lambda band: band.number)
    return queue


class _Level:
    """A limit while rates are worked out: what is `left` of it for flows of `weight` in all.

    `bands`: places of those that cross it; `waiting`: how many of them have no rate yet.
    """

    __slots__ = ("bands", "left", "waiting", "weight")

    def __init__(self, capacity: float) -> None:
        self.left = capacity
        self.weight = 0.0
        self.bands: list[int] = []
        self.waiting = 0

    @property
    def rate(self) -> float:
        """What each flow that is not stopped yet may have."""
        return max(self.left, 0.0) / self.weight


def max_min(group: list[Band]) -> list[float]:
    """Rates such that none can be raised without lowering one that is no larger.

    Progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2): all rates grow together;
    whoever meets a limit that is used up stops there. Subject to Σ rate · share ≤ capacity on
    every tight limit; who crosses none has no bound (inf).
    """
    if len(group) == 1:
        band = group[0]
        own = (limit.capacity / (share * band.flows) for limit, share in band.tight)
        return [min(own, default=inf)]
    levels, crossed = _levels(group)
    #: (rate at which it stops somebody, place), the least at the top of a heap.
    heap = [(level.rate, place) for place, level in enumerate(levels)]
    heapify(heap)
    rates = [-1.0] * len(group)
    missing = len(group)
    while missing:
        before, place = heappop(heap)
        level = levels[place]
        if not level.waiting:
            continue
        rate = level.rate
        if rate > before:
            heappush(heap, (rate, place))
            continue
        for member in level.bands:
            if rates[member] < 0.0:
                rates[member] = rate
                missing -= 1
                for other, weight in crossed[member]:
                    other.left -= weight * rate
                    other.weight -= weight
                    other.waiting -= 1
    return rates


def _levels(group: list[Band]) -> tuple[list[_Level], list[list[tuple[_Level, float]]]]:
    """The tight limits of some bands, and which of them each band crosses with which weight."""
    levels: dict[Limit, _Level] = {}
    crossed = []
    for place, band in enumerate(group):
        mine = []
        for limit, share in band.tight:
            level = levels.get(limit)
            if level is None:
                level = levels[limit] = _Level(limit.capacity)
            weight = share * band.flows
            level.weight += weight
            level.bands.append(place)
            level.waiting += 1
            mine.append((level, weight))
        crossed.append(mine)
    return list(levels.values()), crossed
