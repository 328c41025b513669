"""Whether a GPU is the chip that is named: as drivers call them and count their parts."""

from __future__ import annotations

from typing import Any

import pytest

from hermesdsl.measure.profile.match import doubts

GIB = 2**30


@pytest.mark.parametrize(
    ("chip", "device"),
    [
        ("H200", "NVIDIA H200"),
        ("H100", "NVIDIA H100 80GB HBM3"),
        ("H100_PCIe", "NVIDIA H100 PCIe"),
        ("A100_40GB", "NVIDIA A100-SXM4-40GB"),
        ("A100_80GB_PCIe", "NVIDIA A100 80GB PCIe"),
        ("RTX_4090", "NVIDIA GeForce RTX 4090"),
        ("RTX_PRO_6000", "NVIDIA RTX PRO 6000 Blackwell Server Edition"),
        ("RTX_PRO_6000_Workstation", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"),
        ("MI300X", "AMD Instinct MI300X"),
    ],
)
def test_chips_are_found_in_what_gpus_call_themselves(chip: str, device: str) -> None:
    assert doubts(chip, 0, 0.0, {"device": device}, 0.0) == []


@pytest.mark.parametrize(
    ("chip", "device"),
    [
        ("H200", "NVIDIA H100 80GB HBM3"),
        ("A100_80GB", "NVIDIA A100-SXM4-40GB"),
        ("A100_80GB_PCIe", "NVIDIA A100-SXM4-80GB"),
        ("RTX_PRO_6000", "NVIDIA RTX 6000 Ada Generation"),
        ("L4", "NVIDIA L40S"),
        ("B200", "NVIDIA GB200"),
    ],
)
def test_others_are_told(chip: str, device: str) -> None:
    (doubt,) = doubts(chip, 0, 0.0, {"device": device}, 0.0)
    assert doubt == f"the GPU calls itself {device}"
    assert doubts(None, 0, 0.0, {"device": device}, 0.0) == []


@pytest.mark.parametrize(
    ("sms", "memory", "held", "words"),
    [
        (132, 79.6, 0.6, ""),  # an H100 of 80 GiB as its driver tells, a context beside
        (0, 79.6, 0.6, ""),
        (114, 79.6, 0.6, "132 multiprocessors, the data sheet 114"),
        (132, 93.1, 0.6, "93 GiB of memory, the data sheet 80 GiB"),
        (132, 19.6, 0.6, "20 GiB of memory, the data sheet 80 GiB"),  # a slice of it
        (132, 79.6, 8.5, "8 GiB of its memory are in use"),
    ],
)
def test_sizes_are_those_of_the_data_sheet(
    sms: int, memory: float, held: float, words: str
) -> None:
    about: dict[str, Any] = {
        "device": "NVIDIA H100", "multiprocessors": 132, "memory_bytes": memory * GIB,
    }  # fmt: skip
    found = doubts("H100", sms, 80.0 * GIB, about, held * GIB)
    assert [words in doubt for doubt in found] == [True] * bool(words)
