"""``hermes draw``: one view of a system, as a file."""

from __future__ import annotations

from pathlib import Path

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.diagnostics.nearest import suggestion

_RENDERERS = ("auto", "system", "embedded")


@click.command("draw", short_help="Draw hardware, pipelines or placement.")
@click.argument("spec")
@click.option(
    "--view", default="hardware", show_default=True, metavar="NAME",
    help="hardware, pipeline, placement, or the name of a view or pipeline.",
)  # fmt: skip
@click.option("--results", metavar="DIR", help="Colour by utilisation, from the results of a run.")
@click.option(
    "-o", "--output", "target", metavar="FILE",
    help="A .svg (default), .png, .pdf, .dot, .json or .graphml.",
)  # fmt: skip
@click.option(
    "--renderer", type=click.Choice(_RENDERERS), default="auto", show_default=True,
    help="The system's Graphviz, the embedded one, or the former if there is one.",
)  # fmt: skip
@options.settings
@options.case
@options.quiet
def command(
    spec: str,
    view: str,
    results: str | None,
    target: str | None,
    renderer: str,
    assignments: tuple[str, ...],
    folders: tuple[str, ...],
    case: str | None,
    quiet: bool,
) -> int:
    """Draw one view of a specification.

    Without -o the picture goes to the working directory, named after the specification and
    the view.
    """
    from hermesdsl import api

    output = Output(quiet=quiet)
    path = Path(target) if target is not None else Path(f"{Path(spec).stem}-{view}.svg")
    _refuse(path)
    system = api.compile(
        Path(spec), set=options.assigned(assignments), path=options.existing(folders), case=case
    )
    output.report(system.diagnostics)
    overlay = None
    if results is not None:
        from hermesdsl.cli.heat import marks

        overlay = marks(system, results)
    drawing = api.draw(system, view, overlay=overlay)
    named = system.compiled.views.get(view)
    if overlay is None and named is not None and named.color == "utilisation":
        output.note("colours show kinds: utilisation needs `--results`")
    written = drawing.write(path, renderer=renderer)  # type: ignore[arg-type]  # checked by click
    output.note(str(written), label="wrote")
    return 0


def _refuse(path: Path) -> None:
    """Raise `SpecError` for arguments that cannot be honoured, before any work."""
    problems = _target(path)
    if problems:
        raise SpecError(problems)


def _target(path: Path) -> list[Diagnostic]:
    """What is wrong with the file to write."""
    from hermesdsl.drawing import FORMATS

    suffix = path.suffix.lstrip(".").lower()
    endings = ", ".join(f".{each}" for each in FORMATS)
    if not suffix:
        note = f"help: its ending says in which format: {endings}"
        return [error("HMS607", f"`{path}` has no ending", notes=[note])]
    if suffix not in FORMATS:
        notes = suggestion(suffix, FORMATS) or (f"help: one of {endings}",)
        return [error("HMS607", f"`.{suffix}` is no format of pictures", notes=notes)]
    if path.is_dir():
        return [error("HMS607", f"`{path}` is a folder")]
    if not path.parent.is_dir():
        return [error("HMS607", f"there is no folder `{path.parent}`")]
    return []
