"""The points of a sweep as a person reads them: the answer first, then a row for each.

Lays out what `Sweep` says. A row shows the metrics that goals and objective name; the files have
all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from hermesdsl.cli import figures
from hermesdsl.explore import table as tables
from hermesdsl.explore.metrics import named, plain, written
from hermesdsl.explore.outcome import Outcome, close, sought, unsettled
from hermesdsl.graph.types import Experiment, Metric

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hermesdsl.explore import Sweep
    from hermesdsl.explore.estimate import Estimate

#: Rows, and reasons of points left out, printed at most; the files hold all.
_ROWS, _REASONS = 40, 5
#: Shown where an experiment names no metric at all.
_USUAL = ("p99(ttft)", "p99(tpot)", "output_throughput")


@dataclass(frozen=True)
class _Shown:
    """A metric as a column: its name, and the unit and scale (1 `unit` in SI) of its numbers."""

    name: str
    unit: str
    scale: float

    def text(self, value: Estimate | None) -> str:
        """The mean, and half its confidence interval if there is one."""
        if value is None:
            return figures.NOTHING
        mean = figures.rate(value.mean / self.scale)
        return mean if value.half is None else f"{mean} ±{figures.rate(value.half / self.scale)}"


def blocks(found: Sweep, spec: str) -> Iterator[RenderableType]:
    """Everything worth printing about a sweep, blank lines included."""
    experiment = found.experiment
    shown = _columns(experiment, found.points)
    yield _title(found, spec)
    if experiment.objectives:
        yield ""
        yield _answer(found, shown)
    if _ordered(found):
        yield ""
        yield _rows(found, shown)
    if experiment.requirements:
        yield ""
        yield from _goals(found)


def notes(found: Sweep) -> Iterator[str]:
    """Sentences worth reading beside the table."""
    if found.interrupted:
        yield f"interrupted: {len(found.points)} of {found.total} points have results"
    if found.resumed:
        runs = "run was" if found.resumed == 1 else "runs were"
        yield f"{found.resumed:,} {runs} there already"
    for status in ("skipped", "pruned", "failed"):
        reasons = Counter(each.reason for each in found.points if each.status == status)
        for reason, count in reasons.most_common(_REASONS):
            yield f"{_points(count)} {status}: {reason}"
        if len(reasons) > _REASONS:
            rest = sum(reasons.values()) - sum(n for _, n in reasons.most_common(_REASONS))
            yield f"{_points(rest)} {status} for other reasons"
    for name, apart in unsettled(found.experiment, found.points):
        column = _scaled(found.experiment, name, [abs(apart.mean) + (apart.half or 0.0)])
        yield (
            f"the points that are furthest apart in {name} differ by {column.text(apart)} "
            f"{column.unit}{_paired(apart)}: more seeds would tell"
        )
    doubt = close(found.experiment, found.points)
    if doubt is not None:
        name, apart = doubt
        column = _scaled(found.experiment, name, [abs(apart.mean) + (apart.half or 0.0)])
        yield (
            f"the best point and the next best differ by {column.text(apart)} {column.unit} in "
            f"{name}{_paired(apart)}: more seeds would tell"
        )
    most = max((value.n for each in found.points for value in each.metrics.values()), default=1)
    if most > 1:
        yield f"± is half the 95% interval of a mean over {most} seeds (Student's t)"
    if len(_ordered(found)) > _ROWS:
        yield f"{_ROWS} of {_points(len(_ordered(found)))} shown; `--out` stores all"


def _paired(apart: Estimate) -> str:
    """What a difference is a mean of."""
    return f", seed by seed over {apart.n} seeds"


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count:,} points"


def _title(found: Sweep, spec: str) -> Text:
    title = Text(spec, style="bold")
    seeds = len(found.experiment.seeds)
    each = f", {seeds} seeds each" if seeds > 1 else f", seed {found.experiment.seeds[0]}"
    title.append(f"  experiment {found.experiment.name}: {_points(found.total)}{each}",
                 style="not bold")  # fmt: skip
    return title


# --- columns -------------------------------------------------------------------------------


def _columns(experiment: Experiment, found: Sequence[Outcome]) -> list[_Shown]:
    names = list(named(experiment)) or list(_USUAL)
    return [
        _scaled(experiment, name, [each.metrics[name].mean for each in found
                                   if name in each.metrics])
        for name in names
    ]  # fmt: skip


def _scaled(experiment: Experiment, name: str, values: Sequence[float]) -> _Shown:
    """In the unit of the goal that names the metric, else in one that suits the values."""
    for requirement in experiment.requirements:
        goal = requirement.goal
        metrics = [written(plain(o)) for o in goal.operands if isinstance(o, Metric)]
        if name in metrics and goal.unit not in ("", "1", "$/tok"):
            return _Shown(name, goal.unit, goal.scale)
    unit = tables.unit(experiment, name)
    if unit == "s":
        scale = figures.time_scale(sorted(values)[len(values) // 2] if values else None)
        return _Shown(name, scale.unit, scale.factor)
    if unit == "$/tok":
        return _Shown(name, "$/1e6 tok", 1e-6)
    return _Shown(name, "%", 0.01) if unit in ("", "1") else _Shown(name, unit, 1.0)


# --- the answer, the rows and the goals ----------------------------------------------------------


def _answer(found: Sweep, shown: Sequence[_Shown]) -> Text:
    """The best point, or the front, or that there is none."""
    aims = [f"{'most' if each.up else 'least'} {each.text}" for each in found.experiment.objectives]
    if not found.front:
        early = " so far" if found.interrupted or found.broken is not None else ""
        return Text(f"no point meets every goal{early}", style="bold red")
    if found.best is None:
        met = sum(each.met for each in found.points)
        text = Text(f"{', '.join(aims)}: ", style="bold green")
        return text.append(f"{len(found.front)} of {_points(met)} that meet every goal are best, "
                           "each in its way (*)", style="not bold")  # fmt: skip
    text = Text(f"{aims[0]}: ", style="bold green")
    where = ", ".join(f"{path} = {value}" for path, value in found.best.point.texts.items())
    text.append(where or "the only point", style="bold")
    numbers = [f"{column.name} {column.text(found.best.metrics.get(column.name))} {column.unit}"
               for column in shown]  # fmt: skip
    text.append(f"  ({'; '.join(numbers)})", style="not bold")
    return text


def _rows(found: Sweep, shown: Sequence[_Shown]) -> Table:
    table = Table(box=None, padding=(0, 0, 0, 2), pad_edge=False, header_style="dim")
    table.add_column("point", justify="right", no_wrap=True, style="dim")
    for parameter in found.parameters:
        table.add_column(f"{parameter.path}\n{parameter.unit}", justify="right", no_wrap=True)
    for column in shown:
        table.add_column(f"{column.name}\n{column.unit}", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    if found.experiment.requirements:
        table.add_column("goals", no_wrap=True)
    for each in _ordered(found)[:_ROWS]:
        best = each is found.best or (found.best is None and each in found.front)
        star = "*" if best and found.best is None else ""
        cells = [f"{star}{each.point.index}"]
        cells += [
            str(tables.shown(each.point.values[parameter.path], parameter.scale))
            for parameter in found.parameters
        ]
        cells += [column.text(each.metrics.get(column.name)) for column in shown]
        cells.append(each.verdict if each.status == "done" else each.status)
        if found.experiment.requirements:
            cells.append(_met(each))
        table.add_row(*(Text(cell) for cell in cells), style="bold" if best else "")
    return table


def _ordered(found: Sweep) -> list[Outcome]:
    """Those that ran or failed; with an objective those that meet the goals first, best first.

    With several the front comes before all others.
    """
    experiment = found.experiment
    tried = [each for each in found.points if each.status not in ("skipped", "pruned")]
    if not experiment.objectives:
        return tried
    first = experiment.objectives[0]
    sign = -1.0 if first.up else 1.0
    front = {each.point.index for each in found.front} if found.best is None else set()

    def rank(each: Outcome) -> tuple[bool, bool, bool, float]:
        value = sought(first, each)
        return (each.point.index not in front, not each.met, each.status != "done",
                0.0 if value is None else sign * value)  # fmt: skip

    return sorted(tried, key=rank)


def _met(each: Outcome) -> str:
    """``met``, or the numbers of the goals that are missed or cannot be told."""
    if each.status != "done":
        return ""
    parts = []
    for word, verdict in (("misses", False), ("cannot tell", None)):
        numbers = [f"[{n}]" for n, v in enumerate(each.verdicts, 1) if v is verdict]
        parts += [f"{word} {' '.join(numbers)}"] if numbers else []
    return ", ".join(parts) or "met"


def _goals(found: Sweep) -> Iterator[Text]:
    """A line for each requirement: at how many points it is met."""
    done = [each for each in found.points if each.status == "done"]
    for number, requirement in enumerate(found.experiment.requirements):
        met = sum(each.verdicts[number] is True for each in done)
        style = "green" if done and met == len(done) else "yellow" if met else "red"
        text = Text(f"[{number + 1}] ", style="dim")
        text.append(requirement.text, style="not dim")
        said = f"met at {met:,} of {_points(len(done))}" if done else "no point was run whole"
        text.append(f"  {said}", style=style)
        if requirement.message:
            text.append(f"  ({requirement.message})", style="not dim")
        yield text
