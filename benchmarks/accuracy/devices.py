"""Which chip the rows of a table were measured on: of the library, or by its data sheet alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from pathlib import Path

from hermesdsl.api import compile
from hermesdsl.cli.calibrate import data_sheets, idle_power, near_link
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Calibration, Fabric, Part
from hermesdsl.library.find import definitions, imported
from hermesdsl.measure.operators import Sheet

#: What the tables call chips of the library.
CHIPS: Mapping[str, str] = {
    "a100": "A100_80GB", "a100_sxm": "A100_80GB", "a100_pcie": "A100_80GB_PCIe", "a30": "A30",
    "h100": "H100", "h100_sxm": "H100", "h100_pcie": "H100_PCIe", "h100_nvl": "H100_NVL",
    "h200": "H200", "h200_sxm": "H200", "b200": "B200", "b200_sxm": "B200", "gb200": "GB200",
    "a100_dgx": "A100_80GB", "h100_dgx": "H100", "l4": "L4", "l40s": "L40S",
    "rtx_pro_6000_server": "RTX_PRO_6000",
}  # fmt: skip
#: Columns of a table of data sheets (SI units) by dtype.
_PEAKS = {"bf16": "bfloat16", "fp16": "bfloat16", "int8": "int8", "fp8": "fp8", "fp4": "fp4"}


@dataclass(frozen=True)
class Chip:
    """A chip as the cost models see it, with its data sheet by dtype.

    `calibration`: what the library ships for it; `link`: how two of them meet in a node.
    `idle`: watts without work. `known`: it is in the library; others are known by a table of data
    sheets.
    """

    name: str
    part: Part
    sheets: Mapping[str, Sheet]
    calibration: Calibration | None = None
    link: Fabric | None = None
    idle: float | None = None
    known: bool = True


def chip_of(system: str, data: Path) -> Chip | None:
    """The chip that a table calls `system`; None if nobody knows its data sheet."""
    name = CHIPS.get(system.lower(), system)
    if definitions().get(name, ("",))[0] == "chip":
        return _of_library(name)
    return _of_table(system, data / "aiconfigurator" / "systems.csv")


@cache
def _of_library(name: str) -> Chip | None:
    line, _, _ = imported(name, ("chip",))
    graph = compile(f"{line}\npart: {name}\n").hardware
    try:
        _, sheets = data_sheets(name)
    except SpecError:
        return None
    try:
        link = near_link(name)
    except SpecError:
        link = None
    part: Part = graph.nodes["part"]["part"]
    return Chip(name, part, sheets, part.calibration, link, idle_power(name))


@cache
def _of_table(system: str, path: Path) -> Chip | None:
    import pandas as pd

    if not path.is_file():
        return None
    read = pd.read_csv(path)
    if not {"system", "gpu.mem_bw"} <= set(read.columns):
        return None
    rows = read[read["system"] == system]
    if not len(rows):
        return None
    row = rows.iloc[0]
    peaks = {dtype: float(row.get(f"gpu.{there}_tc_flops", float("nan")))
             for dtype, there in _PEAKS.items()}  # fmt: skip
    peaks = {dtype: peak for dtype, peak in peaks.items() if isfinite(peak) and peak > 0}
    bandwidth = float(row["gpu.mem_bw"])
    if not peaks or not bandwidth > 0:
        return None
    wide = peaks.get("bf16", 0.0)
    sheets = {dtype: Sheet(peak, bandwidth, 0, wide) for dtype, peak in peaks.items()}
    if "fp8" in sheets:
        sheets["fp8_block"] = sheets["fp8"]
    link = float(row.get("node.intra_node_bw", float("nan")))
    joined = Fabric(2, 1e-6, link, 2) if isfinite(link) and link > 0 else None
    part = Part(system, "chip", system, peak=peaks)
    return Chip(system, part, sheets, None, joined, known=False)
