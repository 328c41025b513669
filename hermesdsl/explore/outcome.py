"""What became of every point: means over its seeds, goals met or missed, and the best of all.

Goals are decided over the means of a point. One that compares cases takes each from the point that
differs from this one in the case alone. Knows no file and no table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hermesdsl.explore.estimate import Estimate, estimate
from hermesdsl.explore.job import DONE, FAILED, PRUNED, SKIPPED, Row
from hermesdsl.explore.metrics import named, plain, written
from hermesdsl.explore.points import CASE, Point
from hermesdsl.graph.types import Experiment, Metric, Objective, Requirement
from hermesdsl.results.slo import decide

__all__ = ["Outcome", "best", "close", "difference", "front", "outcomes", "rivals", "sought",
           "unsettled"]  # fmt: skip

#: From bad to good: of the verdicts of several seeds, the worst is that of the point.
_WORST = ("overloaded", "backlogged", "stable")


@dataclass(frozen=True)
class Outcome:
    """One point: its `rows` by seed, the `status` of `explore.job`, and why if it is not done.

    `metrics`: by how the language writes them, in SI units, those that are defined for at least
    one seed. `verdicts` has one entry per requirement: met, missed, or None if it cannot be told.
    """

    point: Point
    rows: tuple[Row, ...]
    status: str
    reason: str = ""
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    verdicts: tuple[bool | None, ...] = ()

    @property
    def met(self) -> bool:
        """True if the point was run and every requirement is met."""
        return self.status == DONE and all(verdict is True for verdict in self.verdicts)

    @property
    def verdict(self) -> str:
        """The worst of ``stable``, ``backlogged`` and ``overloaded`` over the seeds."""
        found = {row["verdict"] for row in self.rows if row["status"] == DONE}
        return next((word for word in _WORST if word in found), "")


def outcomes(
    points: Iterable[Point], rows: Iterable[Row], experiment: Experiment, case: str | None = None
) -> tuple[Outcome, ...]:
    """The outcome of every point that has a row, in order; `case` is that of all points."""
    seeds = {seed: number for number, seed in enumerate(experiment.seeds)}
    by_point: dict[int, list[Row]] = {}
    for row in rows:
        by_point.setdefault(row["point"], []).append(row)
    found = [
        _outcome(point, sorted(by_point[point.index], key=lambda row: seeds[row["seed"]]))
        for point in points
        if point.index in by_point
    ]
    places = {_place(each.point, each.point.case or case): each for each in found}
    return tuple(
        replace(each, verdicts=tuple(
            _verdict(requirement, each, places) for requirement in experiment.requirements
        )) if each.status == DONE else each
        for each in found
    )  # fmt: skip


def _outcome(point: Point, rows: Sequence[Row]) -> Outcome:
    for status in (FAILED, SKIPPED, PRUNED):
        reasons = [row["reason"] for row in rows if row["status"] == status]
        if reasons:
            return Outcome(point, tuple(rows), status, reasons[0])
    metrics = {}
    for name in rows[0]["metrics"]:
        known = [row["metrics"][name] for row in rows if row["metrics"][name] is not None]
        if known:
            metrics[name] = estimate(known)
    return Outcome(point, tuple(rows), DONE, metrics=metrics)


_Place = tuple[str | None, tuple[tuple[str, str], ...]]


def _place(point: Point, case: str | None) -> _Place:
    """Where a point stands: its case, and everything else."""
    return case, tuple((path, text) for path, text in point.texts.items() if path != CASE)


def _verdict(
    requirement: Requirement, each: Outcome, places: Mapping[_Place, Outcome]
) -> bool | None:
    values: list[float | None] = []
    for operand in requirement.goal.operands:
        if not isinstance(operand, Metric):
            values.append(float(operand))
            continue
        of: Outcome | None = each
        if "case" in operand.where:
            of = places.get(_place(each.point, operand.where["case"]))
        found = of.metrics.get(written(plain(operand))) if of is not None else None
        values.append(None if found is None else found.mean)
    return decide(requirement.goal, values)


# --- the best, and whether the difference means anything -----------------------------------------


def sought(objective: Objective, each: Outcome) -> float | None:
    """What an experiment wants small or large, at one point, in SI units."""
    if objective.metric is not None:
        found = each.metrics.get(written(plain(objective.metric)))
        return None if found is None else found.mean
    value = each.point.values.get(objective.text)
    return value if isinstance(value, float) else None


def best(experiment: Experiment, found: Sequence[Outcome]) -> Outcome | None:
    """The best point that meets every requirement; of equals the first.

    None without one, and where there are several objectives or none.
    """
    rated = _rated(experiment, found) if len(experiment.objectives) == 1 else []
    return min(rated, key=lambda entry: (entry[0], entry[1].point.index))[1] if rated else None


def front(experiment: Experiment, found: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Points that meet every requirement and that no other such point beats; in order of the first
    objective, best first.

    A point is beaten by one that is nowhere worse and somewhere better (Pareto). Of equal points
    all are on the front. For one objective these are the best and its equals.
    """
    return tuple(each for _, each in _kept(experiment, found))


