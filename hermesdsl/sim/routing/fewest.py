"""The member with the least of a number, without looking at all of them for every request.

A heap has for every member a number that it has at least. One that has grown meanwhile is found out
when it comes to the top; one that has shrunk is told (`ClientLoad.watch`) and put in again. So the
top, once it is true, is the first of those with the least, as `context.least` finds it; a request
costs a logarithm of the members. Knows no router and no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappush, heapreplace


class Fewest:
    """The least of `numbers` (by client) among `members`; `shrunk` is told of what got less."""

    __slots__ = ("_heap", "_members", "_most", "_numbers", "_places")

    def __init__(self, members: Sequence[int], numbers: Sequence[int]) -> None:
        self._members = members
        self._numbers = numbers
        self._places = {client: place for place, client in enumerate(members)}
        self._most = 4 * len(members)
        self._heap: list[tuple[int, int]] = []
        self._fill()

    def pick(self) -> int:
        """The member with the least, the first of equals."""
        heap, numbers, members = self._heap, self._numbers, self._members
        while True:
            least, place = heap[0]
            client = members[place]
            number = numbers[client]
            if number == least:
                return client
            heapreplace(heap, (number, place))

    def shrunk(self, client: int) -> None:
        """A client has less than before."""
        place = self._places.get(client)
        if place is None:
            return
        if len(self._heap) >= self._most:
            self._fill()
        else:
            heappush(self._heap, (self._numbers[client], place))

    def _fill(self) -> None:
        """One entry for every member, as they are now."""
        numbers = self._numbers
        self._heap = [(numbers[client], place) for place, client in enumerate(self._members)]
        heapify(self._heap)
