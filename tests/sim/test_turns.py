"""Engines that share devices: schedules worked out by hand, and both forms of the engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx
import pytest
from built_graphs import TICK, clients, graph, simulated, site, stage
from hand_built import AffineCost, batch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reference import assert_same

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec

SECOND = AffineCost(base=1.0)


def on(placement: nx.DiGraph, **devices: str) -> nx.DiGraph:
    """The clients of a placement on these devices: a letter each."""
    for path, where in devices.items():
        node = placement.nodes[f"{path}[0]"]
        group = replace(node["client"].group, devices=tuple(where))
        node["client"] = replace(node["client"], group=group)
    return placement


def chats(**devices: str) -> Any:
    """An engine on each set of devices, with a pipeline of its own."""
    engine: dict[str, Any] = {"batching": Spec("chunked")}
    placement = on(clients(**dict.fromkeys(devices, ("LlmEngine", 1, engine))), **devices)
    ways = {
        name: graph(name, [stage(f"{name}.g", "Generate", name)], ("input", f"{name}.g", "output"))
        for name in devices
    }
    return site(ways, placement)


def load(name: str, arrivals: list[float], output: int, prompt: int = 1) -> Any:
    return replace(batch(arrivals, prompt, output), workload=name)


def finish(run: Any) -> list[float]:
    """When the requests finish, by the order of workloads."""
    order = sorted(range(len(run.workloads)), key=lambda w: w)
    columns = run.requests
    return [float(columns["finish_s"][columns["workload"] == w][0]) for w in order]


def test_two_engines_on_one_device_step_in_turns():
    # a: 0-1, 2-3, 4-5; b: 1-2, 3-4, 5-6.
    run = simulated(chats(a="x", b="x"), SECOND, load("a", [0.0], 3), load("b", [0.0], 3))
    assert finish(run) == [5.0, 6.0]


def test_who_comes_later_gets_the_device_after_the_step_under_way():
    # a is alone until 4; then b has 4-5, 6-7, 8-9 and a 5-6, 7-8, and 9-14 for the five left.
    run = simulated(chats(a="x", b="x"), SECOND, load("a", [0.0], 11), load("b", [3.5], 3))
    assert finish(run) == [14.0, 9.0]


def test_engines_on_devices_of_their_own_do_not_wait():
    run = simulated(chats(a="x", b="y"), SECOND, load("a", [0.0], 3), load("b", [0.0], 3))
    assert finish(run) == [3.0, 3.0]


def test_nobody_passes_another_that_waits_for_one_of_its_devices():
    # b waits for x and keeps y from c, which could begin at once.
    made = chats(a="wx", b="xy", c="yz")
    run = simulated(made, SECOND, *(load(name, [0.0], 1) for name in "abc"))
    assert finish(run) == [1.0, 2.0, 3.0]
    made = chats(a="wx", b="yz", c="xy")
    run = simulated(made, SECOND, *(load(name, [0.0], 1) for name in "abc"))
    assert finish(run) == [1.0, 1.0, 2.0]


def test_a_pass_of_a_batch_engine_takes_its_turn():
    placement = clients(
        llm=("LlmEngine", 1, {"batching": Spec("chunked")}),
        judge=("BatchEngine", 1, {"max_batch": 4, "max_tokens": 1000, "max_wait": 0.0}),
    )
    made = site(
        {"chat": graph("chat", [stage("c.g", "Generate", "llm")], ("input", "c.g", "output")),
         "check": graph("check", [stage("k.g", "Guard", "judge", service=2.0)],
                        ("input", "k.g", "output"))},
        on(placement, llm="x", judge="x"),
    )  # fmt: skip
    # The pass comes at 3.5 and has the device from 4 to 6; four of eleven steps are done by then.
    run = simulated(made, SECOND, load("chat", [0.0], 11), load("check", [3.5], 1))
    assert finish(run) == [13.0, 6.0]
    # A prompt that comes during a pass waits for its end.
    run = simulated(made, SECOND, load("chat", [1.0], 1), load("check", [0.0], 1))
    assert finish(run) == [3.0, 2.0]


ticks = st.integers(0, 30).map(lambda n: n * TICK)
requests = st.lists(
    st.tuples(ticks, st.integers(1, 30), st.integers(1, 20)), min_size=1, max_size=6
)


@given(
    st.fixed_dictionaries({"a": requests, "b": requests, "c": requests}),
    st.sampled_from([("wx", "xy", "yz"), ("x", "x", "x"), ("x", "xy", "y")]),
    st.sampled_from(["continuous", "mixed", "chunked", "static"]),
    st.sampled_from([40, 60, 1000]),
)
@settings(max_examples=60, deadline=None)
def test_both_forms_agree(offers: Any, where: Any, policy: str, kv: int):
    made = chats(**dict(zip("abc", where, strict=True)))
    for path in made.placement:
        client = made.placement.nodes[path].get("client")
        if client is not None:
            options = {"batching": Spec(policy), "block_size": 4, "max_batch": 3}
            made.placement.nodes[path]["client"] = replace(client, options=options)
    cost = AffineCost(base=TICK, per_token=TICK / 8, kv_tokens=kv)
    loads = []
    for name, rows in offers.items():
        rows = sorted(rows)
        loads.append(replace(batch(*map(list, zip(*rows, strict=True))), workload=name))
    one, other = (simulated(made, cost, *loads, reference=slow) for slow in (False, True))
    assert_same(one, other)
    steps = sorted(
        (start, end, set(where[client]))
        for start, end, client in zip(
            one.steps["start_s"], one.steps["end_s"], one.steps["client"], strict=True
        )
    )
    for index, (_, end, devices) in enumerate(steps):
        for start, _, others in steps[index + 1 :]:
            assert start >= end or not devices & others


SHARED = """
from std.nvidia.hopper import DGX_H100
from std.models.llama  import Llama3_1_8B
box: DGX_H100
a: LlmEngine on box.gpu[0] { model = Llama3_1_8B; memory_rule = of_device(A%); share = true }
b: LlmEngine on box.gpu[0] { model = Llama3_1_8B; memory_rule = of_device(B%); share = true }
x: Chat { llm = a }
workload w { pipeline = x; arrivals = poisson(1 req/s); prompt = 100 tok; output = 10 tok }
experiment e { workload = [w]; duration = 5 s }
"""


def test_what_shares_a_device_shares_its_memory():
    hermesdsl.compile(SHARED.replace("A%", "50%").replace("B%", "50%"))
    with pytest.raises(SpecError, match=r"take 80\.8 GiB together, and it holds 80\.0 GiB"):
        hermesdsl.compile(SHARED.replace("A%", "50%").replace("B%", "51%"))


def test_an_engine_that_nobody_uses_takes_no_turns():
    text = SHARED.replace("A%", "45%").replace("B%", "45%")
    alone = hermesdsl.run(hermesdsl.compile(text.replace("; share = true", "", 2).replace(
        "b: LlmEngine on box.gpu[0]", "b: LlmEngine on box.gpu[1]")))  # fmt: skip
    assert hermesdsl.run(hermesdsl.compile(text)).requests.equals(alone.requests)
