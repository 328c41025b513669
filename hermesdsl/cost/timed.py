"""Times of one layer's kernels as a person measured them, and their lookup.

Tables of one model on one device at one tensor-parallel split: times of layers over tokens, of
head and sampler over sequences, of attention over prompt slice, cached tokens, sequences decoding
and their context. Knows files and interpolation; no model, device or formula.
"""

from __future__ import annotations

import csv
import gzip
import io
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, log
from pathlib import Path
from typing import TypeAlias

#: Coordinates of attention: prompt slice, tokens cached before it, sequences decoding, context of
#: each; 0 where a step has none.
Point: TypeAlias = tuple[float, float, float, float]
Tree: TypeAlias = "dict[float, Tree | float]"

#: Tokens added to cached ones before logarithms are taken: below a KV block they change nothing.
BLOCK = 16.0
#: Tables of a folder by name, for n tensor-parallel ways: `tpN_NAME.csv` or `tpN_NAME.csv.gz`.
DENSE, HEAD, ATTENTION, SKEW = "dense", "per_sequence", "attention", "skew"
_COLUMNS = {
    DENSE: ("layer", "tokens", "time_us"),
    HEAD: ("layer", "sequences", "time_us"),
    ATTENTION: ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us"),
    SKEW: ("regime", "n", "t_mean_us", "t_skew_us"),
}
#: What a table of uneven contexts calls steps of decodes alone, and steps with prompts.
PURE, MIXED = "pure", "mixed"


@dataclass(frozen=True)
class Curve:
    """Seconds at ascending sizes (tokens or sequences)."""

    sizes: tuple[float, ...]
    seconds: tuple[float, ...]

    def reached(self, size: float, form: Callable[[float], float]) -> tuple[float, bool]:
        """`form` over measured time at a size, and whether it lies among those measured.

        Between two sizes log-linear in the size; outside as at the nearest.
        """
        place = bisect_left(self.sizes, size)
        inside = self.sizes[0] <= size <= self.sizes[-1]
        if place == 0 or place == len(self.sizes) or self.sizes[place] == size:
            place = min(place, len(self.sizes) - 1)
            return form(self.sizes[place]) / self.seconds[place], inside
        low, high = self.sizes[place - 1], self.sizes[place]
        part = log(size / low) / log(high / low)
        ends = [form(self.sizes[i]) / self.seconds[i] for i in (place - 1, place)]
        return exp(log(ends[0]) * (1.0 - part) + log(ends[1]) * part), inside


@dataclass(frozen=True)
class LayerTimes:
    """What was measured: `dense` by layer over tokens, `head` over sequences, `attention`.

    `attention` nests slice, cached, sequences and context; not every combination need be there.
    `uneven`: by regime, over sequences decoding, how much longer attention takes while they read
    contexts that differ than with the same sum in equal ones (mean over the mixtures measured).
    """

    dense: Mapping[str, Curve]
    head: Mapping[str, Curve]
    attention: Tree
    uneven: Mapping[str, Curve] = field(default_factory=dict)
    _known: dict[Point, tuple[float, bool]] = field(default_factory=dict, repr=False, compare=False)

    def stretch(self, point: Point) -> float:
        """How much longer attention takes because contexts of a step differ; 1 if not measured."""
        slice_, _, sequences, _ = point
        curve = self.uneven.get(MIXED if slice_ else PURE)
        if curve is None or sequences < 2.0:
            return 1.0
        return 1.0 / curve.reached(sequences, lambda _: 1.0)[0]

    def reached(self, point: Point, form: Callable[[Point], float]) -> tuple[float, bool]:
        """`form` over measured time of attention at a point, and whether it lies inside.

        Multilinear in logarithms between the nearest points that were measured, axis by axis. A
        coordinate of 0 (no prompts, no decodes) is met by 0 alone. `form` must be the same in
        every call.
        """
        found = self._known.get(point)
        if found is None:
            total, inside = 0.0, True
            for share, near, seconds, within in _corners(self.attention, point, 0, ()):
                total += share * log(form(near) / seconds)
                inside = inside and within
            found = self._known[point] = (exp(total) / self.stretch(point), inside)
        return found


def _corners(
    tree: Tree, point: Point, axis: int, before: tuple[float, ...]
) -> Iterator[tuple[float, Point, float, bool]]:
    """(weight, point, seconds, inside) of every measured point that surrounds `point`."""
    at = point[axis]
    exact = axis in (0, 2) or point[axis - 1] == 0.0
    sizes = sorted(size for size in tree if not exact or (size == 0.0) == (at == 0.0))
    for share, size, within in _ends(sizes or sorted(tree), at):
        below = tree[size]
        here = (*before, size)
        if isinstance(below, dict):
            for inner, near, seconds, inside in _corners(below, point, axis + 1, here):
                yield share * inner, near, seconds, within and inside
        else:
            yield share, (here[0], here[1], here[2], here[3]), below, within


