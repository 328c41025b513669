"""An experiment over all its points and seeds: what is left to do, done, and summed up.

Ties together points, executor, ledger and table; knows no formula of any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import Diagnostic, SpecError
from hermesdsl.explore import checks
from hermesdsl.explore import ledger as ledgers
from hermesdsl.explore import outcome as outcomes
from hermesdsl.explore import points as enumerate_
from hermesdsl.explore import table as tables
from hermesdsl.explore.certain import Rival, bars
from hermesdsl.explore.estimate import Estimate
from hermesdsl.explore.executors import Executor, Here, Lost
from hermesdsl.explore.job import DONE, FAILED, PRUNED, Job, Row, Task, key
from hermesdsl.explore.margin import AFTER_ALL, hopeless
from hermesdsl.explore.metrics import named, plain, written
from hermesdsl.explore.outcome import Outcome
from hermesdsl.explore.picture import picture
from hermesdsl.explore.points import Parameter, Point, argument, strategy
from hermesdsl.explore.reads import digest
from hermesdsl.explore.resume import still
from hermesdsl.explore.search import Search, search_of
from hermesdsl.graph.types import Experiment, Metric

if TYPE_CHECKING:
    import pandas as pd

    from hermesdsl.api import System

__all__ = ["Progress", "Sweep", "explore", "job_of"]

#: Called with (runs finished, runs in all), those of an earlier sweep included.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Sweep:
    """What came of an experiment: `points` in order, those without any run left out.

    `total` is how many there are, or of a search that ended early may have been; `resumed` how many
    runs were there already. `interrupted`: Ctrl-C came before the end; `broken`: what ran the
    points was lost before it. `folder` holds the files, if any.
    """

    experiment: Experiment
    points: tuple[Outcome, ...]
    parameters: tuple[Parameter, ...]
    total: int
    resumed: int = 0
    interrupted: bool = False
    folder: Path | None = None
    files: tuple[str, ...] = ()
    broken: Diagnostic | None = None

    @cached_property
    def best(self) -> Outcome | None:
        """The point that the one objective asks for; None without one."""
        return outcomes.best(self.experiment, self.points)

    @cached_property
    def front(self) -> tuple[Outcome, ...]:
        """The points that no other one beats in every objective: see `explore.outcome.front`."""
        return outcomes.front(self.experiment, self.points)

    @cached_property
    def picture(self) -> str | None:
        """The front of several objectives as SVG text: see `explore.picture`; None for one."""
        return picture(self.experiment, self.points, self.parameters)

    def difference(self, metric: str, one: int, other: int) -> Estimate | None:
        """How much more of a metric, such as ``p99(ttft)``, point `other` has than point `one`.

        Both by index; in SI units, seed by seed: see `explore.outcome.difference`. Raises
        ValueError for a point that has no row.
        """
        known = {each.point.index: each for each in self.points}
        missing = [index for index in (one, other) if index not in known]
        if missing:
            raise ValueError(f"no point {missing[0]} was run")
        return outcomes.difference(metric, known[one], known[other])

    @cached_property
    def columns(self) -> tables.Columns:
        """The table as columns: see `explore.table.columns`."""
        return tables.columns(self.points, self.parameters, self.experiment)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The table, one row per point."""
        import pandas as pd

        return pd.DataFrame(self.columns)

    @property
    def met(self) -> bool:
        """With an objective: some point meets all goals. Without: no point that ran missed one."""
        if self.experiment.objectives:
            return bool(self.front)
        return all(False not in each.verdicts for each in self.points)


def job_of(system: System, experiment: str | None = None, plugins: Sequence[str] = ()) -> Job:
    """What the points of an experiment of `system` are compiled from; raises SpecError HMS602.

    `plugins`: names of those that are loaded wherever points are run.
    """
    given, chosen = system.given, system.experiment(experiment)
    return Job(
        system.spec if given.text is None else given.text, given.text is not None,
        chosen.name, given.settings, given.folders, given.case, argument(chosen, "short", 0.0),
        tuple(plugins),
    )  # fmt: skip


