"""Questions asked of a hardware graph: fabrics of communicators, cuts, neighbours, memories.

Knows the graph of `graph.types` and its routes. Must not know clients, requests, time or cost
formulas.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from math import fsum, inf
from typing import TypeAlias

import networkx as nx

from hermesdsl.graph.hardware import ancestors
from hermesdsl.graph.routes import NoRouteError, Route, hop_bandwidth, no_route, route
from hermesdsl.graph.types import Container, Fabric, HardwareGraph, Part

__all__ = [
    "Cut", "NoRouteError", "Route", "bisection_bandwidth", "communicator", "container_of", "fabric",
    "fabrics", "hop_bandwidth", "memory_of", "minimum_cut", "neighbours", "no_route", "route",
]  # fmt: skip


@dataclass(frozen=True)
class Cut:
    """The narrowest place between two sets of parts.

    `bandwidth` in byte/s, one direction; `hops` the (from, to) pairs of parts whose wires it cuts.
    """

    bandwidth: float
    hops: tuple[tuple[str, str], ...]


def fabric(graph: HardwareGraph, devices: Sequence[str]) -> Fabric:
    """The communicator of `devices` as a ring in the order given: `fabrics` of one group."""
    return fabrics(graph, [devices])


def fabrics(graph: HardwareGraph, groups: Sequence[Sequence[str]], pattern: str = "ring") -> Fabric:
    """Communicators of one size that all work at once, as the worst placed of them sees it.

    `pattern` is ``ring`` (each sends to the next: all-reduce, all-gather), ``line`` (each but the
    last sends to the next: pipeline stages) or ``all_to_all`` (each sends equal parts to all
    others). Every sender sends one byte in all; the load of a hop is the bytes that cross it, and
    `bandwidth` = min over hops of bandwidth / load. Over several nodes a ring may also be dealt
    over as many rotations of itself as a node has members, as collective libraries do to use
    every NIC; the wider of the two counts. `alpha` is the mean latency between those that send to
    each other: what each step of a ring costs on average. Raises `NoRouteError`.
    """
    return communicator(graph, groups, pattern)[0]


def communicator(
    graph: HardwareGraph, groups: Sequence[Sequence[str]], pattern: str = "ring"
) -> tuple[Fabric, Mapping[tuple[str, str], float]]:
    """As `fabrics`, and the load of every hop that its messages cross."""
    if len(groups[0]) < 2:
        return Fabric(len(groups[0]), 0.0, inf), {}
    messages = [_MESSAGES[pattern](group) for group in groups]
    plain = _loaded(graph, groups, messages)
    turned = [_turned_rings(graph, group) for group in groups] if pattern == "ring" else messages
    if turned == messages:
        return plain
    try:
        return max(plain, _loaded(graph, groups, turned), key=lambda found: found[0].bandwidth)
    except NoRouteError:
        return plain


_Messages: TypeAlias = "list[tuple[str, str, float]]"


def _loaded(
    graph: HardwareGraph, groups: Sequence[Sequence[str]], messages: Iterable[_Messages]
) -> tuple[Fabric, dict[tuple[str, str], float]]:
    """The fabric while all `messages`, (from, to, bytes), are under way, and the load of hops."""
    load: dict[tuple[str, str], float] = defaultdict(float)
    latencies, shares = [], []
    hops = 0
    for a, b, share in chain.from_iterable(messages):
        way = route(graph, a, b)
        latencies.append(way.latency * share)
        shares.append(share)
        hops = max(hops, way.hops)
        for hop in pairwise(way.nodes):
            load[hop] += share
    bandwidth = min(hop_bandwidth(graph, *hop) / crossing for hop, crossing in load.items())
    return Fabric(len(groups[0]), fsum(latencies) / fsum(shares), bandwidth, hops), load


def _line(group: Sequence[str]) -> _Messages:
    return [(a, b, 1.0) for a, b in pairwise(group)]


def _ring(group: Sequence[str]) -> _Messages:
    return [*_line(group), (group[-1], group[0], 1.0)]


def _all_to_all(group: Sequence[str]) -> _Messages:
    share = 1 / (len(group) - 1)
    return [(a, b, share) for a in group for b in group if a != b]


_MESSAGES = {"ring": _ring, "line": _line, "all_to_all": _all_to_all}


def _turned_rings(graph: HardwareGraph, group: Sequence[str]) -> _Messages:
    """One ring per member of the fullest node, each node's members turned by one more in each."""
    nodes: dict[str | None, list[str]] = defaultdict(list)
    for device in group:
        nodes[container_of(graph, device, "node")].append(device)
    turns = max(map(len, nodes.values())) if len(nodes) > 1 else 1
    rings = (
        [own[(i + turn) % len(own)] for own in nodes.values() for i in range(len(own))]
        for turn in range(turns)
    )
    return [(a, b, share / turns) for ring in rings for a, b, share in _ring(ring)]


