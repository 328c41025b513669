"""Host memory beside the chips of a system built by hand, and customer classes of its requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import networkx as nx
import numpy as np

from hermesdsl.graph.types import CompiledSystem, Link, Part, RequestClass
from hermesdsl.sim.requests import RequestBatch

#: What a class of priority 5 or 1 may wait for its first token, in seconds.
CLASSES = {
    "gold": RequestClass("gold", 5, {"ttft": 0.02}),
    "free": RequestClass("free", 1, {"ttft": 0.3}),
    "none": RequestClass("none", 0),
}


def hosted(
    graph: nx.MultiDiGraph,
    devices: Sequence[str],
    *,
    capacity: float = 1e9,
    bandwidth: float = 1e4,
    latency: float = 0.0,
    together: float | None = None,
) -> nx.MultiDiGraph:
    """Chips wired to one CPU, each at `bandwidth`; its DRAM at `together`, or as fast as all."""
    graph.graph.setdefault("containers", {})
    graph.add_node("cpu", part=Part("cpu", "cpu", "Cpu", forwards=True))
    wide = bandwidth * len(devices) if together is None else together
    graph.add_node("dram", part=Part("dram", "memory", "Memory", bandwidth=wide, capacity=capacity))
    for device in devices:
        if device not in graph:
            graph.add_node(device, part=Part(device, "chip", "Chip"))
        _wire(graph, device, "cpu", bandwidth, latency)
    _wire(graph, "cpu", "dram", wide, 0.0)
    return graph


def _wire(graph: nx.MultiDiGraph, one: str, other: str, bandwidth: float, latency: float) -> None:
    for a, b in ((one, other), (other, one)):
        link = Link("wire", bandwidth, latency)
        graph.add_edge(a, b, link=link, lanes=1, bandwidth=bandwidth, latency=latency)


def classed(load: RequestBatch, *klass: int) -> RequestBatch:
    """The same requests, of the classes gold (0), free (1) and none (2)."""
    column = np.resize(np.array(klass, np.int32), len(load))
    return replace(load, klass=column, classes=tuple(CLASSES))


def with_classes(built: CompiledSystem) -> CompiledSystem:
    """The same system, with those classes."""
    return replace(built, classes=CLASSES)
