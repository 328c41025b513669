"""`hermes profile` as a command: what it says without PyTorch, without a GPU, and with one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from formula_device import FormulaDevice

from hermesdsl.cli.app import run
from hermesdsl.measure.profile import torch_device
from hermesdsl.measure.profile.grid import Case

ROOT = Path(__file__).parents[2]


class Gpu(FormulaDevice):
    """A device of formulas that says what a GPU says of itself."""

    memory, count = 141e9, 1

    def dtypes(self) -> tuple[str, ...]:
        return ("bf16", "fp8")

    def about(self) -> dict[str, Any]:
        return {"device": "NVIDIA H200", "torch": "2.9.0", "driver": "570.1"}


Hermes = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def hermes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Hermes:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        return (code, *capsys.readouterr())

    return call


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
