"""Preemption by swap: KV goes to host memory over the links, and comes back first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from built_graphs import clients, graph, simulated, site, stage
from hand_built import AffineCost, batch, chat, run, system
from hosts import hosted

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Experiment, Spec
from hermesdsl.sim.swap import HostMemory, HostPath, host_memories, host_path
from hermesdsl.sim.tokens import token_gaps

#: Ten blocks of one token; a step takes a second.
TEN = AffineCost(base=1.0, kv_tokens=10)


def swapping(n: int = 1, **host: Any) -> Any:
    """Engines that swap; a token of 1000 bytes takes 0.25 s, and a copy 0.25 s of latency."""
    defaults = {"bandwidth": 4000.0, "latency": 0.25}
    hardware = hosted(nx.MultiDiGraph(), [f"llm[{i}].gpu" for i in range(n)], **defaults | host)
    options = {"batching": Spec("chunked", {"budget": 99}), "block_size": 1, "preemption": "swap"}
    return system(chat(), engines={"llm": n}, options=options, hardware=hardware)


def test_the_last_admitted_is_swapped_out_and_comes_back():
    # 0-1 read both (6 blocks); two decodes each (10). At 3 the next would need 12: b's 5 blocks
    # are copied out 3-4.5. a decodes 4.5-6.5 and ends; b is copied back 6.5-8, decodes 8-10.
    done = run(swapping(), TEN, batch([0.0, 0.0], 3, 5))
    assert done.requests["finish_s"].tolist() == [6.5, 10.0]
    gaps, weights = token_gaps(done, np.array([False, True]))
    assert sorted(np.repeat(gaps, weights).tolist()) == [1.0, 1.0, 1.0, 6.0]
    engine = done.engines[0]
    assert (engine.preemptions, engine.recomputed, engine.swapped) == (1, 0, 5)
    assert done.requests["generated"].tolist() == [5, 5]
    assert done.requests["chat.prefill.start_s"].tolist() == [0.0, 0.0]


def test_what_was_swapped_out_comes_back_before_anybody_else():
    # As above, and c (1 token) comes at 3.5, when 4 blocks are free: it waits behind b, which has
    # a seat from 6.5 on; beside b's 5 blocks and its next c's one fits at once.
    done = run(swapping(), TEN, batch([0.0, 0.0, 3.5], [3, 3, 1], [5, 5, 1]))
    assert done.requests["chat.prefill.start_s"].tolist() == [0.0, 0.0, 6.5]
    assert done.requests["finish_s"].tolist() == [6.5, 10.0, 7.5]


def test_a_full_host_memory_gives_kv_up_instead():
    # Room for 4 of the 5 blocks: the schedule is that of recomputing (test_engine).
    done = run(swapping(capacity=4000.0), TEN, batch([0.0, 0.0], 3, 5))
    assert done.requests["finish_s"].tolist() == [5.0, 7.0]
    assert (done.engines[0].recomputed, done.engines[0].swapped) == (6, 0)


def test_a_prompt_read_in_part_is_given_up():
    # Twelve blocks, budget 3: b has read 1 of 10 tokens when a needs a block (test_engine).
    built = swapping()
    built.placement.nodes["llm[0]"]["client"].options["batching"] = Spec("chunked", {"budget": 3})
    cost = AffineCost(base=1.0, kv_tokens=12)
    done = run(built, cost, batch([0.0, 0.0], [2, 10], [3, 1]))
    assert (done.engines[0].preemptions, done.engines[0].recomputed) == (1, 1)
    assert done.engines[0].swapped == 0


def test_copies_back_are_one_after_the_other():
    host = HostMemory(10, 0.5, 1.0)
    assert host.store(7, 2.0) == 2.0 + 0.5 + 7.0
    assert host.fits(3)
    assert not host.fits(4)
    assert host.load(2, 20.0) == 22.5
    assert host.load(1, 20.0) == 22.5 + 1.5
    assert (host.out, host.back, host.held) == (7, 3, 7)


def test_the_devices_of_an_engine_share_the_links_to_the_memory():
    # Each chip has 100 byte/s to the CPU and carries half; the DRAM of 150 carries all.
    hardware = hosted(nx.MultiDiGraph(), ["a", "b"], bandwidth=75.0, latency=0.5)
    client = client_on("a", "b")
    assert host_path(hardware, client) == HostPath(("dram", "dram"), 0.5, 150.0)
    for end in ("a", "b"):
        for one, other in ((end, "cpu"), ("cpu", end)):
            hardware.edges[one, other, 0]["bandwidth"] = 60.0
    slower = hardware.copy()
    assert host_path(slower, client) == HostPath(("dram", "dram"), 0.5, 120.0)


def test_engines_divide_the_memory_that_they_swap_to():
    hardware = hosted(nx.MultiDiGraph(), ["a", "b", "c"], capacity=120_000.0, bandwidth=4000.0)
    one, two = client_on("a", "b"), client_on("c")
    # 1000 byte per token, 4 tokens per block: 60 kB each hold 15 blocks.
    found = host_memories(hardware, {"one": (one, 4), "two": (two, 4)})
    assert {name: host.capacity for name, host in found.items()} == {"one": 15, "two": 15}
    assert host_memories(hardware, {"two": (two, 4)})["two"].capacity == 30


def test_kv_on_top_of_other_kv_is_read_again_if_it_can_never_come_back():
    # 12 blocks of 4. The prompt of 21 is kept in 6 blocks, of which the branch shares 5; its answer
    # makes it 33 tokens, and the next one is to make it 46. At 44 the branch has 6 blocks beside
    # those 6, and is swapped out. It can only go on alone: it lets go of the prompt's KV, forgets
    # the copy, and reads 45 tokens again.
    made = graph(
        "w",
        [stage("p", "Prefill", "llm"), stage("a", "Decode", "llm"), stage("b", "Prefill", "llm"),
         stage("z", "Decode", "llm")],
        ("input", "p", ("a", "b"), "z", "output"),
    )  # fmt: skip
    engine = {"batching": Spec("continuous"), "block_size": 4, "preemption": "swap"}
    built = site(made, clients(llm=("LlmEngine", 1, engine)))
    built = replace(built, hardware=hosted(built.hardware, ["llm[0].gpu"]))
    done = simulated(built, AffineCost(base=1.0, kv_tokens=48), batch([0.0], 21, 13))
    found = done.engines[0]
    assert (found.preemptions, found.swapped, found.recomputed) == (2, 6, 45)
    assert done.counts["completed"] == 1


def test_swapping_needs_a_host_memory():
    built = swapping()
    built.hardware.remove_node("dram")
    with pytest.raises(SpecError) as caught:
        run(built, TEN, batch([0.0]))
    message = "HMS405: client `llm[*]` has `preemption = swap` but reaches no host memory"
    assert [f"{d.code}: {d.message}" for d in caught.value.diagnostics] == [message]


def test_engines_that_swap_to_one_memory_share_no_links_yet():
    message = "sharing of the links to `dram` by engines that swap to it cannot be executed yet"
    with pytest.raises(SpecError, match=message):
        run(swapping(2), TEN, batch([0.0]))
    built = replace(
        swapping(2), experiments={"main": Experiment("main", ("w",), contention="none")}
    )
    done = run(built, TEN, batch([0.0] * 4, 3, 5))
    assert [engine.swapped for engine in done.engines] == [5, 5]


def client_on(*devices: str) -> Any:
    from hand_built import MODEL

    from hermesdsl.graph.types import Client, Group, Part

    return Client("x", "LlmEngine", Group(devices, Part("d", "chip", "Chip"), (), 0.0, 0.0), MODEL)
