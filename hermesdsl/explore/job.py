"""What a worker needs to run points, one run of a point, and the row that comes of it.

A point is compiled where it is run, from the text of the specification and settings, so that
nothing but text and numbers travels. Knows no table and no other point.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias

from hermesdsl.diagnostics import Diagnostic, SpecError
from hermesdsl.explore.points import Point
from hermesdsl.graph.types import Experiment, Metric

if TYPE_CHECKING:
    from hermesdsl.api import System
    from hermesdsl.results import Result

__all__ = ["DONE", "FAILED", "SKIPPED", "Job", "Row", "Runner", "Task", "named", "plain", "written"]

#: How a run ended: with a result; without one, since the point does not compile; or broken off.
DONE, SKIPPED, FAILED = "done", "skipped", "failed"

#: One line of `points.jsonl`.
Row: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class Job:
    """One experiment of one specification, as every point of it is compiled.

    `spec` is a path, or a text if `is_text`; `settings`, `folders` and `case` are those of
    `hermesdsl.compile`.
    """

    spec: str
    is_text: bool
    experiment: str
    settings: Mapping[str, str]
    folders: tuple[str, ...] = ()
    case: str | None = None


@dataclass(frozen=True)
class Task:
    """One point with one seed; `key` is the hash of everything that its result follows from."""

    point: Point
    seed: int
    key: str


def key(digest: str, job: Job, point: Point, seed: int) -> str:
    """Hash of a run: `digest` of all files read, settings, point and seed."""
    what = [digest, job.experiment, sorted(job.settings.items()), point.case or job.case,
            sorted(point.settings.items()), seed]  # fmt: skip
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


def plain(metric: Metric) -> Metric:
    """The same metric of whatever point it is asked of."""
    return replace(metric, where={k: v for k, v in metric.where.items() if k != "case"})


def written(metric: Metric) -> str:
    """A metric as the language writes it: ``p99(ttft, class = gold)``."""
    parts = [*([metric.of] if metric.of else []), *(f"{k} = {v}" for k, v in metric.where.items())]
    return f"{metric.name}({', '.join(parts)})" if parts else metric.name


def named(experiment: Experiment) -> dict[str, Metric]:
    """The metrics that its objective and goals name, by how they are written, without cases."""
    wanted = [o for r in experiment.requirements for o in r.goal.operands if isinstance(o, Metric)]
    first = [experiment.objective] if experiment.objective is not None else []
    return {written(plain(metric)): plain(metric) for metric in (*first, *wanted)}


class Runner:
    """Runs tasks of one job one after another; keeps the last point compiled for its next seed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._last: tuple[int, System | str] | None = None

    def __call__(self, task: Task) -> Row:
        """The row of a task; what goes wrong is its reason, never an exception."""
        row: Row = {"key": task.key, "point": task.point.index, "seed": task.seed,
                    "parameters": dict(task.point.texts)}  # fmt: skip
        try:
            system = self._compiled(task.point)
            if isinstance(system, str):
                return {**row, "status": SKIPPED, "reason": system}
            return {**row, "status": DONE, **self._run(system, task.seed)}
        except SpecError as failure:
            return {**row, "status": FAILED, "reason": reason(failure.diagnostics)}
        except Exception as failure:
            said = " ".join(str(failure).split())
            return {**row, "status": FAILED, "reason": f"{type(failure).__name__}: {said}"}

    def _compiled(self, point: Point) -> System | str:
        """The system at a point, or why there is none."""
        from pathlib import Path

        from hermesdsl import api

        if self._last is None or self._last[0] != point.index:
            job = self._job
            found: System | str
            try:
                found = api.compile(
                    job.spec if job.is_text else Path(job.spec), set=job.settings,
                    path=job.folders, case=point.case or job.case, point=point.settings,
                )  # fmt: skip
            except SpecError as failure:
                found = reason(failure.diagnostics)
            self._last = (point.index, found)
        return self._last[1]

    def _run(self, system: System, seed: int) -> Row:
        from hermesdsl import api

        result = api.run(system, experiment=self._job.experiment, seed=seed)
        data = result.summary()
        return {
            "verdict": data["verdict"],
            "requests": data["requests"],
            "metrics": _metrics(result, system.experiment(self._job.experiment)),
            "wall_s": data["wall_s"],
        }


def _metrics(result: Result, experiment: Experiment) -> dict[str, float | None]:
    """Every metric of all requests, and those that the experiment names, in SI units."""
    found: dict[str, float | None] = {}
    for name, entry in result.summary()["metrics"].items():
        if "value" in entry:
            found[name] = entry["value"]
        else:
            found |= {f"{each}({name})": entry[each]
                      for each in ("mean", "p50", "p90", "p95", "p99", "max")}  # fmt: skip
    for name, key in (("energy_per_token", "energy"), ("cost_per_token", "cost")):
        found[name] = (result.summary()[key] or {}).get("per_token")
    for text, metric in named(experiment).items():
        found[text] = result.value(metric)
    return {name: v if v is None or isfinite(v) else None for name, v in found.items()}


def reason(diagnostics: tuple[Diagnostic, ...] | list[Diagnostic]) -> str:
    """The first error in one line, and how many more there are."""
    errors = [item for item in diagnostics if item.is_error]
    first = " ".join(errors[0].message.split())
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{errors[0].code}: {first}{more}"
