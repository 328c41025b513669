"""What visits leave behind while they happen: rows of the record, and the load of clients.

The ground on which the interpreter stands. Knows threads and nodes; not where a thread goes next.
"""

from __future__ import annotations

from math import isnan, nan
from typing import TYPE_CHECKING

from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.load import Offered
from hermesdsl.sim.nodes import EngineVisit, Visit
from hermesdsl.sim.record import Recorder
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

    def _record(self, thread: Thread, start: float, end: float, first: float) -> None:
        """A visit is over (or cut, with an `end` of NaN): its rows, one per stage it stands for."""
        node = thread.node
        assert isinstance(node, Visit)
        enter, moved = thread.enter, thread.moved
        if isinstance(node, EngineVisit) and node.opens:
            thread.opened = (enter, start, moved)
            return
        if thread.opened is not None:
            (enter, start, before), thread.opened = thread.opened, None
            moved += before
        turn = node.turn(thread)
        row = (thread.request, node.columns[0], thread.client, turn)
        if len(node.columns) == 1:
            self._write(thread, (*row, enter, start, end, moved))
            return
        # Two stages in one visit: they part when the prompt is read (at once, if there is none).
        again = (thread.request, node.columns[1], thread.client, turn)
        if not isnan(first):
            self._write(thread, (*row, enter, start, first, moved))
            self._write(thread, (*again, first, first, end, 0.0))
        elif isnan(end):
            self._write(thread, (*row, enter, start, nan, moved))
        else:
            self._write(thread, (*row, enter, enter, enter, 0.0))
            self._write(thread, (*again, enter, start, end, moved))

    def _write(self, thread: Thread, row: tuple[float, ...]) -> None:
        if thread.rows is None:
            self._recorder.visits.extend((*row, 1.0))
        else:
            thread.rows.append(row)
