"""Whether a run of an earlier sweep would end now as it did then, so that its row can stay.

A row tells what was asked of its run: what it was compared with is what a task says now. Knows
rows and tasks; runs nothing.
"""

from __future__ import annotations

from hermesdsl.explore.certain import behind
from hermesdsl.explore.job import DONE, PRUNED, Job, Row, Task, listed
from hermesdsl.explore.margin import hopeless
from hermesdsl.explore.metrics import named, plain, written
from hermesdsl.graph.types import Experiment
from hermesdsl.results.bars import Bar

__all__ = ["still"]


def still(experiment: Experiment, job: Job, row: Row, task: Task) -> bool:
    """Whether the run of a task would have this row, with all that is asked of it now.

    It goes through what `job.Runner` does in the same order: whatever ended the run then must be
    the first that would end it now.
    """
    wanted = set(named(experiment))
    if row["status"] == DONE and not wanted <= set(row["metrics"]):
        return False
    if row["status"] not in (DONE, PRUNED):
        return True
    if not job.short:
        return bool(row["status"] == DONE)
    if task.seeds:
        if row.get("seeds") != list(task.seeds) or len(row["floor"]) != len(experiment.objectives):
            return False
        apart = behind(experiment, row["floor"], task.rivals)
        if apart is not None or "behind" in row:
            return bool(apart == row.get("behind"))
    tried = row.get("tried") if row.get("short") == job.short else None
    if tried is None or (experiment.duration is not None and not wanted <= set(tried)):
        return False
    gone = hopeless(experiment, tried, task.beat) is not None
    if gone or (row["status"] == PRUNED and "stopped_s" not in row):
        return gone and row["status"] == PRUNED and "stopped_s" not in row
    if row["status"] == DONE and not any(_passed(bar, row) for bar in task.bars):
        return True
    return bool(row.get("bars", []) == listed(task.bars))


def _passed(bar: Bar, row: Row) -> bool:
    """Whether a whole run is beyond a bar that it may not have been held against."""
    value = row["metrics"].get(written(plain(bar.metric)))
    if value is None:
        return False
    return bool(value < bar.limit if bar.metric.name == "attainment" else value > bar.limit)
