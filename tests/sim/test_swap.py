"""Preemption by swap: KV goes to host memory over the links, and comes back first."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from built_graphs import clients, graph, simulated, site, stage
from hand_built import MODEL, AffineCost, batch, chat, run, system
from hosts import hosted

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Experiment, Spec
from hermesdsl.sim.decoding import Sequence
from hermesdsl.sim.engine import Engine
from hermesdsl.sim.kernel import STEP, Kernel
from hermesdsl.sim.load import merge
from hermesdsl.sim.network.network import Network
from hermesdsl.sim.order import OrderContext, fcfs
from hermesdsl.sim.record import Recorder
from hermesdsl.sim.swap import HostMemory, host_memories, nearest_memories
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


def test_copies_are_one_queue_out_and_one_back():
    # A block takes 0.5 + 1 s. Out 2-9.5 (7) and 9.5-11 (1); what was to come back at 3 waits for
    # them: 11-13.5 (2), 13.5-15 (1). Asked for at 4 and given up: nothing.
    kernel = Kernel()
    hardware = hosted(nx.MultiDiGraph(), ["a"], bandwidth=1000.0, latency=0.5)
    host = HostMemory(10, 1000.0, Network(hardware, kernel), ("a",), ("dram",))
    seen: list[tuple[float, int]] = []
    at = kernel.at
    at(2.0, STEP, 0, lambda now, _: host.store(7, now, -1, lambda end: seen.append((end, -1))))
    at(2.0, STEP, 1, lambda now, _: host.store(1, now, -1, lambda end: seen.append((end, -2))))
    for time, key, blocks in ((3.0, 5, 2), (4.0, 6, 1), (4.0, 7, 1)):
        at(time, STEP, key, lambda now, key, n=blocks: host.load(n, now, key, record), key)

    def record(now: float, key: int) -> None:
        seen.append((now, key))

    at(5.0, STEP, 0, lambda now, _: host.drop(6, now))
    kernel.run(2.5)
    assert host.storing
    assert host.fits(2)
    assert not host.fits(3)
    kernel.run()
    assert seen == [(11.0, -2), (13.5, 5), (15.0, 7)]
    assert (host.out, host.back, host.held, host.storing) == (8, 4, 8, False)


def test_a_copy_back_that_is_given_up_lets_the_next_begin():
    kernel = Kernel()
    hardware = hosted(nx.MultiDiGraph(), ["a"], bandwidth=1000.0)
    host = HostMemory(10, 1e5, Network(hardware, kernel), ("a",), ("dram",))
    seen: list[tuple[float, int]] = []
    for key in (1, 2):
        host.load(1, 0.0, key, lambda now, key: seen.append((now, key)))
    kernel.at(30.0, STEP, 0, lambda now, _: host.drop(1, now))
    kernel.run()
    assert seen == [(130.0, 2)]


def test_every_device_copies_to_the_memory_next_to_it():
    hardware = hosted(nx.MultiDiGraph(), ["a", "b"], bandwidth=75.0, latency=0.5)
    assert nearest_memories(hardware, client_on("a", "b")) == ("dram", "dram")
    one_way = hardware.copy()
    one_way.remove_edge("dram", "cpu")
    assert nearest_memories(one_way, client_on("a", "b")) is None


def test_engines_divide_the_memory_that_they_swap_to():
    hardware = hosted(nx.MultiDiGraph(), ["a", "b", "c"], capacity=120_000.0, bandwidth=4000.0)
    one, two = client_on("a", "b"), client_on("c")
    # 1000 byte per token, 4 tokens per block: 60 kB each hold 15 blocks.
    network = Network(hardware, Kernel())
    found = host_memories(network, hardware, {"one": (one, 4), "two": (two, 4)})
    assert {name: host.capacity for name, host in found.items()} == {"one": 15, "two": 15}
    assert host_memories(network, hardware, {"two": (two, 4)})["two"].capacity == 30


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


def test_engines_that_swap_to_one_memory_share_its_links():
    # As the first test, twice, with 100 kB per token: from 3 on both copy 500 kB out, over links
    # of 400 kB/s to the CPU and one of 400 kB/s to the DRAM: 3-5.5 at 200 kB/s each, and 0.25 s.
    # Then b decodes 5.75-7.75, a comes back 7.75-10.5 and decodes until 12.5.
    ends = {}
    for contention in ("fair", "none"):
        built = swapping(2, bandwidth=400_000.0)
        for a, b in (("cpu", "dram"), ("dram", "cpu")):
            built.hardware.edges[a, b, 0]["bandwidth"] = 400_000.0
        for index in range(2):
            node = built.placement.nodes[f"llm[{index}]"]
            model = replace(MODEL, kv_bytes_per_token=100_000.0)
            node["client"] = replace(node["client"], model=model)
        experiment = Experiment("main", ("w",), contention=contention)
        built = replace(built, experiments={"main": experiment})
        done = run(built, TEN, batch([0.0] * 4, 3, 5))
        assert [engine.swapped for engine in done.engines] == [5, 5]
        ends[contention] = done.requests["finish_s"].tolist()
        (out,) = [link for link in done.links if link.target == "dram"]
        assert (out.bytes, out.busy_s) == (1_000_000.0, 2.5)
    assert ends == {"none": [6.5, 6.5, 10.0, 10.0], "fair": [7.75, 7.75, 12.5, 12.5]}


def client_on(*devices: str) -> Any:
    from hermesdsl.graph.types import Client, Group, Part

    return Client("x", "LlmEngine", Group(devices, Part("d", "chip", "Chip"), (), 0.0, 0.0), MODEL)


@pytest.mark.parametrize("when", [3.5, 7.0])
def test_a_cancelled_sequence_stops_its_copy_and_frees_its_blocks(when):
    # As the first test; b is cancelled while it is copied out, or while it comes back (6.5-8).
    built = swapping()
    kernel, recorder = Kernel(), Recorder(array("d", [0.0, 0.0]))
    network = Network(built.hardware, kernel)
    client = built.placement.nodes["llm[0]"]["client"]
    (host,) = host_memories(network, built.hardware, {"x": (client, 1)}).values()
    offered = merge([batch([0.0, 0.0], 3, 5)], None)

    def nothing(*_: object) -> None:
        """Neither is layer-wise, moves elsewhere, or is missed."""

    engine = Engine(
        0, client, TEN, kernel, recorder, rank=fcfs(OrderContext(offered, {})), reading=nothing,
        leave=nothing, fetch=nothing, host=host,
    )  # fmt: skip
    a, b = (Sequence(request, None, 3, 5) for request in range(2))
    for sequence in (a, b):
        engine.submit(sequence, 0.0)
    kernel.at(when, STEP, 1, lambda now, _: engine.cancel(b, now))
    kernel.run()
    assert (host.held, host.out, host.back, network.under_way) == (0, 5, 5, 0)
    assert engine.kv.free == engine.kv.capacity
    assert recorder.generated.tolist() == [5, 3]
    assert kernel.pending == 0
