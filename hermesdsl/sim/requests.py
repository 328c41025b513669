"""A table of requests: what one workload offers, as equal-length columns.

Made by `sim.workload`, read by the interpreter. Knows no clock, stream or distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatColumn: TypeAlias = "NDArray[np.float64]"
IntColumn: TypeAlias = "NDArray[np.int64]"
IndexColumn: TypeAlias = "NDArray[np.int32]"


@dataclass(frozen=True, eq=False)
class RequestBatch:
    """The requests of one workload, sorted by arrival; row r is request r.

    `workload`: name. Columns of shape (n,): `arrival` seconds from the run's start; `prompt` and
    `output` tokens, at least 1; `klass` index into `classes`; `session` identity, -1 for none;
    `priority` of the class, higher is served first.
    """

    workload: str
    arrival: FloatColumn
    prompt: IntColumn
    output: IntColumn
    klass: IndexColumn
    session: IntColumn
    priority: IndexColumn
    classes: tuple[str, ...] = ("",)

    def __len__(self) -> int:
        return len(self.arrival)
