"""What the heading of a column says: a statistic of a metric, and its unit.

``mean_ttft_ms``, ``ttft p99 (ms)``, ``p99(ttft) [s]`` and ``output_throughput`` each name one.
Knows words only: no file and no cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from hermesdsl.units import find

__all__ = ["METRICS", "STATISTICS", "Heading", "fits", "heading", "metric_of", "written"]

#: What a statistic is called, by the word that tables use.
STATISTICS: Mapping[str, str] = MappingProxyType(
    {"mean": "mean", "avg": "mean", "average": "mean", "median": "p50", "p50": "p50", "p90": "p90",
     "p95": "p95", "p99": "p99", "max": "max"}
)  # fmt: skip

#: Latencies with statistics, by the words that tables use, as `results` names them.
_LATENCIES: Mapping[str, str] = MappingProxyType(
    {"ttft": "ttft", "time_to_first_token": "ttft", "tpot": "tpot", "time_per_output_token": "tpot",
     "itl": "itl", "inter_token_latency": "itl", "e2e": "e2e", "e2el": "e2e", "latency": "e2e",
     "e2e_latency": "e2e", "end_to_end": "e2e", "end_to_end_latency": "e2e",
     "request_latency": "e2e", "queue": "queue", "queue_time": "queue"}
)  # fmt: skip
#: What has one value per run; ``throughput`` says by its unit what of.
_SINGLE: Mapping[str, str] = MappingProxyType(
    {"makespan": "makespan", "duration": "makespan", "benchmark_duration": "makespan",
     "output_throughput": "output_throughput", "output_token_throughput": "output_throughput",
     "request_throughput": "request_throughput", "throughput": "throughput", "n": "n",
     "requests": "n", "completed": "n", "num_requests": "n", "completed_requests": "n"}
)  # fmt: skip
#: Every metric of a run with its SI unit; latencies come with a statistic.
METRICS: Mapping[str, str] = MappingProxyType(
    {"ttft": "s", "tpot": "s", "itl": "s", "e2e": "s", "queue": "s", "makespan": "s",
     "output_throughput": "tok/s", "request_throughput": "req/s", "n": "req"}
)  # fmt: skip
_BRACKET = re.compile(r"\s*[\[(]([^\[\]()]+)[\])]\s*$")
_SUFFIX = re.compile(r"_(ns|us|ms|s)$")
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class Heading:
    """A column by its name, what it is called without its unit, and the text of that unit."""

    name: str
    bare: str
    unit: str = ""


def heading(name: str) -> Heading:
    """Name and unit apart: ``load.rate [req/s]``, ``ttft p99 (ms)``, ``ttft_ms``.

    What stands in round brackets is a unit if there is such a one (``p99(ttft)`` has none).
    """
    bracket = _BRACKET.search(name)
    if bracket is not None:
        unit = bracket[1].strip()
        if bracket[0].strip().startswith("[") or find(unit) is not None:
            return Heading(name, name[: bracket.start()].strip(), unit)
    if name.rstrip().endswith("%"):
        return Heading(name, name.rstrip()[:-1].strip(" _"), "%")
    suffix = _SUFFIX.search(name)
    if suffix is not None and "." not in name:
        return Heading(name, name[: suffix.start()], suffix[1])
    percent = re.search(r"_(pct|percent)$", name)
    if percent is not None:
        return Heading(name, name[: percent.start()], "%")
    return Heading(name, name.strip())


def metric_of(text: str, unit: str = "") -> tuple[str, str] | None:
    """(statistic, metric) that words name, such as ``p99_ttft``; the statistic is empty for what
    has one value per run, ``?`` for a latency without one and for a throughput of what it does not
    say. None for anything else.

    `unit` tells a throughput in requests from one in tokens; ``run_`` before it means the same.
    """
    words = _WORD.findall(text.lower().removeprefix("run_"))
    told = [word for word in words if word in STATISTICS]
    rest = "_".join(word for word in words if word not in STATISTICS)
    if len(told) > 1 or not words:
        return None
    if rest in _LATENCIES:
        return (STATISTICS[told[0]] if told else "?"), _LATENCIES[rest]
    if rest not in _SINGLE or told:
        return None
    metric = _SINGLE[rest]
    if metric == "throughput":
        known = {"tok/s": "output_throughput", "req/s": "request_throughput"}.get(unit)
        return ("?", metric) if known is None else ("", known)
    return "", metric


def written(statistic: str, metric: str) -> str:
    """``p99(ttft)``, ``output_throughput``: as requirements and sweeps write it."""
    return f"{statistic}({metric})" if statistic else metric


def fits(metric: str, unit: str) -> float | None:
    """The factor from a unit to SI for a metric; None without a unit, or for one of another sort.

    Rates and counts need no unit.
    """
    si = METRICS[metric]
    wanted, found = find(si), find(unit or (si if si != "s" else ""))
    if wanted is None or found is None or found.dimension != wanted.dimension:
        return None
    return found.factor
