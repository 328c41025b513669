"""Pools whose clients are not alike, engines with roles, replicas on members of their own.

Every engine takes a second a step; links carry a token's KV (1000 B) in 1 / 1024 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from built_graphs import TICK, Branch, clients, graph, simulated, site, stage
from hand_built import MODEL, AffineCost, batch
from test_reference import assert_same
from test_walk import fixed

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Guard, Pool, Spec

ENGINE = {"batching": Spec("chunked", {"budget": 999}), "block_size": 4}
SECOND = AffineCost(base=1.0)
SMALL = replace(MODEL, name="small")


def placed(**pools: Sequence[str]) -> nx.DiGraph:
    """One or more clients of each sort, and `pools` of any of them."""
    made = clients(
        llm=("LlmEngine", 3, ENGINE), small=("LlmEngine", 3, ENGINE | {"model": SMALL}),
        reader=("LlmEngine", 2, ENGINE | {"role": "prefill"}),
        writer=("LlmEngine", 2, ENGINE | {"role": "decode"}),
        work=("WorkerPool", 3, {"workers": 1}),
        judge=("BatchEngine", 2, {"max_batch": 4, "max_wait": 0.0}),
        web=("Delay", 1, {"latency": fixed(7.0)}), far=("Delay", 1, {"latency": fixed(20.0)}),
    )  # fmt: skip
    for name, members in pools.items():
        made.graph["pools"][name] = Pool(name, tuple(members))
    return made


def done(made: nx.DiGraph, placement: nx.DiGraph, load: Any, cost: Any = SECOND, **more: Any):
    return simulated(site(made, placement), cost, load, **more)


def chain(*stages: Any) -> nx.DiGraph:
    return graph("w", stages, ("input", *(s.path for s in stages), "output"))


def where(run: Any, name: str = "w.a") -> list[str]:
    return [run.clients[index] for index in run.requests[f"{name}.client"]]


# --- pools -----------------------------------------------------------------------------------


def test_every_outside_service_of_a_pool_has_its_own_latency():
    run = done(chain(stage("w.a", "Step", "any")), placed(any=["web[0]", "far[0]"]),
               batch([0.0, 1.0, 2.0]))  # fmt: skip
    # In turn: 7, 20, 7 s.
    assert run.requests["finish_s"].tolist() == [7.0, 21.0, 9.0]


def test_a_check_goes_to_workers_batches_and_engines_in_turn():
    # All take 3 s, as the stage says.
    run = done(chain(stage("w.a", "Guard", "any", service=3.0)),
               placed(any=["work[0]", "judge[0]", "web[0]"]), batch([0.0] * 3, 5))  # fmt: skip
    assert where(run) == ["work[0]", "judge[0]", "web[0]"]
    assert run.requests["finish_s"].tolist() == [3.0, 3.0, 3.0]


def test_a_check_by_whichever_model_there_is():
    class Pass:
        def seconds(self, requests: int, tokens: int) -> float:
            return 0.5 * requests + 0.25 * tokens

    # The engine reads 8 tokens in one step; the batch engine's pass takes 0.5 + 8 x 0.25 s.
    run = done(chain(stage("w.a", "Score", "any", **{"pass": 1.0})),
               placed(any=["llm[0]", "judge[0]"]), batch([0.0] * 2, 8), service=Pass())  # fmt: skip
    assert where(run) == ["llm[0]", "judge[0]"]
    assert run.requests["finish_s"].tolist() == [1.0, 2.5]


def answers(pool: str) -> nx.DiGraph:
    return chain(stage("w.a", "Generate", pool, tokens=fixed(3)),
                 stage("w.t", "Tool", "work", service=1.0),
                 stage("w.b", "Generate", pool, tokens=fixed(2)))  # fmt: skip


def test_of_two_models_the_one_that_has_the_kv_goes_on():
    run = done(answers("any"), placed(any=["llm[0]", "small[0]"]), batch([0.0, 0.0], 8))
    assert where(run, "w.a") == where(run, "w.b") == ["llm[0]", "small[0]"]
    # Nothing is read again: 8 tokens, then the last one produced.
    assert run.steps["prefill_tokens"].sum() == 16


def test_an_engine_of_the_same_model_takes_kv_over_and_another_reads_it_all():
    placement = placed(first=["llm[0]"], any=["small[0]", "llm[1]"])
    made = chain(stage("w.a", "Generate", "first", tokens=fixed(3)),
                 stage("w.b", "Generate", "any", tokens=fixed(2)))  # fmt: skip
    run = done(made, placement, batch([0.0, 0.0], 8))
    assert where(run, "w.b") == ["small[0]", "llm[1]"]
    # The other model reads 11 tokens; the same model gets 10 moved and writes on from there.
    assert sorted(n for n in run.steps["prefill_tokens"] if n) == [11, 16]
    assert len(run.transfers["start_s"]) == 1


def test_members_differ_in_speed():
    class Slow(AffineCost):
        pass

    built = site(chain(stage("w.a", "Generate", "llm", tokens=fixed(2))), placed())
    from hermesdsl.sim.run import simulate

    costs = {p: AffineCost(base=1.0) for p in built.placement if p.startswith(("llm", "small",
             "reader", "writer"))} | {"llm[1]": Slow(base=4.0)}  # fmt: skip
    run = simulate(built, "main", seed=1, costs=costs, load=[batch([0.0, 0.0, 0.0], 8)])
    assert run.requests["finish_s"].tolist() == [2.0, 8.0, 2.0]


def test_passes_through_a_mixed_pool_are_counted_together():
    """A draw belongs to a request and its pass, on whichever client that pass runs."""
    service = Spec("uniform", {"low": 1.0, "high": 9.0})
    made = chain(stage("w.a", "Tool", "any", service=service, repeat=Spec("times", {"n": 3})))
    mixed = done(made, placed(any=["work[0]", "web[0]"]), batch([0.0]))
    alike = done(made, placed(any=["work[0]"]), batch([0.0]))
    assert mixed.requests["finish_s"].tolist() == alike.requests["finish_s"].tolist()


def test_kv_is_not_handed_over_to_a_pool_of_two_models():
    made = chain(stage("w.a", "Generate", "any", prefill="llm"))
    with pytest.raises(SpecError) as caught:
        done(made, placed(any=["llm[0]", "small[0]"]), batch([0.0]))
    (problem,) = caught.value.diagnostics
    assert problem.code == "HMS506"
    assert problem.message.startswith("handing KV of small or tiny over to pool `any`")


# --- roles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [("Prefill", "Decode"), ("Generate",)])
def test_prompts_go_to_those_that_read_and_answers_to_those_that_write(kinds: Sequence[str]):
    placement = placed(all=["reader[0]", "writer[0]", "reader[1]", "writer[1]"])
    run = done(chain(*(stage(f"w.{k}", k, "all") for k in kinds)), placement,
               batch([0.0, 0.0, 0.0, 0.0], 8, 3))  # fmt: skip
    index = {path: place for place, path in enumerate(run.clients)}
    for path in ("reader[0]", "reader[1]"):
        assert run.steps["prefill_tokens"][run.steps["client"] == index[path]].sum() == 16
    assert run.steps["prefill_tokens"].sum() == 32
    # 1 s to read two prompts, 8 tokens over the link (and its latency) each, two more steps.
    assert (run.requests["first_token_s"] == 1.0).all()
    assert len(run.transfers["start_s"]) == 4
    assert (run.requests["finish_s"] >= 3.0 + 8 * TICK).all()


def test_an_engine_that_does_both_keeps_what_it_has_read():
    placement = placed(all=["reader[0]", "llm[0]"])
    run = done(chain(stage("w.a", "Generate", "all")), placement, batch([0.0, 0.0], 8, 3))
    assert len(run.transfers["start_s"]) == 1
    assert where(run) == ["llm[0]", "llm[0]"]


def test_a_check_is_a_prompt():
    placement = placed(all=["reader[0]", "writer[0]"])
    run = done(chain(stage("w.a", "Guard", "all")), placement, batch([0.0, 0.0], 8))
    assert where(run) == ["reader[0]", "reader[0]"]


def test_both_forms_agree_where_roles_and_models_mix():
    placement = placed(
        all=["reader[0]", "llm[0]", "writer[0]"], any=["small[0]", "llm[1]", "work[0]"],
        models=["small[1]", "llm[2]"],
    )  # fmt: skip
    made = chain(stage("w.a", "Generate", "all", tokens=fixed(5)),
                 stage("w.g", "Guard", "work", service=3 * TICK, hold=2 * TICK),
                 stage("w.b", "Generate", "models", tokens=fixed(9)))  # fmt: skip
    load = batch(np.arange(40) * TICK * 3, 9, 7)
    cost = AffineCost(base=TICK, per_token=TICK / 8, kv_tokens=200)
    assert_same(
        done(made, placement, load, cost), done(made, placement, load, cost, reference=True)
    )


@pytest.mark.parametrize(
    ("kind", "pool", "message"),
    [
        ("Decode", "reader", "stage `w.a`: no member of reader serves decode"),
        ("Generate", "writer", "stage `w.a`: no member of writer serves prefill"),
    ],
)
def test_a_stage_of_the_other_sort(kind: str, pool: str, message: str):
    with pytest.raises(SpecError) as caught:
        done(chain(stage("w.a", kind, pool)), placed(), batch([0.0]))
    assert [f"{d.code}: {d.message}" for d in caught.value.diagnostics] == [f"HMS505: {message}"]


def test_a_client_that_only_writes_is_not_lent():
    placement = placed(readers=["llm[0]"], writers=["llm[1]", "writer[0]"])
    convert = {"convert": Spec("threshold", {"tokens": 10})}
    pools = placement.graph["pools"]
    pools["writers"] = replace(pools["writers"], options=convert)
    with pytest.raises(SpecError, match=r"would lend `writer\[0\]`, which has `role = decode`"):
        done(chain(stage("w.a", "Generate", "writers", prefill="readers")), placement, batch([0.0]))


# --- replicas on members of their own ----------------------------------------------------------


def shards(**more: Any) -> nx.DiGraph:
    """Each replica: a search on its shard, then an answer by its own engine."""
    find = stage("w.s[0].find", "Tool", "work", service=1.0, appends=4)
    write = stage("w.s[0].write", "Generate", "llm", tokens=fixed(2))
    inner = graph("w.s[0]", [find, write], ("input", find.path, write.path, "output"))
    return chain(stage("w.s", "Shard", inner=inner, replicas=3, spread="each", **more))


def test_replica_i_of_every_stage_runs_on_member_i():
    run = done(shards(), placed(), batch([0.0, 10.0], 8))
    visits = run.visits
    for name, pool in (("w.s[0].find", "work"), ("w.s[0].write", "llm")):
        rows = visits["stage"] == run.stages.index(name)
        for request in (0, 1):
            used = visits["client"][rows & (visits["request"] == request)]
            assert sorted(run.clients[c] for c in used) == [f"{pool}[{i}]" for i in range(3)]
    # A second to find, one to read 12 tokens, one for the second token.
    assert run.requests["finish_s"].tolist() == [3.0, 13.0]


def test_a_routed_vector_inside_stays_on_its_members():
    find = stage("w.s[0].find", "Tool", "work", service=1.0, replicas=2)
    inner = graph("w.s[0]", [find], ("input", find.path, "output"))
    made = chain(stage("w.s", "Shard", inner=inner, replicas=3, spread="each"))
    # One worker on each member: two searches take turns there.
    run = done(made, placed(), batch([0.0], 8))
    assert run.requests["finish_s"].tolist() == [2.0]
    assert np.bincount(run.visits["client"]).tolist() == [2, 2, 2]


def test_a_stage_inside_with_other_members():
    find = stage("w.s[0].find", "Tool", "work", service=1.0)
    write = stage("w.s[0].write", "Generate", "reader")
    inner = graph("w.s[0]", [find, write], ("input", find.path, write.path, "output"))
    made = chain(stage("w.s", "Shard", inner=inner, replicas=3, spread="each"))
    with pytest.raises(SpecError, match="puts replica i on member i: 3 replicas, and reader has 2"):
        done(made, placed(), batch([0.0]))


# --- the model that served ---------------------------------------------------------------------


def test_a_branch_on_the_model_that_answered():
    """Answers of the small model are written again by the large one."""
    stages = [stage("w.a", "Generate", "any", tokens=fixed(2)),
              stage("w.g", "Score", "judge", service=1.0),
              stage("w.b", "Generate", "llm", tokens=fixed(2))]  # fmt: skip
    by_small = Guard("==", ("model", "=small"))
    made = graph("w", stages, ("input", "w.a", "w.g"),
                 Branch("w.g", [(by_small, "w.b"), (None, "output")]),
                 ("w.b", "output"))  # fmt: skip
    run = done(made, placed(any=["small[0]", "llm[0]"]), batch([0.0, 0.0, 50.0], 8))
    assert where(run) == ["small[0]", "llm[0]", "small[0]"]
    # 2 s, a check of 1 s; of the small model's 2 s more.
    assert run.requests["finish_s"].tolist() == [5.0, 3.0, 55.0]
