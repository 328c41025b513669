"""Power that boards draw under one kernel against the tables that tell it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy.clean import rows_of
from benchmarks.accuracy.devices import Chip, chip_of
from benchmarks.accuracy.kernels import SUBJECTS
from benchmarks.accuracy.report import (
    Dotted,
    Figure,
    Floats,
    Section,
    Table,
    counted,
    errors,
    median,
    percent,
    signed,
)
from hermesdsl.cost.power import DRAWS
from hermesdsl.measure.calibrate import FEWEST, LONG
from hermesdsl.measure.power import Powers, class_draw, fitted_power, powers, watts

#: Must and aim for shapes held out.
HELD = (0.12, 0.07)


@dataclass
class _Drawn:
    """Rows of one sort of kernel, chip and dtype; watts, (n,) each."""

    operator: str
    chip: Chip
    dtype: str
    rows: Powers
    held: Floats
    left: Floats | None = None

    @property
    def classes(self) -> Floats:
        return watts(DRAWS[self.operator], self.rows)

    def error(self, predicted: Floats) -> Floats:
        return errors(self.rows.watts, predicted)


def section(data: Path, say: Callable[[str], None] = lambda _: None) -> Section:
    """The part of the page about watts."""
    made = Section(
        "power", "Power",
        "Rows of `aiconfigurator/power_*.csv.gz`: board power while one kernel is repeated, vLLM "
        "0.22.0. All rows, of whatever length. Predicted from the shares of peak and bandwidth "
        "that the kernel reaches in its measured time.",
        unit="W",
    )  # fmt: skip
    found: list[_Drawn] = []
    for name in SUBJECTS:
        found += _of_operator(name, data, made, say)
    if not found:
        made.missing = "no row of power on a chip whose data sheet and idle power are known"
        return made
    for each in found:
        others = [other.rows for other in found if other.operator == each.operator
                  and other.chip.name != each.chip.name]  # fmt: skip
        if others:
            each.left = watts(class_draw(others), each.rows)
    _told(made, found)
    return made


def _of_operator(
    name: str, data: Path, made: Section, say: Callable[[str], None]
) -> list[_Drawn]:  # fmt: skip
    subject = SUBJECTS[name]
    file = f"power_{subject.file}.csv.gz"
    table = rows_of(data / "aiconfigurator" / file, decoding=name == "decode")
    made.skipped += table.skipped
    if table.frame is None:
        return []
    if "watts" not in table.frame.columns:
        made.skipped.append(f"`{file}`: no column of power")
        return []
    found, strange = [], []
    for (system, dtype), rows in table.frame.groupby(["system", "dtype"], sort=True):
        chip = chip_of(str(system), data)
        sheet = chip.sheets.get(str(dtype)) if chip is not None else None
        if chip is None or sheet is None or chip.idle is None:
            strange += [f"{system} {dtype}"] * len(rows)
            continue
        rows = rows.reset_index(drop=True)
        points = subject.operator.points(rows, sheet, str(dtype))
        if len(set(points.keys)) < FEWEST:
            made.skipped.append(f"{len(rows):,} rows of {chip.name} {dtype}: too few shapes")
            continue
        say(f"power: {name}, {chip.name} {dtype}, {len(rows):,} rows")
        own = powers(points, rows, chip.idle)
        held = fitted_power(name, str(dtype), own).predicted
        found.append(_Drawn(name, chip, str(dtype), own, held))
    if strange:
        made.skipped.append(f"`{file}`: no peak or idle power known: {counted(strange)}")
    return found


def _told(made: Section, found: Sequence[_Drawn]) -> None:
    held = np.concatenate([each.error(each.held) for each in found])
    how = "by hash of the shape, five parts, fits as `hermes calibrate` makes them"
    made.figures.append(Figure("Power: shape held out, median APE", median(held), len(held), how,
                               *HELD))  # fmt: skip
    worst = max(found, key=lambda each: median(each.error(each.held)))
    made.figures.append(Figure(
        f"… of the worst, {worst.chip.name} {worst.operator}.{worst.dtype}",
        median(worst.error(worst.held)), len(worst.held), how, *HELD,
    ))  # fmt: skip
    mean = float(np.abs(held).mean())
    made.figures.append(Figure("Power: shape held out, mean APE", mean, len(held), how))
    long = np.concatenate([each.error(each.held)[each.rows.seconds > LONG] for each in found])
    if len(long):
        made.figures.append(Figure("Power: shape held out, rows above 50 µs, median APE",
                                   median(long), len(long), how))  # fmt: skip
    left = [each.error(each.left) for each in found if each.left is not None]
    if left:
        errs = np.concatenate(left)
        made.figures.append(Figure(
            "Power: device left out, median APE", median(errs), len(errs),
            "by device: one draw per sort of kernel, fitted to the others", *HELD,
        ))  # fmt: skip
    rows = []
    for each in sorted(found, key=lambda own: -median(own.error(own.held))):
        errs = each.error(each.held)
        beside = "–" if each.left is None else percent(median(each.error(each.left)))
        rows.append([
            f"{each.chip.name} {each.dtype}", each.operator, f"{len(errs):,}",
            percent(median(errs)), percent(float(np.abs(errs).mean())),
            percent(float(np.quantile(np.abs(errs), 0.9))), signed(float(np.median(errs))), beside,
            percent(median(each.error(each.classes))),
        ])  # fmt: skip
    header = ("chip, dtype", "kernel", "n", "held out", "mean", "P90", "signed", "device left out",
              "class defaults")  # fmt: skip
    made.tables.append(Table("Median APE by chip and kernel, worst first", header, rows))
    made.dots = [Dotted(f"{each.chip.name} {each.operator}.{each.dtype}", each.rows.watts,
                        each.held) for each in found]  # fmt: skip
