"""Tables of requests as somebody measured them: which column means what, times in seconds.

One row per request: when it came, how long it was, and any of its latencies. Knows no simulation.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.sim.cells import Amounts, Reader, Times, Tokens, convert
from hermesdsl.sim.datafile import Cell, Table, open_table, trace_error
from hermesdsl.sim.trace import Column

__all__ = ["LATENCIES", "ROLES", "Served", "given_column", "read_served", "request_columns"]

Floats: TypeAlias = "NDArray[np.float64]"

#: What is compared, by role: how long until it was first worked on, to its first token, per token
#: after that, to its end.
LATENCIES = ("queue", "ttft", "tpot", "latency")
#: What a column may be.
ROLES = ("time", "prompt", "output", "cached", *LATENCIES)
_COUNTS = ("prompt", "output", "cached")

#: Suffixes that say the unit of a time, in seconds.
UNITS: Mapping[str, float] = MappingProxyType({"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0})

#: Names that columns go by, in order of preference, without the unit that ends those of times.
_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "time": ("arrival", "arrival_time", "timestamp", "arrived_at", "time"),
        "prompt": ("context_tokens", "ContextTokens", "prompt", "prompt_tokens", "input_tokens",
                   "input_toks", "input_length", "input", "isl"),
        "output": ("output", "output_tokens", "output_toks", "output_length", "osl",
                   "GeneratedTokens"),
        "cached": ("cached", "cached_tokens", "prefix_hit_tokens"),
        "queue": ("queue", "queue_time", "queueing", "queuing_delay"),
        "ttft": ("ttft", "time_to_first_token"),
        "tpot": ("tpot", "time_per_output_token"),
        "latency": ("latency", "e2e", "e2e_latency", "end_to_end"),
    }
)  # fmt: skip


@dataclass(frozen=True)
class _Latency(Reader):
    """Times that may be missing: the number in the cell times `scale`, NaN for an empty one."""

    scale: float

    def read(self, cells: Sequence[Cell]) -> Floats:
        """Seconds of shape (n,)."""
        there = np.array([cell not in (None, "") for cell in cells])
        found = np.full(len(cells), np.nan)
        kept = [cell for cell, is_there in zip(cells, there, strict=True) if is_there]
        found[there] = Amounts().read(kept) * self.scale
        return found

    def reason(self, cell: Cell) -> str:
        """Why a cell is no latency."""
        return Amounts().reason(cell)


@dataclass(frozen=True, eq=False)
class Served:
    """Measured requests in order of arrival.

    `columns` by role (`ROLES`), each of shape (n,): seconds, or tokens; NaN where a request has no
    such latency. `time` begins at 0. `layout`: the column of the file behind each role;
    `unused`: its other columns.
    """

    file: str
    layout: Mapping[str, Column]
    columns: Mapping[str, Floats]
    unused: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.columns["time"])

    @property
    def latencies(self) -> tuple[str, ...]:
        """Those that the table has."""
        return tuple(role for role in LATENCIES if role in self.columns)


def given_column(text: str) -> tuple[str, Column]:
    """``ttft=first_token:ms`` as role and column. Raises SpecError HMS607.

    Without a unit that of the column's name holds.
    """
    role, equals, name = (part.strip() for part in text.partition("="))
    name, _, unit = name.partition(":")
    problem = None
    if not equals or not name:
        problem = error("HMS607", f"`--column {text}` is not a role, `=` and a column",
                        notes=["help: such as `--column ttft=first_token:ms`"])  # fmt: skip
    elif role not in ROLES:
        notes = suggestion(role, ROLES) or (f"help: roles are {', '.join(ROLES)}",)
        problem = error("HMS607", f"`--column {text}`: no role `{role}`", notes=notes)
    elif unit and (unit not in UNITS or role in _COUNTS):
        known = "tokens have no unit" if role in _COUNTS else f"units are {', '.join(UNITS)}"
        problem = error("HMS607", f"`--column {text}`: no unit `{unit}`", notes=[f"help: {known}"])
    if problem is not None:
        raise SpecError([problem])
    return role, Column(name, UNITS[unit] if unit else _scale(role, name) or 0.0)


def request_columns(names: Sequence[str], given: Collection[str]) -> set[str]:
    """The roles of a table of requests that its columns' names or flags say."""
    return {role for role in ROLES if role in given or _recognised(role, names) is not None}


