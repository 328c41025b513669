"""Runs a compiled system: load, cost models, simulation, result.

Ties the layers `cost`, `sim` and `results` together; knows no formula of any of them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, SpecError, warning

if TYPE_CHECKING:
    from hermesdsl.api import Progress, System
    from hermesdsl.cost.bind import Costs
    from hermesdsl.cost.provenance import Shares
    from hermesdsl.graph.types import CompiledSystem, Experiment, Pool, Workload
    from hermesdsl.results import Result
    from hermesdsl.results.bars import Bar
    from hermesdsl.results.energy import Meter
    from hermesdsl.results.places import Places
    from hermesdsl.sim.record import Run
    from hermesdsl.sim.workload import Load

_DEFAULT_BATCH, _DEFAULT_TOKENS = 256, 2048
#: What is remembered from run to run, the latest: so many sorts of engines, and loads of so many
#: requests in all.
_SORTS, _REQUESTS = 64, 500_000


@dataclass(frozen=True, eq=False)
class Shared:
    """What the runs of one process may have in common: cost models of engines, and loads.

    All of it is pure, so that no result shows what was there already.
    """

    costs: Costs = field(default_factory=lambda: deque(maxlen=_SORTS))
    loads: deque[tuple[Any, Load]] = field(default_factory=deque)

    def remember(self, asked: Any, load: Load) -> None:
        """Keep a load, and forget the oldest where there are too many requests."""
        self.loads.appendleft((asked, load))
        while sum(len(load.batch) for _, load in self.loads) > _REQUESTS:
            self.loads.pop()


def loads_of(
    compiled: CompiledSystem, experiment: Experiment, seed: int, shared: Shared | None = None
) -> list[Load]:
    """What the workloads of an experiment offer with a seed."""
    from hermesdsl.sim.workload import offered

    shared = Shared() if shared is None else shared
    loads = []
    for name in experiment.workloads:
        asked = (compiled.workloads[name], experiment.duration, seed, compiled.classes)
        load = next((load for other, load in shared.loads if other == asked), None)
        if load is None:
            workload, duration, _, classes = asked
            load = offered(workload, duration=duration, seed=seed, classes=classes)
            shared.remember(asked, load)
        loads.append(load)
    return loads


def execute(
    system: System,
    experiment: Experiment,
    *,
    seed: int | None = None,
    progress: Progress | None = None,
    reference: bool = False,
    shared: Shared | None = None,
    bars: Sequence[Bar] = (),
) -> Result:
    """One run of one experiment; see `hermesdsl.run`.

    `shared`: what other runs leave to it, and it to others. Raises `results.bars.Missed` as soon
    as it is certain that one of `bars` is passed, where that can be told.
    """
    from hermesdsl.cost import bind
    from hermesdsl.cost.services import bind_services
    from hermesdsl.results import summarise
    from hermesdsl.results.bars import watch, watched
    from hermesdsl.results.bill import bill
    from hermesdsl.results.energy import meter, summed_meter
    from hermesdsl.results.rungs import fractions, rungs
    from hermesdsl.results.summing import Summing
    from hermesdsl.sim.keeping import streams
    from hermesdsl.sim.run import simulate
    from hermesdsl.sim.supported import raise_unless_supported

    compiled = system.compiled
    raise_unless_supported(compiled, experiment)
    chosen = experiment.seeds[0] if seed is None else seed
    started = time.perf_counter()
    costs = bind(compiled.placement, None if shared is None else shared.costs)
    services = bind_services(compiled)
    loads = loads_of(compiled, experiment, chosen, shared)
    reserve = str(experiment.options.get("reserve", "all"))

    def metering(run: Run) -> Meter:
        return meter(compiled, run, costs=costs, services=services, reserve=reserve)

    def standing(run: Run) -> Shares:
        return rungs(compiled, run, costs)

    places = _places(system)
    count = sum(len(load.batch.arrival) for load in loads)
    sums = None
    if streams(compiled, experiment, count):
        sums = Summing(compiled.classes, places, metering, standing)
    beside = None
    if bars and sums is None and watched(compiled, experiment):
        beside = partial(watch, bars, compiled.classes, experiment)
    record = simulate(
        compiled, experiment.name, seed=chosen, costs=costs, services=services,
        load=[load.batch for load in loads], reference=reference, progress=progress,
        receive=None if sums is None else sums.receive,
        beside=beside,
    )  # fmt: skip
    found = metering(record)
    if sums is not None:
        sums.finish(record)
        found = summed_meter(found, sums.drawn, sums.window(record))
    notes = [note for load in loads for note in load.notes]
    return summarise(
        record,
        classes=compiled.classes,
        requirements=experiment.requirements,
        spec=system.spec,
        parameters=system.parameters,
        wall_s=time.perf_counter() - started,
        provenance=fractions(standing(record) if sums is None else sums.rungs),
        notes=[*notes, *_reuse(compiled, experiment, loads), *_assumptions(system, experiment)],
        places=places,
        meter=found,
        sums=sums,
        bill=bill(compiled, record, reserve),
    )


def _reuse(
    compiled: CompiledSystem, experiment: Experiment, loads: Iterable[Load]
) -> Iterable[str]:
    """What a cache could find at best, where block ids say so; and caches that find nothing."""
    from hermesdsl.sim.lookups import fetch_stages
    from hermesdsl.sim.requests import infinite_hit_rate

    for load in loads:
        batch = load.batch
        if batch.blocks is not None:
            share = 100 * infinite_hit_rate(batch.blocks)
            yield (
                f"an infinite cache would find {share:.1f}% of the {batch.blocks.size}-token "
                f"blocks that `{batch.workload}` offers"
            )
        elif not batch.grows and (batch.prefix < 0).all():
            graph = compiled.pipelines[compiled.workloads[batch.workload].pipeline]
            for cache in dict.fromkeys(fetch.cache for fetch in fetch_stages(graph)):
                if compiled.caches[cache].tiers:
                    yield f"`{cache}` can never hit: nothing `{batch.workload}` offers is shared"


def _places(system: System) -> Places:
    """On which devices clients run, and which clients pools have."""
    from hermesdsl.results.places import Places

    graph = system.placement
    groups = {path: data["client"].group for path, data in graph.nodes(data=True)
              if "client" in data}  # fmt: skip
    devices = {path: group.devices for path, group in groups.items() if group is not None}
    return Places(devices, {name: pool.members for name, pool in graph.graph["pools"].items()})


def _assumptions(system: System, experiment: Experiment) -> Iterable[str]:
    points = 1
    for axis in experiment.axes:
        points *= len(axis.points)
    if points > 1:
        not_run = f"the sweep of `{experiment.name}` was not run"
        yield f"one point of {points}: {not_run}; `hermes sweep` runs all"
    if len(experiment.seeds) > 1:
        seeds = ", ".join(str(s) for s in experiment.seeds)
        more = "" if points > 1 else "; `hermes sweep` runs all"
        yield f"one seed of {len(experiment.seeds)} ({seeds}){more}"


def capacity_warnings(system: System, experiment: Experiment) -> list[Diagnostic]:
    """HMS605 for every pool that is offered more than a one-line bound of what it can do."""
    from hermesdsl.sim.workload import offered_rates

    demand: dict[str, list[tuple[float, float, float]]] = {}
    for name in experiment.workloads:
        workload = system.compiled.workloads[name]
        try:
            rates = offered_rates(workload)
        except SpecError:
            continue
        pool = _first_pool(system, workload)
        if rates is not None and pool is not None:
            demand.setdefault(pool, []).append(rates)
    pools: Mapping[str, Pool] = system.placement.graph["pools"]
    found = []
    for name, rates_of in demand.items():
        offered = sum(r for r, _, _ in rates_of)
        bound = _bound(system, pools[name], offered, rates_of)
        if bound is not None and offered > bound:
            refuses = str(pools[name].options.get("admission", "always")) != "always"
            growth = "latencies will grow with the length of the run"
            note = "some will be refused" if refuses else growth
            found.append(
                warning("HMS605", f"`{name}` is offered {offered:.3g} req/s; at most {bound:.3g} "
                        "req/s can be served", notes=[f"note: {note}"])
            )  # fmt: skip
    return found


def _first_pool(system: System, workload: Workload) -> str | None:
    """The pool that serves a workload whose pipeline uses one alone."""
    graph = system.pipelines.get(workload.pipeline)
    if graph is None:
        return None
    pools = {
        data["stage"].pool for _, data in graph.nodes(data=True) if data.get("stage") is not None
    }
    inner = any(
        data["stage"].inner is not None
        for _, data in graph.nodes(data=True)
        if data.get("stage") is not None
    )
    return pools.pop() if len(pools) == 1 and not inner else None


def _bound(
    system: System, pool: Pool, offered: float, rates: list[tuple[float, float, float]]
) -> float | None:
    """Requests per second that the members of a pool can finish at best."""
    from hermesdsl.cost import capacity, engine_cost
    from hermesdsl.sim.speculating import speculation

    prompt = sum(p for _, p, _ in rates) / offered
    output = sum(o for _, _, o in rates) / offered
    total = 0.0
    known: dict[Any, float] = {}
    for member in pool.members:
        client = system.placement.nodes[member]["client"]
        if client.type_name != "LlmEngine" or client.group is None:
            return None
        if speculation(client) is not None:
            return None  # the bound is that of one token per step
        key = client.vector or client.path
        if key not in known:
            batch = int(client.options.get("max_batch") or _DEFAULT_BATCH)
            budget = client.options["batching"].args.get("budget")
            tokens = int(budget or client.options.get("max_tokens") or _DEFAULT_TOKENS)
            known[key] = capacity(engine_cost(client), prompt, output, batch, tokens).requests
        total += known[key]
    return total
