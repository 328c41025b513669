"""What is certain of a run before it is made: the least that a token can cost.

A run shows a user no more tokens than requests ask for that come before its end, and its bill is
that of all that stands there. Knows prices, loads and pipelines; no engine, clock or result.
"""

from __future__ import annotations

from collections.abc import Iterable

from hermesdsl.graph.types import CompiledSystem, Experiment, PipelineGraph, StageNode
from hermesdsl.results.bill import steady_rate
from hermesdsl.sim.requests import RequestBatch
from hermesdsl.sim.run import clients_of

__all__ = ["answers", "least_cost_per_token"]

#: Stages that produce tokens.
_WRITERS = ("Decode", "Generate")


def answers(graph: PipelineGraph) -> int | None:
    """How often at most a request may be shown as many tokens as it asks for; None: who knows.

    Once for each stage that produces so many, where none comes again and none has copies.
    """
    found = 0
    for _, data in graph.nodes(data=True):
        stage: StageNode | None = data.get("stage")
        if stage is None:
            continue
        inner = answers(stage.inner) if stage.inner is not None else 0
        if inner is None or stage.repeat is not None or stage.replicas != 1:
            return None
        if stage.type_name in _WRITERS:
            if stage.options.get("tokens") is not None:
                return None
            inner += 1
        found += inner
    return found


def least_cost_per_token(
    system: CompiledSystem, experiment: Experiment, loads: Iterable[RequestBatch]
) -> float | None:
    """A bound from below on ``cost_per_token`` ($/tok) of a run with these `loads`.

    Rate of the bill x window / tokens asked for by all that may come before its end: those that
    came during the warm-up may be served in the window. None without a duration, where parts come
    and go, where nothing has a price, and where a pipeline may show more tokens than are asked for.
    """
    duration = experiment.duration
    reserve = str(experiment.options.get("reserve", "all"))
    rate = steady_rate(system, tuple(clients_of(system, experiment)), reserve)
    if duration is None or not rate:
        return None
    tokens = 0
    for batch in loads:
        often = answers(system.pipelines[system.workloads[batch.workload].pipeline])
        if often is None:
            return None
        may_come = (batch.arrival < duration) | (batch.after >= 0)
        tokens += often * int(batch.output[may_come].sum())
    seconds = max(duration - experiment.warmup, 0.0)
    return rate * seconds / tokens if tokens and seconds else None
