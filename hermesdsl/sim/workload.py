"""What a workload offers: arrivals, lengths and classes put together into a `RequestBatch`.

Each of these has its own random stream, named after the workload, so that changing one leaves the
others' draws alone. Knows no pipeline, client or clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hermesdsl.diagnostics import SpecError, error, nearest
from hermesdsl.graph.types import RequestClass, Workload
from hermesdsl.sim.arrivals import arrival_times
from hermesdsl.sim.lengths import mean, tokens
from hermesdsl.sim.requests import IntColumn, RequestBatch
from hermesdsl.sim.streams import Stream
from hermesdsl.sim.trace import Trace, trace_of

__all__ = ["Load", "offered", "offered_rates"]

#: Properties of a workload that the interpreter does not execute.
_LATER = ("turns", "think_time", "prefix")


@dataclass(frozen=True)
class Load:
    """The requests of one workload and what is worth saying about them."""

    batch: RequestBatch
    notes: tuple[str, ...] = ()


def offered(
    workload: Workload,
    *,
    duration: float | None,
    seed: int,
    classes: Mapping[str, RequestClass],
) -> Load:
    """The requests that arrive in [0, duration) seconds, all of a trace without a duration.

    At most `workload.requests` of them. A trace brings its own lengths and classes except where
    the workload sets `prompt`, `output` or `class`. Raises SpecError: HMS601 for what cannot be,
    HMS603 for a bad trace, HMS506 for what is not executable yet.
    """
    _check(workload)
    base = Stream(seed, f"workload.{workload.name}")
    notes: tuple[str, ...] = ()
    trace = None
    if workload.arrivals.name == "trace":
        trace, notes = _replayed(workload, duration, classes)
        arrival = trace.arrival
    else:
        times = base.child("arrivals")
        arrival = arrival_times(
            workload.arrivals, times, duration=duration, requests=workload.requests
        )
    n = len(arrival)
    prompt = _lengths(workload, "prompt", trace, base, n)
    output = _lengths(workload, "output", trace, base, n)
    klass, names = _classes(workload, trace, classes, base.child("class"), n)
    priorities = np.array([classes[c].priority if c in classes else 0 for c in names], np.int32)
    session = trace.session if trace is not None and trace.session is not None else np.full(n, -1)
    batch = RequestBatch(
        workload=workload.name,
        arrival=arrival,
        prompt=prompt,
        output=output,
        klass=klass,
        session=session.astype(np.int64),
        priority=priorities[klass],
        classes=names,
    )
    return Load(batch, notes)


def offered_rates(workload: Workload) -> tuple[float, float, float] | None:
    """Mean load: requests, prompt tokens and output tokens per second; None for a trace.

    From the distributions, without drawing; for the one-line bound on capacity.
    """
    rate = workload.arrivals.args.get("rate")
    if not isinstance(rate, int | float) or workload.prompt is None or workload.output is None:
        return None
    return float(rate), rate * mean(workload.prompt), rate * mean(workload.output)


def _check(workload: Workload) -> None:
    name = workload.name
    problems = [
        error("HMS506", f"`{name}.{option}` is not executable yet")
        for option in _LATER
        if workload.options.get(option) is not None
    ]
    if workload.sessions and not problems:
        problems.append(error("HMS506", f"arrivals of sessions in `{name}` are not executable yet"))
    if workload.requests is not None and workload.requests < 1:
        problems.append(error("HMS601", f"`{name}.requests` is {workload.requests}; at least 1"))
    if problems:
        raise SpecError(problems)


def _replayed(
    workload: Workload, duration: float | None, classes: Mapping[str, RequestClass]
) -> tuple[Trace, tuple[str, ...]]:
    """The part of the trace that is offered, and notes on it."""
    needed = ["time"]
    needed += [role for role in ("prompt", "output") if getattr(workload, role) is None]
    known = () if workload.class_mix else tuple(classes)
    trace = trace_of(workload.arrivals, needed=needed, known_classes=known)
    rows = len(trace)
    inside = rows if duration is None else int(np.searchsorted(trace.arrival, duration))
    notes = list(trace.notes)
    if inside < rows:
        notes.append(f"{rows - inside:,} of {rows:,} rows come after {duration:g} s; left out")
    if workload.requests is not None and workload.requests < inside:
        inside = workload.requests
        notes.append(f"`{workload.name}.requests` keeps the first {inside:,} rows")
    return trace.head(inside), tuple(notes)


def _lengths(workload: Workload, role: str, trace: Trace | None, base: Stream, n: int) -> IntColumn:
    spec = workload.prompt if role == "prompt" else workload.output
    if spec is not None:
        return tokens(spec, base.child(role), n)
    own = None if trace is None else trace.prompt if role == "prompt" else trace.output
    if own is None:
        message = f"workload `{workload.name}` has no `{role}` lengths"
        note = f"help: set `{role}`, such as `{role} = lognormal(median = 300 tok, sigma = 1)`"
        raise SpecError([error("HMS601", message, notes=[note])])
    return own


def _classes(
    workload: Workload,
    trace: Trace | None,
    classes: Mapping[str, RequestClass],
    stream: Stream,
    n: int,
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Class index of each request, and the names that it indexes."""
    if not workload.class_mix:
        if trace is not None and trace.klass is not None:
            return trace.klass.astype(np.int32), trace.classes
        return np.zeros(n, dtype=np.int32), ("",)
    names = tuple(name for name, _ in workload.class_mix)
    shares = np.array([share for _, share in workload.class_mix])
    for name in names:
        if classes and name not in classes:
            match = nearest(name, classes)
            notes = [f"help: did you mean `{match}`?"] if match else []
            message = f"workload `{workload.name}` mixes a class `{name}` that does not exist"
            raise SpecError([error("HMS601", message, notes=notes)])
    for name, share in workload.class_mix:
        if not 0 <= share <= 1:
            message = (
                f"the share of class `{name}` in workload `{workload.name}` is {100 * share:g}%"
            )
            raise SpecError([error("HMS601", message)])
    if abs(shares.sum() - 1) > 1e-6:
        message = f"class shares of workload `{workload.name}` add up to {100 * shares.sum():g}%"
        raise SpecError([error("HMS601", message, notes=["help: they must add up to 100%"])])
    edges = np.cumsum(shares)
    drawn = np.searchsorted(edges, stream.uniform(n), side="right")
    return np.minimum(drawn, len(names) - 1).astype(np.int32), names
