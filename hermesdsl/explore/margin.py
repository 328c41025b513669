"""How far a point is from its goals, and when a short run of it leaves no hope.

Knows goals and numbers; runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from hermesdsl.explore.metrics import plain, written
from hermesdsl.graph.types import Experiment, Goal, Metric, Requirement
from hermesdsl.results.definitions import SERIES

__all__ = ["AFTER_ALL", "AFTER_SHORT", "UNKNOWN", "Margins", "hopeless", "one_bound", "violation"]


class Margins(NamedTuple):
    """When to give up: a bound missed, or an objective worse than the best so far, by a factor."""

    missed: float
    behind: float


#: After a short run, whose percentiles and drain are not those of a long one.
AFTER_SHORT = Margins(1.5, 1.25)
#: After a whole run with one seed, before those with others.
AFTER_ALL = Margins(1.25, 1.05)
#: Violation of a goal of which nothing is known: more than any that is missed.
UNKNOWN = 2.0


def violation(requirement: Requirement, value: Callable[[Metric], float | None]) -> float:
    """By how much a goal is missed, above 0 and at most `UNKNOWN`; 0 and less if it is met.

    For ``a <= b``: (a − b) / max(|a|, |b|), so that what misses by much is told from what misses
    by little whatever the unit. The worst of a chain.
    """
    known = [value(o) if isinstance(o, Metric) else float(o) for o in requirement.goal.operands]
    return max(_missed(op, a, b) for op, a, b in _comparisons(requirement.goal.ops, known))


def _comparisons(
    ops: Sequence[str], values: Sequence[float | None]
) -> Iterator[tuple[str, float | None, float | None]]:
    return zip(ops, values[:-1], values[1:], strict=True)


def _missed(op: str, a: float | None, b: float | None) -> float:
    if a is None or b is None:
        return UNKNOWN
    apart = (a - b) / (max(abs(a), abs(b)) or 1.0)
    if op in ("<", "<="):
        return apart
    if op in (">", ">="):
        return -apart
    return abs(apart) if op == "==" else float(a == b)


def hopeless(
    experiment: Experiment,
    values: Mapping[str, float | None],
    beat: float | None,
    margins: Margins = AFTER_SHORT,
) -> str | None:
    """What a run rules out, as a clause behind "a run of 6 s"; or None.

    `values`: its metrics by the text they are written with. A goal is ruled out if it bounds what
    a longer run makes no better: a latency of which the run has more than `margins.missed` times
    as much, or an attainment of which it has less than its inverse. And so is the point if its
    objective is worse by the factor `margins.behind` than `beat`, the same of the best point so
    far after as long a run with the same seed.
    """
    for requirement in experiment.requirements:
        if _ruled_out(requirement.goal, values, margins.missed):
            return f"misses `{requirement.text}` more than {margins.missed:g} times over"
    if beat is None or len(experiment.objectives) != 1:
        return None
    (objective,) = experiment.objectives
    value = values.get(written(plain(objective.metric))) if objective.metric is not None else None
    if value is None or min(value, beat) <= 0:
        return None
    behind = beat / value if objective.up else value / beat
    if behind <= margins.behind:
        return None
    return f"has {objective.text} more than {margins.behind:g} times as bad as another point"


def one_bound(goal: Goal) -> tuple[Metric, str, float] | None:
    """(metric, comparison, number) of a goal that bounds one metric of the point itself."""
    if len(goal.operands) != 2:
        return None
    left, right = goal.operands
    op = goal.ops[0]
    if isinstance(right, Metric):
        left, right, op = right, left, op.translate(str.maketrans("<>", "><"))
    if not isinstance(left, Metric) or isinstance(right, Metric) or "case" in left.where:
        return None
    return left, op, float(right)


def _ruled_out(goal: Goal, values: Mapping[str, float | None], margin: float) -> bool:
    bound = one_bound(goal)
    value = values.get(written(plain(bound[0]))) if bound is not None else None
    if bound is None or value is None:
        return False
    metric, op, limit = bound
    late = metric.of in SERIES and op in ("<", "<=") and value > margin * limit
    return late or (metric.name == "attainment" and op in (">", ">=") and value * margin < limit)
