"""A measured run replayed: the run of a system validates itself, and a slower one shows where."""

from pathlib import Path

import pytest

import hermesdsl
from hermesdsl.diagnostics import SpecError

SPEC = """\
from std.models.llama import Llama3_1_8B
chip MyChip {
    param speed = 2 TB/s
    peak.bf16 = 400 TFLOPS
    power     = 350 W
    hbm: Memory { capacity = 96 GiB; bandwidth = speed }
}
gpu: MyChip
llm: LlmEngine on gpu { model = Llama3_1_8B; max_batch = 4 }
chat: Chat { llm = llm }
class fast { ttft = 1 s }
workload load {
    pipeline = chat
    arrivals = poisson(3 req/s)
    prompt   = lognormal(median = 500 tok, sigma = 1)
    output   = lognormal(median = 100 tok, sigma = 1)
    class    = fast
}
experiment main { workload = [load]; duration = 40 s; warmup = 10 s }
"""


@pytest.fixture
def measured(tmp_path: Path) -> str:
    """What the system itself did, as a table of its own."""
    rows = hermesdsl.run(hermesdsl.compile(SPEC)).requests
    path = tmp_path / "measured.csv"
    rows["queue_s"] = rows["chat.read.start_s"] - rows["arrival_s"]
    kept = ["arrival_s", "prompt_tokens", "output_tokens", "queue_s", "ttft_s", "tpot_s", "e2e_s"]
    rows[kept].to_csv(path, index=False)
    return str(path)


def test_a_system_predicts_itself(measured: str) -> None:
    found = hermesdsl.validate(hermesdsl.compile(SPEC), measured)
    assert found.offered == found.completed
    for role in ("ttft", "tpot", "latency"):
        assert found.latencies[role].paired == pytest.approx(0.0, abs=1e-9)
    parts = [part.figure for part in found.parts.values()]
    for figure in (*found.rates.values(), *parts, *found.present.values()):
        assert figure.predicted == pytest.approx(figure.measured, abs=1e-9)
    assert found.present["most"].measured == 4  # max_batch, once there is a queue


def test_lengths_are_those_of_the_table_not_of_the_workload(measured: str) -> None:
    other = SPEC.replace("median = 500 tok", "median = 20 tok").replace("poisson(3", "poisson(9")
    assert hermesdsl.validate(hermesdsl.compile(other), measured).latencies[
        "latency"
    ].paired == pytest.approx(0.0, abs=1e-9)


def test_a_slower_memory_shows_in_decode_and_queueing(measured: str) -> None:
    slow = hermesdsl.compile(SPEC.replace("2 TB/s", "1 TB/s"))
    found = hermesdsl.validate(slow, measured)
    error = found.latencies["tpot"].figures["mean"].error
    assert error is not None
    assert error > 0.5
    parts = {name: each.difference for name, each in found.parts.items()}
    latency = found.latencies["latency"].figures["mean"]
    assert sum(parts.values()) == pytest.approx(latency.predicted - latency.measured)
    assert parts["decode"] > parts["prefill"]
    assert found.rates["makespan"].predicted > found.rates["makespan"].measured


def test_without_queueing_it_is_part_of_prefill(measured: str, tmp_path: Path) -> None:
    text = Path(measured).read_text().replace("queue_s", "something_else", 1)
    Path(measured).write_text(text)
    found = hermesdsl.validate(hermesdsl.compile(SPEC), measured)
    assert list(found.parts) == ["queueing and prefill", "decode"]


def test_pairs_as_a_table(measured: str) -> None:
    found = hermesdsl.validate(hermesdsl.compile(SPEC), measured)
    lines = found.pairs_csv().splitlines()
    assert lines[0].startswith("request,queue_measured_s,queue_predicted_s,ttft_measured_s")
    assert len(lines) == 1 + found.offered


def test_cached_tokens_need_no_prefill(tmp_path: Path) -> None:
    """2,000 tokens of which 1,990 are cached are read as fast as 10 on the same context."""
    rows = {"none": 0, "most": 1990}
    ttft = {}
    for name, cached in rows.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(f"arrival_s,prompt,output,cached,ttft_s\n0,2000,2,{cached},1\n")
        found = hermesdsl.validate(hermesdsl.compile(SPEC), path)
        ttft[name] = found.latencies["ttft"].figures["mean"].predicted
    assert ttft["most"] < 0.3 * ttft["none"]


