"""How much a metric follows each value by itself: one at a time, everything else as it stands.

Every change is run with the same seeds as the system itself, so that both see the same customers
and arrivals; intervals are over the seeds. Knows no terminal and no language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING, TypeAlias

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.explore.estimate import Estimate, estimate
from hermesdsl.explore.executors import Executor, Here
from hermesdsl.explore.job import DONE, Job, Task, key
from hermesdsl.explore.metrics import plain, written
from hermesdsl.explore.points import Point
from hermesdsl.explore.reads import digest
from hermesdsl.explore.search import spelled
from hermesdsl.graph.types import Experiment, Metric
from hermesdsl.results.slo import unit_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermesdsl.api import System

__all__ = ["Change", "Effect", "Factor", "Sensitivity", "sensitivity"]

#: A value without a list of others is changed by so much of itself, down and up.
STEP = 0.10

#: By seed, what a metric is; seeds without a value are left out.
_Values: TypeAlias = "dict[int, float]"


@dataclass(frozen=True)
class Factor:
    """A value that is varied: `value` as it stands, a number in SI units or a word.

    `others`: (source text, value) of all that it may be; `ends` of a range. Without either a
    number is changed by `STEP` each way. `unit` with its factor to SI. `whole` numbers stay whole.
    """

    path: str
    value: float | str
    shown: str
    unit: tuple[str, float] = ("", 1.0)
    others: tuple[tuple[str, float | str], ...] = ()
    ends: tuple[float, float] | None = None
    whole: bool = False


@dataclass(frozen=True)
class Change:
    """One value that was tried, and by how much of itself the metric changed (0.1: +10 %).

    `effect` is None where it cannot be told; `reason` says why a run did not end.
    """

    text: str
    value: float | str
    effect: Estimate | None
    reason: str = ""


@dataclass(frozen=True)
class Effect:
    """What one value does: its changes in order, and its elasticity.

    `elasticity` of the metric: Δln(metric) / Δln(value) between the lowest and the highest number
    that ran; None for words, for what is not positive, and where less than two ran. `swing`: the
    highest less the lowest of the metric over all that ran, over that of the system as it stands.
    """

    factor: Factor
    changes: tuple[Change, ...]
    elasticity: Estimate | None
    swing: Estimate | None


@dataclass(frozen=True)
class Sensitivity:
    """The `metric` as written, what it is in its SI `unit`, and effects by swing, largest first."""

    experiment: Experiment
    metric: str
    unit: str
    base: Estimate
    effects: tuple[Effect, ...]


def sensitivity(
    system: System,
    job: Job,
    metric: Metric,
    factors: Sequence[Factor],
    *,
    executor: Executor | None = None,
    seeds: Sequence[int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Runs the experiment of `job` as it stands and with each change of each factor by itself.

    `seeds` instead of those of the experiment. Raises SpecError: HMS602 without anything to vary,
    HMS604 for a metric of another case, and for one that the system as it stands does not give.
    """
    experiment = system.experiment(job.experiment)
    if seeds is not None:
        experiment = replace(experiment, seeds=tuple(seeds))
    if "case" in metric.where:
        raise SpecError([error("HMS604", f"`{written(metric)}` is of a case: use `--case`")])
    tried = [(factor, other) for factor in factors for other in _others(factor)]
    if not tried:
        raise SpecError([error("HMS602", "there is nothing to vary",
                               notes=["help: declare a domain, as in `param n = 2 in [1, 2, 4]`, "
                                      "or name a number with `--param`"])])  # fmt: skip
    points = [Point(0, {}, {})]
    points += [
        Point(number, {factor.path: shown}, {factor.path: value})
        for number, (factor, (shown, value)) in enumerate(tried, 1)
    ]
    job = replace(job, short=0.0, metrics=(metric,))
    values, reasons = _run(system, job, experiment, points, executor or Here(), progress)
    base = values.get(0, {})
    if not base:
        why = reasons.get(0) or f"`{written(metric)}` has no value with any seed"
        raise SpecError([error("HMS604", f"the system as it stands says nothing: {why}")])
    changes: dict[str, list[tuple[Change, _Values]]] = {factor.path: [] for factor in factors}
    for number, (factor, (shown, value)) in enumerate(tried, 1):
        own = values.get(number, {})
        change = Change(shown, value, _over(own, base, lambda a, b: a / b - 1.0),
                        reasons.get(number, ""))  # fmt: skip
        changes[factor.path].append((change, own))
    effects = [_effect(factor, changes[factor.path], base) for factor in factors
               if changes[factor.path]]  # fmt: skip
    ranked = tuple(sorted(effects, key=_rank))
    standing = estimate(list(base.values()))
    return Sensitivity(experiment, written(metric), unit_of(metric), standing, ranked)


