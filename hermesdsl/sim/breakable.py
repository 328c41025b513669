"""Whether what is down now and then can be executed where it is, before a run.

What the interpreter does not do around an outage is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph.pipeline import flatten
from hermesdsl.graph.types import Client, CompiledSystem, Experiment, Pool, Spec
from hermesdsl.sim.causes import Cause, causes_of, mortal
from hermesdsl.sim.outages import weights_from
from hermesdsl.sim.stages import not_yet
from hermesdsl.sim.swap import nearest_memories, swaps


def check(
    system: CompiledSystem, experiment: Experiment, paths: Iterable[str]
) -> Iterator[Diagnostic]:
    """Everything wrong with the outages of the clients at `paths`, and of what they run on."""
    nodes = system.placement.nodes
    paths = list(paths)
    index = {path: place for place, path in enumerate(paths)}
    causes = causes_of(system, index)
    down = mortal(system, paths)
    for cause in causes:
        if cause.spec.name == "at" and not cause.spec.args.get("times"):
            yield error("HMS505", f"{_name(nodes, cause)} names no time")
    for path in paths:
        if path in down:
            yield from _cold(system, nodes[path]["client"])
    yield from _swapping(system, causes, index)
    if down:
        yield from _converting(system, experiment, down)


def _name(nodes: Mapping[str, Mapping[str, Client]], cause: Cause) -> str:
    if not cause.itself:
        return f"`fails = {cause.spec}` of `{cause.path}`"
    client = nodes[cause.path]["client"]
    where = f"`{client.vector}[*]`" if client.vector else f"`{client.path}`"
    return f"`fails = {cause.spec}` of client {where}"


def _cold(system: CompiledSystem, client: Client) -> Iterator[Diagnostic]:
    if client.options.get("cold_start") and weights_from(system.hardware, client) is None:
        yield error(
            "HMS405",
            f"`cold_start = true` of client `{client.path}`: it reaches no host memory",
            notes=(
                "note: weights come from the DRAM of the CPU nearest to each device",
                "help: wire its devices to a CPU with a memory",
            ),
        )


def _swapping(
    system: CompiledSystem, causes: Iterable[Cause], index: Mapping[str, int]
) -> Iterator[Diagnostic]:
    """KV that is swapped out would be lost while its engine goes on."""
    for cause in causes:
        for path, place in index.items():
            client: Client = system.placement.nodes[path]["client"]
            if not swaps(client) or place in cause.clients:
                continue
            memories = nearest_memories(system.hardware, client) or ()
            if not cause.parts.isdisjoint(memories):
                yield not_yet(f"{_name(system.placement.nodes, cause)}, to which `{path}` swaps "
                              "its KV,")  # fmt: skip


def _converting(
    system: CompiledSystem, experiment: Experiment, down: frozenset[str]
) -> Iterator[Diagnostic]:
    """What a cache has for a prompt that has lost its client is not counted among those pending."""
    known: Mapping[str, Pool] = system.placement.graph["pools"]
    fetches = [
        stage.path
        for name in experiment.workloads
        for _, stage in flatten(system.pipelines[system.workloads[name].pipeline])
        if stage.type_name == "KvFetch"
    ]
    for name, pool in known.items():
        spec = pool.options.get("convert")
        if isinstance(spec, Spec) and fetches and not down.isdisjoint(pool.members):
            yield not_yet(f"`convert = {spec}` of pool `{name}`, whose members may be down, beside "
                          f"stage `{fetches[0]}`, which looks into a cache,")  # fmt: skip