def _ends(sizes: list[float], at: float) -> Iterator[tuple[float, float, bool]]:
    """(weight, size, inside) of the one or two of ascending sizes that surround `at`."""
    place = bisect_left(sizes, at)
    if place == len(sizes):
        yield 1.0, sizes[-1], False
    elif place == 0 or sizes[place] == at:
        yield 1.0, sizes[place], sizes[place] == at
    else:
        low, high = sizes[place - 1], sizes[place]
        part = log((at + BLOCK) / (low + BLOCK)) / log((high + BLOCK) / (low + BLOCK))
        yield 1.0 - part, low, True
        yield part, high, True


@lru_cache(maxsize=8)
def read_times(folder: str, tp: int) -> LayerTimes:
    """The tables of a folder for `tp` tensor-parallel ways.

    Raises ValueError, saying what is wrong with which file.
    """
    dense = _curves(folder, tp, DENSE)
    head = _curves(folder, tp, HEAD)
    tree: Tree = {}
    for values in _rows(folder, tp, ATTENTION):
        *keys, seconds = (float(value) for value in values)
        below = tree
        for key in keys[:-1]:
            inner = below.setdefault(key, {})
            assert isinstance(inner, dict)
            below = inner
        below[keys[-1]] = seconds * 1e-6
    return LayerTimes(dense, head, tree, _uneven(folder, tp))


def _uneven(folder: str, tp: int) -> dict[str, Curve]:
    """Geometric means of uneven over even times, by regime over sequences; {} without a table."""
    if _found(folder, tp, SKEW) is None:
        return {}
    logs: dict[str, dict[float, list[float]]] = {}
    for regime, count, even, uneven in _rows(folder, tp, SKEW):
        own = logs.setdefault(regime, {})
        own.setdefault(float(count), []).append(log(float(uneven) / float(even)))
    return {
        regime: Curve(
            tuple(sorted(own)), tuple(exp(sum(own[n]) / len(own[n])) for n in sorted(own))
        )
        for regime, own in logs.items()
    }


def _curves(folder: str, tp: int, name: str) -> dict[str, Curve]:
    found: dict[str, dict[float, float]] = {}
    for layer, size, seconds in _rows(folder, tp, name):
        found.setdefault(layer, {})[float(size)] = float(seconds) * 1e-6
    return {
        layer: Curve(tuple(sorted(own)), tuple(own[size] for size in sorted(own)))
        for layer, own in found.items()
    }


def _rows(folder: str, tp: int, name: str) -> Iterator[list[str]]:
    """Cells of the columns of a table, all but the first of a named layer finite numbers."""
    file, columns = _file(folder, tp, name), _COLUMNS[name]
    try:
        raw = file.read_bytes()
        text = (gzip.decompress(raw) if file.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as problem:
        raise ValueError(f"`{file.name}` cannot be read: {problem}") from None
    reader = csv.DictReader(io.StringIO(text))
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise ValueError(f"`{file.name}` has no column `{missing[0]}`")
    count = 0
    for row in reader:
        cells = [row[column] or "" for column in columns]
        _check(file.name, reader.line_num, cells, name)
        yield cells
        count += 1
    if not count:
        raise ValueError(f"`{file.name}` has no rows")


def _check(file: str, line: int, cells: list[str], name: str) -> None:
    """Sizes from 0 on (from 1 on for layers), times above 0."""
    numbers = cells if name == ATTENTION else cells[1:]
    for cell in numbers:
        try:
            value = float(cell)
        except ValueError:
            raise ValueError(f"line {line} of `{file}`: `{cell}` is no number") from None
        least = 0.0 if name == ATTENTION and cell is not numbers[-1] else 1e-9
        if not least <= value < float("inf"):
            raise ValueError(f"line {line} of `{file}`: {cell} is no size or time")


def _file(folder: str, tp: int, name: str) -> Path:
    found = _found(folder, tp, name)
    if found is None:
        raise ValueError(f"no `tp{tp}_{name}.csv` in `{Path(folder).name}`")
    return found


def _found(folder: str, tp: int, name: str) -> Path | None:
    paths = (Path(folder) / f"tp{tp}_{name}{suffix}" for suffix in (".csv", ".csv.gz"))
    return next((path for path in paths if path.is_file()), None)