def _kept(
    experiment: Experiment, found: Sequence[Outcome]
) -> list[tuple[tuple[float, ...], Outcome]]:
    rated = sorted(_rated(experiment, found), key=lambda entry: (entry[0], entry[1].point.index))
    kept: list[tuple[tuple[float, ...], Outcome]] = []
    for values, each in rated:  # in this order nobody is beaten by one that comes later
        if not any(_beats(other, values) for other, _ in kept):
            kept.append((values, each))
    return kept


def rivals(experiment: Experiment, found: Sequence[Outcome]) -> tuple[tuple[float, ...], ...]:
    """Values of the objectives of every point of the front, in SI units, each once."""
    signed = {tuple(values) for values, _ in _kept(experiment, found)}
    ups = [objective.up for objective in experiment.objectives]
    return tuple(
        tuple(-v if up else v for v, up in zip(values, ups, strict=True))
        for values in sorted(signed)
    )


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def _rated(
    experiment: Experiment, found: Sequence[Outcome]
) -> list[tuple[tuple[float, ...], Outcome]]:
    """Every point that meets all requirements with its objectives, signed: less is better."""
    rated = []
    for each in found if experiment.objectives else ():
        values = [sought(objective, each) for objective in experiment.objectives]
        known = [value for value in values if value is not None]
        if each.met and len(known) == len(values):
            signed = (-v if o.up else v for o, v in zip(experiment.objectives, known, strict=True))
            rated.append((tuple(signed), each))
    return rated


def close(experiment: Experiment, found: Sequence[Outcome]) -> tuple[str, Estimate] | None:
    """The only objective's metric, and by how much the next best point is worse than the best.

    The mean over the seeds of both, which see the same customers, in SI units. None where its 95 %
    interval leaves no doubt, and without two points that meet every goal with two seeds.
    """
    rated = sorted(_rated(experiment, found), key=lambda entry: (entry[0], entry[1].point.index))
    if len(experiment.objectives) != 1 or len(rated) < 2:
        return None
    (objective,), ((_, best), (_, second)) = experiment.objectives, rated[:2]
    if objective.metric is None:
        return None
    name = written(plain(objective.metric))
    apart = difference(name, second, best) if objective.up else difference(name, best, second)
    if apart is None or apart.half is None:
        return None
    return (name, apart) if apart.half > apart.mean else None


def difference(metric: str, one: Outcome, other: Outcome) -> Estimate | None:
    """By how much `other` has more of a metric (as written) than `one`, in SI units.

    The mean of what it is seed by seed, over those that both have: they see the same customers,
    so that most of what is accident in both is not in it. None without such a seed.
    """
    values = {row["seed"]: row["metrics"].get(metric) for row in one.rows if "metrics" in row}
    apart = [
        row["metrics"][metric] - values[row["seed"]]
        for row in other.rows
        if row.get("metrics", {}).get(metric) is not None and values.get(row["seed"]) is not None
    ]
    return estimate(apart) if apart else None


def unsettled(experiment: Experiment, found: Sequence[Outcome]) -> list[tuple[str, Estimate]]:
    """Metrics of goals that more seeds are needed for, and how far points are apart, in SI units.

    The interval of the difference between the points with the most and the least of it, seed by
    seed, has zero in it. With one objective it is the best point and the next best that matter:
    see `close`.
    """
    doubtful: list[tuple[str, Estimate]] = []
    if len(experiment.objectives) == 1:
        return doubtful
    for name in named(experiment):
        known = [each for each in found if name in each.metrics]
        if len(known) < 2:
            continue
        least, *_, most = sorted(known, key=lambda each: each.metrics[name].mean)
        apart = difference(name, least, most)
        if apart is not None and apart.half is not None and apart.half > apart.mean:
            doubtful.append((name, apart))
    return doubtful
