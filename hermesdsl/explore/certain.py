"""What rules a point out for certain, before its run or in the middle of it.

Before: an objective that cannot be as good as another point has it. In the middle: a goal that the
mean over the seeds can no longer meet. Knows goals and numbers; runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from hermesdsl.explore.margin import AFTER_ALL, one_bound
from hermesdsl.explore.metrics import plain, written
from hermesdsl.explore.points import Point
from hermesdsl.graph.types import Experiment, Metric, Requirement
from hermesdsl.results.bars import Bar, told

__all__ = ["Rival", "bars", "behind", "floors"]

#: Values of the objectives of a point that meets every goal, in SI units.
Rival: TypeAlias = tuple[float, ...]
#: Sums over seeds are rounded: by less than this share of a bound.
_ROUNDED = 1e-9


def bars(
    experiment: Experiment, known: Mapping[str, Sequence[float | None]], after: int
) -> tuple[Bar, ...]:
    """What the next run of a point may not pass, if the point is to meet its goals.

    `known`: metrics of its runs with earlier seeds, by how they are written; `after`: how many
    seeds come after the next. A bound L on the mean of n latencies leaves n·L − Σ known to one of
    them at most, as none is below 0; of attainments, none of which is above 1, at least
    n·L − Σ known − `after`. Before the last seed `margin.AFTER_ALL` ends a point earlier: where it
    does, that is the bar.
    """
    found = []
    for requirement in experiment.requirements:
        bound = one_bound(requirement.goal)
        if bound is None or not told(bound[0]):
            continue
        metric, op, limit = bound
        values = [v for v in known.get(written(plain(metric)), ()) if v is not None]
        left = (len(values) + 1 + after) * limit - sum(values)
        attained = metric.name == "attainment"
        if op in ("<", "<=") and not attained:
            found.append(_bar(requirement, metric, left, AFTER_ALL.missed * limit, after))
        elif op in (">", ">=") and attained:
            found.append(_bar(requirement, metric, left - after, limit / AFTER_ALL.missed, after))
    return tuple(found)


def _bar(requirement: Requirement, metric: Metric, left: float, early: float, after: int) -> Bar:
    """The stricter of what is `left` and, where seeds come after this one, of the rule of thumb."""
    attained = metric.name == "attainment"
    if after and (early > left if attained else early < left):
        missed = f"misses `{requirement.text}` more than {AFTER_ALL.missed:g} times over"
        return Bar(metric, early, missed)
    slack = abs(left) * _ROUNDED
    return Bar(metric, left - slack if attained else left + slack,
               f"leaves no way to meet `{requirement.text}`")  # fmt: skip


def floors(
    experiment: Experiment, point: Point, least: Callable[[], float | None]
) -> tuple[float | None, ...]:
    """The best that each objective can be at a point, in SI units; None where nobody knows.

    A swept value is what it is. `least`: a bound from below on ``cost_per_token``.
    """
    found: list[float | None] = []
    for objective in experiment.objectives:
        metric, value = objective.metric, point.values.get(objective.text)
        if metric is None:
            found.append(value if isinstance(value, float) else None)
        elif metric.name == "cost_per_token" and not metric.where and not objective.up:
            found.append(least())
        else:
            found.append(None)
    return tuple(found)


def behind(
    experiment: Experiment, floor: Sequence[float | None], rivals: Sequence[Rival]
) -> float | None:
    """By how much a point must come behind some rival that it cannot beat or equal; else None.

    The most over the objectives, as a share of the larger of two values: at least 0, where a rival
    is nowhere worse than the best that the point can be, and somewhere better. Of several rivals
    the largest.
    """
    known = [value for value in floor if value is not None]
    if not known or len(known) < len(floor):
        return None
    found = None
    for rival in rivals:
        apart = [
            _worse(value, other, up=objective.up)
            for objective, value, other in zip(experiment.objectives, known, rival, strict=True)
        ]
        if min(apart) >= 0.0 and max(apart) > 0.0:
            found = max(*apart, found or 0.0)
    return found


def _worse(value: float, other: float, *, up: bool) -> float:
    return (other - value if up else value - other) / (max(abs(value), abs(other)) or 1.0)
