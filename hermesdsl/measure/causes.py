"""What a difference between measured and predicted times follows: the device, the host, or neither.

How long each phase lasts is measured; who took the time is not. It is inferred from how the
difference varies from request to request: what grows with the time that devices are predicted to
take is the device's, what is the same for every step (or, before the first token, for every
request) is the host's. Where both say as much about it, it is of one of them (``either``); what
follows neither is the ``rest``: waiting beyond that, how many run at once. Knows arrays only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.measure.errors import Figure
from hermesdsl.measure.phases import Spent

__all__ = ["CAUSES", "Fit", "Part", "fitted", "largest", "part_of_runs", "parts"]

Floats: TypeAlias = "NDArray[np.float64]"
Mask: TypeAlias = "NDArray[np.bool_]"

CAUSES = ("device", "host", "either", "rest")

#: Differences below this share of the whole have no cause worth a name.
NEGLIGIBLE = 1e-3
#: Fewest requests, or runs, from which causes are told.
FEWEST = 4
#: One cause is enough if what it leaves spreads less than this times what both leave.
_ENOUGH = 1.5
#: Beside a device's part, one of the host below this share of it is not worth a doubt.
_SMALL = 0.1
#: Predicted device times must vary by this share, or nothing tells them from a constant.
_VARIES = 1e-3
#: A request that waits for so many steps before it is worked on did not queue for a place: the
#: step that runs, and one that is put together already.
_PROMPT = 2.5
#: The least share of requests that speeds are found from: those that wait least.
_SOME = 0.25
_PASSES = 30
#: Of times and differences: what counts as nothing.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Fit:
    """measured − predicted = `each` (seconds of the host, of every step or request) + `slower` ×
    device time, found robustly. `told`: whether the two can be told apart; if not, `slower` stands
    for both."""

    each: float
    slower: float
    told: bool


@dataclass(frozen=True)
class Part:
    """One phase in the mean of the requests compared.

    `figure`: seconds measured and predicted. `known`: what the predicted ones consist of
    (``device``, ``host``, ``api``, ``other``). `causes`: predicted − measured seconds by `CAUSES`,
    which add up to the difference. `fit`: what they follow from; ``each`` is of a `per` (``step``
    or ``request``).
    """

    figure: Figure
    known: Mapping[str, float]
    causes: Mapping[str, float]
    fit: Fit
    per: str

    @property
    def difference(self) -> float:
        """Predicted − measured seconds."""
        return self.figure.predicted - self.figure.measured

    def words(self, cause: str) -> str:
        """One of the causes as a sentence says it, of the measured system."""
        ratio = 1.0 - self.causes.get(cause, 0.0) / max(self.known["device"], 1e-300)
        if cause == "device":
            return f"devices take {ratio:.2f} x the predicted time"
        if cause == "host":
            more = "more" if self.fit.each > 0.0 else "less"
            which = "host takes" if self.per == "step" else "host and its API take"
            return f"the {which} {1e3 * abs(self.fit.each):.2g} ms {more} per {self.per}"
        if cause == "either":
            return f"devices or host: {ratio:.2f} x the devices' time; requests do not say which"
        longer = "longer" if self.difference < 0.0 else "shorter"
        if self.per == "step":
            return f"{longer} than the speed of steps explains: stalls, or how many run at once"
        return f"{longer} waiting than speed explains: capacity (max_batch, KV), order or load"

    def summary(self) -> dict[str, Any]:
        """As JSON: seconds."""
        found: dict[str, Any] = {
            **self.figure.summary(), "difference": self.difference,
            "predicted_parts": dict(self.known), "causes": dict(self.causes),
            "told_apart": self.fit.told,
        }  # fmt: skip
        if self.fit.told:
            found["device_factor"] = 1.0 + self.fit.slower
            found[f"host_more_per_{self.per}"] = self.fit.each
        return found


def largest(found: Mapping[str, Part], *, summed: bool = True) -> tuple[str, str] | None:
    """Name of the part and cause of the largest difference; None if it is next to nothing.

    `summed`: the parts add up to one time, of which differences are shares; else each is by itself.
    """
    whole = sum(part.figure.measured for part in found.values())
    shares = {
        (name, cause): abs(seconds) / max(whole if summed else part.figure.measured, 1e-300)
        for name, part in found.items()
        for cause, seconds in part.causes.items()
    }
    most = max(shares, key=lambda cell: shares[cell], default=None)
    return most if most is not None and shares[most] > NEGLIGIBLE else None


def fitted(gap: Floats, own: Spent, count: Floats, *, least: float) -> Fit:
    """The robust fit of `gap` (measured − predicted seconds, (n,)) to the times of a phase, (1, n).

    All are taken per `count`, (n,). The host cannot take less than nothing: `each` is at least
    −`least`, the predicted seconds of the host per count; nor can the device (`slower` at least
    −1). A cause is told if no other leaves nearly as little over. Of devices, all of their time may
    be off, or that of memory, or each by another factor: what is the same in every step may be
    weights that are read.
    """
    there = count > 0.0
    w = count[there]
    y, x, m = gap[there] / w, own.device[0][there] / w, own.memory[0][there] / w
    if not (x > 0.0).any():
        return Fit(0.0, 0.0, False)
    if float(np.abs(y).max()) <= _ROUNDING * float(x.mean()):
        return Fit(0.0, 0.0, True)
    mean = float(np.average(x, weights=w))
    by_device = _slope(y, x, w, -1.0)
    if len(w) < FEWEST or float(np.ptp(x)) <= _VARIES * float(x.mean()):
        return Fit(0.0, by_device, False)
    by_host = _slope(y, np.ones(len(w)), w, -least)
    each, slower = _line(y, x, w)
    nothing = _ROUNDING * float(np.abs(y).max())
    device, host = (_spread(y - guess, w) + nothing for guess in (by_device * x, by_host))
    both = _spread(y - each - slower * x, w) + nothing
    if each < -least or slower < -1.0:
        both = min(device, host)
    elsewise = min(device, *(_spread(y - guess, w) + nothing for guess in _of_devices(y, x, m, w)))
    best = min(device, host, both, elsewise)
    if host > _ENOUGH * best and device <= _ENOUGH * best:
        return Fit(0.0, by_device, True)
    if host <= _ENOUGH * best < elsewise:
        return Fit(by_host, 0.0, True)
    if host > _ENOUGH * best and both <= _ENOUGH * best:
        small = abs(each) <= _SMALL * abs(slower) * mean
        if small or elsewise > _ENOUGH * best:
            return Fit(each, slower, True)
    return Fit(0.0, by_device, False)


def _of_devices(y: Floats, x: Floats, m: Floats, weight: Floats) -> Iterator[Floats]:
    """Differences that devices alone can make: of memory, of all else, and of both apart.

    Both are then longer, or both shorter: one against the other could make up any constant.
    """
    if not (m > 0.0).any():
        return
    rest = np.maximum(x - m, 0.0)
    yield _slope(y, m, weight, -1.0) * m
    yield _slope(y, rest, weight, -1.0) * rest if (rest > 0.0).any() else 0.0 * rest
    robust: Floats | None = weight
    found = np.zeros(2)
    for _ in range(_PASSES):
        assert robust is not None
        root = np.sqrt(robust)
        found, *_ = np.linalg.lstsq(np.stack([m * root, rest * root], axis=1), y * root, rcond=None)
        robust = _robustly(y - found[0] * m - found[1] * rest, weight)
        if robust is None:
            break
    if found[0] * found[1] >= 0.0:
        yield np.asarray(found[0] * m + found[1] * rest)


def _robustly(left: Floats, weight: Floats) -> Floats | None:
    """Weights with which outliers count by their size; None if nothing is left over."""
    typical = _spread(left, weight)
    if typical <= 1e-300:
        return None
    return weight * np.minimum(1.0, 1.5 * typical / np.maximum(np.abs(left), 1e-300))


def _line(y: Floats, x: Floats, weight: Floats) -> tuple[float, float]:
    """Constant and slope of a line."""
    each = slower = 0.0
    robust: Floats | None = weight
    for _ in range(_PASSES):
        assert robust is not None
        centre, level = (float(np.average(column, weights=robust)) for column in (x, y))
        about = float((robust * (x - centre) ** 2).sum())
        slower = float((robust * (x - centre) * (y - level)).sum()) / about
        each = level - slower * centre
        robust = _robustly(y - each - slower * x, weight)
        if robust is None:
            break
    return each, slower


def _slope(y: Floats, x: Floats, weight: Floats, least: float) -> float:
    """Slope of a line through zero, `least` at least."""
    slope = 0.0
    robust: Floats | None = weight
    for _ in range(_PASSES):
        assert robust is not None
        slope = float((robust * x * y).sum() / (robust * x * x).sum())
        robust = _robustly(y - slope * x, weight)
        if robust is None:
            break
    return max(slope, least)


def _spread(left: Floats, weight: Floats) -> float:
    """Of what is left over: the standard deviation that its weighted median size stands for."""
    size = np.abs(left)
    order = np.argsort(size, kind="stable")
    below = np.cumsum(weight[order])
    return 1.4826 * float(size[order][np.searchsorted(below, 0.5 * below[-1])])


def _steadily(spent: Spent) -> Mask:
    """Requests that hardly queue in the prediction, (n,): their times tell speeds, not waiting."""
    return np.asarray(spent.steps[0] <= _limit(spent))


def _limit(spent: Spent) -> float:
    """Steps that those wait for at most."""
    return max(_PROMPT, float(np.quantile(spent.steps[0], _SOME)))


def parts(
    edges: Mapping[str, tuple[Floats, Floats]], spent: Spent, names: Sequence[str]
) -> dict[str, Part]:
    """The phases of requests that are measured and predicted, by name.

    `edges`: ``queue`` (perhaps), ``ttft`` and ``latency``, measured and predicted seconds from the
    arrival, (n,) each without NaN; `spent` of the same requests; `names` of the phases told apart.
    """
    phases = [[0, 1], [2]] if len(names) == 2 else [[0], [1], [2]]
    before = (np.zeros(spent.steps.shape[1]),) * 2
    gaps, figures = [], []
    for measured, predicted in edges.values():
        span = measured - before[0], predicted - before[1]
        gaps.append(span[0] - span[1])
        figures.append(Figure(float(span[0].mean()), float(span[1].mean())))
        before = (measured, predicted)
    own = [spent.summed(each) for each in phases]
    decode, steps = own[-1], own[-1].steps[0]
    least = float(decode.host[0].sum() / max(steps.sum(), 1e-300))
    late = fitted(gaps[-1], decode, steps, least=least)
    first = _first(gaps[:-1], spent, own[:-1])
    queued = _queued(spent)
    found = {
        name: _part(figure, part, fit, 1.0, "request", queued * (not number), late)
        for number, (name, figure, part, fit)
        in enumerate(zip(names, figures, own, first, strict=False))
    }  # fmt: skip
    return {**found, names[-1]: _part(figures[-1], decode, late, float(steps.mean()), "step")}


def part_of_runs(
    measured: Floats, predicted: Floats, own: Spent, calm: Mask, per: str
) -> Part:  # fmt: skip
    """The mean time to the first token (`per` request) or per token (`per` step) of several runs.

    `measured`, `predicted` seconds without NaN, (runs,); `own` of the predicted means, (1, runs);
    `calm`: runs from which speeds are told, for nothing queued up in them.
    """
    gap = measured - predicted
    told = calm if int(calm.sum()) >= FEWEST else np.ones(len(gap), bool)
    least = float((own.api[0] + own.host[0])[told].mean())
    fit = fitted(gap[told], own.chosen(told), np.ones(int(told.sum())), least=least)
    figure = Figure(float(measured.mean()), float(predicted.mean()))
    return _part(figure, own, fit, 1.0, per)


def _first(gaps: Sequence[Floats], spent: Spent, own: Sequence[Spent]) -> list[Fit]:
    """Fits of the phases before the first token: speed as in requests that hardly queue.

    Of two phases the device is told by both together, what is the same for all by each.
    """
    whole, calm = spent.summed([0, 1]), _steadily(spent)
    gap = np.sum(gaps, axis=0)
    least = float((whole.api[0] + whole.host[0])[calm].mean())
    fit = fitted(gap[calm], whole.chosen(calm), np.ones(int(calm.sum())), least=least)
    if len(gaps) == 1 or not fit.told:
        return [fit] * len(gaps)
    queued = float(np.median((gaps[0] - fit.slower * own[0].device[0])[calm]))
    queued = queued if fit.each else 0.0
    return [Fit(queued, fit.slower, True), Fit(fit.each - queued, fit.slower, True)]


def _queued(spent: Spent) -> Floats:
    """Mean seconds of devices, and steps, that requests wait for longer than those that hardly
    queue, (2,): other requests are served meanwhile, at the speed of decoding."""
    waited = spent.steps[0]
    part = np.clip(1.0 - _limit(spent) / np.maximum(waited, 1e-300), 0.0, 1.0)
    return np.array([(part * spent.device[0]).mean(), (part * waited).mean()])


def _part(
    figure: Figure, own: Spent, fit: Fit, count: float, per: str,
    queued: Floats | None = None, late: Fit | None = None,
) -> Part:  # fmt: skip
    """`queued` of its seconds and steps are waiting as of `_queued`, and follow `late`."""
    known = {name: float(getattr(own, name)[0].mean())
             for name in ("device", "host", "api", "other")}  # fmt: skip
    seconds, steps = (0.0, 0.0) if queued is None else queued.tolist()
    causes = dict.fromkeys(CAUSES, 0.0)
    causes["device" if fit.told else "either"] -= fit.slower * (known["device"] - seconds)
    causes["host"] -= fit.each * count
    if late is not None:
        causes["device" if late.told else "either"] -= late.slower * seconds
        causes["host"] -= late.each * steps
    causes["rest"] = figure.predicted - figure.measured - sum(causes.values())
    return Part(figure, known, causes, fit, per)
