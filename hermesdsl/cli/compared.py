"""A validation as a person reads it: measured, predicted, error, and where the difference sits.

Lays out what `Validation` says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from hermesdsl.cli import figures
from hermesdsl.measure.causes import CAUSES, Part, largest
from hermesdsl.measure.errors import Figure
from hermesdsl.measure.replay import Validation

if TYPE_CHECKING:
    from rich.console import RenderableType

_UNITS = {"makespan": "s", "output": "tok/s", "requests": "req/s"}


def blocks(found: Validation, spec: str, measured: str) -> Iterator[RenderableType]:
    """Everything worth printing about a validation, blank lines included."""
    title = Text(spec, style="bold")
    title.append(f"  against {measured}, {found.offered:,} requests", style="not bold")
    yield title
    latencies = _latencies(found)
    if latencies.row_count:
        yield ""
        yield latencies
    if found.rates:
        yield ""
        yield _rates(found)
    if found.parts:
        yield ""
        yield Text("Where the difference in mean latency sits", style="bold")
        yield from where(found.parts)


def notes(found: Validation) -> Iterator[str]:
    """What to know before believing a figure; every column is told."""
    taken = (f"`{column}`" + f" as {role}" * (not column.startswith(role))
             for column, role in found.used.items())  # fmt: skip
    yield f"columns used: {', '.join(taken)}"
    if found.unused:
        yield f"columns not used: {', '.join(f'`{column}`' for column in found.unused)}"
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


def where(parts: Mapping[str, Part], *, summed: bool = True) -> Iterator[RenderableType]:
    """The parts of a difference, what each follows, and the largest in words."""
    either = any(part.causes["either"] for part in parts.values())
    causes = [cause for cause in CAUSES if cause != "either" or either]
    table = grid("", "measured", "predicted", "difference", *causes)
    for name, part in parts.items():
        cells = [_off(part.causes[cause]) for cause in causes]
        if not part.fit.told:
            cells = [figures.NOTHING if cause in ("device", "host") and cell == "0" else cell
                     for cause, cell in zip(causes, cells, strict=True)]  # fmt: skip
        times = [figures.time(part.figure.measured), figures.time(part.figure.predicted)]
        table.add_row(name, *times, _off(part.difference), *cells)
    yield table
    most = largest(parts, summed=summed)
    if most is not None:
        name, cause = most
        yield Text(f"mostly {name}: {parts[name].words(cause)}")
    yield ""
    yield Text("What the predicted times consist of", style="bold")
    yield _known(parts)


def _off(seconds: float) -> str:
    """A signed length of time; nothing below a nanosecond."""
    if abs(seconds) < 1e-9:
        return "0"
    return f"{'-' if seconds < 0 else '+'}{figures.time(abs(seconds))}"


def _known(parts: Mapping[str, Part]) -> Table:
    names = ("device", "host", "api", "other")
    table = grid("", "device", "host", "API", "other")
    for name, part in parts.items():
        times = [max(part.known[each], 0.0) for each in names]
        table.add_row(name, *(figures.time(time) if time > 1e-9 else "0" for time in times))
    return table
