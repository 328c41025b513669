"""A validation as a person reads it: measured, predicted, error, and where the difference sits.

Lays out what `Validation` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from hermesdsl.cli import figures
from hermesdsl.measure.errors import Figure
from hermesdsl.measure.replay import PARTS, Validation

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNITS = {"makespan": "s", "output": "tok/s", "requests": "req/s"}


def blocks(found: Validation, spec: str, measured: str) -> Iterator[RenderableType]:
    """Everything worth printing about a validation, blank lines included."""
    title = Text(spec, style="bold")
    title.append(f"  against {measured}, {found.offered:,} requests", style="not bold")
    yield title
    yield ""
    yield _latencies(found)
    if found.rates:
        yield ""
        yield _rates(found)
    if found.parts:
        yield ""
        yield Text("Where the difference in mean latency sits", style="bold")
        yield _parts(found)


def notes(found: Validation) -> Iterator[str]:
    """What to know before believing a figure."""
    if found.completed < found.offered:
        missing = found.offered - found.completed
        yield f"{missing:,} of {found.offered:,} requests do not complete in the prediction"
    if found.verdict != "stable":
        yield (f"the predicted system was {found.verdict}: waiting adds up small differences in "
               "speed")  # fmt: skip
    for role, each in found.latencies.items():
        if each.n == 0:
            yield f"no request has both a measured and a predicted {role}"


def percent(error: float | None) -> str:
    """A signed error: ``+3.1%``."""
    return figures.NOTHING if error is None else f"{100.0 * error:+.1f}%"


def size(error: float | None) -> str:
    """The size of an error: ``3.1%``."""
    return figures.NOTHING if error is None else f"{100.0 * error:.1f}%"


def grid(*headings: str) -> Table:
    """A table without lines, numbers to the right; the first column says what a row is."""
    table = Table(box=None, padding=(0, 0, 0, 2), pad_edge=False, header_style="dim")
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _latencies(found: Validation) -> Table:
    table = grid("", "", "measured", "predicted", "error", "MAPE paired", "MAPE sorted")
    table.columns[1].justify = "left"
    for role, each in found.latencies.items():
        for number, (name, figure) in enumerate(each.figures.items()):
            scale = figures.time_scale(max(figure.measured, figure.predicted))
            first = number == 0
            table.add_row(
                role if first else "",
                f"{name} {scale.unit}",
                scale.text(figure.measured),
                scale.text(figure.predicted),
                percent(figure.error),
                size(each.paired) if first else "",
                size(each.ordered) if first else "",
            )
    return table


def _rates(found: Validation) -> Table:
    table = grid("", "measured", "predicted", "error")
    for name, figure in found.rates.items():
        _row(table, f"{name} {_UNITS[name]}", figure)
    for name, figure in found.present.items():
        _row(table, f"in service, {name}", figure)
    return table


def _row(table: Table, name: str, figure: Figure) -> None:
    table.add_row(name, figures.rate(figure.measured), figures.rate(figure.predicted),
                  percent(figure.error))  # fmt: skip


def _parts(found: Validation) -> Table:
    table = grid("", "measured", "predicted", "difference", "")
    table.columns[4].justify = "left"
    for name, figure in found.parts.items():
        off = figure.predicted - figure.measured
        sign = "-" if off < 0 else "+"
        table.add_row(name, figures.time(figure.measured), figures.time(figure.predicted),
                      f"{sign}{figures.time(abs(off))}", PARTS.get(name, ""))  # fmt: skip
    return table
