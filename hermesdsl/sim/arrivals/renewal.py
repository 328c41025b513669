"""Arrivals with independent, equally distributed gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import gamma, lgamma

import numpy as np

from hermesdsl.sim.arrivals.process import BLOCK, Arguments, Process, Source
from hermesdsl.sim.streams import Floats, Stream

RATE = "the mean arrival rate in requests per second"
CV = "the coefficient of variation of the gaps (1 is as irregular as Poisson)"
#: Least and greatest coefficient of variation that can be drawn without losing all digits.
CV_LIMITS = (0.01, 20.0)


def running(gaps: Callable[[int], Floats]) -> Iterator[Floats]:
    """Times whose successive differences, the first from zero, are `gaps(offset)` block by block.

    The running sum is carried into the next block, so every partial sum is the plain sequential
    one whatever the block size.
    """
    offset, last = 0, 0.0
    while True:
        block = gaps(offset)
        block[0] += last
        times = np.cumsum(block)
        last = float(times[-1])
        offset += len(block)
        yield times


def unit_gaps(shape: str, cv: float, stream: Stream, n: int, offset: int = 0) -> Floats:
    """Gaps of mean 1 and this coefficient of variation, ``gamma`` or ``weibull``, shape (n,)."""
    if shape == "gamma":
        k = cv**-2
        return stream.gamma(k, n, offset) / k
    k = weibull_shape(cv)
    return np.asarray(stream.exponential(n, offset) ** (1.0 / k) / gamma(1.0 + 1.0 / k))


def first_gap(shape: str, cv: float, stream: Stream, offset: int = 0) -> float:
    """The wait for the next arrival from a time that has nothing to do with the last, mean gap 1.

    A gap met at random is drawn in proportion to its length, and entered anywhere in it: gamma
    of shape k + 1, or Weibull as a gamma of shape 1 + 1/k to the 1/k. A process that starts so
    has its mean rate from the first moment on.
    """
    inside = float(stream.child("inside").uniform(1, offset)[0])
    if shape == "gamma":
        k = cv**-2
        return inside * float(stream.child("length").gamma(k + 1.0, 1, offset)[0]) / k
    k = weibull_shape(cv)
    drawn = float(stream.child("length").gamma(1.0 + 1.0 / k, 1, offset)[0])
    return float(inside * drawn ** (1.0 / k) / gamma(1.0 + 1.0 / k))


def weibull_shape(cv: float) -> float:
    """The shape k of a Weibull distribution with this coefficient of variation.

    Solves 1 + cv² = Γ(1 + 2/k) / Γ(1 + 1/k)², which falls with k, by bisection of 1/k.
    """
    target = np.log1p(cv * cv)
    low, high = 1e-6, 64.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if lgamma(1.0 + 2.0 * middle) - 2.0 * lgamma(1.0 + middle) < target:
            low = middle
        else:
            high = middle
    return 2.0 / (low + high)


def _poisson(args: Arguments, stream: Stream, _: float) -> Sequence[Source]:
    mean = 1.0 / args["rate"]
    return [running(lambda offset: stream.exponential(BLOCK, offset) * mean)]


def _irregular(shape: str) -> Callable[[Arguments, Stream, float], Sequence[Source]]:
    def sources(args: Arguments, stream: Stream, _: float) -> Sequence[Source]:
        cv, mean = args["cv"], 1.0 / args["rate"]
        return [running(lambda offset: unit_gaps(shape, cv, stream, BLOCK, offset) * mean)]

    return sources


def _constant(args: Arguments, _: Stream, __: float) -> Sequence[Source]:
    def blocks() -> Source:
        offset = 0
        while True:
            yield np.arange(offset, offset + BLOCK) / args["rate"]
            offset += BLOCK

    return [blocks()]


POISSON = Process(_poisson, {"rate": RATE}, "Independent arrivals: exponential gaps.")
GAMMA = Process(
    _irregular("gamma"),
    {"rate": RATE, "cv": CV},
    "Gamma gaps: burstier than Poisson above cv = 1, smoother below.",
    {"cv": CV_LIMITS},
)
WEIBULL = Process(
    _irregular("weibull"),
    {"rate": RATE, "cv": CV},
    "Weibull gaps, heavier in the tail than gamma at the same cv.",
    {"cv": CV_LIMITS},
)
CONSTANT = Process(
    _constant, {"rate": RATE}, "One request every 1/rate seconds, the first at zero."
)
