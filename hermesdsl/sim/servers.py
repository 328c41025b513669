"""Makes the servers that are no LLM engines from what a specification says of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from hermesdsl.graph.types import Client
from hermesdsl.sim.batch_engine import BatchEngine
from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.delay import Delay
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.order import ORDERS, OrderContext
from hermesdsl.sim.record import Recorder
from hermesdsl.sim.walk import Thread
from hermesdsl.sim.worker_pool import Served, ServerRank, WorkerPool

Server: TypeAlias = WorkerPool | BatchEngine | Delay

#: What servers have whose options leave it out (the schema's own defaults).
DEFAULTS: Mapping[str, float] = MappingProxyType(
    {"workers": 1, "max_batch": 64, "max_tokens": 16_384, "max_wait": 0.0}
)
#: Orders of a queue that is not of sequences with prompts.
SERVER_ORDERS = ("fcfs", "priority", "sjf", "edf")


def server(
    index: int, client: Client, kernel: Kernel, recorder: Recorder, served: Served,
    order: OrderContext,
) -> Server:  # fmt: skip
    """The server that `client`, the `index`-th of the run, is."""
    if client.type_name == "Delay":
        return Delay(index, client.path, kernel, recorder, served)
    rank = _rank(str(client.options.get("order", "fcfs")), order)
    if client.type_name == "WorkerPool":
        limit = client.options.get("queue_limit")
        return WorkerPool(
            index, client.path, int(_number(client, "workers")), kernel, recorder, served,
            rank=rank, queue_limit=int(limit) if isinstance(limit, int | float) else None,
        )  # fmt: skip
    return BatchEngine(
        index, client.path, kernel, recorder, served, rank=rank,
        max_batch=int(_number(client, "max_batch")), max_tokens=_number(client, "max_tokens"),
        max_wait=_number(client, "max_wait"),
    )  # fmt: skip


def _rank(name: str, order: OrderContext) -> ServerRank:
    """A queue order for threads; the shortest job is the one with the shortest service."""
    if name == "fcfs":
        return lambda thread, seconds: ()
    if name == "sjf":
        return lambda thread, seconds: (seconds,)
    of = ORDERS[name](order)

    def rank(thread: Thread, seconds: float) -> tuple[float, ...]:
        return of(Sequence(thread.request, None, thread.context, 0))

    return rank


def _number(client: Client, name: str) -> float:
    value = client.options.get(name)
    return float(value) if isinstance(value, int | float) else DEFAULTS[name]