def container_of(graph: HardwareGraph, path: str, kind: str) -> str | None:
    """The innermost container of `kind` around a part, or None."""
    containers: Mapping[str, Container] = graph.graph.get("containers", {})
    for prefix in ancestors(path):
        if prefix in containers and containers[prefix].kind == kind:
            return prefix
    return None


def neighbours(graph: HardwareGraph, path: str) -> tuple[str, ...]:
    """The parts wired to one, in either direction, each once."""
    return tuple(dict.fromkeys([*graph.succ[path], *graph.pred[path]]))


def memory_of(graph: HardwareGraph, device: str) -> list[str]:
    """The memories a device computes from: those inside it, else the fastest wired to it.

    "Fastest" leaves out an SSD that hangs off the same CPU as its DRAM; memories of one bandwidth
    all count. A memory may belong to several devices. Empty if there is none.
    """
    owner: Mapping[str, str] = graph.graph.get("owner", {})
    wired = [path for path in neighbours(graph, device) if _part(graph, path).kind == "memory"]
    inside = [path for path in wired if owner.get(path) == device]
    if inside or not wired:
        return inside
    free = [path for path in wired if path not in owner]
    fastest = max((_part(graph, path).bandwidth for path in free), default=0.0)
    return [path for path in free if _part(graph, path).bandwidth == fastest]


def bisection_bandwidth(
    graph: HardwareGraph, part_a: Collection[str], part_b: Collection[str]
) -> float:
    """Byte/s that can flow from all of `part_a` to all of `part_b` at once (max flow)."""
    return minimum_cut(graph, part_a, part_b).bandwidth


def minimum_cut(graph: HardwareGraph, a: str | Collection[str], b: str | Collection[str]) -> Cut:
    """The narrowest place between parts `a` and parts `b` that traffic from a to b must pass.

    Honours `forwards` as `route` does. Raises ValueError if the two overlap; KeyError if an end
    is no part.
    """
    sources = {a} if isinstance(a, str) else set(a)
    sinks = {b} if isinstance(b, str) else set(b)
    if sources & sinks:
        raise ValueError(f"{min(sources & sinks)} is on both sides of the cut")
    for path in sources | sinks:
        _part(graph, path)
    flow = _flow_graph(graph, sources, sinks)
    bandwidth, (near, _) = nx.minimum_cut(flow, _SOURCE, _SINK)
    hops = [(u, v) for u in near if u != _SOURCE for v in flow[u] if v not in near]
    return Cut(float(bandwidth), tuple(sorted(hops)))


_SOURCE, _SINK = "<source>", "<sink>"


def _flow_graph(
    graph: HardwareGraph, sources: Collection[str], sinks: Collection[str]
) -> nx.DiGraph[str]:
    """One edge per hop that traffic may take, in whole byte/s: flows are exact in integers.

    Edges without a capacity, from the one source and to the one sink, are unlimited.
    """
    owner: Mapping[str, str] = graph.graph.get("owner", {})
    opened = {owner[path] for path in sources if path in owner}
    flow: nx.DiGraph[str] = nx.DiGraph()
    flow.add_edges_from((_SOURCE, path) for path in sorted(sources))
    flow.add_edges_from((path, _SINK) for path in sorted(sinks))
    for u in graph:
        free = u in sources or u in opened or _part(graph, u).forwards
        for v, wires in graph.succ[u].items():
            if free or (v in sinks and owner.get(v) == u):
                flow.add_edge(u, v, capacity=round(sum(w["bandwidth"] for w in wires.values())))
    return flow


def _part(graph: HardwareGraph, path: str) -> Part:
    part: Part = graph.nodes[path]["part"]
    return part
