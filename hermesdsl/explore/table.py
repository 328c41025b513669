"""The table of a sweep: one row per point, the same bytes whatever ran it.

A column per parameter and metric says its unit in its name: ``load.rate [req/s]``,
``p99(ttft) [s]``. Knows no terminal.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from hermesdsl.explore.job import DONE
from hermesdsl.explore.metrics import named
from hermesdsl.explore.outcome import Outcome
from hermesdsl.explore.points import Parameter
from hermesdsl.files import write_whole
from hermesdsl.graph.types import Experiment
from hermesdsl.results.definitions import RATES, SERIES
from hermesdsl.results.slo import unit_of

__all__ = ["Columns", "columns", "shown", "unit", "write"]

#: Name of a column → its cells, one per point; None where there is nothing.
Columns: TypeAlias = "dict[str, list[Any]]"


def columns(
    found: Sequence[Outcome], parameters: Sequence[Parameter], experiment: Experiment
) -> Columns:
    """All columns: point, status, reason, parameters, seeds, verdict, metrics, requirements.

    A metric is the mean over the seeds that have it, in SI units; with several seeds `±` behind
    it is half of its 95 % confidence interval. A requirement is true, false, or None untold.
    """
    table: Columns = {
        "point": [each.point.index for each in found],
        "status": [each.status for each in found],
        "reason": [each.reason or None for each in found],
    }
    for parameter in parameters:
        values = [shown(each.point.values[parameter.path], parameter.scale) for each in found]
        table[_titled(parameter.path, parameter.unit)] = values
    done = [[row for row in each.rows if row["status"] == DONE] for each in found]
    table["seeds"] = [len(rows) for rows in done]
    table["verdict"] = [each.verdict or None for each in found]
    units = _units(experiment)
    rows = [row for each in done for row in each]
    for name in dict.fromkeys(name for row in rows for name in row.get("metrics", ())):
        known = [each.metrics.get(name) for each in found]
        title = _titled(name, units.get(name, ""))
        table[title] = [each and each.mean for each in known]
        if len(experiment.seeds) > 1:
            table[f"{title} ±"] = [each and each.half for each in known]
    for number, requirement in enumerate(experiment.requirements):
        table[requirement.text] = [
            each.verdicts[number] if each.verdicts else None for each in found
        ]
    return table


def shown(value: float | str, scale: float) -> int | float | str:
    """A swept value in its unit, a whole number as such."""
    if isinstance(value, str):
        return value
    number = float(f"{value / scale:.15g}")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def unit(experiment: Experiment, name: str) -> str:
    """SI unit of a metric as written."""
    return _units(experiment).get(name, "")


def _units(experiment: Experiment) -> Mapping[str, str]:
    units = {f"{each}({name})": entry.unit for name, entry in SERIES.items()
             for each in ("mean", "p50", "p90", "p95", "p99", "max")}  # fmt: skip
    units |= {name: entry.unit for name, entry in RATES.items()}
    units |= {"energy_per_token": "J/tok", "cost_per_token": "$/tok"}
    return units | {text: unit_of(metric) for text, metric in named(experiment).items()}


def _titled(name: str, unit: str) -> str:
    return name if unit in ("", "1") else f"{name} [{unit}]"


def write(
    folder: Path, table: Columns, front: Columns | None = None, picture: str | None = None
) -> list[str]:
    """Store ``sweep.csv``, and ``sweep.parquet`` where pyarrow is there; their names.

    `front` becomes ``pareto.csv`` and `picture` ``front.svg``; without one that of an earlier sweep
    is removed. Each is written beside its place and renamed. Raises OSError.
    """
    write_whole(folder / "sweep.csv", _csv(table))
    names = ["sweep.csv"]
    more = {"pareto.csv": None if front is None else _csv(front),
            "front.svg": None if picture is None else picture.encode()}  # fmt: skip
    for name, data in more.items():
        if data is not None:
            write_whole(folder / name, data)
            names.append(name)
        else:
            (folder / name).unlink(missing_ok=True)
    if find_spec("pyarrow") is None:
        return names
    import pandas as pd

    packed = io.BytesIO()
    alike = {name: _alike(cells) for name, cells in table.items()}
    pd.DataFrame(alike).to_parquet(packed, index=False)
    write_whole(folder / "sweep.parquet", packed.getvalue())
    return [*names, "sweep.parquet"]


def _alike(cells: list[Any]) -> list[Any]:
    """Cells of one type: numbers beside words, as of `auto` and 4, become words."""
    if not any(isinstance(cell, str) for cell in cells):
        return cells
    return [cell if cell is None else str(cell) for cell in cells]


def _csv(table: Columns) -> bytes:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(table)
    for row in zip(*table.values(), strict=True):
        lines.writerow(_cell(value) for value in row)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
