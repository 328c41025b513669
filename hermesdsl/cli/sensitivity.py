"""``hermes sensitivity``: what a metric follows most, one value at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hermesdsl.cli import figures, options
from hermesdsl.cli.output import Output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hermesdsl.explore.estimate import Estimate
    from hermesdsl.explore.sensitivity import Change, Effect, Sensitivity

#: Characters of the longest bar.
_WIDTH = 24


@click.command("sensitivity", short_help="What a metric follows most, one value at a time.")
@click.argument("spec")
@click.option("--metric", required=True, metavar="M", help="Such as `p99(ttft)`.")
@click.option("--param", "params", multiple=True, metavar="PATH",
              help="Vary this (default: every param with a domain). May be repeated.")  # fmt: skip
@options.settings
@options.case
@click.option("--experiment", metavar="NAME", help="Which one, where a file has several.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N",
              help="Seeds 1 to N (default: those of the experiment).")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="Processes that run points (default: one per core).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON, in SI units.")
@options.quiet
@click.option("--plugin", "plugins", multiple=True, metavar="NAME", help="Load a plug-in.")
def command(
    spec: str,
    metric: str,
    params: tuple[str, ...],
    assignments: tuple[str, ...],
    folders: tuple[str, ...],
    case: str | None,
    experiment: str | None,
    seeds: int | None,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    plugins: tuple[str, ...],
) -> int:
    """Change one value at a time and print by how much a metric follows, largest effect first.

    A value takes its neighbours in its domain, or 10 % less and more; of words, all others. Every
    run has the same seeds as the system as it stands; ± is half of the 95 % interval over them.
    """
    from hermesdsl import api
    from hermesdsl.cli.app import FINE
    from hermesdsl.cli.progress import Count
    from hermesdsl.plugins import load

    output = Output(quiet=quiet)
    load(plugins)
    system = api.compile(
        Path(spec), set=options.assigned(assignments), path=options.existing(folders), case=case
    )
    output.report(system.diagnostics)
    with Count(output.console, shown=not quiet) as progress:
        found = api.sensitivity(
            system, metric, params=params, experiment=experiment,
            workers=workers or len(os.sched_getaffinity(0)),
            seeds=None if seeds is None else range(1, seeds + 1), plugins=plugins,
            progress=progress,
        )  # fmt: skip
    if as_json:
        from hermesdsl.results.write import to_json

        output.write(to_json({"schema": 1, "spec": system.spec, **_data(found)}))
    else:
        output.show(*_blocks(found, system.spec))
        output.gap()
    for text in _notes(found):
        output.note(text)
    return FINE


def _data(found: Sensitivity) -> dict[str, Any]:
    """Everything as JSON; numbers in SI units, effects as shares."""
    return {
        "experiment": found.experiment.name, "seeds": list(found.experiment.seeds),
        "metric": found.metric, "unit": found.unit, "base": _estimate(found.base),
        "effects": [
            {
                "path": each.factor.path, "value": each.factor.value,
                "swing": _estimate(each.swing), "elasticity": _estimate(each.elasticity),
                "changes": [
                    {"text": c.text, "value": c.value, "effect": _estimate(c.effect),
                     "reason": c.reason or None}
                    for c in each.changes
                ],
            }
            for each in found.effects
        ],
    }  # fmt: skip


def _estimate(value: Estimate | None) -> dict[str, Any] | None:
    return None if value is None else {"mean": value.mean, "half": value.half, "n": value.n}


def _blocks(found: Sensitivity, spec: str) -> Iterator[RenderableType]:
    """The metric as it stands, and a bar for each value."""
    from rich.table import Table
    from rich.text import Text

    runs = 1 + sum(len(each.changes) for each in found.effects)
    seeds = len(found.experiment.seeds)
    title = Text(spec, style="bold")
    title.append(
        f"  experiment {found.experiment.name}: {runs} points, "
        + (f"{seeds} seeds each" if seeds > 1 else f"seed {found.experiment.seeds[0]}"),
        style="not bold",
    )
    yield title
    yield ""
    base, scale = found.base, figures.time_scale(found.base.mean)
    factor, unit = (scale.factor, scale.unit) if found.unit == "s" else (1.0, found.unit)
    more = "" if base.half is None else f" ±{figures.quantity(base.half, unit, factor)}"
    yield f"{found.metric}  {figures.quantity(base.mean, unit, factor)}{more} as it stands"
    yield ""
    table = Table(box=None, padding=(0, 0, 0, 2), pad_edge=False, header_style="dim")
    for heading in ("", "value", "lower", "", "higher", "", "elasticity"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    table.add_column("swing", justify="left", no_wrap=True)
    widest = max((each.swing.mean for each in found.effects if each.swing), default=0.0)
    for each in found.effects:
        for row in _rows(each, widest):
            table.add_row(*(Text(cell) for cell in row))
    yield table


def _rows(each: Effect, widest: float) -> Iterator[list[str]]:
    """One row for a number, one per value for words."""
    swing = each.swing
    bar = "#" * max(1, round(_WIDTH * swing.mean / widest)) if swing and swing.mean > 0 else ""
    size = "" if swing is None else f"{bar} {_percent(swing, sign=False)}".strip()
    elasticity = figures.NOTHING if each.elasticity is None else _elastic(each.elasticity)
    now = each.factor.value
    head = [each.factor.path, each.factor.shown]
    if isinstance(now, str):
        for number, change in enumerate(each.changes):
            first = number == 0
            yield [*(head if first else ["", ""]), "", "", *_cells(change),
                   elasticity if first else "", size if first else ""]  # fmt: skip
        return
    low = next((c for c in each.changes if not isinstance(c.value, str) and c.value < now), None)
    high = next((c for c in each.changes if not isinstance(c.value, str) and c.value > now), None)
    yield [*head, *_cells(low), *_cells(high), elasticity, size]


def _cells(change: Change | None) -> list[str]:
    if change is None:
        return [figures.NOTHING, ""]
    return [change.text, figures.NOTHING if change.effect is None else _percent(change.effect)]


def _percent(value: Estimate, *, sign: bool = True) -> str:
    mean = f"{100.0 * value.mean:{'+' if sign else ''}.1f}%"
    return mean if value.half is None else f"{mean} ±{100.0 * value.half:.1f}"


def _elastic(value: Estimate) -> str:
    mean = f"{value.mean:+.2f}"
    return mean if value.half is None else f"{mean} ±{value.half:.2f}"


def _notes(found: Sensitivity) -> Iterator[str]:
    """What did not run, and what seeds cannot tell."""
    for each in found.effects:
        for change in each.changes:
            if change.reason:
                yield f"{each.factor.path} = {change.text} has no result: {change.reason}"
    if found.base.half is None:
        yield "one seed says nothing of chance: `--seeds 5` gives intervals"
        return
    doubtful = [
        each.factor.path
        for each in found.effects
        if each.swing and each.swing.half and each.swing.half > each.swing.mean
    ]
    if doubtful:
        yield f"the effect of {', '.join(doubtful)} is smaller than chance: more seeds would tell"
