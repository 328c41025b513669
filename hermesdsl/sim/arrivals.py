"""When requests come: arrival processes as vectors of times, made block by block.

An entry of `PROCESSES` is all there is to a process. Arrival r uses draw r of its stream, so a
longer run keeps the arrivals of a shorter one. Knows no lengths, classes, traces or pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import gamma, inf, isfinite, lgamma
from types import MappingProxyType

import numpy as np

from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.graph.types import Spec
from hermesdsl.sim.streams import Floats, Stream

__all__ = ["MAX_REQUESTS", "PROCESSES", "Process", "arrival_times"]

#: One workload may offer this many requests; more would not fit into memory beside the records.
MAX_REQUESTS = 20_000_000

#: Arrivals made at a time. Not a setting: the sums of gaps do not depend on it.
_BLOCK = 8192

Arguments = Mapping[str, float]


@dataclass(frozen=True)
class Process:
    """An arrival process: `arguments` name → what a good value is; all of them are positive.

    `blocks` yields consecutive arrays of times in seconds, ascending, without end.
    """

    blocks: Callable[[Arguments, Stream], Iterator[Floats]]
    arguments: Mapping[str, str]
    doc: str = ""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def arrival_times(
    spec: Spec, stream: Stream, *, duration: float | None = None, requests: int | None = None
) -> Floats:
    """Arrival times in seconds, ascending: those in [0, duration), at most `requests` of them.

    Raises SpecError: HMS506 for a process that does not exist, HMS601 for bad arguments, a load
    without an end, or more than `MAX_REQUESTS` requests.
    """
    process = PROCESSES.get(spec.name)
    if process is None:
        raise SpecError([_unknown(spec.name)])
    arguments = _checked(spec, process)
    if duration is None and requests is None:
        message = f"arrivals `{spec.name}` have no end"
        note = "help: set `requests` of the workload or `duration` of the experiment"
        raise SpecError([error("HMS601", message, notes=[note])])
    end = inf if duration is None else duration
    expected = arguments["rate"] * end if requests is None else float(requests)
    if expected > MAX_REQUESTS:
        raise SpecError([_too_many(expected)])
    count = MAX_REQUESTS + 1 if requests is None else requests
    return _collect(process.blocks(arguments, stream), end, count)


def _collect(blocks: Iterator[Floats], end: float, count: int) -> Floats:
    kept: list[Floats] = []
    total = 0
    while total < count:
        block = next(blocks)
        inside = block[: min(int(np.searchsorted(block, end)), count - total)]
        kept.append(inside)
        total += len(inside)
        if total > MAX_REQUESTS:
            raise SpecError([_too_many(total)])
        if len(inside) < len(block):
            break
    return np.concatenate(kept) if kept else np.empty(0)


def _checked(spec: Spec, process: Process) -> dict[str, float]:
    """The arguments as finite positive floats, or a SpecError that names the wrong one."""
    problems = []
    for name in spec.args:
        if name not in process.arguments and spec.args[name] is not None:
            match = nearest(name, process.arguments)
            notes = [f"help: did you mean `{match}`?"] if match else []
            message = f"`{spec.name}` has no argument `{name}`"
            problems.append(error("HMS601", message, notes=notes))
    values: dict[str, float] = {}
    for name, meaning in process.arguments.items():
        value = spec.args.get(name)
        low, high = process.limits.get(name, (0.0, inf))
        if isinstance(value, bool) or not isinstance(value, int | float):
            message = f"arrivals `{spec.name}` need `{name}`, {meaning}"
            problems.append(error("HMS601", message))
        elif not isfinite(value) or value <= 0 or not low <= value <= high:
            bounds = f"between {low:g} and {high:g}" if name in process.limits else "above zero"
            message = f"`{name}` of arrivals `{spec.name}` is {value:g}, not {bounds}"
            problems.append(error("HMS601", message, notes=[f"`{name}` is {meaning}"]))
        else:
            values[name] = float(value)
    if problems:
        raise SpecError(problems)
    return values


def _unknown(name: str) -> Diagnostic:
    known = ", ".join(sorted(PROCESSES))
    match = nearest(name, PROCESSES)
    notes = [f"help: did you mean `{match}`?"] if match else []
    notes.append(f"arrivals that can run: {known}, trace")
    return error("HMS506", f"arrivals `{name}` are not executable yet", notes=notes)


def _too_many(count: float) -> Diagnostic:
    message = f"the workload offers about {count:,.0f} requests; the limit is {MAX_REQUESTS:,}"
    note = "help: lower the rate or the duration, or set `requests`"
    return error("HMS601", message, notes=[note])


# --- processes ---------------------------------------------------------------------------------


def _renewal(gaps: Callable[[int], Floats]) -> Iterator[Floats]:
    """Times whose successive differences, the first from zero, are `gaps(offset)` block by block.

    The running sum is carried into the next block, so every partial sum is the plain sequential
    one whatever the block size.
    """
    offset, last = 0, 0.0
    while True:
        block = gaps(offset)
        block[0] += last
        times = np.cumsum(block)
        last = float(times[-1])
        offset += len(block)
        yield times


def _poisson(args: Arguments, stream: Stream) -> Iterator[Floats]:
    mean = 1.0 / args["rate"]
    return _renewal(lambda offset: stream.exponential(_BLOCK, offset) * mean)


def _gamma(args: Arguments, stream: Stream) -> Iterator[Floats]:
    shape = args["cv"] ** -2
    scale = 1.0 / (shape * args["rate"])
    return _renewal(lambda offset: stream.gamma(shape, _BLOCK, offset) * scale)


def _weibull(args: Arguments, stream: Stream) -> Iterator[Floats]:
    shape = weibull_shape(args["cv"])
    scale = 1.0 / (args["rate"] * gamma(1.0 + 1.0 / shape))
    return _renewal(lambda offset: scale * stream.exponential(_BLOCK, offset) ** (1.0 / shape))


def _constant(args: Arguments, _: Stream) -> Iterator[Floats]:
    offset = 0
    while True:
        yield np.arange(offset, offset + _BLOCK) / args["rate"]
        offset += _BLOCK


def weibull_shape(cv: float) -> float:
    """The shape k of a Weibull distribution with this coefficient of variation.

    Solves 1 + cv² = Γ(1 + 2/k) / Γ(1 + 1/k)², which falls with k, by bisection of 1/k.
    """
    target = np.log1p(cv * cv)
    low, high = 1e-6, 64.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if lgamma(1.0 + 2.0 * middle) - 2.0 * lgamma(1.0 + middle) < target:
            low = middle
        else:
            high = middle
    return 2.0 / (low + high)


_RATE = "the mean arrival rate in requests per second"
_CV = "the coefficient of variation of the gaps (1 is as irregular as Poisson)"

PROCESSES: Mapping[str, Process] = MappingProxyType(
    {
        "poisson": Process(_poisson, {"rate": _RATE}, "Independent arrivals: exponential gaps."),
        "gamma": Process(
            _gamma,
            {"rate": _RATE, "cv": _CV},
            "Gamma gaps: burstier than Poisson above cv = 1, smoother below.",
            {"cv": (0.01, 20.0)},
        ),
        "weibull": Process(
            _weibull,
            {"rate": _RATE, "cv": _CV},
            "Weibull gaps, heavier in the tail than gamma at the same cv.",
            {"cv": (0.01, 20.0)},
        ),
        "constant": Process(
            _constant, {"rate": _RATE}, "One request every 1/rate seconds, the first at zero."
        ),
    }
)
