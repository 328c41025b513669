"""When requests come: arrival processes as vectors of times.

A process is a function in a small file here and an entry of `PROCESSES`, beside its schema entry.
Arrival r of a source uses draw r of its stream, so a longer run keeps the arrivals of a shorter
one. Knows no lengths, classes, traces or pipeline.
"""

from hermesdsl.sim.arrivals.process import MAX_REQUESTS, Arguments, Process, Source, collect
from hermesdsl.sim.arrivals.registry import PROCESSES, Arrivals, arrival_times, arrivals
from hermesdsl.sim.arrivals.renewal import weibull_shape

__all__ = [
    "MAX_REQUESTS",
    "PROCESSES",
    "Arguments",
    "Arrivals",
    "Process",
    "Source",
    "arrival_times",
    "arrivals",
    "collect",
    "weibull_shape",
]
