"""On which rung the time of recorded steps stands: measured, calibrated or data sheet.

Layers and head are those of the cost model for each step's tokens; what they and the host do not
take, attention took, on the rung that it has at a typical step. Knows no clock or record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hermesdsl.cost.provenance import CALIBRATED, DATASHEET, MEASURED, Shares
from hermesdsl.cost.types import StepRows, StepWork
from hermesdsl.cost.use import by_schedule, fixed_work, rows_at

if TYPE_CHECKING:
    from hermesdsl.cost.llm import DataSheetCost
    from hermesdsl.cost.speculation import SpeculativeCost
    from hermesdsl.cost.types import Floats

_COLUMNS = ("taken", "measured", "calibrated")


def engine_rungs(cost: DataSheetCost, rows: StepRows, steps: Floats, queries: int = 1) -> Shares:
    """Seconds by rung of `steps` steps of each row, (rows,); they add up to all of the time."""
    found = dict.fromkeys((MEASURED, CALIBRATED, DATASHEET), 0.0)
    tokens = np.maximum(np.rint(rows.tokens).astype(np.int64), 1)
    for order, at in by_schedule(cost, tokens):
        part, count = rows_at(rows, at), steps[at]
        host, work = fixed_work(cost, order, tokens[at], part, queries, _COLUMNS)
        taken, measured, calibrated = work
        whole = np.maximum(host + taken, 1e-300)
        scale = np.minimum(1.0, part.seconds / whole)
        found[MEASURED] += float(np.dot(measured * scale, count))
        found[CALIBRATED] += float(np.dot(calibrated * scale, count))
        found[DATASHEET] += float(np.dot((whole - measured - calibrated) * scale, count))
        left = np.maximum(part.seconds - whole, 0.0) * count
        prompts = part.prefill_tokens > 0
        for name, own in (("prefill", prompts), ("decode", ~prompts)):
            if own.any():
                found[_attention_rung(cost, name, rows_at(part, np.flatnonzero(own)))] += float(
                    left[own].sum()
                )
    return Shares(found)


def speculative_rungs(cost: SpeculativeCost, rows: StepRows, steps: Floats) -> Shares:
    """The same for steps that guess and verify: told by the model that verifies."""
    guesses = cost.guesses
    verify = rows._replace(tokens=rows.tokens + guesses * rows.batch)
    return engine_rungs(cost.target, verify, steps, guesses + 1)


def _attention_rung(cost: DataSheetCost, name: str, rows: StepRows) -> str:
    """The rung of attention in the middle one of some steps."""
    middle = int(np.argsort(rows.tokens, kind="stable")[len(rows.tokens) // 2])
    batch, tokens = int(rows.batch[middle]), max(1, round(float(rows.prefill_tokens[middle])))
    if name == "prefill":
        work = StepWork(tokens, 1, 1, tokens, 0.5 * tokens * (tokens + 1), float(tokens))
    else:
        held = max(float(rows.kv_tokens[middle]), 1.0)
        work = StepWork(max(batch, 1), max(batch, 1), decodes=max(batch, 1), decode_context=held)
    wanted = f"attention {name}"
    return next((op.rung for op in cost.breakdown(work) if op.name == wanted), DATASHEET)