@pytest.mark.parametrize("stages", ["Chat { llm = llm }", "CachedChat { llm = llm; cache = kv }"])
def test_own_requests_with_shared_prefixes_are_read_again(tmp_path: Path, stages: str) -> None:
    """Whole prompts and what was cached of them; steps are the same, fetches from DRAM aside."""
    text = f"""
from std.nvidia.hopper import DGX_H100
from std.models.llama import Llama3_1_8B
box: DGX_H100
llm: LlmEngine on box.gpu[0] {{ model = Llama3_1_8B; prefix_cache = {str("cache" not in stages).lower()} }}
cache kv {{ dram: KvTier on box.dram[0] {{ capacity = 64 GiB }}
    dram -> recompute }}
chat: {stages}
workload w {{ pipeline = chat; arrivals = poisson(2 req/s); requests = 40; prompt = 50 tok
    output = 20 tok; prefix = reuse(length = 4096 tok, over = zipf(2, s = 1.0)) }}
"""  # noqa: E501
    system = hermesdsl.compile(text)
    own = hermesdsl.run(system).requests
    assert (own.context_tokens == 4146).all()
    assert own.cached_tokens.sum() > 30 * 4096
    path = tmp_path / "own.csv"
    own.to_csv(path, index=False)
    found = hermesdsl.validate(system, path)
    assert found.used["context_tokens"] == "prompt"
    assert abs(found.latencies["tpot"].figures["mean"].error or 0.0) < 0.01
    ttft = found.latencies["ttft"].figures["mean"]
    # 4,096 tokens of 128 KiB over PCIe of 64 GB/s: 8.4 ms; the whole prompt would take some 100.
    assert -10e-3 < ttft.predicted - ttft.measured < 1e-3


def test_more_cached_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("arrival_s,prompt,output,cached,ttft_s\n0,10,2,11,1\n")
    with pytest.raises(SpecError, match="11 tokens cached of a prompt of 10"):
        hermesdsl.validate(hermesdsl.compile(SPEC), path)


def test_a_workload_that_does_not_run(measured: str) -> None:
    with pytest.raises(SpecError, match="runs no workload `laod`"):
        hermesdsl.validate(hermesdsl.compile(SPEC), measured, workload="laod")


def test_several_workloads_need_a_choice(measured: str) -> None:
    two = SPEC.replace("experiment main { workload = [load]", """
workload other { pipeline = chat; arrivals = constant(1 req/s); prompt = 9 tok; output = 9 tok }
experiment main { workload = [load, other]""")  # fmt: skip
    system = hermesdsl.compile(two.replace("duration = 40 s; ", "").replace(
        "constant(1 req/s);", "constant(1 req/s); requests = 3;"))  # fmt: skip
    with pytest.raises(SpecError, match="several workloads: load, other"):
        hermesdsl.validate(system, measured)
    assert hermesdsl.validate(system, measured, workload="load").offered > 50


RTX = Path(__file__).parents[3] / "shared/data/llmservingsim/RTXPRO6000_Llama-3.1-8B/requests.csv"
ON_RTX = """\
from std.nvidia.blackwell import RTX_PRO_6000
from std.models.llama import Llama3_1_8B
gpu: RTX_PRO_6000
llm: LlmEngine on gpu { model = Llama3_1_8B; batching = chunked(2048 tok); max_batch = 128 }
chat: Chat { llm = llm }
workload any { pipeline = chat; arrivals = poisson(10 req/s); prompt = 9 tok; output = 9 tok }
experiment run { workload = [any]; duration = 1 s }
"""


def test_a_real_run_that_queues_for_seconds() -> None:
    """Class defaults are 3 % slow in decoding; waiting of seven seconds is the same, and more."""
    if not RTX.is_file():
        pytest.skip("the shared measurements are not here")
    found = hermesdsl.validate(hermesdsl.compile(ON_RTX), RTX).parts
    assert list(found) == ["queueing", "prefill", "decode"]
    for part in found.values():
        assert sum(part.causes.values()) == pytest.approx(part.difference)
        assert sum(part.known.values()) == pytest.approx(part.figure.predicted)
    decode = found["decode"].causes
    assert decode["device"] > 0.9 * found["decode"].difference > 0.0
    assert 0.0 < found["queueing"].causes["device"] < found["queueing"].difference
