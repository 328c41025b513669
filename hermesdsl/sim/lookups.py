"""Looks into caches, as pipelines have them: for which prefill, of which model, and what forbids
them. Knows no clock and no block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hermesdsl.diagnostics import Diagnostic, error, nearest
from hermesdsl.graph.pipeline import flatten
from hermesdsl.graph.types import (
    Client,
    CompiledSystem,
    Experiment,
    KvCache,
    LlmModel,
    PipelineGraph,
    Pool,
    StageNode,
)


@dataclass(frozen=True)
class FetchStage:
    """A `KvFetch` stage: its `cache`, its `pool` (None: that of the prefill), and the pools of the
    prefills that may come next. `adjacent`: one of them comes next, whatever happens.
    """

    path: str
    cache: str
    pool: str | None
    readers: tuple[str, ...]
    adjacent: bool


def fetch_stages(graph: PipelineGraph) -> list[FetchStage]:
    """Every look into a cache of a pipeline, those of its sub-pipelines included."""
    found: list[FetchStage] = []
    for path, data in graph.nodes(data=True):
        stage: StageNode | None = data.get("stage")
        if stage is None:
            continue
        if stage.inner is not None:
            found += fetch_stages(stage.inner)
        elif stage.type_name == "KvFetch":
            readers, _ = _readers(graph, path)
            cache = str(stage.options.get("cache"))
            pools = tuple(dict.fromkeys(readers))
            found.append(FetchStage(path, cache, stage.pool, pools, _adjacent(graph, path)))
    return found


def _adjacent(graph: PipelineGraph, path: str) -> bool:
    """True if one prefill, run once at a time, is all that follows a stage."""
    after = list(graph.successors(path))
    stage: StageNode | None = graph.nodes[after[0]].get("stage") if len(after) == 1 else None
    if stage is None or graph.nodes[after[0]].get("join") == "wait":
        return False
    return stage.type_name in ("Prefill", "Generate") and stage.replicas == 1


def _readers(graph: PipelineGraph, start: str) -> tuple[list[str], bool]:
    """Pools of the prefills behind `start`, and whether a way leads past them to the end."""
    found: list[str] = []
    past = False
    queue, seen = list(graph.successors(start)), {start}
    while queue:
        path = queue.pop(0)
        if path in seen:
            continue
        seen.add(path)
        stage: StageNode | None = graph.nodes[path].get("stage")
        if stage is None:
            past = past or path == "output"
            continue
        goes_on = True
        if stage.inner is not None:
            inside, goes_on = _readers(stage.inner, "input")
            found += inside
        elif stage.type_name in ("Prefill", "Generate"):
            found.append(str(stage.options.get("prefill") or stage.pool))
            goes_on = False
        elif stage.type_name == "Decode":
            goes_on = False
        if goes_on:
            queue += graph.successors(path)
    return found, past


def used_caches(system: CompiledSystem, experiment: Experiment) -> dict[str, list[FetchStage]]:
    """The caches that the pipelines of an experiment look into, by name in order."""
    found: dict[str, list[FetchStage]] = {}
    for name in sorted({system.workloads[w].pipeline for w in experiment.workloads}):
        for fetch in fetch_stages(system.pipelines[name]):
            found.setdefault(fetch.cache, []).append(fetch)
    return dict(sorted(found.items()))


def model_of(system: CompiledSystem, fetches: list[FetchStage]) -> LlmModel:
    """The model whose KV is looked for, as its engines hold it; `check` finds it to be one."""
    return next(iter(_models(system, fetches).values()))


def keeps_of(system: CompiledSystem, model: LlmModel) -> dict[str, tuple[str, ...]]:
    """Devices of every engine whose KV is that of `model`, by path."""
    found = {}
    for path, data in system.placement.nodes(data=True):
        client: Client | None = data.get("client")
        if client is None or client.type_name != "LlmEngine" or client.model is None:
            continue
        if client.group is not None and _kind(client.model) == _kind(model):
            found[path] = client.group.devices
    return found


def _kind(model: LlmModel) -> tuple[str, str, float]:
    return model.name, model.kv_dtype, model.kv_bytes_per_token


def _models(
    system: CompiledSystem, fetches: list[FetchStage]
) -> dict[tuple[str, str, float], LlmModel]:
    pools: Mapping[str, Pool] = system.placement.graph["pools"]
    clients: Iterator[Client] = (
        system.placement.nodes[member]["client"]
        for fetch in fetches
        for pool in fetch.readers
        for member in pools[pool].members
    )
    return {_kind(c.model): c.model for c in clients if c.model is not None}


def check(system: CompiledSystem, experiment: Experiment) -> Iterator[Diagnostic]:
    """Looks into caches that cannot be executed, or make no sense."""
    for name, fetches in used_caches(system, experiment).items():
        cache = system.caches.get(name)
        if cache is None:
            match = nearest(name, system.caches)
            notes = (f"help: did you mean `{match}`?",) if match else ()
            yield error("HMS505", f"unknown cache `{name}` of stage `{fetches[0].path}`",
                        notes=notes)  # fmt: skip
            continue
        placed = [problem for fetch in fetches for problem in _placed(system, fetch)]
        yield from placed
        if not placed:
            yield from _cache(system, cache, fetches)


def _placed(system: CompiledSystem, fetch: FetchStage) -> Iterator[Diagnostic]:
    """What is fetched is where the next prefill runs."""
    pools: Mapping[str, Pool] = system.placement.graph["pools"]
    if not fetch.readers:
        yield error(
            "HMS505", f"stage `{fetch.path}` brings KV that no prefill behind it goes on from",
            notes=("help: put it before a `Prefill` or `Generate` of its own pipeline",),
        )  # fmt: skip
        return
    members = pools[fetch.pool or fetch.readers[0]].members
    for reader in fetch.readers:
        if pools[reader].members != members:
            first = fetch.pool or fetch.readers[0]
            yield error(
                "HMS505", f"stage `{fetch.path}` brings KV to `{first}`, and the next prefill "
                f"runs on `{reader}`",
                notes=(f"help: run it `on {reader}`, or fetch once for each pool",),
            )  # fmt: skip


def _cache(
    system: CompiledSystem, cache: KvCache, fetches: list[FetchStage]
) -> Iterator[Diagnostic]:
    where = f"cache `{cache.name}`"
    models = _models(system, fetches)
    if len(models) > 1:
        names = " and ".join(sorted(f"{name} in {dtype}" for name, dtype, _ in models))
        yield _not_yet(f"KV of {names} in one {where}",
                       "help: give each model a cache of its own")  # fmt: skip
        return
    if cache.write == "on_evict":
        yield _not_yet(f"`write = on_evict` of {where}",
                       "help: these can be executed: on_release, none")  # fmt: skip
    yield from _overlap(system, cache, fetches)
    devices = keeps_of(system, next(iter(models.values())))
    several = next((path for path, own in devices.items() if len(own) > 1), None)
    for tier in cache.tiers:
        if tier.scope == "device" and several is not None:
            yield _not_yet(f"`scope = device` of tier `{tier.path}` with `{several}` on several "
                           "devices", "help: `scope = client` joins their memories")  # fmt: skip


def _overlap(
    system: CompiledSystem, cache: KvCache, fetches: list[FetchStage]
) -> Iterator[Diagnostic]:
    """A prefill that overlaps its fetch comes right behind it, and hands over when it is done."""
    if not cache.overlap:
        return
    for fetch in fetches:
        if not fetch.adjacent:
            yield _not_yet(f"`overlap = true` of cache `{cache.name}` with something between "
                           f"`{fetch.path}` and the prefill")  # fmt: skip
    for name, graph in system.pipelines.items():
        owners = [graph.graph.get("options", {}), *(stage.options for _, stage in flatten(graph))]
        looks = any(fetch.cache == cache.name for fetch in fetch_stages(graph))
        if looks and any(options.get("transfer") == "layerwise" for options in owners):
            yield _not_yet(f"`overlap = true` of cache `{cache.name}` with `transfer = layerwise` "
                           f"of pipeline `{name}`")  # fmt: skip


def _not_yet(what: str, *notes: str) -> Diagnostic:
    return error("HMS506", f"{what} cannot be executed yet", notes=notes)


__all__ = ["FetchStage", "check", "fetch_stages", "keeps_of", "model_of", "used_caches"]
