"""A validation run by run as a person reads it: errors by metric, then those of every run.

Lays out what `RunsValidation` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from hermesdsl.cli import figures
from hermesdsl.cli.compared import grid, percent, size, where
from hermesdsl.measure.headings import METRICS
from hermesdsl.measure.run_by_run import RunsValidation

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Runs that are printed one by one, and metrics of each; a folder or JSON has them all.
_SHOWN = 24
_ACROSS = 8


def blocks(found: RunsValidation, spec: str, measured: str) -> Iterator[RenderableType]:
    """Everything worth printing, blank lines included."""
    count = len(found.runs)
    title = Text(spec, style="bold")
    title.append(f"  against {measured}, {count:,} run{'s' * (count > 1)}", style="not bold")
    yield title
    metrics = _metrics(found)
    if metrics.row_count:
        yield ""
        yield metrics
    if count > 1:
        yield ""
        yield Text("Errors run by run", style="bold")
        yield _rows(found)
    if found.parts:
        yield ""
        yield Text("Where the differences of the means sit", style="bold")
        yield from where(found.parts, summed=False)


def notes(found: RunsValidation) -> Iterator[str]:
    """What to know before believing a figure; every column is told."""
    runs = found.runs
    taken = (f"`{column}`" + f" as {role}" * (not column.startswith(role))
             for column, role in runs.used.items())  # fmt: skip
    yield f"columns used: {', '.join(taken)}"
    if runs.unused:
        left = (f"`{column}`" + f" ({why})" * bool(why) for column, why in runs.unused.items())
        yield f"columns not used: {', '.join(left)}"
    if len(runs) > 1 and not runs.paths and runs.cases[0] is None:
        yield f"no column sets anything: all {len(runs):,} runs are held against one prediction"
    for name, each in found.metrics.items():
        if not each.n:
            yield f"no run has both a measured and a predicted {name}"
    for name in found.suspects:
        yield f"{name} is about 1000 times off in every run: is the unit of its column right?"
    for verdict in sorted({*found.verdicts} - {"stable"}):
        lines = [str(line) for line, own in zip(runs.lines, found.verdicts, strict=True)
                 if own == verdict]  # fmt: skip
        where = f"line{'s' * (len(lines) > 1)} {', '.join(lines[:_SHOWN])}"
        yield f"the predicted system was {verdict} in {where}: waiting adds up small differences"


def _scale(name: str, typical: float) -> figures.Scale | None:
    """How a time prints; None for rates and counts."""
    return figures.time_scale(typical) if METRICS[_metric(name)] == "s" else None


def _metric(name: str) -> str:
    return name.rpartition("(")[2].rstrip(")")


def _metrics(found: RunsValidation) -> Table:
    """A row per metric: its means over the runs, errors, and how well runs are ranked."""
    several = len(found.runs) > 1
    headings = ["mean error", "MAPE", "worst", "line", "rank"] if several else ["error"]
    table = grid("", "", "measured", "predicted", *headings)
    table.columns[1].justify = "left"
    for name, each in found.metrics.items():
        if each.mean is None:
            continue
        scale = _scale(name, max(each.mean.measured, each.mean.predicted))
        shown = figures.rate if scale is None else scale.text
        unit = METRICS[_metric(name)] if scale is None else scale.unit
        cells = [percent(each.bias)]
        if several:
            rank = figures.NOTHING if each.rank is None else f"{each.rank:.3f}"
            line = figures.NOTHING if each.line is None else str(each.line)
            cells += [size(each.mape), percent(each.worst), line, rank]
        table.add_row(name, unit, shown(each.mean.measured), shown(each.mean.predicted), *cells)
    return table


def _rows(found: RunsValidation) -> Table:
    runs = found.runs
    cases = any(case is not None for case in runs.cases)
    metrics = [*found.metrics][:_ACROSS]
    table = grid("line", *(["case"] if cases else []), *runs.paths, *metrics)
    table.columns[0].justify = "right"
    for at in range(min(len(runs), _SHOWN)):
        own = [runs.cases[at] or figures.NOTHING] if cases else []
        errors = [percent(found.error(name, at)) for name in metrics]
        table.add_row(str(runs.lines[at]), *own, *runs.settings[at].values(), *errors)
    if len(runs) > _SHOWN:
        table.add_row("", *[f"… {len(runs) - _SHOWN:,} more"])
    return table
