"""The short way of requests that stay at one engine leaves the same records as the general way."""

import numpy as np
import pytest

import hermesdsl
from hermesdsl.cost import bind
from hermesdsl.sim.run import simulate
from hermesdsl.sim.straight import Straight
from hermesdsl.sim.workload import offered

TABLES = ("requests", "steps", "residences", "visits", "shown", "in_system")
PROGRAM = """
from std.models.llama import Llama3_1_8B
chip C { peak.bf16 = 400 TFLOPS; hbm: Memory { capacity = 20 GiB; bandwidth = 2 TB/s } }
c[10]: C
llm[10]: LlmEngine on c[*] { model = Llama3_1_8B; memory_rule = after_weights(30%); SETTINGS }
p: PIPELINE
workload w {
    pipeline = p; arrivals = ARRIVALS; prompt = lognormal(median = 900 tok, sigma = 1)
    output = uniform(1 tok, 300 tok); requests = 150; MORE
}
experiment x { workload = [w]; EXPERIMENT }
"""


def program(settings="", pipeline="Chat { llm = llm }", arrivals="poisson(60 req/s)", more="",
            experiment=""):  # fmt: skip
    words = {"SETTINGS": settings, "PIPELINE": pipeline, "ARRIVALS": arrivals, "MORE": more,
             "EXPERIMENT": experiment}  # fmt: skip
    text = PROGRAM
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def tables(text):
    system = hermesdsl.compile(text).compiled
    chosen = system.experiments["x"]
    load = offered(system.workloads["w"], duration=chosen.duration, seed=3, classes={})
    run = simulate(system, "x", seed=3, costs=bind(system.placement), load=[load.batch])
    return run, {f"{t}.{n}": c for t in TABLES for n, c in getattr(run, t).items()}


SHARED = "prefix = reuse(length = 256 tok, over = zipf(4, s = 1.0))"
CASES = {
    "jsq": program("route = jsq"),
    "jsq by tokens": program("route = jsq(tokens)"),
    "prefix cache": program("prefix_cache = true", more=SHARED),
    "refused": program(more="prefix = reuse(length = 90000 tok, over = zipf(2, s = 1.0))"),
    "cut": program("max_batch = 4", experiment="duration = 2 s; horizon = cut"),
    "shortest first": program("max_batch = 2; order = sjf"),
}


@pytest.mark.parametrize("name", CASES)
def test_both_ways_leave_the_same_records(name, monkeypatch):
    run, short = tables(CASES[name])
    monkeypatch.setattr(Straight, "_ways", lambda self: [None] * len(self.entries))
    other, general = tables(CASES[name])
    assert run.counts == other.counts
    assert short.keys() == general.keys()
    for column, values in short.items():
        assert np.array_equal(values, general[column], equal_nan=True), column


def test_engines_alike_share_what_a_cost_model_remembers():
    system = hermesdsl.compile(program()).compiled
    costs = bind(system.placement)
    assert len(costs) == 10
    assert len({id(cost) for cost in costs.values()}) == 1
