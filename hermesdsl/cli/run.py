"""``hermes run``: one point, one seed, and its result as a table, JSON or files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import Diagnostic, SpecError, error

if TYPE_CHECKING:
    from hermesdsl.api import System
    from hermesdsl.results import Result


@click.command("run", short_help="Simulate one point of an experiment.")
@click.argument("spec")
@options.settings
@options.case
@click.option("--experiment", metavar="NAME", help="Which one, where a file has several.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Instead of the first.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@options.quiet
@click.option("--plugin", "plugins", multiple=True, metavar="NAME", help="Load a plug-in.")
@click.option("--out", metavar="DIR", help="Store summary, tables and trace in this folder.")
@click.option("--force", is_flag=True, help="Let --out add to a folder that holds other files.")
@click.option("--strict", is_flag=True, help="Exit with 1 if a requirement was missed.")
@click.option(
    "--explain", "explained", type=click.Choice(("p50", "p90", "p99", "max")),
    help="Where the time of the slowest requests went, from this percentile on.",
)  # fmt: skip
def command(
    spec: str,
    assignments: tuple[str, ...],
    folders: tuple[str, ...],
    case: str | None,
    experiment: str | None,
    seed: int | None,
    as_json: bool,
    quiet: bool,
    plugins: tuple[str, ...],
    out: str | None,
    force: bool,
    strict: bool,
    explained: str | None,
) -> int:
    """Simulate one point of one experiment with one seed.

    The point is what the file and --set say; of a `sweep`, no other point is run.
    """
    from hermesdsl import api
    from hermesdsl.cli.progress import Bar

    output = Output(quiet=quiet)
    _prepare(plugins, out, force)
    system = api.compile(
        Path(spec), set=options.assigned(assignments), path=options.existing(folders), case=case
    )
    output.report([*system.diagnostics, *_warnings(system, experiment)])
    with Bar(output.console, shown=not quiet) as progress:
        result = api.run(system, experiment=experiment, seed=seed, progress=progress)
    if explained is not None:
        result, explained = _explained(result, explained, output)
    if out is not None:
        result = _stored(result, out, force)
    _print(result, output, as_json=as_json, explained=explained)
    return 1 if strict and not result.met else 0


def _prepare(plugins: tuple[str, ...], out: str | None, force: bool) -> None:
    """Load plug-ins; raise `SpecError` for arguments that cannot be honoured, before any work."""
    problems: list[Diagnostic] = []
    if plugins:
        from hermesdsl.plugins import load

        try:
            load(plugins)
        except SpecError as refused:
            problems.extend(refused.diagnostics)
    if force and out is None:
        problems.append(error("HMS607", "`--force` is about the folder of `--out`"))
    if out is not None:
        from hermesdsl.results.write import refusal

        problem = refusal(out, force=force)
        if problem is not None:
            problems.append(problem)
    if problems:
        raise SpecError(problems)


def _warnings(system: System, experiment: str | None) -> list[Diagnostic]:
    """What is wrong with a load before it is simulated."""
    from hermesdsl.execute import capacity_warnings

    return capacity_warnings(system, system.experiment(experiment))


def _explained(result: Result, level: str, output: Output) -> tuple[Result, str | None]:
    """With the tail from a level on; without it, and saying why, if the run kept no rows."""
    try:
        return result.explain(level), level
    except SpecError as failure:
        if "records" not in result.summary():
            raise
        for problem in failure.diagnostics:
            output.note("; ".join((problem.message, *problem.notes)))
        return result, None


def _stored(result: Result, folder: str, force: bool) -> Result:
    from hermesdsl.results.write import write

    return write(result, folder, force=force)


def _print(result: Result, output: Output, *, as_json: bool, explained: str | None) -> None:
    if as_json:
        from hermesdsl.results.write import to_json

        output.write(to_json(result.summary()))
    else:
        from hermesdsl.cli.table import blocks

        output.show(*blocks(result, output.width, definitions=not output.quiet))
        if explained is not None:
            from hermesdsl.cli.tail import blocks as tail

            output.show("", *tail(result, explained))
        output.gap()
    for text in result.notes:
        output.note(text)
    if result.folder is not None:
        names = ", ".join(sorted(["summary.json", *result.summary()["files"]]))
        output.note(f"{names} in {result.folder}", label="wrote")
