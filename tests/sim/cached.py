"""Systems of engines and caches built by hand: every engine and store hangs on one switch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx
import numpy as np
from hand_built import MODEL, AffineCost, batch, pipeline, run, system

from hermesdsl.graph.types import (
    CompiledSystem,
    KvCache,
    Link,
    Part,
    StageNode,
    Tier,
    TierStore,
)
from hermesdsl.sim.record import Run
from hermesdsl.sim.requests import RequestBatch

#: Bytes of KV per token of `hand_built.MODEL`.
PER_TOKEN = int(MODEL.kv_bytes_per_token)
#: Tokens per block, and its bytes.
BLOCK = 10
BLOCK_BYTES = BLOCK * PER_TOKEN
#: A step takes a second: nothing that a store does falls on its ends.
COST = AffineCost(base=1.0)
#: Of every engine's link to the switch.
LINK_BYTES, LINK_S = 400_000.0, 0.125


@dataclass(frozen=True)
class Shelf:
    """A tier: `stores` of `blocks` each (None: no limit), shared among engines in equal groups."""

    blocks: int | None = None
    stores: int = 1
    bandwidth: float = 1e6
    latency: float = 0.5
    hit_rate: float | None = None


def cached(
    *shelves: Shelf,
    engines: int = 1,
    options: dict[str, Any] | None = None,
    graph: nx.DiGraph | None = None,
    **more: Any,
) -> CompiledSystem:
    """Tiers ``t0``, ``t1`` … behind a pipeline that fetches, reads and writes."""
    if graph is None:
        graph = pipeline(
            "chat",
            StageNode("chat.fetch", "KvFetch", "llm", {"cache": "kv"}),
            StageNode("chat.read", "Prefill", "llm"),
            StageNode("chat.write", "Decode", "llm"),
        )
    hardware: nx.MultiDiGraph = nx.MultiDiGraph(containers={})
    hardware.add_node("bus", part=Part("bus", "switch", "Switch", forwards=True))
    for index in range(engines):
        path = f"llm[{index}].gpu"
        hardware.add_node(path, part=Part(path, "chip", "Chip"))
        _wire(hardware, path, Link("wire", LINK_BYTES, LINK_S))
    tiers = tuple(_tier(hardware, f"t{n}", shelf, engines) for n, shelf in enumerate(shelves))
    built = system(
        graph, engines={"llm": engines}, hardware=hardware, options=options, contention="none"
    )  # fmt: skip
    cache = replace(KvCache("kv", tiers, block=BLOCK), **more)
    return replace(built, caches={"kv": cache})


def _tier(hardware: nx.MultiDiGraph, name: str, shelf: Shelf, engines: int) -> Tier:
    stores = []
    for index in range(shelf.stores):
        path = f"{name}.memory[{index}]"
        part = Part(path, "memory", "Memory", bandwidth=shelf.bandwidth, latency=shelf.latency)
        hardware.add_node(path, part=part)
        _wire(hardware, path, Link("Memory", shelf.bandwidth, 0.0))
        size = 1e15 if shelf.blocks is None else shelf.blocks * BLOCK_BYTES
        stores.append(TierStore((path,), size, shelf.bandwidth, shelf.latency))
    reach = {f"llm[{index}]": index * shelf.stores // engines for index in range(engines)}
    return Tier(name, "node", tuple(stores), reach, shelf.hit_rate)


def _wire(hardware: nx.MultiDiGraph, path: str, link: Link) -> None:
    for a, b in ((path, "bus"), ("bus", path)):
        hardware.add_edge(
            a, b, link=link, lanes=1, bandwidth=link.bandwidth, latency=link.latency
        )  # fmt: skip


def sharing(
    arrival: Sequence[float],
    prefix: int | Sequence[int],
    tokens: int | Mapping[int, int] = 100,
    prompt: int | Sequence[int] = 5,
    output: int | Sequence[int] = 1,
) -> RequestBatch:
    """Requests behind the shared prefixes `prefix` (-1: none), of `tokens` tokens by identity."""
    load = batch(arrival, prompt, output)
    identity = np.broadcast_to(np.asarray(prefix, np.int64), len(load)).copy()
    lengths = [
        0 if i < 0 else tokens if isinstance(tokens, int) else tokens[i] for i in identity.tolist()
    ]
    return replace(load, prefix=identity, prefix_tokens=np.array(lengths, np.int64))


def simulated(built: CompiledSystem, *loads: RequestBatch, **more: Any) -> Run:
    """The run of experiment ``main`` with steps of a second."""
    return run(built, COST, *loads, **more)


def fetched(done: Run) -> list[tuple[int, float]]:
    """(tokens found, seconds of the fetch) of every request."""
    columns = done.requests
    seconds = columns["chat.fetch.end_s"] - columns["chat.fetch.enter_s"]
    return list(zip(columns["cached_tokens"].tolist(), seconds.tolist(), strict=True))
