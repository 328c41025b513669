"""A measured run replayed: the same requests at the same times through a specification's system.

Puts a table in the place of a workload's arrivals and compares what comes out. Knows no file layout
and no formula of a cost model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.graph.types import CompiledSystem, Experiment, Spec, Value, Workload
from hermesdsl.measure.causes import Part, parts
from hermesdsl.measure.errors import Comparison, Figure, compared
from hermesdsl.measure.phases import Spent, spent, times_of
from hermesdsl.measure.served import Served
from hermesdsl.results import Result

__all__ = ["PARTS", "Replay", "Validation", "measured_against", "replaying"]

Floats: TypeAlias = "NDArray[np.float64]"

#: The parts of a request's time, in order, and what each runs from and to.
PARTS: Mapping[str, str] = {
    "queueing": "until first worked on",
    "prefill": "from then to the first token",
    "decode": "from the first token to the end",
}


@dataclass(frozen=True)
class Replay:
    """What to run: a compiled system whose `workload` is the measured one, in one experiment."""

    compiled: CompiledSystem
    experiment: Experiment
    workload: str


@dataclass(frozen=True)
class Validation:
    """A measured run beside its prediction.

    `latencies` by role. `rates`: ``makespan`` (s, first arrival to last end), ``output`` and
    ``requests`` per second of it. `parts`: mean seconds of each of `PARTS` that the table tells
    apart; their differences add up to that of the mean latency. `present`: ``mean`` and ``most``
    requests in service at once. `pairs`: both columns per latency, for plots. `offered` requests,
    `completed` by the prediction, whose system was `verdict`. `used`: column of the table → what it
    was taken for; `unused`: the others.
    """

    offered: int
    completed: int
    verdict: str
    latencies: Mapping[str, Comparison]
    rates: Mapping[str, Figure]
    parts: Mapping[str, Part]
    present: Mapping[str, Figure]
    pairs: Mapping[str, tuple[Floats, Floats]]
    used: Mapping[str, str]
    unused: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Everything but the pairs, as JSON: seconds, tokens, shares."""
        return {
            "offered": self.offered,
            "completed": self.completed,
            "columns": {"used": dict(self.used), "unused": list(self.unused)},
            "verdict": self.verdict,
            "latencies": {
                role: {
                    "n": each.n,
                    **{name: figure.summary() for name, figure in each.figures.items()},
                    "mape_paired": each.paired,
                    "mape_sorted": each.ordered,
                }
                for role, each in self.latencies.items()
            },
            "rates": {name: figure.summary() for name, figure in self.rates.items()},
            "parts": {name: figure.summary() for name, figure in self.parts.items()},
            "present": {name: figure.summary() for name, figure in self.present.items()},
        }

    def pairs_csv(self) -> str:
        """Measured and predicted seconds of every request in order of arrival; empty for none."""
        names = [f"{role}_{side}_s" for role in self.pairs for side in ("measured", "predicted")]
        columns = [column for pair in self.pairs.values() for column in pair]
        lines = [",".join(("request", *names))]
        for number, row in enumerate(zip(*(each.tolist() for each in columns), strict=True)):
            cells = ("" if value != value else repr(value) for value in row)  # noqa: PLR0124
            lines.append(",".join((str(number), *cells)))
        return "\n".join(lines) + "\n"


def replaying(
    compiled: CompiledSystem, experiment: Experiment, served: Served, workload: str | None = None
) -> Replay:
    """The experiment with the requests of `served` in the place of one workload's.

    `workload` may be left out where the experiment has one alone. The whole table is offered,
    without warm-up. Raises SpecError HMS602 for a workload that the experiment does not run.
    """
    names = experiment.workloads
    if workload is None and len(names) > 1:
        note = "help: choose with --workload which one was measured"
        listed = ", ".join(names)
        message = f"`{experiment.name}` runs several workloads: {listed}"
        raise SpecError([error("HMS602", message, notes=[note])])
    name = names[0] if workload is None else workload
    if name not in names:
        notes = suggestion(name, names) or (f"help: it runs {', '.join(names)}",)
        message = f"`{experiment.name}` runs no workload `{name}`"
        raise SpecError([error("HMS602", message, notes=notes)])
    workloads = {**compiled.workloads, name: _measured(compiled.workloads[name], served)}
    options = {**experiment.options, "records": "all"}
    whole = replace(experiment, duration=None, warmup=0.0, requirements=(), axes=(),
                    options=options)  # fmt: skip
    experiments = {**compiled.experiments, experiment.name: whole}
    changed = replace(compiled, workloads=workloads, experiments=experiments)
    return Replay(changed, whole, name)


