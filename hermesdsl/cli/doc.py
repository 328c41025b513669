"""``hermes doc``: the language reference, generated from the schema."""

from __future__ import annotations

from pathlib import Path

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import SpecError, error
from hermesdsl.files import write_whole


@click.command("doc", short_help="Write the language reference.")
@click.option("-o", "--output", "target", metavar="DIR", help="A folder; default: print.")
@options.quiet
def command(target: str | None, quiet: bool) -> int:
    """Print the language reference, or write its pages into a folder."""
    from hermesdsl.library.reference import pages

    output = Output(quiet=quiet)
    if target is None:
        output.write("".join(pages().values()))
        return 0
    folder = Path(target)
    if not folder.is_dir():
        raise SpecError([error("HMS607", f"there is no folder `{folder}`")])
    for name, text in pages().items():
        try:
            write_whole(folder / name, text.encode())
        except OSError as failure:
            reason = failure.strerror or failure
            message = f"cannot write `{folder / name}`: {reason}"
            raise SpecError([error("HMS607", message)]) from None
        output.note(str(folder / name), label="wrote")
    return 0
