"""Lets go of what is over while a run goes on: its tables stay as long as what is under way.

Every so many requests, those that have ended are handed on as a `Part` with all their rows, and
rows of steps that nobody can refer to any more are dropped. What is handed on does not depend on
when. Knows no metric.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from math import inf

import numpy as np

from hermesdsl.sim.binding import Point
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.interpreter import Interpreter, Progress
from hermesdsl.sim.record import (
    UNFINISHED,
    Column,
    Recorder,
    Run,
    Table,
    step_sums,
)
from hermesdsl.sim.writing import (
    api_of,
    counts_of,
    engine_summaries,
    kinds_of,
    rows_of,
    tables,
)

__all__ = ["EVERY", "Drain", "Part"]

#: Requests that end between two parts.
EVERY = 50_000


@dataclass(frozen=True, eq=False)
class Part:
    """Requests that have ended, as a `Run` that holds nothing else, and what passed meanwhile.

    ``steps``, ``services`` and ``transfers`` of `run` are all that began before `until` and ended
    after `since` seconds, and possibly more. `opened`: the earliest measured arrival, inf if
    nothing measured has come yet.
    """

    run: Run
    since: float
    until: float
    opened: float


class Drain:
    """Takes parts out of a run's records; called like `Progress`, which it passes on."""

    def __init__(self, receive: Callable[[Part], None], progress: Progress | None) -> None:
        self._receive = receive
        self._progress = progress
        self._taken = 0
        self._since = 0.0

    def watch(
        self,
        point: Point,
        recorder: Recorder,
        interpreter: Interpreter,
        stages: Ordered[str],
        clients: Ordered[str],
    ) -> None:
        """What parts are taken out of, before the run starts; see `writing.records`."""
        self._point, self._recorder, self._interpreter = point, recorder, interpreter
        self._stages, self._clients = stages, clients
        self._gone = np.zeros(len(point.offered), bool)
        #: Decoding steps that were dropped, by client: how far numbers of steps are off.
        self._base = np.zeros(len(clients), np.int64)
        self.sums = step_sums(tables(recorder)["steps"], len(clients))

    def __call__(self, now: float, ended: int, offered: int) -> None:
        """See `Progress`; takes a part out when enough requests have ended."""
        if self._progress is not None:
            self._progress(now, ended, offered)
        if ended - self._taken >= EVERY:
            self._taken = ended
            self._take(now)

    def opened(self) -> float:
        """The earliest measured arrival so far, inf if there is none."""
        arrival = np.frombuffer(self._recorder.arrival)
        begun = arrival[arrival >= self._point.experiment.warmup]
        return float(begun.min()) if len(begun) else inf

    def rest(self, recorder: Recorder) -> Column:
        """Numbers of the requests that came and were not taken out; the held tables are numbered
        anew by whoever asks."""
        came = np.isfinite(np.frombuffer(recorder.arrival))
        return np.flatnonzero(came & ~self._gone)

    def rebase(self, held: dict[str, Table]) -> None:
        """Number the steps that rows refer to from the first one that is held."""
        for name, columns in (("residences", ("first_step", "last_step")), ("visits", ("opened",))):
            rows = held[name]
            for column in columns:
                known = rows[column] >= 0
                rows[column][known] -= self._base[rows["client"][known]]

    # --- taking ------------------------------------------------------------------------------

    def _take(self, now: float) -> None:
        recorder = self._recorder
        held = tables(recorder)
        self.rebase(held)
        ready = self._ready(held)
        chosen = np.flatnonzero(ready)
        if not len(chosen):
            return
        self._gone |= ready
        until = self._oldest(now)
        mine = {name: _rows(held[name], ready[held[name]["request"]])
                for name in ("residences", "visits", "shown")}  # fmt: skip
        for name in mine:
            _keep(getattr(recorder, name), ~ready[held[name]["request"]])
        over = held["steps"]["end_s"] <= until
        dropped = _rows(held["steps"], over)
        part = {**held, **mine}
        run = self._run(part, chosen, now)
        self._receive(Part(run, self._since, until, self.opened()))
        for name in ("steps", "services", "transfers"):
            _keep(getattr(recorder, name), held[name]["end_s"] > until)
        sums = step_sums(dropped, len(self._clients))
        self._base += sums.decodes.astype(np.int64)
        self.sums += sums
        self._since = until

    def _ready(self, held: dict[str, Table]) -> Column:
        """Requests that have ended, of which all rows and all the steps they name are there."""
        status = np.frombuffer(self._recorder.status, np.int8)
        ready = np.asarray((status != UNFINISHED) & ~self._gone)
        ready[list(self._interpreter.under_way())] = False
        steps = step_sums(held["steps"], len(self._clients)).decodes
        for name, column in (("residences", "last_step"), ("visits", "opened")):
            rows = held[name]
            early = rows[column] > steps[rows["client"]]
            ready[rows["request"][early]] = False
        return ready

    def _oldest(self, now: float) -> float:
        """No row of a request that is still there names a step that ended before this."""
        arrival = np.frombuffer(self._recorder.arrival)
        there = arrival[~self._gone & (arrival <= now)]
        return float(there.min()) if len(there) else now

    def _run(self, held: dict[str, Table], chosen: Column, now: float) -> Run:
        point = self._point
        experiment, offered = point.experiment, point.offered
        engines: Iterable[Engine] = list(self._interpreter.engines.values())
        advances = {engine.index: engine.advance for engine in engines}
        requests = rows_of(offered, self._recorder, self._stages, held, advances, chosen)
        return Run(
            experiment=experiment.name,
            seed=point.seed,
            horizon=experiment.horizon,
            window=(experiment.warmup, experiment.duration),
            workloads=offered.workloads,
            classes=offered.classes,
            clients=tuple(self._clients),
            stages=tuple(self._stages),
            requests=requests,
            steps=held["steps"],
            residences=held["residences"],
            transfers=held["transfers"],
            engines=engine_summaries(engines, step_sums(held["steps"], len(self._clients))),
            counts=counts_of(requests),
            makespan_s=0.0,
            end_s=now,
            in_system={},
            visits=held["visits"],
            services=held["services"],
            shown=held["shown"],
            kinds=kinds_of(point, self._clients),
            api=api_of(engines, self._clients),
        )


def _rows(table: Table, chosen: Column) -> Table:
    return {name: column[chosen] for name, column in table.items()}


def _keep(rows: array[float], kept: Column) -> None:
    """Only these rows of a table of packed rows, in place: others hold on to the array."""
    width = len(rows) // len(kept) if len(kept) else 0
    left = np.frombuffer(rows).reshape(len(kept), width)[kept].tobytes() if width else b""
    del rows[:]
    rows.frombytes(left)
