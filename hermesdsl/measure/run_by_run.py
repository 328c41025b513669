"""Measured runs beside their predictions, metric by metric and run by run.

Knows tables of runs and results; no file layout, and no formula of a cost model.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import SpecError
from hermesdsl.measure.causes import Part, part_of_runs
from hermesdsl.measure.errors import Figure, mape, rank_correlation
from hermesdsl.measure.headings import METRICS, STATISTICS, written
from hermesdsl.measure.phases import Spent, spent, together
from hermesdsl.measure.runs import Runs
from hermesdsl.results import Result
from hermesdsl.results.metrics import Measures
from hermesdsl.sim.datafile import shown

if TYPE_CHECKING:
    from hermesdsl.api import Progress, System

__all__ = [
    "FEWEST_RANKED",
    "MetricErrors",
    "Predicted",
    "RunsValidation",
    "held_against",
    "predictions",
]

Floats: TypeAlias = "NDArray[np.float64]"

#: Fewer runs than this are not ranked.
FEWEST_RANKED = 4
#: A measured figure so many times the predicted one (or the inverse) in every run is a unit that
#: was read wrongly, rather than an error: ms for s.
_UNIT = 1000.0
_NEAR = 2.0


@dataclass(frozen=True)
class MetricErrors:
    """One metric over the `n` runs that have it measured and predicted.

    `mean`: means over these runs. `bias`: mean of the signed relative errors, `mape` that of their
    sizes, `worst` the largest signed one and the `line` of its run; None where nothing was measured
    above zero. `rank`: correlation of ranks, None for fewer than four runs or without variation.
    """

    n: int
    mean: Figure | None
    bias: float | None
    mape: float | None
    worst: float | None
    line: int | None
    rank: float | None

    def summary(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "n": self.n,
            "mean": None if self.mean is None else self.mean.summary(),
            "bias": self.bias,
            "mape": self.mape,
            "worst": {"error": self.worst, "line": self.line},
            "rank_correlation": self.rank,
        }


@dataclass(frozen=True, eq=False)
class RunsValidation:
    """A table of measured runs beside the predictions of a specification.

    `predicted` by metric as of `Runs.figures`, shape (n,), SI units, NaN for none. `verdicts` of
    the predicted systems. `metrics` by metric, in the order of the table.
    """

    runs: Runs
    predicted: Mapping[str, Floats]
    verdicts: tuple[str, ...]
    metrics: Mapping[str, MetricErrors]
    parts: Mapping[str, Part]

    def error(self, metric: str, run: int) -> float | None:
        """Signed relative error of one metric of one run; None if there is none."""
        measured, predicted = self.runs.figures[metric][run], self.predicted[metric][run]
        if np.isnan(measured) or np.isnan(predicted):
            return None
        return Figure(float(measured), float(predicted)).error

    @property
    def suspects(self) -> Iterator[str]:
        """Metrics whose measured figures look as if their unit were read wrongly."""
        for name, measured in self.runs.figures.items():
            both = (measured > 0.0) & (self.predicted[name] > 0.0)
            if not both.any():
                continue
            ratio = measured[both] / self.predicted[name][both]
            for factor in (_UNIT, 1.0 / _UNIT):
                if ((ratio > factor / _NEAR) & (ratio < factor * _NEAR)).all():
                    yield name

    def summary(self) -> dict[str, Any]:
        """Everything as JSON, SI units."""
        return {
            "columns": {"used": dict(self.runs.used), "unused": dict(self.runs.unused)},
            "metrics": {name: each.summary() for name, each in self.metrics.items()},
            "parts": {name: part.summary() for name, part in self.parts.items()},
            "runs": [
                {
                    "line": line,
                    "settings": dict(self.runs.settings[at]),
                    **({"case": self.runs.cases[at]} if self.runs.cases[at] is not None else {}),
                    "verdict": self.verdicts[at],
                    "figures": {
                        name: {
                            "measured": _plain(self.runs.figures[name][at]),
                            "predicted": _plain(self.predicted[name][at]),
                            "error": self.error(name, at),
                        }
                        for name in self.metrics
                    },
                }
                for at, line in enumerate(self.runs.lines)
            ],
        }

    def csv(self) -> str:
        """A row per run: its line, what it is run with, every metric measured and predicted."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        titles = [f"{side} {_titled(name)}" for name in self.metrics
                  for side in ("measured", "predicted")]  # fmt: skip
        rows.writerow(["line", *self.runs.paths, *titles, "verdict"])
        for at, line in enumerate(self.runs.lines):
            values = [
                _plain(column[at])
                for name in self.metrics
                for column in (self.runs.figures[name], self.predicted[name])
            ]
            settings = self.runs.settings[at].values()
            rows.writerow([line, *settings, *("" if v is None else v for v in values),
                           self.verdicts[at]])  # fmt: skip
        return text.getvalue()


