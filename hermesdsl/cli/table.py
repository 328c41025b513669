"""A result as a person reads it: latencies, rates, facts, requirements, verdict, definitions.

Lays out what `Result` says for a terminal of 80 columns or more. No frames: blanks separate
columns and blocks, so that the same text reads well in a pipe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from hermesdsl.cli import figures, spending
from hermesdsl.results.definitions import DEFINITIONS, SERIES

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hermesdsl.results import Result, Verdict

_STATISTICS = ("mean", "p50", "p90", "p95", "p99", "max")
#: Columns from which the numbers of observations find room.
_WIDE = 100
#: Series shown for each workload and class too; `--json` has all of them.
_BY_GROUP = ("ttft", "tpot", "e2e")
#: Rates, their headings and units; the last two mean something only with bounds to meet.
_RATES = (
    ("request_throughput", "requests", "req/s"),
    ("output_throughput", "output", "tok/s"),
    ("goodput", "goodput", "req/s"),
    ("attainment", "attainment", "of offered"),
)
_OF_BOUNDS = ("goodput", "attainment")
#: A pipeline of no more than prompt and answer says nothing by stage.
_PLAIN_STAGES = 2
_RUNGS = {"measured": "measured", "calibrated": "calibrated", "datasheet": "from data sheets"}

_VERDICTS = {
    "stable": ("green", "the system kept up with what arrived"),
    "backlogged": (
        "yellow",
        "long after the last arrival it was still working off a queue; its latencies depend on "
        "the length of the run. Offer less, run longer to see whether it settles, or add engines.",
    ),
    "overloaded": (
        "bold red",
        "requests arrived faster than they were served, so latencies grow with the length of the "
        "run and say little. Offer less, or add engines.",
    ),
}


def blocks(result: Result, width: int, *, definitions: bool = True) -> Iterator[RenderableType]:
    """Everything worth printing about a result in `width` columns, blank lines included."""
    data = result.summary()
    groups = _groups(data)
    rates = [entry for entry in _RATES if entry[0] not in _OF_BOUNDS or _has_bounds(result)]
    yield _title(data)
    yield ""
    yield _latencies(data["metrics"], groups, narrow=width < _WIDE)
    yield ""
    yield _rates(data["metrics"], groups, rates)
    yield ""
    if len(data["stages"]) > _PLAIN_STAGES:
        yield _stages(data["stages"])
        yield ""
        yield _clients(data["clients"])
        yield ""
    yield _facts(data)
    if result.requirements:
        yield ""
        yield _requirements(result.requirements)
    yield ""
    yield _verdict(result.verdict)
    if definitions:
        yield ""
        yield _definitions([*SERIES, *(name for name, _, _ in rates)])


def _title(data: Mapping[str, Any]) -> Text:
    title = Text(data["spec"], style="bold")
    title.append(f"  experiment {data['experiment']}, seed {data['seed']}", style="not bold")
    return title


def _groups(data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Metrics of each workload and class that tells more than all requests together do."""
    everything = data["metrics"]
    found: dict[str, Mapping[str, Any]] = {}
    for sort in ("workload", "class"):
        mine = {name: by for name, by in data["by"].items() if name.startswith(f"{sort}.")}
        if len(mine) > 1 or any(by != everything for by in mine.values()):
            found |= {name.partition(".")[2]: by for name, by in mine.items()}
    return found


def _has_bounds(result: Result) -> bool:
    if result.measures is None:
        return True
    known = result.measures.classes
    return any(known[name].bounds for name in result.measures.run.classes if name in known)


# --- numbers -----------------------------------------------------------------------------------


def _grid(*, heading: bool) -> Table:
    return Table(
        box=None, padding=(0, 0, 0, 2), pad_edge=False, show_header=heading, header_style="dim"
    )


def _name_column(table: Table, heading: str = "") -> None:
    table.add_column(heading, no_wrap=True, overflow="ellipsis")


def _latencies(
    metrics: Mapping[str, Any], groups: Mapping[str, Mapping[str, Any]], *, narrow: bool
) -> Table:
    table = _grid(heading=True)
    _name_column(table, "latency")
    for statistic in _STATISTICS:
        table.add_column(statistic, justify="right", no_wrap=True, min_width=6)
    table.add_column("", style="dim", no_wrap=True)
    if not narrow:
        table.add_column("n", justify="right", style="dim", no_wrap=True)
    for name in SERIES:
        scale = figures.time_scale(metrics[name]["mean"])
        rows = {name: metrics}
        if name in _BY_GROUP:
            rows |= {f"  {group}": by for group, by in groups.items()}
        for title, of in rows.items():
            cells = [*_statistics(of[name], scale), f"{of[name]['n']:,}"]
            style = "bold" if of is metrics else ""
            table.add_row(Text(title, style=style), *cells[: len(table.columns) - 1])
    return table


def _statistics(entry: Mapping[str, Any], scale: figures.Scale) -> list[str]:
    return [*(scale.text(entry[statistic]) for statistic in _STATISTICS), scale.unit]


def _rates(
    metrics: Mapping[str, Any],
    groups: Mapping[str, Mapping[str, Any]],
    rates: list[tuple[str, str, str]],
) -> Table:
    table = _grid(heading=True)
    _name_column(table, "rate")
    for _, heading, unit in rates:
        table.add_column(f"{heading}\n{unit}", justify="right", no_wrap=True)
    rows = {"all requests": metrics, **{f"  {name}": by for name, by in groups.items()}}
    for title, of in rows.items():
        cells = [
            figures.share(of[name]["value"])
            if name == "attainment"
            else figures.rate(of[name]["value"])
            for name, _, _ in rates
        ]
        table.add_row(Text(title, style="bold" if of is metrics else ""), *cells)
    return table


