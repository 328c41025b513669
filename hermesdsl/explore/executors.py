"""Where tasks are run: here one after another, or in processes of this machine.

Every executor yields the same rows, in whatever order they come. Knows no table.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import TYPE_CHECKING, Protocol

from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.explore.job import FAILED, Job, Row, Runner, Task

if TYPE_CHECKING:
    from hermesdsl.api import System

__all__ = ["Executor", "Here", "Lost", "Processes", "executor_for", "unanswered"]


class Executor(Protocol):
    """Runs tasks of one job, and yields the row of each as soon as it is there."""

    def rows(self, job: Job, tasks: Iterable[Task]) -> Iterator[Row]:
        """Rows in any order; asked for again with the same job and further tasks.

        Raises `Lost` if what runs them is gone.
        """
        ...

    def close(self) -> None:
        """Stops what still runs. Asked once, at the end."""
        ...


class Lost(Exception):
    """What runs the tasks is gone; `diagnostic` says why. Rows that were there stay."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


class Here:
    """This process, in order."""

    def rows(self, job: Job, tasks: Iterable[Task]) -> Iterator[Row]:
        """See `Executor`."""
        run = Runner(job)
        for task in tasks:
            yield run(task)

    def close(self) -> None:
        """See `Executor`."""


class Processes:
    """So many worker processes, started afresh (no state of this one is shared).

    A worker that dies is replaced and its task tried once more; then it counts as failed.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._crew: _Crew | None = None

    def rows(self, job: Job, tasks: Iterable[Task]) -> Iterator[Row]:
        """See `Executor`."""
        if self._crew is None:
            self._crew = _Crew(job, self._workers)
        return self._crew.rows(tasks)

    def close(self) -> None:
        """See `Executor`."""
        if self._crew is not None:
            self._crew.close()


def executor_for(system: System, engine: str, workers: int | None, address: str | None) -> Executor:
    """``local``: this process for one worker (or None), else so many processes. ``ray``: a cluster.

    Raises SpecError HMS607 for any other engine, for less than one worker, for an address that
    nobody asks, and without Ray.
    """
    from hermesdsl.explore.cluster import Ray

    problems = []
    if engine not in ("local", "ray"):
        problems.append(error("HMS607", f"no engine `{engine}`: there are `local` and `ray`"))
    if workers is not None and workers < 1:
        problems.append(error("HMS607", f"a sweep needs at least one worker, not {workers}"))
    if address is not None and engine != "ray":
        problems.append(error("HMS607", "an address is about the engine `ray`"))
    if problems:
        raise SpecError(problems)
    if engine == "ray":
        return Ray(system, address, workers)
    return Here() if workers in (None, 1) else Processes(workers)


def unanswered(task: Task) -> Row:
    """The row of a task over which two workers ended."""
    return {"key": task.key, "point": task.point.index, "seed": task.seed,
            "parameters": dict(task.point.texts), "status": FAILED,
            "reason": "its process ended twice without an answer"}  # fmt: skip


class _Worker:
    """One process, the pipe to it, and the task it has."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=serve, args=(theirs, job), daemon=True, name="hermes worker"
        )
        self.process.start()
        theirs.close()
        self.task: Task | None = None

    def give(self, task: Task) -> None:
        """Hand it a task; that it may be dead shows when its row is awaited."""
        self.task = task
        with suppress(OSError):
            self.pipe.send(task)

    def row(self) -> Row | None:
        """The row of its task; None if it died over it."""
        try:
            row: Row = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return row

    def close(self) -> None:
        """End it at once."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()


class _Crew:
    """The workers of a sweep, and the tasks that are to be tried again."""

    def __init__(self, job: Job, size: int) -> None:
        self._job = job
        self._tasks: Iterator[Task] = iter(())
        self._again: deque[Task] = deque()
        self._tried: set[str] = set()
        self._workers: list[_Worker] = []
        self._size = size

    def rows(self, tasks: Iterable[Task]) -> Iterator[Row]:
        self._tasks = iter(tasks)
        while True:
            self._supply()
            busy = {worker.pipe: worker for worker in self._workers if worker.task is not None}
            if not busy:
                return
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                row = self._received(busy[pipe])
                if row is not None:
                    yield row

    def _supply(self) -> None:
        """A task for everyone who has none, with new workers where some are missing."""
        idle = [worker for worker in self._workers if worker.task is None]
        while idle or len(self._workers) < self._size:
            task = self._again.popleft() if self._again else next(self._tasks, None)
            if task is None:
                return
            if not idle:
                self._workers.append(_Worker(self._job))
                idle = self._workers[-1:]
            idle.pop().give(task)

    def _received(self, worker: _Worker) -> Row | None:
        task, worker_row = worker.task, worker.row()
        assert task is not None
        worker.task = None
        if worker_row is not None:
            return worker_row
        self._workers.remove(worker)
        worker.close()
        if task.key not in self._tried:
            self._tried.add(task.key)
            self._again.append(task)
            return None
        return unanswered(task)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


def serve(pipe: Connection, job: Job) -> None:
    """The life of a worker: a task in, its row out, until nobody is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it
    run = Runner(job)
    with suppress(EOFError, OSError):
        while True:
            pipe.send(run(pipe.recv()))
