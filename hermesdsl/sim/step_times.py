"""When decode steps ended, read off the rows in which they were recorded: never one by one.

A row has steps that grow evenly, so any of its ends is a formula away. The decode steps of all
clients are numbered through, client by client: step s of a client (from 1) has the number
``bases[client] + s``. Knows no request and no token.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hermesdsl.sim.grouping import rows_by
from hermesdsl.sim.record import Column, Table

__all__ = ["StepTimes", "Steps", "spread"]


class Steps(NamedTuple):
    """Some steps: the `number` of each, and where it is: the how many-th `step` of which `row`."""

    number: Column
    row: Column
    step: Column


class StepTimes:
    """The rows of a table of steps in which any client decoded, by client; of `clients` at least.

    Of each row, shape (rows,): `count` of its steps, `start` and `end` in seconds, length `first`
    of its first step and `growth` of the following ones; `upto`: the number of its last step.
    Within a row, step j of k ends at start + j·first + c·j(j − 1)/2, with c such that step k ends
    where the row does (step times are affine in the summed context, and this grows evenly).
    """

    def __init__(self, steps: Table, clients: int) -> None:
        by_client = rows_by(steps["client"], steps["batch"] > 0)
        rows = np.concatenate([np.empty(0, np.int64), *by_client.values()])
        self.client = steps["client"][rows]
        self.count = count = steps["steps"][rows]
        self.start, self.end, self.first = (
            steps[name][rows] for name in ("start_s", "end_s", "first_s")
        )
        growth = 2.0 * (self.end - self.start - count * self.first)
        growth = np.where(count > 1, growth, 0.0)
        self.growth = growth / np.maximum(count * (count - 1), 1)
        self.upto = np.cumsum(count)
        #: Steps of all clients before each, shape (clients + 1,) or more.
        steps_of = np.bincount(self.client, count, clients).astype(np.int64)
        self.bases = np.concatenate([[0], np.cumsum(steps_of)])

    def at(self, row: Column, step: Column) -> Column:
        """Ends of steps of rows, counted from 1 within each: seconds, of the same shape."""
        j = step.astype(np.float64)
        times = self.start[row] + j * self.first[row] + self.growth[row] * (j * (j - 1) / 2)
        return np.asarray(np.where(step == self.count[row], self.end[row], times))

    def find(self, number: Column) -> Steps:
        """Steps by their numbers."""
        row = np.searchsorted(self.upto, number - 1, "right")
        return Steps(number, row, number - self.upto[row] + self.count[row])

    def ends(self, number: Column) -> Column:
        """Ends of steps by their numbers: seconds, of the same shape."""
        found = self.find(number)
        return self.at(found.row, found.step)

    def before(self, time: float) -> Column:
        """How many steps of each client end before `time` (seconds), shape (clients,)."""
        found = np.zeros(len(self.bases) - 1)
        over = self.end < time
        found += np.bincount(self.client[over], self.count[over], len(found))
        cut = np.flatnonzero(~over & (self.start < time))
        row, step = spread(cut, np.ones(len(cut), np.int64), self.count[cut] + 1)
        found += np.bincount(self.client[row], self.at(row, step) < time, len(found))
        return found.astype(np.int64)

    @property
    def error(self) -> float:
        """Seconds by which the difference of two ends may miss that of the exact formula.

        An end is computed from numbers no larger than the largest here by eight operations, each
        off by 2^-53 of that at most; two ends, their difference and the row's growth make less
        than 2^5 of these.
        """
        most = (self.start + self.count * self.first).max(initial=self.end.max(initial=0.0))
        return float(most) * 2.0**-48


def spread(row: Column, low: Column, high: Column) -> tuple[Column, Column]:
    """(row, step) of every step of ranges [low, high) of rows, one range after the other."""
    length = high - low
    begins = np.cumsum(length) - length
    places = np.repeat(np.arange(len(row)), length)
    return row[places], np.arange(len(places)) - begins[places] + low[places]
