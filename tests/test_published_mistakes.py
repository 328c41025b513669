"""Mistakes found in published simulators, each as something that does not happen here."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import hermesdsl
from hermesdsl.diagnostics import Sink, SpecError
from hermesdsl.graph.types import Metric
from hermesdsl.model.elaborate import elaborate
from hermesdsl.schema.serving import ENGINE
from hermesdsl.sim.supported import _ENGINE_ACTED_ON

ROOT = Path(__file__).parents[1]
SPEC = """
from std.nvidia.hopper import DGX_H100
from std.nvidia.ampere import DGX_A100
from std.models.llama  import Llama3_1_8B
box: DGX_H100
old: DGX_A100
llm: LlmEngine on box.gpu[0] { model = Llama3_1_8B; OPTIONS }
chat: Chat { llm = llm }
class user { ttft = 1 s; tpot = 50 ms }
workload load {
    pipeline = chat; arrivals = poisson(RATE req/s); class = user
    prompt = lognormal(median = 500 tok, sigma = 0.8)
    output = lognormal(median = 100 tok, sigma = 0.5)
}
experiment main { workload = [load]; duration = 20 s }
"""


def compiled(options: str = "", rate: float = 4.0, **words: str) -> hermesdsl.System:
    text = SPEC.replace("OPTIONS", options).replace("RATE", str(rate))
    for old, new in words.items():
        text = text.replace(old, new)
    return hermesdsl.compile(text)


def refused(text: str) -> str:
    with pytest.raises(SpecError) as found:
        compiled(text)
    return " ".join(each.code for each in found.value.diagnostics if each.is_error)


def test_unknown_keys_are_not_ignored() -> None:
    assert refused("max_batchs = 3").startswith("HMS2")


def test_every_property_of_an_engine_is_acted_on() -> None:
    assert set(ENGINE.properties) <= _ENGINE_ACTED_ON


@pytest.mark.parametrize(
    "option",
    ["tp = 2; share = false", "batching = static(2)", "max_batch = 1", "block_size = 512",
     "kv_dtype = fp8", "profile = none", "memory_rule = of_device(25%); max_batch = 3",
     "batching = chunked(64 tok)"],
)  # fmt: skip
def test_a_parameter_changes_what_comes_out(option: str) -> None:
    plain = hermesdsl.run(compiled()).summary()
    words = {"box.gpu[0]": "box.gpu[0:2]"} if option.startswith("tp") else {}
    other = hermesdsl.run(compiled(option, **words)).summary()
    del plain["wall_s"], other["wall_s"]
    assert plain != other


def test_other_hardware_gives_other_times_and_is_never_replaced() -> None:
    one = hermesdsl.run(compiled()).value
    other = hermesdsl.run(compiled(**{"box.gpu[0]": "old.gpu[0]"})).value
    assert other(Metric("mean", "tpot")) > 1.3 * one(Metric("mean", "tpot"))
    with pytest.raises(SpecError, match="HMS2"):
        compiled(**{"import DGX_A100": "import DGX_A1000"})


def test_what_ran_before_does_not_matter() -> None:
    first = hermesdsl.run(compiled()).requests
    hermesdsl.run(compiled("max_batch = 3", rate=9.0))
    hermesdsl.run(compiled(**{"box.gpu[0]": "old.gpu[0]"}))
    assert first.equals(hermesdsl.run(compiled()).requests)


UNITS = """
assert 30% == 0.3
assert 1 GB == 1000 MB
assert 1 GiB == 1024 MiB
assert 1 s == 1000 ms
assert 160 KiB * 4096 / 128 GB/s > 5.24 ms
assert 160 KiB * 4096 / 128 GB/s < 5.25 ms
assert 16 MiB / 8 GB/s > 2.09 ms
"""


def test_sizes_and_rates_keep_their_units() -> None:
    # 160 KiB x 4096 = 671 088 640 byte over 128e9 byte/s = 5.2429 ms, not 640 MiB / 128 GB/s = 5.0.
    sink = Sink()
    elaborate("units.hms", sink=sink, text=UNITS)
    sink.raise_if_failed()
    elaborate("units.hms", sink=sink, text="assert 50% == 50")
    assert sink.failed


def test_overload_is_announced() -> None:
    assert hermesdsl.run(compiled(rate=200.0)).verdict == "overloaded"


def test_a_price_that_nobody_gave_is_not_nothing() -> None:
    system = compiled(**{"experiment main": "box.gpu[*] { cost = $0/hr }\nexperiment main"})
    assert "8 × H100" in hermesdsl.run(system).summary()["cost"]["missing"]["price"]


def test_percentiles_of_a_cut_run_say_that_they_are_censored() -> None:
    system = compiled(rate=60.0, **{"duration = 20 s": "duration = 20 s; horizon = cut"})
    result = hermesdsl.run(system)
    assert result.summary()["metrics"]["e2e"]["censored"] > 0
    assert any("censored" in note for note in result.notes)


def test_refused_and_unfinished_requests_miss_every_bound() -> None:
    system = compiled(rate=60.0, **{"duration = 20 s": "duration = 20 s; horizon = cut"})
    summary = hermesdsl.run(system).summary()
    completed = summary["requests"]["completed"] / summary["requests"]["offered"]
    assert summary["metrics"]["attainment"]["value"] <= completed < 1


def test_time_per_output_token_holds_stalls() -> None:
    metrics = hermesdsl.run(compiled("batching = continuous", rate=8.0)).summary()["metrics"]
    assert metrics["tpot"]["mean"] > 1.05 * metrics["tpot_step"]["mean"]


def test_no_paths_of_somebodys_machine() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=False, capture_output=True, text=True
    ).stdout.split()
    found = [
        name for name in files
        if name.endswith((".py", ".md", ".hms", ".toml", ".lark"))
        and re.search(r"(?<![\w.])/(home|Users|root)/\w+/", (ROOT / name).read_text("utf-8"))
    ]  # fmt: skip
    assert not [name for name in found if name != "tests/test_published_mistakes.py"]
