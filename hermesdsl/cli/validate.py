"""``hermes validate``: measured runs predicted, and how far the predictions are from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import SpecError, error

if TYPE_CHECKING:
    from hermesdsl.api import System
    from hermesdsl.cli.progress import Bar
    from hermesdsl.measure.replay import Validation
    from hermesdsl.measure.run_by_run import RunsValidation


@click.command("validate", short_help="Compare predictions with measured runs.")
@click.argument("spec")
@click.argument("measured")
@options.settings
@options.case
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME[:UNIT]",
              help="Which column is what: time, prompt, output, cached, queue, ttft, tpot, "
                   "latency; of runs p99(ttft), makespan, a param. May be repeated.")  # fmt: skip
@click.option("--workload", metavar="NAME", help="Which one was measured, where there are several.")
@click.option("--experiment", metavar="NAME", help="Which one, where a file has several.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Instead of the first.")
@click.option("--out", metavar="DIR", help="Store figures, pairs and pictures in this folder.")
@click.option("--force", is_flag=True, help="Let --out add to a folder that holds other files.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@options.quiet
def command(
    spec: str,
    measured: str,
    assignments: tuple[str, ...],
    folders: tuple[str, ...],
    case: str | None,
    columns: tuple[str, ...],
    workload: str | None,
    experiment: str | None,
    seed: int | None,
    out: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Compare what SPEC predicts with what was MEASURED, request by request or run by run.

    A table with a row per request has arrival, prompt and output tokens, and any of queue, ttft,
    tpot and latency, in columns such as `ttft_ms`; its requests take the place of the
    experiment's workload. One with a row per run has statistics, such as `p99_ttft_ms`; columns
    called as a param is say what a run is predicted with.
    """
    from hermesdsl import api
    from hermesdsl.cli.progress import Bar
    from hermesdsl.measure.runs import given_role, of_runs

    output = Output(quiet=quiet)
    _refuse(out, force)
    given = dict(map(given_role, columns))
    system = api.compile(
        Path(spec), set=options.assigned(assignments), path=options.existing(folders), case=case
    )
    output.report(system.diagnostics)
    found: Validation | RunsValidation
    by_run = of_runs(measured, given)
    if by_run and workload is not None:
        note = "help: of a table with a row per run all workloads are run"
        raise SpecError([error("HMS607", "`--workload` is for a row per request", notes=[note])])
    with Bar(output.console, shown=not quiet) as progress:
        if by_run:
            found = api.validate_runs(
                system, measured, columns=given, experiment=experiment, seed=seed,
                progress=progress,
            )  # fmt: skip
        else:
            found = _replayed(system, measured, columns, workload, experiment, seed, progress)
    _tell(found, output, system.spec, measured, as_json=as_json)
    if out is not None:
        output.note(f"{', '.join(_stored(found, Path(out)))} in {out}", label="wrote")
    return 0


def _replayed(
    system: System, measured: str, columns: tuple[str, ...], workload: str | None,
    experiment: str | None, seed: int | None, progress: Bar,
) -> Validation:  # fmt: skip
    from hermesdsl import api
    from hermesdsl.measure.served import given_column

    return api.validate(
        system, measured, columns=dict(map(given_column, columns)), workload=workload,
        experiment=experiment, seed=seed, progress=progress,
    )  # fmt: skip


def _tell(
    found: Validation | RunsValidation, output: Output, spec: str, measured: str, *, as_json: bool
) -> None:
    """Figures to standard output, and what to know of them to standard error."""
    from hermesdsl.cli import compared, compared_runs
    from hermesdsl.measure.replay import Validation
    from hermesdsl.results.write import to_json

    if as_json:
        output.write(to_json(found.summary()))
    elif isinstance(found, Validation):
        output.show(*compared.blocks(found, spec, measured))
    else:
        output.show(*compared_runs.blocks(found, spec, measured))
    if not as_json:
        output.gap()
    told = compared.notes(found) if isinstance(found, Validation) else compared_runs.notes(found)
    for text in told:
        output.note(text)


def _refuse(out: str | None, force: bool) -> None:
    """Raise `SpecError` for a folder that may not be written to, before any work."""
    if out is None:
        return
    from hermesdsl.results.write import refusal

    refused = refusal(out, force=force)
    if refused is not None:
        raise SpecError([refused])


def _stored(found: Validation | RunsValidation, folder: Path) -> list[str]:
    """The files: figures as JSON, pairs or runs as CSV, and pictures."""
    from hermesdsl.files import write_whole
    from hermesdsl.measure import pictures
    from hermesdsl.measure.replay import Validation
    from hermesdsl.results.write import to_json

    folder.mkdir(parents=True, exist_ok=True)
    files = {"validation.json": to_json(found.summary())}
    if isinstance(found, Validation):
        files |= {"pairs.csv": found.pairs_csv(), **pictures.of_requests(found)}
    else:
        files |= {"runs.csv": found.csv(), **pictures.of_runs(found)}
    for name, text in files.items():
        write_whole(folder / name, text.encode())
    return sorted(files)
