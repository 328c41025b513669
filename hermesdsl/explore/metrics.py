"""Metrics by the text that the language writes them with. Knows no run and no table."""

from __future__ import annotations

from dataclasses import replace

from hermesdsl.graph.types import Experiment, Metric

__all__ = ["named", "plain", "written"]


def plain(metric: Metric) -> Metric:
    """The same metric of whatever point it is asked of."""
    return replace(metric, where={k: v for k, v in metric.where.items() if k != "case"})


def written(metric: Metric) -> str:
    """A metric as the language writes it: ``p99(ttft, class = gold)``."""
    parts = [*([metric.of] if metric.of else []), *(f"{k} = {v}" for k, v in metric.where.items())]
    return f"{metric.name}({', '.join(parts)})" if parts else metric.name


def named(experiment: Experiment) -> dict[str, Metric]:
    """The metrics that its objectives and goals name, by how they are written, without cases."""
    wanted = [each.metric for each in experiment.objectives if each.metric is not None]
    wanted += [o for r in experiment.requirements for o in r.goal.operands if isinstance(o, Metric)]
    return {written(plain(metric)): plain(metric) for metric in wanted}
