"""A folder of times: one table per operator and what they were taken on; safe against a crash.

Knows cases, rows and files; no device.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.files import write_whole
from hermesdsl.measure.profile.grid import SIZES, Case
from hermesdsl.measure.profile.timing import Timing

META = "meta.json"
#: Columns behind the sizes; the last may be cut off without a loss to a fit.
TIMES = ("seconds", "low_s", "high_s", "board_w", "repeats")
#: What must not change between the runs that fill one folder.
SAME = ("chip", "device", "driver", "torch")


def columns(operator: str) -> tuple[str, ...]:
    """The header of an operator's table."""
    return ("operator", "dtype", *SIZES[operator], *TIMES)


class Store:
    """The tables of one folder. `done`: the cases whose times it holds."""

    def __init__(self, folder: Path, meta: Mapping[str, Any]) -> None:
        """Makes the folder, or goes on with an earlier run on the same device.

        Raises SpecError HMS608 for a folder of something else or another device, or one that
        cannot be written; nothing is changed then.
        """
        earlier = _earlier(folder)
        if earlier is not None:
            other = [name for name in SAME if earlier.get(name) != meta.get(name)]
            if other:
                raise SpecError([_another(folder, other[0], earlier, meta)])
        self._folder = folder
        self.done: set[Case] = set()
        for operator in SIZES:
            self.done |= set(_read(folder, operator))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for operator in SIZES:
                _mend(self._table(operator))
            text = json.dumps(meta, indent=2, ensure_ascii=False) + "\n"
            write_whole(folder / META, text.encode())
        except OSError as failure:
            raise SpecError([_unwritable(folder, failure)]) from None

    def add(self, case: Case, timing: Timing) -> None:
        """Append one row; it is on the disk when this returns.

        Raises SpecError HMS608 where it cannot be written; the table is as it was then.
        """
        path = self._table(case.operator)
        power = "" if timing.power is None else f"{timing.power:.1f}"
        times = [f"{t:.9g}" for t in (timing.seconds, timing.low, timing.high)]
        row = [case.operator, case.dtype, *case.sizes, *times, power, timing.repeats]
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        try:
            size = path.stat().st_size if path.exists() else 0
            if not size:
                lines.writerow(columns(case.operator))
            lines.writerow(row)
            _append(path, text.getvalue().encode(), size)
        except OSError as failure:
            raise SpecError([_unwritable(path, failure)]) from None
        self.done.add(case)

    def _table(self, operator: str) -> Path:
        return self._folder / f"{operator}.csv"


def measured_on(folder: Path) -> str:
    """Device and software of a profile, for a person; empty for a folder that says neither."""
    try:
        found = json.loads((folder / META).read_bytes())
        return f"{found['device']}, PyTorch {found['torch']}"
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _earlier(folder: Path) -> dict[str, Any] | None:
    """What a folder says it was measured on; None for a new or empty one."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        raise SpecError([error("HMS608", f"`{folder}` is not a folder")])
    try:
        found = json.loads((folder / META).read_bytes())
    except FileNotFoundError:
        if any(folder.iterdir()):
            note = "help: name a new folder, or one that `hermes profile` has written"
            raise SpecError([
                error("HMS608", f"`{folder}` holds files and no profile", notes=[note])
            ]) from None  # fmt: skip
        return None
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise SpecError([error("HMS608", f"`{folder / META}` cannot be read")])
    return found


def _another(
    folder: Path, name: str, earlier: Mapping[str, Any], meta: Mapping[str, Any]
) -> Diagnostic:
    return error(
        "HMS608", f"`{folder}` was measured with {name} {earlier.get(name)}, not {meta.get(name)}",
        notes=["help: name another folder: times of two machines do not mix"],
    )  # fmt: skip


def _unwritable(path: Path, failure: OSError) -> Diagnostic:
    return error("HMS608", f"cannot write to `{path}`: {failure.strerror or failure}")


def _append(path: Path, data: bytes, size: int) -> None:
    """Add to a file of that size; a part that could be written is taken off again."""
    try:
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            if size:
                os.truncate(path, size)
            else:
                path.unlink()
        raise


def _whole(path: Path) -> bytes:
    """What a table holds up to its last line end; a line that was cut off is left out."""
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]


def _read(folder: Path, operator: str) -> Iterator[Case]:
    """The cases of one table. Raises SpecError HMS608 for one that has other columns."""
    path = folder / f"{operator}.csv"
    try:
        lines = list(csv.reader(_whole(path).decode(errors="replace").splitlines()))
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, csv.Error) as problem:
        raise SpecError([error("HMS608", f"`{path}` cannot be read: {problem}")]) from None
    wanted = columns(operator)
    if lines and tuple(lines[0]) != wanted:
        note = f"help: its columns are {', '.join(wanted)}"
        raise SpecError([error("HMS608", f"`{path}` is no table of a profile", notes=[note])])
    for number, row in enumerate(lines[1:], 2):
        sizes = row[2 : 2 + len(SIZES[operator])]
        if len(row) != len(wanted) or not all(size.isdigit() for size in sizes):
            raise SpecError([error("HMS608", f"line {number} of `{path}` is no row")])
        yield Case(operator, row[1], tuple(int(size) for size in sizes))


def _mend(path: Path) -> None:
    """Cut an unfinished last line off, so that the next row starts a line."""
    if path.exists():
        whole = len(_whole(path))
        if whole != path.stat().st_size:
            os.truncate(path, whole)