def explore(
    system: System,
    job: Job,
    *,
    executor: Executor | None = None,
    limit: int | None = None,
    seeds: Sequence[int] | None = None,
    folder: Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> Sweep:
    """Runs every point of the experiment of `job`, of which `system` is the file as it stands.

    `limit`: no more than the first so many points. `seeds` instead of those of the experiment.
    With a `folder` each run is stored as it ends, and the table at the end; `resume` leaves out
    what is stored there already and did not fail. Ctrl-C ends the sweep early, with the table of
    what is done. Raises SpecError for an experiment that cannot be swept (HMS506, HMS602, HMS604)
    and for a folder that may not be written (HMS608).
    """
    experiment = system.experiment(job.experiment)
    if seeds is not None:
        experiment = replace(experiment, seeds=tuple(seeds))
    axes = enumerate_.pinned(experiment.axes, job.settings, job.case)
    problems = checks.check(experiment, axes, limit, job.case)
    if folder is not None:
        refused = ledgers.refusal(folder, resume=resume, force=force)
        problems += [refused] if refused is not None else []
    if problems:
        raise SpecError(problems)
    earlier = _earlier(folder) if resume and folder is not None else {}
    executor = executor or Here()
    run = _Run(job, experiment, digest(system), executor, earlier, progress)
    search = search_of(experiment, axes, limit)
    book = ledgers.Ledger(folder, resume=resume) if folder is not None else None
    interrupted, broken = False, None
    try:
        with book or nullcontext():
            run.all(search, book)
    except KeyboardInterrupt:
        interrupted = True
    except Lost as loss:
        broken = loss.diagnostic
    finally:
        executor.close()
    found = _summed(run, enumerate_.parameters(axes), interrupted, folder)
    early = interrupted or broken is not None
    total = max(found.total, search.expected) if early else found.total
    return replace(found, total=total, broken=broken)


def _summed(
    run: _Run, parameters: tuple[Parameter, ...], interrupted: bool, folder: Path | None
) -> Sweep:
    """What was run, with its table written."""
    ended = run.outcomes()
    files: list[str] = []
    if folder is not None:
        table = tables.columns(ended, parameters, run.experiment)
        front = None
        if len(run.experiment.objectives) > 1:
            best = outcomes.front(run.experiment, ended)
            front = tables.columns(best, parameters, run.experiment)
        drawn = picture(run.experiment, ended, parameters)
        files = [ledgers.NAME, *tables.write(folder, table, front, drawn)]
    return Sweep(
        run.experiment, ended, parameters, len(run.points), run.resumed, interrupted, folder,
        tuple(files),
    )  # fmt: skip


class _Run:
    """Points as a search names them, and the rows that are there."""

    def __init__(
        self, job: Job, experiment: Experiment, digest: str, executor: Executor,
        earlier: Mapping[str, Row], progress: Progress | None,
    ) -> None:  # fmt: skip
        self.experiment = experiment
        self.points: list[Point] = []
        self.resumed = 0
        self._job, self._digest, self._executor = job, digest, executor
        self._earlier, self._progress = earlier, progress
        self._rows: dict[str, Row] = {}
        self._by_point: dict[int, dict[str, Row]] = {}
        self._total = 0

    def all(self, search: Search, book: ledgers.Ledger | None) -> None:
        """Run round after round; each row is stored in `book` as soon as it is there.

        Where short runs may end a point, its seeds come one after the other, until one does.
        """
        seeds = tuple(dict.fromkeys(self.experiment.seeds))
        while points := search.round(self._found):
            beat = self._beat("tried") if self._job.short else {}
            rivals = self._rivals()
            whole = self._beat("metrics") if self._job.short else {}
            self.points += points
            self._total += len(points) * len(seeds)
            expected = max(self._total, search.expected * len(seeds))
            for some in [(seed,) for seed in seeds] if self._job.short else [seeds]:
                self._give_up(points, whole, some[0], book)
                tasks = [
                    self._task(point, seed, seeds, beat, rivals)
                    for point in points
                    if not self._ended(point)
                    for seed in some
                ]
                left = self._left(tasks)
                for row in self._executor.rows(self._job, left) if left else ():
                    self._take(row)
                    if book is not None:
                        book.add(row)
                    if self._progress is not None:
                        self._progress(len(self._rows) + self._spared(seeds), expected)

    def _task(
        self, point: Point, seed: int, seeds: Sequence[int], beat: Mapping[int, float | None],
        rivals: tuple[Rival, ...],
    ) -> Task:  # fmt: skip
        """A run of a point, with all that may end it early where it may be ended early."""
        name = key(self._digest, self._job, point, seed)
        if not self._job.short:
            return Task(point, seed, name)
        first = self._bounded and seed == seeds[0]
        done = [row for row in self._by_point.get(point.index, {}).values()
                if row["status"] == DONE]  # fmt: skip
        known = {
            text: [row["metrics"].get(text) for row in done] for text in named(self.experiment)
        }
        after = len(seeds) - 1 - seeds.index(seed)
        return Task(
            point, seed, name, beat.get(seed), rivals if first else (),
            tuple(seeds) if first else (), bars(self.experiment, known, after),
        )  # fmt: skip

    def _rivals(self) -> tuple[Rival, ...]:
        """What no point may come behind from now on."""
        return outcomes.rivals(self.experiment, self.outcomes()) if self._bounded else ()

    @property
    def _bounded(self) -> bool:
        """Whether points compete with each other: `bisect` looks for the edge of every one, and a
        goal that compares cases needs them all."""
        goals = (requirement.goal for requirement in self.experiment.requirements)
        needed = any("case" in o.where for g in goals for o in g.operands if isinstance(o, Metric))
        competes = bool(self.experiment.objectives) and strategy(self.experiment) != "bisect"
        return bool(self._job.short) and competes and not needed

    def _give_up(
        self, points: Sequence[Point], beat: Mapping[int, float | None], seed: int,
        book: ledgers.Ledger | None,
    ) -> None:  # fmt: skip
        """End points whose whole runs with earlier seeds leave no hope, before that with `seed`.

        `beat`: the objective of the best point so far by seed.
        """
        for point in points:
            for row in list(self._by_point.get(point.index, {}).values()):
                if row["status"] != DONE or "tried" not in row or self._ended(point):
                    continue
                why = hopeless(self.experiment, row["metrics"], beat.get(row["seed"]), AFTER_ALL)
                if why is None:
                    continue
                name = key(self._digest, self._job, point, seed)
                made = {"key": name, "point": point.index, "seed": seed,
                        "parameters": dict(point.texts), "status": PRUNED,
                        "reason": f"the run with seed {row['seed']} {why}"}  # fmt: skip
                self._take(made)
                if book is not None and name not in self._earlier:
                    book.add(made)

    def _ended(self, point: Point) -> bool:
        """Whether a seed of a point said already that it is not wanted, or cannot be."""
        rows = self._by_point.get(point.index, {}).values()
        return any(row["status"] != DONE for row in rows)

    def _spared(self, seeds: Sequence[int]) -> int:
        """Runs that are not made, since another seed ended their point."""
        if not self._job.short:
            return 0
        return sum(len(seeds) - len(rows) for rows in self._by_point.values()
                   if any(row["status"] != DONE for row in rows.values()))  # fmt: skip

    def _left(self, tasks: Sequence[Task]) -> list[Task]:
        """Tasks that no earlier sweep has finished; the rows of the others are taken over."""
        left = []
        for task in tasks:
            row = self._earlier.get(task.key)
            if row is None or not still(self.experiment, self._job, row, task):
                left.append(task)
            else:
                self._take({**row, "point": task.point.index})
                self.resumed += 1
        return left

    def outcomes(self) -> tuple[Outcome, ...]:
        """Every point that has a row."""
        rows = self._rows.values()
        return outcomes.outcomes(self.points, rows, self.experiment, self._job.case)

    def _beat(self, which: str) -> dict[int, float | None]:
        """By seed, the objective of the best point so far: ``tried`` after its short run, or of its
        whole run's ``metrics``."""
        best = outcomes.best(self.experiment, self.outcomes())
        metric = self.experiment.objectives[0].metric if best is not None else None
        if best is None or metric is None:
            return {}
        name = written(plain(metric))
        return {row["seed"]: row.get(which, {}).get(name) for row in best.rows}

    def _take(self, row: Row) -> None:
        self._rows[row["key"]] = row
        self._by_point.setdefault(row["point"], {})[row["key"]] = row

    def _found(self, point: Point) -> Outcome:
        rows = self._by_point[point.index].values()
        return outcomes.outcomes([point], rows, self.experiment, self._job.case)[0]


def _earlier(folder: Path) -> dict[str, Row]:
    """Rows of an earlier sweep by key; a failed run is run again."""
    return {row["key"]: row for row in ledgers.read(folder) if row.get("status") != FAILED}
