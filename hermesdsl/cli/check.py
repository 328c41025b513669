"""``hermes check``: every diagnostic of some specifications, or one line on what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from hermesdsl.api import System


@click.command("check", short_help="Compile, and say what is wrong.")
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@click.option(
    "--format", "form", type=click.Choice(("text", "json", "github")), default="text",
    help="Text for people (default), JSON, or annotations for GitHub.",
)  # fmt: skip
@options.settings
@options.case
@options.quiet
def command(
    specs: tuple[str, ...],
    form: str,
    assignments: tuple[str, ...],
    folders: tuple[str, ...],
    case: str | None,
    quiet: bool,
) -> int:
    """Compile each specification and report every error and warning.

    Prints what each holds if it can be compiled. Exits with 2 if any has an error.
    """
    output = Output(quiet=quiet)
    chosen = options.assigned(assignments)
    allowed = options.existing(folders)
    found: list[Diagnostic] = []
    for spec in specs:
        system, diagnostics = _compiled(spec, chosen, allowed, case)
        found += diagnostics
        if form == "text":
            output.report(diagnostics)
            if system is not None and not quiet:
                output.write(f"{spec}: {inventory(system)}\n")
    if form == "json":
        _json(found, output)
    elif form == "github":
        from hermesdsl.diagnostics.render import render_github

        output.write(render_github(found))
    return 2 if any(item.is_error for item in found) else 0


def _compiled(
    spec: str, settings: dict[str, str], folders: tuple[str, ...], case: str | None
) -> tuple[System | None, list[Diagnostic]]:
    """The system, None if it has errors; and every diagnostic."""
    from hermesdsl import api
    from hermesdsl.execute import capacity_warnings

    try:
        system = api.compile(Path(spec), set=settings, path=folders, case=case)
    except SpecError as failure:
        return None, list(failure.diagnostics)
    loads = [
        item
        for experiment in system.compiled.experiments.values()
        for item in capacity_warnings(system, experiment)
    ]
    return system, list(dict.fromkeys([*system.diagnostics, *loads]))


def inventory(system: System) -> str:
    """One line: how much of what there is, leaving out what there is none of."""
    compiled = system.compiled
    hardware, placement = system.hardware, system.placement
    clients = sum("client" in data for _, data in placement.nodes(data=True))
    counts = (
        ("part", len(hardware)),
        ("wire", _wires(system)),
        ("client", clients),
        ("pipeline", len(system.pipelines)),
        ("workload", len(compiled.workloads)),
        ("experiment", len(compiled.experiments)),
    )
    parts = [f"{n:,} {name}{'s' if n != 1 else ''}" for name, n in counts if n]
    return f"fine: {', '.join(parts)}" if parts else "fine: definitions only"


def _wires(system: System) -> int:
    """Wires, those that run both ways counted once."""
    edges = system.hardware.edges(keys=True)
    one_way = sum(1 for tail, head, key in edges if not system.hardware.has_edge(head, tail, key))
    return one_way + (system.hardware.number_of_edges() - one_way) // 2


def _json(found: list[Diagnostic], output: Output) -> None:
    import json

    from hermesdsl.diagnostics.render import render_json

    output.write(json.dumps(render_json(found), indent=1, ensure_ascii=False) + "\n")
