"""Cells of a table turned into arrays, every value checked.

A `Reader` per meaning: token counts, amounts, times, names, block ids. A whole column is converted
at once; only when that fails is each cell looked at, so that the diagnostic names file, line,
column and value. Knows no trace format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isfinite
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.sim.datafile import Cell, Chunk, shown

__all__ = ["Amounts", "BlockIds", "Names", "Reader", "Times", "Tokens", "convert"]

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.int64]"

#: More tokens than this in one request are a mistake, and would overflow sums.
MAX_TOKENS = 1_000_000_000

#: So many wrong cells are listed before reading stops.
_MAX_REPORTED = 5


def convert(
    file: str,
    chunk: Chunk,
    names: Sequence[str],
    readers: Mapping[str, Reader],
    parts: dict[str, list[object]],
) -> None:
    """Append each column's array to `parts`; on a refusal look at every cell for the culprits."""
    wrong: list[tuple[int, Diagnostic]] = []
    for cells, name, (role, reader) in zip(chunk.cells, names, readers.items(), strict=True):
        try:
            parts[role].append(reader.read(cells))
        except ValueError:
            wrong.extend(_culprits(file, name, chunk.lines, cells, reader))
    if wrong:
        wrong.sort(key=lambda item: item[0])
        raise SpecError([diagnostic for _, diagnostic in wrong[:_MAX_REPORTED]])


def _culprits(
    file: str, name: str, lines: Sequence[int], cells: Sequence[Cell], reader: Reader
) -> list[tuple[int, Diagnostic]]:
    found: list[tuple[int, Diagnostic]] = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            reader.read((cell,))
        except ValueError:
            text = "" if cell is None else str(cell)
            text = text if len(text) <= 60 else f"{text[:57]}…"
            what = f"`{shown(file)}` line {line}, column `{name}`: `{text}` {reader.reason(cell)}"
            found.append((line, error("HMS603", what)))
            if len(found) == _MAX_REPORTED:
                break
    return found


class Reader:
    """Turns cells of one column into an array; `read` raises ValueError if any cell is wrong."""

    def read(self, cells: Sequence[Cell]) -> object:
        """The array of these cells, shape (n,). Raises ValueError if any is wrong."""
        raise NotImplementedError

    def reason(self, cell: Cell) -> str:
        """Why `read` refused this cell: the end of a sentence that begins with the value."""
        raise NotImplementedError


def _numbers(cells: Sequence[Cell]) -> Floats:
    """Finite floats of text or JSON numbers; ValueError for anything else."""
    if not set(map(type, cells)) <= {str, int, float}:
        raise ValueError
    try:
        values = np.fromiter(map(float, cells), np.float64, len(cells))  # type: ignore[arg-type]
    except OverflowError:
        raise ValueError from None
    if not np.isfinite(values).all():
        raise ValueError
    return values


def _number_reason(cell: Cell) -> str | None:
    """Why a cell is no finite number, or None if it is one."""
    if cell is None:
        return "is missing"
    if isinstance(cell, str) and not cell.strip():
        return "is empty"
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return "is not a number"
    try:
        value = float(cell)
    except OverflowError:
        return "is too large"
    except ValueError:
        return "is not a number"
    return None if isfinite(value) else "is not a finite number"


@dataclass(frozen=True)
class Tokens(Reader):
    """Token counts, `least` or more: the number in the cell times `scale`."""

    scale: float
    least: int = 1

    def read(self, cells: Sequence[Cell]) -> Ints:
        """Whole tokens of shape (n,), `least` to `MAX_TOKENS` each."""
        values = _numbers(cells) * self.scale
        whole = values.astype(np.int64, casting="unsafe") if self._within(values) else None
        if whole is None or (whole != values).any():
            raise ValueError
        return whole

    def reason(self, cell: Cell) -> str:
        """Why a cell is no token count."""
        known = _number_reason(cell)
        if known:
            return known
        value = float(cell) * self.scale  # type: ignore[arg-type]
        if value < self.least:
            return "is below 1 token" if self.least else "is negative"
        if value > MAX_TOKENS:
            return f"is more than {MAX_TOKENS:,} tokens"
        return "is not a whole number of tokens"

    def _within(self, values: Floats) -> bool:
        return bool((values >= self.least).all() and (values <= MAX_TOKENS).all())