def _titled(name: str) -> str:
    unit = METRICS[name.rpartition("(")[2].rstrip(")")]
    return f"{name} [{unit}]"


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True)
class Predicted:
    """What is kept of a run: its `figures` by metric, its `verdict`, and what the mean time to the
    first token and per token consist of (``ttft``, ``tpot``; shape (1, 1)), of whole records."""

    figures: Mapping[str, float]
    verdict: str
    spent: Mapping[str, Spent]


def predictions(
    system: System, runs: Runs, *, experiment: str | None, seed: int | None,
    progress: Progress | None,
) -> list[Predicted]:  # fmt: skip
    """What the specification predicts of every run with its settings.

    Runs that are set alike share one. Raises SpecError, with the line of the table, for settings
    that do not compile and what cannot be run.
    """
    from hermesdsl import api

    known: dict[tuple[object, ...], Predicted] = {}
    found = []
    for line, settings, case in zip(runs.lines, runs.settings, runs.cases, strict=True):
        key = (case, *settings.items())
        if key not in known:
            try:
                point = _compiled(system, settings, case)
                result = api.run(point, experiment=experiment, seed=seed, progress=progress)
            except SpecError as failure:
                raise _at_line(failure, runs.file, line) from None
            known[key] = Predicted(_figures(result), result.verdict, _spent(point, result))
        found.append(known[key])
    return found


def _spent(system: System, result: Result) -> dict[str, Spent]:
    """Means over the measured requests that completed; nothing without rows of requests."""
    if not isinstance(result.measures, Measures):
        return {}
    own = spent(system.compiled, result)
    at = result.measures.measured & ~np.isnan(own.other).any(axis=0)
    several = at & (own.steps[2] > 0.0)
    if not several.any():
        return {}
    first, decode = own.chosen(at).summed([0, 1]), own.chosen(several).summed([2])
    return {"ttft": first.mean(), "tpot": decode.per_step().mean()}


def _compiled(system: System, settings: Mapping[str, str], case: str | None) -> System:
    from pathlib import Path

    from hermesdsl import api

    given = system.given
    if not settings and case is None:
        return system
    return api.compile(
        Path(system.spec) if given.text is None else given.text,
        set={**given.settings, **settings}, path=given.folders, case=case or given.case,
    )  # fmt: skip


def _at_line(failure: SpecError, file: str, line: int) -> SpecError:
    note = f"note: set by line {line} of `{shown(file)}`"
    return SpecError([replace(each, notes=(*each.notes, note)) for each in failure.diagnostics])


def held_against(runs: Runs, found: Sequence[Predicted]) -> RunsValidation:
    """The comparison of measured runs with their predictions, one of each."""
    predicted = {
        name: np.array([own.figures.get(name, np.nan) for own in found], float)
        for name in runs.figures
    }
    metrics = {
        name: _errors(measured, predicted[name], runs.lines)
        for name, measured in runs.figures.items()
    }
    verdicts = tuple(own.verdict for own in found)
    return RunsValidation(runs, predicted, verdicts, metrics, _parts(runs, predicted, found))


def _parts(
    runs: Runs, predicted: Mapping[str, Floats], found: Sequence[Predicted]
) -> dict[str, Part]:
    """Where the differences of the mean times to the first token and per token sit."""
    parts = {}
    for metric, per in (("ttft", "request"), ("tpot", "step")):
        name = written("mean", metric)
        if name not in runs.figures:
            continue
        gap = runs.figures[name] - predicted[name]
        there = [at for at, own in enumerate(found)
                 if metric in own.spent and not np.isnan(gap[at])]  # fmt: skip
        if there:
            own = together([found[at].spent[metric] for at in there])
            calm = np.array([found[at].verdict == "stable" for at in there])
            parts[name] = part_of_runs(
                runs.figures[name][there], predicted[name][there], own, calm, per
            )
    return parts


def _figures(result: Result) -> dict[str, float]:
    """Every metric that a table of runs may have; none where it is undefined."""
    data = result.data
    told = data["metrics"]
    found = {
        written(statistic, metric): told[metric][statistic]
        for metric in told
        if metric in METRICS and "value" not in told[metric]
        for statistic in dict.fromkeys(STATISTICS.values())
    }
    found |= {name: told[name]["value"] for name in ("output_throughput", "request_throughput")}
    found |= {"makespan": data["makespan_s"], "n": float(told["e2e"]["n"])}
    return {name: value for name, value in found.items() if value is not None}


def _errors(measured: Floats, predicted: Floats, lines: Sequence[int]) -> MetricErrors:
    both = ~(np.isnan(measured) | np.isnan(predicted))
    truth, guess = measured[both], predicted[both]
    mean = Figure(float(truth.mean()), float(guess.mean())) if len(truth) else None
    above = truth > 0.0
    if not above.any():
        return MetricErrors(len(truth), mean, None, None, None, None, None)
    signed = guess[above] / truth[above] - 1.0
    worst = int(np.argmax(np.abs(signed)))
    rank = rank_correlation(truth, guess) if len(truth) >= FEWEST_RANKED else None
    return MetricErrors(
        len(truth), mean, float(signed.mean()), mape(truth, guess), float(signed[worst]),
        int(np.array(lines)[both][above][worst]), rank,
    )  # fmt: skip
