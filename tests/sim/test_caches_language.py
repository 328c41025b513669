"""Caches of KV through the whole path: compiled from the language, placed, costed and run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.cost import bind
from hermesdsl.cost.services import bind_services
from hermesdsl.sim.record import Run
from hermesdsl.sim.run import simulate
from hermesdsl.sim.workload import offered

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests/golden/programs"
TRACES = ROOT / "../shared/data/traces"


def simulated(system: System, **changes: Any) -> Run:
    """The only experiment of a system, without goals, every transfer with links of its own."""
    (main,) = system.compiled.experiments.values()
    main = replace(main, requirements=(), contention="none", **changes)
    built = replace(system.compiled, experiments={main.name: main})
    pools = built.placement.graph["pools"]
    for path, pool in pools.items():
        if pool.route.name == "least_work":
            pools[path] = replace(pool, route=replace(pool.route, name="jsq"))
    loads = [
        offered(
            built.workloads[w], duration=main.duration, seed=1, classes=built.classes
        ).batch
        for w in main.workloads
    ]  # fmt: skip
    return simulate(
        built, main.name, seed=1, costs=bind(built.placement), services=bind_services(built),
        load=loads,
    )  # fmt: skip


# --- A3: what a fetch takes ------------------------------------------------------------------

BOX = """
from std.nvidia.hopper import H100, NVLink4
from std.models.llama  import Llama3_1_70B
link Way {{ bandwidth = {link}; latency = {link_latency} }}
node Box {{
    gpu[2]: H100; bus: Switch; hub: Switch
    store: Memory {{ capacity = 32 TB; bandwidth = {bandwidth}; latency = {latency} }}
    connect gpu[*] <-> bus via NVLink4 * 18
    connect bus <-> hub via Way
    connect hub <-> store
}}
box: Box
llm: LlmEngine on box.gpu[*] {{ model = Llama3_1_70B; tp = 2; kv_dtype = fp8 }}
cache kv {{ t: KvTier on box.store {{ scope = client }}; t -> recompute }}
chat: CachedChat {{ llm = llm; cache = kv }}
workload w {{
    pipeline = chat; arrivals = constant(1 req/min); requests = 2
    prompt = 300 tok; output = 2 tok
    prefix = reuse(length = {tokens} tok, over = zipf(1, s = 1))
}}
experiment e {{ workload = [w]; contention = none }}
"""
#: Store and link of each case: bandwidth and latency.
CASES = {
    "A": ("128 GB/s", "0.1 ms", "128 GB/s", "0.5 ms"),
    "B": ("32 GB/s", "0.1 ms", "16 GB/s", "1 ms"),
    "C": ("2 GB/s", "2 ms", "8 GB/s", "5 ms"),
    "D slow": ("2 GB/s", "2 ms", "1 GB/s", "20 ms"),
    "D": ("2 GB/s", "2 ms", "128 GB/s", "20 ms"),
}


@pytest.mark.parametrize(
    ("case", "tokens", "milliseconds"),
    [
        # A3 in SI units. The published tool divides MiB by GB/s: 10.6, 61.1, 407, 982 and 347;
        # 60.6, 361, 2407, 5782 and 1972.
        ("A", 4096, 11.1), ("B", 4096, 64.0), ("C", 4096, 426.4), ("D slow", 4096, 1028.6),
        ("D", 4096, 362.8), ("A", 24_576, 63.5), ("B", 24_576, 378.6), ("C", 24_576, 2523.6),
        ("D slow", 24_576, 6061.8), ("D", 24_576, 2066.7),
    ],
)  # fmt: skip
def test_a_fetch_that_has_everything_to_itself(case: str, tokens: int, milliseconds: float):
    bandwidth, latency, link, link_latency = CASES[case]
    system = hermesdsl.compile(
        BOX.format(bandwidth=bandwidth, latency=latency, link=link, link_latency=link_latency,
                   tokens=tokens)
    )  # fmt: skip
    result = hermesdsl.run(system)
    columns = result.requests
    # 160 KiB per token: 80 layers x 2 x 8 heads x 128 values of one byte.
    assert columns["cached_tokens"].tolist() == [0, tokens]
    seconds = columns["chat.fetch.end_s"] - columns["chat.fetch.enter_s"]
    assert seconds[1] * 1e3 == pytest.approx(milliseconds, rel=1e-2)


# --- memory ------------------------------------------------------------------------------------

HBM = """
from std.nvidia.hopper import DGX_H100
from std.models.llama  import Llama3_1_8B
box: DGX_H100
llm[2]: LlmEngine on box.gpu[0:4] { model = Llama3_1_8B; tp = 2 }
cache kv { hbm: KvTier on box.gpu[0:4].hbm { capacity = %s }; hbm -> recompute }
chat: CachedChat { llm = llm; cache = kv }
workload w {
    pipeline = chat; arrivals = constant(1 req/s); requests = 6
    prompt = 300 tok; output = 2 tok; prefix = reuse(length = 1024 tok, over = zipf(1, s = 1))
}
experiment e { workload = [w] }
"""


def test_a_tier_in_the_memory_of_an_engine_comes_off_its_kv():
    sizes = [
        [cost.kv_tokens for cost in bind(hermesdsl.compile(HBM % capacity).placement).values()]
        for capacity in ("1 GiB", "11 GiB")
    ]
    # 10 GiB more on each of two devices; 128 KiB per token over both: 163,840 tokens.
    assert [a - b for a, b in zip(*sizes, strict=True)] == [2 * 10 * 2**30 // 2**17] * 2


def test_the_memory_of_the_client_itself_needs_no_link():
    # Fair sharing of links is not asked for: there are none.
    columns = hermesdsl.run(hermesdsl.compile(HBM % "1 GiB")).requests
    # Round robin over two clients, each with a store of its own.
    assert columns["cached_tokens"].tolist() == [0, 0, 1024, 1024, 1024, 1024]
    seconds = (columns["chat.fetch.end_s"] - columns["chat.fetch.enter_s"])[2:]
    # 1,024 tokens of 128 KiB, read from two memories of 3.35 TB/s.
    np.testing.assert_allclose(seconds, 1024 * 2**17 / 6.7e12, rtol=1e-9, atol=1e-12)


# --- pipelines ---------------------------------------------------------------------------------

AGENT = """
from std.nvidia.hopper import DGX_H100
from std.models.llama  import Llama3_1_8B
box: DGX_H100
llm[2]: LlmEngine on box.gpu[0:2] { model = Llama3_1_8B }
tools: WorkerPool { workers = 8 }
cache kv { dram: KvTier on box.dram[0] { scope = node }; dram -> recompute; block = 64 tok }
pipeline Agent {
    before: KvFetch { cache = kv }
    think:  Generate on llm { tokens = 20 tok; hidden = true }
    tool:   Tool on tools { service = 10 ms; appends = 200 tok }
    again:  KvFetch on llm { cache = kv }
    answer: Generate on llm { tokens = 30 tok }
    input -> before -> think -> tool -> again -> answer -> output
}
workload w {
    pipeline = Agent; arrivals = poisson(0.5 session/s)
    turns = geometric(mean = 3); think_time = fixed(5 s)
    prompt = 500 tok; output = 30 tok
}
experiment e { workload = [w]; duration = 30 s; contention = none }
"""


def test_an_agent_looks_only_for_what_it_does_not_hold():
    columns = simulated(hermesdsl.compile(AGENT)).requests
    # The second look is for the tool's answer, which nobody has had before.
    np.testing.assert_array_equal(columns["Agent.again.start_s"], columns["Agent.again.end_s"])
    np.testing.assert_array_equal(columns["Agent.again.client"], columns["Agent.think.client"])
    # KV of n tokens was let go of at the end of a turn: all but the last token, in blocks of 64.
    later = columns["context_tokens"] > 500
    history = columns["context_tokens"][later] - 500
    np.testing.assert_array_equal(columns["cached_tokens"][later], (history - 1) // 64 * 64)
    assert later.sum() > 10


def test_a_run_that_is_cut_while_kv_is_on_its_way():
    system = hermesdsl.compile(
        BOX.format(bandwidth="2 GB/s", latency="2 ms", link="1 GB/s", link_latency="20 ms",
                   tokens=24_576),
        set={"e.horizon": "cut", "e.duration": "62 s"},
    )  # fmt: skip
    columns = hermesdsl.run(system).requests
    # The second request comes after a minute, and its fetch takes six seconds.
    # The API of `vllm` takes 6 ms first.
    assert columns["chat.fetch.start_s"].tolist() == pytest.approx([0.006, 60.006], rel=1e-12)
    assert np.isnan(columns["chat.fetch.end_s"][1])
    assert columns["cached_tokens"].tolist() == [0, 24_576]


# --- programs ----------------------------------------------------------------------------------


def own_trace(folder: Path) -> Path:
    """Forty prompts of three documents of four blocks each, and a block of their own."""
    lines = []
    for row in range(40):
        ids = [10 * (row % 3) + i for i in range(4)] + [1000 + row]
        lines.append({"timestamp": 4000 * row, "input_length": 2400, "output_length": 20,
                      "hash_ids": ids})  # fmt: skip
    path = folder / "own.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def test_sessions_and_a_trace_over_a_hierarchy(tmp_path: Path):
    trace = own_trace(tmp_path)
    system = hermesdsl.compile(
        PROGRAMS / "03_sessions.hms", set={"replay.file": f'"{trace}"'}, path=[str(tmp_path)]
    )
    done = simulated(system, duration=120.0)
    columns = done.requests
    assert done.counts["completed"] == done.counts["offered"] > 100
    replay = columns["workload"] == 0
    # Speed 2: two seconds from row to row, so every row before has been written by then.
    assert replay.sum() == 40
    hits = columns["cached_tokens"][replay]
    assert set(hits.tolist()) <= {0, 2048}
    assert (hits > 0).sum() >= 20
    hbm, dram = done.tiers
    assert (hbm.tier, dram.tier) == ("kv.hbm", "kv.dram")
    # Prefill clients have both; decode clients write to the DRAM of their own nodes.
    assert hbm.hits > 0
    assert dram.written > 0
    assert hbm.evicted == dram.evicted == 0
    assert hbm.hits + dram.hits == columns["cached_tokens"].sum()


def test_retrieval_and_sessions_over_three_tiers():
    done = simulated(hermesdsl.compile(PROGRAMS / "rag_chat.hms"), duration=120.0)
    assert done.counts["completed"] == done.counts["offered"] > 300
    later = done.requests["RagChat.fetch_kv.passes"] > 0
    assert (done.requests["cached_tokens"][later] > 0).mean() > 0.5
    assert [tier.tier for tier in done.tiers] == [
        "prefix_kv.hbm", "prefix_kv.dram", "prefix_kv.ssd",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "ways"),
    [
        # Latencies and bytes of program 09: store, then the links between it and the devices.
        ("a", (0.1e-3, 128e9, 0.5e-3, 128e9)), ("b", (0.1e-3, 32e9, 1e-3, 16e9)),
        ("c", (2e-3, 2e9, 5e-3, 8e9)),
    ],
)  # fmt: skip
def test_placements_of_stored_kv(case: str, ways: tuple[float, float, float, float]):
    hot = {"conv.hot": "true", "conv.context": "4096 tok", "conv.arrivals": "poisson(0.5 req/s)"}
    system = hermesdsl.compile(PROGRAMS / "09_storage.hms", case=case, set=hot)
    columns = simulated(system, duration=200.0).requests
    seconds = columns["chat.fetch.end_s"] - columns["chat.fetch.enter_s"]
    found = columns["cached_tokens"] >= 4096
    if case == "a":
        # Eight prefixes over 128 clients, each with a store of its own: nobody comes twice.
        assert not found.any()
        return
    latency, bandwidth, link_latency, link = ways
    size = 4096 * 160 * 2**10
    least = latency + size / bandwidth + link_latency + size / link
    # The fastest has nobody before it; NVLink adds 0.5 us.
    assert seconds[found].min() == pytest.approx(least, rel=1e-3)


def test_the_paper_traces_say_what_an_infinite_cache_would_find():
    # DATA.md: 36.6 % and 64.0 % of the 512-token blocks of the two Mooncake traces.
    for name, share in (("conversation", "36.6%"), ("synthetic", "64.0%")):
        trace = TRACES / f"mooncake_{name}.jsonl.gz"
        if not trace.exists():
            pytest.skip("the recorded Mooncake traces are not part of the project")
        system = hermesdsl.compile(SITE % trace.resolve(), path=[str(TRACES.resolve())])
        notes = hermesdsl.run(system).notes
        expected = f"an infinite cache would find {share} of the 512-token blocks that `w` offers"
        assert expected in notes


SITE = """
workload w {
    pipeline = P
    arrivals = trace("%s")
}
pipeline P { x: Step on pool { service = 1 us }; input -> x -> output }
pool: WorkerPool { workers = 4 }
experiment e { workload = [w] }
"""


def test_a_cache_without_shared_text_is_named(tmp_path: Path):
    trace = tmp_path / "t.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n"
                     "2023-11-16 18:17:03.97,374,44\n", encoding="utf-8")  # fmt: skip
    text = HBM % "1 GiB"
    start, end = text.index("workload w"), text.index("experiment")
    load = f'workload w {{ pipeline = chat; arrivals = trace("{trace}") }}\n'
    system = hermesdsl.compile(text[:start] + load + text[end:], path=[str(tmp_path)])
    assert "`kv` can never hit: nothing `w` offers is shared" in hermesdsl.run(system).notes
