"""Classes of devices, told by their data sheets, and what kernels reach on each of them.

A device without a calibration takes the grids of its class: factors on the data-sheet model with
the efficiencies of `constants`. They were fitted over all devices of the class that were measured,
on axes that carry over to others. Knows no operator's formula.

A class is what the matrix units of a multiprocessor do in 16 bits, which one generation of kernels
is written for (dense FLOP/s over multiprocessors, from data sheets): A100 2.9e12, H100 7.5e12 and
its PCIe card 6.6e12, B200 15e12. Cards with GDDR memory (L4, L40S, RTX PRO 6000: 2.1 to 2.6e12)
and everything else below Ampere's rate are in the common class. Between those rates stand makers of
which nothing was measured (CDNA 3: 4.3e12, CDNA 4: 9.8e12): they have no class, and take the
efficiencies of `constants` alone.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from hermesdsl.cost.constants import Efficiencies
from hermesdsl.cost.device import Device
from hermesdsl.cost.utilisation import Utilisation, class_utilisation, grids_of
from hermesdsl.graph.types import Calibration, Fabric, Grid, Part

COMMON = "common"
AMPERE = "ampere"
HOPPER = "hopper"
BLACKWELL = "blackwell"
CLASSES = (COMMON, AMPERE, HOPPER, BLACKWELL)

#: Classes by dense FLOP/s in 16 bits of one multiprocessor: from, below; the largest first.
_RATES = (
    (12e12, float("inf"), BLACKWELL), (6e12, 9e12, HOPPER), (2.5e12, 3.5e12, AMPERE),
    (0.0, 2.5e12, COMMON),
)  # fmt: skip
#: Bandwidth of one multiprocessor (byte/s) from which a device of Ampere's rate has HBM: A30 has
#: 17e9, A100 19e9; cards with GDDR have 5 to 10e9.
_STACKED = 14e9

#: Rings over the NVLink of a class: `link`, `link_few` and `link_fill` of `Efficiencies`.
#: Coordinate search on mean absolute log error over NCCL 2.27 and 2.29 (all-reduce, all-gather,
#: reduce-scatter, all-to-all; 64 KB to 1 GiB, 2 to 8 members), each class by itself: A100; H100
#: and H200; B200 (ai-dynamo/aiconfigurator @ 095f58a51c4c). Hopper loses less to few parts in
#: flight, and its switches add up on the way (NVLink SHARP).
_LINKS = {
    AMPERE: (0.91, 0.54, 0.92), HOPPER: (1.0, 0.68, 0.43), BLACKWELL: (0.98, 0.57, 0.88),
}  # fmt: skip
#: Byte/s of one member from which its links are NVLink: PCIe 5.0 has 64e9, NVLink3 300e9.
_NVLINK = 100e9
#: Links between two members that NVLink takes: device, switch, device.
_HOPS = 2

_FILE = Path(__file__).with_name("classes.json")


def class_name(part: Part, bandwidth: float) -> str | None:
    """The class of a device with `bandwidth` byte/s.

    None for what is no GPU, has unknown multiprocessors, or ones like no class's.
    """
    if part.kind == "cpu" or not part.sms or part.options.get("family", "gpu") != "gpu":
        return None
    rate = max(part.peak.get("bf16", 0.0), part.peak.get("fp16", 0.0)) / part.sms
    name = next((name for least, most, name in _RATES if least <= rate < most), None)
    if name == AMPERE and bandwidth / part.sms < _STACKED:
        return COMMON
    return name


def class_of(part: Part, bandwidth: float) -> Calibration | None:
    """What kernels reach on the class of a device: its own entries, else those of the common."""
    name = class_name(part, bandwidth)
    return None if name is None else classes()[name]


@cache
def classes() -> dict[str, Calibration]:
    """Every class by name, entries of the common one filled in."""
    read = json.loads(_FILE.read_text(encoding="utf-8"))
    found = {}
    for name, own in read["classes"].items():
        operators: dict[str, dict[str, tuple[Grid, ...]]] = {}
        for entries in (read["classes"][COMMON], own):
            for entry, grids in entries.items():
                operator, dtype = entry.split(".")
                operators.setdefault(operator, {})[dtype] = tuple(_grid(grid) for grid in grids)
        found[name] = Calibration(name, operators, read["source"])
    return found


def _grid(read: dict[str, list[float]]) -> Grid:
    axes = tuple(axis for axis in read if axis != "factor")
    return Grid(axes, tuple(tuple(read[axis]) for axis in axes), tuple(read["factor"]))


def class_reach(device: Device, operator: str, dtype: str) -> Utilisation:
    """What the class of a device reaches in an operator, where its calibration says nothing."""
    if grids_of(device.calibration, operator, dtype):
        return class_utilisation((), operator)
    return class_utilisation(grids_of(device.defaults, operator, dtype), operator)


def class_links(
    efficiencies: Efficiencies, part: Part, bandwidth: float, fabric: Fabric
) -> Efficiencies:
    """What rings over a fabric reach between devices of one class, where that was measured.

    `bandwidth`: byte/s of one device's memory. Others keep their `efficiencies`.
    """
    known = _LINKS.get(class_name(part, bandwidth) or "")
    if known is None or not 0 < fabric.hops <= _HOPS or fabric.bandwidth < _NVLINK:
        return efficiencies
    link, few, fill = known
    return replace(efficiencies, link=link, link_few=few, link_fill=fill)
