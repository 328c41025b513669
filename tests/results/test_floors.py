"""The least that a token can cost: by hand, below every run, and where nobody knows."""

from __future__ import annotations

import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.execute import loads_of
from hermesdsl.results.floors import answers, least_cost_per_token

SPEC = """\
from std.models.llama import Llama3_1_8B

chip MyChip {{
    peak.bf16 = 400 TFLOPS
    cost      = $2/hr
    hbm: Memory {{ capacity = 96 GiB; bandwidth = 2 TB/s }}
}}
gpu[3]: MyChip
llm[2]: LlmEngine on gpu[*] {{ model = Llama3_1_8B; spare = true }}
pool some {{ members = [llm]{pool} }}
{pipeline}
workload load {{
    pipeline = chat; arrivals = constant(2 req/s); {load}
    prompt = 1000 tok; output = 50 tok
}}
experiment main {{ workload = [load]; {experiment} }}
"""
PLAIN = "chat: Chat { llm = some }"


def system(experiment: str, load: str = "", pipeline: str = PLAIN, pool: str = "") -> System:
    return hermesdsl.compile(
        SPEC.format(experiment=experiment, load=load, pipeline=pipeline, pool=pool)
    )


def least(of: System, seed: int = 1) -> float | None:
    experiment = of.experiment()
    loads = [load.batch for load in loads_of(of.compiled, experiment, seed)]
    return least_cost_per_token(of.compiled, experiment, loads)


RATE = 2.0 / 3600.0


@pytest.mark.parametrize(
    ("experiment", "expected"),
    [
        # Three chips for 20 s; arrivals at 0, 0.5, …, 19.5 s are 40 requests of 50 tokens.
        ("duration = 20 s", 3 * RATE * 20.0 / (40 * 50)),
        # Ten requests come in the warm-up, whose tokens may come in the 15 s that count.
        ("duration = 20 s; warmup = 5 s", 3 * RATE * 15.0 / (40 * 50)),
        # Two of the chips are used.
        ("duration = 20 s; reserve = used", 2 * RATE * 20.0 / (40 * 50)),
    ],
)
def test_by_hand(experiment: str, expected: float) -> None:
    of = system(experiment)
    found = least(of)
    assert found == pytest.approx(expected, rel=1e-12)
    cost = hermesdsl.run(of).summary()["cost"]["per_token"]
    assert cost >= expected


def test_no_run_is_below_it() -> None:
    of = hermesdsl.compile("examples/search.hms")
    for seed in (1, 2):
        found = least(of, seed)
        assert found is not None
        cost = hermesdsl.run(of, seed=seed).summary()["cost"]["per_token"]
        assert found <= cost < 2.0 * found


@pytest.mark.parametrize("given", [
    {"experiment": ""},  # the window ends with the last request, whenever that is
    {"experiment": "duration = 20 s; reserve = used", "pool": "; autoscale = scale(min = 1)"},
    {"experiment": "duration = 20 s", "pipeline":
     "pipeline chat { say: Generate on some { tokens = 90 tok }; input -> say -> output }"},
])  # fmt: skip
def test_where_nobody_knows(given: dict[str, str]) -> None:
    load = "" if given["experiment"] else "requests = 5;"
    assert least(system(load=load, **given)) is None


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ("say: Generate on some; input -> say -> output", 1),
        ("a: Generate on some; b: Generate on some; input -> a -> b -> output", 2),
        ("a: Generate on some { repeat = geometric(mean = 3) }; input -> a -> output", None),
        ("a[3]: Generate on some; input -> a -> output", None),
    ],
)
def test_answers(stages: str, expected: int | None) -> None:
    pipeline = f"pipeline chat {{ {stages} }}"
    graphs = system("duration = 9 s", pipeline=pipeline).pipelines
    assert answers(graphs["chat"]) == expected
