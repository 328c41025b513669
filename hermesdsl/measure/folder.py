"""A folder that `hermes profile` has written, as tables for fits.

Knows which tables there are and what lies beside them; no formula and no device.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.measure.profile.grid import COLLECTIVES
from hermesdsl.measure.profile.store import META
from hermesdsl.measure.tables import COPIES, PROFILED, Table, read_table

__all__ = ["Folder", "read_folder"]


@dataclass(frozen=True)
class Folder:
    """Tables by what a fit takes them for: times of `kernels`, the `power` that some of them drew,
    `messages` and `copies`."""

    kernels: tuple[Table, ...]
    power: tuple[Table, ...]
    messages: tuple[Table, ...]
    copies: tuple[Table, ...]


def read_folder(folder: Path, limit: float) -> Folder:
    """The tables of a folder; `limit` of the board in watts, where the folder does not say it.

    Raises SpecError HMS607 for a folder without any, or with a table that is none.
    """
    names = (*PROFILED, *COLLECTIVES, *COPIES)
    there = {name: folder / f"{name}.csv" for name in names}
    tables = {name: read_table(path) for name, path in there.items() if _has_rows(path)}
    if not tables:
        listed = ", ".join(f"{name}.csv" for name in names)
        note = f"help: `hermes profile` writes {listed}; other tables are named one by one"
        raise SpecError([error("HMS607", f"`{folder}` holds no table to fit", notes=[note])])
    kernels = tuple(tables[name] for name in PROFILED if name in tables)
    told = _limit(folder) or limit
    powered = (_powered(table, told) for table in kernels)
    return Folder(
        kernels,
        tuple(table for table in powered if table is not None),
        tuple(tables[name] for name in COLLECTIVES if name in tables),
        tuple(tables[name] for name in COPIES if name in tables),
    )


def _has_rows(path: Path) -> bool:
    """Whether a table was begun: one that a run did not come to is not there, or has no row."""
    return path.is_file() and path.read_bytes().count(b"\n") > 1


def _limit(folder: Path) -> float:
    """Power limit of the board by the driver, in watts; 0 where it is not told."""
    try:
        found: Any = json.loads((folder / META).read_bytes())
        return float(str(found["power_limit_w"]).split()[0])
    except (OSError, ValueError, LookupError, TypeError):
        return 0.0


def _powered(table: Table, limit: float) -> Table | None:
    """The rows whose power was read, as a table of power; None without any, or without a limit."""
    if "board" not in table.frame or limit <= 0.0:
        return None
    rows = table.frame[table.frame["board"] > 0.0].reset_index(drop=True)
    if not len(rows):
        return None
    return replace(table, frame=rows.assign(watts=rows["board"], limit=limit), power=True)
