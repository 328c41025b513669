"""What of recorded steps is the host's: time that devices alone would not have taken.

Where the devices take longer than what the host does beside them, that is what it does alone, and
known exactly. Elsewhere devices wait for it, and what they would have taken is the cost model's.
Knows no clock and no request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hermesdsl.cost.types import StepRows
from hermesdsl.cost.use import by_schedule, expected_seconds, host_work, rows_at

if TYPE_CHECKING:
    from hermesdsl.cost.llm import DataSheetCost
    from hermesdsl.cost.speculation import SpeculativeCost
    from hermesdsl.cost.types import Floats

#: Rounding of a step's seconds, told from those of a host that devices wait for.
_ROUNDING = 1e-9


def engine_host(cost: DataSheetCost, rows: StepRows, queries: int = 1) -> Floats:
    """Seconds of each step that the host adds to its devices' time, (rows,).

    `queries` tokens of each decode in `tokens`. Sequences of data-parallel ranks are taken as
    shared out evenly.
    """
    found = np.zeros(len(rows.seconds))
    tokens = np.maximum(np.rint(rows.tokens).astype(np.int64), 1)
    o = cost.profile.overheads
    for order, at in by_schedule(cost, tokens):
        part, own = rows_at(rows, at), tokens[at]
        host = host_work(cost, part)
        alone, least = o.gap + (1.0 - o.overlap) * host, o.overlap * host
        ungraphed = -(-own // cost.group.dp) > o.graph_limit
        layer = o.eager + o.eager_prompt * (part.prefill_tokens > 0)
        eager = layer * cost.model.layers * order.passes
        least = np.where(ungraphed, np.maximum(least, eager), least)
        room = part.seconds - alone
        waits = room <= least * (1.0 + _ROUNDING)
        devices = np.where(waits, expected_seconds(cost, part, queries) - alone, room)
        found[at] = np.clip(part.seconds - devices, alone, part.seconds)
    return np.minimum(found, rows.seconds)


def speculative_host(cost: SpeculativeCost, rows: StepRows) -> Floats:
    """The same of steps that guess and verify: one host schedules both."""
    verify = rows._replace(tokens=rows.tokens + cost.guesses * rows.batch)
    return engine_host(cost.target, verify, cost.guesses + 1)
