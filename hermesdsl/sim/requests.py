"""A table of requests: what one workload offers, as equal-length columns.

Made by `sim.workload`, read by the interpreter. Knows no clock, stream or distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatColumn: TypeAlias = "NDArray[np.float64]"
IntColumn: TypeAlias = "NDArray[np.int64]"
IndexColumn: TypeAlias = "NDArray[np.int32]"


@dataclass(frozen=True, eq=False)
class Blocks:
    """Prefix-chained block ids: row r has `ids[starts[r]:starts[r + 1]]`, of `size` tokens each.

    `ids` of all rows one after another, `starts` of shape (n + 1,). Equal ids stand for equal
    text of the block and of everything before it.
    """

    ids: IntColumn
    starts: IntColumn
    size: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, number: int) -> IntColumn:
        """The ids of one row."""
        return self.ids[self.starts[number] : self.starts[number + 1]]

    def rows(self, order: NDArray[np.intp]) -> Blocks:
        """The rows of these numbers, in this order."""
        counts = np.diff(self.starts)[order]
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
        source = np.repeat(self.starts[order] - starts[:-1], counts)
        return Blocks(self.ids[source + np.arange(len(source))], starts, self.size)


def infinite_hit_rate(blocks: Blocks) -> float:
    """Share of block references, in order of rows, to a block seen before: no cache does better.

    That of a cache which never forgets; 0.0 without any block. Every id counts once as a miss:
    1 − distinct/all.
    """
    references = len(blocks.ids)
    return 1.0 - len(np.unique(blocks.ids)) / references if references else 0.0


def _unset_index() -> IndexColumn:
    return np.empty(0, np.int32)


def _unset_int() -> IntColumn:
    return np.empty(0, np.int64)


def _unset_float() -> FloatColumn:
    return np.empty(0)


@dataclass(frozen=True, eq=False)
class RequestBatch:
    """The requests of one workload, those that come by themselves first, sorted by arrival.

    Row r is request r; columns of shape (n,). `workload`: name. `arrival` seconds from the run's
    start, inf for a follow-up; `prompt` (new text only) and `output` tokens, at least 1; `klass`
    index into `classes`; `session` identity, -1 for none; `priority` of the class, higher is
    served first.

    `after`: the request before it in the same chain, -1 if none; a follow-up comes `delay`
    seconds after that one has finished. `after` < r always. `turn` within the session, from 1.
    `grows`: what earlier turns of a session appended and produced precedes the prompt of a later
    one. `prefix`: identity of a text in front of everything, shared by equal numbers within the
    workload, of `prefix_tokens` tokens; -1 and 0 for none. A session that grows has one. `blocks`:
    a trace's own block ids of the whole prompt. `cached`: tokens of the prompt whose KV a cache had
    by what a trace says; they need no prefill. Columns left out are those of plain requests.
    """

    workload: str
    arrival: FloatColumn
    prompt: IntColumn
    output: IntColumn
    klass: IndexColumn
    session: IntColumn
    priority: IndexColumn
    classes: tuple[str, ...] = ("",)
    turn: IndexColumn = field(default_factory=_unset_index)
    after: IntColumn = field(default_factory=_unset_int)
    delay: FloatColumn = field(default_factory=_unset_float)
    prefix: IntColumn = field(default_factory=_unset_int)
    prefix_tokens: IntColumn = field(default_factory=_unset_int)
    cached: IntColumn = field(default_factory=_unset_int)
    blocks: Blocks | None = None
    grows: bool = False

    def __post_init__(self) -> None:
        plain = (("turn", 1), ("after", -1), ("delay", 0), ("prefix", -1), ("prefix_tokens", 0),
                 ("cached", 0))  # fmt: skip
        for name, value in plain:
            column = getattr(self, name)
            if not len(column):
                object.__setattr__(self, name, np.full(len(self), value, column.dtype))

    def __len__(self) -> int:
        return len(self.arrival)
