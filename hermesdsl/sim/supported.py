"""What this interpreter can execute. Anything else is a diagnostic before the run starts.

Nothing that a specification says is silently left out: a stage, policy or option that the
interpreter does not act on is refused by name (HMS506).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType

from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.graph.types import (
    Client,
    CompiledSystem,
    Experiment,
    PipelineGraph,
    Pool,
    Spec,
    StageNode,
    Value,
    Workload,
)
from hermesdsl.sim.batching import POLICIES
from hermesdsl.sim.order import ORDERS
from hermesdsl.sim.plan import STAGE_TYPES, Work, chain, visits
from hermesdsl.sim.router import ROUTERS
from hermesdsl.sim.swap import host_path, swaps

_SHAPES = (("Prefill",), ("Prefill", "Decode"), ("Generate",))

#: Options that are acted on here or by the cost model, whatever their value.
_ENGINE_ACTED_ON = frozenset(
    {"model", "tp", "pp", "ep", "attention", "experts", "batching", "max_batch", "max_tokens",
     "block_size", "memory_rule", "dtype", "kv_dtype", "profile", "route", "share", "spare", "span",
     "order", "preemption"}
)  # fmt: skip
#: The one value of an option that asks for nothing special; absent, None and False ask for nothing.
_ENGINE_PLAIN: Mapping[str, Value] = MappingProxyType({"role": "both", "speculate": "off", "dp": 1})
_STAGE_PLAIN: Mapping[str, Value] = MappingProxyType({"join": "all", "spread": "routed"})
#: How KV gets from a prefill to a decode client.
_HAND_OVER = frozenset({"transfer", "pairing"})
_POOL_PLAIN: Mapping[str, Value] = MappingProxyType({"admission": "always"})
_WORKLOAD_PLAIN: Mapping[str, Value] = MappingProxyType({})


def check(system: CompiledSystem, experiment: Experiment) -> list[Diagnostic]:
    """Everything in the reach of an experiment that cannot be executed; empty if it can run."""
    found = list(_experiment(system, experiment))
    pools: dict[str, None] = {}
    for name in experiment.workloads:
        workload = system.workloads.get(name)
        if workload is None:
            found.append(_unknown("HMS602", "workload", name, system.workloads))
            continue
        found.extend(_workload(workload))
        if workload.pipeline not in system.pipelines:
            found.append(_unknown("HMS601", "pipeline", workload.pipeline, system.pipelines))
            continue
        found.extend(_pipeline(system, experiment, workload.pipeline, pools))
    clients: dict[str, None] = {}
    for name in pools:
        found.extend(_pool(system, name, clients))
    if not found:
        found.extend(_lending(system, experiment, pools))
    for path in clients:
        found.extend(_client(system, system.placement.nodes[path]["client"]))
    if experiment.contention != "none":
        found.extend(_swap_sharing(system, clients))
    return list(dict.fromkeys(found))


def raise_unless_supported(system: CompiledSystem, experiment: Experiment) -> None:
    """Raise `SpecError` with all that `check` finds, if anything."""
    found = check(system, experiment)
    if found:
        raise SpecError(found)


def _not_yet(what: str, *notes: str) -> Diagnostic:
    return error("HMS506", f"{what} cannot be executed yet", notes=notes)


def _unknown(code: str, kind: str, name: str, known: Mapping[str, object]) -> Diagnostic:
    match = nearest(name, known)
    notes = (f"help: did you mean `{match}`?",) if match else ()
    return error(code, f"unknown {kind} `{name}`", notes=notes)


def _name(value: Value) -> Value:
    return value.name if isinstance(value, Spec) else value


def _plain(where: str, options: Mapping[str, Value], plain: Mapping[str, Value],
           acted_on: frozenset[str] = frozenset()) -> Iterator[Diagnostic]:  # fmt: skip
    for key, value in options.items():
        if key in acted_on or value is None or value is False or value == ():
            continue
        if key not in plain or _name(value) != plain[key]:
            yield _not_yet(f"`{key} = {value}` of {where}")


def _experiment(system: CompiledSystem, experiment: Experiment) -> Iterator[Diagnostic]:
    if experiment.horizon not in ("drain", "cut"):
        yield error("HMS602", f"unknown horizon `{experiment.horizon}`",
                    notes=("help: it is `drain` or `cut`",))  # fmt: skip
    elif experiment.horizon == "cut" and experiment.duration is None:
        yield error("HMS602", "`horizon = cut` needs a `duration` to cut at")
    if not experiment.workloads:
        yield error("HMS602", f"experiment `{experiment.name}` has no workload")


def _workload(workload: Workload) -> Iterator[Diagnostic]:
    where = f"workload `{workload.name}`"
    if workload.sessions:
        yield _not_yet(f"arrivals of sessions in {where}")
    if workload.arrivals.name == "closed" or workload.arrivals.args.get("replay") == "closed":
        yield _not_yet(f"closed-loop arrivals in {where}")
    yield from _plain(where, workload.options, _WORKLOAD_PLAIN)


def _pipeline(
    system: CompiledSystem, experiment: Experiment, name: str, pools: dict[str, None]
) -> Iterator[Diagnostic]:
    pipeline = system.pipelines[name]
    problems = list(_graph(pipeline, name))
    if problems:
        yield from problems
        return
    stages = chain(pipeline)
    shape = tuple(stage.type_name for stage in stages)
    if shape not in _SHAPES:
        yield _not_yet(
            f"pipeline `{name}` ({' -> '.join(shape) or 'without stages'})",
            "help: `Prefill`, `Prefill -> Decode` and `Generate` can be executed",
        )
        return
    named = {str(stage.options.get("prefill") or stage.pool) for stage in stages}
    named |= {str(stage.pool) for stage in stages}
    known: Mapping[str, Pool] = system.placement.graph["pools"]
    missing = sorted(named - set(known))
    yield from (_unknown("HMS505", "pool", pool, known) for pool in missing)
    if missing:
        return
    pools.update(dict.fromkeys(sorted(named)))
    yield from _hand_over(system, experiment, name, stages)


def _hand_over(
    system: CompiledSystem, experiment: Experiment, name: str, stages: list[StageNode]
) -> Iterator[Diagnostic]:
    pipeline = system.pipelines[name]
    works = visits(pipeline, system)
    if len(works) == 1:
        yield from _nothing_handed_over(pipeline, name, stages)
        return
    known: Mapping[str, Pool] = system.placement.graph["pools"]
    yield from _conversion(system, name, works[0], known[works[1].pool])
    both = set(known[works[0].pool].members) & set(known[works[1].pool].members)
    if both:
        yield _not_yet(f"pipeline `{name}` with `{min(both)}` in its prefill and its decode pool")
    if experiment.contention != "none":
        yield _not_yet(
            f"sharing of links between the KV transfers of pipeline `{name}`",
            "help: `contention = none` in the experiment lets each transfer have its links alone",
        )


def _conversion(
    system: CompiledSystem, name: str, reading: Work, pool: Pool
) -> Iterator[Diagnostic]:
    """Roles change between one prefill pool and one decode pool."""
    spec = pool.options.get("convert")
    if not isinstance(spec, Spec):
        return
    if reading.local:
        yield _not_yet(
            f"`convert = {spec}` of pool `{pool.path}` with `pairing = local` in pipeline `{name}`"
        )
    if float(str(spec.args.get("back", 0))) >= float(str(spec.args["tokens"])):
        yield error(
            "HMS306",
            f"`convert = {spec}` of pool `{pool.path}` would return what it lends at once",
            notes=("help: `back` lies below `tokens`",),
        )


def _swap_sharing(system: CompiledSystem, clients: Iterable[str]) -> Iterator[Diagnostic]:
    """Copies of several engines to one host memory would share its links."""
    used: dict[str, str] = {}
    for path in clients:
        client: Client = system.placement.nodes[path]["client"]
        way = host_path(system.hardware, client) if swaps(client) else None
        for memory in way.memories if way is not None else ():
            if used.setdefault(memory, path) != path:
                yield _not_yet(
                    f"sharing of the links to `{memory}` by engines that swap to it",
                    "help: `contention = none` in the experiment lets each have them alone",
                )


def _lending(
    system: CompiledSystem, experiment: Experiment, pools: Iterable[str]
) -> Iterator[Diagnostic]:
    """A pool that converts lends to exactly one pool that hands over to it."""
    handing: dict[str, set[str]] = {}
    for name in experiment.workloads:
        works = visits(system.pipelines[system.workloads[name].pipeline], system)
        for before, after in pairwise(works):
            handing.setdefault(after.pool, set()).add(before.pool)
    known: Mapping[str, Pool] = system.placement.graph["pools"]
    for name in pools:
        spec = known[name].options.get("convert")
        if spec is None:
            continue
        what = f"`convert = {spec}` of pool `{name}`"
        sources = handing.get(name, set())
        if not sources:
            help_ = "help: put it on a pool that answers what another pool has read"
            yield error("HMS505", f"{what} converts nothing: no pool hands over to it",
                        notes=(help_,))  # fmt: skip
        elif len(sources) > 1:
            yield _not_yet(f"{what}, to which {' and '.join(sorted(sources))} hand over,")


def _nothing_handed_over(
    pipeline: PipelineGraph, name: str, stages: list[StageNode]
) -> Iterator[Diagnostic]:
    """Settings of a hand-over where there is none would do nothing."""
    owners = [(f"pipeline `{name}`", pipeline.graph.get("options", {}))]
    owners += [(f"stage `{stage.path}`", stage.options) for stage in stages]
    for where, options in owners:
        for key, plain in (("transfer", "full"), ("pairing", "global")):
            if options.get(key, plain) != plain:
                yield error(
                    "HMS505",
                    f"`{key} = {options[key]}` of {where} moves nothing: prompts are read where "
                    "the answer is written",
                    notes=("help: read the prompts on a pool of their own",),
                )


def _graph(pipeline: PipelineGraph, name: str) -> Iterator[Diagnostic]:
    options: Mapping[str, Value] = pipeline.graph.get("options", {})
    yield from _plain(f"pipeline `{name}`", options, _STAGE_PLAIN, _HAND_OVER)
    for node, data in pipeline.nodes(data=True):
        after = list(pipeline.successors(node))
        if any(pipeline.edges[node, other].get("choice") for other in after):
            yield _not_yet(f"the branch at `{node}` of pipeline `{name}`")
        elif len(after) > 1:
            yield _not_yet(f"the fork at `{node}` of pipeline `{name}`")
        elif not after and node not in ("output", "refused"):
            yield error("HMS501", f"no path leads from `{node}` of pipeline `{name}` to its output")
        stage: StageNode | None = data.get("stage")
        if stage is not None:
            yield from _stage(stage)


def _stage(stage: StageNode) -> Iterator[Diagnostic]:
    where = f"stage `{stage.path}`"
    if stage.inner is None and stage.type_name not in STAGE_TYPES:
        yield _not_yet(
            f"{where} of type `{stage.type_name}`",
            f"help: these can be executed: {', '.join(STAGE_TYPES)}",
        )
        return
    if stage.replicas != 1:
        yield _not_yet(f"{where} with {stage.replicas} replicas")
    if stage.repeat is not None:
        yield _not_yet(f"`repeat = {stage.repeat}` of {where}")
    generates = stage.type_name == "Generate"
    acted_on = _HAND_OVER | {"prefill"} if generates else frozenset[str]()
    yield from _plain(where, stage.options, _STAGE_PLAIN, acted_on)
    if stage.inner is not None:
        yield from _graph(stage.inner, stage.path)
    elif stage.pool is None:
        yield error("HMS505", f"{where} says on no client where it runs")


def _pool(system: CompiledSystem, name: str, clients: dict[str, None]) -> Iterator[Diagnostic]:
    pool: Pool = system.placement.graph["pools"][name]
    where = f"pool `{name}`"
    if not pool.members:
        yield error("HMS505", f"{where} has no members")
    clients.update(dict.fromkeys(pool.members))
    if pool.route.name not in ROUTERS:
        yield _not_yet(
            f"`route = {pool.route.name}` of {where}",
            f"help: these can be executed: {', '.join(ROUTERS)}",
        )
    elif pool.route.args.get("staleness"):
        yield _not_yet(f"`staleness` of the route of {where}")
    yield from _plain(where, pool.options, _POOL_PLAIN, frozenset({"route", "members", "convert"}))


def _client(system: CompiledSystem, client: Client) -> Iterator[Diagnostic]:
    where = f"client `{client.vector}[*]`" if client.vector else f"client `{client.path}`"
    if client.type_name != "LlmEngine":
        yield _not_yet(f"{where} of type `{client.type_name}`")
        return
    options = client.options
    yield from _plain(where, options, _ENGINE_PLAIN, _ENGINE_ACTED_ON)
    if client.group is not None and client.group.dp > 1:
        yield _not_yet(f"`dp = {client.group.dp}` of {where}")
    yield from _waiting(system, client, where)
    batching = options.get("batching") or Spec("chunked")
    if not isinstance(batching, Spec) or batching.name not in POLICIES:
        yield _not_yet(
            f"`batching = {batching}` of {where}",
            f"help: these can be executed: {', '.join(POLICIES)}",
        )
        return
    budget, limit = batching.args.get("budget"), options.get("max_tokens")
    if budget is not None and limit is not None and budget != limit:
        yield error(
            "HMS209",
            f"{where} says `batching = {batching}` and `max_tokens = {limit}`",
            notes=("`chunked(b)` sets max_tokens: give one of the two",),
        )


def _waiting(system: CompiledSystem, client: Client, where: str) -> Iterator[Diagnostic]:
    """The order in which sequences wait, and where their KV goes when it is taken."""
    order = client.options.get("order", "fcfs")
    if order not in ORDERS:
        yield _not_yet(
            f"`order = {order}` of {where}", f"help: these can be executed: {', '.join(ORDERS)}"
        )
    preemption = client.options.get("preemption", "recompute")
    if swaps(client):
        if host_path(system.hardware, client) is None:
            yield error(
                "HMS405",
                f"{where} has `preemption = swap` but reaches no host memory",
                notes=(
                    "note: KV is swapped to the DRAM of the CPU nearest to each device",
                    "help: wire its devices to a CPU with a memory, or use `recompute`",
                ),
            )
    elif preemption != "recompute":
        yield _not_yet(f"`preemption = {preemption}` of {where}")
