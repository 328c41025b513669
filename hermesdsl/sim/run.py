"""One run: one experiment, one seed, from offered requests to records.

Puts the parts together: plans, routers, engines, interpreter, records and the checks at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Ordered
from functools import partial

import numpy as np

from hermesdsl.cost.types import EngineCost
from hermesdsl.diagnostics import SpecError, error, nearest
from hermesdsl.graph.types import Client, CompiledSystem, Experiment, Pool, Spec
from hermesdsl.sim import conservation
from hermesdsl.sim.engine import Engine, block_size
from hermesdsl.sim.interpreter import Interpreter, Progress
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.load import merge
from hermesdsl.sim.order import ORDERS, OrderContext
from hermesdsl.sim.pairing import local_groups
from hermesdsl.sim.plan import Point, Visit, Work, route_decodes, visits
from hermesdsl.sim.record import Recorder, Run
from hermesdsl.sim.reference import SteppedEngine
from hermesdsl.sim.requests import RequestBatch
from hermesdsl.sim.roles import Roles
from hermesdsl.sim.router import ROUTERS, ClientLoad, Router, RouterContext
from hermesdsl.sim.supported import raise_unless_supported
from hermesdsl.sim.swap import host_memories, swaps
from hermesdsl.sim.transfer import Transfers
from hermesdsl.sim.writing import records


def simulate(
    system: CompiledSystem,
    experiment: str,
    *,
    seed: int,
    costs: Mapping[str, EngineCost],
    load: Ordered[RequestBatch],
    reference: bool = False,
    progress: Progress | None = None,
) -> Run:
    """Run `experiment` of `system` on the requests of `load`, one batch per workload.

    `costs`: the cost model of every engine by client path. `reference`: take one event per step,
    with the same records bit for bit. `progress(simulated s, requests ended, offered)` is called
    now and then. Raises `SpecError` for what cannot be executed or offered.
    """
    chosen = _experiment(system, experiment)
    raise_unless_supported(system, chosen)
    offered = merge(_in_order(load, chosen), chosen.duration)
    point = Point(system, chosen, seed, offered)
    kernel = Kernel()
    recorder = Recorder(len(offered))
    state = ClientLoad(len(system.placement))
    interpreter = Interpreter(
        offered, kernel, recorder, load=state, transfer=_transfer(system), progress=progress
    )
    planned = _planned(point)
    pools = _pools(system, planned)
    index = {path: place for place, path in enumerate(_clients(pools))}
    make = SteppedEngine if reference else Engine
    order = OrderContext(offered, system.classes)
    hosts = host_memories(system.hardware, _swapping(system, index))
    for path in index:
        client: Client = system.placement.nodes[path]["client"]
        engine = make(len(interpreter.engines), client, costs[path], kernel, recorder,
                      rank=ORDERS[str(client.options.get("order", "fcfs"))](order),
                      reading=interpreter.reading, leave=interpreter.leave, fetch=interpreter.fetch,
                      host=hosts.get(path))  # fmt: skip
        interpreter.engines.append(engine)
    routers = _Routers(point, pools, index, state, interpreter.engines)
    routes = {name: _route(works, pools, routers, len(offered)) for name, works in planned.items()}
    interpreter.routes.extend(routes[system.workloads[w].pipeline] for w in chosen.workloads)
    interpreter.start()
    if chosen.horizon == "cut" and chosen.duration is not None:
        kernel.run(chosen.duration)
        for engine in interpreter.engines:
            engine.settle(chosen.duration)
    else:
        kernel.run()
    run = records(point, recorder, interpreter)
    decodes = np.array([route_decodes(visit) for visit in interpreter.routes], bool)
    due = np.where(decodes[offered.workload], offered.output, 1)
    conservation.check(run, interpreter.engines, due)
    return run


def _experiment(system: CompiledSystem, name: str) -> Experiment:
    found = system.experiments.get(name)
    if found is None:
        match = nearest(name, system.experiments)
        notes = (f"help: did you mean `{match}`?",) if match else ()
        raise SpecError([error("HMS602", f"unknown experiment `{name}`", notes=notes)])
    return found


def _in_order(load: Ordered[RequestBatch], experiment: Experiment) -> list[RequestBatch]:
    by_name = {batch.workload: batch for batch in load}
    missing = [name for name in experiment.workloads if name not in by_name]
    if missing:
        raise SpecError([error("HMS601", f"nothing offered for workload `{missing[0]}`")])
    return [by_name[name] for name in experiment.workloads]


def _planned(point: Point) -> dict[str, list[Work]]:
    """The visits of every pipeline in use."""
    system = point.system
    names = dict.fromkeys(system.workloads[w].pipeline for w in point.experiment.workloads)
    return {name: visits(system.pipelines[name], system) for name in names}


def _pools(system: CompiledSystem, planned: Mapping[str, list[Work]]) -> dict[str, Pool]:
    known: dict[str, Pool] = system.placement.graph["pools"]
    return {work.pool: known[work.pool] for works in planned.values() for work in works}


def _clients(pools: Mapping[str, Pool]) -> list[str]:
    return list(dict.fromkeys(path for pool in pools.values() for path in pool.members))


def _swapping(system: CompiledSystem, paths: Iterable[str]) -> dict[str, tuple[Client, int]]:
    """The engines that swap, and their tokens per KV block."""
    clients: dict[str, Client] = {path: system.placement.nodes[path]["client"] for path in paths}
    return {path: (client, block_size(client)) for path, client in clients.items() if swaps(client)}


class _Routers:
    """The routers of a run: one per pool, and one per group of clients that are paired."""

    def __init__(
        self,
        point: Point,
        pools: Mapping[str, Pool],
        index: Mapping[str, int],
        load: ClientLoad,
        engines: Ordered[Engine],
    ) -> None:
        self._engines = engines
        self._roles: dict[tuple[str, str], Roles] = {}
        self._point = point
        self._pools = pools
        self._load = load
        self._members = {n: tuple(index[path] for path in pools[n].members) for n in pools}
        self.of_pool = {name: self._make(name, name, self._members[name]) for name in pools}

    def paired(self, source: str, target: str) -> dict[int, Router]:
        """By client of pool `source`: the router over its group of pool `target`."""
        groups = local_groups(self._members[source], self._members[target])
        made = {
            group: self._make(target, f"{target}/group{place}", group)
            for place, group in enumerate(dict.fromkeys(groups.values()))
        }
        return {client: made[group] for client, group in groups.items()}

    def roles(self, source: str, target: str) -> Roles | None:
        """Of the clients of pool `target`, if they may read for pool `source`; one for all."""
        spec = self._pools[target].options.get("convert")
        if not isinstance(spec, Spec):
            return None
        if (source, target) not in self._roles:
            self._roles[source, target] = Roles(
                spec, self._members[source], self._members[target],
                make_reading=partial(self._among, source),
                make_writing=partial(self._among, target),
                prompts=self._point.offered.prompts, load=self._load, clients=self._engines,
            )  # fmt: skip
        return self._roles[source, target]

    def _among(self, pool: str, members: tuple[int, ...]) -> Router:
        return self._make(pool, f"{pool}/{'+'.join(map(str, members))}", members)

    def _make(self, pool: str, path: str, members: tuple[int, ...]) -> Router:
        route = self._pools[pool].route
        context = RouterContext(path, members, self._load, self._point.seed, self._point.offered)
        return ROUTERS[route.name](route, context)


def _route(works: list[Work], pools: Mapping[str, Pool], routers: _Routers, n: int) -> Visit:
    """The visits of one pipeline, linked; the first of them."""
    first, *rest = [
        Visit(pools[work.pool], routers.of_pool[work.pool], n,
              prefills=work.prefills, decodes=work.decodes)
        for work in works
    ]  # fmt: skip
    last = first
    for before, visit in zip(works, rest, strict=False):
        last.keeps = True
        last.layerwise = before.layerwise
        last.following = last = visit
        if before.local:
            visit.paired = routers.paired(before.pool, visit.pool.path)
        roles = routers.roles(before.pool, visit.pool.path)
        if roles is not None:
            first.roles = first.router = roles
            visit.router = roles.writing
    return first


def _transfer(
    system: CompiledSystem,
) -> Callable[[Engine, Engine, int, float, float], tuple[float, float]]:
    nodes = system.placement.nodes
    clients: dict[str, Client] = {
        path: nodes[path]["client"] for path in nodes if "client" in nodes[path]
    }
    transfers = Transfers(system.hardware, clients)

    def transfer(
        source: Engine, target: Engine, tokens: int, opened: float, read: float
    ) -> tuple[float, float]:
        model = clients[source.path].model
        assert model is not None
        size = tokens * model.kv_bytes_per_token
        if opened >= read:
            return size, opened + transfers.seconds(source.path, target.path, size)
        end = transfers.layerwise_end(
            source.path, target.path, size, layers=model.layers, opened=opened, read=read
        )
        return size, end

    return transfer
