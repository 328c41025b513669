"""``hermes calibrate TABLE… --chip C``: measured kernel times become a calibration."""

from __future__ import annotations

import shlex
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

    A folder that `hermes profile` has written stands for its tables. Tables that also tell the
    power drawn are fitted for that alone. Prints (or writes) a calibration, with its errors on
    shapes held out of the fit.
    """
    from hermesdsl.measure.calibrate import calibrate
    from hermesdsl.measure.power import calibrate_power
    from hermesdsl.measure.profile.store import measured_on
    from hermesdsl.measure.tables import of_system, read_table, tables_in
    from hermesdsl.measure.writing import calibration_text
    from hermesdsl.source import Source
    from hermesdsl.syntax.format import format_file
    from hermesdsl.syntax.parse import parse

    output = Output(quiet=quiet)
    label, sheets = data_sheets(chip)
    if dtypes:
        sheets = {dtype: sheets[dtype] for dtype in dtypes if dtype in sheets}
    paths = [path for table in map(Path, tables)
             for path in (tables_in(table) if table.is_dir() else [table])]  # fmt: skip
    read = [of_system(read_table(path), system) for path in paths]
    kernels = [table for table in read if table.operator != "collective"]
    fits = calibrate((table for table in kernels if not table.power), sheets)
    drawn = calibrate_power((table for table in kernels if table.power), sheets, idle_power(chip))
    messages = _messages([table for table in read if table.operator == "collective"], chip)
    if not fits and not drawn and not messages:
        peaks = ", ".join(sheets) or "none of those asked for"
        message = "nothing to fit: no dtype of the tables has 20 shapes and a peak on the chip"
        raise SpecError([error("HMS607", message, notes=[f"note: {label} has {peaks}"])])
    words = ["calibrate", *(Path(table).name for table in tables), "--chip", chip]
    words += ["--system", system] if system else []
    words += ["--name", name] if name else []
    called = shlex.join(["hermes", *words])
    files = ", ".join(path.name for path in paths)
    files += "".join(f" of {about}" for table in tables if (about := measured_on(Path(table))))
    text = calibration_text(
        name or f"{label}_kernels", label, fits, source or files, called, drawn, messages
    )
    text = format_file(parse(Source("calibration.hms", text)).file)
    if target is None:
        output.write(text)
    else:
        _write(Path(target), text, output)
    if plot is not None:
        _write(Path(plot), _picture(label, fits, drawn, messages), output)
    _told(fits, output)
    _told_power(drawn, output)
    for kind, sent in messages.items():
        output.note(
            f"held out {sent.held:.1%}, fitted {sent.error:.1%}, class defaults {sent.plain:.1%} "
            f"(median, messages above 4 MB, of {sent.rows} rows)",
            label=f"collective.{kind}",
        )
    return 0


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


def _picture(
    label: str, fits: Sequence[Fitted], drawn: Sequence[FittedPower],
    messages: Mapping[str, FittedMessages],
) -> str:  # fmt: skip
    """Of times; of watts where only power was fitted."""
    from hermesdsl.measure.plot import Dots, scatter

    told: list[Fitted | FittedPower] = [*fits] if fits or messages else [*drawn]
    groups = [Dots(f"{each.operator}.{each.dtype} {each.holdout.median:.1%}", each.measured,
                   each.predicted) for each in told]  # fmt: skip
    groups += [Dots(f"{kind} {each.held:.1%}", each.measured, each.predicted)
               for kind, each in messages.items()]  # fmt: skip
    unit = "s" if fits or messages else "W"
    return scatter(f"{label}: kernels, shapes held out", groups, unit)


def _told_power(fits: Sequence[FittedPower], output: Output) -> None:
    for fit in fits:
        output.note(
            f"held out {fit.holdout.median:.1%} (mean {fit.holdout.mean:.1%}), fitted "
            f"{fit.sample.median:.1%}, linear weights {fit.plain.median:.1%} (median of "
            f"{fit.rows} rows)",
            label=f"power of {fit.operator}.{fit.dtype}",
        )


def _told(fits: Sequence[Fitted], output: Output) -> None:
    for fit in fits:
        output.note(
            f"held out {fit.holdout.median:.1%}, fitted {fit.sample.median:.1%}, naive roofline "
            f"{fit.roofline.median:.0%} (median, {fit.long} of {fit.rows} rows above 50 us)",
            label=f"{fit.operator}.{fit.dtype}",
        )


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
