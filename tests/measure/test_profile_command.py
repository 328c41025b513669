"""`hermes profile` as a command: what it says without PyTorch, without a GPU, and with one."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from formula_device import FormulaDevice

from hermesdsl.measure.profile import torch_device
from hermesdsl.measure.profile.grid import Case

ROOT = Path(__file__).parents[2]


class Gpu(FormulaDevice):
    """A device of formulas that says what a GPU says of itself."""

    memory, count, held = 141e9, 1, 0.0
    backend = "nccl"
    name, multiprocessors = "NVIDIA H200", 132

    def dtypes(self) -> tuple[str, ...]:
        return ("bf16", "fp8")

    def about(self) -> dict[str, Any]:
        return {
            "device": self.name, "torch": "2.9.0", "driver": "570.1",
            "multiprocessors": self.multiprocessors, "memory_bytes": 140 * 2**30,
        }  # fmt: skip


Hermes = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A GPU whose clock is also that of the command: no test waits."""
    own = Gpu()
    monkeypatch.setattr(torch_device, "gpu", lambda: own)
    monkeypatch.setattr(time, "monotonic", own.clock)
    return own


def broken(message: str, name: str | None) -> Callable[[str], object]:
    def import_module(_: str) -> object:
        raise ImportError(message, name=name)

    return import_module


def test_tables_and_facts_are_written_and_a_fit_takes_them(
    hermes: Hermes, device: Gpu, tmp_path: Path
) -> None:
    code, out, err = hermes("profile", "--chip", "H200", "-o", "times", "--minutes", "0.2")
    assert (code, out) == (0, "")
    assert "NVIDIA H200, PyTorch 2.9.0; data sheet of H200" in err
    assert "shapes are left: the same command goes on with them" in err
    assert "next: hermes calibrate times --chip H200" in err
    meta = json.loads((tmp_path / "times" / "meta.json").read_text())
    assert meta == {"chip": "H200", **device.about()}
    code, out, err = hermes("calibrate", "times", "--chip", "H200")
    assert code == 0
    assert "calibration H200_kernels {" in out
    assert "Source: gemm.csv, prefill.csv, decode.csv of NVIDIA H200, PyTorch 2.9.0" in out
    for name in ("gemm.bf16", "gemm.fp8", "prefill.bf16", "decode.bf16"):
        assert f"{name}: held out" in err


def test_the_same_command_goes_on(hermes: Hermes, device: Gpu) -> None:
    words = ("profile", "--chip", "H200", "-o", "times", "--minutes", "0.05")
    hermes(*words)
    first = len(device.prepared)
    code, _, err = hermes(*words)
    assert code == 0
    assert f"{first} of them earlier" in err
    assert len(set(device.prepared)) == len(device.prepared)


def test_a_gpu_that_fails_on_and_on(hermes: Hermes, device: Gpu) -> None:
    device.unfit = lambda case: isinstance(case, Case)
    code, _, err = hermes("profile", "--chip", "H200", "-o", "times")
    assert code == 3
    assert "wrote: 0 of " in err
    assert "left out: gemm.bf16 m=1 n=256 k=256: out of memory" in err
    # Seven kinds are given up after eight failures each; the first three are told.
    assert "left out: 53 more shapes" in err
    assert "left out: device_to_host.bf16: 1 more shapes, since none had worked" in err
    assert "next:" not in err


def test_a_gpu_that_is_the_chip_is_no_cause_of_doubt(hermes: Hermes, device: Gpu) -> None:
    _, _, err = hermes("profile", "--chip", "H200", "-o", "times", "--minutes", "0.02")
    assert "warning" not in err


def test_a_gpu_that_is_not_the_chip_is_told(hermes: Hermes, device: Gpu, tmp_path: Path) -> None:
    device.name, device.multiprocessors, device.held = "NVIDIA H100 NVL", 114, 70e9
    words = ("--minutes", "0.02")
    code, _, err = hermes("profile", "--chip", "H200", "-o", "times", *words)
    assert code == 0
    start = "warning[HMS607]: times may not be those of `H200`: "
    for doubt in (
        "the GPU calls itself NVIDIA H100 NVL",
        "the GPU has 114 multiprocessors, the data sheet 132",
        "65 GiB of its memory are in use by other programs",
    ):
        assert start + doubt in err
    # A chip of one's own may be called anything; its sizes are compared.
    (tmp_path / "own.hms").write_text(
        "from std.nvidia.hopper import H200\nchip Mine extends H200 { power = 600 W }\n"
    )
    code, _, err = hermes("profile", "--chip", "own.hms:Mine", "-o", "mine", *words)
    assert code == 0
    assert "calls itself" not in err
    assert "warning[HMS607]: times may not be those of `Mine`: the GPU has 114" in err


