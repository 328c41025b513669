"""Kernels on one device against the tables of AIConfigurator: products, attention, experts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import models
from benchmarks.accuracy.clean import SOURCE, rows_of
from benchmarks.accuracy.devices import Chip, chip_of
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
from hermesdsl.cost.classes import COMMON, class_name
from hermesdsl.cost.classes import classes as shipped_classes
from hermesdsl.graph.types import Grid
from hermesdsl.measure import classes
from hermesdsl.measure.attention import DECODE, PREFILL
from hermesdsl.measure.calibrate import FEWEST, LONG, fitted
from hermesdsl.measure.operators import GEMM, MOE, Fittable
from hermesdsl.measure.tables import Table as KernelTable

if TYPE_CHECKING:
    import pandas as pd

#: Ways to predict, in the order of columns, and what each is called.
WAYS: Mapping[str, str] = {
    "held": "shape held out", "shipped": "as shipped", "left": "device left out",
    "classes": "class defaults", "constants": "constants alone", "sheet": "data sheet",
    "roofline": "roofline",
}  # fmt: skip
#: Must and aim for shapes held out, and for a device left out.
SHAPES, DEVICE = (0.08, 0.04), (0.16, 0.10)
#: Fewest rows of a group that is told among the worst, and groups told.
LEAST, TOLD = 20, 8


@dataclass(frozen=True)
class Subject:
    """One operator: its table, what is fitted, and the column that sizes are told by."""

    title: str
    file: str
    operator: Fittable
    size: str
    buckets: tuple[int, ...]


SUBJECTS: Mapping[str, Subject] = {
    "gemm": Subject("Products with weights", "gemm", GEMM, "m", (16, 256, 4096)),
    "prefill": Subject(
        "Attention of prompts", "context_attention", PREFILL, "new", (128, 1024, 8192)
    ),
    "decode": Subject(
        "Attention of decoding", "generation_attention", DECODE, "context", (512, 4096, 32768)
    ),
    "moe": Subject("Layers of experts", "moe", MOE, "tokens", (16, 256, 4096)),
}


@dataclass
class Measured:
    """Rows of one operator, system and dtype.

    `rows`: all of them; `told`: which take more than 50 µs. Other columns are of those, (n,).
    `predicted` seconds by way; a way that has none for these rows is absent.
    """

    chip: Chip
    dtype: str
    rows: classes.Measured
    told: NDArray[np.bool_]
    source: Sequence[str]
    size: Floats
    predicted: dict[str, Floats] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The chip and the dtype."""
        return f"{self.chip.name} {self.dtype}"

    @property
    def seconds(self) -> Floats:
        """Measured, (n,)."""
        return self.rows.seconds[self.told]

    @property
    def bandwidth(self) -> float:
        """Byte/s of the device's memory."""
        return next(iter(self.chip.sheets.values())).bandwidth

    def error(self, way: str) -> Floats:
        """Signed errors of a way, (n,)."""
        return errors(self.seconds, self.predicted[way])

    def by(self, grids: Sequence[Grid]) -> Floats:
        """Seconds by grids over the data-sheet model with the constants of the class, (n,)."""
        if not grids:
            return self.rows.model[self.told]
        factor = np.exp(models.factors(list(grids), self.rows.points.axes))
        return np.asarray((self.rows.model / factor)[self.told])


def section(
    name: str, data: Path, say: Callable[[str], None] = lambda _: None, jobs: int = 1
) -> Section:
    """One operator's part of the page, on as many processes."""
    subject = SUBJECTS[name]
    made = Section(name, subject.title, _about(subject))
    table = rows_of(data / "aiconfigurator" / f"{subject.file}.csv.gz", decoding=name == "decode")
    made.skipped += table.skipped
    if table.frame is None or table.frame.empty:
        made.missing = "no rows that can be used"
        return made
    say(f"{name}: {len(table.frame):,} rows")
    found = _measured(subject, table.frame, data, made, jobs)
    _classed(subject.operator.name, found)
    if not found:
        made.missing = "no row above 50 µs on a chip whose data sheet is known"
        return made
    made.figures += _figures(subject, found)
    made.tables += [_by_group(found), _worst(subject, found)]
    made.dots = [Dotted(each.name, each.seconds, each.predicted.get("held", each.seconds))
                 for each in found if "held" in each.predicted]  # fmt: skip
    return made


