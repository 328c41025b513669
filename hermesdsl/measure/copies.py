"""Copies that were timed: how fast a device moves bytes in its memory, and to and from the host.

The first become a grid of a calibration; the second are told, since a way to the host is a link of
the hardware and no property of a chip. Knows rows of a table; no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.graph.types import Grid
from hermesdsl.measure.calibrate import FOLDS
from hermesdsl.measure.collective import STIFF
from hermesdsl.measure.fit import Floats, fit, folds, grids, predict, term

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FittedCopies", "Way", "fit_copies", "way"]

#: Fewest sizes that are worth a fit.
FEWEST = 5


@dataclass(frozen=True)
class FittedCopies:
    """Grids over the bytes that a copy reads and writes, and median absolute errors of its rows.

    `error` of the rows fitted, `held` of each by a fit without its part of five, `plain` of the
    data-sheet model. `bandwidth`: byte/s, read and written, of the largest copy. `measured` and
    `predicted` (hold-out) seconds, (rows,).
    """

    grids: tuple[Grid, ...]
    rows: int
    error: float
    held: float
    plain: float
    bandwidth: float
    measured: Floats
    predicted: Floats


@dataclass(frozen=True)
class Way:
    """A direction between host and device: byte/s of large copies, seconds of empty ones."""

    bandwidth: float
    latency: float


def fit_copies(rows: pd.DataFrame, bandwidth: float) -> FittedCopies | None:
    """Of copies from memory to memory: columns bytes (copied, so twice as many are moved) and
    seconds; `bandwidth` of the data sheet, byte/s. None for fewer than five sizes."""
    moved = 2.0 * rows["bytes"].to_numpy(np.float64)
    measured = rows["seconds"].to_numpy(np.float64)
    if len(set(moved.tolist())) < FEWEST:
        return None
    # As `cost.gemm.copy_seconds` has it.
    plain = VLLM.overheads.kernel + moved / (bandwidth * ACCELERATOR.memory)
    points: Mapping[str, Floats] = {"bytes": moved}
    terms = (term(bytes=sorted(set(moved.tolist()))),)
    target, weight = np.log(plain / measured), np.ones(len(measured))
    values = fit(terms, points, target, weight, STIFF)
    fitted = plain / np.exp(predict(terms, values, points))
    predicted = plain.copy()
    fold = folds(moved.tolist(), FOLDS)
    for part in range(FOLDS):
        out = fold == part
        if out.any() and not out.all():
            own = fit(terms, {"bytes": moved[~out]}, target[~out], weight[~out], STIFF)
            predicted[out] = plain[out] / np.exp(predict(terms, own, {"bytes": moved[out]}))
    largest = int(np.argmax(moved))
    error, held, sheet = (
        float(np.median(np.abs(each / measured - 1.0))) for each in (fitted, predicted, plain)
    )
    return FittedCopies(
        grids(terms, values), len(measured), error, held, sheet,
        float(moved[largest] / measured[largest]), measured, predicted,
    )  # fmt: skip


def way(rows: pd.DataFrame) -> Way:
    """What copies between host and device reach: columns bytes and seconds.

    Bandwidth is that between the two largest sizes (of one alone, its own); latency the least that
    is left of any copy.
    """
    size, seconds = (rows.groupby("bytes")["seconds"].median().reset_index()[name]
                     .to_numpy(np.float64) for name in ("bytes", "seconds"))  # fmt: skip
    bandwidth = float(size[-1] / seconds[-1])
    if len(size) > 1 and seconds[-1] > seconds[-2]:
        bandwidth = float((size[-1] - size[-2]) / (seconds[-1] - seconds[-2]))
    return Way(bandwidth, max(float((seconds - size / bandwidth).min()), 0.0))
