"""Turns what was recorded while a run went into a `Run`: whole columns at once, at its end.

Requests that never came are left out, and those that came after others had ended are put in order
of arrival.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Ordered

import numpy as np

from hermesdsl.graph.types import Experiment
from hermesdsl.sim.binding import Point
from hermesdsl.sim.caches import Hierarchy
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.load import Offered
from hermesdsl.sim.record import (
    COMPLETED,
    OUTAGE_COLUMNS,
    REFUSED,
    RESIDENCE_COLUMNS,
    SCALING_COLUMNS,
    SERVICE_COLUMNS,
    SHOWN_COLUMNS,
    STEP_COLUMNS,
    TIMED_OUT,
    TRANSFER_COLUMNS,
    UNFINISHED,
    VISIT_COLUMNS,
    Column,
    EngineSummary,
    LinkSummary,
    Recorder,
    Run,
    Table,
    Tries,
    departures,
    number_in_system,
    table,
)
from hermesdsl.sim.routing.pools import Routers
from hermesdsl.sim.tokens import ends_of_steps


def records(
    point: Point,
    recorder: Recorder,
    stages: Ordered[str],
    clients: Ordered[str],
    engines: Iterable[Engine],
    routers: Routers,
    caches: Iterable[Hierarchy] = (),
    links: tuple[LinkSummary, ...] = (),
    *,
    patient: bool = False,
) -> Run:
    """The `Run` of a simulation that has stopped; `stages` and `clients` as rows number them.

    `patient`: requests may time out or be tried again.
    """
    experiment, offered = point.experiment, point.offered
    # The longest first: each leaves room for the next.
    visits = table(recorder.take("visits"), VISIT_COLUMNS)
    steps = table(recorder.take("steps"), STEP_COLUMNS)
    residences = table(recorder.take("residences"), RESIDENCE_COLUMNS)
    transfers = table(recorder.take("transfers"), TRANSFER_COLUMNS)
    requests = _requests(offered, recorder)
    shown = table(recorder.take("shown"), SHOWN_COLUMNS)
    engines = list(engines)
    advances = {engine.index: engine.advance for engine in engines}
    if patient:
        requests |= _attempts(recorder, len(offered))
        residences, shown = _of_last_attempts(recorder, visits, residences, shown)
    residences, shown = _begun_by_decoding(residences, shown, steps, requests, advances)
    _first_tokens(visits, steps)
    for number, path in enumerate(stages):
        for what, column in _stage_columns(visits, number, len(offered)).items():
            requests[f"{path}.{what}"] = column
    if offered.first < len(offered):
        requests, place = _in_order(requests)
        for rows in (residences, visits, transfers, shown):
            rows["request"] = place[rows["request"]]
    status, finish = requests["status"], requests["finish_s"]
    arrival, let_in = requests["arrival_s"], status != REFUSED
    ended = finish[status == COMPLETED]
    left = departures(requests)
    end = _end(experiment, arrival, left[~np.isnan(left)])
    routers.settle(end)
    return Run(
        experiment=experiment.name,
        seed=point.seed,
        horizon=experiment.horizon,
        window=(experiment.warmup, experiment.duration),
        workloads=offered.workloads,
        classes=offered.classes,
        clients=tuple(clients),
        stages=tuple(stages),
        requests=requests,
        steps=steps,
        residences=residences,
        transfers=transfers,
        engines=_engines(engines, steps, len(clients)),
        counts=_counts(requests),
        makespan_s=float(ended.max() - arrival[0]) if len(ended) else 0.0,
        end_s=end,
        in_system=number_in_system(arrival[let_in], left[let_in]),
        visits=visits,
        services=table(recorder.services, SERVICE_COLUMNS),
        tiers=tuple(tier for cache in caches for tier in cache.summaries()),
        links=links,
        scaling=table(routers.scaling, SCALING_COLUMNS),
        outages=_outages(recorder, end),
        shown=shown,
        kinds=tuple(point.system.placement.nodes[path]["client"].type_name for path in clients),
    )


def _outages(recorder: Recorder, end: float) -> Table:
    """By the time they began, and as far as they lie before the end of the run."""
    rows = table(recorder.outages, OUTAGE_COLUMNS)
    order = np.lexsort((rows["client"], rows["down_s"]))
    order = order[rows["down_s"][order] < end]
    kept = {name: column[order] for name, column in rows.items()}
    kept["up_s"] = np.minimum(kept["up_s"], end)
    return kept


def _requests(offered: Offered, recorder: Recorder) -> Table:
    return {
        "id": np.arange(len(offered)),
        "number": offered.number,
        "workload": offered.workload,
        "class": offered.klass,
        "arrival_s": _floats(recorder.arrival),
        "prompt_tokens": offered.prompt,
        "context_tokens": np.frombuffer(recorder.context, np.int64),
        "cached_tokens": np.frombuffer(recorder.cached, np.int64),
        "output_tokens": offered.output,
        "generated": np.frombuffer(recorder.generated, np.int64),
        "visible": np.frombuffer(recorder.visible, np.int64),
        "first_token_s": _floats(recorder.first),
        "last_token_s": _floats(recorder.last),
        "finish_s": _floats(recorder.finish),
        "status": np.frombuffer(recorder.status, np.int8),
        "reason": np.frombuffer(recorder.reason, np.int8),
    }


def _attempts(recorder: Recorder, count: int) -> Table:
    """What every request has tried, shape (count,) each."""
    found = {"attempts": np.ones(count, np.int64), "paused_s": np.zeros(count),
             "left_s": np.full(count, np.nan)}  # fmt: skip
    for request, tries in recorder.tries.items():
        found["attempts"][request] = tries.attempts
        found["paused_s"][request] = tries.paused_s
        found["left_s"][request] = tries.left_s
    return found


def _of_last_attempts(
    recorder: Recorder, visits: Table, residences: Table, shown: Table
) -> tuple[Table, Table]:
    """Without what users saw of attempts that were given up; nobody waited for their visits."""

    def late(rows: Table, columns: tuple[str, ...], of: Callable[[Tries], int]) -> Column:
        begin = np.zeros(len(recorder.arrival), np.int64)
        for request, tries in recorder.tries.items():
            begin[request] = of(tries) // len(columns)
        return np.asarray(np.arange(len(rows["request"])) >= begin[rows["request"]])

    mattered = late(visits, VISIT_COLUMNS, lambda tries: tries.visits)
    visits["critical"] = np.where(mattered, visits["critical"], 0)
    stays = late(residences, RESIDENCE_COLUMNS, lambda tries: tries.residences)
    seen = late(shown, SHOWN_COLUMNS, lambda tries: tries.shown)
    return (
        {name: column[stays] for name, column in residences.items()},
        {name: column[seen] for name, column in shown.items()},
    )


def _begun_by_decoding(
    residences: Table, shown: Table, steps: Table, requests: Table, advances: Mapping[int, float]
) -> tuple[Table, Table]:
    """Stays whose first token no prompt brought: that token is the one they begin with.

    With whatever else its step brought, it becomes a row of `shown`. Sets the time of the first
    visible token of their requests.
    """
    since, first, last = (residences[name] for name in ("since_s", "first_step", "last_step"))
    fresh = np.isnan(since)
    if not fresh.any():
        return residences, shown
    fresh &= last > first
    for client in np.unique(residences["client"][fresh]).tolist():
        mine = np.flatnonzero(fresh & (residences["client"] == client))
        times = ends_of_steps(steps, client)[first[mine]]
        since[mine] = times
        first[mine] += 1
        request = residences["request"][mine]
        gained, carry = residences["gained"], residences["carry"]
        parts = carry[mine] + advances[client]
        came = np.minimum(gained[mine], np.floor(parts)).astype(np.int64)
        gained[mine] -= came
        carry[mine] = parts - came
        np.fmin.at(requests["first_token_s"], request, times)
        more = {"request": request, "tokens": came, "time_s": times}
        shown = {name: np.concatenate([column, more[name]]) for name, column in shown.items()}
    kept = ~np.isnan(since)
    return {name: column[kept] for name, column in residences.items()}, shown


def _first_tokens(visits: Table, steps: Table) -> None:
    """Fill in when the first token of a visit came that no prompt brought: by its first decode.

    Takes the column ``opened`` away.
    """
    first, opened = visits["first_s"], visits.pop("opened")
    wanted = np.isnan(first) & (opened >= 0)
    for client in np.unique(visits["client"][wanted]).tolist():
        mine = np.flatnonzero(wanted & (visits["client"] == client))
        ends = ends_of_steps(steps, client)
        came = mine[opened[mine] < len(ends)]
        first[came] = ends[opened[came]]


def _stage_columns(visits: Table, stage: int, n: int) -> Table:
    """Enter, start, end, client and number of the visits to one stage that mattered, by request.

    Times are those of the last of them; of one in two parts the second has end and client.
    """
    rows = (visits["stage"] == stage) & (visits["critical"] > 0)
    begins = rows & (visits["part"] < 2)
    found: Table = {}
    for name, chosen in (("enter_s", begins), ("start_s", begins), ("end_s", rows)):
        found[name] = np.full(n, np.nan)
        found[name][visits["request"][chosen]] = visits[name][chosen]
    found["client"] = np.full(n, -1, np.int32)
    found["client"][visits["request"][rows]] = visits["client"][rows]
    found["passes"] = np.bincount(visits["request"][begins], minlength=n)
    return found


def _in_order(requests: Table) -> tuple[Table, Column]:
    """Only requests that came, by arrival; and the new place of each old one (-1: never came)."""
    came = np.flatnonzero(np.isfinite(requests["arrival_s"]))
    order = came[np.argsort(requests["arrival_s"][came], kind="stable")]
    place = np.full(len(requests["id"]), -1, np.int64)
    place[order] = np.arange(len(order))
    ordered = {name: column[order] for name, column in requests.items()}
    ordered["id"] = np.arange(len(order))
    return ordered, place


def _end(experiment: Experiment, arrival: Column, finish: Column) -> float:
    if experiment.horizon == "cut" and experiment.duration is not None:
        return experiment.duration
    return float(max(arrival.max(initial=0.0), finish.max(initial=0.0)))


def _counts(requests: Table) -> dict[str, int]:
    status = requests["status"]
    refused = int(np.count_nonzero(status == REFUSED))
    counts = {
        "offered": len(status),
        "admitted": len(status) - refused,
        "completed": int(np.count_nonzero(status == COMPLETED)),
        "refused": refused,
        "unfinished": int(np.count_nonzero(status == UNFINISHED)),
    }
    if "attempts" in requests:
        counts["timed_out"] = int(np.count_nonzero(status == TIMED_OUT))
        counts["retries"] = int((requests["attempts"] - 1).sum())
    return counts


def _engines(engines: Iterable[Engine], steps: Table, count: int) -> tuple[EngineSummary, ...]:
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
            asked=engine.reuse.asked if engine.reuse is not None else 0,
            hits=engine.reuse.hits if engine.reuse is not None else 0,
            advance=engine.advance,
        )
        for engine in engines
    )


def _floats(column: array[float]) -> Column:
    return np.frombuffer(column, np.float64)