def _run(
    system: System, job: Job, experiment: Experiment, points: Sequence[Point], executor: Executor,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[int, _Values], dict[int, str]]:  # fmt: skip
    """By point: the metric by seed, and why a run of it did not end."""
    name, read = written(plain(job.metrics[0])), digest(system)
    seeds = tuple(dict.fromkeys(experiment.seeds))
    tasks = [Task(p, seed, key(read, job, p, seed)) for p in points for seed in seeds]
    values: dict[int, _Values] = {}
    reasons: dict[int, str] = {}
    try:
        for done, row in enumerate(executor.rows(job, tasks), 1):
            found = row.get("metrics", {}).get(name)
            if row["status"] != DONE:
                reasons[row["point"]] = row["reason"]
            elif found is not None:
                values.setdefault(row["point"], {})[row["seed"]] = found
            if progress is not None:
                progress(done, len(tasks))
    finally:
        executor.close()
    for known in values.values():
        known.update({seed: known.pop(seed) for seed in seeds if seed in known})
    return values, reasons


# --- what is tried -------------------------------------------------------------------------------


def _others(factor: Factor) -> Iterator[tuple[str, float | str]]:
    """The values to try: neighbours of a number, every other word."""
    now = factor.value
    if isinstance(now, str):
        yield from (each for each in factor.others if each[1] != now)
        return
    listed = sorted((value, shown) for shown, value in factor.others
                    if isinstance(value, float))  # fmt: skip
    if listed:
        below = [each for each in listed if each[0] < now][-1:]
        above = [each for each in listed if each[0] > now][:1]
        yield from ((shown, value) for value, shown in below + above)
        return
    low, high = factor.ends or (float("-inf"), float("inf"))
    for value in (now * (1.0 - STEP), now * (1.0 + STEP)):
        if factor.whole:
            value = now + max(1.0, round(abs(value - now))) * (1.0 if value > now else -1.0)
        value = min(max(value, low), high)
        if value == now:
            continue
        unit, scale = factor.unit
        if factor.whole:
            yield f"{round(value / scale)} {unit}".strip(), value
        else:
            yield spelled(value, unit, scale)


# --- what came of it -----------------------------------------------------------------------------


def _over(
    one: Mapping[int, float], base: Mapping[int, float], how: Callable[[float, float], float]
) -> Estimate | None:
    """The mean over seeds of what `how` makes of a value and that of the system as it stands."""
    pairs = [how(one[seed], base[seed]) for seed in base if seed in one and base[seed]]
    return estimate(pairs) if pairs else None


def _effect(factor: Factor, changes: Sequence[tuple[Change, _Values]], base: _Values) -> Effect:
    ran = [(change.value, values) for change, values in changes if values]
    places = [(factor.value, base), *ran]
    numbers = sorted(((v, known) for v, known in places if isinstance(v, float) and v > 0),
                     key=lambda place: place[0])  # fmt: skip
    elasticity = None
    if len(numbers) > 1 and len(numbers) == len(places):
        (low, first), (high, last) = numbers[0], numbers[-1]
        slopes = [log(last[seed] / first[seed]) / log(high / low) for seed in base
                  if first.get(seed, 0.0) > 0 and last.get(seed, 0.0) > 0]  # fmt: skip
        elasticity = estimate(slopes) if slopes else None
    swings = []
    for seed, now in base.items():
        seen = [known[seed] for _, known in places if seed in known]
        if len(seen) > 1 and now:
            swings.append((max(seen) - min(seen)) / abs(now))
    return Effect(factor, tuple(change for change, _ in changes), elasticity,
                  estimate(swings) if swings else None)  # fmt: skip


def _rank(effect: Effect) -> tuple[float, str]:
    """Largest swing first; what did not run last."""
    return (-effect.swing.mean if effect.swing else 1.0, effect.factor.path)
