"""What is asked of a system: loads, classes of customers, experiments.

Plain, frozen, in SI units. Knows no hardware, engine or clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hermesdsl.schema.values import Metric, Requirement, Spec, Value


@dataclass(frozen=True)
class RequestClass:
    """A customer class: `bounds` metric name → seconds (``ttft``, ``tpot``, ``itl``, ``e2e``)."""

    name: str
    priority: int = 0
    bounds: Mapping[str, float] = field(default_factory=dict)
    doc: str = ""


@dataclass(frozen=True)
class Workload:
    """Requests: `pipeline` (name in `CompiledSystem.pipelines`), arrivals, lengths, classes.

    `arrivals` Spec: ``poisson(rate)``, ``gamma(rate, cv)``, ``constant(rate)``, ``trace(file, …)``…
    (rate in 1/s). `prompt`, `output` are Specs of tokens (``fixed(value)`` for a quantity), None
    where the arrivals bring them (a trace). `class_mix` (class name, share) pairs; empty → one
    unnamed class. `requests` limits the number offered. `options` holds what else the schema
    has (turns, think_time, prefix). `sessions`: arrivals are sessions.
    """

    name: str
    pipeline: str
    arrivals: Spec
    prompt: Spec | None = None
    output: Spec | None = None
    class_mix: tuple[tuple[str, float], ...] = ()
    requests: int | None = None
    sessions: bool = False
    options: Mapping[str, Value] = field(default_factory=dict)
    doc: str = ""


@dataclass(frozen=True)
class SweepAxis:
    """``sweep``: points along one axis; each maps paths to source texts of values.

    `values` are the same as numbers in SI units or as words; `units` per target the unit that the
    user wrote and its factor to SI (``("GB/s", 1e9)``; ``("", 1)`` without one). `between`: the
    ends of a domain without points, ints if only whole numbers are meant; it has a single text.
    """

    targets: tuple[str, ...]
    points: tuple[tuple[str, ...], ...]
    values: tuple[tuple[float | str, ...], ...] = ()
    units: tuple[tuple[str, float], ...] = ()
    between: tuple[float, float] | None = None


@dataclass(frozen=True)
class Objective:
    """What is to be small, or large if `up`: `text` as written.

    `metric` is the metric it names, None if it names a swept value.
    """

    text: str
    up: bool
    metric: Metric | None = None


@dataclass(frozen=True)
class Experiment:
    """What to run: times in seconds. `duration` None: until the workloads' requests are served.

    `objectives`: those of `minimize`, then those of `maximize`.
    """

    name: str
    workloads: tuple[str, ...]
    duration: float | None = None
    warmup: float = 0.0
    seeds: tuple[int, ...] = (1,)
    horizon: str = "drain"
    contention: str = "fair"
    requirements: tuple[Requirement, ...] = ()
    axes: tuple[SweepAxis, ...] = ()
    objectives: tuple[Objective, ...] = ()
    strategy: Spec | None = None
    options: Mapping[str, Value] = field(default_factory=dict)
    doc: str = ""