# --- stages and clients ------------------------------------------------------------------------


def _stages(stages: Mapping[str, Any]) -> Table:
    """Mean and 99th percentile of the times at each stage."""
    table = _grid(heading=True)
    _name_column(table, "stage")
    for heading in ("queue\nmean", "p99", "service\nmean", "p99", "KV moved\nmean", "p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("visits", justify="right", style="dim", no_wrap=True)
    for path, entry in stages.items():
        cells = [
            figures.time(entry[name][statistic])
            for name in ("queue", "service", "moved")
            for statistic in ("mean", "p99")
        ]
        table.add_row(Text(path, style="bold"), *cells, f"{entry['n']:,}")
    return table


def _clients(clients: Mapping[str, Any]) -> Table:
    """Means over the members of each vector."""
    table = _grid(heading=True)
    _name_column(table, "client")
    table.add_column("busy", justify="right", no_wrap=True)
    table.add_column("waiting", justify="right", no_wrap=True)
    table.add_column("present", justify="right", no_wrap=True)
    down = any("availability" in entry for entry in clients.values())
    if down:
        table.add_column("up", justify="right", no_wrap=True)
    table.add_column("", style="dim", no_wrap=True)
    vectors: dict[str, list[Mapping[str, Any]]] = {}
    for path, entry in clients.items():
        vectors.setdefault(re.sub(r"\[\d+\]$", "", path), []).append(entry)
    for name, members in vectors.items():
        busy = [each["utilisation"] for each in members if each["utilisation"] is not None]
        cells = [
            figures.share(sum(busy) / len(busy)) if busy else figures.NOTHING,
            *(
                figures.rate(sum(each[number] for each in members) / len(members))
                for number in ("waiting", "present")
            ),
        ]
        if down:
            up = sum(each.get("availability", 1.0) for each in members) / len(members)
            cells.append(figures.share(up))
        title = f"{name} x{len(members)}" if len(members) > 1 else name
        table.add_row(Text(title, style="bold"), *cells, "each" if len(members) > 1 else "")
    return table


# --- facts -------------------------------------------------------------------------------------


def _facts(data: Mapping[str, Any]) -> Table:
    table = _grid(heading=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    table.add_row("requests", _requests(data))
    table.add_row("tokens", _tokens(data["tokens"]))
    table.add_row("time", _time(data))
    outages = _outages({**data.get("broken", {}), **data["clients"]})
    if outages:
        table.add_row("down", outages)
    for name, text in (("energy", spending.energy), ("cost", spending.cost)):
        if data.get(name) is not None:
            table.add_row(name, text(data[name]))
    if spending.missing(data):
        table.add_row("figures", Text(spending.missing(data), style="dim"))
    provenance = data["provenance"]
    if provenance is not None:
        shares = [
            f"{figures.share(provenance[rung])} {words}"
            for rung, words in _RUNGS.items()
            if provenance.get(rung)
        ]
        table.add_row("basis", ", ".join(shares) or "none were asked for")
    return table


def _requests(data: Mapping[str, Any]) -> Text:
    counts = data["requests"]
    text = Text(f"{counts['offered']:,} offered, {counts['completed']:,} completed")
    for outcome in ("refused", "timed_out", "unfinished"):
        if counts.get(outcome):
            text.append(", ")
            text.append(f"{counts[outcome]:,} {outcome.replace('_', ' ')}", style="yellow")
    if retries := counts.get("retries"):
        text.append(f", {retries:,} retr{'y' if retries == 1 else 'ies'}")
    return text


def _outages(things: Mapping[str, Any]) -> str:
    """What was down, and for how much of the run; empty if nothing was."""
    return ", ".join(
        f"{path} {entry['outages']:,} x, {figures.duration(entry['down_s'])} in all"
        for path, entry in things.items()
        if entry.get("outages")
    )


def _tokens(tokens: Mapping[str, int]) -> str:
    parts = [f"{tokens['prompt']:,} prompt"]
    if tokens["cached"]:
        parts.append(f"{tokens['cached']:,} from caches")
    parts.append(f"{tokens['output']:,} output")
    if tokens["generated"] != tokens["output"]:
        parts.append(f"{tokens['generated']:,} generated")
    return ", ".join(parts)


def _time(data: Mapping[str, Any]) -> str:
    simulated = f"{figures.duration(data['simulated_s'])} simulated"
    if data["horizon"] == "cut":
        simulated += " (cut off there)"
    makespan = f"makespan {figures.duration(data['makespan_s'])}"
    return f"{simulated}, {makespan}, computed in {figures.duration(data['wall_s'])}"


# --- verdicts ----------------------------------------------------------------------------------


def _requirements(verdicts: tuple[Verdict, ...]) -> Table:
    words = {True: ("met", "green"), False: ("missed", "bold red"), None: ("undefined", "yellow")}
    table = _grid(heading=True)
    table.add_column("require", no_wrap=True)
    table.add_column("", overflow="fold")
    table.add_column("found", justify="right", no_wrap=True)
    for each in verdicts:
        word, style = words[each.met]
        value = figures.quantity(each.value, each.shown_unit, each.scale)
        text = Text(each.text)
        if each.message and each.met is False:
            text.append(f"\n{each.message}", style="dim")
        table.add_row(Text(word, style=style), text, Text(value, style=style))
    return table


def _verdict(verdict: str) -> Table:
    style, sentence = _VERDICTS[verdict]
    table = _grid(heading=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(Text(verdict, style=style), sentence)
    return table


def _definitions(names: list[str]) -> Table:
    table = _grid(heading=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold", style="dim")
    for name in names:
        table.add_row(name, DEFINITIONS[name].text)
    return table
