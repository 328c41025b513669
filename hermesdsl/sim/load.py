"""Everything that an experiment offers, as one stream of requests in order of arrival.

Merges the batches of several workloads; knows no pipeline, client or clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.sim.requests import FloatColumn, IndexColumn, IntColumn, RequestBatch


@dataclass(frozen=True, eq=False)
class Offered:
    """All requests of a run, ordered by (arrival, workload, number); columns of shape (n,).

    `workload` and `klass` index `workloads` and `classes`; `number` is a request's place in its
    own workload, which is what random streams are read by. `arrivals`, `prompts`, `outputs` and
    `workload_of` hold the same numbers as `arrival`, `prompt`, `output`, `workload`, for fast
    reading one at a time.
    """

    workloads: tuple[str, ...]
    classes: tuple[str, ...]
    arrival: FloatColumn
    prompt: IntColumn
    output: IntColumn
    workload: IndexColumn
    klass: IndexColumn
    number: IntColumn
    arrivals: array[float]
    prompts: array[int]
    outputs: array[int]
    workload_of: array[int]

    def __len__(self) -> int:
        return len(self.arrival)


def merge(batches: Sequence[RequestBatch], duration: float | None) -> Offered:
    """One stream of what arrives before `duration` seconds.

    Raises `SpecError` (HMS601) if a batch has columns of different lengths, lengths below one
    token, or arrivals that are negative, not finite or not sorted.
    """
    problems = [error("HMS601", text) for batch in batches for text in _problems(batch)]
    if problems:
        raise SpecError(problems)
    kept = [len(batch) if duration is None else _before(batch, duration) for batch in batches]
    classes = tuple(dict.fromkeys(name for batch in batches for name in batch.classes))
    place = {name: index for index, name in enumerate(classes)}
    arrival = _join([b.arrival[:n] for b, n in zip(batches, kept, strict=True)], np.float64)
    order = np.argsort(arrival, kind="stable")
    arrival = arrival[order]
    prompt = _join([b.prompt[:n] for b, n in zip(batches, kept, strict=True)], np.int64)[order]
    output = _join([b.output[:n] for b, n in zip(batches, kept, strict=True)], np.int64)[order]
    workload = np.repeat(np.arange(len(batches), dtype=np.int32), kept)[order]
    klass = [
        np.array([place[name] for name in b.classes], np.int32)[b.klass[:n]]
        for b, n in zip(batches, kept, strict=True)
    ]
    return Offered(
        workloads=tuple(batch.workload for batch in batches),
        classes=classes,
        arrival=arrival,
        prompt=prompt,
        output=output,
        workload=workload,
        klass=_join(klass, np.int32)[order],
        number=_join([np.arange(n) for n in kept], np.int64)[order],
        arrivals=array("d", arrival.tobytes()),
        prompts=array("q", prompt.tobytes()),
        outputs=array("q", output.tobytes()),
        workload_of=array("i", workload.tobytes()),
    )


def _before(batch: RequestBatch, duration: float) -> int:
    return int(np.searchsorted(batch.arrival, duration, side="left"))


def _join(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)


def _problems(batch: RequestBatch) -> list[str]:
    name = batch.workload
    columns = (batch.prompt, batch.output, batch.klass, batch.session, batch.priority)
    if any(len(column) != len(batch.arrival) for column in columns):
        return [f"workload `{name}`: columns of different lengths"]
    found = []
    if not np.isfinite(batch.arrival).all() or (batch.arrival < 0).any():
        found.append(f"workload `{name}`: an arrival is negative or not finite")
    elif (np.diff(batch.arrival) < 0).any():
        found.append(f"workload `{name}`: arrivals are not in order")
    for what, column in (("prompt", batch.prompt), ("output", batch.output)):
        if (column < 1).any():
            row = int(np.argmax(column < 1))
            found.append(
                f"workload `{name}`: request {row} has {what} = {int(column[row])} tokens; "
                "it takes at least 1"
            )
    return found
