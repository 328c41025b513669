"""Messages among several GPUs: what each process does, and what becomes of one that fails."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from standin_torch import Torch

from hermesdsl.measure.profile import torch_device, torch_group
from hermesdsl.measure.profile.grid import COLLECTIVES, Case, collective_cases
from hermesdsl.measure.profile.timing import WARM, Timing
from hermesdsl.measure.profile.torch_group import REPEATS, message_times

MESSAGES = [case for case in collective_cases(4, "bf16") if case.size("members") == 4]


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Torch:
    own = Torch()
    monkeypatch.setattr(torch_device, "import_module", own.import_module)
    monkeypatch.setattr(torch_group, "import_module", own.import_module)
    return own


def said(cases: list[Case], rank: int = 0, seconds: float = 60.0) -> tuple[list[object], object]:
    """What a process says to the one that started it: its rows, and why it ended."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    torch_group._member(rank, 4, "nccl", "/meeting", cases, seconds, sender)
    rows = []
    while (row := receiver.recv())[0] is not None:
        rows.append(row)
    return rows, row[1]


def test_a_member_exchanges_messages_of_the_bytes_that_a_row_says(torch: Torch) -> None:
    rows, reason = said(MESSAGES)
    assert reason is None
    assert [index for index, _ in rows] == list(range(len(MESSAGES)))  # type: ignore[misc]
    assert {len(samples) for _, samples in rows} == {REPEATS}  # type: ignore[misc]
    wanted = [f"{case.operator} {case.size('bytes')}" for case in MESSAGES]
    assert torch.calls[:: WARM + REPEATS] == wanted
    assert {text.split()[0] for text in wanted} == set(COLLECTIVES)


def test_no_message_is_begun_when_time_is_up(torch: Torch) -> None:
    assert said(MESSAGES, seconds=-1.0) == ([], None)
    assert torch.calls == []


def test_a_member_says_why_it_ended(torch: Torch) -> None:
    assert said([Case("all_reduce", "bf16", (4, 4096))], rank=4) == ([], "AssertionError")


def received(*members: list[object]) -> tuple[str | None, dict[Case, Timing]]:
    """What becomes of rows that members say before they end."""
    receivers = []
    for rows in members:
        receiver, sender = multiprocessing.Pipe(duplex=False)
        for row in rows:
            sender.send(row)
        sender.close()
        receivers.append(receiver)
    found: dict[Case, Timing] = {}
    return torch_group._received(receivers, MESSAGES, found.__setitem__), found


DONE = (None, None)


def test_rows_are_kept_as_they_come() -> None:
    reason, found = received([(0, [3.0, 1.0, 2.0]), DONE], [DONE])
    assert reason is None
    assert found == {MESSAGES[0]: Timing(2.0, 1.0, 3.0, 3)}


def test_rows_before_a_failure_are_kept() -> None:
    reason, found = received([(0, [1.0]), (None, "NCCL error")])
    assert (reason, len(found)) == ("NCCL error", 1)
    reason, found = received([(0, [1.0])], [DONE])
    assert (reason, len(found)) == ("a process of the group ended early", 1)


def test_any_member_may_say_why_it_failed() -> None:
    # The first waits for the others and would say nothing for two minutes.
    silent, _sender = multiprocessing.Pipe(duplex=False)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    sender.send((None, "CUDA out of memory"))
    reason = torch_group._received([silent, receiver], MESSAGES, lambda *_: None)
    assert reason == "CUDA out of memory"


def test_a_group_that_says_nothing_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_group, "STUCK", 0.0)
    receiver, _sender = multiprocessing.Pipe(duplex=False)
    assert torch_group._received([receiver], MESSAGES, lambda *_: None) == (
        "the group said nothing for 0 s"
    )


def test_processes_that_wait_for_ever_are_stopped() -> None:
    stuck = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    stuck.start()
    torch_group._ended([stuck], patience=0.0)
    assert stuck.exitcode == -signal.SIGKILL


def test_what_a_profile_starts_does_not_hear_ctrl_c() -> None:
    before = signal.getsignal(signal.SIGINT)
    with torch_group._undisturbed():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before
    seen: list[object] = []

    def elsewhere() -> None:
        with torch_group._undisturbed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


def test_pytorch_has_two_names_for_two_calls(torch: Torch) -> None:
    """Those of PyTorch 2.13 are taken where they are there, and give no warning of their age."""
    modern = SimpleNamespace(
        all_gather_single=lambda whole, part: torch.calls.append("gathered"),
        reduce_scatter_single=lambda part, whole: torch.calls.append("scattered"),
    )
    for operator in ("all_gather", "reduce_scatter"):
        torch_group._call(torch, modern, Case(operator, "bf16", (4, 4096)), "cuda:0")()
    assert torch.calls == ["gathered", "scattered"]


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_processes_without_pytorch_say_so() -> None:
    reason = message_times(collective_cases(2, "bf16"), 60.0, lambda *_: None)
    assert reason is not None
    assert "PyTorch, which is not installed" in reason
