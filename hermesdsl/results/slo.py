"""Goals: is each `require` of an experiment met, missed or undefined?

Knows which metric calls make sense. Knows no clock, engine or file.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.graph.types import Goal, Metric, Requirement
from hermesdsl.results.definitions import BY_STAGE, DEFINITIONS, OUTCOMES, PERCENTILES, SERIES
from hermesdsl.results.metrics import VALUES, Measures
from hermesdsl.results.places import below
from hermesdsl.results.streamed import Streamed

__all__ = ["Verdict", "check", "decide", "evaluate", "measure", "unit_of"]

Seen: TypeAlias = "Measures | Streamed"

_STATISTICS = (*PERCENTILES, "mean", "max")
#: Metrics of a whole run.
_PER_TOKEN = ("cost_per_token", "energy_per_token")
_FUNCTIONS = (*_STATISTICS, *VALUES, "utilisation")

_COMPARE: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
        "==": operator.eq,
        "!=": operator.ne,
    }
)


@dataclass(frozen=True)
class Verdict:
    """One requirement after a run.

    `met` is None if it cannot be told: nothing was observed, or it compares cases. `value` is
    the first metric of it and `bound` what that is compared with, in SI `unit`; `shown_unit` and
    `scale` are how the user wrote the bound (1 `shown_unit` is `scale` in SI).
    """

    text: str
    met: bool | None
    value: float | None
    bound: float | None
    unit: str
    shown_unit: str = ""
    scale: float = 1.0
    message: str | None = None


def evaluate(requirements: Iterable[Requirement], measures: Seen) -> tuple[Verdict, ...]:
    """A verdict for each requirement. Raises SpecError (HMS604) for goals that make no sense."""
    wanted = tuple(requirements)
    problems = check(wanted, measures)
    if problems:
        raise SpecError(problems)
    return tuple(_verdict(requirement, measures) for requirement in wanted)


def _verdict(requirement: Requirement, measures: Seen) -> Verdict:
    goal = requirement.goal
    values = [
        measure(operand, measures) if isinstance(operand, Metric) else float(operand)
        for operand in goal.operands
    ]
    met = decide(goal, values)
    place = next((i for i, each in enumerate(goal.operands) if isinstance(each, Metric)), 0)
    other = place + 1 if place + 1 < len(values) else place - 1
    first = goal.operands[place]
    unit = unit_of(first) if isinstance(first, Metric) else ""
    return Verdict(
        requirement.text,
        met,
        values[place],
        values[other] if len(values) > 1 else None,
        unit,
        goal.unit or unit,
        goal.scale,
        requirement.message,
    )


def decide(goal: Goal, values: Sequence[float | None]) -> bool | None:
    """Whether a goal holds for the values of its operands; None if one of them is missing."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return all(_COMPARE[op](a, b) for op, a, b in zip(goal.ops, known, known[1:], strict=False))


def measure(metric: Metric, measures: Seen) -> float | None:
    """The value of a checked metric call in SI units; None where nothing defines it."""
    if "case" in metric.where:
        return None
    if metric.name in _STATISTICS and metric.of is not None:
        return measures.series(metric.of, metric.where).statistic(metric.name)
    if metric.name == "utilisation":
        return measures.utilisation(metric.of or "")
    return measures.value(metric.name, metric.where)


def unit_of(metric: Metric) -> str:
    """SI unit of a metric call."""
    name = (metric.of or "") if metric.name in _STATISTICS else metric.name
    return DEFINITIONS[name].unit if name in DEFINITIONS else ""


# --- which goals make sense ----------------------------------------------------------------------


def check(requirements: Iterable[Requirement], measures: Seen) -> list[Diagnostic]:
    """Everything wrong with the metrics of some requirements on a run (HMS604)."""
    run = measures.run
    classes = tuple(dict.fromkeys((*measures.classes, *filter(None, run.classes))))
    known = {"workload": run.workloads, "class": classes, "stage": run.stages,
             "outcome": tuple(OUTCOMES)}  # fmt: skip
    problems = []
    for requirement in requirements:
        for operand in requirement.goal.operands:
            if isinstance(operand, Metric):
                found = _problem(operand, known, measures)
                if found is not None:
                    message, notes = found
                    notes = (*notes, f"in `require {requirement.text}`")
                    problems.append(error("HMS604", message, notes=notes))
                    break
    return problems


_Problem = tuple[str, tuple[str, ...]]


def _problem(metric: Metric, known: Mapping[str, Sequence[str]], measures: Seen) -> _Problem | None:
    if metric.name not in _FUNCTIONS:
        return f"unknown metric `{metric.name}`", _hint(metric.name, _FUNCTIONS)
    if metric.name in _STATISTICS and metric.of not in SERIES:
        what = (
            f"`{metric.name}` of what? " if metric.of is None else f"unknown series `{metric.of}`; "
        )
        return f"{what}it takes one of {', '.join(SERIES)}", _hint(metric.of or "", SERIES)
    if metric.name == "utilisation":
        path, names = metric.of or "", measures.busy.names()
        if not any(below(name, path) for name in names):
            return f"nothing at `{path}` was used in this experiment", _hint(path, names)
    if metric.name == "hit_rate" and "case" not in metric.where:
        return _cache_problem(metric, measures)
    if metric.name == "share" and "outcome" not in metric.where:
        return "`share` needs `outcome`", (f"one of {', '.join(OUTCOMES)}",)
    return _filter_problem(metric, known)


def _cache_problem(metric: Metric, measures: Seen) -> _Problem | None:
    """Nobody looked into what `hit_rate` is asked of."""
    run, tier = measures.run, metric.where.get("tier")
    names = [each.tier for each in run.tiers]
    names += [each.client for each in run.engines if each.asked]
    if tier is None:
        return "`hit_rate` needs `tier`", (f"one of {', '.join(names)}",) if names else ()
    if measures.lookups(tier)[0]:
        return None
    if any(below(each.client, tier) for each in run.engines):
        note = "help: `prefix_cache = true` lets engines keep what they have read"
        return f"engines at `{tier}` looked for no prefix in this experiment", (note,)
    notes = _hint(tier, names) or (
        "help: a `KvFetch` stage with `cache = ...` looks into a cache before a prompt is read",
    )
    return f"nobody looked into `{tier}` in this experiment", notes


def _filter_problem(metric: Metric, known: Mapping[str, Sequence[str]]) -> _Problem | None:
    for key, name in metric.where.items():
        if key == "case" or (key == "tier" and metric.name == "hit_rate"):
            continue
        if key not in known:
            return f"`{metric.name}` has no filter `{key}`", _hint(key, (*known, "case"))
        if metric.name in _PER_TOKEN:
            return f"`{metric.name}` is of a whole run: it has no filter `{key}`", ()
        if key == "outcome" and metric.name != "share":
            return f"`{metric.name}` has no filter `outcome`", ("`share` has one",)
        if key == "stage" and metric.of not in BY_STAGE:
            return (
                f"`{metric.of or metric.name}` is not measured by stage",
                (f"by stage: {', '.join(BY_STAGE)}",),
            )
        if name not in known[key]:
            listed = ", ".join(known[key]) or "none"
            notes = (*_hint(name, known[key]), f"there: {listed}")
            return f"no {key} `{name}` in this experiment", notes
    return None


def _hint(name: str, candidates: Iterable[str]) -> tuple[str, ...]:
    match = nearest(name, candidates)
    return (f"help: did you mean `{match}`?",) if match else ()
