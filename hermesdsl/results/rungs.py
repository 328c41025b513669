"""Shares of a run's working time by the rung that its numbers stand on.

Engine steps are told by their cost models; other services count as data sheet. Knows no formula.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hermesdsl.cost.provenance import DATASHEET, Shares
from hermesdsl.cost.types import EngineCost
from hermesdsl.graph.types import CompiledSystem
from hermesdsl.results.activity import alike_steps
from hermesdsl.sim.record import Run


def fractions(seconds: Shares) -> dict[str, float]:
    """Shares of that time by rung; all data sheet where there is none."""
    return seconds.fractions() if seconds.total > 0 else Shares({DATASHEET: 1.0}).fractions()


def rungs(system: CompiledSystem, run: Run, costs: Mapping[str, EngineCost]) -> Shares:
    """Seconds that clients worked in the rows of a run, by rung."""
    clients = [system.placement.nodes[path]["client"] for path in run.clients]
    total = Shares({})
    for cost, _, mine, rows in alike_steps(run, clients, costs):
        steps = np.maximum(run.steps["steps"][mine], 1).astype(np.float64)
        total = total + cost.rungs(rows, steps)
    if run.services:
        served = run.services["end_s"] - run.services["start_s"]
        total = total + Shares({DATASHEET: float(served.sum())})
    return total
