"""What pools ask of routers, admission and scaling that makes no sense or cannot be executed.

Part of `sim.supported`, which looks at all else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph.types import Client, CompiledSystem, Experiment, Pool, Spec
from hermesdsl.sim.plan import stages_of
from hermesdsl.sim.routing import BLIND, OF_ENGINES, ROUTERS
from hermesdsl.sim.routing.admission import ADMISSIONS
from hermesdsl.sim.routing.weighted import SCORERS
from hermesdsl.sim.stages import hand_overs, not_yet, unknown
from hermesdsl.sim.swap import nearest_memories


def routing(system: CompiledSystem, pool: Pool, where: str) -> Iterator[Diagnostic]:
    """Of the route, admission and scaling of one pool, called `where`."""
    clients: list[Client] = [system.placement.nodes[path]["client"] for path in pool.members]
    others = [client for client in clients if client.type_name != "LlmEngine"]
    yield from _route(pool, others, where)
    admission = pool.options.get("admission")
    if isinstance(admission, Spec) and admission.name not in {"always", *ADMISSIONS}:
        known = ", ".join(("always", *ADMISSIONS))
        yield not_yet(f"`admission = {admission}` of {where}",
                      f"help: these can be executed: {known}")  # fmt: skip
    elif isinstance(admission, Spec) and admission.name == "deadline" and others:
        yield error("HMS505", f"`admission = deadline` of {where} asks how long prompts take to "
                    f"read, and {others[0].path} is a {others[0].type_name}")  # fmt: skip
    if isinstance(pool.options.get("autoscale"), Spec):
        yield from _scaling(system, pool, clients, where)


def _route(pool: Pool, others: list[Client], where: str) -> Iterator[Diagnostic]:
    route = pool.route
    if route.name not in ROUTERS:
        yield not_yet(
            f"`route = {route.name}` of {where}",
            f"help: these can be executed: {', '.join(ROUTERS)}",
        )
        return
    if route.name in BLIND and route.args.get("staleness"):
        yield error("HMS505", f"`route = {route}` of {where} looks at nothing that could be stale")
    if route.name == "weighted":
        for name in sorted(set(route.args) - {"staleness", *SCORERS}):
            yield unknown("HMS505", "scorer", name, SCORERS)
    looks = route.name in OF_ENGINES or any(route.args.get(name) for name in ("kv", "prefix"))
    if others and looks:
        yield error("HMS505", f"`route = {route}` of {where} looks at KV, and "
                    f"{others[0].path} is a {others[0].type_name}",
                    notes=("help: `jsq` and `least_work` route to any client",))  # fmt: skip


def _scaling(
    system: CompiledSystem, pool: Pool, clients: Iterable[Client], where: str
) -> Iterator[Diagnostic]:
    spec = pool.options["autoscale"]
    assert isinstance(spec, Spec)
    if spec.name != "scale":
        yield not_yet(f"`autoscale = {spec}` of {where}", "help: `scale` can be executed")
        return
    fewest, most = spec.args.get("min", 1), spec.args.get("max")
    for name, count in (("min", fewest), ("max", most)):
        if isinstance(count, int | float) and count > len(pool.members):
            yield error("HMS505", f"`{name} = {count:g}` of the autoscaling of {where}, which has "
                        f"{len(pool.members)} members")  # fmt: skip
    if isinstance(fewest, int | float) and isinstance(most, int | float) and fewest > most:
        yield error("HMS505", f"the autoscaling of {where} has `min` above `max`")
    for client in clients:
        loads = client.model is not None and client.group is not None
        if loads and nearest_memories(system.hardware, client) is None:
            yield error(
                "HMS405", f"{client.path} of {where} scales but reaches no host memory",
                notes=("note: a member that starts loads its weights from the DRAM of the CPU "
                       "nearest to each device",
                       "help: wire its devices to a CPU with a memory"),
            )  # fmt: skip
            return


def bypassed(system: CompiledSystem, experiment: Experiment) -> Iterator[Diagnostic]:
    """Who comes to a pool without asking its router as a whole is neither refused nor moved."""
    known: Mapping[str, Pool] = system.placement.graph["pools"]
    for name in experiment.workloads:
        pipeline = system.pipelines[system.workloads[name].pipeline]
        for stage in stages_of(pipeline):
            if stage.spread == "each" and stage.replicas > 1 and stage.pool is not None:
                for key, setting in around(known[stage.pool]):
                    yield not_yet(f"`{key} = {setting}` of pool `{stage.pool}` with `spread = "
                                  f"each` of stage `{stage.path}`")  # fmt: skip
        for hand in hand_overs(pipeline, known):
            if hand.options.get("pairing") == "local":
                for key, setting in around(known[hand.target]):
                    if key == "autoscale":
                        yield not_yet(f"`{key} = {setting}` of pool `{hand.target}` with "
                                      "`pairing = local`")  # fmt: skip


def around(pool: Pool) -> Iterator[tuple[str, Spec]]:
    """What stands around a pool's router."""
    for key in ("admission", "autoscale"):
        setting = pool.options.get(key)
        if isinstance(setting, Spec) and setting.name != "always":
            yield key, setting
