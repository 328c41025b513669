"""``hermes calibrate TABLE… --chip C``: measured kernel times become a calibration."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import SpecError, error

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hermesdsl.graph.types import Fabric, Part
    from hermesdsl.measure.calibrate import Fitted
    from hermesdsl.measure.collective import Fitted as FittedMessages
    from hermesdsl.measure.copies import FittedCopies
    from hermesdsl.measure.operators import Sheet
    from hermesdsl.measure.power import FittedPower
    from hermesdsl.measure.tables import Table


@click.command("calibrate", short_help="Fit a chip's utilisation and power to measured kernels.")
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@click.option("--chip", required=True, help="A chip of the library, or FILE.hms:NAME.")
@click.option("--system", metavar="NAME", help="Rows to take, where tables hold several systems.")
@click.option("--dtype", "dtypes", multiple=True, help="Dtypes to fit; default: all. Repeatable.")
@click.option("--name", help="Name of the calibration; default: CHIP_kernels.")
@click.option("--source", default="", help="Where the tables come from, for the documentation.")
@click.option("-o", "--output", "target", metavar="FILE", help="A .hms file; default: print.")
@click.option("--plot", metavar="FILE.svg", help="Predicted against measured times.")
@options.quiet
def command(
    tables: tuple[str, ...],
    chip: str,
    system: str | None,
    dtypes: tuple[str, ...],
    name: str | None,
    source: str,
    target: str | None,
    plot: str | None,
    quiet: bool,
) -> int:
    """Fit what kernels reach of a chip's data sheet, by operator and dtype, to tables of times.

    A folder that `hermes profile` has written stands for its tables, the power it read and the
    messages included. Tables that tell the power drawn are fitted for that alone. Prints (or
    writes) a calibration, with its errors on shapes held out of the fit.
    """
    from hermesdsl.measure.profile.store import measured_on
    from hermesdsl.measure.writing import calibration_text
    from hermesdsl.source import Source
    from hermesdsl.syntax.format import format_file
    from hermesdsl.syntax.parse import parse

    output = Output(quiet=quiet)
    label, sheets = data_sheets(chip)
    if dtypes:
        sheets = {dtype: sheets[dtype] for dtype in dtypes if dtype in sheets}
    read = _read(tables, system, chip)
    found = _fitted(read, sheets, chip)
    if not found:
        peaks = ", ".join(sheets) or "none of those asked for"
        message = "nothing to fit: no dtype of the tables has 20 shapes and a peak on the chip"
        raise SpecError([error("HMS607", message, notes=[f"note: {label} has {peaks}"])])
    words = ["calibrate", *(Path(table).name for table in tables), "--chip", chip]
    words += ["--system", system] if system else []
    words += ["--name", name] if name else []
    called = shlex.join(["hermes", *words])
    files = ", ".join(Path(table.path).name for table in read.named)
    files += "".join(f" of {about}" for table in tables if (about := measured_on(Path(table))))
    files += "".join(f"; {Path(table.path).name}" for table in read.beside)
    text = calibration_text(
        name or f"{label}_kernels", label, found.kernels, source or files, called, found.power,
        found.messages, found.copies, found.remarks,
    )  # fmt: skip
    text = format_file(parse(Source("calibration.hms", text)).file)
    if target is None:
        output.write(text)
    else:
        _write(Path(target), text, output)
    if plot is not None:
        _write(Path(plot), _picture(label, found), output)
    _told(found, output)
    return 0


@dataclass(frozen=True)
class _Read:
    """Tables by what they are fitted for; `drawn`: power that was read beside times. `asked`: some
    messages are of files that were named, not of a folder."""

    kernels: tuple[Table, ...]
    power: tuple[Table, ...]
    drawn: tuple[Table, ...]
    messages: tuple[Table, ...]
    copies: tuple[Table, ...]
    asked: bool

    @property
    def named(self) -> tuple[Table, ...]:
        """One table of each file that somebody named, and of each with kernels."""
        return (*self.kernels, *self.power, *(self.messages if self.asked else ()))

    @property
    def beside(self) -> tuple[Table, ...]:
        """One table of each other file."""
        return (*(() if self.asked else self.messages), *self.copies)


def _read(tables: tuple[str, ...], system: str | None, chip: str) -> _Read:
    """The tables of files and of folders, rows of one system."""
    from hermesdsl.measure.folder import read_folder
    from hermesdsl.measure.tables import of_system, read_table

    own = [of_system(read_table(Path(table)), system) for table in tables
           if not Path(table).is_dir()]  # fmt: skip
    limit = _limit(chip) if len(own) < len(tables) else 0.0
    folders = [read_folder(Path(table), limit) for table in tables if Path(table).is_dir()]
    kernels = [table for table in own if table.operator not in ("collective", "copy")]
    messages = [table for table in own if table.operator == "collective"]
    return _Read(
        (*(t for t in kernels if not t.power), *(t for f in folders for t in f.kernels)),
        tuple(t for t in kernels if t.power),
        tuple(t for f in folders for t in f.power),
        (*messages, *(t for f in folders for t in f.messages)),
        (*(t for t in own if t.operator == "copy"), *(t for f in folders for t in f.copies)),
        bool(messages),
    )


@dataclass(frozen=True)
class _Found:
    """Fits of kernels, power, messages and copies, and what a reader is to know beside them."""

    kernels: list[Fitted]
    power: list[FittedPower]
    messages: dict[str, FittedMessages]
    copies: FittedCopies | None
    remarks: list[str]

    def __bool__(self) -> bool:
        return bool(self.kernels or self.power or self.messages or self.copies)


def _fitted(read: _Read, sheets: Mapping[str, Sheet], chip: str) -> _Found:
    """Every fit; what is left out is told in `remarks`."""
    from hermesdsl.measure.calibrate import calibrate
    from hermesdsl.measure.power import FEWEST_PROFILED, calibrate_power

    idle = idle_power(chip) if read.power or read.drawn else 0.0
    power = calibrate_power(read.power, sheets, idle)
    drawn = calibrate_power(read.drawn, sheets, idle, FEWEST_PROFILED)
    remarks = [
        f"Power of {table.operator}.{dtype} is not used: it was read at {len(rows)} shapes, and "
        f"{FEWEST_PROFILED} are needed."
        for table in read.drawn for dtype, rows in table.frame.groupby("dtype")
        if (table.operator, dtype) not in {(own.operator, own.dtype) for own in drawn}
    ]  # fmt: skip
    messages: dict[str, FittedMessages] = {}
    try:
        messages = _messages(read.messages, chip)
    except SpecError as refused:
        if read.asked:
            raise
        reason = refused.diagnostics[0].message
        remarks.append(f"Messages between GPUs are not used: {reason}.")
    copies = _copies(read.copies, sheets, remarks)
    return _Found(calibrate(read.kernels, sheets), [*power, *drawn], messages, copies, remarks)


def _copies(
    tables: Sequence[Table], sheets: Mapping[str, Sheet], remarks: list[str]
) -> FittedCopies | None:
    """The fit of copies in memory; those from and to the host are remarks."""
    if not tables:
        return None
    import pandas as pd

    from hermesdsl.measure.copies import fit_copies, way

    whole = pd.concat([table.frame for table in tables], ignore_index=True)
    for direction, rows in whole.groupby("operator", sort=False):
        if direction != "device_copy":
            own, named = way(rows), str(direction).replace("_", " ")
            remarks.append(
                f"Copies from {named} reach {own.bandwidth / 1e9:.4g} GB/s and take "
                f"{own.latency * 1e6:.3g} us more; not used: that way is a link of the node, not "
                f"of the chip (`bandwidth`, `latency` of a `link`)."
            )
    rows = whole[whole["operator"] == "device_copy"]
    bandwidth = max((sheet.bandwidth for sheet in sheets.values()), default=0.0)
    found = fit_copies(rows, bandwidth) if len(rows) and bandwidth else None
    if found is None and len(rows):
        remarks.append("Copies in memory are not used: they are of fewer than five sizes.")
    return found


def _limit(chip: str) -> float:
    """Power limit of a chip by its data sheet, in watts."""
    return part_of(chip)[0].power


def _messages(tables: Sequence[Table], chip: str) -> dict[str, FittedMessages]:
    """Fits of messages over the links of a node of the library that the chip is built into."""
    if not tables:
        return {}
    from hermesdsl.cost.classes import class_links
    from hermesdsl.cost.constants import efficiencies_of
    from hermesdsl.measure.messages import fit_messages

    part, bandwidth = part_of(chip)
    link = near_link(chip)
    reached = class_links(efficiencies_of(part), part, bandwidth, link)
    return fit_messages([table.frame for table in tables], link, reached)


def near_link(chip: str) -> Fabric:
    """How two chips meet in a node of the library. Raises SpecError HMS607 for one of no node."""
    from hermesdsl.api import compile
    from hermesdsl.graph.query import fabrics
    from hermesdsl.library.find import imported, node_of

    _, label, _ = imported(chip, ("chip", "cpu"))
    node = node_of(label)
    if node is None:
        message = f"no node of the library has `{label}`: its links are not known"
        raise SpecError([error("HMS607", message, notes=["help: leave out tables of messages"])])
    line, name, _ = imported(node, ("node", "rack"))
    graph = compile(f"{line}\nbox: {name}\n").hardware
    return fabrics(graph, [["box.gpu[0]", "box.gpu[1]"]])


def _picture(label: str, found: _Found) -> str:
    """Of times; of watts where only power was fitted."""
    from hermesdsl.measure.plot import Dots, scatter

    timed = bool(found.kernels or found.messages or found.copies)
    told: list[Fitted | FittedPower] = [*found.kernels] if timed else [*found.power]
    groups = [Dots(f"{each.operator}.{each.dtype} {each.holdout.median:.1%}", each.measured,
                   each.predicted) for each in told]  # fmt: skip
    groups += [Dots(f"{kind} {each.held:.1%}", each.measured, each.predicted)
               for kind, each in found.messages.items()]  # fmt: skip
    if found.copies is not None:
        copies = found.copies
        groups.append(Dots(f"copy.device {copies.held:.1%}", copies.measured, copies.predicted))
    return scatter(f"{label}: kernels, shapes held out", groups, "s" if timed else "W")


def _told(found: _Found, output: Output) -> None:
    """What every fit reaches, and what was not used."""
    for fit in found.kernels:
        output.note(
            f"held out {fit.holdout.median:.1%}, fitted {fit.sample.median:.1%}, naive roofline "
            f"{fit.roofline.median:.0%} (median, {fit.long} of {fit.rows} rows above 50 us)",
            label=f"{fit.operator}.{fit.dtype}",
        )
    for own in found.power:
        output.note(
            f"held out {own.holdout.median:.1%} (mean {own.holdout.mean:.1%}), fitted "
            f"{own.sample.median:.1%}, linear weights {own.plain.median:.1%} (median of "
            f"{own.rows} rows)",
            label=f"power of {own.operator}.{own.dtype}",
        )
    for kind, sent in found.messages.items():
        output.note(
            f"held out {sent.held:.1%}, fitted {sent.error:.1%}, class defaults {sent.plain:.1%} "
            f"(median, messages above 4 MB, of {sent.rows} rows)",
            label=f"collective.{kind}",
        )
    if found.copies is not None:
        copies = found.copies
        output.note(
            f"held out {copies.held:.1%}, fitted {copies.error:.1%}, data sheet "
            f"{copies.plain:.1%} (median of {copies.rows} rows); "
            f"{copies.bandwidth / 1e9:.4g} GB/s at the largest",
            label="copy.device",
        )
    for remark in found.remarks:
        output.note(remark)


def _write(path: Path, text: str, output: Output) -> None:
    from hermesdsl.files import write_whole

    try:
        write_whole(path, text.encode())
    except OSError as failure:
        message = f"cannot write `{path}`: {failure.strerror or failure}"
        raise SpecError([error("HMS607", message)]) from None
    output.note(str(path), label="wrote")


def part_of(chip: str) -> tuple[Part, float]:
    """A chip of the library or of a file, and the byte/s of its memory."""
    from hermesdsl.api import compile
    from hermesdsl.library.find import imported

    line, name, folder = imported(chip, ("chip", "cpu"))
    graph = compile(f"{line}\npart: {name}\n", path=[str(folder)]).hardware
    memories = [graph.nodes[memory]["part"] for memory, owner in graph.graph["owner"].items()
                if owner == "part"]  # fmt: skip
    part: Part = graph.nodes["part"]["part"]
    return part, sum(memory.bandwidth for memory in memories)


def idle_power(chip: str) -> float:
    """Watts of a chip without work."""
    return part_of(chip)[0].idle_power


def data_sheets(chip: str) -> tuple[str, dict[str, Sheet]]:
    """The chip's name and its data sheet by dtype; wider peaks stand in for absent ones."""
    from hermesdsl.cost.device import WIDER, peak_dtype
    from hermesdsl.library.find import imported
    from hermesdsl.measure.operators import Sheet

    _, name, _ = imported(chip, ("chip", "cpu"))
    part, bandwidth = part_of(chip)
    found = {
        dtype: Sheet(part.peak[served], bandwidth, part.sms, part.peak.get("bf16", 0.0))
        for dtype in WIDER
        if (served := peak_dtype(part.peak, dtype)) == dtype
    }
    if "fp8" in found:
        found["fp8_block"] = found["fp8"]
    if not found or not bandwidth:
        raise SpecError([error("HMS607", f"`{name}` has no peak or no memory to hold times to")])
    return name, found
