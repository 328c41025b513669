"""``hermes run --explain``: where the time of the slowest requests went, as a person reads it.

Lays out what `results.breakdown.tail` says, and the slowest request stay by stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from hermesdsl.cli import figures
from hermesdsl.results.attribution import KINDS
from hermesdsl.results.metrics import Measures

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hermesdsl.results import Result


def blocks(result: Result, level: str) -> Iterator[RenderableType]:
    """The tail from `level` on beside all requests; then the slowest of all."""
    split = result.summary()["attribution"]
    if split is None:
        yield Text("No measured request completed, so there is no time to explain.")
        return
    tail, whole = split[level], split["mean"]
    yield _title(tail, whole, level)
    yield ""
    yield _shares(tail, whole)
    if isinstance(result.measures, Measures):
        yield ""
        yield from _slowest(result.measures)


def _title(tail: Mapping[str, Any], whole: Mapping[str, Any], level: str) -> Text:
    text = Text("where the time went", style="bold")
    what = "the longest" if level == "max" else f"the {level} of e2e"
    least = figures.duration(tail["from"])
    text.append(
        f"  {tail['n']:,} of {whole['n']:,} requests took {least} ({what}) or longer",
        style="not bold",
    )
    return text


def _shares(tail: Mapping[str, Any], whole: Mapping[str, Any]) -> Table:
    """One row per stage and kind that took any time, those that matter most in the tail first."""
    table = Table(box=None, padding=(0, 0, 0, 2), pad_edge=False, header_style="dim")
    table.add_column("stage", no_wrap=True, overflow="ellipsis")
    table.add_column("time spent", no_wrap=True)
    for heading in ("these\nmean", "share", "all\nmean", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = [
        (tail["stages"][stage][kind], whole["stages"][stage][kind], stage, kind)
        for stage in tail["stages"]
        for kind in KINDS
    ]
    rows = [row for row in rows if row[0] > 0 or row[1] > 0]
    for slow, mean, stage, kind in sorted(rows, key=lambda row: (-row[0], -row[1])):
        cells = [
            figures.time(slow),
            figures.share(tail["shares"][stage][kind]),
            figures.time(mean),
            figures.share(whole["shares"][stage][kind]),
        ]
        table.add_row(Text(stage, style="bold"), kind, *cells)
    total = [figures.time(tail["e2e"]), "100%", figures.time(whole["e2e"]), "100%"]
    table.add_row("e2e", "", *total)
    return table


def _slowest(measures: Measures) -> Iterator[RenderableType]:
    """The stays of the measured request that took longest, one line each."""
    took = np.where(measures.measured, measures.column("e2e"), np.nan)
    request = int(np.nanargmax(took))
    columns = measures.run.requests
    arrival = float(columns["arrival_s"][request])
    text = Text("the slowest", style="bold")
    text.append(
        f"  request {request} of {measures.run.workloads[columns['workload'][request]]}: "
        f"{columns['context_tokens'][request]:,} tokens in, {columns['visible'][request]:,} out; "
        f"arrived at {figures.duration(arrival)}, took {figures.duration(float(took[request]))}",
        style="not bold",
    )
    yield text
    yield ""
    table = Table(box=None, padding=(0, 0, 0, 2), pad_edge=False, header_style="dim")
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("stage", no_wrap=True, overflow="ellipsis")
    table.add_column("at", no_wrap=True)
    table.add_column("")
    for stay in measures.attribution.path(request):
        title = stay.stage if not stay.turn else f"{stay.stage}, pass {stay.turn + 1}"
        parts = [
            f"{figures.duration(seconds)} {kind}"
            for kind, seconds in zip(KINDS, stay.seconds, strict=True)
            if seconds > 0
        ]
        after = figures.time(stay.enter_s - arrival)
        table.add_row(
            after, Text(title, style="bold"), stay.client, ", ".join(parts) or "nothing to do"
        )
    yield table
