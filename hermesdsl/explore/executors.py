"""Where tasks are run: here one after another, or in processes of this machine.

Every executor yields the same rows, in whatever order they come. Knows no table.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Protocol

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.explore.job import FAILED, Job, Row, Runner, Task

__all__ = ["Executor", "Here", "Processes", "executor_of"]


class Executor(Protocol):
    """Runs tasks of a job and yields the row of each as soon as it is there."""

    def rows(self, job: Job, tasks: Iterable[Task]) -> Iterator[Row]:
        """Rows in any order. Closing the iterator stops what still runs."""
        ...


@dataclass(frozen=True)
class Here:
    """This process, in order."""

    def rows(self, job: Job, tasks: Iterable[Task]) -> Iterator[Row]:
        """See `Executor`."""
        run = Runner(job)
        for task in tasks:
            yield run(task)


@dataclass(frozen=True)
class Processes:
    """So many worker processes, started afresh (no state of this one is shared).

    A worker that dies is replaced and its task tried once more; then it counts as failed.
    """

    workers: int

    def rows(self, job: Job, tasks: Iterable[Task]) -> Iterator[Row]:
        """See `Executor`."""
        crew = _Crew(job, self.workers, tasks)
        try:
            yield from crew.rows()
        finally:
            crew.close()


def executor_of(workers: int) -> Executor:
    """This process for one worker, else so many processes; raises SpecError HMS607 below one."""
    if workers < 1:
        raise SpecError([error("HMS607", f"a sweep needs at least one worker, not {workers}")])
    return Here() if workers == 1 else Processes(workers)


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

    def __init__(self, job: Job, size: int, tasks: Iterable[Task]) -> None:
        self._job = job
        self._tasks = iter(tasks)
        self._again: deque[Task] = deque()
        self._tried: set[str] = set()
        self._workers: list[_Worker] = []
        self._size = size

    def rows(self) -> Iterator[Row]:
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
        return {"key": task.key, "point": task.point.index, "seed": task.seed,
                "parameters": dict(task.point.texts), "status": FAILED,
                "reason": "its process ended twice without an answer"}  # fmt: skip

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
