"""The front of several objectives as one picture, SVG text: the first against each of the others.

Points of the front in colour, joined by the edge of what they beat where there are two objectives;
those that they beat in grey, those that miss a goal as crosses; the rest is counted. Knows
outcomes; no file and no terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

from hermesdsl.explore import table as tables
from hermesdsl.explore.metrics import plain, written
from hermesdsl.explore.outcome import Outcome, front, sought
from hermesdsl.explore.points import Parameter
from hermesdsl.graph.types import Experiment, Metric, Objective

__all__ = ["picture"]

_SIDE, _LEFT, _TOP, _BELOW, _GAP = 400.0, 72.0, 66.0, 56.0, 24.0
#: Told apart from grey in black and white and by most eyes: Okabe and Ito (2008).
_BEST, _OTHER, _TEXT = "#0072B2", "#b4b4b4", 'font-family="sans-serif" fill="#333"'
#: An axis is logarithmic where its largest value is so many times its smallest.
_DECADES = 20.0


def picture(
    experiment: Experiment, found: Sequence[Outcome], parameters: Sequence[Parameter]
) -> str | None:
    """The SVG text; None with fewer than two objectives."""
    wanted = experiment.objectives
    if len(wanted) < 2:
        return None
    best = front(experiment, found)
    others = [each for each in found if each.status == "done" and each not in best]
    scales = [_scale(experiment, objective, found, parameters) for objective in wanted]
    width = len(wanted[1:]) * (_LEFT + _SIDE + _GAP)
    height = _TOP + _SIDE + _BELOW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">',
        f"<title>{escape(f'Front of {experiment.name}')}</title>",
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
        f'<text x="12" y="22" font-size="14" {_TEXT}>'
        f"{escape(f'Front of {experiment.name}')}</text>",
        *_legend(best, others, found),
    ]
    for number in range(1, len(wanted)):
        pair = ((wanted[0], scales[0]), (wanted[number], scales[number]))
        panel = _Panel((number - 1) * (_LEFT + _SIDE + _GAP) + _LEFT, *pair)
        parts += panel.drawn(best, others, joined=len(wanted) == 2)
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Scale:
    """Unit of an axis (1 `unit` is `factor` in SI), and its ends in SI."""

    unit: str
    factor: float
    low: float
    high: float
    log: bool

    def part(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1."""
        if self.log:
            return log10(value / self.low) / log10(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values between the ends, in the unit."""
        low, high = self.low / self.factor, self.high / self.factor
        if self.log:
            decades = range(floor(log10(low)), ceil(log10(high)) + 1)
            found = [m * 10.0**d for d in decades for m in (1.0, 2.0, 5.0)]
        else:
            rough = (high - low) / 5.0
            size = 10.0 ** floor(log10(rough))
            step = size * next(m for m in (1.0, 2.0, 5.0, 10.0) if m * size >= rough)
            found = [n * step for n in range(ceil(low / step), floor(high / step) + 1)]
        slack = 1e-9 * (high - low)
        return [value for value in found if low - slack <= value <= high + slack]


def _scale(
    experiment: Experiment, objective: Objective, found: Sequence[Outcome],
    parameters: Sequence[Parameter],
) -> _Scale:  # fmt: skip
    known = [v for v in (sought(objective, each) for each in found if each.status == "done")
             if v is not None]  # fmt: skip
    low, high = min(known, default=0.0), max(known, default=1.0)
    unit, factor = _unit(experiment, objective, parameters, high)
    if low > 0.0 and high > _DECADES * low:
        return _Scale(unit, factor, low / 1.15, high * 1.15, True)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return _Scale(unit, factor, low - room, high + room, False)


def _unit(
    experiment: Experiment, objective: Objective, parameters: Sequence[Parameter], most: float
) -> tuple[str, float]:
    """That of the goal that names the metric or of the swept value, else one that suits it."""
    if objective.metric is None:
        return next((each.unit, each.scale) for each in parameters if each.path == objective.text)
    name = written(plain(objective.metric))
    for goal in (requirement.goal for requirement in experiment.requirements):
        metrics = [written(plain(o)) for o in goal.operands if isinstance(o, Metric)]
        if name in metrics and goal.unit not in ("", "1", "$/tok"):
            return goal.unit, goal.scale
    unit = tables.unit(experiment, name)
    if unit == "$/tok":
        return "$/1e6 tok", 1e-6
    if unit == "s" and most < 1.0:
        return "ms", 1e-3
    return ("%", 0.01) if unit in ("", "1") else (unit, 1.0)


def _legend(
    best: Sequence[Outcome], others: Sequence[Outcome], found: Sequence[Outcome]
) -> Iterator[str]:
    """What the marks are, with their numbers, and how many points have none."""
    missed = sum(not each.met for each in others)
    rest = Counter(each.status for each in found if each.status != "done")
    words = [(_dot(18, 40, _BEST, 4.0), f"{len(best)} on the front")]
    if len(others) > missed:
        words.append((_dot(18, 40, _OTHER, 3.0), f"{len(others) - missed} beaten"))
    if missed:
        words.append((_cross(18, 40), f"{missed} with a goal missed"))
    if rest:
        words.append(("", "not drawn: " + ", ".join(f"{n} {s}" for s, n in sorted(rest.items()))))
    x = 0.0
    for mark, text in words:
        yield (f'<g transform="translate({x:g} 0)">{mark}<text x="{28 if mark else 18}" y="44" '
               f'font-size="11" {_TEXT}>{escape(text)}</text></g>')  # fmt: skip
        x += 26.0 + 5.6 * len(text) + 10.0


def _dot(x: float, y: float, colour: str, radius: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>'


def _cross(x: float, y: float) -> str:
    return (f'<path d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6" stroke="{_OTHER}" '
            'stroke-width="1.5" fill="none"/>')  # fmt: skip


class _Panel:
    """One objective against another: `left` is where its box begins."""

    def __init__(
        self, left: float, across: tuple[Objective, _Scale], upwards: tuple[Objective, _Scale]
    ) -> None:
        self._left = left
        (self._x, self._across), (self._y, self._upwards) = across, upwards

    def _place(self, each: Outcome) -> tuple[float, float] | None:
        x, y = sought(self._x, each), sought(self._y, each)
        if x is None or y is None:
            return None
        return (self._left + _SIDE * self._across.part(x),
                _TOP + _SIDE * (1.0 - self._upwards.part(y)))  # fmt: skip

    def drawn(
        self, best: Sequence[Outcome], others: Sequence[Outcome], *, joined: bool
    ) -> Iterator[str]:
        """Box, grid, labels and points, the front over all others with the numbers of its points,
        those that are as good as in one place together."""
        yield from self._grid()
        for each in others:
            place = self._place(each)
            if place is not None:
                yield _dot(*place, _OTHER, 3.0) if each.met else _cross(*place)
        known = [(each, place) for each in best if (place := self._place(each)) is not None]
        if joined and len(known) > 1:
            (x, y), *rest = [place for _, place in known]
            steps = "".join(f"H{a:.1f}V{b:.1f}" for a, b in rest)
            yield (f'<path d="M{x:.1f} {y:.1f}{steps}" stroke="{_BEST}" stroke-width="1.5" '
                   'stroke-opacity="0.6" fill="none"/>')  # fmt: skip
        numbers: dict[tuple[int, int], list[str]] = {}
        for each, (x, y) in known:
            yield _dot(x, y, _BEST, 4.0)
            numbers.setdefault((round(x / 6.0), round(y / 6.0)), []).append(str(each.point.index))
        for (x, y), here in numbers.items():
            yield (f'<text x="{x * 6 + 6}" y="{y * 6 - 5}" font-size="10" {_TEXT}>'
                   f"{', '.join(here)}</text>")  # fmt: skip

    def _grid(self) -> Iterator[str]:
        left, right, bottom = self._left, self._left + _SIDE, _TOP + _SIDE
        for value in self._across.ticks():
            x = left + _SIDE * self._across.part(value * self._across.factor)
            yield f'<path d="M{x:.1f} {_TOP:g}V{bottom:g}" stroke="#e4e4e4"/>'
            yield (f'<text x="{x:.1f}" y="{bottom + 16:g}" font-size="11" text-anchor="middle" '
                   f"{_TEXT}>{value:.6g}</text>")  # fmt: skip
        for value in self._upwards.ticks():
            y = _TOP + _SIDE * (1.0 - self._upwards.part(value * self._upwards.factor))
            yield f'<path d="M{left:g} {y:.1f}H{right:g}" stroke="#e4e4e4"/>'
            yield (f'<text x="{left - 6:g}" y="{y + 4:.1f}" font-size="11" text-anchor="end" '
                   f"{_TEXT}>{value:.6g}</text>")  # fmt: skip
        yield (f'<rect x="{left:g}" y="{_TOP:g}" width="{_SIDE:g}" height="{_SIDE:g}" fill="none" '
               'stroke="#888"/>')  # fmt: skip
        middle, centre, at = left + _SIDE / 2.0, _TOP + _SIDE / 2.0, left - _LEFT + 16.0
        yield (f'<text x="{middle:g}" y="{bottom + 38:g}" font-size="12" text-anchor="middle" '
               f"{_TEXT}>{escape(_name(self._x, self._across))}</text>")  # fmt: skip
        yield (f'<text x="{at:g}" y="{centre:g}" font-size="12" text-anchor="middle" '
               f'transform="rotate(-90 {at:g} {centre:g})" {_TEXT}>'
               f"{escape(_name(self._y, self._upwards))}</text>")  # fmt: skip


def _name(objective: Objective, scale: _Scale) -> str:
    """Such as ``cost_per_token, $/1e6 tok (less is better)``."""
    unit = f", {scale.unit}" if scale.unit not in ("", "1") else ""
    return f"{objective.text}{unit} ({'more' if objective.up else 'less'} is better)"
