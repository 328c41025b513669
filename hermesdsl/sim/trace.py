"""Request traces: which column means what, and cells turned into arrays with every value checked.

An entry of `FORMATS` is all there is to a known format. A malformed row is a diagnostic that
names file, line, column and value. Knows nothing of workloads, classes' bounds or streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.graph.types import Spec
from hermesdsl.sim.cells import Amounts, BlockIds, Names, Reader, Times, Tokens, convert
from hermesdsl.sim.datafile import MAX_BYTES, Table, open_table, shown, trace_error
from hermesdsl.sim.plainfile import Irregular, PlainTable, open_plain
from hermesdsl.sim.requests import Blocks

__all__ = [
    "FORMATS",
    "Column",
    "Format",
    "Trace",
    "read_column",
    "read_trace",
    "trace_of",
]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"


@dataclass(frozen=True)
class Column:
    """A column of the file; its numbers times `scale` are seconds, or tokens."""

    name: str
    scale: float = 1.0


@dataclass(frozen=True)
class Format:
    """A known layout: role → column. `from_start`: times already count from the run's start."""

    name: str
    columns: Mapping[str, Column]
    optional: tuple[str, ...] = ()
    from_start: bool = False

    def fits(self, names: Sequence[str]) -> bool:
        """True if every column that the format must have is there."""
        return all(c.name in names for r, c in self.columns.items() if r not in self.optional)


def _format(name: str, optional: tuple[str, ...] = (), **columns: Column) -> Format:
    return Format(name, MappingProxyType(columns), optional, name == "hermesdsl")


#: Tried in order. Azure: AzurePublicDataset, 2023; Mooncake: FAST '25 release, blocks of 512
#: tokens; BurstGPT: HPMLL/BurstGPT, 2024.
FORMATS: tuple[Format, ...] = (
    _format(
        "Azure",
        time=Column("TIMESTAMP"),
        prompt=Column("ContextTokens"),
        output=Column("GeneratedTokens"),
    ),
    _format(
        "hermesdsl",
        ("class", "session"),
        time=Column("arrival_s"),
        prompt=Column("prompt"),
        output=Column("output"),
        session=Column("session"),
        **{"class": Column("class")},
    ),
    _format(
        "Mooncake",
        time=Column("timestamp", 1e-3),
        prompt=Column("input_length"),
        output=Column("output_length"),
        blocks=Column("hash_ids", 512),
    ),
    _format(
        "BurstGPT",
        time=Column("Timestamp"),
        prompt=Column("Request tokens"),
        output=Column("Response tokens"),
    ),
)


@dataclass(frozen=True, eq=False)
class Trace:
    """A trace in arrival order, columns of shape (n,), absent ones None.

    `arrival` seconds, the first row at 0 unless the format counts from the run's start;
    `prompt`, `output` tokens; `klass` index into `classes`; `session` numbered by first
    appearance, -1 where empty; `cached` tokens of the prompt that a cache had. `notes` say what was
    recognised and mended.
    """

    file: str
    format: str
    arrival: Floats
    prompt: Ints | None = None
    output: Ints | None = None
    klass: Ints | None = None
    classes: tuple[str, ...] = ()
    session: Ints | None = None
    blocks: Blocks | None = None
    cached: Ints | None = None
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.arrival)

    def head(self, n: int) -> Trace:
        """The first `n` rows."""
        return self if n == len(self) else self.rows(np.arange(n))

    def rows(self, order: NDArray[np.intp]) -> Trace:
        """The rows of these numbers, in this order."""

        def picked(column: Ints | None) -> Ints | None:
            return None if column is None else column[order]

        return replace(
            self,
            arrival=self.arrival[order],
            prompt=picked(self.prompt),
            output=picked(self.output),
            klass=picked(self.klass),
            session=picked(self.session),
            blocks=None if self.blocks is None else self.blocks.rows(order),
            cached=picked(self.cached),
        )


