"""The outcome of one run: the summary that is printed and stored, and the tables behind it.

Knows what `summary.json` holds. Knows not how files are written, nor how a terminal shows them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.graph.types import Goal, Metric, RequestClass, Requirement
from hermesdsl.results.metrics import PERCENTILES, RATES, SERIES, Measures
from hermesdsl.results.saturation import verdict
from hermesdsl.results.slo import Verdict, check, evaluate, measure
from hermesdsl.results.tables import request_rows
from hermesdsl.sim.record import REFUSED, Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SCHEMA", "Result", "summarise"]

Json: TypeAlias = "dict[str, Any]"

#: Version of `summary.json`.
SCHEMA = 1

_STATISTICS = ("mean", *PERCENTILES, "max")


@dataclass(frozen=True, eq=False)
class Result:
    """One point, one seed. `requirements` in the order of the experiment.

    `notes` are sentences worth reading beside the numbers (formats recognised, rows left out,
    censoring). `measures` is there for a run of this process, `folder` for a stored one.
    """

    data: Mapping[str, Any]
    requirements: tuple[Verdict, ...] = ()
    notes: tuple[str, ...] = ()
    measures: Measures | None = None
    folder: Path | None = None

    def summary(self) -> Json:
        """What `summary.json` holds, all in SI units.

        Of a series without observations every statistic is null and `n` 0; a series says
        ``censored`` how many measured requests were cut off before their value was known, if any
        were. A rate is null without a window. ``attribution``, and ``provenance`` if no cost
        model told it, are null. ``by`` has one entry per workload and per named class.
        ``requests`` and ``tokens`` count the whole run; ``metrics`` the measured requests.
        """
        return dict(self.data)

    @property
    def verdict(self) -> str:
        """``stable``, ``backlogged`` or ``overloaded``."""
        return str(self.data["verdict"])

    @property
    def met(self) -> bool:
        """True if no requirement was missed (an undefined one was not met, but not missed)."""
        return all(requirement.met is not False for requirement in self.requirements)

    @cached_property
    def requests(self) -> pd.DataFrame:
        """One row per offered request: the columns of `results.tables.request_rows`."""
        import pandas as pd

        if self.measures is not None:
            return pd.DataFrame(dict(request_rows(self.measures)))
        assert self.folder is not None
        return _read_requests(self.folder, self.data["files"])

    def value(self, metric: Metric) -> float | None:
        """A metric such as ``Metric("p99", "ttft", {"class": "gold"})`` in SI units.

        Raises SpecError (HMS604) for one that makes no sense, HMS607 for a stored result.
        """
        if self.measures is None:
            raise SpecError([error("HMS607", "a stored result has only what its summary holds")])
        run = self.measures.run
        goal = Requirement(f"{metric.name}", _goal(metric))
        classes = tuple(dict.fromkeys((*self.measures.classes, *filter(None, run.classes))))
        problems = check([goal], run.workloads, classes, run.stages, run.clients)
        if problems:
            raise SpecError([replace(problem, notes=problem.notes[:-1]) for problem in problems])
        return measure(metric, self.measures)

    @classmethod
    def load(cls, folder: str | Path) -> Result:
        """The result stored in a folder by `results.write`. Raises SpecError (HMS607)."""
        folder = Path(folder)
        try:
            data = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise SpecError([error("HMS607", f"`{folder}` holds no readable result")]) from None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else None
            message = f"`{folder}` holds results of schema {found}; this version reads {SCHEMA}"
            raise SpecError([error("HMS607", message)])
        stored = tuple(Verdict(**entry) for entry in data.get("requirements", ()))
        return cls(data, stored, folder=folder)


def summarise(
    run: Run,
    *,
    classes: Mapping[str, RequestClass],
    requirements: Iterable[Requirement] = (),
    spec: str = "",
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    wall_s: float = 0.0,
    provenance: Mapping[str, float] | None = None,
    notes: Iterable[str] = (),
) -> Result:
    """The result of a run.

    `spec` is a relative path or a name; `parameters` path → value, unit, origin; `wall_s` real
    seconds the run took; `provenance` the shares of simulated time from measured, calibrated and
    datasheet figures. Raises SpecError (HMS604) for requirements that make no sense.
    """
    measures = Measures(run, classes)
    verdicts = evaluate(requirements, measures)
    data: Json = {
        "schema": SCHEMA,
        "spec": spec,
        "experiment": run.experiment,
        "seed": run.seed,
        "parameters": dict(parameters or {}),
        "wall_s": wall_s,
        "simulated_s": run.end_s,
        "makespan_s": run.makespan_s,
        "verdict": _verdict(measures),
        "horizon": run.horizon,
        "requests": dict(run.counts),
        "tokens": _tokens(run),
        "metrics": _metrics(measures, {}),
        "by": _groups(measures),
        "requirements": [_requirement(each) for each in verdicts],
        "attribution": None,
        "provenance": None if provenance is None else dict(provenance),
        "files": {},
    }
    return Result(data, verdicts, (*notes, *_censoring(data)), measures)


def _goal(metric: Metric) -> Goal:
    return Goal((metric,), ())


def _verdict(measures: Measures) -> str:
    run = measures.run
    columns = run.requests
    admitted = columns["status"] != REFUSED
    arrival = columns["arrival_s"][admitted]
    warmup, duration = run.window
    if duration is None:
        measured = columns["arrival_s"][measures.measured]
        span = (float(measured[0]), float(measured[-1])) if len(measured) else (warmup, warmup)
    else:
        span = (warmup, duration)
    p99 = measures.series("e2e").statistic("p99")
    return verdict(arrival, columns["finish_s"][admitted], span, nan if p99 is None else p99)


def _tokens(run: Run) -> Json:
    """Tokens of all admitted requests: read, found in caches, shown, and generated in all."""
    columns = run.requests
    admitted = columns["status"] != REFUSED
    generated, visible = (int(columns[name].sum()) for name in ("generated", "visible"))
    return {
        "prompt": int(columns["prompt_tokens"][admitted].sum()),
        "cached": int(columns["cached_tokens"][admitted].sum()),
        "output": visible,
        "generated": generated,
    }


def _metrics(measures: Measures, where: Mapping[str, str]) -> Json:
    found: Json = {}
    for name, definition in SERIES.items():
        series = measures.series(name, where)
        entry: Json = {each: series.statistic(each) for each in _STATISTICS}
        entry |= {"n": series.n, "unit": definition.unit}
        censored = measures.censored(name, where)
        if censored:
            entry["censored"] = censored
        found[name] = entry
    for name, definition in RATES.items():
        found[name] = {"value": measures.value(name, where), "unit": definition.unit}
    return found


def _groups(measures: Measures) -> Json:
    run = measures.run
    used = np.unique(run.requests["class"])
    groups = {f"workload.{name}": {"workload": name} for name in run.workloads}
    named = [run.classes[index] for index in used if run.classes[index]]
    groups |= {f"class.{name}": {"class": name} for name in named}
    return {title: _metrics(measures, where) for title, where in groups.items()}


def _requirement(each: Verdict) -> Json:
    def finite(value: float | None) -> float | None:
        return None if value is None or not isfinite(value) else value

    return {
        "text": each.text,
        "met": each.met,
        "value": finite(each.value),
        "bound": finite(each.bound),
        "unit": each.unit,
    }


def _censoring(data: Json) -> list[str]:
    cut = data["metrics"]["e2e"].get("censored", 0)
    if not cut:
        return []
    return [
        f"{cut:,} measured requests were still running when the run was cut; percentiles are "
        "censored: the true ones are larger"
    ]


def _read_requests(folder: Path, files: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    if "requests.parquet" in files:
        return pd.read_parquet(folder / "requests.parquet")
    if "requests.npz" in files:
        with np.load(folder / "requests.npz", allow_pickle=False) as stored:
            return pd.DataFrame({name: stored[name] for name in stored.files})
    try:
        # As text first: the C parser's own floats may differ in the last bit.
        frame = pd.read_csv(folder / "requests.csv.gz", dtype=str, keep_default_na=False)
    except (OSError, EOFError, ValueError):
        raise SpecError([error("HMS607", f"`{folder}` holds no readable requests")]) from None
    columns = {str(name): frame[name].to_numpy(dtype=object) for name in frame.columns}
    return pd.DataFrame({name: _typed(name, cells) for name, cells in columns.items()})


def _typed(name: str, cells: NDArray[Any]) -> NDArray[Any]:
    if name in ("workload", "class", "status") or name.endswith(".client"):
        return cells
    if name == "id" or name.endswith("_tokens"):
        return cells.astype(np.int64)
    return np.where(cells == "", "nan", cells).astype(np.float64)
