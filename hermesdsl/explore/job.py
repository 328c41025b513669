"""What a worker needs to run points, one run of a point, and the row that comes of it.

A point is compiled where it is run, from the text of the specification and settings, so that
nothing but text and numbers travels. Knows no table and no other point.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

from hermesdsl.diagnostics import Diagnostic, SpecError
from hermesdsl.explore.certain import Rival, behind, floors
from hermesdsl.explore.margin import hopeless
from hermesdsl.explore.metrics import named, plain, written
from hermesdsl.explore.points import Point
from hermesdsl.explore.reads import FREE
from hermesdsl.graph.types import Experiment, Metric
from hermesdsl.plugins import load, version
from hermesdsl.results.bars import Bar, Missed
from hermesdsl.results.floors import least_cost_per_token

if TYPE_CHECKING:
    from hermesdsl.api import System
    from hermesdsl.results import Result

__all__ = ["DONE", "FAILED", "PRUNED", "SKIPPED", "Job", "Row", "Runner", "Task", "key", "listed"]

#: How a run ended: with a result; without one, since the point does not compile; given up after
#: a short run that left no hope; or broken off.
DONE, SKIPPED, PRUNED, FAILED = "done", "skipped", "pruned", "failed"

#: Why a point is pruned that cannot be as good as another.
BEHIND = "it cannot be as good as another point, whatever its run says"

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
    far; None without one. `rivals`: points found so far that this one must not come behind, which
    is looked at where `seeds` are given, those of the point in all. `bars`: what its run may not
    pass.
    """

    point: Point
    seed: int
    key: str
    beat: float | None = None
    rivals: tuple[Rival, ...] = ()
    seeds: tuple[int, ...] = ()
    bars: tuple[Bar, ...] = ()


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
    """Runs tasks of one job one after another.

    Keeps the last point compiled for its next seed, and what runs may share (`execute.Shared`).
    """

    def __init__(self, job: Job) -> None:
        from hermesdsl.execute import Shared

        self._job = job
        self._shared = Shared()
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
        """A run, unless it is certain beforehand that nobody wants it, or a short one leaves no
        hope; or the part of it after which its end was certain. With what was learnt."""
        experiment = system.experiment(self._job.experiment)
        row: Row = {}
        if task.seeds:
            row = {"floor": self._floor(system, experiment, task), "seeds": list(task.seeds)}
            apart = behind(experiment, row["floor"], task.rivals)
            if apart is not None:
                return {**row, "status": PRUNED, "behind": apart, "reason": BEHIND}
        if self._job.short:
            length, values = self._tried(system, experiment, task.seed)
            row |= {"short": self._job.short, "tried": values}
            why = hopeless(experiment, values, task.beat) if length else None
            if why is not None:
                return {**row, "status": PRUNED, "reason": f"a run of {length:g} s {why}"}
        if task.bars:
            row["bars"] = listed(task.bars)
        try:
            return {**row, **self._run(system, experiment, task)}
        except Missed as end:
            why = f"the run with seed {task.seed} {end.bar.text}"
            return {**row, "status": PRUNED, "reason": why, "stopped_s": end.now}

    def _floor(
        self, system: System, experiment: Experiment, task: Task
    ) -> tuple[float | None, ...]:
        """The best that each objective can be in the mean over the seeds."""
        from hermesdsl.execute import loads_of

        def least() -> float | None:
            found = [
                least_cost_per_token(system.compiled, experiment, [load.batch for load in loads])
                for loads in (loads_of(system.compiled, experiment, seed, self._shared)
                              for seed in task.seeds)
            ]  # fmt: skip
            known = [value for value in found if value is not None]
            return fmean(known) if known and len(known) == len(found) else None

        return floors(experiment, task.point, least)

    def _tried(
        self, system: System, experiment: Experiment, seed: int
    ) -> tuple[float, dict[str, float | None]]:
        """How long a short run is, in s, and its metrics; none where nothing is to be learnt."""
        from hermesdsl.execute import execute

        if experiment.duration is None or not named(experiment):
            return 0.0, {}
        length = experiment.warmup + self._job.short * (experiment.duration - experiment.warmup)
        cut = replace(experiment, duration=length)
        compiled = replace(system.compiled, experiments={experiment.name: cut})
        result = execute(replace(system, compiled=compiled), cut, seed=seed, shared=self._shared)
        values = {text: result.value(metric) for text, metric in named(experiment).items()}
        return length, _stored(values)

    def _run(self, system: System, experiment: Experiment, task: Task) -> Row:
        from hermesdsl.execute import execute

        result = execute(system, experiment, seed=task.seed, shared=self._shared, bars=task.bars)
        data = result.summary()
        return {
            "status": DONE,
            "verdict": data["verdict"],
            "requests": data["requests"],
            "metrics": _metrics(result, experiment, self._job.metrics),
            "wall_s": data["wall_s"],
        }


def listed(bars: Sequence[Bar]) -> list[list[Any]]:
    """Bars as a row holds them: of which goal, and where."""
    return [[bar.text, bar.limit] for bar in bars]


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
