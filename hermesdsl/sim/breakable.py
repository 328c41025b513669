"""Whether clients that are down now and then can be executed where they are, before a run.

What the interpreter does not do around an outage is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph.pipeline import flatten
from hermesdsl.graph.types import Client, CompiledSystem, Experiment, Pool, Spec
from hermesdsl.sim.outages import WITH_WEIGHTS, may_be_down, weights_from
from hermesdsl.sim.stages import not_yet

#: Settings of a pool that choose among members in ways that know no outage.
_CHOOSING = ("convert", "autoscale")


def check(
    system: CompiledSystem, experiment: Experiment, paths: Iterable[str]
) -> Iterator[Diagnostic]:
    """Everything wrong with the outages of the clients at `paths`."""
    nodes = system.placement.nodes
    paths = list(paths)
    mortal: list[Client] = [
        nodes[path]["client"] for path in paths if may_be_down(nodes[path]["client"])
    ]
    if not mortal:
        return
    first = _name(mortal[0])
    for client in mortal:
        yield from _client(system, client)
        yield from _neighbours(client, [nodes[path]["client"] for path in paths])
    known: dict[str, Pool] = system.placement.graph["pools"]
    down = {client.path for client in mortal}
    for name, pool in known.items():
        for key in _CHOOSING:
            if down & set(pool.members) and pool.options.get(key) is not None:
                yield not_yet(f"`{key} = {pool.options[key]}` of pool `{name}` beside {first}")
    if any(client.type_name == "LlmEngine" for client in mortal):
        yield from _pipelines(system, experiment, first)


def _name(client: Client) -> str:
    spec = client.options.get("fails")
    where = f"`{client.vector}[*]`" if client.vector else f"`{client.path}`"
    setting = "cold_start = true" if spec is None else f"fails = {spec}"
    return f"`{setting}` of client {where}"


def _client(system: CompiledSystem, client: Client) -> Iterator[Diagnostic]:
    spec = client.options.get("fails")
    if isinstance(spec, Spec) and spec.name == "at" and not spec.args.get("times"):
        yield error("HMS505", f"{_name(client)} names no time")
    if client.group is not None and client.group.dp > 1:
        yield not_yet(f"{_name(client)}, which has `dp = {client.group.dp}`,")
    speculate = client.options.get("speculate")
    if isinstance(speculate, Spec) and speculate.name != "off":
        yield not_yet(f"{_name(client)}, which has `speculate = {speculate}`,")
    if client.options.get("cold_start") and weights_from(system.hardware, client) is None:
        yield error(
            "HMS405",
            f"`cold_start = true` of client `{client.path}`: it reaches no host memory",
            notes=(
                "note: weights come from the DRAM of the CPU nearest to each device",
                "help: wire its devices to a CPU with a memory",
            ),
        )


def _neighbours(client: Client, others: Iterable[Client]) -> Iterator[Diagnostic]:
    """Engines that would have to give a device back when they fail."""
    for other in others:
        both = (client.group, other.group)
        if other is client or not all(c.type_name in WITH_WEIGHTS for c in (client, other)):
            continue
        if both[0] and both[1] and set(both[0].devices) & set(both[1].devices):
            yield not_yet(f"{_name(client)}, which shares devices with `{other.path}`,")


def _pipelines(system: CompiledSystem, experiment: Experiment, first: str) -> Iterator[Diagnostic]:
    for name in experiment.workloads:
        graph = system.pipelines[system.workloads[name].pipeline]
        options = [graph.graph.get("options", {})]
        for _, stage in flatten(graph):
            options.append(stage.options)
            if stage.type_name == "KvFetch":
                yield not_yet(f"stage `{stage.path}`, which looks into a cache, beside {first}")
        if any(given.get("transfer") == "layerwise" for given in options):
            yield not_yet(f"`transfer = layerwise` beside {first}")
