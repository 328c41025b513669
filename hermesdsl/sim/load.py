"""Everything that an experiment offers, as one stream of requests in order of arrival.

Merges the batches of several workloads; knows no pipeline, client or clock.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.sim.requests import Blocks, FloatColumn, IndexColumn, IntColumn, RequestBatch


@dataclass(frozen=True, eq=False)
class Offered:
    """All requests of a run, ordered by (arrival, workload, number); columns of shape (n,).

    `workload` and `klass` index `workloads` and `classes`; `number` is a request's place in its
    own workload, which is what random streams are read by. `arrivals`, `prompts`, `outputs` and
    `workload_of` hold the same numbers as `arrival`, `prompt`, `output`, `workload`, for fast
    reading one at a time.

    The `first` requests come by themselves, ordered by arrival. Each of the others comes `delays`
    seconds after request `after` has ended, if that is before `until` seconds; `followers` has
    them by request. `turns` within the session; `prefixes`: tokens in front of the conversation;
    `grows`: it continues that of `after`. `sessions`: identity of the session within the workload,
    `prefix` that of the shared text in front, -1 for none. `blocks`: by workload, a trace's own
    block ids, a row per `number`. `cached`: tokens of the prompt that need no prefill.
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
    first: int
    turns: array[int]
    prefixes: array[int]
    after: array[int]
    delays: array[float]
    grows: array[int]
    sessions: array[int]
    prefix: array[int]
    blocks: tuple[Blocks | None, ...]
    cached: array[int]
    followers: Mapping[int, tuple[int, ...]]
    until: float

    def __len__(self) -> int:
        return len(self.arrival)


def merge(batches: Sequence[RequestBatch], duration: float | None) -> Offered:
    """One stream of what arrives before `duration` seconds.

    Raises `SpecError` (HMS601) if a batch has columns of different lengths, lengths below one
    token, arrivals that are negative, not finite or not sorted, or turns of a conversation that
    begin with different texts.
    """
    problems = [error("HMS601", text) for batch in batches for text in _problems(batch)]
    if problems:
        raise SpecError(problems)
    rows = [_offered(batch, duration) for batch in batches]
    kept = [len(row) for row in rows]
    classes = tuple(dict.fromkeys(name for batch in batches for name in batch.classes))
    place = {name: index for index, name in enumerate(classes)}

    def column(name: str, dtype: type) -> np.ndarray:
        parts = [getattr(b, name)[row] for b, row in zip(batches, rows, strict=True)]
        return _join(parts, dtype)

    arrival = column("arrival", np.float64)
    order = np.argsort(arrival, kind="stable")
    arrival = arrival[order]
    after = _places(batches, rows, order)[order]
    prompt = column("prompt", np.int64)[order]
    output = column("output", np.int64)[order]
    workload = np.repeat(np.arange(len(batches), dtype=np.int32), kept)[order]
    klass = [
        np.array([place[name] for name in b.classes], np.int32)[b.klass[row]]
        for b, row in zip(batches, rows, strict=True)
    ]
    grows = np.array([batch.grows for batch in batches], np.int8)
    followers: dict[int, tuple[int, ...]] = {}
    for request in np.flatnonzero(after >= 0).tolist():
        before = int(after[request])
        followers[before] = (*followers.get(before, ()), request)
    return Offered(
        workloads=tuple(batch.workload for batch in batches),
        classes=classes,
        arrival=arrival,
        prompt=prompt,
        output=output,
        workload=workload,
        klass=_join(klass, np.int32)[order],
        number=_join(list(rows), np.int64)[order],
        arrivals=array("d", arrival.tobytes()),
        prompts=array("q", prompt.tobytes()),
        outputs=array("q", output.tobytes()),
        workload_of=array("i", workload.tobytes()),
        first=int(np.count_nonzero(after < 0)),
        turns=array("i", column("turn", np.int32)[order].tobytes()),
        prefixes=array("q", column("prefix_tokens", np.int64)[order].tobytes()),
        after=array("q", after.tobytes()),
        delays=array("d", column("delay", np.float64)[order].tobytes()),
        grows=array("b", grows[workload].tobytes()),
        sessions=array("q", column("session", np.int64)[order].tobytes()),
        prefix=array("q", column("prefix", np.int64)[order].tobytes()),
        blocks=tuple(batch.blocks for batch in batches),
        cached=array("q", column("cached", np.int64)[order].tobytes()),
        followers=followers,
        until=inf if duration is None else duration,
    )


def _offered(batch: RequestBatch, duration: float | None) -> np.ndarray:
    """The rows of a batch that come before `duration`, and those that may follow them."""
    if duration is None:
        return np.arange(len(batch))
    kept = batch.arrival < duration
    for row in np.flatnonzero(batch.after >= 0).tolist():
        kept[row] = kept[batch.after[row]]
    return np.flatnonzero(kept)


def _places(
    batches: Sequence[RequestBatch], rows: Sequence[np.ndarray], order: np.ndarray
) -> np.ndarray:
    """The request that each comes after, by place among all; -1 for none; before ordering."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    found = []
    start = 0
    for batch, row in zip(batches, rows, strict=True):
        mine = np.full(len(batch), -1, np.int64)
        mine[row] = place[start : start + len(row)]
        after = batch.after[row]
        found.append(np.where(after < 0, -1, mine[after]))
        start += len(row)
    return _join(found, np.int64)


def _join(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype)


def _problems(batch: RequestBatch) -> list[str]:
    name = batch.workload
    columns = (batch.prompt, batch.output, batch.klass, batch.session, batch.priority)
    if any(len(column) != len(batch.arrival) for column in columns):
        return [f"workload `{name}`: columns of different lengths"]
    found = []
    alone = batch.after < 0
    arrival = batch.arrival[alone]
    if not np.isfinite(arrival).all() or (arrival < 0).any():
        found.append(f"workload `{name}`: an arrival is negative or not finite")
    elif (np.diff(arrival) < 0).any():
        found.append(f"workload `{name}`: arrivals are not in order")
    if (batch.after >= np.arange(len(batch))).any() or (batch.arrival[~alone] < np.inf).any():
        found.append(f"workload `{name}`: a request that follows comes before what it follows")
    elif batch.grows:
        # Their text is that of the turn before, continued: it has one beginning.
        later = np.flatnonzero(~alone)
        for column in (batch.prefix, batch.prefix_tokens):
            other = later[column[later] != column[batch.after[later]]]
            if len(other):
                text = f"request {other[0]} continues one that has another prefix"
                found.append(f"workload `{name}`: {text}")
                break
    for what, column in (("prompt", batch.prompt), ("output", batch.output)):
        if (column < 1).any():
            row = int(np.argmax(column < 1))
            found.append(
                f"workload `{name}`: request {row} has {what} = {int(column[row])} tokens; "
                "it takes at least 1"
            )
    return found
