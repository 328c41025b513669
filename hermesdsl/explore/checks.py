"""What keeps an experiment from being swept, found before any point of it is run.

Knows axes, objectives and strategies. Compiles nothing and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from math import prod

from hermesdsl.diagnostics import Diagnostic, error, nearest
from hermesdsl.explore.points import BUDGET, CASE, aim, strategy
from hermesdsl.graph.types import Experiment, Metric, SweepAxis

__all__ = ["check"]


def check(
    experiment: Experiment, axes: Sequence[SweepAxis], limit: int | None, case: str | None = None
) -> list[Diagnostic]:
    """Everything that keeps an experiment from being swept over `axes` (see `pinned`)."""
    return [
        *_twice(axes), *_continuous(experiment, axes), *_too_many(axes, limit),
        *_objectives(experiment, axes), *_bisected(experiment, axes), *_searched(experiment),
        *_cases(experiment, axes, case),
    ]  # fmt: skip


def _twice(axes: Sequence[SweepAxis]) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for target in (target for axis in axes for target in axis.targets):
        if target in seen:
            yield error("HMS602", f"`{target}` is swept twice")
        seen.add(target)
    for axis in axes:
        for texts in dict.fromkeys(t for t in axis.points if axis.points.count(t) > 1):
            shown = ", ".join(texts)
            yield error("HMS602", f"`{', '.join(axis.targets)}` takes `{shown}` twice")


def _continuous(experiment: Experiment, axes: Sequence[SweepAxis]) -> Iterator[Diagnostic]:
    for axis in axes:
        if axis.between is not None and not (
            strategy(experiment) == "tpe"
            or (strategy(experiment) == "bisect" and aim(experiment) in axis.targets)
        ):
            text = axis.points[0][0]
            yield error("HMS602", f"`{axis.targets[0]}` has the domain `{text}`, which has no "
                        "points", notes=["help: give values with `in […]`, or search it with "
                                         "`strategy = tpe`"])  # fmt: skip


def _too_many(axes: Sequence[SweepAxis], limit: int | None) -> Iterator[Diagnostic]:
    count = prod(len(axis.points) for axis in axes)
    if min(count, count if limit is None else limit) > BUDGET:
        yield error("HMS602", f"{count:,} points; a sweep has at most {BUDGET:,}",
                    notes=["help: set some values with --set, or use --limit"])  # fmt: skip


def _objectives(experiment: Experiment, axes: Sequence[SweepAxis]) -> Iterator[Diagnostic]:
    swept = {target: values for axis in axes
             for target, *values in zip(axis.targets, *axis.values, strict=True)}  # fmt: skip
    for objective in experiment.objectives:
        if objective.metric is None:
            yield from _aimed(objective.text, swept, words=strategy(experiment) == "bisect")


def _aimed(
    wanted: str, swept: Mapping[str, Sequence[float | str]], *, words: bool
) -> Iterator[Diagnostic]:
    """An objective that should be a swept number; `words`: others look at what it takes."""
    if wanted not in swept:
        match = nearest(wanted, swept)
        listed = f"help: swept are {', '.join(swept)}" if swept else "help: nothing is swept"
        yield error("HMS604", f"`{wanted}` is an objective but is not swept",
                    notes=[f"help: did you mean `{match}`?" if match else listed])  # fmt: skip
    elif not words and any(
        isinstance(v, str) and not v.startswith("between") for v in swept[wanted]
    ):
        yield error("HMS604", f"`{wanted}` is an objective but takes words")


def _bisected(experiment: Experiment, axes: Sequence[SweepAxis]) -> Iterator[Diagnostic]:
    """What `bisect` needs: one swept number that is made large or small, and goals to meet."""
    if strategy(experiment) != "bisect":
        return
    wanted, name = aim(experiment), experiment.name
    if wanted is None:
        note = "help: such as `maximize = load.rate`, with a `sweep` of it"
        message = f"`strategy = bisect` of `{name}` looks for a swept value"
        yield error("HMS602", message, notes=[note])
        return
    for axis in axes:
        if wanted in axis.targets and len(axis.targets) > 1:
            yield error(
                "HMS602", f"`strategy = bisect` of `{name}` needs `{wanted}` swept by itself"
            )
        elif (
            wanted in axis.targets
            and axis.between is None
            and any(isinstance(value, str) for (value,) in axis.values)
        ):
            yield error("HMS604", f"`{wanted}` is an objective but takes words")
    if not experiment.requirements:
        yield error("HMS602", f"`strategy = bisect` of `{name}` has no `require` to meet")
    yield from _compares(experiment)


def _compares(experiment: Experiment) -> Iterator[Diagnostic]:
    """Goals that need points which a search may not have tried."""
    if any("case" in o.where for r in experiment.requirements for o in r.goal.operands
           if isinstance(o, Metric)):  # fmt: skip
        yield error("HMS506", f"`strategy = {strategy(experiment)}` of `{experiment.name}` with a "
                    "goal that compares cases cannot be executed")  # fmt: skip


def _searched(experiment: Experiment) -> Iterator[Diagnostic]:
    """What `tpe` needs: something to look for, and Optuna."""
    if strategy(experiment) != "tpe":
        return
    name = experiment.name
    if not experiment.objectives:
        yield error("HMS602", f"`strategy = tpe` of `{name}` has nothing to look for",
                    notes=["help: such as `minimize = cost_per_token`"])  # fmt: skip
    yield from _compares(experiment)
    if find_spec("optuna") is None:
        yield error("HMS607", f"`strategy = tpe` of `{name}` needs Optuna",
                    notes=["help: pip install 'hermesdsl[search]', or try every point with "
                           f"`--set {name}.strategy=grid`"])  # fmt: skip


def _cases(
    experiment: Experiment, axes: Sequence[SweepAxis], case: str | None
) -> Iterator[Diagnostic]:
    """Goals that compare cases of which some are not run."""
    if case is not None:
        return
    run = [texts[axis.targets.index(CASE)] for axis in axes if CASE in axis.targets
           for texts in axis.points]  # fmt: skip
    for requirement in experiment.requirements:
        named = [o.where["case"] for o in requirement.goal.operands
                 if isinstance(o, Metric) and "case" in o.where]  # fmt: skip
        missing = [name for name in dict.fromkeys(named) if name not in run]
        if missing:
            listed = ", ".join(f"`{name}`" for name in missing)
            yield error("HMS604", f"a goal compares {listed}, which no point is",
                        notes=[f"in `require {requirement.text}`",
                               "help: sweep it, as in `sweep case in [a, b]`"])  # fmt: skip