def test_ctrl_c_keeps_what_is_timed(hermes: Hermes, device: Gpu) -> None:
    calls = 0

    def interrupted(case: Case) -> bool:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return False

    device.unfit = interrupted
    code, out, err = hermes("profile", "--chip", "H200", "-o", "times")
    assert (code, out) == (130, "")
    assert "interrupted: 5 of 1855 shapes are timed: the same command goes on" in err
    device.unfit = lambda _: False
    _, _, err = hermes("profile", "--chip", "H200", "-o", "times", "--minutes", "0.02")
    assert "5 of them earlier" in err


def test_the_same_folder_for_another_chip_is_refused(hermes: Hermes, device: Gpu) -> None:
    hermes("profile", "--chip", "H200", "-o", "times", "--minutes", "0.02")
    calls = device.calls
    code, _, err = hermes("profile", "--chip", "H100", "-o", "times")
    assert code == 2
    assert "error[HMS608]: `times` was measured with chip H200, not H100" in err
    assert device.calls == calls


def test_a_full_disk_is_told(
    hermes: Hermes, device: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = hermes("profile", "--chip", "H200", "-o", "times")
    assert code == 2
    assert "error[HMS608]: cannot write to `times" in err
    assert "No space left on device" in err
    assert [path.name for path in (tmp_path / "times").iterdir()] == ["meta.json"]


def test_a_folder_that_cannot_be_made_is_told(hermes: Hermes, device: Gpu, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = hermes("profile", "--chip", "H200", "-o", "file/times")
    assert code == 2
    assert "error[HMS608]: cannot write to `file/times`: Not a directory" in err
    assert device.calls == 0


@pytest.mark.parametrize(
    ("message", "name", "words"),
    [
        ("No module named 'torch'", "torch", "with PyTorch, which is not installed"),
        ("libcudart.so.13: cannot open", None, "which cannot be loaded: libcudart.so.13: cannot"),
    ],
)
def test_without_pytorch(
    hermes: Hermes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str,
    name: str | None, words: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch_device, "import_module", broken(message, name))
    code, out, err = hermes("profile", "--chip", "H200", "-o", "times")
    assert (code, out) == (2, "")
    assert "error[HMS607]: `hermes profile` times kernels with PyTorch" in err
    assert words in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("cuda", "words"), [("13.0", "it finds none"), (None, "it was built without CUDA or ROCm")]
)
def test_without_a_gpu(
    hermes: Hermes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str | None, words: str
) -> None:
    torch = SimpleNamespace(
        __version__="2.9.0+cpu", version=SimpleNamespace(cuda=cuda, hip=None),
        cuda=SimpleNamespace(is_available=lambda: False),
    )  # fmt: skip
    monkeypatch.setattr(torch_device, "import_module", lambda _: torch)
    code, _, err = hermes("profile", "--chip", "H200", "-o", "times")
    assert code == 2
    assert f"error[HMS607]: PyTorch 2.9.0+cpu has no GPU to time: {words}" in err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_chip_has_a_neighbour(hermes: Hermes, device: Gpu, tmp_path: Path) -> None:
    code, _, err = hermes("profile", "--chip", "H20O", "-o", "times")
    assert code == 2
    assert "no chip or cpu `H20O`" in err
    assert "did you mean `H200`?" in err
    assert list(tmp_path.iterdir()) == []


def test_a_chip_that_does_not_compute_as_the_gpu_does(
    hermes: Hermes, device: Gpu, tmp_path: Path
) -> None:
    (tmp_path / "own.hms").write_text(
        "chip Old { peak.fp16 = 100 TFLOPS; power = 300 W; "
        "hbm: Memory { capacity = 16 GB; bandwidth = 900 GB/s } }\n"
    )
    code, _, err = hermes("profile", "--chip", "own.hms:Old", "-o", "times")
    assert code == 2
    assert "`Old` has no peak in bf16" in err
    assert not (tmp_path / "times").exists()


def test_a_folder_of_something_else_is_left_alone(
    hermes: Hermes, device: Gpu, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, _, err = hermes("profile", "--chip", "H200", "-o", ".")
    assert code == 2
    assert "holds files and no profile" in err
    assert device.calls == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("minutes", ["0", "-1", "soon"])
def test_no_time_is_no_profile(hermes: Hermes, device: Gpu, minutes: str) -> None:
    code, _, err = hermes("profile", "--chip", "H200", "-o", "times", "--minutes", minutes)
    assert code == 2
    assert "error[HMS607]" in err
    assert "`--minutes`" in err


def test_a_folder_without_tables_cannot_be_fitted(hermes: Hermes, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = hermes("calibrate", "empty", "--chip", "H200")
    assert code == 2
    assert "`empty` holds no table to fit" in err


def test_no_module_imports_pytorch_before_it_is_asked() -> None:
    """A `torch` that cannot be imported stands in the way of nothing but a profile."""
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import hermesdsl.cli.profile, hermesdsl.cli.app as app\n"
        "import hermesdsl.measure.profile.torch_device, hermesdsl.measure.profile.torch_group\n"
        "assert app.run(['--help']) == 0\n"
        "assert app.run(['profile', '--chip', 'H200', '-o', 'nowhere']) == 2\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=False, cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "is not installed" in done.stderr
