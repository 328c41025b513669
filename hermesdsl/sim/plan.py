"""A pipeline graph as the visits to pools that a request makes one after the other.

Stages that follow each other on one pool and share a request's KV are one visit: KV affinity
keeps them on the same client, without a second queue. Knows no clock and no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hermesdsl.graph.types import (
    CompiledSystem,
    Experiment,
    PipelineGraph,
    Pool,
    StageNode,
    Value,
)
from hermesdsl.sim.load import Offered
from hermesdsl.sim.record import VisitColumns
from hermesdsl.sim.roles import Roles
from hermesdsl.sim.router import Router

#: Stages that this interpreter runs, all on clients of type `CLIENT_TYPES`.
STAGE_TYPES = ("Prefill", "Decode", "Generate")


@dataclass(frozen=True, eq=False)
class Point:
    """What one run is about: a system, one of its experiments, a seed, the requests offered."""

    system: CompiledSystem
    experiment: Experiment
    seed: int
    offered: Offered


class Visit:
    """A stay at one client of `pool`: reading the prompt, producing tokens, or both.

    `keeps`: its KV outlives it, for the next visit; with `layerwise`, that KV begins to move when
    the last step of its prompt does. `following` is where requests go next. `paired` has the
    router for what each client hands over, by its index, where `router` does not serve all.
    `roles`: of the clients that may read what is sent on to `following`, if they change.
    """

    __slots__ = ("decodes", "following", "keeps", "layerwise", "paired", "pool", "prefills",
                 "roles", "router", "times")  # fmt: skip

    def __init__(
        self, pool: Pool, router: Router, n: int, *, prefills: bool, decodes: bool
    ) -> None:
        self.pool = pool
        self.router = router
        self.prefills = prefills
        self.decodes = decodes
        self.keeps = False
        self.layerwise = False
        self.paired: Mapping[int, Router] = {}
        self.roles: Roles | None = None
        self.following: Visit | None = None
        self.times = VisitColumns(n)


@dataclass(frozen=True)
class Work:
    """One visit before it is bound to a run: the pool's name and what happens there.

    `layerwise` and `local`: how its KV is handed over, and within which groups.
    """

    pool: str
    prefills: bool
    decodes: bool
    layerwise: bool = False
    local: bool = False


def chain(pipeline: PipelineGraph) -> list[StageNode]:
    """The stages from input to output of a pipeline without branch or fork, inner ones inlined."""
    stages: list[StageNode] = []
    node = "input"
    while True:
        node = next(iter(pipeline.successors(node)))
        if node in ("output", "refused"):
            return stages
        stage: StageNode = pipeline.nodes[node]["stage"]
        stages.extend([stage] if stage.inner is None else chain(stage.inner))


def visits(pipeline: PipelineGraph, system: CompiledSystem) -> list[Work]:
    """The visits of a supported chain: Prefill, Prefill and Decode, or Generate."""
    stages = chain(pipeline)
    first, last = stages[0], stages[-1]
    decodes = last.type_name != "Prefill"
    reading = str(first.options.get("prefill") or first.pool)
    writing = str(last.pool)
    if not decodes or members(system, reading) == members(system, writing):
        return [Work(writing, True, decodes)]
    options: Mapping[str, Value] = {**pipeline.graph.get("options", {}), **last.options}
    layerwise, local = options.get("transfer") == "layerwise", options.get("pairing") == "local"
    return [Work(reading, True, False, layerwise, local), Work(writing, False, True)]


def members(system: CompiledSystem, pool: str) -> tuple[str, ...]:
    """Paths of the clients of a pool."""
    found: Pool = system.placement.graph["pools"][pool]
    return found.members


def route_of(first: Visit) -> list[Visit]:
    """A visit and all that follow it."""
    found = [first]
    while found[-1].following is not None:
        found.append(found[-1].following)
    return found


def route_decodes(first: Visit) -> bool:
    """True if a request's whole output is produced on its way, not just its first token."""
    return any(visit.decodes for visit in route_of(first))