def _measured(workload: Workload, served: Served) -> Workload:
    """The workload with the arrivals and lengths of the table, and nothing of its own but class."""
    roles = ("time", "prompt", "output", "cached")
    columns: dict[str, Value] = {
        role: Spec("column", {"name": column.name, "unit": column.scale})
        for role, column in served.layout.items()
        if role in roles
    }
    arrivals = Spec("trace", {"file": served.file, **columns})
    kept = {
        name: value
        for name, value in workload.options.items()
        if name not in ("turns", "think_time", "prefix")
    }
    return replace(
        workload, arrivals=arrivals, prompt=None, output=None, requests=None, sessions=False,
        options=kept,
    )  # fmt: skip


def measured_against(result: Result, replay: Replay, served: Served) -> Validation:
    """The comparison of a finished replay, request by request in order of arrival."""
    rows = result.requests
    mine = (rows["workload"] == replay.workload).to_numpy()
    predicted = times_of(rows[mine])
    pairs = {role: (served.columns[role], predicted[role]) for role in served.latencies}
    latencies = {role: compared(*pair, relative=role != "queue") for role, pair in pairs.items()}
    return Validation(
        offered=len(served),
        completed=int((rows["status"] == "completed").sum()),
        verdict=result.verdict,
        latencies=latencies,
        rates=_rates(served, predicted),
        parts=_parts(served, predicted, spent(replay.compiled, result).chosen(mine)),
        present=_present(served, predicted),
        pairs=pairs,
        used={column.name: role for role, column in served.layout.items()},
        unused=served.unused,
    )


def _rates(served: Served, predicted: Mapping[str, Floats]) -> dict[str, Figure]:
    """Of the whole run; empty without measured ends."""
    if "latency" not in served.columns:
        return {}
    found = {}
    spans = [_span(columns) for columns in (served.columns, predicted)]
    tokens = [float(np.nansum(np.where(np.isnan(columns["latency"]), 0.0, columns["output"])))
              for columns in (served.columns, predicted)]  # fmt: skip
    ended = [float((~np.isnan(columns["latency"])).sum())
             for columns in (served.columns, predicted)]  # fmt: skip
    if min(spans) > 0.0:
        found["makespan"] = Figure(*spans)
        found["output"] = Figure(tokens[0] / spans[0], tokens[1] / spans[1])
        found["requests"] = Figure(ended[0] / spans[0], ended[1] / spans[1])
    return found


def _span(columns: Mapping[str, Floats]) -> float:
    """First arrival to last end."""
    ends = columns["time"] + columns["latency"]
    if np.isnan(ends).all():
        return 0.0
    return float(np.nanmax(ends) - columns["time"].min())


def _parts(served: Served, predicted: Mapping[str, Floats], own: Spent) -> dict[str, Part]:
    """Phases over the requests that both have; what is not measured is joined."""
    roles = [role for role in ("queue", "ttft", "latency") if role in served.columns]
    if "latency" not in roles or "ttft" not in roles:
        return {}
    both = np.asarray(~np.isnan(own.other).any(axis=0))
    for role in roles:
        both = both & ~(np.isnan(served.columns[role]) | np.isnan(predicted[role]))
    if not both.any():
        return {}
    names = list(PARTS) if "queue" in roles else ["queueing and prefill", "decode"]
    edges = {role: (served.columns[role][both], predicted[role][both]) for role in roles}
    return parts(edges, own.chosen(both), names)


def _present(served: Served, predicted: Mapping[str, Floats]) -> dict[str, Figure]:
    """Requests in service at once: from first being worked on (else arrival) to the end."""
    if "latency" not in served.columns:
        return {}
    counts = [_counted(columns, "queue" in served.columns)
              for columns in (served.columns, predicted)]  # fmt: skip
    if any(count is None for count in counts):
        return {}
    (mean, most), (mean_predicted, most_predicted) = (count or (0.0, 0.0) for count in counts)
    return {"mean": Figure(mean, mean_predicted), "most": Figure(most, most_predicted)}


def _counted(columns: Mapping[str, Floats], queued: bool) -> tuple[float, float] | None:
    start = columns["time"] + (columns["queue"] if queued else 0.0)
    end = columns["time"] + columns["latency"]
    there = ~(np.isnan(start) | np.isnan(end))
    if not there.any():
        return None
    start, end = start[there], end[there]
    span = float(end.max() - start.min())
    # One leaves before the next comes, a microsecond of rounding in tables of times forgiven.
    times = np.concatenate([end - 1e-6, start])
    changes = np.concatenate([np.full(len(end), -1), np.full(len(start), 1)])
    level = np.cumsum(changes[np.argsort(times, kind="stable")])
    mean = float((end - start).sum() / span) if span > 0.0 else float(len(end))
    return mean, float(level.max())
