"""Arrival processes by name, and the times that one of them gives.

One more process is one more file and one more entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType

import numpy as np

from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.graph.types import Spec
from hermesdsl.sim.arrivals.clients import CLIENT_TABLE, CLIENTS
from hermesdsl.sim.arrivals.process import (
    MAX_REQUESTS,
    Arguments,
    Process,
    checked,
    collect,
    too_many,
)
from hermesdsl.sim.arrivals.renewal import CONSTANT, GAMMA, POISSON, WEIBULL
from hermesdsl.sim.arrivals.rhythm import BURSTY, DIURNAL
from hermesdsl.sim.requests import IndexColumn
from hermesdsl.sim.streams import Floats, Stream

PROCESSES: Mapping[str, Process] = MappingProxyType(
    {
        "poisson": POISSON,
        "gamma": GAMMA,
        "weibull": WEIBULL,
        "constant": CONSTANT,
        "bursty": BURSTY,
        "diurnal": DIURNAL,
        "clients": CLIENTS,
        "client_table": CLIENT_TABLE,
    }
)

#: Arrivals of a workload that are made elsewhere: from a file, from answers, from other arrivals.
ELSEWHERE = ("trace", "closed", "merge")


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Arrival `time`s in seconds, ascending, shape (n,), and the `source` of each (client)."""

    time: Floats
    source: IndexColumn


def arrival_times(
    spec: Spec, stream: Stream, *, duration: float | None = None, requests: int | None = None
) -> Floats:
    """The times alone of `arrivals`."""
    return arrivals(spec, stream, duration=duration, requests=requests).time


def arrivals(
    spec: Spec, stream: Stream, *, duration: float | None = None, requests: int | None = None
) -> Arrivals:
    """The arrivals of a process in [0, duration) seconds, at most `requests` of them.

    Raises SpecError: HMS506 for a process that does not exist, HMS601 for bad arguments, a load
    without an end, or more than `MAX_REQUESTS` requests; HMS603 for a bad table.
    """
    process = PROCESSES.get(spec.name)
    if process is None:
        raise SpecError([_unknown(spec.name)])
    arguments = checked(spec, process)
    if duration is None and requests is None:
        message = f"arrivals `{spec.name}` have no end"
        note = "help: set `requests` of the workload or `duration` of the experiment"
        raise SpecError([error("HMS601", message, notes=[note])])
    end = inf if duration is None else duration
    expected = arguments["rate"] * end if requests is None else float(requests)
    if expected > MAX_REQUESTS:
        raise SpecError([too_many(expected)])
    count = MAX_REQUESTS + 1 if requests is None else requests
    return _together(process, arguments, stream, end, count)


def _together(
    process: Process, arguments: Arguments, stream: Stream, end: float, count: int
) -> Arrivals:
    """The first `count` arrivals before `end` of all sources of a process."""
    sources = process.sources(arguments, stream, end)
    if len(sources) == 1:
        time = collect(sources[0], end, count)
        return Arrivals(time, np.zeros(len(time), np.int32))
    until = min(end, 1.1 * count / arguments["rate"]) if count <= MAX_REQUESTS else end
    while True:
        sources = process.sources(arguments, stream, until)
        times = [collect(source, until, MAX_REQUESTS + 1) for source in sources]
        total = sum(map(len, times))
        if total >= count or until == end:
            break
        until = min(end, 2.0 * until)
    if min(total, count) > MAX_REQUESTS:
        raise SpecError([too_many(total)])
    time = np.concatenate([np.empty(0), *times])
    source = np.repeat(np.arange(len(times), dtype=np.int32), [len(part) for part in times])
    order = np.argsort(time, kind="stable")[:count]
    return Arrivals(time[order], source[order])


def _unknown(name: str) -> Diagnostic:
    known = [*sorted(PROCESSES), *ELSEWHERE]
    match = nearest(name, known)
    notes = [f"help: did you mean `{match}`?"] if match else []
    notes.append(f"arrivals that can run: {', '.join(known)}")
    return error("HMS506", f"arrivals `{name}` are not executable yet", notes=notes)
