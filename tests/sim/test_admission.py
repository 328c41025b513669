"""Who is let into a pool, and that whoever is not leaves nothing behind."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np
import pytest
from built_graphs import clients, graph, simulated, site, stage
from hand_built import AffineCost, batch, chat, generate, reading, run, system, wires
from hosts import classed, with_classes
from hypothesis import given, settings
from hypothesis import strategies as st
from pooled import with_pool
from test_reference import TICK, assert_same
from test_supported import refusal

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.sim.record import REFUSED

SECOND = AffineCost(base=1.0)
ONE_BY_ONE = {"batching": Spec("continuous"), "max_batch": 1}


def let_in(spec: Spec, load: Any, cost: Any = SECOND, n: int = 1, made: Any = None) -> list[int]:
    """The requests that are let in, by number; the same in both forms, the others with a reason."""
    built = with_pool(made or system(reading(), engines={"llm": n}, options=ONE_BY_ONE),
                      admission=spec)  # fmt: skip
    done = run(built, cost, load)
    assert_same(done, run(built, cost, load, reference=True))
    refused = done.requests["status"] == REFUSED
    reasons = {done.reasons[code] for code in done.requests["reason"][refused]}
    assert reasons <= {"not admitted to a pool"}
    assert done.counts["completed"] + done.counts["refused"] == len(load)
    return np.flatnonzero(~refused).tolist()


@pytest.mark.parametrize("rate", [1.0, 3.0, 7.0, 9.5])
def test_a_token_bucket_lets_in_what_it_was_given(rate: float):
    """Ten a second for 30 s, a burst of 5: the bucket never runs over, so floor(5 + 30·rate).

    The last request, at 30 s, finds the last whole token.
    """
    load = batch(np.arange(301) / 10)
    admitted = len(let_in(Spec("token_bucket", {"rate": rate, "burst": 5}), load))
    assert admitted == floor(5 + 30 * rate)


@pytest.mark.parametrize("rate", [1.0, 3.0, 7.0, 9.5])
def test_a_bucket_of_one_lets_in_every_kth(rate: float):
    """What runs over is lost: k = ceil(10 / rate) requests for each token."""
    load = batch(np.arange(301) / 10)
    every = ceil(10 / rate)
    admitted = let_in(Spec("token_bucket", {"rate": rate}), load)
    assert admitted == list(range(0, 301, every))


def test_a_bucket_that_is_filled_faster_lets_in_everyone():
    load = batch(np.arange(50) / 10)
    assert len(let_in(Spec("token_bucket", {"rate": 10.0, "burst": 1}), load)) == 50


def test_a_bucket_never_holds_more_than_a_burst():
    # Full again (2 tokens) long before 100, when three come at once; then one every 2 s.
    load = batch([0.0, 100.0, 100.0, 100.0, 101.0, 102.0, 103.9, 104.0])
    spec = Spec("token_bucket", {"rate": 0.5, "burst": 2})
    assert let_in(spec, load) == [0, 1, 2, 5, 7]


def test_a_queue_limit_counts_who_waits_at_all_members():
    """Two clients, 1 s each, one at a time. 0 and 1 are served, 2 and 3 wait, 4 is too many.

    At 1.1, 2 has begun at client 0 and 3 waits at client 1 until 1.2: there is room for 5.
    """
    load = batch([0.0, 0.2, 0.3, 0.4, 0.5, 1.1, 1.15])
    assert let_in(Spec("queue_limit", {"n": 2}), load, n=2) == [0, 1, 2, 3, 5]


def test_a_queue_limit_of_servers():
    step = stage("w.s", "Step", "work", service=1.0)
    made = site(graph("w", [step], ("input", "w.s", "output")),
                clients(work=("WorkerPool", 1, {"workers": 1})))  # fmt: skip
    built = with_pool(made, "work", admission=Spec("queue_limit", {"n": 1}))
    done = simulated(built, None, batch([0.0, 0.1, 0.2, 1.05]))
    # 1 waits until 1.0; 2 finds it; 3 does not.
    assert (done.requests["status"] == REFUSED).tolist() == [False, False, True, False]


def test_a_deadline_refuses_what_reading_alone_would_make_late():
    """Gold within 20 ms, free within 300 ms; 1 ms per token, so r = 1 ms.

    0 leaves 10 tokens unread, to which 1 adds 10: 20 ms, just met. 2 would take 21 ms. 3 is free.
    At 15 ms the first has been read and the second, begun at 10, has not: 10 + 10.
    """
    load = classed(batch([0.0, 0.0, 0.0, 0.0, 0.015], [10, 10, 1, 200, 10]), 0, 0, 0, 1, 0)
    made = with_classes(system(reading(), options=ONE_BY_ONE))
    cost = AffineCost(per_token=0.001)
    assert let_in(Spec("deadline"), load, cost, made=made) == [0, 1, 3]
    without = classed(batch([0.0, 0.0, 0.0, 0.015], [10, 10, 1, 10]), 0)
    assert let_in(Spec("deadline"), without, cost, made=made) == [0, 1, 3]


def test_a_deadline_takes_the_member_that_reads_soonest():
    made = with_classes(system(reading(), engines={"llm": 2}, options=ONE_BY_ONE))
    load = classed(batch([0.0] * 4, [15, 15, 5, 6]), 0)
    # After 0 and 1 both have 15 ms to read; 2 makes one of them 20 ms; 15 + 6 is too long.
    assert let_in(Spec("deadline"), load, AffineCost(per_token=0.001), made=made) == [0, 1, 2]


def test_a_class_without_a_bound_is_never_late():
    made = with_classes(system(reading(), options=ONE_BY_ONE))
    load = classed(batch([0.0] * 5, 1000), 2)
    cost = AffineCost(per_token=0.001)
    assert let_in(Spec("deadline"), load, cost, made=made) == [0, 1, 2, 3, 4]


def test_one_rule_for_all_groups_of_a_pool():
    """Two decode clients, one for each prefill client: one token for both hand-overs."""
    ends = [(f"{name}.gpu", "sw", 1e6, 0.0) for name in ("p[0]", "p[1]", "d[0]", "d[1]")]
    graph_ = chat("p", "d")
    graph_.graph["options"] = {"pairing": "local"}
    made = system(graph_, engines={"p": 2, "d": 2}, hardware=wires(*ends, switches=["sw"]),
                  contention="none")  # fmt: skip
    built = with_pool(made, "d", admission=Spec("token_bucket", {"rate": 0.001, "burst": 1}))
    done = run(built, SECOND, batch([0.0, 0.0], 3, 3))
    assert done.counts["refused"] == done.counts["completed"] == 1


rules = st.sampled_from(
    [Spec("token_bucket", {"rate": 60.0, "burst": 2}), Spec("queue_limit", {"n": 1}),
     Spec("queue_limit", {"n": 3}), Spec("deadline")]
)  # fmt: skip


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30), st.integers(1, 20)), min_size=3,
             max_size=20),
    rules, st.sampled_from(["p", "d"]), st.sampled_from(["full", "layerwise"]),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_nothing_is_left_of_whoever_is_turned_away(offer: Any, rule: Spec, pool: str, way: str):
    """Also half-way, before or while KV is handed over: conservation is checked in every run."""
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    ends = [(f"{name}.gpu", "sw", 1e6, TICK) for name in ("p[0]", "d[0]", "d[1]")]
    built = system(generate("d", prefill="p", transfer=way), engines={"p": 1, "d": 2},
                   hardware=wires(*ends, switches=["sw"]), contention="none",
                   options={"block_size": 4, "max_batch": 3})  # fmt: skip
    built = with_pool(with_classes(built), pool, admission=rule)
    load = classed(batch(np.array(arrival) * TICK, prompt, output), 0, 1)
    cost = AffineCost(120, base=4 * TICK, per_token=TICK / 8)
    fast = run(built, cost, load)
    assert_same(fast, run(built, cost, load, reference=True))


def test_always_is_no_rule():
    assert let_in(Spec("always"), batch([0.0] * 9)) == list(range(9))


# --- what makes no sense ------------------------------------------------------------------------


def test_an_unknown_rule():
    built = with_pool(system(chat()), admission=Spec("lottery", {"p": 0.5}))
    assert refusal(built) == [
        "HMS506: `admission = lottery(p = 0.5)` of pool `llm` cannot be executed yet"
    ]


def test_a_deadline_asks_for_engines():
    step = stage("w.s", "Step", "work", service=1.0)
    made = site(graph("w", [step], ("input", "w.s", "output")), clients(work=("WorkerPool", 1, {})))
    with pytest.raises(SpecError) as caught:
        simulated(with_pool(made, "work", admission=Spec("deadline")), None, batch([0.0]))
    assert [f"{d.code}: {d.message}" for d in caught.value.diagnostics] == [
        "HMS505: `admission = deadline` of pool `work` asks how long prompts take to read, and "
        "work[0] is a WorkerPool"
    ]


def test_a_replica_bound_to_its_member_asks_nobody():
    shard = stage("w.s", "Step", "work", service=1.0, replicas=2, spread="each")
    made = site(graph("w", [shard], ("input", "w.s", "output")),
                clients(work=("WorkerPool", 2, {})))  # fmt: skip
    built = with_pool(made, "work", admission=Spec("queue_limit", {"n": 1}))
    with pytest.raises(SpecError) as caught:
        simulated(built, None, batch([0.0]))
    assert [f"{d.code}: {d.message}" for d in caught.value.diagnostics] == [
        "HMS506: `admission = queue_limit(n = 1)` of pool `work` with `spread = each` of stage "
        "`w.s` cannot be executed yet"
    ]


@pytest.mark.parametrize("pool", ["p", "d"])
def test_pools_that_convert_let_in_everyone(pool: str):
    ends = [(f"{name}.gpu", "sw", 1e6, 0.0) for name in ("p[0]", "d[0]", "d[1]")]
    made = system(chat("p", "d"), engines={"p": 1, "d": 2}, contention="none",
                  hardware=wires(*ends, switches=["sw"]))  # fmt: skip
    built = with_pool(made, "d", convert=Spec("threshold", {"tokens": 9}))
    rule = Spec("queue_limit", {"n": 1})
    options = {**built.placement.graph["pools"][pool].options, "admission": rule}
    assert refusal(with_pool(built, pool, **options)) == [
        f"HMS506: `admission = queue_limit(n = 1)` of pool `{pool}` beside "
        "`convert = threshold(tokens = 9)` of pool `d` cannot be executed yet"
    ]
