"""Messages between the devices of one node against the tables of vLLM and NCCL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy import models
from benchmarks.accuracy.clean import rows_of
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
from hermesdsl.cost.classes import class_links
from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.measure.collective import LARGE, fit_collective

#: Files, and what stands behind the name of a message: whose it is.
_FILES: Mapping[str, str] = {
    "aiconfigurator/custom_allreduce": "", "aiconfigurator/nccl": " (NCCL)",
    "vidur/all_reduce": " (NCCL of 2023)", "vidur/send_recv": " (NCCL of 2023)",
}  # fmt: skip
#: What is predicted as it is, without a fit to it.
OLD = "of 2023"
#: Must and aim of the all-reduce.
SENT = (0.15, 0.08)
#: Fewest messages worth a fit.
FEWEST = 10


@dataclass(frozen=True)
class _Sent:
    """Messages above 4 MB of one kind on one chip; seconds, (n,) each."""

    chip: Chip
    kind: str
    rows: int
    volume: Floats
    members: Floats
    measured: Floats
    held: Floats | None
    shipped: Floats
    plain: Floats
    full: Floats

    def error(self, predicted: Floats) -> Floats:
        return errors(self.measured, predicted)


def section(data: Path, say: Callable[[str], None] = lambda _: None) -> Section:
    """Collectives: all-reduce as vLLM does it, the others as NCCL does."""
    made = Section(
        "messages", "Messages inside a node",
        "Rows of `aiconfigurator/custom_allreduce.csv.gz` (all-reduce of vLLM in captured graphs) "
        "and `aiconfigurator/nccl.csv.gz` (16-bit values) of more than 4 MB, two to eight devices; "
        "beside them `vidur/all_reduce.csv.gz` and `send_recv.csv.gz`, other machines and an older "
        "NCCL, which no calibration has seen.",
    )  # fmt: skip
    found: list[_Sent] = []
    strange: list[str] = []
    for file, whose in _FILES.items():
        table = rows_of(data / f"{file}.csv.gz")
        made.skipped += table.skipped
        if table.frame is None:
            continue
        if "kind" not in table.frame.columns:
            made.skipped.append(f"`{file}.csv.gz`: not a table of messages")
            continue
        for (system, kind), rows in table.frame.groupby(["system", "kind"], sort=True):
            chip = chip_of(str(system), data)
            if chip is None or chip.link is None:
                strange += [str(system)] * len(rows)
                continue
            label = f"{kind}{whose}"
            say(f"messages: {chip.name} {label}, {len(rows):,} rows")
            columns = {name: rows[name].to_numpy(np.float64)
                       for name in ("members", "bytes", "seconds")}  # fmt: skip
            if (columns["bytes"] >= LARGE).any():
                found.append(_sent(chip, str(kind), label, columns))
            else:
                made.skipped.append(f"{len(rows):,} rows of {chip.name} {label}: none above 4 MB")
    if strange:
        made.skipped.append(f"rows of systems whose links are not known: {counted(strange)}")
    if not found:
        made.missing = "no message above 4 MB on a chip whose links are known"
        return made
    _told(made, found)
    return made


def _sent(chip: Chip, kind: str, label: str, columns: dict[str, Floats]) -> _Sent:
    assert chip.link is not None
    large = columns["bytes"] >= LARGE
    members, volume = columns["members"][large], columns["bytes"][large]
    bandwidth = next(iter(chip.sheets.values())).bandwidth
    reached = class_links(ACCELERATOR, chip.part, bandwidth, chip.link)
    direct = "NCCL" not in label
    held = None
    if len(columns["bytes"]) >= FEWEST and OLD not in label:
        fit = fit_collective(kind, chip.link, reached, VLLM.overheads, columns)
        held = fit.predicted[large]
    own = None if "NCCL" in label and kind == "all_reduce" else chip.calibration
    return _Sent(
        chip, label, len(large), volume, members, columns["seconds"][large], held,
        models.sent(kind, chip.link, members, volume, reached, own, direct),
        models.sent(kind, chip.link, members, volume, reached, None, direct),
        models.sent(kind, chip.link, members, volume, models.FULL, None, direct),
    )  # fmt: skip


def _told(made: Section, found: Sequence[_Sent]) -> None:
    reduces = [each for each in found if each.kind == "all_reduce"] or [
        each for each in found if each.kind.startswith("all_reduce")
    ]
    old = [each for each in found if OLD in each.kind]
    others = [each for each in found if each not in reduces and each not in old]
    for group, name, (must, aim) in (
        (reduces, "All-reduce above 4 MB", SENT),
        (others, "NCCL of today, all messages", (None, None)),
        ([each for each in old if "reduce" in each.kind], "All-reduce, NCCL of 2023", SENT),
    ):
        held = [each.error(each.held) for each in group if each.held is not None]
        if held:
            errs = np.concatenate(held)
            how = "by hash of members and bytes, five parts"
            made.figures.append(Figure(f"{name}: message held out, median APE", median(errs),
                                       len(errs), how, must, aim))  # fmt: skip
        if group:
            errs = np.concatenate([each.error(each.plain) for each in group])
            made.figures.append(Figure(f"{name}: class defaults, median APE", median(errs),
                                       len(errs), "constants of the class", must, aim))  # fmt: skip
    rows = []
    for each in found:
        held = "–" if each.held is None else percent(median(each.error(each.held)))
        others = [percent(median(each.error(p))) for p in (each.shipped, each.plain, each.full)]
        at = int(np.argmax(np.abs(each.error(each.plain if each.held is None else each.held))))
        worst = each.error(each.plain if each.held is None else each.held)[at]
        where = f"{signed(worst)} at {each.volume[at] / 1e6:.0f} MB, {each.members[at]:.0f} devices"
        rows.append([each.chip.name, each.kind, f"{each.rows:,}", f"{len(each.measured):,}",
                     held, *others, where])  # fmt: skip
    header = ("chip", "message", "rows", "above 4 MB", "held out", "as shipped", "class defaults",
              "data sheet", "worst, held out")  # fmt: skip
    made.tables.append(Table("Median APE by chip and message", header, rows))
    made.dots = [Dotted(f"{each.chip.name} {each.kind}", each.measured, each.held)
                 for each in reduces if each.held is not None]  # fmt: skip