def read_served(file: str, given: Mapping[str, Column] = MappingProxyType({})) -> Served:
    """The requests of a table; `given` (role → column) goes before what names say.

    A time's unit is the end of its column's name (``ttft_ms``). Raises SpecError: HMS603 for a bad
    table or one without arrivals, lengths or any latency, naming what is missing.
    """
    with open_table(file) as table:
        layout = _layout(table, given)
        readers: dict[str, Reader] = {role: _reader(role, c) for role, c in layout.items()}
        names, names_of_file = [column.name for column in layout.values()], table.columns
        parts: dict[str, list[object]] = {role: [] for role in layout}
        for chunk in table.chunks(names):
            convert(file, chunk, names, readers, parts)
    if not parts["time"]:
        raise trace_error(file, "has a header but no rows")
    columns = {role: np.concatenate([np.asarray(p, float) for p in found])
               for role, found in parts.items()}  # fmt: skip
    time = columns["time"] - columns["time"].min()
    dates = readers["time"]
    columns["time"] = time / 1e9 if isinstance(dates, Times) and dates.dates else time
    order = np.argsort(columns["time"], kind="stable")
    unused = tuple(name for name in names_of_file if name not in names)
    return Served(file, layout, {role: column[order] for role, column in columns.items()}, unused)


def _reader(role: str, column: Column) -> Reader:
    if role == "time":
        return Times(column.scale, from_start=False)
    if role in _COUNTS:
        return Tokens(1.0, 0 if role == "cached" else 1)
    return _Latency(column.scale)


def _layout(table: Table, given: Mapping[str, Column]) -> dict[str, Column]:
    """The column of each role that the table has."""
    found: dict[str, Column] = {}
    problems: list[Diagnostic] = []
    for role in ROLES:
        column = given.get(role) or _recognised(role, table.columns)
        if column is None:
            continue
        if column.name not in table.columns:
            problems.append(error(
                "HMS603", f"`{table.file}` has no column `{column.name}`",
                notes=[*suggestion(column.name, table.columns),
                       f"columns of the file: {', '.join(table.columns)}"]))  # fmt: skip
        elif column.scale <= 0.0:
            problems.append(error(
                "HMS603", f"`{table.file}`: in which unit is column `{column.name}`?",
                notes=[f"help: such as `--column {role}={column.name}:ms`"]))  # fmt: skip
        found[role] = column
    missing = [role for role in ("time", "prompt", "output") if role not in found]
    if not missing and not any(role in found for role in LATENCIES):
        missing = ["ttft, tpot or latency"]
    if missing:
        notes = [f"help: name it, such as `--column {missing[0].split(',')[0]}=NAME:ms`",
                 f"columns of the file: {', '.join(table.columns)}"]  # fmt: skip
        what = f"`{table.file}` has no column for {', '.join(missing)}"
        problems.append(error("HMS603", what, notes=notes))
    if problems:
        raise SpecError(problems)
    return found


def _recognised(role: str, names: Sequence[str]) -> Column | None:
    """The column that goes by one of a role's names."""
    for known in _NAMES[role]:
        for name in names:
            bare = name if role in _COUNTS else re.sub(r"_(ns|us|ms|s)$", "", name)
            if bare == known:
                return Column(name, _scale(role, name) or 0.0)
    return None


def _scale(role: str, name: str) -> float | None:
    """Seconds of the unit that ends a name; date-times need none. 1 for tokens."""
    if role in _COUNTS:
        return 1.0
    unit = re.search(r"_(ns|us|ms|s)$", name)
    if unit is not None:
        return UNITS[unit[1]]
    return 1.0 if role == "time" else None
