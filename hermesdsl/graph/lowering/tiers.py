"""Tiers of KV caches: which memories they take, and how much of each.

Knows the placement graph and the tiers' instances; what a tier costs in time is not its business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import Diagnostic, Label, error, warning
from hermesdsl.graph.pipeline import flatten
from hermesdsl.graph.stores import TierError, stores_in_reach, tier_stores
from hermesdsl.graph.types import (
    Client,
    Group,
    HardwareGraph,
    KvCache,
    Part,
    PipelineGraph,
    PlacementGraph,
    Spec,
    Tier,
    TierStore,
    Value,
)
from hermesdsl.model import flows
from hermesdsl.model.instance import Instance
from hermesdsl.model.resolve import place_of
from hermesdsl.units.dimension import BYTE
from hermesdsl.units.quantity import Quantity

if TYPE_CHECKING:
    from hermesdsl.model.elaborate import Tree
    from hermesdsl.source import Span


def caches(tree: Tree, hardware: HardwareGraph, placed: PlacementGraph) -> dict[str, KvCache]:
    """Every cache, by the name that stages call it by; their ways and scopes are checked."""
    builder = tree.builder
    groups = _groups(placed)
    found = {}
    for name, definition in tree.singles("cache").items():
        cache = definition.instance(builder)
        arrows = [(arrow.source, arrow.target) for arrow in flows.arrows(builder, cache)]
        tiers = [cache.children[tier] for tier in _in_order(dict(arrows))]
        found[name] = KvCache(
            name=name,
            tiers=tuple(
                _tier(hardware, placed, tier.path, groups)
                for tier in tiers
                if isinstance(tier, Instance)
            ),
            eviction=builder.get(cache, "eviction"),
            write=builder.get(cache, "write"),
            overlap=bool(builder.get(cache, "overlap")),
            block=int(builder.number(cache, "block")),
            doc=cache.doc,
        )
    return found


def check_writes(
    tree: Tree, made: Mapping[str, KvCache], pipelines: Mapping[str, PipelineGraph]
) -> list[Diagnostic]:
    """A warning for a cache in use to which nothing is ever written."""
    used = _used(pipelines)
    return [
        warning("HMS601", f"cache `{name}` can never hit: nothing is written to it",
                tree.singles("cache")[name].span,
                notes=["help: leave out `write = none`, or give a tier a fixed `hit_rate`"])
        for name, cache in made.items()
        if name in used and cache.write == "none" and cache.tiers
        and all(tier.hit_rate is None for tier in cache.tiers)
    ]  # fmt: skip


def _in_order(following: Mapping[str, str]) -> list[str]:
    """The tiers from the first to the last before ``recompute``."""
    at = next((name for name in following if name not in following.values()), "recompute")
    found = []
    while at in following:
        if at != "input":
            found.append(at)
        at = following[at]
    return found


def _tier(
    hardware: HardwareGraph, placed: PlacementGraph, path: str, groups: Mapping[str, Group]
) -> Tier:
    client: Client = placed.nodes[path]["client"]
    scope, rate = str(client.options["scope"]), client.options.get("hit_rate")
    fails = client.options.get("fails")
    stores = tier_stores(hardware, list(placed.successors(path)), scope, groups)
    return Tier(
        path=path,
        scope=scope,
        stores=tuple(_store(hardware, memories, client.options) for memories in stores),
        reach=stores_in_reach(hardware, stores, scope, groups),
        hit_rate=float(rate) if isinstance(rate, int | float) else None,
        fails=fails if isinstance(fails, Spec) else None,
    )


def _store(
    hardware: HardwareGraph, memories: tuple[str, ...], options: Mapping[str, Value]
) -> TierStore:
    """What each memory brings, unless the tier says it of every memory."""

    def each(name: str) -> list[float]:
        own = options.get(name)
        if isinstance(own, int | float):
            return [float(own)] * len(memories)
        return [float(getattr(hardware.nodes[path]["part"], name)) for path in memories]

    return TierStore(
        memories, sum(each("capacity")), sum(each("bandwidth")), max(each("latency"), default=0.0)
    )


def _groups(placed: PlacementGraph) -> dict[str, Group]:
    """Of the engines: nobody else has KV."""
    clients = [data["client"] for _, data in placed.nodes(data=True) if "client" in data]
    return {c.path: c.group for c in clients if c.type_name == "LlmEngine" and c.group is not None}


def check_ways(tree: Tree) -> list[Diagnostic]:
    """Caches whose tiers do not stand one behind the other, ``hbm -> dram -> recompute``."""
    found = []
    for definition in tree.singles("cache").values():
        cache = definition.instance(tree.builder)
        arrows = flows.arrows(tree.builder, cache)
        following: dict[str, str] = {}
        for arrow in arrows:
            if following.setdefault(arrow.source, arrow.target) != arrow.target:
                found.append(error("HMS501", f"tier `{arrow.source}` of {cache} has two tiers "
                                   "behind it", arrow.span))  # fmt: skip
        reached = {name for pair in following.items() for name in pair}
        for name, tier in cache.children.items():
            if name not in reached and isinstance(tier, Instance):
                note = f"help: such as `{name} -> recompute`, behind the tiers before it"
                found.append(error("HMS501", f"no arrow leads to tier `{name}` of {cache}",
                                   place_of(tier), notes=[note]))  # fmt: skip
            elif name in following and _last(following, name) != "recompute":
                found.append(error("HMS501", f"the tiers of {cache} do not end in `recompute`",
                                   arrows[0].span,
                                   notes=["help: what no tier has is computed again: end with "
                                          "`-> recompute`"]))  # fmt: skip
                break
    return found


def _last(following: Mapping[str, str], name: str) -> str:
    """Where the arrows from a tier end; the tier itself if they go in a circle."""
    seen = {name}
    end = following[name]
    while end in following:
        if end in seen:
            return name
        seen.add(end)
        end = following[end]
    return end


def check_scopes(tree: Tree, hardware: HardwareGraph, placed: PlacementGraph) -> list[Diagnostic]:
    """Tiers whose memories their `scope` cannot join, as there is nothing of that sort around."""
    clients = {path: data["client"] for path, data in placed.nodes(data=True) if "client" in data}
    groups = _groups(placed)
    spans = _spans(tree)
    found = []
    for path, client in clients.items():
        if client.type_name == "KvTier":
            try:
                memories = list(placed.successors(path))
                tier_stores(hardware, memories, client.options["scope"], groups)
            except TierError as problem:
                found.append(error("HMS405", f"tier `{path}`: {problem}", spans.get(path)))
    return found


def check_capacity(
    tree: Tree, placed: PlacementGraph, pipelines: Mapping[str, PipelineGraph]
) -> list[Diagnostic]:
    """Memories of which the tiers of the caches in use take more than there is.

    A cache that no pipeline reads takes nothing: several may stand for one another.
    """
    used = _used(pipelines)
    taken: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for path, data in placed.nodes(data=True):
        client = data.get("client")
        if client is None or client.type_name != "KvTier" or path.rpartition(".")[0] not in used:
            continue
        capacity = client.options.get("capacity")
        if isinstance(capacity, int | float):
            for memory in placed.successors(path):
                taken[memory].append((path, float(capacity)))
    return _exceeded(placed, taken, _spans(tree))


def _used(pipelines: Mapping[str, PipelineGraph]) -> set[str]:
    """The caches that stages look into."""
    return {
        cache
        for graph in pipelines.values()
        for _, stage in flatten(graph)
        if isinstance(cache := stage.options.get("cache"), str)
    }


def reserve(placed: PlacementGraph, pipelines: Mapping[str, PipelineGraph]) -> None:
    """Take the bytes of the tiers of caches in use off the engines in whose memories they lie."""
    used = _used(pipelines)
    taken: dict[str, float] = defaultdict(float)
    for path, data in placed.nodes(data=True):
        client: Client | None = data.get("client")
        if client is None or client.type_name != "KvTier" or path.rpartition(".")[0] not in used:
            continue
        own = client.options.get("capacity")
        for memory in placed.successors(path):
            part: Part = placed.nodes[memory]["part"]
            taken[memory] += float(own) if isinstance(own, int | float) else part.capacity
    for data in placed.nodes.values():
        client = data.get("client")
        if client is not None and client.type_name == "LlmEngine" and client.group is not None:
            group = client.group
            size = sum(taken.get(memory, 0.0) for memory in group.memories) / len(group.devices)
            if size:
                data["client"] = replace(client, group=replace(group, reserved=size))


def _spans(tree: Tree) -> dict[str, Span]:
    """Where every tier was declared."""
    builder = tree.builder
    singles = (*builder.singles, *builder.single_twins.values())
    tiers = (t for i in singles if i.kind.name == "cache" for t in i.each_child())
    return {t.path: span for t in tiers if (span := place_of(t)) is not None}


def _exceeded(
    graph: PlacementGraph,
    taken: Mapping[str, Sequence[tuple[str, float]]],
    spans: Mapping[str, Span],
) -> list[Diagnostic]:
    """One diagnostic for each set of tiers, at the last of them."""
    found: dict[tuple[str, ...], Diagnostic] = {}
    for memory, shares in taken.items():
        part: Part = graph.nodes[memory]["part"]
        total = sum(size for _, size in shares)
        names = tuple(path for path, _ in shares)
        if total <= part.capacity * (1 + 1e-9) or names in found:
            continue
        have = dict(part.labels).get("capacity", _size(part.capacity))
        alone = len(shares) == 1
        who = (
            f"tier `{names[0]}` takes"
            if alone
            else (f"tiers {', '.join(f'`{n}`' for n in names)} together take")
        )
        labels = [Label(spans[path], f"{_size(size)} of each memory")
                  for path, size in shares if path in spans]  # fmt: skip
        found[names] = error(
            "HMS407",
            f"{who} {_size(total)} of {memory}, which holds {have}",
            spans.get(names[-1]),
            labels=sorted(labels, key=lambda label: label.span != spans.get(names[-1])),
            notes=["note: the `capacity` of a tier is per selected memory"],
        )
    return list(found.values())


def _size(size: float) -> str:
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30)):
        if size >= factor and size % factor == 0:
            return f"{size // factor:g} {unit}"
    return str(Quantity(size, BYTE))
