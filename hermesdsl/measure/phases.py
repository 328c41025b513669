"""What the time of every predicted request consists of: device, host, API and all else, by phase.

A phase is a span of a request's time (until first worked on, to the first token, to the end). While
a request is at an engine, the steps that run there are what it waits for or is served by; of each
the cost model knows what the host adds. So much is known of a prediction, and nothing is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.cost.types import EngineCost
from hermesdsl.graph.types import CompiledSystem
from hermesdsl.results.activity import alike_steps
from hermesdsl.results.attribution import KINDS, Attribution
from hermesdsl.results.metrics import Measures
from hermesdsl.results.result import Result
from hermesdsl.sim.record import Run

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Spent", "spent", "times_of", "together"]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"

_OUTSIDE = KINDS.index("outside")


@dataclass(frozen=True, eq=False)
class Spent:
    """Seconds of each phase and request, shape (3, n): `device`, `host` (of steps), `api`, and
    `other` (transfers, other stages, waiting without steps), which add up to the phase; the
    `steps` that ran meanwhile; and the seconds in which the bytes they read pass at full bandwidth,
    `memory`. NaN for requests that did not complete.
    """

    device: Floats
    host: Floats
    api: Floats
    other: Floats
    steps: Floats
    memory: Floats

    def summed(self, phases: Sequence[int]) -> Spent:
        """Some phases as one, shape (1, n)."""
        return Spent(*(getattr(self, name)[list(phases)].sum(axis=0, keepdims=True)
                       for name in self.__dataclass_fields__))  # fmt: skip

    def chosen(self, at: NDArray[np.bool_]) -> Spent:
        """Of some requests."""
        return Spent(*(getattr(self, name)[:, at] for name in self.__dataclass_fields__))

    def mean(self) -> Spent:
        """Of all requests, as of one."""
        return Spent(*(getattr(self, name).mean(axis=1, keepdims=True)
                       for name in self.__dataclass_fields__))  # fmt: skip

    def per_step(self) -> Spent:
        """Seconds of one step, of requests that have any."""
        return Spent(*(getattr(self, name) / self.steps for name in self.__dataclass_fields__))


def together(parts: Sequence[Spent]) -> Spent:
    """The requests of several, one after another."""
    names = list(Spent.__dataclass_fields__)
    return Spent(*(np.concatenate([getattr(part, name) for part in parts], axis=1)
                   for name in names))  # fmt: skip


@dataclass(frozen=True)
class _Steps:
    """Of one engine over the clock: ends of its rows of steps, and what was spent until each."""

    time: Floats
    busy: Floats
    host: Floats
    count: Floats

    memory: Floats

    def between(self, start: Floats, end: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Seconds of devices and of the host in steps, steps, and seconds of memory, from start to
        end, (rows,) each."""
        if not len(self.time):
            nothing = np.zeros(len(start))
            return nothing, nothing, nothing, nothing
        busy, host, count, memory = (
            np.interp(end, self.time, column) - np.interp(start, self.time, column)
            for column in (self.busy, self.host, self.count, self.memory)
        )
        return busy - host, host, count, memory


def times_of(rows: DataFrame) -> dict[str, Floats]:
    """The columns of a measured table from the rows of a run, by role, (n,) each.

    Seconds from the arrival, NaN for what did not complete; ``time`` of the arrival; ``output``
    tokens.
    """
    done = (rows["status"] == "completed").to_numpy()
    starts = [name for name in rows.columns if name.endswith(".start_s")]
    first = rows[starts].min(axis=1).to_numpy(float)
    columns = {
        "time": rows["arrival_s"].to_numpy(float),
        "output": rows["output_tokens"].to_numpy(float),
        "queue": first - rows["arrival_s"].to_numpy(float),
        "ttft": rows["ttft_s"].to_numpy(float),
        "tpot": rows["tpot_s"].to_numpy(float),
        "latency": rows["e2e_s"].to_numpy(float),
    }
    for role in ("queue", "ttft", "tpot", "latency"):
        columns[role] = np.where(done, columns[role], np.nan)
    return columns


