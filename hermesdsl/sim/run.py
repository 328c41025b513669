"""One run: one experiment, one seed, from offered requests to records.

Puts the parts together: plans, routers, clients, interpreter, records and the checks at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Ordered
from math import inf
from types import MappingProxyType

from hermesdsl.cost.types import EngineCost, ServiceCost
from hermesdsl.diagnostics import SpecError, error, nearest
from hermesdsl.graph.roles import by_role
from hermesdsl.graph.types import Client, CompiledSystem, Experiment
from hermesdsl.sim import conservation
from hermesdsl.sim.batch_engine import BatchEngine
from hermesdsl.sim.binding import Point
from hermesdsl.sim.caches.binding import caches_of
from hermesdsl.sim.causes import causes_of, mortal
from hermesdsl.sim.draining import Drain, Part
from hermesdsl.sim.draws import Chance
from hermesdsl.sim.engine import Engine, block_size
from hermesdsl.sim.guessing import Guessing
from hermesdsl.sim.identity import Identities
from hermesdsl.sim.interpreter import Interpreter, Progress
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.load import Offered, merge
from hermesdsl.sim.losses import Losses
from hermesdsl.sim.network.network import Network
from hermesdsl.sim.nodes import EngineVisit, Fetch
from hermesdsl.sim.order import ORDERS, OrderContext
from hermesdsl.sim.outages import Outages, things
from hermesdsl.sim.patience import patience_of
from hermesdsl.sim.plan import Planner, stages_of
from hermesdsl.sim.record import Recorder, Run
from hermesdsl.sim.reference import SteppedEngine
from hermesdsl.sim.requests import RequestBatch
from hermesdsl.sim.routing.context import Scene
from hermesdsl.sim.routing.load import ClientLoad
from hermesdsl.sim.routing.pools import Routers
from hermesdsl.sim.servers import server
from hermesdsl.sim.settled import settled
from hermesdsl.sim.speculating import speculation
from hermesdsl.sim.supported import raise_unless_supported
from hermesdsl.sim.swap import host_memories, swaps
from hermesdsl.sim.transfer import Transfers
from hermesdsl.sim.turns import Turns
from hermesdsl.sim.writing import records

_NO_SERVICES: Mapping[tuple[str, str], ServiceCost] = MappingProxyType({})


def simulate(
    system: CompiledSystem,
    experiment: str,
    *,
    seed: int,
    costs: Mapping[str, EngineCost],
    load: Ordered[RequestBatch],
    services: Mapping[tuple[str, str], ServiceCost] = _NO_SERVICES,
    reference: bool = False,
    progress: Progress | None = None,
    receive: Callable[[Part], None] | None = None,
    beside: Callable[[Kernel, Offered, Recorder], None] | None = None,
) -> Run:
    """Run `experiment` of `system` on the requests of `load`, one batch per workload.

    `costs`: the cost model of every engine by client path; `services`: that of every other stage
    without a time of its own, by (path of the stage, path of the client). `reference`: take one
    event per step, with the same records bit for bit. `progress(simulated s, requests ended,
    offered)` is called now and then. With `receive`, rows of requests that have ended are handed on
    while the run goes, and it holds the rest (`sim.draining`). `beside` is called before anything
    happens: it may look on, and end the run with an exception. Raises `SpecError` for what cannot
    be executed or offered.
    """
    system = by_role(system)
    chosen = _experiment(system, experiment)
    raise_unless_supported(system, chosen, services=services)
    offered = merge(_in_order(load, chosen), chosen.duration)
    point = Point(system, chosen, seed, offered)
    kernel = Kernel()
    recorder = Recorder(offered.arrivals)
    index = {path: place for place, path in enumerate(clients_of(system, chosen))}
    state = ClientLoad(len(index))
    network = Network(system.hardware, kernel, fair=chosen.contention != "none")
    drain = None if receive is None else Drain(receive, progress)
    interpreter = Interpreter(
        offered, kernel, recorder, load=state, transfers=_transfers(system, network),
        network=network, progress=drain or progress,
    )  # fmt: skip
    interpreter.caches = caches_of(point, kernel, network.send)
    if interpreter.caches:
        interpreter.released = interpreter.offer
    _make_clients(point, index, costs, interpreter, kernel, recorder, network, reference)
    scene = Scene(
        seed, offered, state, interpreter.engines, interpreter.servers, kernel, recorder,
        interpreter, system.classes,
    )  # fmt: skip
    interpreter.down = scene.down
    routers = Routers(system, index, scene, network)
    planner = Planner(point, index, routers, services)
    for name in dict.fromkeys(system.workloads[w].pipeline for w in chosen.workloads):
        planner.add(name)
    plan = planner.plan
    interpreter.entries.extend(plan.entries[system.workloads[w].pipeline] for w in chosen.workloads)
    workloads = [system.workloads[name] for name in offered.workloads]
    interpreter.patience = patience_of(workloads, Chance(seed, offered))
    for node in plan.nodes:
        if isinstance(node, EngineVisit | Fetch):
            node.request = max(_request_seconds(costs, index, node.members))
    interpreter.counted = [node for node in plan.nodes if node.turns is not None]
    failing = _plan_outages(point, index, interpreter, scene, network, kernel, recorder)
    if drain is not None:
        drain.watch(point, recorder, interpreter, plan.stages, tuple(index))
    if beside is not None:
        beside(kernel, offered, recorder)
    with settled():
        interpreter.start()
        if chosen.horizon == "cut" and chosen.duration is not None:
            interpreter.run(chosen.duration)
            interpreter.settle(chosen.duration)
        else:
            interpreter.run(inf)
    if interpreter.outages is not None:
        interpreter.outages.settle(inf)
    engines = interpreter.engines.values()
    caches = interpreter.caches.values()
    run = records(
        point, recorder, plan.stages, tuple(index), engines, routers, caches, network.links(),
        passing=network.passing, patient=interpreter.patience is not None, drained=drain,
        things=failing,
    )  # fmt: skip
    earlier = None if drain is None else drain.sums
    conservation.check(run, engines, recorder, network, earlier)
    conservation.check_caches(run, caches)
    return run


def _plan_outages(
    point: Point, index: Mapping[str, int], interpreter: Interpreter, scene: Scene,
    network: Network, kernel: Kernel, recorder: Recorder,
) -> tuple[str, ...]:  # fmt: skip
    """Everything that fails while the run goes on; paths of all that is no client."""
    system = point.system
    causes = causes_of(system, index)
    down = mortal(system, index)
    if not (causes or down):
        return ()
    endless = point.experiment.horizon == "cut"
    nodes = system.placement.nodes
    clients = {index[path]: nodes[path]["client"] for path in index if path in down}
    interpreter.outages = Outages(
        causes, clients, scene.seed, kernel, network, system.hardware, down=scene.down,
        rows=recorder.outages, breakdowns=recorder.breakdowns, of=interpreter,
        idle=interpreter.idle, endless=endless,
    )  # fmt: skip
    if not endless:
        interpreter.losses = Losses(tuple(index), recorder.outages)
    return things(causes)


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


def clients_of(system: CompiledSystem, experiment: Experiment) -> list[str]:
    """The clients that the pipelines of an experiment may use, as their stages name them."""
    pools = system.placement.graph["pools"]
    found: dict[str, None] = {}
    for name in experiment.workloads:
        for stage in stages_of(system.pipelines[system.workloads[name].pipeline]):
            for pool in (stage.options.get("prefill"), stage.pool):
                if isinstance(pool, str):
                    found.update(dict.fromkeys(pools[pool].members))
    return list(found)


def _make_clients(
    point: Point,
    index: Mapping[str, int],
    costs: Mapping[str, EngineCost],
    interpreter: Interpreter,
    kernel: Kernel,
    recorder: Recorder,
    network: Network,
    reference: bool,
) -> None:
    """Every client in use, engines in one of their two forms.

    What they do at one instant is ordered by their names, not by who was declared first.
    """
    system = point.system
    make = SteppedEngine if reference else Engine
    order = OrderContext(point.offered, system.classes)
    texts = Identities(point.offered)
    hosts = host_memories(network, system.hardware, _swapping(system, index))
    by_name = {path: place for place, path in enumerate(sorted(index))}
    for path, place in index.items():
        client: Client = system.placement.nodes[path]["client"]
        if client.type_name == "LlmEngine":
            interpreter.engines[place] = make(
                place, client, costs[path], kernel, recorder,
                rank=ORDERS[str(client.options.get("order", "fcfs"))](order),
                reading=interpreter.reading, leave=interpreter.leave, fetch=interpreter.fetch,
                dropped=interpreter.dropped, starved=interpreter.starved,
                host=hosts.get(path), texts=texts, guessing=_guessing(point, client),
            )  # fmt: skip
            interpreter.engines[place].key = by_name[path]
        else:
            made = server(place, client, kernel, recorder, interpreter.served, order)
            if isinstance(made, BatchEngine):
                made.key = by_name[path]
            interpreter.servers[place] = made
    _share_devices(system, index, interpreter, kernel)


def _request_seconds(
    costs: Mapping[str, EngineCost], index: Mapping[str, int], members: Iterable[int]
) -> list[float]:
    """Of each of these engines, what its API takes for a request."""
    paths = tuple(index)
    return [getattr(costs.get(paths[each]), "request_seconds", 0.0) for each in members]


def _guessing(point: Point, client: Client) -> Guessing | None:
    """Where an engine's luck comes from, if it is drawn."""
    asked = speculation(client)
    if asked is None or not asked.sampled:
        return None
    return Guessing(asked.guesses, asked.accept, point.seed, point.offered)


