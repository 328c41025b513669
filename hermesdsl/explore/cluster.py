"""Runs tasks on a Ray cluster, which needs nothing of ours: package and files travel with them.

Ray is driven from a process of its own, since it ends the process that drives it when its head is
lost. Knows no table.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import signal
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.explore.bundle import Bundle, bundled, stage, unpacked
from hermesdsl.explore.executors import Lost, unanswered
from hermesdsl.explore.job import Job, Row, Runner, Task

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

    from hermesdsl.api import System

__all__ = ["Ray"]

#: Settings of Ray for the process that drives it: nothing is reported to its makers, and a head
#: that is gone is given up after so many seconds.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_gcs_rpc_server_reconnect_timeout_s": "15"}
#: Seconds between looks at what has ended, and those left to the driver to end by itself.
_LOOK, _LAST = 0.05, 10.0
#: What is in the hands of the cluster at once, per worker: nobody waits for the next task.
_AHEAD = 2


class Ray:
    """The cluster at `address`, or one of this machine that is started for the sweep.

    `workers`: tasks at once, None for one per core of the cluster. A worker that dies is replaced
    and its task tried once more; then it counts as failed. Raises SpecError (HMS607) without Ray.
    """

    def __init__(self, system: System, address: str | None, workers: int | None) -> None:
        if find_spec("ray") is None:
            raise SpecError([error("HMS607", "`--engine ray` needs Ray",
                                   notes=["help: pip install 'hermesdsl[ray]'"])])  # fmt: skip
        self._system = system
        self._address = address
        self._workers = workers
        self._driver: SpawnProcess | None = None
        self._width = 0

    def rows(self, job: Job, tasks: Iterable[Task]) -> Iterator[Row]:
        """See `executors.Executor`."""
        if self._driver is None:
            self._start(job)
        waiting, given = iter(tasks), 0
        done = False
        while not done or given:
            for task in islice(waiting, self._width * _AHEAD - given):
                self._send(task)
                given += 1
            done = given < self._width * _AHEAD
            if given:
                yield self._received("row")
                given -= 1

    def _start(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        bundle = bundled(self._system, job)
        self._driver = context.Process(
            target=drive, args=(theirs, bundle, self._address, self._workers), name="hermes ray"
        )
        self._driver.start()
        theirs.close()
        self._width = self._received("ready")

    def _send(self, task: Task) -> None:
        with suppress(OSError):  # that it is gone shows when its row is awaited
            self._pipe.send(task)

    def _received(self, wanted: str) -> Any:
        """What the driver has to say; raises `Lost` if that is not what is wanted."""
        where = f"at `{self._address}`" if self._address else "of this machine"
        try:
            word, said = self._pipe.recv()
        except (EOFError, OSError):
            word, said = ("refused", "nobody answers") if wanted == "ready" else ("lost", "")
        if word == wanted:
            return said
        if word == "refused":
            raise Lost(error("HMS607", f"no Ray cluster {where}: {said}"))
        notes = ["help: what has ended is stored; `--resume` goes on with it"]
        message = f"the Ray cluster {where} was lost" + (f": {said}" if said else "")
        raise Lost(error("HMS607", message, notes=notes))

    def close(self) -> None:
        """See `executors.Executor`."""
        if self._driver is None:
            return
        with suppress(OSError):
            self._pipe.send(None)
        self._pipe.close()
        self._driver.join(_LAST)
        if self._driver.is_alive():
            self._driver.kill()
            self._driver.join()


# --- in the process that drives Ray --------------------------------------------------------------


def drive(pipe: Connection, bundle: Bundle, address: str | None, workers: int | None) -> None:
    """Takes tasks from the pipe and answers with ``("row", row)``, until None or nobody is there.

    First ``("ready", tasks at once)``; ``("refused", why)`` without a cluster, ``("lost", why)``
    if it is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it
    os.environ.update(_SETTINGS)
    with suppress(EOFError, OSError), tempfile.TemporaryDirectory() as folder:
        import ray

        try:
            _join(address, workers, stage(Path(folder)))
        except Exception as failure:
            pipe.send(("refused", _said(failure)))
            return
        width = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        try:
            pipe.send(("ready", width))
            _serve(pipe, bundle)
        except ray.exceptions.RayError as failure:
            pipe.send(("lost", _said(failure)))
        finally:
            ray.shutdown()


def _join(address: str | None, workers: int | None, package: Path) -> None:
    """Connect to a cluster, or start one of so many workers here."""
    import ray

    own = {} if address else {"num_cpus": workers, "include_dashboard": False}
    ray.init(
        address=address or "local", log_to_driver=False, logging_level="CRITICAL",
        runtime_env={"py_modules": [str(package)]}, **own,
    )  # fmt: skip


def _serve(pipe: Connection, bundle: Bundle) -> None:
    import ray

    packed = pickle.dumps(bundle)
    name, contents = hashlib.sha256(packed).hexdigest(), ray.put(bundle)
    remote = ray.remote(max_retries=1, num_cpus=1)(answer)
    open_: dict[Any, Task] = {}
    while True:
        while pipe.poll(0 if open_ else None):
            task = pipe.recv()
            if task is None:
                return
            open_[remote.remote(name, contents, task)] = task
        ended, _ = ray.wait(list(open_), num_returns=1, timeout=_LOOK)
        for reference in ended:
            pipe.send(("row", _row(reference, open_.pop(reference))))


def _row(reference: Any, task: Task) -> Row:
    """The row of a task that has ended, in whatever way."""
    import ray

    try:
        row: Row = ray.get(reference)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError,
            ray.exceptions.OutOfMemoryError):  # fmt: skip
        return unanswered(task)
    return row


def _said(failure: Exception) -> str:
    """Its first line."""
    lines = str(failure).strip().splitlines()
    return lines[0] if lines else type(failure).__name__


# --- in a worker ---------------------------------------------------------------------------------

#: By name of the bundle, what this worker keeps between tasks: its folder and its runner.
_kept: dict[str, tuple[tempfile.TemporaryDirectory[str], Runner]] = {}


def answer(name: str, bundle: Bundle, task: Task) -> Row:
    """The row of a task, run from the files of its bundle alone."""
    if name not in _kept:
        folder = tempfile.TemporaryDirectory(prefix="hermes-")
        os.chdir(unpacked(bundle, Path(folder.name)))
        _kept[name] = folder, Runner(bundle.job)
    return _kept[name][1](task)
