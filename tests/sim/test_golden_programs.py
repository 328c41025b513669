"""The golden programs with pipelines of any shape, compiled from the language and run.

Cost models are stubs of constant time: what is checked is the walk, not the numbers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_graphs import PerItem, simulated
from hand_built import AffineCost

from hermesdsl.api import compile
from hermesdsl.graph.types import CompiledSystem, Spec
from hermesdsl.sim.workload import offered

PROGRAMS = Path(__file__).parents[1] / "golden/programs"
COST = AffineCost(
    kv_tokens=400_000, base=0.01, per_token=1e-5, per_pair=1e-10, per_context=1e-8
)  # fmt: skip


def program(name: str, duration: float, **changes: Any) -> CompiledSystem:
    built = compile(PROGRAMS / f"{name}.hms").compiled
    (experiment,) = built.experiments.values()
    changed = replace(experiment, name="main", duration=duration, warmup=0.0)
    pools = built.placement.graph["pools"]
    for path, pool in pools.items():
        if pool.route.name == "least_work":
            pools[path] = replace(pool, route=Spec("jsq"))
    return replace(built, experiments={"main": changed})


def result(built: CompiledSystem, **more: Any) -> Any:
    experiment = built.experiments["main"]
    loads = [
        offered(built.workloads[name], duration=experiment.duration, seed=1,
                classes=built.classes).batch
        for name in experiment.workloads
    ]  # fmt: skip
    return simulated(built, COST, *loads, service=PerItem(0.002, 0.001, 1e-7), **more)


def test_rag_over_sixteen_shards():
    done = result(program("05_rag", 20.0))
    assert done.counts["completed"] == done.counts["offered"] > 100
    # Eight passages of 512 tokens join each question.
    read = done.steps["prefill_tokens"].sum()
    assert read == done.requests["prompt_tokens"].sum() + done.counts["offered"] * 8 * 512
    shards = [i for i, path in enumerate(done.clients) if path.startswith("s.shards")]
    served = [int((done.services["client"] == i).sum()) for i in shards]
    assert served == [done.counts["offered"]] * 16


def test_an_agent():
    done = result(program("06_agent", 200.0))
    assert done.counts["completed"] == done.counts["offered"] > 60
    columns = done.requests
    turns = columns["agent.turn.think.passes"]
    # geometric(mean = 4, max = 10): mean (1 - (3/4)^10) · 4, standard deviation below 3.
    mean = (1 - 0.75**10) * 4
    assert abs(turns.mean() - mean) < 4 * 3 / np.sqrt(len(turns))
    tools = columns["agent.turn.api.passes"] + columns["agent.turn.code.passes"]
    np.testing.assert_array_equal(tools, turns)
    np.testing.assert_array_equal(columns["visible"], columns["output_tokens"])
    assert (columns["first_token_s"] >= columns["agent.turn.think.end_s"]).all()


def test_a_cascade():
    done = result(program("07_cascade", 60.0))
    n = done.counts["offered"]
    refused, strong = done.counts["refused"], int(done.requests["Cascade.strong.passes"].sum())
    assert abs(refused - 0.02 * n) < 4 * np.sqrt(n * 0.02 * 0.98)
    assert abs(strong - 0.3 * 0.98 * n) < 4 * np.sqrt(n * 0.3 * 0.7)
    done_ = done.requests["status"] == 1
    np.testing.assert_array_equal(
        done.requests["visible"][done_], done.requests["output_tokens"][done_]
    )


def test_the_best_of_eight():
    done = result(program("08_best_of_8", 120.0))
    assert done.counts["completed"] == done.counts["offered"] > 20
    columns = done.requests
    # Prompts are read once for all eight, and the answer goes on from the winner's KV.
    again = sum(engine.recomputed for engine in done.engines)
    assert done.steps["prefill_tokens"].sum() == columns["prompt_tokens"].sum() + again
    np.testing.assert_array_equal(columns["visible"], columns["output_tokens"])
    assert (columns["generated"] > 1000).mean() > 0.5


def test_retrieval_reasoning_and_chat_side_by_side():
    built = program("rag_chat", 30.0)
    done = result(built)
    assert done.counts["completed"] == done.counts["offered"] > 40
    columns = done.requests
    # Each takes one of three ways, and all come to the guard.
    reasoned, answered = columns["RagChat.final.passes"], columns["RagChat.answer.passes"]
    np.testing.assert_array_equal(reasoned + answered, np.ones(len(reasoned)))
    assert (columns["RagChat.guard.passes"] == 1).all()
    np.testing.assert_array_equal(columns["visible"], columns["output_tokens"])


@pytest.mark.parametrize("name", ["06_agent", "08_best_of_8", "rag_chat"])
def test_both_forms_agree(name: str):
    from test_reference import assert_same

    built = program(name, 8.0)
    assert_same(result(built), result(built, reference=True))
