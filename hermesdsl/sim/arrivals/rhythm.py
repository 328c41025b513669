"""Poisson arrivals whose rate follows a rhythm that repeats: bursts, and a day."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp

import numpy as np

from hermesdsl.sim.arrivals.process import BLOCK, Arguments, Process, Source
from hermesdsl.sim.arrivals.renewal import RATE
from hermesdsl.sim.streams import Floats, Stream

#: Equal steps of a cycle within which the rate is constant; its sum over each step is exact.
STEPS = 4096

_PERIOD = "the length of a cycle in seconds"


def rhythmic(
    cumulative: Callable[[Floats], Floats], rate: float, period: float, stream: Stream
) -> Source:
    """A Poisson process of mean `rate` whose rate repeats every `period` seconds.

    `cumulative` maps the share of a cycle that has passed to the share of its arrivals that are
    expected by then, 0 to 1, rising. Arrival r comes when the expected number of arrivals has
    grown to the sum of r + 1 exponential gaps (time change of a unit process).
    """
    share = np.linspace(0.0, 1.0, STEPS + 1)
    expected = cumulative(share)
    expected[0], expected[-1] = 0.0, 1.0
    grown, offset = 0.0, 0
    while True:
        gaps = stream.exponential(BLOCK, offset)
        gaps[0] += grown
        level = np.cumsum(gaps)
        grown = float(level[-1])
        offset += BLOCK
        cycles = level / (rate * period)
        whole = np.floor(cycles)
        yield (whole + np.interp(cycles - whole, expected, share)) * period


def peak_sharpness(peak: float) -> float:
    """κ of a rate e^(κ cos x) whose maximum is `peak` times its mean: e^κ / I0(κ) = peak.

    By bisection; the ratio rises with κ from 1.
    """
    low, high = 0.0, 700.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        if exp(middle) / float(np.i0(middle)) < peak:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def _bursty(args: Arguments, stream: Stream, _: float) -> Sequence[Source]:
    """Rate r(1 + s·sin 2πx), or r(1 + s) in the first half of a cycle and r(1 − s) after it."""
    swing = float(args["swing"])

    def sine(x: Floats) -> Floats:
        return np.asarray(x + swing * (1.0 - np.cos(2.0 * np.pi * x)) / (2.0 * np.pi))

    def on_off(x: Floats) -> Floats:
        return np.asarray(np.where(x < 0.5, (1.0 + swing) * x, swing + (1.0 - swing) * x))

    form = sine if args["shape"] == "sine" else on_off
    return [rhythmic(form, args["rate"], args["period"], stream)]


def _diurnal(args: Arguments, stream: Stream, _: float) -> Sequence[Source]:
    """Rate r·e^(−κ cos 2πx) / I0(κ): lowest as a day begins, highest in its middle."""
    sharpness = peak_sharpness(args["peak"])

    def form(x: Floats) -> Floats:
        middles = (np.arange(STEPS) + 0.5) / STEPS
        rate = np.exp(sharpness * (-np.cos(2.0 * np.pi * middles) - 1.0))
        total = np.concatenate([np.zeros(1), np.cumsum(rate)])
        return np.asarray(np.interp(x, np.linspace(0.0, 1.0, STEPS + 1), total / total[-1]))

    return [rhythmic(form, args["rate"], args["period"], stream)]


BURSTY = Process(
    _bursty,
    {"rate": RATE, "period": _PERIOD, "shape": "the form of a cycle",
     "swing": "half the range of the rate, as a share of its mean"},
    "A rate that swings between low and high, as a sine or between two levels.",
    {"swing": (0.0, 1.0)},
    {"shape": ("sine", "on_off")},
)  # fmt: skip
DIURNAL = Process(
    _diurnal,
    {"rate": RATE, "peak": "the highest rate over the mean", "period": "the length of a day"},
    "A day's rhythm: lowest as the run begins, highest half a period later.",
    {"peak": (1.0, 40.0)},
)