def _measured(
    subject: Subject, frame: pd.DataFrame, data: Path, made: Section, jobs: int
) -> list[Measured]:
    name = subject.operator.name
    tasks: list[_Task] = []
    strange: list[str] = []
    for (system, dtype), rows in frame.groupby(["system", "dtype"], sort=True):
        chip = chip_of(str(system), data)
        if chip is None:
            strange += [str(system)] * len(rows)
            continue
        sheet = chip.sheets.get(str(dtype))
        if sheet is None:
            made.skipped.append(f"{len(rows):,} rows of `{dtype}`: no peak of it on {chip.name}")
            continue
        rows = rows.reset_index(drop=True)
        if not (rows["seconds"] > LONG).any():
            made.skipped.append(f"{len(rows):,} rows of {chip.name} {dtype}: none above 50 µs")
            continue
        tasks.append((name, rows, str(system), str(dtype), data))
    if strange:
        made.skipped.append(f"rows of systems with no data sheet: {counted(strange)}")
    if jobs == 1 or len(tasks) < 2:
        made_of = [_group(task) for task in tasks]
    else:
        with ProcessPoolExecutor(max_workers=jobs) as pool:
            made_of = list(pool.map(_group, tasks))
    found = []
    for (_, rows, system, dtype, _), (seen, predicted) in zip(tasks, made_of, strict=True):
        chip = chip_of(system, data)
        assert chip is not None
        told = seen.seconds > LONG
        size = rows[subject.size].to_numpy(np.float64)[told]
        found.append(Measured(chip, dtype, seen, told, rows[SOURCE][told].tolist(), size,
                              predicted))  # fmt: skip
    return found


#: Operator, rows, system, dtype, folder.
_Task: TypeAlias = "tuple[str, pd.DataFrame, str, str, Path]"


def _group(task: _Task) -> tuple[classes.Measured, dict[str, Floats]]:
    """Rows of one operator, system and dtype as a class sees them, and seconds by way."""
    name, rows, system, dtype, data = task
    chip = chip_of(system, data)
    assert chip is not None
    operator = SUBJECTS[name].operator
    device = {system: (chip.part, chip.sheets[dtype].bandwidth)}
    (seen,) = classes.measured_of([KernelTable(name, rows, "")], name, device)[dtype]
    told = seen.seconds > LONG
    predicted = {
        "roofline": seen.points.roofline[told], "sheet": seen.sheet[told],
        "constants": seen.model[told],
    }  # fmt: skip
    if len(set(seen.points.keys)) >= FEWEST:
        predicted["held"] = fitted(operator, dtype, seen.points, seen.seconds).predicted[told]
    by = models.shipped(chip.calibration, name, dtype, seen.points)
    if by is not None:
        predicted["shipped"] = by[told]
    return seen, predicted


def _classed(operator: str, found: Sequence[Measured]) -> None:
    """Adds what rows take by the class of their device: as shipped, and fitted without it."""
    systems = {each.rows.system: (each.chip.part, each.bandwidth) for each in found}
    for each in found:
        entry = f"{operator}.{each.dtype}"
        name = class_name(each.chip.part, each.bandwidth)
        calibration = shipped_classes().get(name or "")
        grids = calibration.operators.get(operator, {}).get(each.dtype, ()) if calibration else ()
        each.predicted["classes"] = each.by(grids)
        each.predicted.setdefault("shipped", each.predicted["classes"])
        rest, wide = ([other.rows for other in found
                       if other.dtype == dtype and other.chip.name != each.chip.name]
                      for dtype in (each.dtype, classes.WIDE))  # fmt: skip
        left = classes.class_entries(rest, entry, systems, wide)
        each.predicted["left"] = each.by(left.get(name or "", left.get(COMMON, ())))


