"""Hardware with watts and prices for the run of `tiny_runs`, and a cost model that says its use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import networkx as nx
import numpy as np

from hermesdsl.cost.types import DecodeRun, StepRows, StepWork, Use
from hermesdsl.graph.types import Client, CompiledSystem, Container, Group, Link, Part, Pool


@dataclass(frozen=True)
class SaidUse:
    """Whole steps on the device: prompts compute at half its peak, everything streams at 0.4.

    With weights 0.2, 1.2, 0.5: a prompt step draws 0.2 + 0.6 + 0.2 = 1.0 of the range, a step of
    decodes alone 0.2 + 0.2 = 0.4.
    """

    kv_tokens: int = 1 << 40

    def step(self, work: StepWork) -> float:
        return 1.0

    def decode_run(self, decodes: int, context: float) -> DecodeRun:
        raise NotImplementedError

    def use(self, rows: StepRows) -> Use:
        one = np.ones(len(rows.seconds))
        return Use(one, 0.5 * (rows.prefill_tokens > 0), 0.4 * one, 0.0 * one)


def chip(path: str, power: float = 700.0, idle: float = 100.0, cost: float = 0.0) -> Part:
    return Part(path, "chip", "Chip", power=power, idle_power=idle, cost=cost)


def built(
    parts: Sequence[Part],
    clients: Mapping[str, Sequence[str]] = MappingProxyType({"llm[0]": ("gpu",)}),
    *,
    containers: Iterable[Container] = (),
    memories: Mapping[str, Sequence[str]] = MappingProxyType({}),
    inside: Mapping[str, str] = MappingProxyType({}),
    wires: Iterable[tuple[str, str, float]] = (),
    kind: str = "LlmEngine",
) -> CompiledSystem:
    """A system of `parts` on which each of `clients` runs on the devices named."""
    hardware: nx.MultiDiGraph = nx.MultiDiGraph(
        containers={each.path: each for each in containers}, owner=dict(inside)
    )
    by_path = {part.path: part for part in parts}
    for part in parts:
        hardware.add_node(part.path, part=part)
    for a, b, rate in wires:
        for one, other in ((a, b), (b, a)):
            link = Link("wire", rate, 0.0)
            hardware.add_edge(one, other, link=link, lanes=1, bandwidth=rate, latency=0.0)
    placement: nx.DiGraph = nx.DiGraph()
    pools = {}
    for path, devices in clients.items():
        own = tuple(memories.get(path, ()))
        group = Group(tuple(devices), by_path[devices[0]], own, 1.0, 1.0)
        placement.add_node(path, client=Client(path, kind, group))
        pools[path] = Pool(path, (path,))
    placement.graph["pools"] = pools
    return CompiledSystem(hardware, placement, {}, {}, {})
