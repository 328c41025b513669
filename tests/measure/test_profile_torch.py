"""A device of PyTorch, on a stand-in that knows shapes alone."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from standin_torch import GIB, Torch

from hermesdsl.diagnostics import SpecError
from hermesdsl.measure.operators import Sheet
from hermesdsl.measure.profile import torch_device
from hermesdsl.measure.profile.grid import SIZES, Case, cases
from hermesdsl.measure.profile.session import Unfit
from hermesdsl.measure.profile.timing import timed

SHEETS = {"bf16": Sheet(990e12, 4.8e12, 132), "fp8": Sheet(1979e12, 4.8e12, 132)}


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Torch:
    own = Torch()
    monkeypatch.setattr(torch_device, "import_module", own.import_module)
    return own


def says(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    """The driver's command prints `text`, or is not there."""

    def run(words: list[str], **_: Any) -> Any:
        if text is None:
            raise FileNotFoundError(words[0])
        return subprocess.CompletedProcess(words, 0, stdout=text)

    monkeypatch.setattr(subprocess, "run", run)


def test_every_case_of_the_grid_is_a_call_of_the_right_shapes(torch: Torch) -> None:
    device = torch_device.gpu()
    some = cases(SHEETS, "bf16", ["fp8"], device.memory)
    for case in some:
        device.prepare(case)
    of = {(o, d): sum(1 for c in some if (c.operator, c.dtype) == (o, d))
          for o in SIZES for d in SHEETS}  # fmt: skip
    assert torch.calls.count("mm") == of["gemm", "bf16"]
    assert torch.calls.count("scaled_mm") == of["gemm", "fp8"]
    kinds = {name for name in torch.calls if not name.endswith("mm")}
    assert kinds == {"flash causal", "cudnn causal", "efficient causal", "flash whole",
                     "efficient whole"}  # fmt: skip


def test_a_gpu_that_cannot_be_used_is_told(torch: Torch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError(
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"
        )

    monkeypatch.setattr(Torch, "zeros", full)
    with pytest.raises(SpecError) as found:
        torch_device.gpu()
    (diagnostic,) = found.value.diagnostics
    assert diagnostic.code == "HMS607"
    assert diagnostic.message == (
        "PyTorch 2.9.0 cannot use the first GPU: CUDA error: out of memory"
    )


def test_caches_are_emptied_by_a_read_of_four_times_their_bytes(torch: Torch) -> None:
    torch_device.gpu().flush()
    assert torch.flushed == 256 * 2**20  # four times 50 MiB is less


def last(torch: Torch, case: Case) -> str:
    """The kernel that is timed for a case."""
    torch_device.gpu().prepare(case)
    return torch.calls[-1]


PROMPT = Case("prefill", "bf16", (512, 512, 2, 32, 8, 128))
ALONE = Case("decode", "bf16", (512, 2, 8, 8, 64))


def test_attention_is_that_of_the_fastest_kernel(torch: Torch) -> None:
    torch.pace = {"flash": 2.0, "cudnn": 1.0, "efficient": 0.5}
    assert last(torch, PROMPT) == "cudnn causal"  # the fastest does not share KV heads
    torch.pace["cudnn"] = 3.0
    assert last(torch, PROMPT) == "flash causal"
    assert last(torch, ALONE) == "efficient whole"


def test_a_plan_is_made_for_long_prompts_alone(
    torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An event of the stand-in takes 250 us, and a kernel nothing: short is what takes no more.
    torch.pace = {"flash": 0.0}
    monkeypatch.setattr(torch_device, "_WORTH", 260e-6)
    assert last(torch, PROMPT) == "flash causal"
    assert "cudnn causal" not in torch.calls
    torch.pace = {"flash": 0.02}
    assert last(torch, PROMPT) == "cudnn causal"


def test_plans_for_prompts_are_made_from_hopper_on(torch: Torch) -> None:
    torch.capability = (8, 9)
    torch.pace = {"flash": 2.0}
    assert last(torch, PROMPT) == "flash causal"
    assert "cudnn causal" not in torch.calls


def test_kv_heads_are_not_repeated_where_no_kernel_shares_them(torch: Torch) -> None:
    torch.capability = (7, 5)
    with pytest.raises(Unfit, match="No available kernel: flash"):
        torch_device.gpu().prepare(PROMPT)
    assert last(torch, Case("decode", "fp16", ALONE.sizes)) == "efficient whole"


def test_memory_that_others_hold_is_known(torch: Torch) -> None:
    torch.free = 100 * GIB
    # Of 141 GiB 41 are gone, a quarter of one to PyTorch itself.
    assert torch_device.gpu().held == 40.75 * GIB


def test_time_is_between_two_events(torch: Torch) -> None:
    device = torch_device.gpu()
    # An event of the stand-in takes a quarter of a millisecond, and nothing else takes time.
    assert timed(
        device, device.prepare(Case("gemm", "bf16", (16, 64, 32)))
    ).seconds == pytest.approx(0.25e-3)


def test_what_has_no_memory_is_unfit(torch: Torch) -> None:
    device = torch_device.gpu()
    with pytest.raises(Unfit, match=r"CUDA out of memory\. Tried to allocate"):
        device.prepare(Case("prefill", "bf16", (65536, 65536, 2, 8, 8, 128)))


def test_what_an_older_pytorch_does_not_have_is_unfit(
    torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch_device.gpu()

    def older(name: str) -> object:
        raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    monkeypatch.setattr(torch_device, "import_module", older)
    with pytest.raises(Unfit, match=r"No module named 'torch\.nn\.attention'"):
        device.prepare(Case("decode", "bf16", (8, 2, 4, 2, 16)))


@pytest.mark.parametrize(
    ("capability", "dtypes"),
    [
        ((7, 0), ("fp16",)),
        ((8, 0), ("bf16",)),
        ((8, 9), ("bf16", "fp8")),
        ((9, 0), ("bf16", "fp8")),
    ],
)
def test_dtypes_follow_the_generation(
    torch: Torch, capability: tuple[int, int], dtypes: tuple[str, ...]
) -> None:
    torch.capability = capability
    assert torch_device.gpu().dtypes() == dtypes


def test_facts_of_the_machine(torch: Torch, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, "570.12.3, 1980, 3201, 700.00\n")
    assert torch_device.gpu().about() == {
        "torch": "2.9.0", "device": "NVIDIA H200", "devices": 1, "memory_bytes": 141 * GIB,
        "multiprocessors": 132, "cuda": "13.0", "driver": "570.12.3", "clock_mhz": 1980.0,
        "memory_clock_mhz": 3201.0, "power_limit_w": 700.0, "mark_s": 0.25e-3,
    }  # fmt: skip


def test_what_the_driver_does_not_say_is_left_out(
    torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, "570.12.3, 1980, [N/A], [N/A]\n")
    found = torch_device.gpu().about()
    assert (found["driver"], found["clock_mhz"]) == ("570.12.3", 1980.0)
    assert not {"memory_clock_mhz", "power_limit_w"} & {*found}


def test_without_the_drivers_command_facts_are_fewer(
    torch: Torch, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, None)
    assert "driver" not in torch_device.gpu().about()