def _figures(subject: Subject, found: Sequence[Measured]) -> list[Figure]:
    """Medians over all rows, and that of the worst group, for what must be reached."""
    made = []
    asked = {
        "held": ("by hash of the shape, five parts, fits as `hermes calibrate` makes them", SHAPES),
        "left": ("by device: its class fitted to the others, with constants of all", DEVICE),
        "classes": ("not held out: classes and constants have seen these chips", (None, None)),
        "sheet": ("nothing is fitted", (None, None)),
        "roofline": ("nothing is fitted", (None, None)),
    }
    for way, (held, (must, aim)) in asked.items():
        errs = [each.error(way) for each in found if way in each.predicted]
        if not errs:
            continue
        whole = np.concatenate(errs)
        name = f"{subject.title}: {WAYS[way]}, median APE"
        made.append(Figure(name, median(whole), len(whole), held, must, aim))
        if must is not None:
            worst = max(map(median, errs))
            of = next(each for each in found
                      if way in each.predicted and median(each.error(way)) == worst)  # fmt: skip
            count = len(of.seconds)
            made.append(Figure(f"… of the worst, {of.name}", worst, count, held, must, aim))
    return made


def _by_group(found: Sequence[Measured]) -> Table:
    """Medians by chip and dtype, a column per way."""
    rows = []
    for each in found:
        cells = [percent(median(each.error(way))) if way in each.predicted else "–"
                 for way in WAYS]  # fmt: skip
        bias = signed(float(np.median(each.error("held")))) if "held" in each.predicted else "–"
        sure = "" if each.chip.known else " (data sheet of the folder)"
        rows.append(
            [each.name + sure, f"{len(each.told):,}", f"{len(each.seconds):,}", *cells, bias]
        )
    header = ["chip, dtype", "rows", "above 50 µs", *WAYS.values(), "signed, held out"]
    return Table("Median APE by chip and dtype", header, rows)


def _worst(subject: Subject, found: Sequence[Measured]) -> Table:
    """The groups by kernel and size that are predicted worst, shapes held out."""
    groups: list[tuple[float, list[str]]] = []
    for each in found:
        way = "held" if "held" in each.predicted else "shipped"
        errs = each.error(way)
        keys = np.array([f"{_kernel(source)}|{_bucket(subject, size)}"
                         for source, size in zip(each.source, each.size, strict=True)])  # fmt: skip
        for key in np.unique(keys):
            own = errs[keys == key]
            if len(own) < LEAST:
                continue
            kernel, _, bucket = key.partition("|")
            cells = [each.name, kernel, bucket, f"{len(own):,}", percent(median(own)),
                     percent(float(np.quantile(np.abs(own), 0.9))),
                     signed(float(np.median(own)))]  # fmt: skip
            groups.append((median(own), cells))
    groups.sort(key=lambda group: (-group[0], group[1]))
    header = ["chip, dtype", "kernel", subject.size, "n", "median APE", "P90", "signed"]
    return Table("Predicted worst, shapes held out", header, [g for _, g in groups[:TOLD]])


def _bucket(subject: Subject, size: float) -> str:
    edges = subject.buckets
    if size > edges[-1]:
        return f"> {edges[-1]}"
    top = next(edge for edge in edges if size <= edge)
    at = edges.index(top)
    return f"≤ {top}" if at == 0 else f"{edges[at - 1] + 1}–{top}"


def _kernel(source: str) -> str:
    """The name of a kernel without the words that all of them share."""
    kept = [word for word in source.replace("vllm_", "").split("_") if word]
    return " ".join(kept[-2:]) if kept else "–"


def _about(subject: Subject) -> str:
    return (
        f"Rows of `aiconfigurator/{subject.file}.csv.gz` that take longer than 50 µs (shorter ones "
        "are mostly launch). One kernel call on one device, timed inside vLLM."
    )


def names() -> Iterable[str]:
    """The operators that have a part."""
    return SUBJECTS
