"""`hold` of a stage: how long KV waits at its engine for a request that is elsewhere, by hand.

Every step takes a second. An answer of 4 to a prompt of 8 takes 4 s and leaves KV of 11 tokens;
then a tool runs for 5 s and appends 4 tokens, and the model goes on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from built_graphs import graph, stage
from hand_built import AffineCost, batch
from test_walk import fixed, tool, work

from hermesdsl.graph.types import Spec


def asks(load: Any, hold: float | None, memory: int = 1 << 20, **more: Any):
    patience = {} if hold is None else {"hold": hold}
    stages = [stage("w.a", "Generate", "llm"), tool("w.t", 5.0, appends=4, **patience),
              stage("w.b", "Generate", "llm")]  # fmt: skip
    made = graph("w", stages, ("input", "w.a", "w.t", "w.b", "output"))
    return work(made, load, AffineCost(base=1.0, kv_tokens=memory), **more)


@pytest.mark.parametrize(
    ("hold", "read"),
    [
        # The last token produced and the tool's four are new; everything, once KV was given up.
        (None, 5),
        (5.5, 5),
        # It waits out the whole of its time.
        (5.0, 5),
        (4.5, 16),
        (0.25, 16),
    ],
)
def test_what_was_given_up_is_read_again(hold: float | None, read: int):
    done = asks(batch([0.0], 8, 4), hold)
    assert [n for n in done.steps["prefill_tokens"] if n] == [8, read]
    assert done.requests["finish_s"][0] == 13.0


@pytest.mark.parametrize(("hold", "start"), [(2.0, 6.0), (3.25, 7.25)])
def test_freed_blocks_are_there_at_that_very_time(hold: float, start: float):
    # 6 blocks of 4; the first request keeps 3 from 4 s on, the second needs 4 from 4.5 s on.
    load = batch([0.0, 4.5], [8, 16], [4, 1])
    done = asks(load, hold, memory=24)
    assert done.requests["w.a.start_s"].tolist() == [0.0, start]
    without = asks(load, None, memory=24)
    assert without.requests["w.a.start_s"][1] > 9.0


def test_kv_of_one_model_waits_while_another_works():
    # The judge reads 1 token text for a second at a time: 2 s on its engine, since it queues.
    stages = [stage("w.a", "Generate", "llm"), stage("w.g", "Guard", "big", hold=0.5),
              stage("w.b", "Generate", "llm")]  # fmt: skip
    made = graph("w", stages, ("input", "w.a", "w.g", "w.b", "output"))
    done = work(made, batch([0.0], 8, 4))
    # The guard reads the 4 tokens of the answer; then all 12 tokens are read again.
    assert [n for n in done.steps["prefill_tokens"] if n] == [8, 4, 12]


def test_a_stage_whose_second_half_runs_elsewhere_has_one_limit():
    # Read on `two`, written on `big`, 1 + 2 s: KV of `llm` waits 2.5 s in all, not 2.5 s each.
    stages = [
        stage("w.a", "Generate", "llm", tokens=fixed(4)),
        stage("w.x", "Generate", "big", tokens=fixed(3), hold=2.5),
        stage("w.b", "Generate", "llm", tokens=fixed(1)),
    ]
    made = graph("w", stages, ("input", "w.a", "w.x", "w.b", "output"))
    done = work(made, batch([0.0], 8, 4))
    assert [n for n in done.steps["prefill_tokens"] if n] == [8, 12, 15]


def test_a_branch_gives_up_its_own_and_not_what_the_others_read():
    # Two chains over one prompt of 8 (2 blocks): each adds a block, and gives up its own.
    inner = graph("w.try[0]", [stage("w.try[0].think", "Decode", "llm", tokens=fixed(4)),
         tool("w.try[0].t", 5.0, hold=1.0)],
        ("input", "w.try[0].think", "w.try[0].t", "output"))  # fmt: skip
    made = graph("w", [stage("w.read", "Prefill", "llm"),
                       stage("w.try", "Try", inner=inner, replicas=2, join=Spec("all")),
                       stage("w.end", "Generate", "llm", tokens=fixed(1))],
                 ("input", "w.read", "w.try", "w.end", "output"))  # fmt: skip
    done = work(made, batch([0.0], 8, 1))
    # KV of the winning chain is gone, and its parent kept none of it: all 16 tokens are read.
    assert [n for n in done.steps["prefill_tokens"] if n] == [8, 16]
    assert done.steps["kv_blocks"].max() == 4
    assert np.isfinite(done.requests["finish_s"]).all()
