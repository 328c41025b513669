"""A faster part, a wider link or one more server never makes a request that is alone slower.

Alone: nobody else is in the system, so nothing but the parts themselves can take longer. (Beside
others it can: a faster chip makes other batches.) Jobs of a worker pool, first come first served,
start no later with one more worker whatever the crowd: the c-th of the times at which workers are
free falls, by induction over the jobs (Kiefer and Wolfowitz, 1955).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import HARDWARE, block

import hermesdsl
from hermesdsl.diagnostics import SpecError

SIZES = {"lane": 5, "cable": 2, "dram": 8192, "memory": 2048, "answer": 20}
#: Rounding of sums of steps.
SLACK = 1 + 1e-12


def took(text: str, **settings_: str) -> np.ndarray:
    """Seconds from arrival to finish of each request."""
    system = hermesdsl.compile(text, set=settings_)
    columns = hermesdsl.run(system).measures.run.requests
    assert (columns["status"] == 1).all()
    return np.asarray(columns["finish_s"] - columns["arrival_s"])


def program(engine: str, pipeline: str, load: str, cache: str = "") -> str:
    return "\n".join(
        [HARDWARE.format(**SIZES), "box[2]: Box", "connect box[0].nic <-> box[1].nic via Cable",
         engine, cache, pipeline, load]
    )  # fmt: skip


def one(prompt: int, output: int, contention: str) -> str:
    return (
        f"workload w {{ pipeline = P; arrivals = constant(1 req/s); requests = 1; "
        f"prompt = {prompt} tok; output = {output} tok }}\n"
        f"experiment main {{ workload = [w]; contention = {contention} }}"
    )


def shape(prompt: int, draw: Any) -> str:
    ways = draw(st.sampled_from(["", "tp = 2", "pp = 2", "dp = 2", "speculate = mtp(depth = 2)"]))
    budget = draw(st.sampled_from([2048, 100, 256]))
    model = draw(st.sampled_from(["Plain", "Windowed", "Layered", "Experts"]))
    return f"model = {model}; batching = chunked({budget} tok); {ways}"


CHIP = ("Gpu.hbm.bandwidth", "GB/s", 400), ("Gpu.peak.bf16", "TFLOPS", 40)
LINKS = ("Lane.bandwidth", "GB/s", 5), ("Cable.bandwidth", "GB/s", 2)
STORES = ("Box.dram.bandwidth", "GB/s", 20), ("Box.ssd.bandwidth", "GB/s", 3)
requests = st.tuples(st.integers(1, 3000), st.integers(1, 60))
factors = st.floats(1.0, 30.0)
contentions = st.sampled_from(["fair", "none"])


def assert_no_slower(text: str, part: tuple[str, str, float], factor: float) -> None:
    path, unit, value = part
    before, after = (took(text, **{path: f"{value * k} {unit}"}) for k in (1.0, factor))
    assert (after <= before * SLACK).all(), (path, factor, before, after)


@given(requests, st.sampled_from([*CHIP, LINKS[0]]), factors, contentions, st.data())
@settings(max_examples=20, deadline=None)
def test_an_engine(size: Any, part: Any, factor: float, contention: str, data: Any):
    engine = f"llm: LlmEngine on box[0].gpu[0:2] {{ {shape(size[0], data.draw)} }}"
    if not any(way in engine for way in ("tp = 2", "pp = 2", "dp = 2")):
        engine = engine.replace("0:2", "0")
    text = program(engine, "P: Chat { llm = llm }", one(*size, contention))
    assert_no_slower(text, part, factor)


@given(requests, st.sampled_from([*CHIP, *LINKS]), factors, contentions, st.data())
@settings(max_examples=20, deadline=None)
def test_prefill_and_decode_apart(
    size: Any, part: Any, factor: float, contention: str, data: Any
):  # fmt: skip
    model = data.draw(st.sampled_from(["Plain", "Layered"]))
    how = data.draw(st.sampled_from(["full", "layerwise"]))
    budget = data.draw(st.sampled_from([2048, 100]))
    engines = "\n".join(
        f"{name}: LlmEngine on {where} {{ model = {model}; batching = chunked({budget} tok) }}"
        for name, where in (("reader", "box[0].gpu[0]"), ("writer", "box[1].gpu[0]"))
    )
    pipeline = f"P: Chat {{ prefill = reader; decode = writer; transfer = {how} }}"
    assert_no_slower(program(engines, pipeline, one(*size, contention)), part, factor)


@given(st.integers(40, 3000), st.sampled_from([*CHIP, LINKS[0], *STORES]), factors, contentions,
       st.data())  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_a_cache(length: int, part: Any, factor: float, contention: str, data: Any):
    tier = data.draw(st.sampled_from(["dram", "ssd"]))
    overlap = data.draw(st.booleans())
    cache = (
        f"cache kv {{ t: KvTier on box[0].{tier} {{ scope = node; capacity = 4096 MiB }}; "
        f"t -> recompute; block = 32 tok; overlap = {str(overlap).lower()} }}"
    )
    load = (
        "workload w { pipeline = P; arrivals = constant(1 req/min); requests = 2; "
        f"prompt = 20 tok; output = 5 tok; prefix = reuse(length = {length} tok, "
        "over = zipf(1, s = 1)) }\n"
        f"experiment main {{ workload = [w]; contention = {contention} }}"
    )
    engine = "llm: LlmEngine on box[0].gpu[0] { model = Plain }"
    text = program(engine, "P: CachedChat { llm = llm; cache = kv }", load, cache)
    assert_no_slower(text, part, factor)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(20, 300), st.integers(1, 9))
@settings(max_examples=12, deadline=None)
def test_one_more_worker_in_any_crowd(workers: int, more: int, rate: int, seed: int):
    text = block(
        "pipeline P", "look: Tool on hands { service = exponential(10 ms) }",
        "input -> look -> output",
    )  # fmt: skip
    load = (
        f"workload w {{ pipeline = P; arrivals = poisson({rate} req/s); requests = 60; "
        "prompt = 1 tok; output = 1 tok }\n"
        f"experiment main {{ workload = [w]; seeds = [{seed}] }}"
    )
    pool = "hands: WorkerPool on box[0].cpu { workers = 1 }"
    text = program(pool, text, load)
    few, many = (took(text, **{"hands.workers": str(n)}) for n in (workers, workers + more))
    assert (many <= few + 1e-12).all()


@pytest.mark.parametrize("route", ["jsq", "least_work", "kv_free", "round_robin", "power_of_two"])
def test_one_more_replica_where_nobody_meets(route: str):
    # One request a second, each done in less: whoever serves it, it is alone.
    load = (
        "workload w { pipeline = P; arrivals = constant(1 req/s); requests = 5; "
        "prompt = uniform(50 tok, 900 tok); output = uniform(2 tok, 40 tok) }\n"
        "experiment main { workload = [w] }"
    )
    alone = program("llm[1]: LlmEngine on box[*].gpu[0:1] { model = Plain; route = jsq }",
                    "P: Chat { llm = llm }", load)  # fmt: skip
    alone = alone.replace("llm[1]", "llm[2]").replace("route = jsq", f"route = {route}")
    single = alone.replace("llm[2]", "llm").replace("box[*].gpu[0:1]", "box[0].gpu[0]")
    single = single.replace(f"; route = {route}", "")
    np.testing.assert_allclose(took(alone), took(single), rtol=1e-12)


def test_a_slower_chip_is_slower():
    """The property can fail: half the memory bandwidth takes longer, and is not let through."""
    text = program("llm: LlmEngine on box[0].gpu[0] { model = Plain }",
                   "P: Chat { llm = llm }", one(100, 20, "fair"))  # fmt: skip
    with pytest.raises(AssertionError, match=r"Gpu\.hbm\.bandwidth"):
        assert_no_slower(text, CHIP[0], 0.5)


@pytest.mark.parametrize("value", ["0 GB/s", "-1 GB/s"])
def test_no_bandwidth_is_refused(value: str):
    text = program("llm: LlmEngine on box[0].gpu[0] { model = Plain }",
                   "P: Chat { llm = llm }", one(100, 20, "fair"))  # fmt: skip
    with pytest.raises(SpecError):
        took(text, **{"Gpu.hbm.bandwidth": value})
