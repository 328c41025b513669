"""What a part of the accuracy page consists of: figures with what they should be, tables, notes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

MET, MISSED = "met", "missed"


@dataclass(frozen=True)
class Figure:
    """One number with what it must and should be; all are errors but where `more` is better.

    `n` rows stand behind it; `held`: how what is predicted was kept out of every fit. `unit` is
    ``%`` for fractions that are told as per cent, else nothing.
    """

    name: str
    value: float
    n: int
    held: str
    must: float | None = None
    aim: float | None = None
    more: bool = False
    unit: str = "%"

    def verdict(self, target: float | None) -> str:
        """``met`` or ``missed``; nothing where nothing was asked."""
        if target is None:
            return ""
        good = self.value >= target if self.more else self.value <= target
        return MET if good else MISSED

    def told(self, value: float | None) -> str:
        """A value of the figure in words."""
        if value is None:
            return ""
        if self.unit != "%":
            return f"{value:.3f}"
        return f"{value:.1%}" if abs(value) < 0.9995 else f"{value:.0%}"

    def summary(self) -> dict[str, Any]:
        """The figure as JSON."""
        return {
            "name": self.name, "value": self.value, "n": self.n, "held_out": self.held,
            "more_is_better": self.more, "unit": self.unit,
            "must": self.must, "must_verdict": self.verdict(self.must) or None,
            "aim": self.aim, "aim_verdict": self.verdict(self.aim) or None,
        }  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of text under a header, with what it shows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Dotted:
    """One group of points of a picture."""

    name: str
    measured: Floats
    predicted: Floats


@dataclass
class Section:
    """One part of the page. `about` says what was measured and how a prediction comes about.

    `skipped`: what was in the data and could not be used, counted and named. `missing`: why there
    is nothing to tell. `dots` are what the part's picture shows, in `unit`.
    """

    name: str
    title: str
    about: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    missing: str = ""
    dots: list[Dotted] = field(default_factory=list)
    unit: str = "s"

    def summary(self) -> dict[str, Any]:
        """The part as JSON."""
        return {
            "title": self.title, "about": self.about, "missing": self.missing or None,
            "skipped": self.skipped,
            "figures": [figure.summary() for figure in self.figures],
            "tables": [{"title": t.title, "header": list(t.header), "rows": [*map(list, t.rows)]}
                       for t in self.tables],
            "notes": self.notes,
        }  # fmt: skip

    @classmethod
    def restored(cls, name: str, told: Mapping[str, Any]) -> Section:
        """A part from what `summary` gave; its points are gone."""
        figures = [Figure(f["name"], f["value"], f["n"], f["held_out"], f["must"], f["aim"],
                          f["more_is_better"], f["unit"]) for f in told["figures"]]  # fmt: skip
        tables = [Table(t["title"], t["header"], t["rows"]) for t in told["tables"]]
        return cls(name, told["title"], told["about"], figures, tables, told["notes"],
                   told["skipped"], told["missing"] or "")  # fmt: skip


def errors(measured: Floats, predicted: Floats) -> Floats:
    """predicted / measured − 1, (n,)."""
    return predicted / measured - 1.0


def median(values: Floats) -> float:
    """Median of absolute values; not a number without any."""
    return float(np.median(np.abs(values))) if len(values) else float("nan")


def spearman(measured: Floats, predicted: Floats) -> float:
    """Correlation of ranks, equal values sharing the mean of theirs; nan below three points."""
    if len(measured) < 3:
        return float("nan")
    ranks = [_ranks(values) for values in (measured, predicted)]
    if any(np.ptp(rank) == 0.0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - 0.5 * (count - 1))[place], np.float64)


def percent(value: float) -> str:
    """A fraction as per cent with one digit; a dash for none."""
    return "–" if not np.isfinite(value) else f"{value:.1%}"


def signed(value: float) -> str:
    """The same with its sign."""
    return "–" if not np.isfinite(value) else f"{value:+.1%}"


def counted(names: Iterator[str] | Sequence[str]) -> str:
    """``3 of `x`, 1 of `y` `` for a list of names."""
    from collections import Counter

    return ", ".join(f"{n:,} of `{name}`" for name, n in sorted(Counter(names).items()))
