"""Several GPUs of one machine together: messages among them, timed by a process for each.

Knows cases of collectives and PyTorch's devices; no tables.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hermesdsl.measure.profile.grid import Case
from hermesdsl.measure.profile.timing import WARM, Call, Timing, batch, summary
from hermesdsl.measure.profile.torch_device import TorchDevice, torch_module

#: Timed calls of each message: every member has to make as many as the others.
REPEATS = 20
#: A group that says nothing for so long (seconds) is stuck.
STUCK = 120.0
#: Seconds that processes which are done have to end by themselves.
_PATIENCE = 5.0


def message_times(
    cases: Sequence[Case], seconds: float, add: Callable[[Case, Timing], None],
    backend: str = "nccl",
) -> str | None:  # fmt: skip
    """Time messages, all among as many members, until `seconds` have passed; why it failed, if so.

    `add` is called with every case that was timed. A call takes as long as it does for the member
    that comes last: the least over members. No process of the group is left behind, whatever ends
    this one.
    """
    members = cases[0].size("members")
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        started: list[BaseProcess] = []
        receivers: list[Connection] = []
        patience = 0.0
        try:
            for rank in range(members):
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(
                    target=_member, daemon=True,
                    args=(rank, members, backend, meeting, list(cases), seconds, sender),
                )  # fmt: skip
                with _undisturbed():
                    process.start()
                sender.close()
                started.append(process)
                receivers.append(receiver)
            reason = _received(receivers, cases, add)
            patience = 0.0 if reason else _PATIENCE
        finally:
            _ended(started, patience)
    return reason


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Processes started here do not hear Ctrl-C, which reaches all of a terminal: the one that
    started them ends them."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread: Ctrl-C is not its business either
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _received(
    receivers: Sequence[Connection], cases: Sequence[Case], add: Callable[[Case, Timing], None]
) -> str | None:
    """Hand on what members say until all are done, or one says why it is not."""
    open_ = list(receivers)
    while open_:
        said = wait(open_, STUCK)
        if not said:
            return f"the group said nothing for {STUCK:.0f} s"
        for receiver in [each for each in open_ if each in said]:
            try:
                index, samples = receiver.recv()
            except EOFError:
                return "a process of the group ended early"
            if index is not None:
                add(cases[index], summary(samples))
            elif samples is not None:
                return str(samples)
            else:
                open_.remove(receiver)
    return None


def _ended(started: Sequence[BaseProcess], patience: float) -> None:
    """Wait for processes that are done, and stop the others: they wait for each other."""
    end = time.monotonic() + patience
    for process in started:
        process.join(timeout=max(0.0, end - time.monotonic()))
    for process in started:
        if process.is_alive():
            process.kill()
        process.join()


def _member(
    rank: int, members: int, backend: str, meeting: str, cases: list[Case], seconds: float,
    sender: Connection,
) -> None:  # fmt: skip
    """What one process of the group does; the first says what was timed, each how it ended."""
    threading.Thread(target=_orphaned, daemon=True).start()
    try:
        _timed(rank, members, backend, meeting, cases, seconds, sender)
        reason = None
    except Exception as problem:  # whatever stops a member must be said, or the others wait
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
    sender.send((None, reason))


def _orphaned() -> None:
    """End a process of the group when the one that started it is killed: it would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _timed(
    rank: int, members: int, backend: str, meeting: str, cases: list[Case], seconds: float,
    sender: Connection,
) -> None:  # fmt: skip
    torch = torch_module()
    dist = import_module("torch.distributed")
    name = f"cuda:{rank}" if backend == "nccl" else "cpu"
    if backend == "nccl":
        torch.cuda.set_device(rank)
    dist.init_process_group(backend, init_method=f"file://{meeting}", rank=rank,
                            world_size=members)  # fmt: skip
    device = TorchDevice(torch, name)
    end = time.monotonic() + seconds
    for index, case in enumerate(cases):
        more = torch.tensor([int(time.monotonic() < end)], device=name)
        dist.broadcast(more, 0)  # the first member's clock decides for all
        if not more.item():
            break
        call = _call(torch, dist, case, name)
        for _ in range(WARM):
            call()
        samples = torch.tensor(batch(device, call, REPEATS), device=name)
        dist.all_reduce(samples, op=dist.ReduceOp.MIN)
        if rank == 0:
            sender.send((index, samples.tolist()))
    dist.destroy_process_group()


def _call(torch: Any, dist: Any, case: Case, name: str) -> Call:
    """One message; its bytes are the whole buffer, before or after, as in `cost.collective`."""
    members, size = case.sizes
    dtype = torch.bfloat16 if case.dtype == "bf16" else torch.float16
    part = torch.zeros(max(size // 2 // members, 1), dtype=dtype, device=name)
    whole = torch.zeros(part.numel() * members, dtype=dtype, device=name)
    if case.operator == "all_reduce":
        return lambda: dist.all_reduce(whole)
    if case.operator == "all_gather":
        gather = _either(dist, "all_gather_single", "all_gather_into_tensor")
        return lambda: gather(whole, part)
    if case.operator == "reduce_scatter":
        scatter = _either(dist, "reduce_scatter_single", "reduce_scatter_tensor")
        return lambda: scatter(part, whole)
    other = torch.empty_like(whole)
    return lambda: dist.all_to_all_single(other, whole)


def _either(dist: Any, name: str, earlier: str) -> Callable[[Any, Any], object]:
    """A function that PyTorch 2.13 has renamed."""
    found: Callable[[Any, Any], object] = getattr(dist, name, None) or getattr(dist, earlier)
    return found
