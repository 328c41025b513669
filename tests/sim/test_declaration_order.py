"""The same program with its statements in any other order: the same run, to the last bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import hermesdsl

IMPORTS = """
from std.nvidia.hopper import DGX_H100
from std.models.llama  import Llama3_1_8B, Llama3_1_70B
"""
FILE = [
    "box: DGX_H100",
    "small[2]: LlmEngine on box.gpu[0:2] { model = Llama3_1_8B; route = jsq }",
    "large: LlmEngine on box.gpu[4:8] { model = Llama3_1_70B; tp = 4 }",
    "reads: LlmEngine on box.gpu[2] { model = Llama3_1_8B; role = prefill }",
    "writes: LlmEngine on box.gpu[3] { model = Llama3_1_8B; role = decode }",
    "web: Delay { latency = lognormal(median = 30 ms, sigma = 0.5) }",
    "judges: WorkerPool on box.cpu[0] { workers = 2 }",
    "pool parted { members = [reads, writes] }",
    "class gold { priority = 2 }",
    "class free { priority = 1 }",
    "experiment main { workload = [chat, ask]; duration = 1 s; contention = none }",
]
TRY = [
    "think: Decode on small { tokens = uniform(20 tok, 60 tok) }",
    "check: Score on judges { service = 5 ms; pass = 40% }",
    "input -> think -> check -> output",
]
PIPELINE = [
    "first: Guard on judges { service = exponential(2 ms) }",
    "read: Prefill on small",
    "try[3]: Try { join = first(1, pass) }",
    "call: Tool on web { appends = 40 tok; hold = 20 ms }",
    "answer: Generate on small { tokens = 30 tok }",
    "again: Generate on large { tokens = 10 tok; repeat = while(p = 30%, max = 2) }",
    "plain: Generate on parted",
    "input -> first",
    "branch first { prompt > 300 tok -> plain; 50% -> again; else -> read }",
    "read -> try -> call -> answer -> output",
    "again -> output",
    "plain -> output",
]
LOADS = {
    "chat": ["pipeline = P", "arrivals = poisson(20 req/s)", "prompt = uniform(50 tok, 500 tok)",
             "output = uniform(10 tok, 60 tok)", "class = mix(gold = 30%, free = 70%)"],
    "ask": ["pipeline = P", "arrivals = gamma(10 req/s, cv = 2)", "prompt = 200 tok",
            "output = 20 tok", "class = gold"],
}  # fmt: skip


def block(head: str, lines: list[str]) -> str:
    return f"{head} {{\n" + "\n".join(lines) + "\n}"


def text(order: list[list[int]]) -> str:
    """The program with each of its parts in an order of its own."""
    whole, within, chain, chat, ask = order
    definitions = [
        *FILE,
        block("pipeline P", [PIPELINE[i] for i in within]),
        block("pipeline Try", [TRY[i] for i in chain]),
        block("workload chat", [LOADS["chat"][i] for i in chat]),
        block("workload ask", [LOADS["ask"][i] for i in ask]),
    ]
    return IMPORTS + "\n".join(definitions[i] for i in whole)


SIZES = [len(FILE) + 4, len(PIPELINE), len(TRY), len(LOADS["chat"]), len(LOADS["ask"])]
orders = st.tuples(*(st.permutations(range(size)) for size in SIZES)).map(
    lambda found: [list(part) for part in found]
)


def ran(order: list[list[int]]):
    return hermesdsl.run(hermesdsl.compile(text(order)))


@given(orders)
@settings(max_examples=12, deadline=None)
def test_any_order_of_statements_is_the_same_run(order: list[list[int]]):
    one, other = ran([list(range(size)) for size in SIZES]), ran(order)
    assert one.requests.equals(other.requests[one.requests.columns])
    assert len(one.requests) > 20
    assert np.isfinite(one.requests["finish_s"]).any()