def _share_devices(
    system: CompiledSystem, index: Mapping[str, int], interpreter: Interpreter, kernel: Kernel
) -> None:
    """Engines of either sort on one device take turns there, if both are in use."""
    users: dict[str, list[str]] = {}
    for path in index:
        client: Client = system.placement.nodes[path]["client"]
        if client.type_name in ("LlmEngine", "BatchEngine") and client.group is not None:
            for device in client.group.devices:
                users.setdefault(device, []).append(path)
    turns = Turns(kernel)
    shared: dict[str, list[str]] = {}
    for device, paths in users.items():
        if len(paths) > 1:
            for path in paths:
                shared.setdefault(path, []).append(device)
    for path, devices in shared.items():
        place = index[path]
        sharing = interpreter.engines.get(place) or interpreter.servers[place]
        assert isinstance(sharing, Engine | BatchEngine)
        sharing.share(turns, tuple(devices))


def _swapping(system: CompiledSystem, paths: Iterable[str]) -> dict[str, tuple[Client, int]]:
    """The engines that swap, and their tokens per KV block."""
    clients: dict[str, Client] = {path: system.placement.nodes[path]["client"] for path in paths}
    return {path: (client, block_size(client)) for path, client in clients.items() if swaps(client)}


def _transfers(system: CompiledSystem, network: Network) -> Transfers:
    nodes = system.placement.nodes
    return Transfers(
        network, {path: nodes[path]["client"] for path in nodes if "client" in nodes[path]}
    )
