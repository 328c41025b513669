"""The routes that traffic takes through a hardware graph, and why there is none.

Knows the graph of `graph.types` and who may forward traffic. Must not know clients, requests,
time or cost formulas. What was searched is remembered per graph: ask only once a graph is
complete, and change a copy of it rather than the graph itself.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import networkx as nx

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph.types import HardwareGraph, Part
from hermesdsl.source import Span


class NoRouteError(LookupError):
    """No traffic can get from `a` to `b`; `no_route` says why."""

    def __init__(self, a: str, b: str) -> None:
        super().__init__(f"no route from {a} to {b}")
        self.a = a
        self.b = b


@dataclass(frozen=True)
class Route:
    """The way traffic takes: `nodes` with both ends.

    `latency` in seconds: wires, and the port-to-port time of the parts between the ends.
    `bandwidth` in byte/s of the narrowest hop; parallel wires of a hop count together.
    """

    nodes: tuple[str, ...]
    latency: float
    bandwidth: float

    @property
    def hops(self) -> int:
        """Wires on the way."""
        return len(self.nodes) - 1


def route(graph: HardwareGraph, a: str, b: str) -> Route:
    """The route from `a` to `b`: least latency, then widest, then fewest hops.

    Only parts that forward may stand between the ends, and the part that an end, being a memory,
    is inside. Among equals it keeps to parts that carry the index of the nearer end (NIC 3 for
    GPU 3) or else spreads by it. Raises `NoRouteError`; KeyError if an end is no part.
    """
    for end in (a, b):
        if end not in graph:
            raise KeyError(end)
    if a == b:
        return Route((a,), 0.0, inf)
    network = _NETWORKS.setdefault(graph, _Network())
    ahead, back = network.tree(graph, a, True), network.tree(graph, b, False)
    best = _search(graph, network, ahead, back)
    if best is None:
        raise NoRouteError(a, b)
    nodes = [*reversed(ahead.way(best.u)), *back.way(best.v)]
    return Route(tuple(nodes), best.ticks / _TICKS_PER_SECOND, -best.minus_width)


#: Latencies are added in whole femtoseconds: the same wires in another order stay a tie.
_TICKS_PER_SECOND = 1e15
#: Trees kept per graph; the least recently asked for are grown again when needed.
_TREES_KEPT = 2048


class _Hop(NamedTuple):
    """The fastest wires between neighbours."""

    ticks: int
    bandwidth: float


class _Settled(NamedTuple):
    """The best way between the root and a part: the part before it, and what the way costs."""

    before: str
    ticks: int
    minus_width: float
    hops: int
    mismatch: int


class _Crossing(NamedTuple):
    """The hop u → v at which a way from one root meets a way to the other; compares as a route."""

    ticks: int
    minus_width: float
    hops: int
    mismatch: int
    u: str
    v: str


@dataclass(frozen=True, slots=True)
class _Site:
    """What a search needs to know of a part: `ticks` from port to port, hops to and from it."""

    forwards: bool
    ticks: int
    index: int
    onward: dict[str, _Hop]
    backward: dict[str, _Hop]


@dataclass(slots=True)
class _Tree:
    """Best ways from a root (or to it, if not `forward`), grown only as far as was asked.

    Dijkstra over the keys (ticks, −width, hops, mismatch), resumable: parts are settled in one
    fixed order, however often it pauses. Keys only grow along a way, and a better start never
    makes (ticks, −width) worse, so what is settled is of least latency and, among those, widest.
    Holds only the root and parts that the root's traffic may pass.
    """

    root: str
    around: str | None
    index: int
    forward: bool
    heap: list[tuple[int, float, int, int, str, str]] = field(default_factory=list)
    settled: dict[str, _Settled] = field(default_factory=dict)

    @property
    def reach(self) -> float:
        """No part that is still to be settled is nearer than this (ticks)."""
        while self.heap and self.heap[0][4] in self.settled:
            heappop(self.heap)
        return self.heap[0][0] if self.heap else inf

    def way(self, node: str) -> list[str]:
        """The parts from `node` to the root, both included."""
        nodes = [node]
        while nodes[-1] != self.root:
            nodes.append(self.settled[nodes[-1]].before)
        return nodes

    def grow(self, graph: HardwareGraph, network: _Network) -> str:
        """Settle the next part, after a look at `reach`."""
        ticks, minus_width, hops, mismatch, node, before = heappop(self.heap)
        self.settled[node] = _Settled(before, ticks, minus_width, hops, mismatch)
        site = network.site(graph, node)
        if node != self.root:
            ticks += site.ticks
        around = site.onward if self.forward else site.backward
        for neighbour, (more, bandwidth) in around.items():
            beyond = network.site(graph, neighbour)
            if neighbour not in self.settled and (beyond.forwards or neighbour == self.around):
                narrower = max(minus_width, -bandwidth)
                apart = mismatch + (beyond.index ^ self.index)
                key = (ticks + more, narrower, hops + 1, apart)
                heappush(self.heap, (*key, neighbour, node))
        return node


class _Network:
    """Sites and trees of one graph, each made when first asked for."""

    def __init__(self) -> None:
        self.sites: dict[str, _Site] = {}
        self.trees: OrderedDict[tuple[str, bool], _Tree] = OrderedDict()

    def tree(self, graph: HardwareGraph, root: str, forward: bool) -> _Tree:
        """The tree of a root, as far as it was grown."""
        key = (root, forward)
        if key in self.trees:
            self.trees.move_to_end(key)
        else:
            around = graph.graph.get("owner", {}).get(root)
            self.trees[key] = _Tree(root, around, _index(root), forward)
            self.trees[key].heap.append((0, -inf, 0, 0, root, root))
            if len(self.trees) > _TREES_KEPT:
                self.trees.popitem(last=False)
        return self.trees[key]

    def site(self, graph: HardwareGraph, path: str) -> _Site:
        """The site of a part."""
        found = self.sites.get(path)
        if found is None:
            part = _part(graph, path)
            found = self.sites[path] = _Site(
                part.forwards,
                round(part.latency * _TICKS_PER_SECOND),
                _index(path),
                {v: _hop(wires) for v, wires in graph.succ[path].items()},
                {u: _hop(wires) for u, wires in graph.pred[path].items()},
            )
        return found


#: Values hold no graph, so that a graph is let go with its last user.
_NETWORKS: WeakKeyDictionary[HardwareGraph, _Network] = WeakKeyDictionary()


def _search(graph: HardwareGraph, network: _Network, ahead: _Tree, back: _Tree) -> _Crossing | None:
    """The best crossing from the root of `ahead` to the root of `back`, None if they never meet.

    Both trees grow until each has everything within half the least latency. Every best route has
    one hop that leaves its first half (or enters the part around the target), and the choice
    among those hops does not depend on how far earlier questions had grown the trees.
    """

    def join(u: str, v: str, hop: _Hop) -> _Crossing:
        near, far = ahead.settled[u], back.settled[v]
        inside = [network.site(graph, node).ticks for node in (u, v) if node not in ends]
        return _Crossing(
            near.ticks + hop.ticks + far.ticks + sum(inside),
            max(near.minus_width, -hop.bandwidth, far.minus_width),
            near.hops + 1 + far.hops,
            near.mismatch + far.mismatch,
            u,
            v,
        )

    def halves(limit: float) -> Iterator[_Crossing]:
        for v, far in back.settled.items():
            if far.ticks > limit:
                break
            if 2 * far.ticks >= limit and v not in (back.root, back.around):
                continue
            hops = network.site(graph, v).backward
            for u in hops.keys() & ahead.settled.keys():
                if 2 * ahead.settled[u].ticks <= limit:
                    yield join(u, v, hops[u])

    ends = (ahead.root, back.root)
    limit = min((crossing.ticks for crossing in halves(inf)), default=inf)
    while min(ahead.reach, back.reach) < inf:
        if 2 * ahead.reach > limit and 2 * back.reach >= limit and back.reach > 0:
            break
        if ahead.reach <= back.reach:
            u = ahead.grow(graph, network)
            hops = network.site(graph, u).onward
            found = [join(u, v, hops[v]) for v in hops.keys() & back.settled.keys()]
        else:
            v = back.grow(graph, network)
            hops = network.site(graph, v).backward
            found = [join(u, v, hops[u]) for u in hops.keys() & ahead.settled.keys()]
        limit = min(limit, *(crossing.ticks for crossing in found), inf)
    return min((crossing for crossing in halves(limit) if crossing.ticks == limit), default=None)


def _hop(wires: dict[str, Any]) -> _Hop:
    """The fastest of parallel wires; all that are as fast together."""
    latency = min(wire["latency"] for wire in wires.values())
    bandwidth = sum(wire["bandwidth"] for wire in wires.values() if wire["latency"] == latency)
    return _Hop(round(latency * _TICKS_PER_SECOND), bandwidth)


def hop_bandwidth(graph: HardwareGraph, u: str, v: str) -> float:
    """Byte/s of the hop u → v on a route: its fastest wires together."""
    return _hop(graph[u][v]).bandwidth


def _part(graph: HardwareGraph, path: str) -> Part:
    part: Part = graph.nodes[path]["part"]
    return part


_INDEX = re.compile(r"\[(\d+)\]")


def _index(path: str) -> int:
    """The last index in a path; 0 if there is none."""
    found = _INDEX.findall(path)
    return int(found[-1]) if found else 0


def no_route(graph: HardwareGraph, a: str, b: str, span: Span | None = None) -> Diagnostic:
    """The HMS408 diagnostic for two parts without a route: names the nearest blocked hop."""
    message = f"no route from {a} to {b}"
    for end in (a, b):
        if not any(True for _ in nx.all_neighbors(graph, end)):
            return error("HMS408", message, span, notes=(f"{end} has no wires",))
    # A blocked part costs more than any route: the way found meets as few of them as it can.
    blocked = {node for node in graph if node not in (a, b) and not _may_pass(graph, a, b, node)}
    far = 1e9

    def weight(u: str, _: str, wires: dict[str, Any]) -> float:
        least: float = min(w["latency"] for w in wires.values())
        return least + (far if u in blocked else 0.0)

    try:
        way = nx.dijkstra_path(graph, a, b, weight=weight)
    except nx.NetworkXNoPath:
        return error("HMS408", message, span, notes=_why_apart(graph, a, b))
    at = next(i for i, node in enumerate(way) if node in blocked)
    part = _part(graph, way[at])
    notes = (
        f"the nearest blocked hop is {way[at - 1]} -> {way[at]} -> {way[at + 1]}: "
        f"{part.type_name} is a {part.kind} that does not forward traffic",
        "help: wire them through a switch, or set `forwards = true` there",
    )
    return error("HMS408", message, span, notes=notes)


def _may_pass(graph: HardwareGraph, a: str, b: str, node: str) -> bool:
    owner: Mapping[str, str] = graph.graph.get("owner", {})
    return _part(graph, node).forwards or node in (owner.get(a), owner.get(b))


def _why_apart(graph: HardwareGraph, a: str, b: str) -> tuple[str, ...]:
    """Notes on two parts that no directed way joins."""
    try:
        way = nx.shortest_path(graph.to_undirected(as_view=True), a, b)
    except nx.NetworkXNoPath:
        reached = len(nx.node_connected_component(graph.to_undirected(as_view=True), a))
        return (f"no wires join them; {a} is wired to a network of {reached} parts",)
    u, v = next((u, v) for u, v in pairwise(way) if not graph.has_edge(u, v))
    return (
        f"the wire between {u} and {v} carries traffic only from {v} to {u}",
        "help: write `<->` for both directions",
    )
