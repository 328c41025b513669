"""Whoever waits for KV memory that nobody will free gets it: at once, in a fixed order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from built_graphs import clients, graph, simulated, site, stage
from hand_built import MODEL, AffineCost, batch
from shared_texts import with_prefixes, with_sessions

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.sim.run import simulate

both_forms = pytest.mark.parametrize("reference", [False, True])
#: One token per block, a second per step, prompts first.
ENGINE = {"batching": Spec("continuous"), "block_size": 1}


def over(made: Any, memory: int, arrivals: list[float], reference: bool) -> Any:
    """Prompts of 8 tokens through a pipeline on one engine and as many workers as it likes."""
    work = ("WorkerPool", 1, {"workers": 9})
    built = site(made, clients(llm=("LlmEngine", 1, ENGINE), work=work))
    cost = AffineCost(base=1.0, kv_tokens=memory)
    return simulated(built, cost, batch(arrivals, 8), reference=reference)


@both_forms
def test_whoever_waits_on_kept_kv_lets_go_of_it_though_a_request_is_still_to_come(reference: bool):
    # Both prompts are read 0-1 and their 16 tokens kept below two branches each, of 22. Three steps
    # 1-4 of the decodes `a` fill the memory and free 6 again. From 4 on both `b`, back from their
    # tools at 3, need 7 tokens each: the second gives way at 7 with 3 of them, the first at 10 with
    # 6, for its seventh has no room. At 10 it is to read those 6 and the last it produced, which is
    # one more than 6: stuck. The second lets go of its 8; the first reads 10-11 and has its eighth
    # token. The second reads 8 + 3 + 1 tokens 11-12, which brings its fifth, and three more.
    made = graph(
        "w",
        [stage("r", "Prefill", "llm"), stage("a", "Decode", "llm", tokens=4),
         stage("t", "Tool", "work", service=2.0), stage("b", "Decode", "llm", tokens=8),
         stage("z", "Tool", "work", service=0.0)],
        ("input", "r", ("a", "t")), ("a", "z"), ("t", "b", "z", "output"),
    )  # fmt: skip
    done = over(made, 22, [0.0, 0.0, 1000.0], reference)
    # Alone at 1000: its `b` comes at 1003, when a step of `a` ends, and decodes 1004-1011.
    assert done.requests["finish_s"].tolist() == [11.0, 15.0, 1011.0]
    assert done.engines[0].preemptions == 3


@both_forms
def test_the_last_branch_to_reach_a_join_ends_the_wait_for_its_kv(reference: bool):
    # As above, but the other branch is a tool until 51 whose KV the stage after the join may read.
    # Both `b` decode 3-6, the first until 9, and it is to read 7 where 6 are free: the tools still
    # work for both requests. From 51 on both threads wait at the join for `b`: the second `b` lets
    # go, and what its request keeps is given up. The first reads 51-52 and goes on 52-54 in `z`;
    # the second reads 12 tokens 54-55, decodes 55-58, and 58-60.
    made = graph(
        "w",
        [stage("r", "Prefill", "llm"), stage("a", "Tool", "work", service=50.0),
         stage("t", "Tool", "work", service=2.0), stage("b", "Decode", "llm", tokens=8),
         stage("z", "Decode", "llm", tokens=2)],
        ("input", "r", ("a", "t")), ("a", "z"), ("t", "b", "z", "output"),
    )  # fmt: skip
    done = over(made, 22, [0.0, 0.0], reference)
    assert done.requests["finish_s"].tolist() == [54.0, 60.0]


@both_forms
def test_whoever_queued_while_his_prompt_was_read_elsewhere_may_be_stuck_from_then_on(
    reference: bool,
):
    # `a` is over at 2 and keeps 9 of 12 tokens until the join. `b` reads two tokens a second at
    # `other`, and queues at `llm` for its 8 when its last step begins, at 3. At 4 nothing is left
    # that could free them: those of `a` are given up. They move, one step decodes, and `z` reads
    # what `a` and `b` have added to the 9 that are there.
    made = graph(
        "w",
        [stage("g", "Tool", "work", service=0.0), stage("a", "Generate", "llm", tokens=2),
         stage("b", "Generate", "llm", tokens=2, prefill="other", transfer="layerwise"),
         stage("z", "Prefill", "llm")],
        ("input", "g", ("a", "b"), "z", "output"),
    )  # fmt: skip
    slow = ENGINE | {"batching": Spec("chunked", {"budget": 2})}
    placement = clients(
        llm=("LlmEngine", 1, ENGINE), other=("LlmEngine", 1, slow),
        work=("WorkerPool", 1, {"workers": 1}),
    )  # fmt: skip
    cost = AffineCost(base=1.0, kv_tokens=12)
    done = simulated(site(made, placement), cost, batch([0.0], 8), reference=reference)
    assert done.engines[0].preemptions == 1
    start, end = done.transfers["start_s"][0], done.transfers["end_s"][0]
    assert (start, done.requests["finish_s"][0]) == (4.0, end + 2.0)


@both_forms
def test_of_two_engines_that_wait_for_each_other_the_first_by_name_gives_way(reference: bool):
    # Each request keeps 9 of 12 tokens at one engine for its third stage, and is to read 10 at the
    # other: stuck from 2 on. `here` gives up; the second request reads 10 there 2-3, decodes 3-4,
    # and reads 3 more where its KV is, 4-5. Then the first reads its 10 at `there` 5-6, decodes
    # 6-7, and all 12 at `here` 7-8. A third that comes much later is alone.
    def way(name: str, first: str, second: str) -> Any:
        stages = [stage(f"{name}.a", "Generate", first, tokens=2),
                  stage(f"{name}.b", "Generate", second, tokens=2),
                  stage(f"{name}.c", "Generate", first, tokens=1)]  # fmt: skip
        return graph(name, stages, ("input", *(s.path for s in stages), "output"))

    ways = {"v": way("v", "here", "there"), "w": way("w", "there", "here")}
    engines = {
        name: ("LlmEngine", 1, ENGINE | {"model": replace(MODEL, name=name)})
        for name in ("there", "here")
    }
    built = site(ways, clients(**engines))
    cost = AffineCost(base=1.0, kv_tokens=12)
    load = [batch([0.0, 100.0], 8, workload="v"), batch([0.0], 8, workload="w")]
    done = simulated(built, cost, *load, reference=reference)
    assert done.requests["finish_s"].tolist() == [8.0, 5.0, 105.0]


@both_forms
def test_kv_of_a_request_at_its_tool_is_waited_for(reference: bool):
    # The first keeps 9 of 12 tokens while its tool works 2-22; the second, of 8, waits for 22, when
    # the first goes on with its KV, 22-24; then the second, 24-26, 46-48.
    made = graph(
        "w",
        [stage("a", "Generate", "llm", tokens=2), stage("t", "Tool", "work", service=20.0),
         stage("b", "Decode", "llm", tokens=2)],
        ("input", "a", "t", "b", "output"),
    )  # fmt: skip
    done = over(made, 12, [0.0, 1.5], reference)
    assert done.requests["finish_s"].tolist() == [24.0, 48.0]
    assert done.engines[0].preemptions == 0


@both_forms
def test_what_cannot_fit_alone_is_refused(reference: bool):
    # 8 tokens and the 3 that are produced before the last take 11 blocks.
    made = graph("w", [stage("a", "Generate", "llm", tokens=4)], ("input", "a", "output"))
    assert over(made, 11, [0.0, 0.0], reference).counts["completed"] == 2
    refused = over(made, 10, [0.0, 0.0], reference)
    assert refused.counts["refused"] == 2
    assert {refused.reasons[r] for r in refused.requests["reason"]} == {
        "needs more KV than the client has"
    }


@pytest.mark.parametrize("column", ["prefix", "prefix_tokens"])
def test_a_conversation_with_two_beginnings_is_refused(column: str):
    # Its second turn would have the first's prefix in front by the tokens, another by their names.
    made = graph("w", [stage("a", "Generate", "llm")], ("input", "a", "output"))
    built = site(made, clients(llm=("LlmEngine", 1, ENGINE | {"prefix_cache": True})))
    load = with_prefixes(with_sessions(batch([0.0, 0.0], 8), 2), 4, 2)
    assert simulated(built, AffineCost(base=1.0), load).counts["completed"] == 2
    values = getattr(load, column).copy()
    values[1] += 1
    with pytest.raises(SpecError) as caught:
        simulate(built, "main", seed=1, costs={"llm[0]": AffineCost()},
                 load=[replace(load, **{column: values})])  # fmt: skip
    assert [f"{d.code}: {d.message}" for d in caught.value.diagnostics] == [
        "HMS601: workload `w`: request 1 continues one that has another prefix"
    ]
