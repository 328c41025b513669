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
from hermesdsl.explore.margin import hopeless
from hermesdsl.explore.metrics import named, plain, written
from hermesdsl.explore.points import Point
from hermesdsl.explore.reads import FREE
from hermesdsl.graph.types import Experiment, Metric
from hermesdsl.plugins import load, version

if TYPE_CHECKING:
    from hermesdsl.api import System
    from hermesdsl.results import Result

__all__ = ["DONE", "FAILED", "PRUNED", "SKIPPED", "Job", "Row", "Runner", "Task"]

#: How a run ended: with a result; without one, since the point does not compile; given up after
#: a short run that left no hope; or broken off.
DONE, SKIPPED, PRUNED, FAILED = "done", "skipped", "pruned", "failed"

#: One line of `points.jsonl`.
Row: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class Job:
    """One experiment of one specification, as every point of it is compiled.

    `spec` is a path, or a text if `is_text`; `settings`, `folders` and `case` are those of
    `hermesdsl.compile`. `short`: share of the measured duration that is tried first, 0 for none.
    `plugins` are loaded wherever points are run. `metrics` are asked beside those of the
    experiment.
    """

    spec: str
    is_text: bool
    experiment: str
    settings: Mapping[str, str]
    folders: tuple[str, ...] = ()
    case: str | None = None
    short: float = 0.0
    plugins: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()


@dataclass(frozen=True)
class Task:
    """One point with one seed; `key` is the hash of everything that its result follows from.

    `beat`: the only objective, in SI units, after a short run with this seed of the best point so
    far; None without one.
    """

    point: Point
    seed: int
    key: str
    beat: float | None = None


def key(digest: str, job: Job, point: Point, seed: int) -> str:
    """Hash of a run: `digest` of what is read, what is set from outside or swept, and seed.

    A value that is set is as good as the same value swept. What `explore.reads` calls free is
    left out: it decides which runs are made, not what comes of them.
    """
    given = {**point.settings, **{" ".join(k.split()): v for k, v in job.settings.items()}}
    given = {path: text for path, text in given.items()
             if path not in {f"{job.experiment}.{name}" for name in FREE}}  # fmt: skip
    what: list[Any] = [digest, job.experiment, point.case or job.case, sorted(given.items()), seed]
    if job.plugins:
        what.append([[name, version(name)] for name in sorted(set(job.plugins))])
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]


class Runner:
    """Runs tasks of one job one after another; keeps the last point compiled for its next seed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._last: tuple[int, System | str] | None = None
        self._loaded = not job.plugins

    def __call__(self, task: Task) -> Row:
        """The row of a task; what goes wrong is its reason, never an exception."""
        row: Row = {"key": task.key, "point": task.point.index, "seed": task.seed,
                    "parameters": dict(task.point.texts)}  # fmt: skip
        try:
            if not self._loaded:
                load(self._job.plugins)
                self._loaded = True
            system = self._compiled(task.point)
            if isinstance(system, str):
                return {**row, "status": SKIPPED, "reason": system}
            return {**row, **self._ran(system, task)}
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

    def _ran(self, system: System, task: Task) -> Row:
        """A run, unless a short one leaves no hope; with what the short one said."""
        tried = self._tried(system, task.seed) if self._job.short else None
        if tried is None:
            return self._run(system, task.seed)
        length, values = tried
        experiment = system.experiment(self._job.experiment)
        why = hopeless(experiment, values, task.beat)
        if why is None:
            return {**self._run(system, task.seed), "short": self._job.short, "tried": values}
        return {"status": PRUNED, "reason": f"a run of {length:g} s {why}",
                "short": self._job.short, "tried": values}  # fmt: skip

    def _tried(self, system: System, seed: int) -> tuple[float, dict[str, float | None]] | None:
        """How long a short run is, in s, and its metrics; None where nothing is to be learnt."""
        from hermesdsl import api

        name, share = self._job.experiment, self._job.short
        experiment = system.experiment(name)
        if experiment.duration is None or not named(experiment):
            return None
        length = experiment.warmup + share * (experiment.duration - experiment.warmup)
        cut = replace(experiment, duration=length)
        compiled = replace(system.compiled, experiments={name: cut})
        result = api.run(replace(system, compiled=compiled), experiment=name, seed=seed)
        values = {text: result.value(metric) for text, metric in named(experiment).items()}
        return length, _stored(values)

    def _run(self, system: System, seed: int) -> Row:
        from hermesdsl import api

        result = api.run(system, experiment=self._job.experiment, seed=seed)
        data = result.summary()
        return {
            "status": DONE,
            "verdict": data["verdict"],
            "requests": data["requests"],
            "metrics": _metrics(result, system.experiment(self._job.experiment), self._job.metrics),
            "wall_s": data["wall_s"],
        }


def _metrics(
    result: Result, experiment: Experiment, more: tuple[Metric, ...]
) -> dict[str, float | None]:
    """Every metric of all requests, those that the experiment names, and `more`, in SI units."""
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
    for metric in more:
        found[written(plain(metric))] = result.value(metric)
    return _stored(found)


def _stored(found: Mapping[str, float | None]) -> dict[str, float | None]:
    """What is not finite as None: JSON has no word for it."""
    return {name: v if v is None or isfinite(v) else None for name, v in found.items()}


def reason(diagnostics: tuple[Diagnostic, ...] | list[Diagnostic]) -> str:
    """The first error in one line, and how many more there are."""
    errors = [item for item in diagnostics if item.is_error]
    first = " ".join(errors[0].message.split())
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{errors[0].code}: {first}{more}"
