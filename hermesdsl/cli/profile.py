"""``hermes profile --chip C -o DIR``: times of kernels on this machine's GPU, as tables."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import SpecError, error, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hermesdsl.measure.profile.session import Outcome
    from hermesdsl.measure.profile.store import Store
    from hermesdsl.measure.profile.torch_device import TorchDevice

#: Part of the time for messages among several GPUs.
_TOGETHER = 0.2
#: Failures that are told one by one.
_TOLD = 3


@click.command("profile", short_help="Time kernels on this machine's GPU.")
@click.option("--chip", required=True, help="A chip of the library, or FILE.hms:NAME.")
@click.option("-o", "--output", "target", required=True, metavar="DIR",
              help="A folder for the tables; one that was begun is gone on with.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(min=0.0, min_open=True), default=5.0,
              show_default=True, help="Time to spend; a longer grid is cut.")  # fmt: skip
@options.quiet
def command(chip: str, target: str, minutes: float, quiet: bool) -> int:
    """Time products, attention, copies and collectives on the GPU of this machine, with PyTorch.

    Writes a table per operator, which `hermes calibrate DIR` takes. Ctrl-C and a crash lose the
    shape at hand; the same command goes on with the rest.
    """
    from hermesdsl.cli.app import FAILED, FINE, INTERRUPTED
    from hermesdsl.cli.calibrate import data_sheets
    from hermesdsl.cli.progress import Shapes
    from hermesdsl.measure.profile.grid import cases
    from hermesdsl.measure.profile.session import profile
    from hermesdsl.measure.profile.store import Store
    from hermesdsl.measure.profile.torch_device import gpu

    output = Output(quiet=quiet)
    until = time.monotonic() + 60.0 * minutes
    label, sheets = data_sheets(chip)
    device = gpu()
    wide, *narrow = device.dtypes()
    if wide not in sheets:
        message = f"`{label}` has no peak in {wide}, in which this GPU computes"
        raise SpecError([error("HMS607", message)])
    about: dict[str, Any] = {"chip": label, **device.about()}
    store = Store(Path(target), about)
    output.note(f"{about['device']}, PyTorch {about['torch']}; data sheet of {label}")
    _doubted(chip, sheets[wide].sms, about, device.held, output)
    todo = cases(sheets, wide, [each for each in narrow if each in sheets], device.memory)
    try:
        _messages(device, store, wide, minutes, output)
        with Shapes(output.console, shown=not quiet) as progress:
            found = profile(device, todo, store, until=until, clock=time.monotonic,
                            tell=progress)  # fmt: skip
    except KeyboardInterrupt:
        here = sum(case in store.done for case in todo)
        output.note(f"{here} of {len(todo)} shapes are timed: the same command goes on",
                    label="interrupted")  # fmt: skip
        return INTERRUPTED
    _told(found, output)
    if found.before + found.timed:
        output.note(f"hermes calibrate {target} --chip {chip}", label="next")
    return FAILED if found.broken else FINE


def _doubted(
    chip: str, sms: int, about: Mapping[str, Any], held: float, output: Output
) -> None:  # fmt: skip
    """Warn where this GPU is not that chip, or is not idle."""
    from hermesdsl.api import compile
    from hermesdsl.library.find import imported
    from hermesdsl.measure.profile.match import doubts

    line, name, folder = imported(chip, ("chip", "cpu"))
    graph = compile(f"{line}\npart: {name}\n", path=[str(folder)]).hardware
    memories = [each for each, owner in graph.graph["owner"].items() if owner == "part"]
    capacity = sum(graph.nodes[memory]["part"].capacity for memory in memories)
    of_library = None if ":" in chip else name
    for doubt in doubts(of_library, sms, capacity, about, held):
        message = f"times may not be those of `{name}`: {doubt}"
        output.report([warning("HMS607", message)])


def _messages(device: TorchDevice, store: Store, wide: str, minutes: float, output: Output) -> None:
    """Time what several GPUs do together, in processes of their own and a part of the time."""
    from hermesdsl.measure.profile.grid import collective_cases
    from hermesdsl.measure.profile.torch_group import message_times

    todo = [case for case in collective_cases(device.count, wide) if case not in store.done]
    groups = sorted({case.size("members") for case in todo}, reverse=True)
    for members in groups:
        own = [case for case in todo if case.size("members") == members]
        reason = message_times(own, _TOGETHER * 60.0 * minutes / len(groups), store.add,
                               device.backend)  # fmt: skip
        if reason is not None:
            output.note(f"messages among {members} GPUs: {reason}", label="left out")


def _told(found: Outcome, output: Output) -> None:
    """How many shapes are in the tables, and why others are not."""
    have = found.before + found.timed
    earlier = f", {found.before} of them earlier" if found.before else ""
    output.note(f"{have} of {found.total} shapes timed{earlier}", label="wrote")
    for case, reason in found.failed[:_TOLD]:
        output.note(f"{case.told}: {reason}", label="left out")
    if len(found.failed) > _TOLD:
        output.note(f"{len(found.failed) - _TOLD} more shapes", label="left out")
    for kind, count in found.given_up.items():
        output.note(f"{kind}: {count} more shapes, since none had worked", label="left out")
    if found.left:
        output.note(f"{found.left} shapes are left: the same command goes on with them")
