"""Queue orders: which waiting sequence an engine looks at first. Found by name.

An order turns a sequence into a rank, and the lowest rank is at the head. Ranks are taken when a
sequence starts to wait; equal ranks keep the order in which sequences first came to the engine.

The head is never passed by: if its KV does not fit, or no seat is free, all others wait too. So a
higher class that fits is never left behind for a lower one, and no order starves a long prompt by
filling gaps with short ones. What orders do starve, while the load lasts: ``priority`` the lower
classes, ``sjf`` and ``least_work_left`` the long requests. ``fcfs`` and ``edf`` starve nobody
(with ``edf``, a class without a bound waits behind all that have one).

Two kinds of sequences stand before every rank, for they were at the head once: a prompt of which
a slice was read, then those whose KV was swapped out. What is preempted for recomputing keeps its
own rank. Knows no engine, time or KV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush, heapreplace
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from hermesdsl.graph.types import RequestClass
    from hermesdsl.sim.decoding import Sequence
    from hermesdsl.sim.load import Offered

#: Where a sequence stands whatever its rank: read in part, swapped out, waiting.
BEGUN, SWAPPED, WAITING = 0, 1, 2

#: Lower goes first.
Rank: TypeAlias = "Callable[[Sequence], tuple[float, ...]]"
Entry: TypeAlias = "tuple[int, tuple[float, ...], int, Sequence]"


@dataclass(frozen=True, eq=False)
class OrderContext:
    """What ranks are made from: all requests `offered`, and the customer `classes` by name."""

    offered: Offered
    classes: Mapping[str, RequestClass]

    def of_class(self, read: Callable[[RequestClass], float], default: float) -> Rank:
        """The number that `read` finds in the class of a request, `default` without a class."""
        offered = self.offered
        known = [read(self.classes[c]) if c in self.classes else default for c in offered.classes]
        return lambda sequence: (known[offered.klass[sequence.request]],)


def fcfs(context: OrderContext) -> Rank:
    """First come to this engine, first served."""
    return lambda _: ()


def priority(context: OrderContext) -> Rank:
    """Higher ``priority`` of the class first, then earlier arrival of the request."""
    arrivals = context.offered.arrivals
    least = context.of_class(lambda klass: -klass.priority, 0)
    return lambda sequence: (*least(sequence), arrivals[sequence.request])


def sjf(context: OrderContext) -> Rank:
    """Shortest job: fewest tokens of prompt and output together, whatever is done of them.

    The output is taken as known: an upper bound on what a predictor of lengths can bring. What is
    preempted keeps its rank, for the tokens that it must read again are those it has produced.
    """
    return lambda sequence: (sequence.prompt + sequence.remaining,)


def least_work_left(context: OrderContext) -> Rank:
    """Fewest tokens still to be computed here: prompt not yet read, and output not yet produced.

    Differs from ``sjf`` for a sequence whose KV has been handed over or lost, and counts a prompt
    that must be read again.
    """
    return lambda sequence: (sequence.left + sequence.remaining,)


def edf(context: OrderContext) -> Rank:
    """Earliest deadline: arrival of the request + the bound on ``ttft`` of its class."""
    arrivals = context.offered.arrivals
    bound = context.of_class(lambda klass: klass.bounds.get("ttft", inf), inf)
    return lambda s: (arrivals[s.request] + bound(s)[0], arrivals[s.request])


#: Orders by the name a specification gives them.
ORDERS: Mapping[str, Callable[[OrderContext], Rank]] = MappingProxyType(
    {
        "fcfs": fcfs,
        "priority": priority,
        "sjf": sjf,
        "least_work_left": least_work_left,
        "edf": edf,
    }
)


class WaitingQueue:
    """The sequences that wait at one engine; `head` is the next one to be looked at.

    A heap of (standing, rank, turn): coming, going and looking take logarithmic time. `entries`:
    empty when nobody waits; else no concern of others.
    """

    __slots__ = ("_rank", "entries", "turns")

    def __init__(self, rank: Rank) -> None:
        self._rank = rank
        #: How many have come so far: the turn of the last one.
        self.turns = 0
        self.entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Sequence]:
        """The sequences, in no order."""
        return (entry[-1] for entry in self.entries)

    @property
    def head(self) -> Sequence:
        """Who is next; there must be somebody."""
        return self.entries[0][-1]

    def push(self, sequence: Sequence, standing: int = WAITING) -> None:
        """Let a sequence wait; one that has been here before keeps its turn among equals."""
        turn = sequence.turn
        if not turn:
            self.turns = sequence.turn = turn = self.turns + 1
        heappush(self.entries, (standing, self._rank(sequence), turn, sequence))

    def pop(self) -> Sequence:
        """Take the head out."""
        return heappop(self.entries)[-1]

    def hold_head(self) -> None:
        """The head was read in part: it stays at the head."""
        heapreplace(self.entries, self._entry(self.head, BEGUN))

    def _entry(self, sequence: Sequence, standing: int) -> Entry:
        if not sequence.turn:
            self.turns += 1
            sequence.turn = self.turns
        return (standing, self._rank(sequence), sequence.turn, sequence)
