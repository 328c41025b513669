"""Which points to run next, proposed by Optuna's tree-structured Parzen estimator.

Proposals come in batches of a fixed size, each told in order before the next is asked for, from a
fixed seed: so they depend on results alone, never on how many workers there are. Goals are
Optuna's constraints. Knows points and outcomes. Runs nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import inf, prod
from typing import TYPE_CHECKING, Any

from hermesdsl.explore.estimate import estimate
from hermesdsl.explore.job import DONE, PRUNED, Row
from hermesdsl.explore.margin import UNKNOWN, violation
from hermesdsl.explore.metrics import plain, written
from hermesdsl.explore.outcome import Outcome, sought
from hermesdsl.explore.points import Point, argument
from hermesdsl.explore.search import Found, spelled
from hermesdsl.graph.types import Experiment, Metric, SweepAxis

if TYPE_CHECKING:
    import optuna

__all__ = ["Tpe"]

#: Of the sampler, so that a search is the same every time.
_SEED = 0
#: A search ends when so many proposals in a row are points that were tried.
_PATIENCE = 200
#: Violation of "it runs", for a point that cannot be: behind all that run and miss their goals.
_NEVER = 1e3


class Tpe:
    """`trials` different points of the product of all axes, or all of them if there are fewer.

    A point that is proposed again is answered from what is known of it.
    """

    def __init__(
        self, experiment: Experiment, axes: Sequence[SweepAxis], limit: int | None
    ) -> None:
        self._experiment = experiment
        self._sides = [side for axis in axes for side in _sides(axis)]
        trials = int(argument(experiment, "trials", 100))
        self.expected = int(min(trials, limit or inf, prod(side.size for side in self._sides)))
        self._batch = int(argument(experiment, "batch", 8))
        self._study = _study(experiment)
        self._tried: dict[tuple[Any, ...], Point] = {}
        self._open: list[tuple[optuna.Trial, Point]] = []

    def round(self, found: Found) -> list[Point]:
        """See `search.Search`."""
        for trial, point in self._open:
            self._tell(trial, found(point))
        self._open = []
        missing = min(self._batch, self.expected - len(self._tried))
        patience = _PATIENCE
        while len(self._open) < missing and patience:
            trial = self._study.ask()
            places = tuple(side.ask(trial) for side in self._sides)
            known = self._tried.get(places)
            if known is None:
                self._tried[places] = made = self._point(places)
                self._open.append((trial, made))
            elif any(known is point for _, point in self._open):
                self._study.tell(trial, state=_failed())
                patience -= 1
            else:
                self._tell(trial, found(known))
                patience -= 1
        return [point for _, point in self._open]

    def _point(self, places: Sequence[float]) -> Point:
        chosen = chain.from_iterable(
            side.at(place) for side, place in zip(self._sides, places, strict=True)
        )
        entries = list(chosen)
        return Point(
            len(self._tried),
            {target: text for target, text, _ in entries},
            {target: value for target, _, value in entries},
        )

    def _tell(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """What became of a proposal: objectives, and by how much goals are missed.

        Of a pruned point it is what its short run says.
        """
        behind = [row for row in outcome.rows if "behind" in row]
        if behind:
            self._tell_behind(trial, behind[0])
            return
        known = _tried(outcome) if outcome.status == PRUNED else outcome
        values = [sought(objective, known) for objective in self._experiment.objectives]
        told = [value for value in values if value is not None]
        runs = outcome.status in (DONE, PRUNED) and len(told) == len(values)
        unknown = UNKNOWN if outcome.status == PRUNED else _NEVER
        trial.set_constraint("runs", 0.0 if runs else unknown)
        for number, requirement in enumerate(self._experiment.requirements):
            missed = UNKNOWN
            if outcome.status in (DONE, PRUNED):
                missed = violation(requirement, lambda metric: _mean(known, metric))
            trial.set_constraint(f"goal {number}", missed)
        self._study.tell(trial, told if runs else [0.0] * len(values))

    def _tell_behind(self, trial: optuna.Trial, row: Row) -> None:
        """Of a point that cannot win it is how far it must be behind, whatever its goals."""
        trial.set_constraint("worth", row["behind"])
        self._study.tell(trial, list(row["floor"]))


def _tried(outcome: Outcome) -> Outcome:
    """The same with the metrics of its short runs."""
    rows = [row["tried"] for row in outcome.rows if row.get("tried")]
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row[name] for row in rows if row[name] is not None] for name in names}
    metrics = {name: estimate(known) for name, known in values.items() if known}
    return replace(outcome, metrics=metrics)


def _mean(outcome: Outcome, metric: Metric) -> float | None:
    found = outcome.metrics.get(written(plain(metric)))
    return None if found is None else found.mean


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL


def _study(experiment: Experiment) -> optuna.Study:
    import optuna

    optuna.logging.disable_default_handler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=_SEED, multivariate=True, constant_liar=True)
    directions = ["maximize" if each.up else "minimize" for each in experiment.objectives]
    return optuna.create_study(sampler=sampler, directions=directions)


# --- what is proposed ----------------------------------------------------------------------------

#: What a place stands for: target, source text and value.
_Entry = tuple[str, str, "float | str"]


@dataclass(frozen=True)
class _Listed:
    """One of several rows: of a single value, or of those that go together.

    `ordered`: rows are numbers in order, so that neighbours are alike.
    """

    targets: tuple[str, ...]
    rows: tuple[tuple[tuple[str, float | str], ...], ...]
    ordered: bool

    @property
    def size(self) -> float:
        return len(self.rows)

    def ask(self, trial: optuna.Trial) -> float:
        name = " ".join(self.targets)
        if self.ordered:
            return int(trial.suggest_int(name, 0, len(self.rows) - 1))
        return int(trial.suggest_categorical(name, range(len(self.rows))))

    def at(self, place: float) -> Iterator[_Entry]:
        for target, (text, value) in zip(self.targets, self.rows[int(place)], strict=True):
            yield target, text, value


@dataclass(frozen=True)
class _Between:
    """A number between two ends, in SI; whole ones alone if both ends are."""

    target: str
    low: float
    high: float
    unit: tuple[str, float]

    @property
    def _whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def size(self) -> float:
        return self.high - self.low + 1 if self._whole else inf

    def ask(self, trial: optuna.Trial) -> float:
        if self._whole:
            return int(trial.suggest_int(self.target, int(self.low), int(self.high)))
        return float(trial.suggest_float(self.target, self.low, self.high))

    def at(self, place: float) -> Iterator[_Entry]:
        if self._whole:
            yield self.target, str(int(place)), float(place)
        else:
            yield self.target, *spelled(place, *self.unit)


def _sides(axis: SweepAxis) -> list[_Listed | _Between]:
    """What can be chosen by itself: each target of a full product, and a zip as one thing."""
    if axis.between is not None:
        return [_Between(axis.targets[0], *axis.between, axis.units[0])]
    rows = [tuple(zip(texts, values, strict=True))
            for texts, values in zip(axis.points, axis.values, strict=True)]  # fmt: skip
    apart = [tuple(dict.fromkeys(column)) for column in zip(*rows, strict=True)]
    if prod(len(column) for column in apart) != len(set(rows)):
        return [_Listed(axis.targets, tuple(rows), ordered=False)]
    return [_listed(target, column) for target, column in zip(axis.targets, apart, strict=True)]


def _listed(target: str, column: Sequence[tuple[str, float | str]]) -> _Listed:
    """The values of one target; numbers in order."""
    numbers = [(value, text) for text, value in column if not isinstance(value, str)]
    if len(numbers) != len(column):
        return _Listed((target,), tuple((entry,) for entry in column), ordered=False)
    rows = tuple(((text, value),) for value, text in sorted(numbers))
    return _Listed((target,), rows, ordered=True)
