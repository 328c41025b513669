"""The points of an experiment: the product of its axes, in the order in which they are written.

Knows what a sweep names. Compiles nothing and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from math import prod

from hermesdsl.diagnostics import Diagnostic, error, nearest
from hermesdsl.graph.types import Experiment, Metric, SweepAxis

__all__ = ["BUDGET", "CASE", "Parameter", "Point", "check", "parameters", "pinned", "points"]

#: Points of one sweep at most: the list budget of the language.
BUDGET = 1_000_000
#: The target of `sweep case in […]`.
CASE = "case"


@dataclass(frozen=True)
class Point:
    """One point: its place in the product, and by target the source text and the value.

    A value is a number in SI units, or a word.
    """

    index: int
    texts: Mapping[str, str]
    values: Mapping[str, float | str]

    @property
    def case(self) -> str | None:
        """The case that it is compiled as, if cases are swept."""
        return self.texts.get(CASE)

    @property
    def settings(self) -> dict[str, str]:
        """Path → source text of everything but the case."""
        return {path: text for path, text in self.texts.items() if path != CASE}


@dataclass(frozen=True)
class Parameter:
    """What a sweep varies: its path, and the unit it is shown in (1 `unit` is `scale` in SI)."""

    path: str
    unit: str
    scale: float


def parameters(axes: Sequence[SweepAxis]) -> tuple[Parameter, ...]:
    """Everything that is swept, in order."""
    return tuple(
        Parameter(target, *unit)
        for axis in axes
        for target, unit in zip(axis.targets, axis.units, strict=True)
    )


def pinned(
    axes: Sequence[SweepAxis], settings: Mapping[str, str], case: str | None
) -> tuple[SweepAxis, ...]:
    """The axes that are left when some values are set from outside, which beats a sweep.

    Of an axis over several targets, points that differ in nothing else become one.
    """
    fixed = {" ".join(path.split()) for path in settings} | ({CASE} if case is not None else set())
    found = []
    for axis in axes:
        kept = [i for i, target in enumerate(axis.targets) if target not in fixed]
        if len(kept) == len(axis.targets):
            found.append(axis)
            continue
        if not kept:
            continue
        rows: dict[tuple[str, ...], tuple[float | str, ...]] = {}
        for texts, values in zip(axis.points, axis.values, strict=True):
            rows.setdefault(tuple(texts[i] for i in kept), tuple(values[i] for i in kept))
        found.append(
            replace(
                axis,
                targets=tuple(axis.targets[i] for i in kept),
                points=tuple(rows),
                values=tuple(rows.values()),
                units=tuple(axis.units[i] for i in kept),
            )
        )
    return tuple(found)


def points(axes: Sequence[SweepAxis], limit: int | None = None) -> Iterator[Point]:
    """The product, the last axis varying fastest; the first `limit` of it. One without axes."""
    sides = [list(zip(axis.points, axis.values, strict=True)) for axis in axes]
    targets = [target for axis in axes for target in axis.targets]
    for index, chosen in enumerate(islice(product(*sides), limit)):
        texts = [text for side, _ in chosen for text in side]
        values = [value for _, side in chosen for value in side]
        yield Point(
            index, dict(zip(targets, texts, strict=True)), dict(zip(targets, values, strict=True))
        )


# --- what cannot be swept ------------------------------------------------------------------


def check(
    experiment: Experiment, axes: Sequence[SweepAxis], limit: int | None, case: str | None = None
) -> list[Diagnostic]:
    """Everything that keeps an experiment from being swept over `axes` (see `pinned`)."""
    return [
        *_twice(axes), *_continuous(experiment, axes), *_too_many(axes, limit),
        *_strategy(experiment), *_objective(experiment, axes), *_bisected(experiment, axes),
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
            bisects(experiment) and aim(experiment) in axis.targets
        ):
            text = axis.points[0][0]
            yield error("HMS602", f"`{axis.targets[0]}` has the domain `{text}`, which has no "
                        "points", notes=["help: give values with `in […]`"])  # fmt: skip


def _too_many(axes: Sequence[SweepAxis], limit: int | None) -> Iterator[Diagnostic]:
    count = prod(len(axis.points) for axis in axes)
    if min(count, count if limit is None else limit) > BUDGET:
        yield error("HMS602", f"{count:,} points; a sweep has at most {BUDGET:,}",
                    notes=["help: set some values with --set, or use --limit"])  # fmt: skip


def _strategy(experiment: Experiment) -> Iterator[Diagnostic]:
    if experiment.strategy is not None and experiment.strategy.name not in ("grid", "bisect"):
        name = experiment.name
        yield error("HMS506", f"`strategy = {experiment.strategy}` of `{name}` cannot be executed",
                    notes=[f"help: try every point with `--set {name}.strategy=grid`"])  # fmt: skip


def _objective(experiment: Experiment, axes: Sequence[SweepAxis]) -> Iterator[Diagnostic]:
    if experiment.minimize is not None and experiment.maximize is not None:
        yield error("HMS506", "`minimize` beside `maximize` cannot be executed",
                    notes=["help: keep one, and make the other a `require`"])  # fmt: skip
        return
    wanted = aim(experiment)
    if wanted is None or experiment.objective is not None:
        return
    swept = {target: values for axis in axes
             for target, *values in zip(axis.targets, *axis.values, strict=True)}  # fmt: skip
    if wanted not in swept:
        match = nearest(wanted, swept)
        listed = f"help: swept are {', '.join(swept)}" if swept else "help: nothing is swept"
        yield error("HMS604", f"`{wanted}` is an objective but is not swept",
                    notes=[f"help: did you mean `{match}`?" if match else listed])  # fmt: skip
    elif any(isinstance(v, str) for v in swept[wanted]) and not bisects(experiment):
        yield error("HMS604", f"`{wanted}` is an objective but takes words")


def aim(experiment: Experiment) -> str | None:
    """What `minimize` or `maximize` names, as written."""
    text = experiment.minimize or experiment.maximize
    return None if text is None else " ".join(text.split())


def bisects(experiment: Experiment) -> bool:
    """Whether its strategy is to halve one value."""
    return experiment.strategy is not None and experiment.strategy.name == "bisect"


def _bisected(experiment: Experiment, axes: Sequence[SweepAxis]) -> Iterator[Diagnostic]:
    """What `bisect` needs: one swept number that is made large or small, and goals to meet."""
    if not bisects(experiment):
        return
    wanted, name = aim(experiment), experiment.name
    if wanted is None or experiment.objective is not None:
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
    if any("case" in o.where for r in experiment.requirements for o in r.goal.operands
           if isinstance(o, Metric)):  # fmt: skip
        yield error("HMS506", f"`strategy = bisect` of `{name}` with a goal that compares cases "
                    "cannot be executed")  # fmt: skip


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
