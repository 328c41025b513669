"""Metrics that goals may name: what each takes, its dimension and its definition."""

from __future__ import annotations

from dataclasses import dataclass

from hermesdsl.units import dimension as d
from hermesdsl.units.dimension import Dimension


@dataclass(frozen=True)
class MetricSchema:
    """A metric: `dimension` of its value (None: that of its argument) and allowed filters."""

    name: str
    dimension: Dimension | None
    doc: str
    of_series: bool = False
    filters: tuple[str, ...] = ("workload", "class")
    of_path: bool = False


#: Per-request series that percentiles are taken of.
SERIES: dict[str, Dimension] = {
    "ttft": d.SECOND, "tpot": d.SECOND, "tpot_step": d.SECOND, "itl": d.SECOND,
    "e2e": d.SECOND, "queue": d.SECOND,
}  # fmt: skip

_SERIES_FILTERS = ("workload", "class", "stage", "case")

METRICS: dict[str, MetricSchema] = {
    m.name: m
    for m in (
        *(
            MetricSchema(name, None, f"{text} over the measured requests", True, _SERIES_FILTERS)
            for name, text in {
                "p50": "Median", "p90": "90th percentile", "p95": "95th percentile",
                "p99": "99th percentile", "mean": "Mean", "max": "Largest",
            }.items()
        ),
        MetricSchema("attainment", d.NUMBER,
                     "Share of offered requests that meet every bound of their class.",
                     filters=("workload", "class", "case")),
        MetricSchema("goodput", d.REQUEST_RATE,
                     "Requests per second that meet every bound of their class.",
                     filters=("workload", "class", "case")),
        MetricSchema("output_throughput", d.TOKEN_RATE, "Visible output tokens per second.",
                     filters=("workload", "class", "case")),
        MetricSchema("request_throughput", d.REQUEST_RATE, "Completed requests per second.",
                     filters=("workload", "class", "case")),
        MetricSchema("cost_per_token", Dimension(dollar=1, token=-1), "Price per output token.",
                     filters=("case",)),
        MetricSchema("energy_per_token", Dimension(watt=1, second=1, token=-1),
                     "Energy per output token.", filters=("case",)),
        MetricSchema("utilisation", d.NUMBER,
                     "Share of the window in which a client worked (of several, their mean) or any "
                     "client on a device did; of a switch or NIC, that of its busiest link.",
                     filters=("case",), of_path=True),
        MetricSchema("hit_rate", d.NUMBER,
                     "Share of the tokens looked up in a tier, a cache or an engine's prefix cache "
                     "that were found there.",
                     filters=("tier", "case")),
        MetricSchema("share", d.NUMBER, "Share of offered requests with an outcome.",
                     filters=("outcome", "workload", "class", "case")),
    )
}  # fmt: skip

OUTCOMES = ("completed", "refused", "timed_out", "unfinished")
