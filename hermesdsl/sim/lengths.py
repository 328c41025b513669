"""How long things are: distributions of token counts, and of any other non-negative amount.

A distribution is its quantile function: draw r is the quantile of uniform number r of a stream, so
it never depends on the draws before it, and two settings compared under one seed see the same
luck. An entry of `DISTRIBUTIONS` is all there is to one. `min` and `max` cut: what lies beyond
is set to the bound, as an engine's output limit does. Knows no request, class or arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, expm1, inf, isfinite, log, log1p
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.graph.types import Spec, Value
from hermesdsl.sim.streams import Floats, Stream, normal_quantile
from hermesdsl.sim.trace import read_column

__all__ = ["DISTRIBUTIONS", "Distribution", "distribution", "mean", "sample", "tokens"]

#: Points of the midpoint rule for means without a closed form.
_POINTS = 1 << 16


@dataclass(frozen=True)
class Distribution:
    """A distribution in SI units (or tokens): quantiles of an array, and its mean.

    `closed_mean` is None where there is no closed form.
    """

    quantile: Callable[[Floats], Floats]
    closed_mean: float | None = None

    @cached_property
    def mean(self) -> float:
        """Mean of the values, cut below at zero; by the midpoint rule without a closed form."""
        if self.closed_mean is not None:
            return self.closed_mean
        middles = (np.arange(_POINTS) + 0.5) / _POINTS
        return float(np.maximum(self.quantile(middles), 0.0).mean())


def sample(spec: Spec, stream: Stream, n: int, offset: int = 0) -> Floats:
    """Draws `offset` … `offset + n - 1` of a distribution, never negative. Raises SpecError."""
    return np.maximum(distribution(spec).quantile(stream.uniform(n, offset)), 0.0)


def tokens(spec: Spec, stream: Stream, n: int, offset: int = 0) -> NDArray[np.int64]:
    """The same draws as whole tokens: rounded half up, at least 1. Raises SpecError."""
    drawn = np.floor(sample(spec, stream, n, offset) + 0.5)
    return np.asarray(np.clip(drawn, 1.0, 1e9), dtype=np.int64)


def mean(spec: Spec) -> float:
    """Mean of a distribution, before rounding: closed form, or numeric where a bound cuts it."""
    return distribution(spec).mean


def distribution(spec: Spec) -> Distribution:
    """The distribution a spec describes.

    Raises SpecError: HMS506 for a name that does not exist, HMS601 for wrong arguments, HMS603
    for a bad file of `empirical`.
    """
    entry = DISTRIBUTIONS.get(spec.name)
    if entry is None:
        raise SpecError([_unknown(spec.name)])
    make, names = entry
    given = {name: value for name, value in spec.args.items() if value is not None}
    allowed = tuple(dict.fromkeys((*names, "min", "max")))
    wrong = [name for name in given if name not in allowed]
    if wrong:
        match = nearest(wrong[0], allowed)
        notes = [f"help: did you mean `{match}`?"] if match else []
        notes.append(f"`{spec.name}` takes {', '.join(allowed)}")
        raise _bad(spec, f"has no argument `{wrong[0]}`", *notes)
    made = make(spec, given)
    low, high = (_optional(spec, given, bound) for bound in ("min", "max"))
    if spec.name == "geometric" or (low is None and high is None):
        return made  # a geometric count stops at `max` by itself
    return _cut(spec, made, low, high)


def _cut(spec: Spec, whole: Distribution, low: float | None, high: float | None) -> Distribution:
    bottom = -inf if low is None else low
    top = inf if high is None else high
    if bottom > top:
        raise _bad(spec, f"has min {bottom:g} above max {top:g}")

    def quantile(u: Floats) -> Floats:
        return np.clip(whole.quantile(u), bottom, top)

    return Distribution(quantile)


# --- arguments ---------------------------------------------------------------------------------


def _bad(spec: Spec, what: str, *notes: str) -> SpecError:
    return SpecError([error("HMS601", f"distribution `{spec.name}` {what}", notes=notes)])


def _unknown(name: str) -> Diagnostic:
    match = nearest(name, DISTRIBUTIONS)
    notes = [f"help: did you mean `{match}`?"] if match else []
    notes.append(f"distributions that can run: {', '.join(sorted(DISTRIBUTIONS))}")
    return error("HMS506", f"distribution `{name}` is not executable yet", notes=notes)


def _optional(spec: Spec, given: Mapping[str, Value], name: str) -> float | None:
    """A finite, non-negative argument, or None if it was not given."""
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _bad(spec, f"has `{name} = {value}`, which is not a finite number")
    if value < 0:
        raise _bad(spec, f"has `{name} = {value:g}`, which is negative")
    return float(value)


def _required(spec: Spec, given: Mapping[str, Value], name: str) -> float:
    value = _optional(spec, given, name)
    if value is None:
        raise _bad(spec, f"needs `{name}`")
    return value


def _positive(spec: Spec, given: Mapping[str, Value], name: str) -> float:
    value = _required(spec, given, name)
    if value == 0:
        raise _bad(spec, f"has `{name} = 0`; it must be above zero")
    return value


# --- distributions -----------------------------------------------------------------------------


def _fixed(spec: Spec, given: Mapping[str, Value]) -> Distribution:
    value = _required(spec, given, "value")
    return Distribution(lambda u: np.full(u.shape, value), value)


def _uniform(spec: Spec, given: Mapping[str, Value]) -> Distribution:
    low, high = _required(spec, given, "low"), _required(spec, given, "high")
    if low > high:
        raise _bad(spec, f"has low {low:g} above high {high:g}")
    return Distribution(lambda u: low + u * (high - low), 0.5 * (low + high))


def _normal(spec: Spec, given: Mapping[str, Value]) -> Distribution:
    centre, spread = _required(spec, given, "mean"), _required(spec, given, "std")

    def quantile(u: Floats) -> Floats:
        return np.maximum(centre + spread * normal_quantile(u), 0.0)

    return Distribution(quantile)


def _exponential(spec: Spec, given: Mapping[str, Value]) -> Distribution:
    average = _positive(spec, given, "mean")
    return Distribution(lambda u: -average * np.log1p(-u), average)


def _geometric(spec: Spec, given: Mapping[str, Value]) -> Distribution:
    """Number of trials to the first success, P(k) = (1-p)^(k-1) p, p = 1/mean, stopped at `max`.

    Mean of the stopped count: (1 - (1-p)^max) / p.
    """
    average = _required(spec, given, "mean")
    high = _optional(spec, given, "max")
    if average < 1:
        raise _bad(spec, f"has mean {average:g}; a count of at least 1 has a mean of at least 1")
    top = inf if high is None else high
    if top < 1 or (high is not None and high % 1):
        raise _bad(spec, f"has max {top:g}; it must be a whole number of at least 1")
    if average == 1:
        return Distribution(np.ones_like, 1.0)
    go_on = log1p(-1.0 / average)

    def quantile(u: Floats) -> Floats:
        return np.clip(np.ceil(np.log1p(-u) / go_on), 1.0, top)

    return Distribution(quantile, average if high is None else -average * expm1(go_on * high))


def _lognormal(spec: Spec, given: Mapping[str, Value]) -> Distribution:
    """From two of its numbers: mu = ln median = ln mean - sigma²/2; ln p_q = mu + z_q sigma."""
    known = {
        _PERCENTILES[name]: _positive(spec, given, name) for name in given if name in _PERCENTILES
    }
    if "median" in given and "p50" in given:
        raise _bad(spec, "has both `median` and `p50`, which are the same")
    if len(known) + ("mean" in given) + ("sigma" in given) != 2 or (
        "mean" in given and "sigma" not in given
    ):
        raise _bad(
            spec,
            "needs two numbers",
            "help: give `median` or `mean` and `sigma`, one percentile and `sigma`, or two "
            "percentiles such as `p50` and `p99`",
        )
    levels = sorted(known)
    z = [float(normal_quantile(np.array([level]))[0]) for level in levels]
    if "sigma" in given:
        sigma = _required(spec, given, "sigma")
        if "mean" in given:
            mu = log(_positive(spec, given, "mean")) - 0.5 * sigma * sigma
        else:
            mu = log(known[levels[0]]) - z[0] * sigma
    else:
        sigma = (log(known[levels[1]]) - log(known[levels[0]])) / (z[1] - z[0])
        if sigma < 0:
            raise _bad(spec, "has a lower percentile above a higher one")
        mu = log(known[levels[0]]) - z[0] * sigma
    if sigma > 20:
        raise _bad(spec, f"has sigma {sigma:g}; more than 20 spans over 17 powers of ten")
    return Distribution(
        lambda u: np.exp(mu + sigma * normal_quantile(u)), exp(mu + 0.5 * sigma * sigma)
    )


def _quantiles(spec: Spec, given: Mapping[str, Value]) -> Distribution:
    """Piecewise linear between the points; level below the first and above the last."""
    points = given.get("points")
    try:
        table = np.array(points, dtype=np.float64)
    except (TypeError, ValueError):
        table = np.empty(0)
    if table.ndim != 2 or table.shape[1] != 2 or len(table) < 2:
        raise _bad(spec, "needs `points`: at least two pairs (share, value)")
    share, value = table[:, 0], table[:, 1]
    if not np.isfinite(table).all() or share[0] < 0 or share[-1] > 1 or (np.diff(share) <= 0).any():
        raise _bad(spec, "needs shares that rise within 0 to 1")
    if value[0] < 0 or (np.diff(value) < 0).any():
        raise _bad(spec, "needs values that are not negative and never fall")
    middle = float(np.sum(np.diff(share) * (value[1:] + value[:-1])) / 2)
    average = middle + float(share[0] * value[0] + (1.0 - share[-1]) * value[-1])
    return Distribution(lambda u: np.interp(u, share, value), average)


def _mixture(spec: Spec, given: Mapping[str, Value]) -> Distribution:
    """One of several, by share: the part that a uniform number falls into, at its place in it."""
    parts = given.get("parts")
    pairs = parts if isinstance(parts, tuple | list) else ()
    shares, made = [], []
    for pair in pairs:
        share, part = pair if isinstance(pair, tuple | list) and len(pair) == 2 else (None, None)
        if isinstance(share, bool) or not isinstance(share, int | float) or not share >= 0:
            raise _bad(spec, "needs (share, distribution) pairs")
        shares.append(float(share))
        made.append(_part(spec, part))
    if not made or abs(sum(shares) - 1.0) > 1e-6:
        raise _bad(spec, f"has shares that add up to {100 * sum(shares):g}%, not to 100%")
    edges = np.cumsum([0.0, *shares]) / sum(shares)
    whole = np.array([m.mean for m in made])

    def quantile(u: Floats) -> Floats:
        which = np.clip(np.searchsorted(edges, u, side="right") - 1, 0, len(made) - 1)
        values = np.empty_like(u)
        for number, part in enumerate(made):
            mine = which == number
            width = edges[number + 1] - edges[number]
            # Never exactly 0 or 1, where quantiles may be infinite.
            inside = np.clip((u[mine] - edges[number]) / max(width, 1e-300), 2.0**-53, 1 - 2.0**-53)
            values[mine] = part.quantile(inside)
        return values

    return Distribution(quantile, float((np.array(shares) * whole).sum()))


def _part(spec: Spec, part: Value) -> Distribution:
    if isinstance(part, Spec):
        return distribution(part)
    if isinstance(part, int | float) and not isinstance(part, bool):
        return distribution(Spec("fixed", {"value": part}))
    raise _bad(spec, "needs (share, distribution) pairs")


def _empirical(spec: Spec, given: Mapping[str, Value]) -> Distribution:
    """The values of one column of a file, each as likely as the other."""
    file, column = given.get("file"), given.get("column")
    if not isinstance(file, str) or not isinstance(column, str):
        raise _bad(spec, "needs `file` and `column`")
    scale = _positive(spec, {"unit": 1.0, **given}, "unit")
    values = np.sort(read_column(file, column) * scale)
    count = len(values)

    def quantile(u: Floats) -> Floats:
        return np.asarray(values[(u * count).astype(np.int64)])

    return Distribution(quantile, float(values.mean()))


_PERCENTILES: Mapping[str, float] = MappingProxyType(
    {"median": 0.5, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}
)

_Maker = Callable[[Spec, Mapping[str, Value]], Distribution]

#: name → (function that makes it, its arguments beside `min` and `max`).
DISTRIBUTIONS: Mapping[str, tuple[_Maker, tuple[str, ...]]] = MappingProxyType(
    {
        "fixed": (_fixed, ("value",)),
        "lognormal": (_lognormal, ("mean", "sigma", *_PERCENTILES)),
        "normal": (_normal, ("mean", "std")),
        "uniform": (_uniform, ("low", "high")),
        "exponential": (_exponential, ("mean",)),
        "geometric": (_geometric, ("mean", "max")),
        "quantiles": (_quantiles, ("points",)),
        "mixture": (_mixture, ("parts",)),
        "empirical": (_empirical, ("file", "column", "unit")),
    }
)
