"""An experiment over all its points and seeds: what is left to do, done, and summed up.

Ties together points, executor, ledger and table; knows no formula of any of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import SpecError
from hermesdsl.explore import ledger as ledgers
from hermesdsl.explore import outcome as outcomes
from hermesdsl.explore import points as enumerate_
from hermesdsl.explore import table as tables
from hermesdsl.explore.executors import Executor, Here
from hermesdsl.explore.job import FAILED, Job, Row, Task, key
from hermesdsl.explore.outcome import Outcome
from hermesdsl.explore.points import Parameter
from hermesdsl.graph.types import Experiment

if TYPE_CHECKING:
    import pandas as pd

    from hermesdsl.api import System

__all__ = ["Progress", "Sweep", "explore", "job_of"]

#: Called with (runs finished, runs in all), those of an earlier sweep included.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Sweep:
    """What came of an experiment: `points` in order, those without any run left out.

    `total` is how many there are, `resumed` how many runs were there already. `interrupted`:
    Ctrl-C came before the end. `folder` holds the files, if any.
    """

    experiment: Experiment
    points: tuple[Outcome, ...]
    parameters: tuple[Parameter, ...]
    total: int
    resumed: int = 0
    interrupted: bool = False
    folder: Path | None = None
    files: tuple[str, ...] = ()

    @cached_property
    def best(self) -> Outcome | None:
        """The point that `minimize` or `maximize` asks for; None without one."""
        return outcomes.best(self.experiment, self.points)

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
        if self.experiment.minimize is not None or self.experiment.maximize is not None:
            return self.best is not None
        return all(False not in each.verdicts for each in self.points)


def job_of(system: System, experiment: str | None = None) -> Job:
    """What the points of an experiment of `system` are compiled from; raises SpecError HMS602."""
    given = system.given
    return Job(
        system.spec if given.text is None else given.text, given.text is not None,
        system.experiment(experiment).name, given.settings, given.folders, given.case,
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
    problems = enumerate_.check(experiment, axes, limit, job.case)
    if folder is not None:
        refused = ledgers.refusal(folder, resume=resume, force=force)
        problems += [refused] if refused is not None else []
    if problems:
        raise SpecError(problems)
    points = list(enumerate_.points(axes, limit))
    tasks = list(_tasks(digest(system), job, points, experiment.seeds))
    found = _earlier(folder, tasks) if resume and folder is not None else {}
    resumed = len(found)
    book = ledgers.Ledger(folder, resume=resume) if folder is not None else nullcontext()
    interrupted = False
    try:
        with book:
            left = (task for task in tasks if task.key not in found)
            with closing(_rows(executor or Here(), job, left)) as rows:
                for row in rows:
                    found[row["key"]] = row
                    if isinstance(book, ledgers.Ledger):
                        book.add(row)
                    if progress is not None:
                        progress(len(found), len(tasks))
    except KeyboardInterrupt:
        interrupted = True
    ended = outcomes.outcomes(points, found.values(), experiment, job.case)
    parameters = enumerate_.parameters(axes)
    files: list[str] = []
    if folder is not None:
        files = [ledgers.NAME,
                 *tables.write(folder, tables.columns(ended, parameters, experiment))]  # fmt: skip
    return Sweep(
        experiment, ended, parameters, len(points), resumed, interrupted, folder, tuple(files)
    )


def _rows(executor: Executor, job: Job, tasks: Iterator[Task]) -> Generator[Row, None, None]:
    first = next(tasks, None)
    if first is not None:
        yield from executor.rows(job, chain([first], tasks))


def _tasks(
    digest: str, job: Job, points: Sequence[enumerate_.Point], seeds: Sequence[int]
) -> Iterator[Task]:
    for point in points:
        for seed in dict.fromkeys(seeds):
            yield Task(point, seed, key(digest, job, point, seed))


def _earlier(folder: Path, tasks: Sequence[Task]) -> dict[str, Row]:
    """Rows of an earlier sweep that are those of these tasks; a failed run is run again."""
    wanted = {task.key: task for task in tasks}
    found = {}
    for row in ledgers.read(folder):
        task = wanted.get(row["key"])
        if task is not None and row.get("status") != FAILED:
            found[task.key] = {**row, "point": task.point.index}
    return found


# --- what a result follows from ------------------------------------------------------------------


def digest(system: System) -> str:
    """Hash of this version, of every file of the language read, and of every data file named."""
    from hermesdsl import __version__

    made = hashlib.sha256(__version__.encode())
    for text in sorted(module.file.span.source.text for module in system.tree.modules):
        made.update(hashlib.sha256(text.encode()).digest())
    for path in sorted(_data_files(system)):
        with path.open("rb") as data:
            made.update(hashlib.file_digest(data, "sha256").digest())
    return made.hexdigest()


def _data_files(system: System) -> set[Path]:
    """The traces and tables that workloads and stages name."""
    graphs = system.pipelines.values()
    stages = [data.get("stage") for graph in graphs for _, data in graph.nodes(data=True)]
    found: set[Path] = set()
    _named(list(system.compiled.workloads.values()), found)
    _named(stages, found)
    return found


def _named(value: Any, found: set[Path]) -> None:
    """Absolute paths of files anywhere in plain data."""
    if isinstance(value, str):
        if Path(value).is_absolute() and Path(value).is_file():
            found.add(Path(value))
    elif isinstance(value, Mapping):
        _named(list(value.values()), found)
    elif isinstance(value, list | tuple):
        for each in value:
            _named(each, found)
    elif is_dataclass(value):
        _named([getattr(value, each.name) for each in fields(value)], found)
