"""Watts of a board: by NVML, by the driver's command, or not at all."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from hermesdsl.measure.profile import nvidia
from hermesdsl.measure.profile.nvidia import Board

AMPERE, ADA, HOPPER, AMD = (8, 0), (8, 9), (9, 0), (0, 0)
TORCH = SimpleNamespace(cuda=SimpleNamespace(power_draw=lambda _: 412))


@dataclass
class Nvml:
    """Draws 400 W at this moment and 250 W in the mean of the last second."""

    there: bool = True
    instant: bool = True
    opened: list[object] = field(default_factory=list)

    def import_module(self, name: str) -> Nvml:
        assert name == "pynvml"
        if not self.there:
            raise ModuleNotFoundError(name)
        return self

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.opened.append(uuid)
        return uuid

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        self.opened.append(index)
        return index

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:
        assert handle == self.opened[0]
        return 250_000

    def nvmlDeviceGetFieldValues(self, handle: object, fields: list[int]) -> list[Any]:
        assert (handle, fields) == (self.opened[0], [186])
        said = 0 if self.instant else 3  # NVML_ERROR_NOT_SUPPORTED
        return [SimpleNamespace(nvmlReturn=said, value=SimpleNamespace(uiVal=400_000))]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    own = Nvml()
    monkeypatch.setattr(nvidia, "import_module", own.import_module)
    says(monkeypatch, {})
    return own


def says(monkeypatch: pytest.MonkeyPatch, texts: dict[str, str]) -> None:
    """The driver's command answers what is asked for, or fails."""

    def run(words: list[str], **_: Any) -> Any:
        asked = words[1].removeprefix("--query-gpu=")
        if asked not in texts:
            raise subprocess.CalledProcessError(6, words)
        return subprocess.CompletedProcess(words, 0, stdout=texts[asked])

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize(("generation", "watts"), [(AMPERE, 250.0), (ADA, 400.0), (HOPPER, 400.0)])
def test_power_is_that_of_the_moment(nvml: Nvml, generation: tuple[int, int], watts: float) -> None:
    # Up to GA100 the usual reading is of the moment; on later ones it is the mean of a second.
    board = Board(TORCH, "cuda:0", generation, "GPU-1")
    assert [board.watts(), board.watts()] == [watts, watts]
    assert nvml.opened == ["GPU-1"]


def test_a_gpu_without_a_name_of_its_own_is_the_first(nvml: Nvml) -> None:
    assert Board(TORCH, "cuda:0", HOPPER, None).watts() == 400.0
    assert nvml.opened == [0]


@pytest.mark.parametrize(
    ("generation", "texts", "watts"),
    [
        (HOPPER, {"power.draw.instant": "312.50\n", "power.draw": "99.0\n"}, 312.5),
        (AMPERE, {"power.draw.instant": "[N/A]\n", "power.draw": "299.0\n"}, 299.0),
        (HOPPER, {"power.draw": "99.0\n"}, None),  # of the last second: none is better
        (HOPPER, {"power.draw.instant": "[N/A]\n"}, None),
        (HOPPER, {"power.draw.instant": ""}, None),
        (HOPPER, {}, None),
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_the_drivers_command_is_asked_where_nvml_is_silent(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch, there: bool, generation: tuple[int, int],
    texts: dict[str, str], watts: float | None,
) -> None:  # fmt: skip
    nvml.there, nvml.instant = there and generation != AMPERE, False
    says(monkeypatch, texts)
    board = Board(TORCH, "cuda:0", generation, "GPU-1")
    assert [board.watts(), board.watts()] == [watts, watts]


def test_amd_tells_watts(nvml: Nvml) -> None:
    assert Board(TORCH, "cuda:0", AMD, None).watts() == 412.0
    assert Board(SimpleNamespace(cuda=SimpleNamespace()), "cuda:0", AMD, None).watts() is None
    assert nvml.opened == []