@dataclass(frozen=True)
class Amounts(Reader):
    """Numbers of any meaning, not negative."""

    def read(self, cells: Sequence[Cell]) -> Floats:
        """Numbers of shape (n,)."""
        values = _numbers(cells)
        if (values < 0).any():
            raise ValueError
        return values

    def reason(self, cell: Cell) -> str:
        """Why a cell is no amount."""
        return _number_reason(cell) or "is negative"


_DATE_TIME = re.compile(
    r"(?:19|20|21)\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|\+00(?::?00)?)?"
)


@dataclass
class Times(Reader):
    """Times as numbers (float seconds) or UTC date-times (integer nanoseconds)."""

    scale: float
    from_start: bool
    dates: bool | None = None

    def read(self, cells: Sequence[Cell]) -> Floats | Ints:
        """Seconds as floats, or nanoseconds since 1970 as integers, shape (n,)."""
        if self.dates is None:
            self.dates = isinstance(cells[0], str) and bool(_DATE_TIME.fullmatch(cells[0].strip()))
        if not self.dates:
            values = _numbers(cells) * self.scale
            if (np.abs(values) > 1e15).any() or (self.from_start and (values < 0).any()):
                raise ValueError
            return values
        texts = [cell.strip() for cell in cells if isinstance(cell, str)]
        if len(texts) < len(cells) or not all(map(_DATE_TIME.fullmatch, texts)):
            raise ValueError
        plain = [text.rstrip("Z").partition("+")[0] for text in texts]
        return np.array(plain, dtype="datetime64[ns]").astype(np.int64)

    def reason(self, cell: Cell) -> str:
        """Why a cell is no time of the kind that the first row has."""
        if self.dates:
            empty = cell is None or (isinstance(cell, str) and not cell.strip())
            return (
                "is empty" if empty else "is not a UTC date-time like 2023-11-16 18:15:46.6805900"
            )
        known = _number_reason(cell)
        if known == "is not a number":
            return "is neither a number nor a UTC date-time like 2023-11-16 18:15:46.6805900"
        if known:
            return known
        late = abs(float(cell) * self.scale) > 1e15  # type: ignore[arg-type]
        return "is too large" if late else "is before the start of the run"


@dataclass
class Names(Reader):
    """Texts as numbers by first appearance; `allowed` names only, if there are any."""

    allowed: Sequence[str] = ()
    keep_empty: bool = False
    seen: dict[str, int] = field(default_factory=dict)

    def read(self, cells: Sequence[Cell]) -> Ints:
        """Indices into `seen`, shape (n,); -1 for an empty cell unless `keep_empty`."""
        texts = [self._text(cell) for cell in cells]
        if self.allowed and not set(texts) <= {*self.allowed, ""}:
            raise ValueError
        seen = self.seen
        if not self.keep_empty:
            return np.array([seen.setdefault(t, len(seen)) if t else -1 for t in texts])
        return np.array([seen.setdefault(text, len(seen)) for text in texts])

    def _text(self, cell: Cell) -> str:
        if cell is None:
            return ""
        if isinstance(cell, bool) or not isinstance(cell, str | int):
            raise ValueError  # noqa: TRY004 - one exception says `look at each cell`
        return str(cell).strip()

    def reason(self, cell: Cell) -> str:
        """Why a cell is no name."""
        if isinstance(cell, str):
            match = nearest(cell, self.allowed)
            hint = f"; did you mean `{match}`?" if match else f": {', '.join(self.allowed)}"
            return f"is none of the declared classes{hint}"
        return "is neither text nor a whole number"


class BlockIds(Reader):
    """Lists of block ids."""

    def read(self, cells: Sequence[Cell]) -> tuple[Ints, Ints]:
        """All ids in one vector, and how many each row has, shape (n,)."""
        lists = [cell for cell in cells if isinstance(cell, list)]
        if len(lists) < len(cells) or not set(map(type, chain.from_iterable(lists))) <= {int}:
            raise ValueError
        counts = np.array([len(each) for each in lists], dtype=np.int64)
        try:
            return np.array(list(chain.from_iterable(lists)), dtype=np.int64), counts
        except OverflowError:
            raise ValueError from None

    def reason(self, cell: Cell) -> str:
        """Why a cell is no list of ids."""
        return "is missing" if cell is None else "is not a list of whole numbers"
