"""Token counts of the clients of a table, drawn from the quantiles of each client and window.

Between the 50th, 90th and 99th percentile, and beyond them, the logarithm of a length is linear
in the normal quantile: log-normal pieces that meet the table's numbers. Knows no arrival process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hermesdsl.sim.arrivals.clients import read_table
from hermesdsl.sim.requests import IndexColumn, IntColumn
from hermesdsl.sim.streams import Floats, Stream, normal_quantile

#: What the columns of a role begin with.
_ROLES = {"prompt": "input_tokens", "output": "output_tokens"}
_LEVELS = (0.5, 0.9, 0.99)


@dataclass(frozen=True, eq=False)
class ClientLengths:
    """Rows of a table: `client` name per row, window `start` (s), log quantiles per role.

    `quantiles[role]` has shape (rows, 3), rising along a row.
    """

    client: tuple[str, ...]
    start: Floats
    quantiles: Mapping[str, Floats]

    def draw(
        self,
        names: Sequence[str],
        source: IndexColumn,
        when: Floats,
        stream: Stream,
        roles: Sequence[str],
    ) -> dict[str, IntColumn]:
        """Tokens of each request per role: whole, at least 1; shape (n,).

        Request r is of client `names[source[r]]` and comes at table time `when[r]` (s). It takes
        the client's latest window that has begun, else its first; a client without any takes
        the geometric means of the whole table.
        """
        rows = self._rows(names, source, when)
        found = {}
        for role in roles:
            table = self.quantiles[role]
            table = np.vstack([table, table.mean(axis=0)])
            z = normal_quantile(stream.child(role).uniform(len(rows)))
            drawn = np.exp(_pieces(table[rows], z))
            found[role] = np.clip(np.floor(drawn + 0.5), 1, 1e9).astype(np.int64)
        return found

    def notes(self, names: Sequence[str]) -> tuple[str, ...]:
        """What to say of clients without lengths."""
        missing = len(set(names) - set(self.client))
        if not missing:
            return ()
        return (f"{missing} of {len(names)} clients have no lengths; they take the table's means",)

    def _rows(self, names: Sequence[str], source: IndexColumn, when: Floats) -> NDArray[np.intp]:
        """The row of each request; the one after the last for none."""
        rows = np.full(len(when), len(self.client))
        own = np.array(self.client, dtype=object)
        for number, name in enumerate(names):
            mine = np.flatnonzero(own == name)
            asked = np.flatnonzero(source == number)
            if len(mine) and len(asked):
                mine = mine[np.argsort(self.start[mine], kind="stable")]
                place = np.searchsorted(self.start[mine], when[asked], side="right") - 1
                rows[asked] = mine[np.maximum(place, 0)]
        return rows


def client_lengths(file: str, model: str | None = None) -> ClientLengths:
    """The lengths of a table with columns client, window_start_s and quantiles such as
    input_tokens_p50, output_tokens_p99. Raises SpecError (HMS603).
    """
    wanted = [f"{prefix}_p{round(100 * q)}" for prefix in _ROLES.values() for q in _LEVELS]
    names, columns = read_table(file, ("client", "window_start_s", *wanted), (), model)
    client = tuple(names["client"][int(number)] for number in columns["client"])
    quantiles = {}
    for role, prefix in _ROLES.items():
        table = np.column_stack([columns[f"{prefix}_p{round(100 * q)}"] for q in _LEVELS])
        quantiles[role] = np.log(np.maximum(np.maximum.accumulate(table, axis=1), 1.0))
    return ClientLengths(client, columns["window_start_s"], quantiles)


def _pieces(logs: Floats, z: Floats) -> Floats:
    """Lines through three points per row over the normal quantiles, extended at both ends."""
    knots = normal_quantile(np.array(_LEVELS))
    low = (logs[:, 1] - logs[:, 0]) / (knots[1] - knots[0])
    high = (logs[:, 2] - logs[:, 1]) / (knots[2] - knots[1])
    below = logs[:, 0] + low * (z - knots[0])
    return np.asarray(np.where(z < knots[1], below, logs[:, 1] + high * (z - knots[1])))
