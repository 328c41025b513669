"""The caches that one run uses, bound to its clock, its links and its requests."""

from __future__ import annotations

from collections.abc import Iterator

from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.graph.types import KvCache
from hermesdsl.sim.binding import Point
from hermesdsl.sim.caches.carry import Carry
from hermesdsl.sim.caches.hierarchy import Hierarchy, Site
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.identity import Identities
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.lookups import fetch_stages, keeps_of, model_of, used_caches


def caches_of(point: Point, kernel: Kernel, carry: Carry) -> dict[str, Hierarchy]:
    """Every cache that the experiment's pipelines look into, by name, empty.

    Raises `SpecError`: HMS407 for a store without room for one block, HMS408 where links are
    missing, HMS601 for blocks that do not fit those of a trace.
    """
    system = point.system
    identities = Identities(point.offered)
    chance = Chance(point.seed, point.offered)
    found: dict[str, Hierarchy] = {}
    for name, fetches in used_caches(system, point.experiment).items():
        cache = system.caches[name]
        model = model_of(system, fetches)
        problems = [
            *_too_small(cache, cache.block * model.kv_bytes_per_token), *_odd_blocks(point, cache)
        ]  # fmt: skip
        if problems:
            raise SpecError(problems)
        site = Site(
            system.hardware, kernel, carry, identities, keeps_of(system, model),
            model.kv_bytes_per_token,
        )  # fmt: skip
        draws = {
            tier.path: chance.draws(f"{tier.path}/hit")
            for tier in cache.tiers
            if tier.hit_rate is not None
        }
        found[name] = Hierarchy(cache, site, draws)
    return found


def _too_small(cache: KvCache, block: float) -> Iterator[Diagnostic]:
    for tier in cache.tiers:
        least = min((store.capacity for store in tier.stores), default=block)
        if least < block:
            message = (
                f"tier `{tier.path}` has {least / 1e6:.4g} MB, less than one block of "
                f"{cache.block} tok, {block / 1e6:.4g} MB"
            )
            yield error("HMS407", message,
                        notes=("help: more `capacity`, or a smaller `block`",))  # fmt: skip


def _odd_blocks(point: Point, cache: KvCache) -> Iterator[Diagnostic]:
    """A trace's blocks are cut or joined to those of the cache."""
    system, offered = point.system, point.offered
    for name, blocks in zip(offered.workloads, offered.blocks, strict=True):
        pipeline = system.pipelines[system.workloads[name].pipeline]
        looks = any(fetch.cache == cache.name for fetch in fetch_stages(pipeline))
        if blocks is not None and looks and blocks.size % cache.block and cache.block % blocks.size:
            message = (
                f"cache `{cache.name}` has blocks of {cache.block} tok, the trace of workload "
                f"`{name}` of {blocks.size} tok: neither divides the other"
            )
            help_ = f"help: set `block` of the cache, such as `block = {blocks.size} tok`"
            yield error("HMS601", message, notes=(help_,))


__all__ = ["caches_of"]