def spent(compiled: CompiledSystem, result: Result) -> Spent:
    """What the phases of every request of a run consist of; its engines carry their cost models."""
    assert isinstance(result.measures, Measures)
    run, attribution = result.measures.run, result.measures.attribution
    times = times_of(result.requests)
    start, n = times["time"], len(times["time"])
    edges = np.stack([start, *(start + times[role] for role in ("queue", "ttft", "latency"))])
    edges[:, np.isnan(edges).any(axis=0)] = np.nan
    costs: dict[str, EngineCost] = {
        path: data["cost"] for path, data in compiled.placement.nodes(data=True) if "cost" in data
    }
    engines = _steps(compiled, run, costs)
    device, host, steps, memory, api = np.zeros((5, 3, n))
    for row in _stays(run, attribution):
        engine = engines.get(row.client)
        if engine is None:
            continue
        for phase in range(3):
            since, until = (edges[phase + side][row.request] for side in (0, 1))
            for start, end, share in row.spans:
                low, high = np.maximum(start, since), np.minimum(end, until)
                here = high > low
                own, found = row.request[here], engine.between(low[here], high[here])
                for total, part in zip((device, host, steps, memory), found, strict=True):
                    np.add.at(total[phase], own, part * share[here])
        late = sum((row.enter > edges[side][row.request]).astype(int) for side in (1, 2))
        np.add.at(api, (late, row.request), row.api)
    other = np.diff(edges, axis=0) - device - host - api
    done = ~np.isnan(edges).any(axis=0)
    columns = (device, host, api, other, steps, memory)
    return Spent(*(np.where(done, column, np.nan) for column in columns))


def _steps(
    compiled: CompiledSystem, run: Run, costs: Mapping[str, EngineCost]
) -> dict[int, _Steps]:
    """By number of the client."""
    clients = [compiled.placement.nodes[path]["client"] for path in run.clients]
    found = {}
    for cost, members, mine, rows in alike_steps(run, clients, costs):
        hosted, streamed = np.zeros(0), np.zeros(0)
        if len(mine):
            hosted, streamed = cost.hosted(rows), cost.use(rows).memory * rows.seconds
        count = np.maximum(run.steps["steps"][mine], 1).astype(np.float64)
        numbers = run.steps["client"][mine]
        for number in members:
            at = np.flatnonzero(numbers == number)
            start, end = (run.steps[name][mine][at] for name in ("start_s", "end_s"))
            host, memory = hosted[at] * count[at], streamed[at] * count[at]
            found[number] = _Steps(
                np.stack([start, end], axis=1).ravel(),
                *(_until(column) for column in (end - start, host, count[at], memory)),
            )
    return found


def _until(each: Floats) -> Floats:
    """Sums at the start and end of every row, shape (2 rows,)."""
    after = np.cumsum(each)
    return np.stack([after - each, after], axis=1).ravel()


@dataclass(frozen=True)
class _Stays:
    """Stays of requests at one client, (rows,) each: when they came, and what the API took before.

    `spans`: (start, end, share of it that steps were waited for) of the wait and the service.
    """

    client: int
    request: Ints
    enter: Floats
    api: Floats
    spans: tuple[tuple[Floats, Floats, Floats], ...]


def _stays(run: Run, attribution: Attribution) -> list[_Stays]:
    """The stays on the critical paths, by client."""
    visits, rows = run.visits, attribution.row
    client = visits["client"][rows]
    limit = np.array([*run.api, 0.0]) if any(run.api) else np.zeros(len(run.clients) + 1)
    found = []
    for number in np.unique(client).tolist():
        at = np.flatnonzero(client == number)
        own = rows[at]
        enter, start, end = (visits[name][own] for name in ("enter_s", "start_s", "end_s"))
        wait = start - enter
        moved = np.divide(visits["moved_s"][own], wait, out=np.zeros(len(own)), where=wait > 0)
        waiting = np.clip(1.0 - moved, 0.0, 1.0)
        api = np.minimum(attribution.seconds[at, _OUTSIDE], limit[number])
        spans = ((enter, start, waiting), (start, end, np.ones(len(own))))
        found.append(_Stays(number, attribution.request[at], enter, api, spans))
    return found
