"""A device whose clock is a formula: what is timed on it is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from hermesdsl.measure.attention import DECODE, PREFILL
from hermesdsl.measure.operators import GEMM, Sheet
from hermesdsl.measure.profile.grid import SIZES, Case
from hermesdsl.measure.profile.session import Unfit
from hermesdsl.measure.profile.timing import Call

SHEETS = {"bf16": Sheet(990e12, 4.8e12, 132, 990e12), "fp8": Sheet(1979e12, 4.8e12, 132, 990e12)}
OPERATORS = {each.name: each for each in (GEMM, PREFILL, DECODE)}
#: What the device reaches of the speed of the model that a calibration is relative to.
REACHED = {"gemm": 0.7, "prefill": 0.5, "decode": 0.8}


def modelled(case: Case) -> float:
    """Seconds at which `case` reaches exactly `REACHED` of the model that grids scale."""
    if case.operator not in OPERATORS:
        return 1e-6 + 2.0 * case.size("bytes") / 4e12
    names = SIZES[case.operator]
    frame = pd.DataFrame([dict(zip(names, case.sizes, strict=True))])
    points = OPERATORS[case.operator].points(frame, SHEETS[case.dtype], case.dtype)
    return float(np.asarray(points.reference)[0]) / REACHED[case.operator]


@dataclass
class FormulaDevice:
    """Runs calls at once on a clock of its own.

    Caches that were not emptied before a call make it twice as fast; the first `cold` calls of a
    case take ten times as long; `noise` are factors on the times of calls, over and over.
    """

    formula: Callable[[Case], float] = modelled
    cold: int = 0
    noise: tuple[float, ...] = (1.0,)
    watts: float | None = None
    unfit: Callable[[Case], bool] = lambda _: False
    now: float = 0.0
    calls: int = 0
    flushed: bool = False
    prepared: list[Case] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def flush(self) -> None:
        self.now += 1e-4
        self.flushed = True

    def mark(self) -> float:
        return self.now

    def wait(self) -> None:
        pass

    def seconds(self, start: float, end: float) -> float:
        return end - start

    def power(self) -> float | None:
        return self.watts

    def prepare(self, case: Case) -> Call:
        self.prepared.append(case)
        if self.unfit(case):
            raise Unfit("out of memory")
        seconds, left = self.formula(case), self.cold

        def call() -> None:
            nonlocal left
            factor = self.noise[self.calls % len(self.noise)]
            factor *= 10.0 if left > 0 else 1.0
            factor *= 1.0 if self.flushed else 0.5
            self.now += seconds * factor
            self.calls += 1
            left -= 1
            self.flushed = False

        return call
