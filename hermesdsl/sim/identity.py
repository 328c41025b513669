"""Which text a request's context is: chained ids of its blocks, equal where text is equal.

A trace brings ids of its own prompts; other texts are known by identity: a shared prefix, and
behind it the stream of a session that grows, or of the request itself. Knows no cache and no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hermesdsl.sim.prefix import Chains

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hermesdsl.sim.load import Offered

#: From how many tokens on a text has a name of its own, and that name: ascending.
Breaks: TypeAlias = "tuple[tuple[int, int], ...]"


class Identities:
    """The texts of the requests that are offered."""

    def __init__(self, offered: Offered) -> None:
        self._offered = offered
        self._chains: dict[int, Chains] = {}
        #: Per workload with a trace's own ids: those ids, numbered from 0, of all its rows.
        self._numbered: dict[int, NDArray[np.int64]] = {}

    def chain(self, request: int, tokens: int, size: int, breaks: Breaks = ()) -> Sequence[int]:
        """Ids of the full blocks, of `size` tokens each, of the first `tokens` of a context.

        A block's id stands for its text and all text before it. A trace's blocks are cut into
        smaller or joined to larger ones; of sizes that do not divide each other, none is known.
        `breaks` of a thread: the block in which one lies, and those after it, have its name.
        """
        if not breaks:
            return self._own(request, tokens, size)
        found = list(self._own(request, min(tokens, breaks[0][0]), size))
        ends = [start for start, _ in breaks[1:]]
        for (_, name), end in zip(breaks, [*ends, tokens], strict=True):
            made = self._of(size).blocks(None, 0, ("text", name), min(end, tokens))
            found += made[len(found) :]
        return found

    def _own(self, request: int, tokens: int, size: int) -> Sequence[int]:
        """The ids of a text that is the request's, or its session's, own all through."""
        offered = self._offered
        workload = offered.workload_of[request]
        number = int(offered.number[request])
        grows, session = offered.grows[request], offered.sessions[request]
        stream = (workload, session) if grows and session >= 0 else (workload, -1, number)
        traced = self._traced(workload, number, min(tokens, offered.prompts[request]), size)
        if traced is not None:
            known = len(traced)
            own = self._of(size).blocks(None, 0, stream, tokens)[known:]
            return [*traced, *own]
        prefix = offered.prefix[request]
        shared = None if prefix < 0 else (workload, prefix)
        return self._of(size).blocks(shared, offered.prefixes[request], stream, tokens)

    def _of(self, size: int) -> Chains:
        if size not in self._chains:
            self._chains[size] = Chains(size)
        return self._chains[size]

    def _traced(self, workload: int, number: int, tokens: int, size: int) -> list[int] | None:
        """The blocks of a trace's prompt; None if it brings no ids. They are below zero."""
        blocks = self._offered.blocks[workload]
        if blocks is None:
            return None
        if workload not in self._numbered:
            self._numbered[workload] = np.unique(blocks.ids, return_inverse=True)[1].reshape(-1)
        row = self._numbered[workload][blocks.starts[number] : blocks.starts[number + 1]]
        workloads = len(self._offered.blocks)
        if blocks.size % size == 0:
            pieces = blocks.size // size
            first = (row * workloads + workload) * pieces
            ids = (first[:, None] + np.arange(pieces)).reshape(-1)
        elif size % blocks.size == 0:
            pieces = size // blocks.size
            ids = row[pieces - 1 :: pieces] * workloads + workload
        else:
            return []
        found: list[int] = (-1 - ids[: tokens // size]).tolist()
        return found


__all__ = ["Breaks", "Identities"]
