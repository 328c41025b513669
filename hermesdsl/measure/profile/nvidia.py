"""What the driver of a GPU says of its board: watts, and facts of the machine.

Knows NVML, the driver's command and PyTorch's own reading for AMD; no case and no clock.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

#: What is asked of the driver, and what it is called among the facts.
_ASKED = {
    "driver_version": "driver", "clocks.max.sm": "clock_mhz", "clocks.max.mem": "memory_clock_mhz",
    "power.limit": "power_limit_w",
}  # fmt: skip
#: Up to this generation the usual reading of power is of the moment; later ones give the mean of
#: the last second there, and that of the moment under another name. Source: NVML API reference,
#: nvmlDeviceGetPowerUsage.
_MOMENTARY = (8, 0)
#: NVML_FI_DEV_POWER_INSTANT.
_INSTANT = 186


def facts(uuid: str | None) -> dict[str, str | float]:
    """Driver, largest clocks and limit of power, as far as the driver's command says them."""
    told = _nvidia_smi(uuid, tuple(_ASKED))
    return {_ASKED[name]: value for name, value in told.items()}


class Board:
    """The board of one GPU, for its power. `generation` (0, 0): one of AMD."""

    def __init__(
        self, torch: Any, device: str, generation: tuple[int, int], uuid: str | None
    ) -> None:
        self._uuid = uuid
        self._field = "power.draw" if generation <= _MOMENTARY else "power.draw.instant"
        ways = [lambda: float(torch.cuda.power_draw(device))]  # of AMD, in watts
        if generation != (0, 0):
            ways = [_nvml(generation, uuid), self._command]
        self._ways: list[Callable[[], float]] = ways

    def watts(self) -> float | None:
        """Now; None where none of the ways to learn it works."""
        while self._ways:
            with suppress(Exception):  # NVML is an extra, and each says no in its own words
                return self._ways[0]()
            del self._ways[0]
        return None

    def _command(self) -> float:
        return float(_nvidia_smi(self._uuid, (self._field,))[self._field])


def _nvml(generation: tuple[int, int], uuid: str | None) -> Callable[[], float]:
    """A reading in watts by NVML, which is opened at the first. It raises where that fails."""
    opened: list[Any] = []

    def read() -> float:
        nvml = import_module("pynvml")
        if not opened:
            nvml.nvmlInit()
            opened.append(nvml.nvmlDeviceGetHandleByUUID(uuid) if uuid is not None
                          else nvml.nvmlDeviceGetHandleByIndex(0))  # fmt: skip
        if generation <= _MOMENTARY:
            return float(nvml.nvmlDeviceGetPowerUsage(opened[0])) * 1e-3
        field = nvml.nvmlDeviceGetFieldValues(opened[0], [_INSTANT])[0]
        if field.nvmlReturn:
            raise LookupError(f"NVML says {field.nvmlReturn}")
        return float(field.value.uiVal) * 1e-3

    return read


def _nvidia_smi(uuid: str | None, fields: tuple[str, ...]) -> dict[str, str | float]:
    """What the driver's command says of one GPU, numbers as such; fields it does not know are left
    out, and all of them without it."""
    words = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    if uuid is not None:
        words.append(f"--id={uuid}")
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in done.stdout.partition("\n")[0].split(",")]
    if len(values) != len(fields):
        return {}
    return {
        name: float(value) if value.replace(".", "", 1).isdigit() else value
        for name, value in zip(fields, values, strict=True)
        if value and not value.startswith("[")  # [N/A]
    }
