"""``points.jsonl``: one line per finished run, so that nothing that is done is done twice.

Knows lines and files; what a row says is the business of others.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType

from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.explore.job import Row

__all__ = ["NAME", "Ledger", "read", "refusal"]

NAME = "points.jsonl"


def refusal(folder: Path, *, resume: bool, force: bool) -> Diagnostic | None:
    """Why a sweep may not be written to a folder (HMS608), or None."""
    from hermesdsl.results.write import refusal as of_results

    earlier = (folder / NAME).is_file()
    if earlier and not (resume or force):
        note = "help: --resume goes on with it, --force starts again"
        return error("HMS608", f"`{folder}` holds an earlier sweep", notes=[note])
    if resume and not earlier and folder.is_dir() and any(folder.iterdir()):
        return error("HMS608", f"`{folder}` holds no sweep to resume")
    return of_results(folder, force=force or earlier)


def read(folder: Path) -> list[Row]:
    """The rows of a folder in the order in which they were written; none without a file.

    A last line that was cut off is left out. Raises SpecError (HMS608) for a file that holds
    anything else.
    """
    try:
        data = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return []
    rows = []
    for number, line in enumerate(_whole(data).splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("key"), str):
            message = f"line {number} of `{folder / NAME}` is no finished run"
            raise SpecError([error("HMS608", message)])
        rows.append(row)
    return rows


def _whole(data: bytes) -> bytes:
    """Everything up to the last line end."""
    return data[: data.rfind(b"\n") + 1]


class Ledger:
    """The open file; a line is on the disk when `add` returns."""

    def __init__(self, folder: Path, *, resume: bool) -> None:
        """Opens the file of a folder, which is made; with `resume` behind its last whole line.

        Raises SpecError (HMS608) where that cannot be.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / NAME).open("r+b" if (folder / NAME).exists() else "w+b")
        except OSError as failure:
            message = f"`{folder}` cannot be written: {failure.strerror or failure}"
            raise SpecError([error("HMS608", message)]) from None
        kept = len(_whole(self._file.read())) if resume else 0
        self._file.truncate(kept)
        self._file.seek(kept)

    def add(self, row: Row) -> None:
        """Append one line, and wait until it is stored."""
        line = json.dumps(row, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
