"""Tables with a row per measured run: which column is what, values in SI units, and what is unused.

A column holds a statistic of a latency, a figure of the whole run, or a value that the
specification is run with. Knows no simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import Diagnostic, SpecError, error
from hermesdsl.diagnostics.nearest import nearest, suggestion
from hermesdsl.measure.headings import METRICS, Heading, fits, heading, metric_of, written
from hermesdsl.measure.served import ROLES, request_columns
from hermesdsl.sim.cells import Amounts, Reader, convert
from hermesdsl.sim.datafile import Cell, Table, open_table, shown, trace_error

__all__ = ["CASE", "Runs", "Settable", "given_role", "of_runs", "read_runs"]

Floats: TypeAlias = "NDArray[np.float64]"

#: The column (or role) that names the case that a run was of.
CASE = "case"
#: More runs in one table than this are a mistake: each is simulated.
MOST = 10_000


@dataclass(frozen=True)
class Settable:
    """What runs may be given: `params` by path with the unit that each is written in, the `cases`,
    and `other`: the unit of any other path, None for one that may not be set."""

    params: Mapping[str, str] = field(default_factory=dict)
    cases: tuple[str, ...] = ()
    other: Callable[[str], str | None] = lambda _: None

    def unit(self, path: str) -> str | None:
        """The unit of a value that may be set (empty: none), or None."""
        if path == CASE and self.cases:
            return ""
        return self.params[path] if path in self.params else self.other(path)


@dataclass(frozen=True, eq=False)
class Runs:
    """Measured runs in the order of the file.

    `figures` by metric as written (``p99(ttft)``), each of shape (n,), SI units, NaN where a run
    has none. `settings`: what each run is compiled with, path → source text; `cases`: the case of
    each, or None. `lines` of the file. `used`: column → what it was taken for; `unused`: column →
    why not, or nothing.
    """

    file: str
    lines: tuple[int, ...]
    figures: Mapping[str, Floats]
    settings: tuple[Mapping[str, str], ...]
    cases: tuple[str | None, ...]
    used: Mapping[str, str]
    unused: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def paths(self) -> tuple[str, ...]:
        """What the table sets."""
        return tuple(self.settings[0]) if self.settings else ()


class _Figures(Reader):
    """Amounts that may be missing: NaN for an empty cell."""

    def read(self, cells: Sequence[Cell]) -> Floats:
        """Numbers of shape (n,)."""
        there = np.array([cell not in (None, "") for cell in cells], bool)
        found = np.full(len(cells), np.nan)
        found[there] = Amounts().read([c for c, is_there in zip(cells, there, strict=True)
                                       if is_there])  # fmt: skip
        return found

    def reason(self, cell: Cell) -> str:
        """Why a cell is no figure."""
        if isinstance(cell, str) and cell.strip().endswith("%"):
            return "is a percentage, not a time, rate or count"
        return Amounts().reason(cell)


class _Settings(Reader):
    """Texts of values; every run has one."""

    def read(self, cells: Sequence[Cell]) -> list[str]:
        """Texts as they stand there."""
        texts = [_text(cell) for cell in cells]
        if not all(texts):
            raise ValueError
        return texts

    def reason(self, cell: Cell) -> str:
        """Why a cell is no value."""
        return "is empty, and so sets nothing" if not _text(cell) else "is no value"


def _text(cell: Cell) -> str:
    if cell is None or isinstance(cell, bool | list | dict):
        return "" if cell is None else str(cell).lower()
    return str(cell).strip()


def given_role(text: str) -> tuple[str, str]:
    """``p99(ttft)=slowest:ms`` as role and ``slowest:ms``. Raises SpecError HMS607."""
    role, equals, name = (part.strip() for part in text.partition("="))
    if not equals or not name or not role:
        raise SpecError([error(
            "HMS607", f"`--column {text}` is not a role, `=` and a column",
            notes=["help: such as `--column ttft=first_token:ms`, or of a table with a row per "
                   "run `--column 'p99(ttft)=slow:ms'`"])])  # fmt: skip
    return role, name


def of_runs(file: str, given: Mapping[str, str]) -> bool:
    """Whether a table has a row per run, not per request; `given` as of `read_runs`.

    One with arrival, lengths and a latency of requests is of requests. Raises SpecError HMS603 for
    one that says nothing of either.
    """
    with open_table(file) as table:
        names = table.columns
    roles = request_columns(names, given)
    lengths = {"time", "prompt", "output"} & roles
    if len(lengths) == 3 and roles - lengths - {"cached"}:
        return False
    headings = map(heading, names)
    told = [metric_of(each.bare, each.unit) for each in headings] + [*map(metric_of, given)]
    known = {found[0] for found in told if found is not None} - {"?"}
    if known - {""} or (known and not lengths):
        return True
    if lengths or any(role in ROLES for role in given):
        return False
    unclear = [f"note: `{each.name}`: {_unclear(found[1])}" for each in map(heading, names)
               if (found := metric_of(each.bare, each.unit)) is not None]  # fmt: skip
    raise trace_error(
        file, "has neither requests (arrival, lengths, a latency) nor statistics of runs",
        *unclear[:3],
        "help: a row per run has columns such as `mean_ttft_ms`, `p99(tpot) [ms]`, "
        "`output_throughput`; `--column 'p99(ttft)=NAME:ms'` says what a name does not",
        f"columns of the file: {', '.join(names)}",
    )  # fmt: skip


def _unclear(metric: str) -> str:
    """What a column of a metric leaves open."""
    if metric == "throughput":
        return "in tok/s or req/s?"
    return f"mean, p50, p90, p95, p99 or max of {metric}?"


def read_runs(
    file: str,
    given: Mapping[str, str] = MappingProxyType({}),
    settable: Settable = Settable(),
) -> Runs:
    """The runs of a table. `given`: role → ``NAME[:UNIT]``, before what names say.

    A role is a statistic (``p99(ttft)``), a figure (``output_throughput``), ``case`` or a path of
    the specification. Raises SpecError HMS603 for a bad table, or columns and roles that are none.
    """
    with open_table(file) as table:
        layout = _Layout(table, given, settable)
        layout.raise_if_wrong()
        roles = {**layout.figures, **layout.settings}
        readers: dict[str, Reader] = {
            role: _Figures() if role in layout.figures else _Settings() for role in roles
        }
        names = [each.name for each in roles.values()]
        parts: dict[str, list[object]] = {role: [] for role in roles}
        lines: list[int] = []
        for chunk in table.chunks(names):
            convert(file, chunk, names, readers, parts)
            lines += chunk.lines
    if not lines:
        raise trace_error(file, "has a header but no rows")
    if len(lines) > MOST:
        raise trace_error(file, f"has {len(lines):,} rows, each of which would be simulated",
                          f"help: {MOST:,} runs at most")  # fmt: skip
    figures = {
        role: np.concatenate([np.asarray(part, float) for part in parts[role]])
        * (fits(layout.metrics[role], each.unit) or 1.0)
        for role, each in layout.figures.items()
    }
    texts = {role: _joined(parts[role]) for role in layout.settings}
    _check_units(file, layout.settings, texts, lines, settable)
    rows = tuple(
        {path: _value(texts[path][at], each.unit) for path, each in layout.settings.items()
         if path != CASE}
        for at in range(len(lines))
    )  # fmt: skip
    cases = tuple(texts[CASE]) if CASE in texts else (None,) * len(lines)
    return Runs(file, tuple(lines), figures, rows, cases, layout.used, layout.unused)


def _joined(parts: Sequence[object]) -> list[str]:
    return [text for part in parts if isinstance(part, list) for text in part]


def _value(text: str, unit: str) -> str:
    """A cell as the language writes it: with the unit of its column, if it is a plain number."""
    return f"{text} {unit}" if unit and _plain(text) else text


def _check_units(
    file: str, settings: Mapping[str, Heading], texts: Mapping[str, Sequence[str]],
    lines: Sequence[int], settable: Settable,
) -> None:  # fmt: skip
    """Raise SpecError HMS603 for plain numbers where the specification has a unit."""
    for path, own in settings.items():
        unit = settable.unit(path)
        bare = next((line for line, text in zip(lines, texts[path], strict=True) if _plain(text)),
                    None)  # fmt: skip
        if unit and not own.unit and bare is not None:
            raise trace_error(
                file, f"line {bare}: in which unit is column `{own.name}`?",
                f"help: call it `{path} [{unit}]`, or `--column '{path}={own.name}:{unit}'`",
            )  # fmt: skip


def _plain(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Layout:
    """Which column holds what; the columns that hold nothing known; and what is wrong."""

    def __init__(self, table: Table, given: Mapping[str, str], settable: Settable) -> None:
        self._table = table
        self._settable = settable
        self._flagged: frozenset[str] = frozenset()
        self.figures: dict[str, Heading] = {}
        self.metrics: dict[str, str] = {}
        self.settings: dict[str, Heading] = {}
        self.used: dict[str, str] = {}
        self.unused: dict[str, str] = {}
        self._problems: list[Diagnostic] = []
        for role, text in given.items():
            self._given(role, text)
        self._flagged = frozenset((*self.figures, *self.settings))
        for name in table.columns:
            if name not in self.used:
                self._found(heading(name))

    def raise_if_wrong(self) -> None:
        """Raise what was found wrong; a table without any figure is."""
        if not self.figures and not self._problems:
            columns = ", ".join(self._table.columns)
            self._wrong("no column has a statistic of runs", f"columns of the file: {columns}")
        if self._problems:
            raise SpecError(self._problems)

    def _wrong(self, what: str, *notes: str) -> None:
        file = shown(self._table.file)
        self._problems.append(error("HMS603", f"`{file}`: {what}", notes=notes))

    def _given(self, role: str, text: str) -> None:
        """What a flag says of a column."""
        name, _, unit = (part.strip() for part in text.partition(":"))
        if name not in self._table.columns:
            self._wrong(f"no column `{name}`", *suggestion(name, self._table.columns),
                        f"columns of the file: {', '.join(self._table.columns)}")  # fmt: skip
            return
        own = heading(name)
        own = Heading(name, own.bare, unit or own.unit)
        metric = metric_of(role, own.unit)
        if self._settable.unit(role) is not None:
            self._setting(role, own)
        elif metric is not None and metric[0] != "?":
            self._figure(metric, own)
        elif metric is not None or role in ROLES:
            known = f"'mean({metric[1]})={name}'" if metric else "'mean(ttft)=NAME:ms'"
            self._wrong(f"`{role}` is of tables with a row per request",
                        f"help: of runs say which statistic: `--column {known}`")  # fmt: skip
        else:
            names = [f"p99({m})" if si == "s" else m for m, si in METRICS.items()]
            self._wrong(f"`{role}` is neither a statistic nor a value that may be set",
                        *suggestion(role, [*names, *self._settable.params]))  # fmt: skip

    def _found(self, own: Heading) -> None:
        """What a column's name says."""
        metric = metric_of(own.bare, own.unit)
        path = next((p for p in dict.fromkeys((own.name, own.bare))
                     if self._settable.unit(p) is not None), None)  # fmt: skip
        if metric is not None and metric[0] != "?" and path is not None:
            role = written(*metric)
            other = "completed" if role == "n" else f"run_{role}"
            self._wrong(f"`{own.name}` may be `{role}` or what the specification calls `{path}`",
                        f"help: say which: `--column '{other}={own.name}'` or `--column "
                        f"{path}={own.name}`")  # fmt: skip
        elif path is not None:
            self._setting(path, own if path == own.bare else Heading(own.name, own.name))
        elif metric is None:
            self._unknown(own)
        elif metric[0] == "?":
            self.unused[own.name] = _unclear(metric[1])
        else:
            self._figure(metric, own)

    def _unknown(self, own: Heading) -> None:
        """A column of no known meaning: refused if it is nearly a param, else told."""
        close = nearest(own.bare, self._settable.params)
        if close is None or "." not in own.bare:
            last = [path for path in self._settable.params if path.rpartition(".")[2] == own.bare]
            self.unused[own.name] = f"to set `{last[0]}`, call it so" if last else ""
            return
        self._wrong(f"column `{own.name}` is no param of the specification",
                    f"help: did you mean `{close}`?")  # fmt: skip

    def _figure(self, metric: tuple[str, str], own: Heading) -> None:
        role = written(*metric)
        if role in self.figures and role in self._flagged:
            self.unused[own.name] = f"a flag says what {role} is"
            return
        if role in self.figures:
            self._wrong(f"`{self.figures[role].name}` and `{own.name}` are both `{role}`",
                        f"help: say which: `--column '{role}={own.name}'`")  # fmt: skip
            return
        if fits(metric[1], own.unit) is None:
            wanted = METRICS[metric[1]]
            example = "ms" if wanted == "s" else wanted
            note = f"help: such as `--column '{role}={own.name}:{example}'`"
            if not own.unit:
                self._wrong(f"in which unit is column `{own.name}`?", note)
            else:
                self._wrong(f"column `{own.name}` is in `{own.unit}`, and `{role}` is in {wanted}",
                            note)  # fmt: skip
            return
        self.figures[role], self.metrics[role] = own, metric[1]
        self.used[own.name] = role

    def _setting(self, path: str, own: Heading) -> None:
        if path in self.settings and path in self._flagged:
            self.unused[own.name] = f"a flag says what {path} is"
            return
        if path in self.settings:
            other = self.settings[path].name
            self._wrong(f"`{other}` and `{own.name}` both set `{path}`")
            return
        self.settings[path] = own
        self.used[own.name] = path
