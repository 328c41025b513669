"""``hermes fmt``: files in canonical layout, in place, all of them or none."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from hermesdsl.cli import options
from hermesdsl.cli.output import Output
from hermesdsl.diagnostics import Diagnostic, SpecError, error

#: Stands for standard input on the command line.
_STDIN = "-"


@dataclass(frozen=True)
class _File:
    """A file as it is and as it should be."""

    name: str
    before: bytes
    after: bytes

    @property
    def changes(self) -> bool:
        """True if formatting it would change a byte."""
        return self.before != self.after


@click.command("fmt", short_help="Bring files into canonical layout.")
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@click.option("--check", "only_check", is_flag=True, help="Change nothing; list what would.")
@options.quiet
def command(specs: tuple[str, ...], only_check: bool, quiet: bool) -> int:
    """Rewrite each file in canonical layout; `-` reads standard input and prints.

    Statements, comments and their order stay. A file with a syntax error stops them all.
    With --check, exits with 1 if any file would change, and prints their names.
    """
    output = Output(quiet=quiet)
    problems: list[Diagnostic] = []
    files: list[_File] = []
    for spec in dict.fromkeys(specs):
        try:
            files.append(_formatted(spec))
        except SpecError as failure:
            problems += failure.diagnostics
    if problems:
        raise SpecError(problems)
    changed = [file for file in files if file.changes]
    if only_check:
        output.write("".join(f"{_shown(file.name)}\n" for file in changed))
        return 1 if changed else 0
    for file in files:
        if file.name == _STDIN:
            output.write(file.after.decode())
        elif file.changes:
            _replace(file)
            output.note(file.name, label="formatted")
    return 0


def _formatted(spec: str) -> _File:
    """Reads and formats one file; raises `SpecError` with everything wrong with it."""
    if spec != _STDIN:
        return _File(spec, *_layout(Path(spec), spec))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "stdin"
        copy.write_bytes(sys.stdin.buffer.read())
        return _File(spec, *_layout(copy, _shown(spec)))


def _layout(path: Path, shown: str) -> tuple[bytes, bytes]:
    """The bytes of a file before and after formatting."""
    from hermesdsl.syntax.format import format_file
    from hermesdsl.syntax.parse import parse
    from hermesdsl.syntax.read import read_source

    source = read_source(path, shown)
    if isinstance(source, Diagnostic):
        raise SpecError([source])
    parsed = parse(source)
    if any(item.is_error for item in parsed.diagnostics):
        raise SpecError(parsed.diagnostics)
    return path.read_bytes(), format_file(parsed.file).encode()


def _shown(name: str) -> str:
    return "<stdin>" if name == _STDIN else name


def _replace(file: _File) -> None:
    """Writes beside the file and renames; a link stays a link, permissions stay."""
    target = Path(file.name).resolve()
    made = None
    try:
        descriptor, made = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(file.after)
        shutil.copymode(target, made)
        os.replace(made, target)
    except OSError as failure:
        if made is not None:
            with suppress(OSError):
                os.unlink(made)
        reason = failure.strerror or str(failure)
        raise SpecError([error("HMS607", f"cannot write `{file.name}`: {reason}")]) from None
