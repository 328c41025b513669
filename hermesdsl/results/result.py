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
from hermesdsl.results import breakdown
from hermesdsl.results.definitions import PERCENTILES, RATES, SERIES
from hermesdsl.results.metrics import Measures
from hermesdsl.results.places import Places
from hermesdsl.results.saturation import verdict
from hermesdsl.results.sketch import ERROR
from hermesdsl.results.slo import Verdict, check, evaluate, measure
from hermesdsl.results.streamed import Streamed
from hermesdsl.results.tables import request_rows
from hermesdsl.sim.record import REFUSED, Run, departures

if TYPE_CHECKING:
    import pandas as pd

    from hermesdsl.results.bill import Bill
    from hermesdsl.results.energy import Meter
    from hermesdsl.results.summing import Summing

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
    measures: Measures | Streamed | None = None
    folder: Path | None = None

    def summary(self) -> Json:
        """What `summary.json` holds, all in SI units.

        Of a series without observations every statistic is null and `n` 0; a series says
        ``censored`` how many measured requests were cut off before their value was known, if any
        were. A rate is null without a window. ``provenance`` is null if no cost model told it,
        ``attribution`` if no measured request completed. ``by`` has one entry per workload and per
        named class. ``requests`` and ``tokens`` count the whole run; ``metrics`` and ``stages``
        the measured requests; ``clients`` and ``devices`` the window; ``links`` and ``tiers`` the
        whole run. See `results.breakdown`; ``energy`` and ``cost`` are those of `Meter.summary`
        and `Bill.summary`.
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

        if isinstance(self.measures, Measures):
            return pd.DataFrame(dict(request_rows(self.measures)))
        if "records" in self.data:
            raise not_kept("requests")
        assert self.folder is not None
        return _read_requests(self.folder, self.data["files"])

    def value(self, metric: Metric) -> float | None:
        """A metric such as ``Metric("p99", "ttft", {"class": "gold"})`` in SI units.

        Raises SpecError (HMS604) for one that makes no sense, HMS607 for a stored result.
        """
        if self.measures is None:
            raise SpecError([error("HMS607", "a stored result has only what its summary holds")])
        problems = check([Requirement(metric.name, _goal(metric))], self.measures)
        if problems:
            raise SpecError([replace(problem, notes=problem.notes[:-1]) for problem in problems])
        return measure(metric, self.measures)

    def explain(self, level: str) -> Result:
        """This result with ``attribution`` for the slowest from `level` on (`breakdown.LEVELS`).

        Raises SpecError HMS607 for a stored result that does not hold it.
        """
        known = self.data["attribution"]
        if known is None or level in known:
            return self
        if "records" in self.data:
            raise not_kept(f"where the slowest from {level} on spent their time")
        if not isinstance(self.measures, Measures):
            raise SpecError([error("HMS607", "a stored result has only what its summary holds")])
        more = {**known, level: breakdown.tail(self.measures, level)}
        return replace(self, data={**self.data, "attribution": more})

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


def not_kept(what: str) -> SpecError:
    """HMS607 for something that takes the rows of a run that did not keep them."""
    return SpecError([error(
        "HMS607", f"this run kept no row per request, so it cannot say: {what}",
        notes=["help: `records = all` in its experiment keeps them"],
    )])  # fmt: skip


def summarise(
    run: Run,
    *,
    classes: Mapping[str, RequestClass],
    sums: Summing | None = None,
    requirements: Iterable[Requirement] = (),
    spec: str = "",
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    wall_s: float = 0.0,
    provenance: Mapping[str, float] | None = None,
    notes: Iterable[str] = (),
    places: Places = Places(),  # noqa: B008  # frozen, and nothing in it can change
    meter: Meter | None = None,
    bill: Bill | None = None,
) -> Result:
    """The result of a run.

    `spec` is a relative path or a name; `parameters` path → value, unit, origin; `wall_s` real
    seconds the run took; `provenance` the shares of simulated time from measured, calibrated and
    datasheet figures; `places` the devices of clients and the members of pools; `meter` and
    `bill`: what energy and cost are read from. With `sums`, `run` is what was left of one whose
    rows were not kept. Raises SpecError (HMS604) for requirements that
    make no sense.
    """
    measures: Measures | Streamed
    if sums is None:
        measures = Measures(run, classes, places, meter, bill)
    else:
        measures = Streamed(run, sums, meter, bill)
    verdicts = evaluate(requirements, measures)
    metrics = _metrics(measures, {})
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
        "tokens": _tokens(measures),
        "metrics": metrics,
        "by": _groups(measures, metrics),
        "requirements": [_requirement(each) for each in verdicts],
        "energy": measures.energy,
        "cost": measures.cost,
        "stages": _stages(measures),
        "clients": breakdown.clients(measures),
        "devices": dict(measures.busy.devices),
        "links": [
            {"source": source, "target": target, "bytes": size, "utilisation": share}
            for source, target, size, share in measures.busy.links()
        ],
        "tiers": breakdown.tiers(measures),
        **({"broken": breakdown.broken(run)} if run.things else {}),
        "attribution": _attribution(measures),
        "provenance": None if provenance is None else dict(provenance),
        "files": {},
    }
    if sums is not None:
        data["records"] = {"kept": "summary", "relative_error": ERROR}
    found = (*notes, *_sketched(data), *_refusals(measures), *_parallel(measures),
             *_censoring(data))  # fmt: skip
    return Result(data, verdicts, found, measures)


def _goal(metric: Metric) -> Goal:
    return Goal((metric,), ())


def _sketched(data: Json) -> list[str]:
    if "records" not in data:
        return []
    offered = data["requests"]["offered"]
    return [
        f"rows of {offered:,} requests were not kept: counts, means and largest values are exact, "
        f"percentiles within {ERROR:.1%}; `records = all` keeps them"
    ]


def _verdict(measures: Measures | Streamed) -> str:
    run = measures.run
    columns = run.requests
    p99 = measures.series("e2e").statistic("p99")
    tail = nan if p99 is None else p99
    warmup, duration = run.window
    if isinstance(measures, Streamed):
        sums = measures.sums
        known = sums.last_arrival >= sums.opened
        span = (sums.opened, sums.last_arrival) if known else (warmup, warmup)
        span = span if duration is None else (warmup, duration)
        return verdict(run.flow["arrival_s"], run.flow["left_s"], span, tail)
    admitted = columns["status"] != REFUSED
    arrival = columns["arrival_s"][admitted]
    if duration is None:
        measured = columns["arrival_s"][measures.measured]
        span = (float(measured[0]), float(measured[-1])) if len(measured) else (warmup, warmup)
    else:
        span = (warmup, duration)
    return verdict(arrival, departures(columns)[admitted], span, tail)


def _stages(measures: Measures | Streamed) -> Json:
    if isinstance(measures, Streamed):
        return measures.stages()
    return breakdown.stages(measures)


def _attribution(measures: Measures | Streamed) -> Json | None:
    if isinstance(measures, Streamed):
        return measures.attribution()
    return breakdown.attribution(measures)


def _tokens(measures: Measures | Streamed) -> Json:
    """Tokens of all admitted requests: read, found in caches, shown, and generated in all."""
    if isinstance(measures, Streamed):
        cell = measures.cell()
        return {name: getattr(cell, name) for name in ("prompt", "cached", "output", "generated")}
    run = measures.run
    columns = run.requests
    admitted = columns["status"] != REFUSED
    return {
        "prompt": int(columns["prompt_tokens"][admitted].sum()),
        "cached": int(columns["cached_tokens"][admitted].sum()),
        "output": int(columns["visible"].sum()),
        "generated": int(columns["generated"].sum()),
    }


def _metrics(measures: Measures | Streamed, where: Mapping[str, str]) -> Json:
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


def _groups(measures: Measures | Streamed, everything: Json) -> Json:
    """Metrics of each workload and named class; `everything` of one that all requests are in."""
    if isinstance(measures, Streamed):
        return {title: everything if whole else _metrics(measures, where)
                for title, where, whole in measures.groups()}  # fmt: skip
    run = measures.run
    used = np.unique(run.requests["class"])
    groups = {f"workload.{name}": {"workload": name} for name in run.workloads}
    named = [run.classes[index] for index in used if run.classes[index]]
    groups |= {f"class.{name}": {"class": name} for name in named}
    return {
        title: everything if measures.chosen(where).all() else _metrics(measures, where)
        for title, where in groups.items()
    }


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


def _refusals(measures: Measures | Streamed) -> list[str]:
    run = measures.run
    if isinstance(measures, Streamed):
        counts = measures.sums.reasons.tolist()
    else:
        refused = run.requests["status"] == REFUSED
        counts = np.bincount(run.requests["reason"][refused], minlength=len(run.reasons)).tolist()
    reasons = [
        f"{count:,}: {reason}"
        for reason, count in zip(run.reasons, counts, strict=True)
        if reason and count
    ]
    return [f"refused: {'; '.join(reasons)}"] if reasons else []


def _parallel(measures: Measures | Streamed) -> list[str]:
    if isinstance(measures, Streamed):
        several = measures.cell().parallel
    else:
        several = int((measures.times.parallel & measures.measured).sum())
    if not several:
        return []
    return [
        f"{several:,} measured requests show several answers at once: their tokens are no single "
        "series, so `itl` leaves them out"
    ]


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
