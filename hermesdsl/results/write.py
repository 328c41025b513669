"""Stores a result in a folder, whole or not at all, with the same bytes for the same run.

Only ``wall_s`` in `summary.json` differs between two runs of one point. Files are made beside
their place under a temporary name and renamed, the summary last, so a folder with a summary is
complete. Knows no metric.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.results.energy import energy_rows
from hermesdsl.results.metrics import Measures
from hermesdsl.results.result import SCHEMA, Result
from hermesdsl.results.tables import Table, request_rows, step_rows, utilisation_rows
from hermesdsl.results.timeline import chrome_trace

__all__ = ["LARGE", "refusal", "to_json", "write"]

#: Tables with more rows than this are stored as Parquet, or npz without pyarrow.
LARGE = 200_000
#: Of zlib: 1 takes a third of the time of 6 for a seventh more bytes.
_LEVEL = 1


def to_json(data: Mapping[str, Any]) -> str:
    """JSON text with a line per key, ending in a newline; a number that is not finite is null."""
    return _json(data, indent=1, ensure_ascii=False) + "\n"


def refusal(folder: str | Path, *, force: bool = False) -> Diagnostic | None:
    """Why a result may not be written there (HMS608), or None. Ask before a long run."""
    folder = Path(folder)
    if not folder.exists():
        parent = next((p for p in folder.absolute().parents if p.exists()), None)
        if parent is None or not parent.is_dir() or not os.access(parent, os.W_OK):
            return error("HMS608", f"`{folder}` cannot be made")
        return None
    if not folder.is_dir():
        return error("HMS608", f"`{folder}` is a file, not a folder")
    if not os.access(folder, os.W_OK):
        return error("HMS608", f"`{folder}` cannot be written to")
    if force or not any(folder.iterdir()) or _earlier(folder) is not None:
        return None
    note = "help: give an empty folder, or --force to add to this one"
    return error("HMS608", f"`{folder}` is not empty and holds no earlier result", notes=[note])


def write(result: Result, folder: str | Path, *, force: bool = False) -> Result:
    """Store a result of this process; the same result with ``files`` and its folder filled in.

    Writes ``summary.json``, ``requests``, ``steps``, ``utilisation`` and, where power is known,
    ``energy`` (``.csv.gz``, or ``.parquet`` or ``.npz`` above `LARGE` rows), and ``trace.json``.
    Of a run whose rows were not kept ``requests``, ``steps`` and ``trace.json`` are not there.
    Replaces an earlier result. Raises SpecError (HMS608) for a folder with other things in it
    unless `force`, and for one that cannot be written.
    """
    folder = Path(folder)
    problem = refusal(folder, force=force)
    if problem is not None:
        raise SpecError([problem])
    measures = result.measures
    if measures is None:
        raise SpecError([error("HMS607", "only a run of this process can be written")])
    tables: dict[str, Callable[[], Table]] = {}
    if isinstance(measures, Measures):
        kept = measures
        tables = {"requests": lambda: request_rows(kept), "steps": lambda: step_rows(kept.run)}
    tables["utilisation"] = lambda: utilisation_rows(measures)
    if measures.meter is not None:
        found = measures.meter
        tables["energy"] = lambda: energy_rows(found)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            names = [_write_table(made, name, table()) for name, table in tables.items()]
            if isinstance(measures, Measures):
                text = _json(chrome_trace(measures.run), separators=(",", ":"))
                (made / "trace.json").write_text(text, encoding="utf-8")
                names.append("trace.json")
            files = {name: _digest(made / name) for name in sorted(names)}
            data = {**result.data, "files": files}
            (made / "summary.json").write_text(to_json(data), encoding="utf-8")
            _move(made, folder, [*names, "summary.json"])
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as failure:
        message = f"`{folder}` cannot be written: {failure.strerror}"
        raise SpecError([error("HMS608", message)]) from None
    return Result(data, result.requirements, result.notes, measures, folder)


def _earlier(folder: Path) -> Mapping[str, Any] | None:
    """The summary of the result that a folder holds, or None."""
    try:
        data = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    own = isinstance(data, dict) and data.get("schema") == SCHEMA and "metrics" in data
    return data if own else None


def _move(made: Path, folder: Path, names: list[str]) -> None:
    """Put finished files in their place; the old summary goes first and the new one comes last.

    Of what is there, only files that an earlier result lists and whose bytes it made are removed.
    """
    folder.mkdir(exist_ok=True)
    earlier = _earlier(folder) or {}
    (folder / "summary.json").unlink(missing_ok=True)
    listed = earlier.get("files")
    for name, digest in (listed if isinstance(listed, dict) else {}).items():
        old = folder / name
        plain = Path(name).name == name and name not in names
        if plain and old.is_file() and not old.is_symlink() and _digest(old) == digest:
            old.unlink()
    for name in names:
        (made / name).replace(folder / name)


def _digest(path: Path) -> str:
    with path.open("rb") as stored:
        return hashlib.file_digest(stored, "sha256").hexdigest()


# --- tables ------------------------------------------------------------------------------------


def _write_table(folder: Path, name: str, table: Table) -> str:
    rows = len(next(iter(table.values())))
    if rows <= LARGE:
        (folder / f"{name}.csv.gz").write_bytes(_csv_gz(table))
        return f"{name}.csv.gz"
    if find_spec("pyarrow") is not None:
        import pandas as pd

        pd.DataFrame(dict(table)).to_parquet(folder / f"{name}.parquet", index=False)
        return f"{name}.parquet"
    place = folder / f"{name}.npz"
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as packed:
        for key, values in table.items():
            with packed.open(f"{key}.npy", "w", force_zip64=True) as stored:
                np.lib.format.write_array(stored, np.asarray(values), allow_pickle=False)
    return f"{name}.npz"


def _csv_gz(table: Table) -> bytes:
    """CSV with shortest exact numbers, gzipped without a time of writing."""
    text = [[_quoted(name) for name in table]]
    columns = [_cells(values) for values in table.values()]
    lines = (",".join(row) for row in (*text, *zip(*columns, strict=True)))
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=_LEVEL) as packed:
        packed.write(("\n".join(lines) + "\n").encode())
    return buffer.getvalue()


def _cells(values: Any) -> list[str]:
    if isinstance(values, np.ndarray):
        if values.dtype.kind == "f":
            return [repr(value) if isfinite(value) else "" for value in values.tolist()]
        return list(map(str, values.tolist()))
    known = {value: _quoted(value) for value in set(values)}
    return [known[value] for value in values]


def _quoted(text: str) -> str:
    if any(mark in text for mark in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _json(data: Any, **layout: Any) -> str:
    try:
        return json.dumps(data, allow_nan=False, **layout)
    except (TypeError, ValueError):
        return json.dumps(_finite(data), allow_nan=False, **layout)


def _finite(value: Any) -> Any:
    """The same JSON value with null for numbers that JSON does not know."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
