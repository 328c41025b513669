"""Turns what was recorded while a run went into a `Run`: whole columns at once, at its end.

Times of stages follow from the times of the visits that they were part of.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence as Ordered

import numpy as np

from hermesdsl.graph.types import Experiment, StageNode
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.interpreter import Interpreter
from hermesdsl.sim.load import Offered
from hermesdsl.sim.plan import Point, Visit, chain, route_of
from hermesdsl.sim.record import (
    COMPLETED,
    REFUSED,
    RESIDENCE_COLUMNS,
    STEP_COLUMNS,
    TRANSFER_COLUMNS,
    UNFINISHED,
    Column,
    EngineSummary,
    Recorder,
    Run,
    Table,
    number_in_system,
    table,
)


def records(point: Point, recorder: Recorder, interpreter: Interpreter) -> Run:
    """The `Run` of a simulation that has stopped."""
    system, experiment, offered = point.system, point.experiment, point.offered
    pipelines = [system.workloads[name].pipeline for name in experiment.workloads]
    routes = dict(zip(pipelines, interpreter.routes, strict=True))
    requests = _requests(offered, recorder, interpreter.routes)
    stages = {}
    for name, first in routes.items():
        stages.update(_stage_columns(chain(system.pipelines[name]), route_of(first)))
    for path, columns in stages.items():
        for what, column in zip(("enter_s", "start_s", "end_s", "client"), columns, strict=True):
            requests[f"{path}.{what}"] = column
    status, finish = requests["status"], requests["finish_s"]
    steps = table(recorder.steps, STEP_COLUMNS)
    let_in = status != REFUSED
    ended = finish[status == COMPLETED]
    return Run(
        experiment=experiment.name,
        seed=point.seed,
        horizon=experiment.horizon,
        window=(experiment.warmup, experiment.duration),
        workloads=offered.workloads,
        classes=offered.classes,
        clients=tuple(engine.path for engine in interpreter.engines),
        stages=tuple(stages),
        requests=requests,
        steps=steps,
        residences=table(recorder.residences, RESIDENCE_COLUMNS),
        transfers=table(recorder.transfers, TRANSFER_COLUMNS),
        engines=_engines(interpreter.engines, steps),
        counts=_counts(status),
        makespan_s=float(ended.max() - offered.arrival[0]) if len(ended) else 0.0,
        end_s=_end(experiment, offered, ended),
        in_system=number_in_system(offered.arrival[let_in], finish[let_in]),
    )


def _requests(offered: Offered, recorder: Recorder, routes: Ordered[Visit]) -> Table:
    n = len(offered)
    first = np.full(n, np.nan)
    last = np.full(n, np.nan)
    finish = _floats(recorder.finish)
    for index, visit in enumerate(routes):
        mine = offered.workload == index
        first[mine] = _floats(visit.times.first)[mine]
        ends = _floats(route_of(visit)[-1].times.end)
        decodes = visit.decodes or visit.following is not None
        last[mine] = ends[mine] if decodes else first[mine]
    return {
        "id": np.arange(n),
        "number": offered.number,
        "workload": offered.workload,
        "class": offered.klass,
        "arrival_s": offered.arrival,
        "prompt_tokens": offered.prompt,
        "cached_tokens": np.zeros(n, np.int64),
        "output_tokens": offered.output,
        "generated": np.array(recorder.generated, np.int64),
        "first_token_s": first,
        "last_token_s": last,
        "finish_s": finish,
        "status": np.array(recorder.status, np.int8),
        "reason": np.array(recorder.reason, np.int8),
    }


def _stage_columns(stages: list[StageNode], route: list[Visit]) -> dict[str, tuple[Column, ...]]:
    """(enter, start, end, client) of each stage of a pipeline."""
    here, there = route[0].times, route[-1].times
    first, end = _floats(here.first), _floats(there.end)
    client = np.array(here.client, np.int32)
    reading = (_floats(here.enter), _floats(here.start), first, client)
    if len(stages) == 1:
        if stages[0].type_name == "Prefill":
            return {stages[0].path: reading}
        last_client = client if here is there else np.array(there.client, np.int32)
        return {stages[0].path: (*reading[:2], end, last_client)}
    if here is there:
        client = np.where(np.isnan(first), np.int32(-1), client)
        writing = (first, first, end, client)
    else:
        client = np.array(there.client, np.int32)
        writing = (_floats(there.enter), _floats(there.start), end, client)
    return {stages[0].path: reading, stages[1].path: writing}


def _end(experiment: Experiment, offered: Offered, finish: Column) -> float:
    if experiment.horizon == "cut" and experiment.duration is not None:
        return experiment.duration
    return float(max(offered.arrival.max(initial=0.0), finish.max(initial=0.0)))


def _counts(status: Column) -> dict[str, int]:
    refused = int(np.count_nonzero(status == REFUSED))
    return {
        "offered": len(status),
        "admitted": len(status) - refused,
        "completed": int(np.count_nonzero(status == COMPLETED)),
        "refused": refused,
        "unfinished": int(np.count_nonzero(status == UNFINISHED)),
    }


def _engines(engines: Ordered[Engine], steps: Table) -> tuple[EngineSummary, ...]:
    count = len(engines)
    busy = np.bincount(steps["client"], steps["end_s"] - steps["start_s"], count)
    number = np.bincount(steps["client"], steps["steps"], count)
    return tuple(
        EngineSummary(
            client=engine.path,
            capacity_blocks=engine.kv.capacity,
            block_size=engine.kv.size,
            busy_s=float(busy[engine.index]),
            preemptions=engine.preemptions,
            recomputed=engine.recomputed,
            swapped=engine.host.out if engine.host is not None else 0,
            steps=int(number[engine.index]),
        )
        for engine in engines
    )


def _floats(column: array[float]) -> Column:
    return np.array(column, np.float64)