def trace_of(
    spec: Spec,
    *,
    needed: Sequence[str] = ("time", "prompt", "output"),
    known_classes: Sequence[str] = (),
) -> Trace:
    """The trace that a spec ``trace(file, time = column(…), …, speed)`` names.

    How it is replayed does not matter here. Raises SpecError: HMS603 for a bad file, HMS601 for bad
    arguments.
    """
    args = {name: value for name, value in spec.args.items() if value is not None}
    file = args.pop("file", None)
    speed = args.pop("speed", 1.0)
    replay = args.pop("replay", "open")
    if not isinstance(file, str):
        raise SpecError([error("HMS601", "`trace` needs the name of a file")])
    if isinstance(speed, bool) or not isinstance(speed, int | float):
        raise SpecError([error("HMS601", "`speed` of `trace` is not a number")])
    if replay not in ("open", "closed"):
        message = f"`replay` of `trace` is {replay}, not open or closed"
        raise SpecError([error("HMS601", message)])
    columns = {}
    for role, value in args.items():
        if role not in _ROLES:
            match = nearest(role, _ROLES)
            notes = [f"help: did you mean `{match}`?"] if match else []
            raise SpecError([error("HMS601", f"`trace` has no argument `{role}`", notes=notes)])
        columns[role] = _column(role, value)
    return read_trace(
        file, columns=columns, speed=float(speed), needed=needed, known_classes=known_classes
    )


def _column(role: str, value: object) -> Column:
    if isinstance(value, str):
        return Column(value)
    if isinstance(value, Spec) and value.name == "column":
        name, scale = value.args.get("name"), value.args.get("unit")
        scale = 1.0 if scale is None else scale
        if isinstance(name, str) and isinstance(scale, int | float) and 0 < scale < float("inf"):
            return Column(name, float(scale))
    raise SpecError([error("HMS601", f"`{role}` of `trace` is not a column of a file")])


def read_trace(
    file: str,
    *,
    columns: Mapping[str, Column] = MappingProxyType({}),
    speed: float = 1.0,
    needed: Sequence[str] = ("time", "prompt", "output"),
    known_classes: Sequence[str] = (),
    budget: int = MAX_BYTES,
) -> Trace:
    """Read a trace; `columns` (role → column) overrides what the recognised format says.

    Roles: time, prompt, output, class, session, blocks, cached. Times are divided by `speed`. A
    role in `needed` must be there; prompt and output are read only if needed. A class must be one
    of `known_classes` unless there are none. Raises SpecError (HMS603, HMS601).
    """
    if not (isfinite(speed) and speed > 0):
        raise SpecError([error("HMS601", f"`speed` of `trace` is {speed:g}, not above zero")])
    try:
        with open_plain(file, budget=budget) as plain:
            read = _read(plain, columns, needed, known_classes)
    except Irregular:
        with open_table(file, budget=budget) as table:
            read = _read(table, columns, needed, known_classes)
    if not read.parts["time"]:
        raise trace_error(file, "has a header but no rows")
    return _assemble(file, read, speed)


class _Read(NamedTuple):
    """What was found in a file: its columns, who read them, and the arrays of each chunk."""

    layout: Format
    readers: dict[str, Reader]
    parts: dict[str, list[object]]


def _read(
    table: Table | PlainTable,
    columns: Mapping[str, Column],
    needed: Sequence[str],
    known_classes: Sequence[str],
) -> _Read:
    layout = _layout(table, columns, needed)
    readers = _readers(layout, known_classes)
    names = [column.name for column in layout.columns.values()]
    parts: dict[str, list[object]] = {role: [] for role in readers}
    for chunk in table.chunks(names):
        convert(table.file, chunk, names, readers, parts)
    return _Read(layout, readers, parts)


def read_column(file: str, column: str) -> Floats:
    """The numbers of one column, finite and not negative. Raises SpecError (HMS603)."""
    with open_table(file) as table:
        if column not in table.columns:
            raise SpecError([_missing(table, column)])
        reader = Amounts()
        parts: dict[str, list[object]] = {"value": []}
        for chunk in table.chunks([column]):
            convert(file, chunk, [column], {"value": reader}, parts)
    if not parts["value"]:
        raise trace_error(file, "has a header but no rows")
    return np.concatenate([np.asarray(part) for part in parts["value"]])


# --- which column is what ----------------------------------------------------------------------


