"""The clock and the heap: calls functions at times, in one exact order.

Events are ordered by (time, priority, key): `key` is a number that the caller derives from what
the event concerns (a request, a client), never from when it was planned, so that two forms of
one simulation that plan differently still order simultaneous events alike.
Knows nothing of requests, clients or randomness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from math import floor, inf
from typing import TypeAlias

#: Priorities at one instant: requests arrive; steps end (and the next begin); what the steps sent
#: on, or what was under way, arrives; idle clients begin; what shares links is given its rates.
ARRIVAL, STEP, DELIVERY, WAKE, SHARING = 0, 1, 2, 3, 4

Action: TypeAlias = Callable[[float, int], None]


class Kernel:
    """One heap of events; an event is a function called with (time in seconds, argument).

    Arrivals that are known beforehand need no place in the heap: they are read off one by one.
    """

    __slots__ = ("_arrive", "_arrived", "_coming", "_heap", "_looks", "_planned", "_stand", "now")

    def __init__(self) -> None:
        self.now = 0.0
        #: Times of arrivals, how many of them have come, and who is told.
        self._coming: Sequence[float] = ()
        self._arrived = 0
        self._arrive: Action = _nobody
        #: Their priority.
        self._stand = ARRIVAL
        self._heap: list[tuple[float, int, int, int, Action, int]] = []
        self._planned = 0
        #: (when next, period, what is called) of those who look on.
        self._looks: list[tuple[float, float, Callable[[float], None]]] = []

    def at(self, time: float, priority: int, key: int, action: Action, argument: int = 0) -> None:
        """Call `action(time, argument)` when the clock reaches `time` (seconds, not the past)."""
        self._planned += 1
        heappush(self._heap, (time, priority, key, self._planned, action, argument))

    def arrivals(self, times: Sequence[float], action: Action, priority: int = ARRIVAL) -> None:
        """Call `action(times[i], i)` for every i, the key of which is i.

        `times`: seconds, sorted; once in a run, before it.
        """
        self._coming, self._arrive, self._arrived, self._stand = times, action, 0, priority

    def every(self, period: float, look: Callable[[float], None]) -> None:
        """Call `look(time)` with multiples of `period`, before all that happens then or later.

        No event: of several multiples between two events only the last is looked at, and none
        after the last event. `look` plans nothing.
        """
        following = (_multiples(self.now, period) + 1) * period
        self._looks.append((following, period, look))

    @property
    def watched(self) -> bool:
        """Somebody looks on."""
        return bool(self._looks)

    @property
    def pending(self) -> int:
        """Number of events that are still to happen."""
        return len(self._heap) + len(self._coming) - self._arrived

    def run(self, until: float = inf) -> None:
        """Process every event up to and including time `until`, the new ones among them."""
        heap, looks, pop = self._heap, self._looks, heappop
        coming, arrive, total = self._coming, self._arrive, len(self._coming)
        place, stand = self._arrived, self._stand
        due = coming[place] if place < total else inf
        while True:
            time = heap[0][0] if heap else inf
            if time < due or (
                heap and (place == total or (time == due and heap[0][1:3] < (stand, place)))
            ):
                if time > until:
                    return
                if looks:
                    self._look_on(time)
                self.now = time
                event = pop(heap)
                event[4](time, event[5])
            elif place < total and due <= until:
                if looks:
                    self._look_on(due)
                self.now = time = due
                self._arrived = following = place + 1
                due = coming[following] if following < total else inf
                arrive(time, place)
                place = following
            else:
                return

    def _look_on(self, time: float) -> None:
        for place, (due, period, look) in enumerate(self._looks):
            if time >= due:
                last = _multiples(time, period)
                look(last * period)
                self._looks[place] = ((last + 1) * period, period, look)


def _nobody(time: float, argument: int) -> None:
    """Told of arrivals where there are none."""


def _multiples(time: float, period: float) -> int:
    """The most periods that, multiplied out, are not above a time."""
    count = floor(time / period)
    if count * period > time:
        return count - 1
    return count + 1 if (count + 1) * period <= time else count
