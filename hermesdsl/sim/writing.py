"""Turns what was recorded while a run went into a `Run`: whole columns at once, at its end.

Requests that never came are left out, and those that came after others had ended are put in order
of arrival.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Ordered
from math import isnan, nan
from typing import Protocol

import numpy as np

from hermesdsl.graph.types import Experiment
from hermesdsl.sim.binding import Point
from hermesdsl.sim.caches import Hierarchy
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.grouping import rows_by
from hermesdsl.sim.load import Offered
from hermesdsl.sim.network.passing import Passing
from hermesdsl.sim.record import (
    BREAKDOWN_COLUMNS,
    COMPLETED,
    CUT_SERVICE_COLUMNS,
    OUTAGE_COLUMNS,
    PASSING_COLUMNS,
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
    StepSums,
    Table,
    Tries,
    departures,
    number_in_system,
    step_sums,
    table,
)
from hermesdsl.sim.routing.pools import Routers
from hermesdsl.sim.step_times import StepTimes


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
    passing: Passing,
    patient: bool = False,
    drained: Drained | None = None,
    things: tuple[str, ...] = (),
) -> Run:
    """The `Run` of a simulation that has stopped; `stages` and `clients` as rows number them.

    `patient`: requests may time out or be tried again. With `drained`, the tables hold only what
    is left, and everything else is of the whole run. `things`: paths of all that fails and is no
    client.
    """
    experiment, offered = point.experiment, point.offered
    cut_steps = table(recorder.cut_steps, STEP_COLUMNS)
    engines = list(engines)
    held = tables(recorder, take=True)
    if patient:
        held["visits"], held["residences"], held["shown"] = _of_last_attempts(recorder, held)
    kept = None
    if drained is not None:
        drained.rebase(held)
        kept = drained.rest(recorder)
    requests = rows_of(offered, recorder, stages, held, _advances(engines), kept, patient=patient)
    everyone = requests if kept is None else _requests(offered, recorder)
    if kept is not None and offered.first < len(offered):
        everyone, _ = _in_order(everyone)
    status, finish = everyone["status"], everyone["finish_s"]
    arrival, let_in = everyone["arrival_s"], status != REFUSED
    ended = finish[status == COMPLETED]
    left = departures(everyone)
    end = _end(experiment, arrival, left[~np.isnan(left)])
    routers.settle(end)
    steps = held["steps"]
    sums = step_sums(steps, len(clients))
    if drained is not None:
        sums += drained.sums
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
        residences=held["residences"],
        transfers=held["transfers"],
        engines=engine_summaries(engines, sums, cut_steps),
        counts=counts_of(everyone),
        makespan_s=float(ended.max() - arrival[0]) if len(ended) else 0.0,
        end_s=end,
        in_system=number_in_system(arrival[let_in], left[let_in]),
        visits=held["visits"],
        services=held["services"],
        tiers=tuple(tier for cache in caches for tier in cache.summaries()),
        links=links,
        passing=table(passing.rows, PASSING_COLUMNS),
        passing_parts=passing.parts,
        scaling=table(routers.scaling, SCALING_COLUMNS),
        outages=_outages(recorder.outages, OUTAGE_COLUMNS, end),
        things=things,
        breakdowns=_outages(recorder.breakdowns, BREAKDOWN_COLUMNS, end),
        cut_steps=cut_steps,
        cut_services=table(recorder.cut_services, CUT_SERVICE_COLUMNS),
        shown=held["shown"],
        gains=np.array(recorder.gains, np.int8),
        kinds=kinds_of(point, clients),
        api=api_of(engines, clients),
        flow={} if kept is None else {"arrival_s": arrival[let_in], "left_s": left[let_in]},
    )


class Drained(Protocol):
    """What a run has let go of while it went."""

    @property
    def sums(self) -> StepSums:
        """Of the steps that are gone."""

    def rebase(self, held: dict[str, Table]) -> None:
        """Number the steps that rows refer to from the first one that is held."""

    def rest(self, recorder: Recorder) -> Column:
        """Numbers of the requests that are still there, ascending; they came."""


def api_of(engines: Iterable[Engine], clients: Ordered[str]) -> tuple[float, ...]:
    """What the API of each client takes; nothing where it is no engine."""
    seconds = {engine.path: float(getattr(engine.cost, "request_seconds", 0.0))
               for engine in engines}  # fmt: skip
    return tuple(seconds.get(path, 0.0) for path in clients)


def kinds_of(point: Point, clients: Ordered[str]) -> tuple[str, ...]:
    """Type of each client."""
    nodes = point.system.placement.nodes
    return tuple(nodes[path]["client"].type_name for path in clients)


#: Rows by table, the longest first: where they are taken, each leaves room for the next.
_TABLES = {
    "visits": VISIT_COLUMNS,
    "steps": STEP_COLUMNS,
    "residences": RESIDENCE_COLUMNS,
    "transfers": TRANSFER_COLUMNS,
    "services": SERVICE_COLUMNS,
    "shown": SHOWN_COLUMNS,
}


def tables(recorder: Recorder, *, take: bool = False) -> dict[str, Table]:
    """The tables of rows as they stand, by name; copies, of which `take` forgets the originals."""
    return {
        name: table(recorder.take(name) if take else getattr(recorder, name), columns)
        for name, columns in _TABLES.items()
    }


def _advances(engines: Iterable[Engine]) -> dict[int, float]:
    """Tokens that a step of each brings, NaN where they are drawn (`Run.gains`)."""
    return {each.index: each.advance if each.guessing is None else nan for each in engines}


def rows_of(
    offered: Offered,
    recorder: Recorder,
    stages: Ordered[str],
    held: dict[str, Table],
    advances: Mapping[int, float],
    chosen: Column | None = None,
    *,
    patient: bool = False,
) -> Table:
    """One row per request, of those that came or of `chosen` (ascending numbers).

    The tables `held`, in which only these requests occur, are completed and numbered like it.
    """
    requests = _requests(offered, recorder, chosen)
    if chosen is not None:
        place = np.full(len(offered), -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        _renumber(held, place)
    if patient:
        requests |= _attempts(recorder, len(offered))
    held["residences"], held["shown"] = _begun_by_decoding(
        held["residences"],
        held["shown"],
        held["steps"],
        requests,
        advances,
        np.array(recorder.gains, np.int8),
    )
    visits = held["visits"]
    _first_tokens(visits, held["steps"])
    for number, path in enumerate(stages):
        for what, column in _stage_columns(visits, number, len(requests["id"])).items():
            requests[f"{path}.{what}"] = column
    if offered.first < len(offered):
        requests, place = _in_order(requests)
        _renumber(held, place)
    return requests


def _renumber(held: Mapping[str, Table], place: Column) -> None:
    for name in ("residences", "visits", "transfers", "shown"):
        held[name]["request"] = place[held[name]["request"]]


def _outages(made: array[float], names: tuple[str, ...], end: float) -> Table:
    """By the time they began, and as far as they lie before the end of the run."""
    rows = table(made, names)
    order = np.lexsort((rows[names[0]], rows["down_s"]))
    order = order[rows["down_s"][order] < end]
    kept = {name: column[order] for name, column in rows.items()}
    kept["up_s"] = np.minimum(kept["up_s"], end)
    return kept


def _requests(offered: Offered, recorder: Recorder, chosen: Column | None = None) -> Table:
    whole: Table = {
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
    if chosen is None:
        return whole
    some = {name: column[chosen] for name, column in whole.items()}
    return some | {"id": np.arange(len(chosen))}


def _attempts(recorder: Recorder, count: int) -> Table:
    """What every request has tried, shape (count,) each."""
    found = {"attempts": np.ones(count, np.int64), "paused_s": np.zeros(count),
             "left_s": np.full(count, np.nan)}  # fmt: skip
    for request, tries in recorder.tries.items():
        found["attempts"][request] = tries.attempts
        found["paused_s"][request] = tries.paused_s
        found["left_s"][request] = tries.left_s
    return found


def _of_last_attempts(recorder: Recorder, held: Mapping[str, Table]) -> tuple[Table, Table, Table]:
    """Without what users saw of attempts that were given up; nobody waited for their visits."""

    def late(rows: Table, columns: tuple[str, ...], of: Callable[[Tries], int]) -> Column:
        begin = np.zeros(len(recorder.arrival), np.int64)
        for request, tries in recorder.tries.items():
            begin[request] = of(tries) // len(columns)
        return np.asarray(np.arange(len(rows["request"])) >= begin[rows["request"]])

    visits, residences, shown = (held[name] for name in ("visits", "residences", "shown"))
    mattered = late(visits, VISIT_COLUMNS, lambda tries: tries.visits)
    visits["critical"] = np.where(mattered, visits["critical"], 0)
    stays = late(residences, RESIDENCE_COLUMNS, lambda tries: tries.residences)
    seen = late(shown, SHOWN_COLUMNS, lambda tries: tries.shown)
    return (
        visits,
        {name: column[stays] for name, column in residences.items()},
        {name: column[seen] for name, column in shown.items()},
    )


def _begun_by_decoding(
    residences: Table, shown: Table, steps: Table, requests: Table, advances: Mapping[int, float],
    gains: Column,
) -> tuple[Table, Table]:  # fmt: skip
    """Stays whose first token no prompt brought: that token is the one they begin with.

    With whatever else its step brought, it becomes a row of `shown`. `advances`: tokens that a step
    brings by client, NaN where they are `gains`. Sets the time of the first
    visible token of their requests.
    """
    since, first, last = (residences[name] for name in ("since_s", "first_step", "last_step"))
    fresh = np.isnan(since)
    if not fresh.any():
        return residences, shown
    fresh &= last > first
    ends = StepTimes(steps, max(advances) + 1)
    for client, mine in rows_by(residences["client"], fresh).items():
        times = ends.ends(ends.bases[client] + first[mine] + 1)
        since[mine] = times
        first[mine] += 1
        request = residences["request"][mine]
        gained, carry = residences["gained"], residences["carry"]
        if isnan(advances[client]):
            came = np.minimum(gained[mine], gains[carry[mine].astype(np.int64)])
            carry[mine] += 1.0
        else:
            parts = carry[mine] + advances[client]
            came = np.minimum(gained[mine], np.floor(parts)).astype(np.int64)
            carry[mine] = parts - came
        gained[mine] -= came
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
    if not wanted.any():
        return
    rows = np.flatnonzero(wanted)
    client = visits["client"][rows]
    ends = StepTimes(steps, int(client.max()) + 1)
    number = ends.bases[client] + opened[rows] + 1
    came = number <= ends.bases[client + 1]
    first[rows[came]] = ends.ends(number[came])


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


def counts_of(requests: Table) -> dict[str, int]:
    """How many there are, and of each outcome."""
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


def engine_summaries(
    engines: Iterable[Engine], sums: StepSums, cut: Table | None = None
) -> tuple[EngineSummary, ...]:
    """One per engine, of which the steps are summed; those in `cut` ended in a failure."""
    busy = sums.busy
    if cut is not None:
        busy = busy + np.bincount(cut["client"], cut["end_s"] - cut["start_s"], len(busy))
    return tuple(
        EngineSummary(
            client=engine.path,
            capacity_blocks=engine.kv.capacity,
            block_size=engine.kv.size,
            busy_s=float(busy[engine.index]),
            preemptions=engine.preemptions,
            recomputed=engine.recomputed,
            swapped=engine.host.out if engine.host is not None else 0,
            steps=int(sums.steps[engine.index]),
            asked=engine.reuse.asked if engine.reuse is not None else 0,
            hits=engine.reuse.hits if engine.reuse is not None else 0,
            advance=engine.advance,
            sampled=engine.guessing is not None,
        )
        for engine in engines
    )


def _floats(column: array[float]) -> Column:
    return np.frombuffer(column, np.float64)
