"""What every metric means, in words: the one place that says so; tables and documentation print it.

Knows no number of any run.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from hermesdsl.sim.record import COMPLETED, REFUSED, TIMED_OUT, UNFINISHED

__all__ = ["BY_STAGE", "DEFINITIONS", "OTHERS", "OUTCOMES", "PERCENTILES", "RATES", "SERIES",
           "Definition"]  # fmt: skip


class Definition(NamedTuple):
    """What a metric is, in one line, and its SI unit."""

    text: str
    unit: str


#: Metrics with one value per request (`itl`: one per token).
SERIES: Mapping[str, Definition] = MappingProxyType(
    {
        "ttft": Definition("first visible token - arrival", "s"),
        "tpot": Definition(
            "(last - first visible token) / (visible tokens - 1); undefined for one token, which "
            "is left out",
            "s",
        ),
        "itl": Definition("gap between two visible tokens of a request, stalls included", "s"),
        "tpot_step": Definition(
            "mean length of the decode steps that made a request's tokens; hides stalls", "s"
        ),
        "e2e": Definition("finish - arrival, of completed requests", "s"),
        "queue": Definition(
            "time until first served at each client that a request waited for, less that of KV on "
            "its way, summed",
            "s",
        ),
    }
)

#: Metrics with one value per run, or per group of requests.
RATES: Mapping[str, Definition] = MappingProxyType(
    {
        "output_throughput": Definition("visible tokens that came in the window / window", "tok/s"),
        "request_throughput": Definition("requests completed in the window / window", "req/s"),
        "goodput": Definition(
            "requests completed in the window that met every bound of their class / window",
            "req/s",
        ),
        "attainment": Definition(
            "share of measured requests that met every bound of their class; refused and "
            "unfinished ones miss",
            "1",
        ),
    }
)

OTHERS: Mapping[str, Definition] = MappingProxyType(
    {
        "share": Definition("share of measured requests with an outcome", "1"),
        "utilisation": Definition(
            "share of the window in which a client worked: ran steps, or the mean share of its "
            "workers that served; of a device, in which any client on it worked; of a link, of its "
            "bandwidth over the whole run",
            "1",
        ),
        "hit_rate": Definition(
            "tokens found in a tier / tokens looked up there, those that an earlier tier had "
            "left out",
            "1",
        ),
        "energy_per_token": Definition(
            "energy of the window, idle time included / output tokens that came in it", "J/tok"
        ),
        "cost_per_token": Definition(
            "price of the window, used or not / output tokens that came in it", "$/tok"
        ),
    }
)

#: Series that can be had by stage, with one value per visit, and what they are then.
BY_STAGE: Mapping[str, str] = MappingProxyType(
    {
        "ttft": "from entering the stage to the first token produced there",
        "queue": "from coming to a client to being first served there, without KV on its way",
        "e2e": "from entering the stage to its end",
    }
)

DEFINITIONS: Mapping[str, Definition] = MappingProxyType({**SERIES, **RATES, **OTHERS})

PERCENTILES: Mapping[str, float] = MappingProxyType(
    {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
)

#: Words of `share(outcome = …)`.
OUTCOMES: Mapping[str, int] = MappingProxyType(
    {"completed": COMPLETED, "refused": REFUSED, "timed_out": TIMED_OUT, "unfinished": UNFINISHED}
)
