"""``hermes sweep``: every point and seed of an experiment, as a table of points."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import Diagnostic, SpecError, error

if TYPE_CHECKING:
    from hermesdsl.api import System
    from hermesdsl.explore import Sweep


@click.command("sweep", short_help="Simulate every point of an experiment.")
@click.argument("spec")
@options.settings
@options.case
@click.option("--experiment", metavar="NAME", help="Which one, where a file has several.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="This one alone.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N points alone.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="Processes that run points (default: one per core).")  # fmt: skip
@click.option("--engine", type=click.Choice(("local", "ray")), default="local",
              help="Where points are run.")  # fmt: skip
@click.option("--address", metavar="A", help="Ray cluster to use (default: one of this machine).")
@click.option("--out", metavar="DIR", help="Store points.jsonl and sweep.csv in this folder.")
@click.option("--resume", is_flag=True, help="Leave out what --out holds already.")
@click.option("--force", is_flag=True, help="Start again in a folder that holds files.")
@click.option("--json", "as_json", is_flag=True, help="Print the points as JSON.")
@options.quiet
@click.option("--plugin", "plugins", multiple=True, metavar="NAME", help="Load a plug-in.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a requirement was missed.")
def command(
    spec: str,
    assignments: tuple[str, ...],
    folders: tuple[str, ...],
    case: str | None,
    experiment: str | None,
    seed: int | None,
    limit: int | None,
    workers: int | None,
    engine: str,
    address: str | None,
    out: str | None,
    resume: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    plugins: tuple[str, ...],
    strict: bool,
) -> int:
    """Simulate every point of one experiment with every seed.

    Points that an `assert` rules out are skipped, and points that fail are recorded, each with its
    reason. What --set gives is swept no longer. Ctrl-C ends it early with what is done.
    """
    from hermesdsl import api
    from hermesdsl.cli.progress import Count
    from hermesdsl.explore import explore, job_of
    from hermesdsl.explore.executors import executor_for
    from hermesdsl.plugins import load

    output = Output(quiet=quiet)
    _refuse(engine, address, out, resume, force)
    load(plugins)
    system = api.compile(
        Path(spec), set=options.assigned(assignments), path=options.existing(folders), case=case
    )
    output.report(system.diagnostics)
    with Count(output.console, shown=not quiet) as progress:
        found = explore(
            system, job_of(system, experiment, plugins), limit=limit,
            executor=executor_for(
                system, engine, workers or _cores(engine, system, experiment, limit, seed), address
            ),
            seeds=None if seed is None else (seed,), folder=None if out is None else Path(out),
            resume=resume, force=force, progress=progress,
        )  # fmt: skip
    _print(found, system, output, as_json=as_json)
    return _code(found, strict)


def _refuse(engine: str, address: str | None, out: str | None, resume: bool, force: bool) -> None:
    """Raise `SpecError` for arguments that cannot be honoured, before any work."""
    problems: list[Diagnostic] = []
    if address is not None and engine != "ray":
        problems.append(error("HMS607", "`--address` is about `--engine ray`"))
    for name, given in (("--resume", resume), ("--force", force)):
        if given and out is None:
            problems.append(error("HMS607", f"`{name}` is about the folder of `--out`"))
    if resume and force:
        problems.append(error("HMS607", "`--force` starts again and `--resume` does not"))
    if problems:
        raise SpecError(problems)


def _cores(
    engine: str, system: System, experiment: str | None, limit: int | None, seed: int | None
) -> int | None:
    """As many workers as this process has cores, and no more than there are runs.

    None for a cluster, which knows its own.
    """
    from math import prod

    if engine == "ray":
        return None
    found = system.experiment(experiment)
    runs = prod(len(axis.points) for axis in found.axes)
    runs = min(runs, limit or runs) * (len(found.seeds) if seed is None else 1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, runs))


def _print(found: Sweep, system: System, output: Output, *, as_json: bool) -> None:
    from hermesdsl.cli import points

    if as_json:
        from hermesdsl.results.write import to_json

        output.write(to_json(_data(found, system)))
    elif found.points or found.broken is None:
        output.show(*points.blocks(found, system.spec))
        output.gap()
    if found.broken is not None:
        output.report([found.broken])
    for text in points.notes(found):
        output.note(text)
    if found.folder is not None:
        output.note(f"{', '.join(found.files)} in {found.folder}", label="wrote")


def _data(found: Sweep, system: System) -> dict[str, Any]:
    """The sweep as JSON: rows of the table by column, and the point that is best."""
    rows = [dict(zip(found.columns, row, strict=True))
            for row in zip(*found.columns.values(), strict=True)]  # fmt: skip
    return {
        "schema": 1, "spec": system.spec, "experiment": found.experiment.name,
        "seeds": list(found.experiment.seeds), "total": found.total, "points": rows,
        "best": None if found.best is None else found.best.point.index,
        "front": [each.point.index for each in found.front],
        "interrupted": found.interrupted,
    }  # fmt: skip


def _code(found: Sweep, strict: bool) -> int:
    """130 after Ctrl-C; 3 if the cluster was lost; where no point ran, 3 if one failed, else 2; 1
    for goals missed."""
    from hermesdsl.cli.app import FAILED, FINE, INTERRUPTED, MISSED, WRONG

    ended = {each.status for each in found.points}
    if found.interrupted:
        return INTERRUPTED
    if found.broken is not None:
        return FAILED
    if "done" not in ended:
        return FAILED if "failed" in ended else WRONG
    return MISSED if strict and not found.met else FINE
