"""Messages among several GPUs: what each process does, and what becomes of one that fails."""

from __future__ import annotations

import multiprocessing
from importlib.util import find_spec

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


def received(*rows: object) -> tuple[str | None, dict[Case, Timing]]:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    for row in rows:
        sender.send(row)
    sender.close()
    found: dict[Case, Timing] = {}
    return torch_group._received(receiver, MESSAGES, found.__setitem__), found


def test_rows_are_kept_as_they_come() -> None:
    reason, found = received((0, [3.0, 1.0, 2.0]), (None, None))
    assert reason is None
    assert found == {MESSAGES[0]: Timing(2.0, 1.0, 3.0, 3)}


def test_rows_before_a_failure_are_kept() -> None:
    reason, found = received((0, [1.0]), (None, "NCCL error"))
    assert (reason, len(found)) == ("NCCL error", 1)
    reason, found = received((0, [1.0]))
    assert (reason, len(found)) == ("a process of the group ended early", 1)


def test_a_group_that_says_nothing_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_group, "STUCK", 0.0)
    receiver, _sender = multiprocessing.Pipe(duplex=False)
    assert torch_group._received(receiver, MESSAGES, lambda *_: None) == (
        "the group said nothing for 0 s"
    )


@pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed")
def test_processes_without_pytorch_say_so() -> None:
    reason = message_times(collective_cases(2, "bf16"), 60.0, lambda *_: None)
    assert reason is not None
    assert "PyTorch, which is not installed" in reason
