"""Queue orders: who is admitted first, who may starve, and what holds under any load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hand_built import AffineCost, batch, chat, generate, reading, run, system, wires
from hosts import CLASSES, classed, with_classes
from hypothesis import given, settings
from hypothesis import strategies as st

from hermesdsl.graph.types import Spec
from hermesdsl.sim.order import ORDERS

SECOND = AffineCost(base=1.0)
GOLD, FREE, NONE = 0, 1, 2


def alone(order: str, **more: Any) -> dict[str, Any]:
    """One sequence at a time."""
    return {"batching": Spec("continuous"), "block_size": 1, "max_batch": 1, "order": order, **more}


def begun(order: str, load: Any, *klass: int) -> list[int]:
    """Requests in the order of their first steps."""
    built = with_classes(system(reading(), options=alone(order)))
    done = run(built, SECOND, classed(load, *klass))
    return np.argsort(done.requests["chat.prefill.start_s"], kind="stable").tolist()


def test_each_order_picks_another_of_those_that_wait():
    # Request 0 is read from 0 to 1; the others come meanwhile and are looked at from 1 on.
    load = batch([0.0, 0.1, 0.2, 0.3], [1, 8, 4, 6], [1, 1, 9, 2])
    klass = (NONE, NONE, FREE, GOLD)
    assert begun("fcfs", load, *klass) == [0, 1, 2, 3]
    # Gold has priority 5, free 1, none 0.
    assert begun("priority", load, *klass) == [0, 3, 2, 1]
    # A prompt alone asks for one token: 6 + 1, 4 + 1, 8 + 1 are left in all.
    assert begun("sjf", load, *klass) == [0, 2, 3, 1]
    assert begun("least_work_left", load, *klass) == [0, 2, 3, 1]
    # Deadlines: none never, free 0.2 + 0.3, gold 0.3 + 0.02.
    assert begun("edf", load, *klass) == [0, 3, 2, 1]


def test_edf_lets_an_old_request_go_before_a_more_urgent_class():
    # Deadlines 0.1 + 0.3 and 0.5 + 0.02; by priority gold would be first.
    load = batch([0.0, 0.1, 0.5], 1)
    assert begun("edf", load, NONE, FREE, GOLD) == [0, 1, 2]
    assert begun("priority", load, NONE, FREE, GOLD) == [0, 2, 1]


def test_equals_keep_the_order_in_which_they_came():
    load = batch([0.0, 0.1, 0.2, 0.3], 5)
    for order in ORDERS:
        assert begun(order, load, FREE) == [0, 1, 2, 3], order


def test_work_left_differs_from_the_job_once_kv_was_handed_over():
    # All prompts are read when the decode client is free for the next: it holds one sequence. Jobs
    # of 1 + 4, 9 + 3 and 2 + 8 tokens; of these 3, 2 and 7 are left to decode.
    hardware = wires(("p[0].gpu", "d[0].gpu", 1e12, 0.0))
    load = batch([0.0, 0.0, 0.0, 0.0], [1, 9, 2, 1], [5, 3, 8, 4])
    ends = {}
    for order in ("sjf", "least_work_left"):
        options = {"batching": Spec("continuous"), "block_size": 1, "order": order}
        built = system(generate("d", prefill="p"), engines={"p": 1, "d": 1}, contention="none",
                       hardware=hardware, options=options | {"max_batch": 4})  # fmt: skip
        node = built.placement.nodes["d[0]"]
        node["client"] = replace(node["client"], options=options | {"max_batch": 1})
        ends[order] = np.argsort(run(built, SECOND, load).requests["finish_s"]).tolist()
    assert ends["sjf"] == [3, 0, 2, 1]
    assert ends["least_work_left"] == [1, 3, 0, 2]


def test_priority_starves_a_low_class_while_the_load_of_a_higher_one_lasts():
    # One request of class none at 0.5 among gold at 0, 1, 2 … 19, one second each: it is the last.
    arrival = np.sort(np.append(np.arange(20.0), 0.5))
    klass = [NONE if time == 0.5 else GOLD for time in arrival]
    assert begun("priority", batch(arrival), *klass)[-1] == 1
    assert begun("fcfs", batch(arrival), *klass)[1] == 1


def test_a_head_that_does_not_fit_is_not_passed_by():
    # Ten blocks: a holds 7 until 3. b (6, gold) waits for them, and so does c, which would fit.
    load = batch([0.0, 0.5, 0.6], [5, 6, 1], [3, 1, 1])
    options = {"batching": Spec("continuous"), "block_size": 1, "order": "priority"}
    built = with_classes(system(chat(), options=options))
    done = run(built, AffineCost(base=1.0, kv_tokens=10), classed(load, NONE, GOLD, FREE))
    assert done.requests["chat.prefill.start_s"].tolist() == [0.0, 3.0, 3.0]


def test_a_prompt_that_was_begun_is_finished_before_a_higher_class():
    # Slices of 4: a's ten tokens take three steps; gold comes in the first and is read after.
    options = {"batching": Spec("chunked", {"budget": 4}), "block_size": 1, "order": "priority"}
    built = with_classes(system(reading(), options=options))
    done = run(built, SECOND, classed(batch([0.0, 0.5], [10, 4]), NONE, GOLD))
    assert done.requests["finish_s"].tolist() == [3.0, 4.0]


offers = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2)),
    min_size=1,
    max_size=25,
)
policies = st.sampled_from(
    [Spec("continuous"), Spec("mixed"), Spec("chunked", {"budget": 7}), Spec("static", {"n": 3})]
)


def crowd(offer: Any, order: str, batching: Spec, kv_tokens: int) -> Any:
    arrival, prompt, output, klass = zip(*sorted(offer), strict=True)
    options = {"batching": batching, "block_size": 4, "max_batch": 3, "order": order}
    cost = AffineCost(base=2.0, per_token=0.25, kv_tokens=kv_tokens)
    load = classed(batch(np.array(arrival, float), prompt, output), *klass)
    return run(with_classes(system(chat(), options=options)), cost, load).requests


@given(offers, policies, st.sampled_from([40, 60, 1 << 30]))
@settings(max_examples=150, deadline=None)
def test_fcfs_begins_in_the_order_of_arrival(offer: Any, batching: Spec, kv_tokens: int):
    start = crowd(offer, "fcfs", batching, kv_tokens)["chat.prefill.start_s"]
    assert (np.diff(start) >= 0).all()


@given(offers, policies, st.sampled_from([40, 60, 1 << 30]))
@settings(max_examples=150, deadline=None)
def test_no_lower_class_is_admitted_while_a_higher_one_waits(
    offer: Any, batching: Spec, kv_tokens: int
):
    seen = crowd(offer, "priority", batching, kv_tokens)
    priority = np.array([klass.priority for klass in CLASSES.values()])[seen["class"]]
    enter, start = seen["chat.prefill.enter_s"], seen["chat.prefill.start_s"]
    for low in range(len(start)):
        waiting = (enter <= start[low]) & (start > start[low])
        assert (priority[waiting] <= priority[low]).all()


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_serves_everybody_in_the_end(order: str):
    rng = np.random.default_rng(7)
    n = 200
    load = batch(np.sort(rng.uniform(0, 50, n)), rng.integers(1, 30, n), rng.integers(1, 30, n))
    options = {"batching": Spec("chunked", {"budget": 32}), "block_size": 4, "order": order}
    cost = AffineCost(base=0.1, per_token=0.01, kv_tokens=300)
    done = run(with_classes(system(chat(), options=options)), cost, classed(load, 0, 1, 2))
    assert done.counts["completed"] == n
