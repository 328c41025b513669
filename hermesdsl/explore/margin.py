"""How far a point is from its goals, and when a short run of it leaves no hope.

Knows goals and numbers; runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from hermesdsl.explore.metrics import plain, written
from hermesdsl.graph.types import Experiment, Goal, Metric, Requirement
from hermesdsl.results.definitions import SERIES

__all__ = ["BEHIND", "MARGIN", "UNKNOWN", "hopeless", "violation"]

#: A short run must miss a bound by this factor before the point is given up.
MARGIN = 2.0
#: How much worse than the best so far an objective is after a short run, to be given up.
BEHIND = 1.5
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
    experiment: Experiment, values: Mapping[str, float | None], beat: float | None
) -> str | None:
    """What a short run rules out, as a clause behind "a run of 6 s"; or None.

    `values`: its metrics by the text they are written with. A goal is ruled out if it bounds what
    a longer run makes no better: a latency of which the run has more than `MARGIN` times as much,
    or an attainment of which it has less than 1 / `MARGIN`. And so is the point if its objective
    is worse by the factor `BEHIND` than `beat`, the same of the best point so far after as short
    a run.
    """
    for requirement in experiment.requirements:
        if _ruled_out(requirement.goal, values):
            return f"misses `{requirement.text}` more than {MARGIN:g} times over"
    if beat is None or len(experiment.objectives) != 1:
        return None
    (objective,) = experiment.objectives
    value = values.get(written(plain(objective.metric))) if objective.metric is not None else None
    if value is None or min(value, beat) <= 0:
        return None
    behind = beat / value if objective.up else value / beat
    if behind <= BEHIND:
        return None
    return f"has {objective.text} more than {BEHIND:g} times as bad as another point"


def _ruled_out(goal: Goal, values: Mapping[str, float | None]) -> bool:
    if len(goal.operands) != 2:
        return False
    left, right = goal.operands
    op = goal.ops[0]
    if isinstance(right, Metric):
        left, right, op = right, left, op.translate(str.maketrans("<>", "><"))
    if not isinstance(left, Metric) or isinstance(right, Metric) or "case" in left.where:
        return False
    value = values.get(written(plain(left)))
    if value is None:
        return False
    late = left.of in SERIES and op in ("<", "<=") and value > MARGIN * right
    return late or (left.name == "attainment" and op in (">", ">=") and value * MARGIN < right)
