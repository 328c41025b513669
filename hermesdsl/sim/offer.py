"""What arrivals bring: times, and whatever else a trace or a table of clients knows.

Puts processes, traces and their mergers on one footing. Knows no session, prefix or pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.graph.types import Spec
from hermesdsl.sim.arrivals import arrivals
from hermesdsl.sim.arrivals.clients import client_names
from hermesdsl.sim.client_lengths import client_lengths
from hermesdsl.sim.requests import Blocks, FloatColumn, IntColumn
from hermesdsl.sim.streams import Stream
from hermesdsl.sim.trace import Trace, trace_of


@dataclass(frozen=True, eq=False)
class Offer:
    """Arrivals in order of time; columns of shape (n,), None where nobody says.

    `session` numbers conversations, -1 for none; `klass` indexes `classes`; `cached` tokens of the
    prompt need no prefill.
    """

    time: FloatColumn
    prompt: IntColumn | None = None
    output: IntColumn | None = None
    klass: IntColumn | None = None
    classes: tuple[str, ...] = ()
    session: IntColumn | None = None
    blocks: Blocks | None = None
    cached: IntColumn | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, order: NDArray[np.intp]) -> Offer:
        """The rows of these numbers, in this order."""

        def picked(column: IntColumn | None) -> IntColumn | None:
            return None if column is None else column[order]

        return replace(
            self,
            time=self.time[order],
            prompt=picked(self.prompt),
            output=picked(self.output),
            klass=picked(self.klass),
            session=picked(self.session),
            blocks=None if self.blocks is None else self.blocks.rows(order),
            cached=picked(self.cached),
        )


@dataclass(frozen=True)
class Wanted:
    """How much of an offer is wanted, and what it need not bring.

    `roles`: what must come from the arrivals (prompt, output) because the workload has none.
    `classes`: those that a trace may name, any if there are none.
    """

    name: str
    duration: float | None
    requests: int | None
    roles: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def offer_of(spec: Spec, stream: Stream, wanted: Wanted) -> Offer:
    """The arrivals that a spec describes, in [0, duration), at most `requests`.

    Raises SpecError: HMS601 for what cannot be, HMS603 for a bad file, HMS506 for a process that
    does not exist.
    """
    if spec.name == "trace":
        return _replayed(spec, wanted)
    if spec.name == "merge":
        return _merged(spec, stream, wanted)
    made = arrivals(spec, stream, duration=wanted.duration, requests=wanted.requests)
    lengths = spec.args.get("lengths")
    if spec.name != "client_table" or not isinstance(lengths, str) or not wanted.roles:
        return Offer(made.time)
    model = spec.args.get("model")
    names = client_names(str(spec.args["file"]), model if isinstance(model, str) else None)
    start = spec.args.get("start") or 0.0
    when = made.time + (float(start) if isinstance(start, int | float) else 0.0)
    table = client_lengths(lengths, model if isinstance(model, str) else None)
    drawn = table.draw(names, made.source, when, stream.child("lengths"), wanted.roles)
    return Offer(made.time, drawn.get("prompt"), drawn.get("output"), notes=table.notes(names))


def _replayed(spec: Spec, wanted: Wanted) -> Offer:
    """The part of a trace that is offered, and notes on it."""
    trace = trace_of(spec, needed=("time", *wanted.roles), known_classes=wanted.classes)
    rows = len(trace)
    inside = (
        rows if wanted.duration is None else int(np.searchsorted(trace.arrival, wanted.duration))
    )
    notes = list(trace.notes)
    if inside < rows:
        text = f"{rows - inside:,} of {rows:,} rows come after {wanted.duration:g} s; left out"
        notes.append(text)
    if wanted.requests is not None and wanted.requests < inside:
        inside = wanted.requests
        notes.append(f"`{wanted.name}.requests` keeps the first {inside:,} rows")
    return _of_trace(trace.head(inside), tuple(notes))


def _of_trace(trace: Trace, notes: tuple[str, ...]) -> Offer:
    return Offer(
        trace.arrival, trace.prompt, trace.output, trace.klass, trace.classes, trace.session,
        trace.blocks, trace.cached, notes,
    )  # fmt: skip


# --- several together --------------------------------------------------------------------------


def _merged(spec: Spec, stream: Stream, wanted: Wanted) -> Offer:
    """Several arrivals as one, in order of time, ties in order of the parts."""
    parts = spec.args.get("parts")
    if not isinstance(parts, tuple | list) or not all(isinstance(part, Spec) for part in parts):
        raise SpecError([error("HMS601", "`merge` needs a list of arrivals")])
    made = []
    for number, part in enumerate(parts):
        assert isinstance(part, Spec)
        if part.name == "closed" or part.args.get("replay") == "closed":
            message = "a closed loop cannot be merged with other arrivals"
            note = "help: give it a workload of its own; an experiment runs several"
            raise SpecError([error("HMS601", message, notes=[note])])
        made.append(offer_of(part, stream.child(f"part{number}"), wanted))
    if not made:
        raise SpecError([error("HMS601", "`merge` of nothing")])
    return _joined(made, wanted)


def _joined(parts: Sequence[Offer], wanted: Wanted) -> Offer:
    time = np.concatenate([part.time for part in parts])
    order = np.argsort(time, kind="stable")[: wanted.requests]
    classes = tuple(dict.fromkeys(name for part in parts for name in part.classes or ("",)))
    has_classes = any(part.klass is not None for part in parts)
    whole = Offer(
        time,
        _column(parts, "prompt", wanted),
        _column(parts, "output", wanted),
        _klass(parts, classes) if has_classes else None,
        classes if has_classes else (),
        _sessions(parts),
        _blocks(parts),
        _cached(parts),
        tuple(note for part in parts for note in part.notes),
    )
    return whole.rows(order)


def _column(parts: Sequence[Offer], role: str, wanted: Wanted) -> IntColumn | None:
    columns = [getattr(part, role) for part in parts]
    if role not in wanted.roles or all(column is None for column in columns):
        return None
    for number, column in enumerate(columns):
        if column is None:
            message = f"part {number + 1} of `merge` in `{wanted.name}` has no `{role}` lengths"
            note = f"help: set `{role}` of the workload, for all parts"
            raise SpecError([error("HMS601", message, notes=[note])])
    return np.concatenate(columns)


def _klass(parts: Sequence[Offer], classes: tuple[str, ...]) -> IntColumn:
    found = []
    for part in parts:
        places = np.array([classes.index(name) for name in part.classes or ("",)])
        own = np.zeros(len(part), np.int64) if part.klass is None else part.klass
        found.append(places[own])
    return np.concatenate(found)


def _sessions(parts: Sequence[Offer]) -> IntColumn | None:
    """Conversations of different parts are different."""
    if all(part.session is None for part in parts):
        return None
    found, offset = [], 0
    for part in parts:
        own = np.full(len(part), -1) if part.session is None else part.session
        found.append(np.where(own >= 0, own + offset, -1))
        offset += int(own.max(initial=-1)) + 1
    return np.concatenate(found).astype(np.int64)


def _cached(parts: Sequence[Offer]) -> IntColumn | None:
    """Parts that say nothing found nothing."""
    if all(part.cached is None for part in parts):
        return None
    return np.concatenate(
        [np.zeros(len(part), np.int64) if part.cached is None else part.cached for part in parts]
    )


def _blocks(parts: Sequence[Offer]) -> Blocks | None:
    """Blocks of different parts are different; parts without any have empty rows."""
    sizes = {part.blocks.size for part in parts if part.blocks is not None}
    if not sizes:
        return None
    if len(sizes) > 1:
        listed = " and ".join(str(size) for size in sorted(sizes))
        message = f"traces with blocks of {listed} tokens cannot be merged"
        raise SpecError([error("HMS601", message)])
    ids, counts, offset = [], [], 0
    for part in parts:
        own = part.blocks or Blocks(np.empty(0, np.int64), np.zeros(len(part) + 1, np.int64), 1)
        least = int(own.ids.min(initial=0))
        ids.append(own.ids - least + offset)
        counts.append(np.diff(own.starts))
        offset += int(own.ids.max(initial=-1)) - least + 1
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(counts))])
    return Blocks(np.concatenate(ids), starts, sizes.pop())
