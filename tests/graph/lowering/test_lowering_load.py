"""From workloads and experiments to what is run: defaults, shapes, classes, what is warned of."""

from __future__ import annotations

import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.diagnostics import Severity, SpecError

SITE = """
from std.nvidia.hopper import H100
model M { layers = 2; hidden = 128; ffn = 256; vocab = 100; heads = 2; parameters = 1e6 }
gpu: H100
llm: LlmEngine on gpu { model = M }
chat: Chat { llm = llm }
"""
WHOLE = "pipeline = chat; arrivals = poisson(1 req/s); prompt = 1 tok; output = 1 tok"


def compiled(spec: str) -> System:
    return hermesdsl.compile(f"{SITE}{spec}\n")


def errors(spec: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        compiled(spec)
    return [f"{d.code} {d.message}" for d in caught.value.diagnostics if d.is_error]


def notes(system: System) -> list[str]:
    return [d.message for d in system.diagnostics if d.severity is not Severity.ERROR]


def test_a_file_without_an_experiment_gets_one_and_says_so() -> None:
    system = compiled(f"workload w {{ {WHOLE} }}")
    (only,) = system.compiled.experiments.values()
    assert (only.name, only.workloads, only.duration, only.seeds) == ("default", ("w",), 600, (1,))
    assert notes(system) == ["no experiment: running the default one, 10 minutes, seed 1"]


@pytest.mark.parametrize("ends", ["requests = 50 req", 'arrivals = trace("t.csv")'])
def test_a_load_that_ends_by_itself_is_run_to_its_end(ends: str) -> None:
    system = compiled(f"workload w {{ {WHOLE} }}\nworkload v extends w {{ {ends} }}")
    assert system.compiled.experiments["default"].duration is None


def test_a_failed_experiment_is_not_replaced_by_the_default_one() -> None:
    found = errors(
        f"workload w {{ {WHOLE} }}\nexperiment e {{ workload = [w]; minimize = nothing }}"
    )
    assert found == ["HMS604 unknown metric `nothing`"]


def test_shapes_are_for_others_to_extend() -> None:
    system = compiled(
        "workload shape { prompt = 3 tok; output = 4 tok }\n"
        "workload w extends shape { pipeline = chat; arrivals = poisson(1 req/s) }"
    )
    assert list(system.compiled.workloads) == ["w"]
    assert str(system.compiled.workloads["w"].prompt) == "fixed(value = 3)"


def test_half_a_workload_is_an_error_unless_another_completes_it() -> None:
    half = "workload half { arrivals = poisson(1 req/s); prompt = 3 tok; output = 4 tok }"
    assert errors(half) == ["HMS207 workload `half` needs `pipeline`"]
    compiled(f"{half}\nworkload w extends half {{ pipeline = chat }}")


def test_classes_and_their_shares() -> None:
    classes = "class gold { priority = 2; ttft = 1 s }\nclass free { }\n"
    system = compiled(f"{classes}workload w {{ {WHOLE}; class = mix(gold = 25%, free = 75%) }}")
    assert system.compiled.workloads["w"].class_mix == (("gold", 0.25), ("free", 0.75))
    system = compiled(f"{classes}workload w {{ {WHOLE}; class = free }}")
    assert system.compiled.workloads["w"].class_mix == (("free", 1.0),)
    assert errors(f"{classes}workload w {{ {WHOLE}; class = mix(gold = 25%) }}") == [
        "HMS601 the shares of the classes add up to 25%, not to 100%"
    ]
    assert errors(f"{classes}workload w {{ {WHOLE}; class = mix(gld = 100%) }}") == [
        "HMS601 `gld` in the mix of classes is no class"
    ]


def test_arrivals_of_sessions() -> None:
    system = compiled(
        f"workload a {{ {WHOLE} }}\na.arrivals = poisson(2 session/s)\n"
        f"workload b {{ {WHOLE}; turns = geometric(mean = 3) }}"
    )
    assert [system.compiled.workloads[x].sessions for x in "ab"] == [True, True]


CACHED = """
dram: Memory { capacity = 1 TB; bandwidth = 1 GB/s }
cache kv { t: KvTier on dram { scope = all }; t -> recompute }
cached: CachedChat { llm = llm; cache = kv }
"""


@pytest.mark.parametrize(
    ("more", "cold"),
    [
        ("", True),
        ("prefix = reuse(length = 10 tok, over = zipf(8))", False),
        ("turns = geometric(mean = 3)", False),
        ('arrivals = trace("t.jsonl")', False),
    ],
)
def test_a_cache_that_can_never_hit(more: str, cold: bool) -> None:
    load = f"workload w {{ {WHOLE} }}\nworkload v extends w {{ pipeline = cached; {more} }}\n"
    system = compiled(f"{CACHED}{load}experiment e {{ workload = [v]; duration = 1 s }}")
    assert any("can never hit" in note for note in notes(system)) is cold


def test_a_warm_up_as_long_as_the_run() -> None:
    load = f"workload w {{ {WHOLE} }}\n"
    spec = load + "experiment e { workload = [w]; duration = 1 s; warmup = %s }"
    assert len(notes(compiled(spec % "1 s"))) == 1
    assert notes(compiled(spec % "999 ms")) == []


def test_values_reach_the_interpreter_in_base_units() -> None:
    system = compiled(
        f"workload w {{ {WHOLE} }}\n"
        "w.arrivals = gamma(rate = 120 req/min, cv = 250%)\n"
        "w.prompt = lognormal(median = 2 Ktok, sigma = 0.5, max = 8 Ktok)\n"
        "w.output = quantiles([(0%, 1 tok), (100%, 9 tok)])\n"
        "experiment e { workload = [w]; duration = 3 min; warmup = 500 ms }"
    )
    load = system.compiled.workloads["w"]
    assert load.arrivals.args == {"rate": 2.0, "cv": 2.5}
    assert load.prompt is not None
    assert (load.prompt.args["median"], load.prompt.args["max"]) == (2000, 8000)
    assert load.output is not None
    assert load.output.args["points"] == ((0.0, 1), (1.0, 9))
    one = system.compiled.experiments["e"]
    assert (one.duration, one.warmup) == (180.0, 0.5)
