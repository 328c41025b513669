"""A profile with PyTorch itself, on the processor of the machine: from kernels to a calibration;
and on its GPU, if it has one.

What is timed says nothing here: that every call is one that PyTorch takes does.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from hermesdsl.api import compile
from hermesdsl.cli.app import run
from hermesdsl.measure.profile import grid, timing, torch_device
from hermesdsl.measure.profile.grid import COLLECTIVES, Case
from hermesdsl.measure.profile.session import Unfit, profile
from hermesdsl.measure.profile.store import Store
from hermesdsl.measure.profile.timing import timed
from hermesdsl.measure.profile.torch_device import TorchDevice
from hermesdsl.measure.tables import read_table

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")

SMALL = {
    Case("gemm", "bf16", (16, 64, 32)): (16, 64),
    Case("gemm", "fp16", (1, 64, 32)): (1, 64),
    Case("gemm", "fp8", (16, 64, 32)): (16, 64),
    Case("prefill", "bf16", (8, 8, 2, 4, 2, 16)): (2, 4, 8, 16),
    Case("decode", "bf16", (8, 2, 4, 4, 16)): (2, 4, 1, 16),
    Case("decode", "bf16", (8, 2, 4, 2, 16)): (2, 4, 1, 16),
    Case("device_copy", "bf16", (4096,)): (4096,),
    Case("host_to_device", "bf16", (4096,)): (4096,),
    Case("device_to_host", "bf16", (4096,)): (4096,),
}
#: A data sheet of which so small a grid takes at most 0.3 ms a shape: 100 GFLOP/s, 10 GB/s.
CHIP = (
    "chip Cpu { peak.bf16 = 100 GFLOPS; power = 100 W; "
    "ram: Memory { capacity = 8 GB; bandwidth = 10 GB/s } }\n"
)
PROFILE = ("profile", "--chip", "cpu.hms:Cpu", "-o", "times")


@pytest.fixture(scope="module")
def torch() -> Iterator[Any]:
    """With one thread: several wait for each other on a busy machine."""
    own = torch_device.torch_module()
    before = own.get_num_threads()
    own.set_num_threads(1)
    yield own
    own.set_num_threads(before)


@pytest.fixture
def hermes(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The command on this processor, in a folder with its data sheet; what it notes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(torch_device, "gpu", lambda: TorchDevice(torch, "cpu"))
    monkeypatch.setattr(grid, "LONGEST", 3e-4)
    monkeypatch.setattr(timing, "FILL", 2e-3)
    monkeypatch.setattr(timing, "AWAKE_S", 0.1)
    (tmp_path / "cpu.hms").write_text(CHIP)

    def call(*arguments: str) -> str:
        assert run(arguments) == 0
        return capsys.readouterr().err

    return call


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.told)
def test_every_call_is_one_that_pytorch_takes(torch: Any, case: Case) -> None:
    device = TorchDevice(torch, "cpu")
    call = device.prepare(case)
    result: Any = call()
    assert tuple(result.shape) == SMALL[case]
    assert result.isfinite().all()
    found = timed(device, call)
    assert 0.0 < found.low <= found.seconds <= found.high
    assert device.power() is None


def test_what_a_processor_cannot_do_is_unfit(torch: Any) -> None:
    device = TorchDevice(torch, "cpu")
    with pytest.raises(Unfit, match="heads in key and value must divide"):
        device.prepare(Case("prefill", "bf16", (8, 8, 2, 3, 2, 16)))  # 3 heads over 2 KV heads
    with pytest.raises(Unfit, match="memory"):
        device.prepare(Case("device_copy", "bf16", (2**60,)))


def test_kv_heads_are_shared_and_not_repeated(torch: Any) -> None:
    """Repeating them for 8 query heads each would take 8 MiB; results and sums take kilobytes."""
    call = TorchDevice(torch, "cpu").prepare(Case("decode", "bf16", (2048, 1, 8, 1, 128)))
    with torch.profiler.profile(profile_memory=True) as taken:
        call()
    assert 0 < sum(max(0, each.self_cpu_memory_usage) for each in taken.events()) < 2**19


def test_shapes_become_a_calibration(
    hermes: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = grid.cases
    monkeypatch.setattr(grid, "cases", lambda *given: everything(*given)[:14])
    hermes(*PROFILE)
    monkeypatch.setattr(grid, "cases", everything)
    with (tmp_path / "times" / "gemm.csv").open("ab") as file:
        file.write(b"gemm,bf16,16,2048,40")  # as a crash leaves it
    told = hermes(*PROFILE)
    assert "14 of them earlier" in told
    about = json.loads((tmp_path / "times" / "meta.json").read_text())
    assert (about["chip"], about["device"]) == ("Cpu", "cpu")
    for operator in ("gemm", "prefill", "decode"):
        frame = read_table(tmp_path / "times" / f"{operator}.csv").frame
        assert len(frame) == len(frame.drop_duplicates([*grid.SIZES[operator], "dtype"])) >= 20

    told = hermes("calibrate", "times", "--chip", "cpu.hms:Cpu", "--name", "Mine", "-o", "mine.hms")
    assert "wrote: mine.hms" in told
    text = (tmp_path / "mine.hms").read_text()
    assert "Source: gemm.csv, prefill.csv, decode.csv of cpu, PyTorch 2." in " ".join(text.split())
    program = (
        "from cpu import Cpu\nfrom mine import Mine\n"
        "chip Fitted extends Cpu { calibration = Mine }\npart: Fitted\n"
    )
    part = compile(program, path=[str(tmp_path)]).hardware.nodes["part"]["part"]
    for operator in ("gemm", "prefill", "decode"):
        assert part.calibration.operators[operator]["bf16"]


def test_processes_exchange_messages(
    hermes: Callable[..., str], torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pair(TorchDevice):
        count = 2

    monkeypatch.setattr(torch_device, "gpu", lambda: Pair(torch, "cpu"))
    monkeypatch.setattr(grid, "_MESSAGES", (2**12, 2**16))
    monkeypatch.setattr(grid, "cases", lambda *_: [])
    told = hermes(*PROFILE)
    assert "left out" not in told
    for operator in COLLECTIVES:
        frame = read_table(tmp_path / "times" / f"{operator}.csv").frame
        assert frame[["members", "bytes"]].to_numpy().tolist() == [[2, 4096], [2, 65536]]
        assert (frame["seconds"] > 0.0).all()


def test_a_gpu_of_this_machine_is_timed(torch: Any, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no GPU")
    device = torch_device.gpu()
    wide, *narrow = device.dtypes()
    cases = [Case("gemm", dtype, (256, 1024, 1024)) for dtype in (wide, *narrow)]
    cases += [Case(case.operator, wide, case.sizes) for case in SMALL if case.operator != "gemm"]
    store = Store(tmp_path, {"chip": "any", **device.about()})
    found = profile(device, cases, store, until=time.monotonic() + 60.0, clock=time.monotonic,
                    tell=lambda *_: None)  # fmt: skip
    refused = {case.told: reason for case, reason in found.failed}
    assert (found.timed, refused) == (len(cases), {})
