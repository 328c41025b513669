"""Whether a run keeps its rows or lets go of them (`sim.draining`), as its experiment and size say.

Knows no record.
"""

from __future__ import annotations

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.graph.types import CompiledSystem, Experiment
from hermesdsl.sim.causes import mortal
from hermesdsl.sim.lookups import fetch_stages
from hermesdsl.sim.patience import OPTIONS as PATIENCE
from hermesdsl.sim.run import clients_of
from hermesdsl.sim.speculating import speculation

__all__ = ["LARGE", "obstacle", "streams"]

#: `records = auto`: rows of more requests than these are not kept.
LARGE = 500_000


def streams(system: CompiledSystem, experiment: Experiment, offered: int) -> bool:
    """Whether a run with so many requests lets go of rows, as `records` of its experiment says.

    Raises SpecError (HMS506) where it is told to and cannot.
    """
    wanted = str(experiment.options.get("records", "auto"))
    if wanted == "all" or (wanted == "auto" and offered <= LARGE):
        return False
    reason = obstacle(system, experiment)
    if reason is not None and wanted == "summary":
        message = f"`records = summary` of `{experiment.name}` cannot be executed yet: {reason}"
        raise SpecError([error("HMS506", message)])
    return reason is None


def obstacle(system: CompiledSystem, experiment: Experiment) -> str | None:
    """Why a run must keep all its rows; None if it need not."""
    for name in experiment.workloads:
        workload = system.workloads[name]
        if fetch_stages(system.pipelines[workload.pipeline]):
            return f"`{workload.pipeline}` looks into a cache"
        if PATIENCE & workload.options.keys():
            return f"requests of `{name}` may be tried again"
    used = clients_of(system, experiment)
    down = mortal(system, used)
    for path in used:
        client = system.placement.nodes[path]["client"]
        if client.type_name != "LlmEngine":
            return f"`{path}` is no engine"
        guesses = speculation(client)
        if guesses is not None and guesses.sampled:
            return f"`{path}` draws its guesses"
        if path in down:
            return f"`{path}` may be down"
    return None
