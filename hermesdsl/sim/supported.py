"""What this interpreter can execute. Anything else is a diagnostic before the run starts.

Nothing that a specification says is silently left out: a stage, policy or option that the
interpreter does not act on is refused by name (HMS506). Pipelines are in `sim.stages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from hermesdsl.cost.types import ServiceCost
from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.graph.roles import DECODE, by_role, role_of
from hermesdsl.graph.types import Client, CompiledSystem, Experiment, Pool, Spec, Value, Workload
from hermesdsl.sim import breakable, lookups, patience
from hermesdsl.sim.batching import POLICIES
from hermesdsl.sim.order import ORDERS
from hermesdsl.sim.routing.checks import around, bypassed, routing
from hermesdsl.sim.servers import SERVER_ORDERS
from hermesdsl.sim.stages import Unsupported, hand_overs, not_yet, plain, unknown
from hermesdsl.sim.swap import nearest_memories, swaps

#: Options that are acted on here or by the cost model, whatever their value.
_ENGINE_ACTED_ON = frozenset(
    {"model", "tp", "pp", "micro_batches", "ep", "attention", "experts", "batching", "max_batch",
     "max_tokens", "block_size", "memory_rule", "dtype", "kv_dtype", "profile", "route", "share",
     "spare", "span", "order", "preemption", "prefix_cache", "role", "speculate", "dp", "fails",
     "cold_start", "measured"}
)  # fmt: skip
_SHARED = frozenset({"route", "share", "spare", "span", "order"})
_SERVER_ACTED_ON: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "WorkerPool": _SHARED | {"workers", "queue_limit", "fails"},
        "BatchEngine": _SHARED
        | {
            "model",
            "tp",
            "max_batch",
            "max_tokens",
            "max_wait",
            "dtype",
            "profile",
            "fails",
            "cold_start",
        },
        "Delay": _SHARED | {"latency"},
    }
)
_POOL_ACTED_ON = frozenset({"route", "members", "convert", "admission", "autoscale"})
_WORKLOAD_ACTED_ON = frozenset({"turns", "think_time", "prefix"}) | patience.OPTIONS
#: No option of these asks for nothing special; absent, None and False ask for nothing.
_NOTHING_PLAIN: Mapping[str, Value] = MappingProxyType({})


def check(
    system: CompiledSystem,
    experiment: Experiment,
    *,
    services: Mapping[tuple[str, str], ServiceCost] | None = None,
) -> list[Diagnostic]:
    """Everything in the reach of an experiment that cannot be executed; empty if it can run.

    `services`: what a run will have; None leaves open whether something is missing.
    """
    system = by_role(system)
    found = list(_experiment(experiment))
    pools: dict[str, None] = {}
    for name in experiment.workloads:
        workload = system.workloads.get(name)
        if workload is None:
            found.append(unknown("HMS602", "workload", name, system.workloads))
            continue
        found.extend(_workload(workload))
        if workload.pipeline not in system.pipelines:
            found.append(unknown("HMS601", "pipeline", workload.pipeline, system.pipelines))
            continue
        checked = Unsupported(system, workload.pipeline, services)
        found.extend(checked.diagnostics())
        pools.update(checked.pools)
    clients: dict[str, None] = {}
    for name in pools:
        found.extend(_pool(system, name, clients))
    if not found:
        found.extend(breakable.check(system, experiment, clients))
        found.extend(_lending(system, experiment, pools))
        found.extend(lookups.check(system, experiment))
        found.extend(bypassed(system, experiment))
    for path in clients:
        found.extend(_client(system, system.placement.nodes[path]["client"]))
    return list(dict.fromkeys(found))


def raise_unless_supported(
    system: CompiledSystem,
    experiment: Experiment,
    *,
    services: Mapping[tuple[str, str], ServiceCost] | None = None,
) -> None:
    """Raise `SpecError` with all that `check` finds, if anything."""
    found = check(system, experiment, services=services)
    if found:
        raise SpecError(found)


def _experiment(experiment: Experiment) -> Iterator[Diagnostic]:
    if experiment.horizon not in ("drain", "cut"):
        yield error("HMS602", f"unknown horizon `{experiment.horizon}`",
                    notes=("help: it is `drain` or `cut`",))  # fmt: skip
    elif experiment.horizon == "cut" and experiment.duration is None:
        yield error("HMS602", "`horizon = cut` needs a `duration` to cut at")
    if not experiment.workloads:
        yield error("HMS602", f"experiment `{experiment.name}` has no workload")


def _workload(workload: Workload) -> Iterator[Diagnostic]:
    where = f"workload `{workload.name}`"
    yield from plain(where, workload.options, _NOTHING_PLAIN, _WORKLOAD_ACTED_ON)
    yield from patience.check(workload)


def _lending(
    system: CompiledSystem, experiment: Experiment, pools: Iterable[str]
) -> Iterator[Diagnostic]:
    """A pool that converts lends to exactly one pool that hands over to it."""
    known: Mapping[str, Pool] = system.placement.graph["pools"]
    handing: dict[str, set[str]] = {}
    for name in experiment.workloads:
        for hand in hand_overs(system.pipelines[system.workloads[name].pipeline], known):
            handing.setdefault(hand.target, set()).add(hand.source)
    for name in pools:
        spec = known[name].options.get("convert")
        if spec is None:
            continue
        what = f"`convert = {spec}` of pool `{name}`"
        for path in known[name].members:
            if role_of(system.placement.nodes[path]["client"]) == DECODE:
                yield error("HMS505", f"{what} would lend `{path}`, which has `role = decode`",
                            notes=("help: leave its `role` at `both`",))  # fmt: skip
                break
        sources = handing.get(name, set())
        for other in (name, *sorted(sources)):
            for key, setting in around(known[other]):
                yield not_yet(f"`{key} = {setting}` of pool `{other}` beside {what}")
        if not sources:
            help_ = "help: put it on a pool that answers what another pool has read"
            yield error("HMS505", f"{what} converts nothing: no pool hands over to it",
                        notes=(help_,))  # fmt: skip
        elif len(sources) > 1:
            yield not_yet(f"{what}, to which {' and '.join(sorted(sources))} hand over,")


def _pool(system: CompiledSystem, name: str, clients: dict[str, None]) -> Iterator[Diagnostic]:
    pool: Pool = system.placement.graph["pools"][name]
    where = f"pool `{name}`"
    if not pool.members:
        yield error("HMS505", f"{where} has no members")
    clients.update(dict.fromkeys(pool.members))
    yield from plain(where, pool.options, _NOTHING_PLAIN, _POOL_ACTED_ON)
    yield from routing(system, pool, where)


def _client(system: CompiledSystem, client: Client) -> Iterator[Diagnostic]:
    where = f"client `{client.vector}[*]`" if client.vector else f"client `{client.path}`"
    options = client.options
    if client.type_name in _SERVER_ACTED_ON:
        yield from plain(where, options, _NOTHING_PLAIN, _SERVER_ACTED_ON[client.type_name])
        order = options.get("order", "fcfs")
        if order not in SERVER_ORDERS:
            yield not_yet(
                f"`order = {order}` of {where}",
                f"help: these can be executed: {', '.join(SERVER_ORDERS)}",
            )
        return
    if client.type_name != "LlmEngine":
        yield not_yet(f"{where} of type `{client.type_name}`")
        return
    yield from plain(where, options, _NOTHING_PLAIN, _ENGINE_ACTED_ON)
    yield from _waiting(system, client, where)
    batching = options.get("batching") or Spec("chunked")
    if not isinstance(batching, Spec) or batching.name not in POLICIES:
        yield not_yet(
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
        yield not_yet(
            f"`order = {order}` of {where}", f"help: these can be executed: {', '.join(ORDERS)}"
        )
    preemption = client.options.get("preemption", "recompute")
    if swaps(client):
        if nearest_memories(system.hardware, client) is None:
            yield error(
                "HMS405",
                f"{where} has `preemption = swap` but reaches no host memory",
                notes=(
                    "note: KV is swapped to the DRAM of the CPU nearest to each device",
                    "help: wire its devices to a CPU with a memory, or use `recompute`",
                ),
            )
    elif preemption != "recompute":
        yield not_yet(f"`preemption = {preemption}` of {where}")
