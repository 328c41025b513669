"""What an arrival process is, and how its arguments are checked.

Knows no process by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, TypeAlias

import numpy as np

from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.graph.types import Spec
from hermesdsl.sim.streams import Floats, Stream

#: One workload may offer this many requests; more would not fit into memory beside the records.
MAX_REQUESTS = 20_000_000

#: Arrivals made at a time. Not a setting: the sums of gaps do not depend on it.
BLOCK = 8192

#: Checked arguments: floats, and words or file names as text.
Arguments: TypeAlias = Mapping[str, Any]
#: Consecutive arrays of times in seconds, ascending, without end.
Source: TypeAlias = Iterator[Floats]


@dataclass(frozen=True)
class Process:
    """An arrival process: `arguments` name → what a good value is.

    `sources(arguments, stream, end)` makes the parts it is a sum of, one for most; none is asked
    for times from `end` on, and may give inf instead. An argument is a number above zero unless
    `limits` gives its least and greatest value, `words` the words it may be, or `texts` says it
    is a text. Those in `optional` may be absent.
    """

    sources: Callable[[Arguments, Stream, float], Sequence[Source]]
    arguments: Mapping[str, str]
    doc: str = ""
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def collect(source: Source, end: float, count: int) -> Floats:
    """The times of a source in [0, end), at most `count` of them, and never over the limit."""
    kept: list[Floats] = []
    total = 0
    while total < count:
        block = next(source)
        inside = block[: min(int(np.searchsorted(block, end)), count - total)]
        kept.append(inside)
        total += len(inside)
        if total > MAX_REQUESTS:
            raise SpecError([too_many(total)])
        if len(inside) < len(block):
            break
    return np.concatenate(kept) if kept else np.empty(0)


def too_many(count: float) -> Diagnostic:
    """The diagnostic for an offer beyond `MAX_REQUESTS`."""
    message = f"the workload offers about {count:,.0f} requests; the limit is {MAX_REQUESTS:,}"
    note = "help: lower the rate or the duration, or set `requests`"
    return error("HMS601", message, notes=[note])


def checked(spec: Spec, process: Process) -> dict[str, Any]:
    """The arguments with their meaning checked, or a SpecError that names the wrong ones."""
    problems = []
    for name in spec.args:
        if name not in process.arguments and spec.args[name] is not None:
            match = nearest(name, process.arguments)
            notes = [f"help: did you mean `{match}`?"] if match else []
            message = f"`{spec.name}` has no argument `{name}`"
            problems.append(error("HMS601", message, notes=notes))
    values: dict[str, Any] = {}
    for name, meaning in process.arguments.items():
        value = spec.args.get(name)
        if value is None and name in process.optional:
            continue
        fault = _fault(spec, process, name)
        if fault is not None:
            problems.append(error("HMS601", fault, notes=[f"`{name}` is {meaning}"]))
        else:
            values[name] = value if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    if problems:
        raise SpecError(problems)
    return values


def _fault(spec: Spec, process: Process, name: str) -> str | None:
    """What is wrong with one argument."""
    value = spec.args.get(name)
    words = process.words.get(name, ())
    if words or name in process.texts:
        if isinstance(value, str) and (not words or value in words):
            return None
        wanted = f"one of {', '.join(words)}" if words else "a text"
        return f"`{name}` of arrivals `{spec.name}` is {value}, not {wanted}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"arrivals `{spec.name}` need `{name}`, {process.arguments[name]}"
    low, high = process.limits.get(name, (0.0, inf))
    if (
        not isfinite(value)
        or not low <= value <= high
        or (value <= 0 and name not in process.limits)
    ):
        bounds = f"between {low:g} and {high:g}" if name in process.limits else "above zero"
        return f"`{name}` of arrivals `{spec.name}` is {value:g}, not {bounds}"
    return None