def _layout(
    table: Table | PlainTable, columns: Mapping[str, Column], needed: Sequence[str]
) -> Format:
    """The columns to read by role; diagnostics for those that are not there."""
    found = next((known for known in FORMATS if known.fits(table.columns)), None)
    base = found.columns if found else {}
    wanted = {r: c for r, c in base.items() if c.name in table.columns} | dict(columns)
    wanted = {r: c for r, c in wanted.items() if r in needed or r not in ("prompt", "output")}
    problems = [_missing(table, c.name) for c in wanted.values() if c.name not in table.columns]
    if not problems and any(role not in wanted for role in needed):
        problems = [_unrecognised(table, [role for role in needed if role not in wanted])]
    if "blocks" in wanted and table.kind == "csv":
        problems.append(error("HMS603", f"`{table.file}`: block ids need a JSONL file"))
    if problems:
        raise SpecError(problems)
    name = found.name if found and not columns else "given columns"
    return Format(name, wanted, from_start=bool(found and found.from_start and not columns))


def _missing(table: Table | PlainTable, name: str) -> Diagnostic:
    match = nearest(name, table.columns)
    notes = [f"help: did you mean `{match}`?"] if match else []
    notes.append(f"columns of the file: {', '.join(table.columns)}")
    return error("HMS603", f"`{table.file}` has no column `{name}`", notes=notes)


def _unrecognised(table: Table | PlainTable, roles: Sequence[str]) -> Diagnostic:
    """No format fits: say what the nearest one would need, column by column."""

    def likeness(known: Format) -> int:
        return sum(nearest(c.name, table.columns) is not None for c in known.columns.values())

    best = max(FORMATS, key=likeness)
    notes = []
    for role in roles:
        name = best.columns[role].name
        match = None if name in table.columns else nearest(name, table.columns)
        if match:
            notes.append(
                f"help: is `{match}` the `{name}` of the {best.name} format? then write "
                f'`{role} = column("{match}")`'
            )
    notes.append(f"columns of the file: {', '.join(table.columns)}")
    notes.extend(
        f"{known.name}: {', '.join(c.name for c in known.columns.values())}" for known in FORMATS
    )
    what = f"`{table.file}` is in no known format; no column for {', '.join(roles)}"
    return error("HMS603", what, notes=notes)


_ROLES = ("time", "prompt", "output", "class", "session", "blocks", "cached")


def _readers(layout: Format, known_classes: Sequence[str]) -> dict[str, Reader]:
    make: dict[str, Callable[[Column], Reader]] = {
        "time": lambda column: Times(column.scale, layout.from_start),
        "prompt": lambda column: Tokens(column.scale),
        "output": lambda column: Tokens(column.scale),
        "class": lambda _: Names(known_classes, keep_empty=True),
        "session": lambda _: Names(),
        "blocks": lambda _: BlockIds(),
        "cached": lambda column: Tokens(column.scale, 0),
    }
    return {role: make[role](column) for role, column in layout.columns.items()}


# --- arrays to a trace -------------------------------------------------------------------------


def _assemble(
    file: str,
    read: _Read,
    speed: float,
) -> Trace:
    layout, readers, parts = read
    columns = {
        role: np.concatenate([np.asarray(part) for part in parts[role]])
        for role in layout.columns
        if role != "blocks"
    }
    time = columns["time"]
    base = 0 if layout.from_start else time.min()
    elapsed = time - base
    seconds = elapsed / 1e9 if elapsed.dtype == np.int64 else elapsed
    arrival = seconds / speed
    names = ", ".join(column.name for column in layout.columns.values())
    notes = [f"`{shown(file)}`: {layout.name} format ({names}), {len(arrival):,} rows"]
    order = None
    if (np.diff(arrival) < 0).any():
        order = np.argsort(arrival, kind="stable")
        notes.append(f"`{shown(file)}`: rows were not in order of time; sorted")
    klass_reader = readers.get("class")
    trace = Trace(
        file,
        layout.name,
        arrival,
        columns.get("prompt"),
        columns.get("output"),
        columns.get("class"),
        tuple(klass_reader.seen) if isinstance(klass_reader, Names) else (),
        columns.get("session"),
        _blocks(parts["blocks"], layout.columns["blocks"]) if "blocks" in parts else None,
        columns.get("cached"),
        tuple(notes),
    )
    return trace if order is None else trace.rows(order)


def _blocks(parts: list[object], column: Column) -> Blocks:
    pairs = [part for part in parts if isinstance(part, tuple)]
    ids = np.concatenate([ids for ids, _ in pairs])
    counts = np.concatenate([counts for _, counts in pairs])
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    return Blocks(ids, starts, int(column.scale))
