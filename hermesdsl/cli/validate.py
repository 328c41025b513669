"""``hermes validate``: a measured run replayed, and how far the prediction is from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import SpecError

if TYPE_CHECKING:
    from hermesdsl.measure.replay import Validation


@click.command("validate", short_help="Replay a measured run and compare.")
@click.argument("spec")
@click.argument("measured")
@options.settings
@options.case
@click.option("--column", "columns", multiple=True, metavar="ROLE=NAME[:UNIT]",
              help="Which column is what: time, prompt, output, cached, queue, ttft, tpot, "
                   "latency; ns, us, ms or s. May be repeated.")  # fmt: skip
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
    """Serve the requests of a table, and compare what SPEC predicts with what was MEASURED.

    The table has a row per request: arrival, prompt and output tokens, and any of queue, ttft,
    tpot and latency, in columns such as `ttft_ms`. Its requests take the place of the
    experiment's workload.
    """
    from hermesdsl import api
    from hermesdsl.cli import compared
    from hermesdsl.cli.progress import Bar
    from hermesdsl.measure.served import given_column

    output = Output(quiet=quiet)
    _refuse(out, force)
    system = api.compile(
        Path(spec), set=options.assigned(assignments), path=options.existing(folders), case=case
    )
    output.report(system.diagnostics)
    with Bar(output.console, shown=not quiet) as progress:
        found = api.validate(
            system, measured, columns=dict(map(given_column, columns)), workload=workload,
            experiment=experiment, seed=seed, progress=progress,
        )  # fmt: skip
    if as_json:
        from hermesdsl.results.write import to_json

        output.write(to_json(found.summary()))
    else:
        output.show(*compared.blocks(found, system.spec, measured))
        output.gap()
    for text in compared.notes(found):
        output.note(text)
    if out is not None:
        output.note(f"{', '.join(_stored(found, Path(out)))} in {out}", label="wrote")
    return 0


def _refuse(out: str | None, force: bool) -> None:
    """Raise `SpecError` for a folder that may not be written to, before any work."""
    if out is None:
        return
    from hermesdsl.results.write import refusal

    refused = refusal(out, force=force)
    if refused is not None:
        raise SpecError([refused])


def _stored(found: Validation, folder: Path) -> list[str]:
    """The files: figures as JSON, pairs as CSV, one picture per latency."""
    from hermesdsl.files import write_whole
    from hermesdsl.measure.plot import Dots, scatter
    from hermesdsl.results.write import to_json

    folder.mkdir(parents=True, exist_ok=True)
    files = {"validation.json": to_json(found.summary()), "pairs.csv": found.pairs_csv()}
    for role, (measured, predicted) in found.pairs.items():
        title = f"{role} of {found.latencies[role].n:,} requests"
        files[f"{role}.svg"] = scatter(title, [Dots(role, measured, predicted)], "s")
    for name, text in files.items():
        write_whole(folder / name, text.encode())
    return sorted(files)
