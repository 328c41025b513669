"""What visits leave behind while they happen: rows of the record, and the load of clients.

The ground on which the interpreter stands. Knows threads and nodes; not where a thread goes next.
"""

from __future__ import annotations

from math import isnan, nan
from typing import TYPE_CHECKING

from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.load import Offered
from hermesdsl.sim.nodes import EngineVisit, Fetch, Visit
from hermesdsl.sim.record import VISIT_ROW, Recorder
from hermesdsl.sim.routing.load import ClientLoad
from hermesdsl.sim.walk import Thread

if TYPE_CHECKING:
    from hermesdsl.graph.types import StageNode


class VisitRows:
    """Requests of `offered` on their way, their records and what they load clients with."""

    def __init__(
        self, offered: Offered, kernel: Kernel, recorder: Recorder, load: ClientLoad
    ) -> None:
        self._offered = offered
        self._kernel = kernel
        self._recorder = recorder
        self._load = load
        self._live: dict[int, Thread] = {}
        self._parts = 0

    def under_way(self) -> set[int]:
        """Requests that have a thread on its way."""
        return {thread.request for thread in self._live.values()}

    def _charge(self, thread: Thread, client: int, stage: StageNode) -> None:
        request = thread.request
        tokens = thread.context + (thread.produces or self._offered.outputs[request])
        thread.client = client
        thread.charges = self._load.add(client, request, stage, tokens, thread.produces)

    def _discharge(self, thread: Thread) -> None:
        self._load.remove(thread.client, thread.charges, self._kernel.now)
        thread.client = -1

    def _part(self) -> int:
        self._parts += 1
        return self._parts

    def _record(self, thread: Thread, start: float, end: float, sequence: Sequence | None) -> None:
        """A stay is over (or cut, with an `end` of NaN): its rows, one per stage it stands for.

        `sequence` is None at a server, and where there was nothing to do.
        """
        node = thread.node
        assert isinstance(node, Visit)
        enter, turn = thread.enter, node.turn(thread)
        part = 0
        if isinstance(node, EngineVisit):
            part = 1 if node.opens else 2 if thread.opened else 0
            thread.opened = node.opens
        if sequence is not None:
            worked, opened = sequence.worked, sequence.opened
        else:
            worked, opened = nan if isinstance(node, Fetch) else end - start, -1
        row = (thread.request, node.columns[0], thread.client, turn)
        whole = (thread.moved, part, _first_token(thread, node, sequence), worked, opened)
        if len(node.columns) == 1 or part == 1:
            self._write(thread, (*row, enter, start, end, *whole))
            return
        # Two stages in one visit: they part when the prompt is read (at once, if there is none).
        again = (thread.request, node.columns[1], thread.client, turn)
        read = sequence.first if sequence else end
        if not isnan(read):
            done = sequence.read if sequence else 0.0
            self._write(thread, (*row, enter, start, read, thread.moved, part, read, done, -1))
            self._write(thread, (*again, read, read, end, 0.0, 0, read, worked - done, -1))
        elif isnan(end):
            row = again if thread.resumed else row
            self._write(thread, (*row, enter, start, nan, thread.moved, part, nan, worked, -1))
        else:
            if not thread.resumed:
                self._write(thread, (*row, enter, enter, enter, 0.0, part, nan, 0.0, -1))
            thread.resumed = False
            self._write(thread, (*again, enter, start, end, *whole))

    def _write(self, thread: Thread, row: tuple[float, ...]) -> None:
        if thread.rows is None:
            self._recorder.visits.frombytes(VISIT_ROW(*row, 1.0))
        else:
            thread.rows.append(row)


def _first_token(thread: Thread, node: Visit, sequence: Sequence | None) -> float:
    """When a visit had its first token, if a prompt brought it or it was there on entering."""
    if sequence is not None and not isnan(sequence.first):
        return sequence.first
    if isinstance(node, EngineVisit) and node.produce is not None:
        return thread.enter if sequence is None or thread.owed < thread.produces else nan
    return nan
