"""Which pictures a validation has, by the name of their file: predicted against measured.

Knows validations and how dots are drawn; writes no file.
"""

from __future__ import annotations

from hermesdsl.measure.headings import METRICS
from hermesdsl.measure.plot import Dots, scatter
from hermesdsl.measure.replay import Validation
from hermesdsl.measure.run_by_run import RunsValidation

__all__ = ["of_requests", "of_runs"]


def of_requests(found: Validation) -> dict[str, str]:
    """One for each latency, a dot per request."""
    pictures = {}
    for role, (measured, predicted) in found.pairs.items():
        title = f"{role} of {found.latencies[role].n:,} requests"
        pictures[f"{role}.svg"] = scatter(title, [Dots(role, measured, predicted)], "s")
    return pictures


def of_runs(found: RunsValidation) -> dict[str, str]:
    """One for each metric, a dot per run, the statistics of a latency in one."""
    groups: dict[str, list[Dots]] = {}
    for name, measured in found.runs.figures.items():
        statistic, _, rest = name.rpartition("(")
        dots = Dots(statistic or name, measured, found.predicted[name])
        groups.setdefault(rest.rstrip(")"), []).append(dots)
    count = len(found.runs)
    runs = f"{count:,} run{'s' * (count > 1)}"
    return {
        f"{metric}.svg": scatter(f"{metric} of {runs}", dots, METRICS[metric])
        for metric, dots in groups.items()
    }
