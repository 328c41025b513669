"""The points of an experiment: the product of its axes, in the order in which they are written.

Knows what a sweep names. Compiles nothing and runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

from hermesdsl.graph.types import Experiment, SweepAxis

__all__ = [
    "BUDGET", "CASE", "Parameter", "Point", "aim", "argument", "parameters", "pinned", "points",
    "strategy",
]  # fmt: skip

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


def aim(experiment: Experiment) -> str | None:
    """The swept value that its only objective names, if it does."""
    if len(experiment.objectives) != 1 or experiment.objectives[0].metric is not None:
        return None
    return experiment.objectives[0].text


def strategy(experiment: Experiment) -> str:
    """The name of its strategy; ``grid`` without one."""
    return "grid" if experiment.strategy is None else experiment.strategy.name


def argument(experiment: Experiment, name: str, default: float) -> float:
    """A number that its strategy was given."""
    given = {} if experiment.strategy is None else experiment.strategy.args
    return float(str(given.get(name, default)))
