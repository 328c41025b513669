"""Whether a GPU is the chip that its times are held to, and alone with them.

Knows names and sizes; no device and no table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Memory that a driver reports lies this far around that of the data sheet: error correction and
#: reserves take a part, and vendors count in GiB or GB.
_LEAST, _MOST = 0.88, 1.1
#: A program that holds more than this part of the memory is told: a context takes less.
_HELD = 0.1


def doubts(
    name: str | None, sms: int, capacity: float, about: Mapping[str, Any], held: float
) -> list[str]:
    """Why times may not be those of the chip alone, a clause each.

    `name`: of a chip of the library, None for another. `sms`: multiprocessors of the data sheet (0:
    unknown); `capacity`: its bytes. `about`: as a device tells of itself. `held`: bytes of its
    memory that are in use before anything is timed.
    """
    found = []
    device = str(about["device"])
    if name is not None and not set(_words(name)) <= set(_words(device)):
        found.append(f"the GPU calls itself {device}")
    own = about.get("multiprocessors")
    if sms and own and own != sms:
        found.append(f"the GPU has {own} multiprocessors, the data sheet {sms}")
    memory = about.get("memory_bytes")
    if memory and capacity and not _LEAST * capacity <= memory <= _MOST * capacity:
        found.append(
            f"the GPU has {memory / 2**30:.0f} GiB of memory, the data sheet "
            f"{capacity / 2**30:.0f} GiB"
        )
    if memory and held > _HELD * memory:
        found.append(f"{held / 2**30:.0f} GiB of its memory are in use by other programs")
    return found


def _words(name: str) -> list[str]:
    """`A100_80GB_PCIe` and `NVIDIA A100-PCIE-80GB` in words without case."""
    return re.findall(r"[A-Z0-9]+", name.upper())
