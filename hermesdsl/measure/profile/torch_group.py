"""Several GPUs of one machine together: messages among them, timed by a process for each.

Knows cases of collectives and PyTorch's devices; no tables.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.connection import Connection
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


def message_times(
    cases: Sequence[Case], seconds: float, add: Callable[[Case, Timing], None],
    backend: str = "nccl",
) -> str | None:  # fmt: skip
    """Time messages, all among as many members, until `seconds` have passed; why it failed, if so.

    `add` is called with every case that was timed. A call takes as long as it does for the member
    that comes last: the least over members.
    """
    members = cases[0].size("members")
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    with TemporaryDirectory() as folder:
        meeting = str(Path(folder) / "meeting")
        started = [
            context.Process(
                target=_member, daemon=True,
                args=(rank, members, backend, meeting, list(cases), seconds,
                      sender if rank == 0 else None),
            )
            for rank in range(members)
        ]  # fmt: skip
        for process in started:
            process.start()
        sender.close()
        reason = _received(receiver, cases, add)
        for process in started:
            process.join(timeout=10.0)
            if process.is_alive():
                process.terminate()
                process.join()
    return reason


def _received(
    receiver: Connection, cases: Sequence[Case], add: Callable[[Case, Timing], None]
) -> str | None:
    """Hand on what the first member says until it says that it is done."""
    while receiver.poll(STUCK):
        try:
            index, samples = receiver.recv()
        except EOFError:
            return "a process of the group ended early"
        if index is None:
            return samples if isinstance(samples, str) else None
        add(cases[index], summary(samples))
    return f"the group said nothing for {STUCK:.0f} s"


def _member(
    rank: int, members: int, backend: str, meeting: str, cases: list[Case], seconds: float,
    sender: Connection | None,
) -> None:  # fmt: skip
    """What one process of the group does."""
    try:
        _timed(rank, members, backend, meeting, cases, seconds, sender)
        reason = None
    except Exception as problem:  # whatever stops a member must be said, or the others wait
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
    if sender is not None:
        sender.send((None, reason))


def _timed(
    rank: int, members: int, backend: str, meeting: str, cases: list[Case], seconds: float,
    sender: Connection | None,
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
        if sender is not None:
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
        return lambda: dist.all_gather_into_tensor(whole, part)
    if case.operator == "reduce_scatter":
        return lambda: dist.reduce_scatter_tensor(part, whole)
    other = torch.empty_like(whole)
    return lambda: dist.all_to_all_single(other, whole)
