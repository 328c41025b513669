"""``hermes explain``: what stands at a path, and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import Sink, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from hermesdsl.cli.origins import Explained, Origin


@click.command("explain", short_help="Show where a value comes from.")
@click.argument("spec")
@click.argument("path")
@options.settings
@options.case
@options.quiet
def command(
    spec: str,
    path: str,
    assignments: tuple[str, ...],
    folders: tuple[str, ...],
    case: str | None,
    quiet: bool,
) -> int:
    """Show the value at a PATH such as `rack.node[0].gpu[*].power` and every site that sets it.

    Sites stand in the override order: each beats those above it, and the last (>) is in force.
    Of a part, client, model or other thing, lists its values and where they come from.
    Answers for a specification with errors too, and then exits with 2.
    """
    output = Output(quiet=quiet)
    from hermesdsl.cli.origins import explain
    from hermesdsl.model.elaborate import elaborate

    sink = Sink()
    tree = elaborate(
        Path(spec), sink=sink, settings=options.assigned(assignments),
        folders=options.existing(folders), case=case,
    )  # fmt: skip
    if tree is None:
        raise SpecError(sink.items)
    errors = [item for item in sink.items if item.is_error]
    try:
        found = explain(tree, path)
    except SpecError as failure:
        raise SpecError([*errors, *failure.diagnostics]) from None
    output.show(*(part for each in found for part in _parts(each)))
    output.report(errors)
    return 2 if errors else 0


def _parts(each: Explained) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    title = Text(each.title, style="bold")
    if each.alike:
        title.append(f"  and {each.alike} more alike", style="not bold dim")
    yield title
    about = (". " if each.chain else "\n").join(part for part in (each.sort, each.doc) if part)
    if about:
        yield Padding(Text(about, style="dim"), (0, 0, 0, 2))
    if each.chain:
        marked = [*([""] * (len(each.chain) - 1)), ">"]
        yield _grid([(mark, site) for mark, site in zip(marked, each.chain, strict=True)], "bold")
    if each.rows:
        yield _grid(each.rows, "")
    if each.members:
        yield Padding(Text(f"holds {', '.join(each.members)}"), (0, 0, 0, 2))


def _grid(rows: object, last: str) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 0, 0, 2), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(style="dim", overflow="fold")
    listed: list[tuple[str, Origin]] = list(rows)  # type: ignore[call-overload]
    for number, (name, site) in enumerate(listed):
        style = last if number == len(listed) - 1 else ""
        table.add_row(name, site.value, site.origin, site.place, style=style)
    return table
