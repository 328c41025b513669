"""Conditions and formulas on the request as they are written, and what they decide in a run.

Engines take a second a step, worker pools what their stage says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from built_graphs import simulated
from hand_built import AffineCost, batch

import hermesdsl
from hermesdsl.diagnostics import SpecError

PROGRAM = """
from std.nvidia.hopper import DGX_H100
from std.models.llama import Llama3_1_8B, Llama3_1_70B
box: DGX_H100
small: LlmEngine on box.gpu[0] { model = Llama3_1_8B }
large: LlmEngine on box.gpu[4:8] { model = Llama3_1_70B; tp = 4 }
pool any { members = [small, large] }
cpu:   WorkerPool on box.cpu[0] { workers = 64 }
class gold { priority = 2 }
class free { priority = 1 }
pipeline P {
BODY
}
workload w { pipeline = P; arrivals = poisson(1 req/s); prompt = 1 tok; output = 1 tok
             class = mix(gold = 50%, free = 50%) }
experiment main { workload = [w]; contention = none }
"""


def compiled(body: str):
    return hermesdsl.compile(PROGRAM.replace("BODY", body)).compiled


def ran(body: str, prompt: Any = 8, output: Any = 2, klass: Any = None, **more: Any):
    count = len(np.atleast_1d(prompt))
    load = batch(np.arange(count) * 1000.0, prompt, output)
    if klass is not None:
        load = replace(load, klass=np.asarray(klass, np.int32), classes=("gold", "free"))
    return simulated(compiled(body), AffineCost(base=1.0), load, **more)


def took(run: Any) -> list[float]:
    return (run.requests["finish_s"] - run.requests["arrival_s"]).tolist()


def refused(body: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        ran(body)
    return [f"{d.code}: {d.message}" for d in caught.value.diagnostics]


# --- verdicts ----------------------------------------------------------------------------------


def test_a_verdict_by_condition():
    run = ran("""
        check: Guard on cpu { service = 1 s; pass = prompt <= 100 tok and output < 9 tok }
        more:  Step  on cpu { service = 5 s }
        input -> check
        branch check { verdict -> output
                       else    -> more -> output }
    """, [100, 101, 50], [8, 8, 9])  # fmt: skip
    assert took(run) == [1.0, 6.0, 6.0]


def test_the_first_chain_to_pass_by_condition_wins():
    # Chains of 3 tokens: 10 + 3 > 12 passes, 8 + 3 does not; then all three are waited for.
    body = """
        try[3]: Try { join = first(1, pass) }
        input -> try -> output
    }
    pipeline Try {
        think: Generate on small { tokens = 3 tok }
        check: Score on cpu { service = 1 s; pass = context > 12 tok }
        input -> think -> check -> output
    """
    assert took(ran(body, [10, 8])) == [4.0, 4.0]


# --- repetition --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repeat", "seconds"),
    [
        # 8 tokens and 4 more each time: below 20 after the first and second, not after the third.
        ("while(context < 20 tok, max = 9)", 3.0),
        ("while(context < 20 tok, max = 2)", 2.0),
        ("while(p = context > 99 tok, max = 9)", 1.0),
        ("while(p = 100%, max = 4)", 4.0),
    ],
)
def test_again_while_a_condition_holds(repeat: str, seconds: float):
    body = f"ask: Tool on cpu {{ service = 1 s; appends = 4 tok; repeat = {repeat} }}"
    assert took(ran(f"{body}; input -> ask -> output")) == [seconds]


def test_write_and_check_until_it_passes():
    """Attempts of 2 tokens to a prompt of 8, until there are more than 13: three of them."""
    run = ran("""
        read:    Prefill on small
        attempt: Attempt { repeat = while(verdict == fail, max = 5) }
        input -> read -> attempt -> output
    }
    pipeline Attempt {
        think: Decode on small { tokens = 2 tok }
        check: Score on cpu { service = 10 s; pass = context > 13 tok }
        input -> think -> check -> output
    """)  # fmt: skip
    # The prompt's step brings the first token, each later attempt begins with a step of its own.
    assert took(run) == [1 + 1 + 10 + 2 + 10 + 2 + 10]
    assert run.requests["visible"].tolist() == [2]


# --- the model, the class ------------------------------------------------------------------------


CASCADE = """
    draft:  Generate on any { tokens = 2 tok }
    strong: Generate on large { tokens = 3 tok }
    input -> draft
    branch draft { model == Llama3_1_8B -> strong -> output
                   else                 -> output }
"""


def test_what_the_small_model_wrote_is_written_again():
    # Drafts take 2 s, in turn small and large; the strong one reads 10 tokens, and 2 steps more.
    assert took(ran(CASCADE, [8, 8])) == [5.0, 2.0]


def test_amounts_by_class_and_by_model():
    run = ran("""
        draft: Generate on small { tokens = 2 tok }
        check: Step on cpu { service = 1 s if class == gold else 4 s }
        slow:  Step on cpu {
            service = (2 s if model == Llama3_1_8B else 9 s) + 125 ms/tok * prompt
        }
        input -> draft -> check -> slow -> output
    """, [8, 16], 2, [0, 1])  # fmt: skip
    assert took(run) == [2 + 1 + 2 + 1, 2 + 4 + 2 + 2]


def test_before_any_engine_there_is_no_model():
    run = ran("""
        check: Step on cpu { service = 1 s if model == Llama3_1_8B else 4 s }
        input -> check -> output
    """)
    assert took(run) == [4.0]


# --- output scaling ------------------------------------------------------------------------------


def test_a_single_path_of_thought_eight_times_as_long():
    run = ran("""
        think:  Generate on small { tokens = 8 * output; hidden = true }
        answer: Generate on small
        input -> think -> answer -> output
    """, 10, 3)  # fmt: skip
    # 24 tokens in as many steps; the last of them has no KV: the answer begins with it.
    assert run.requests["visible"].tolist() == [3]
    assert run.requests["first_token_s"].tolist() == [25.0]
    assert took(run) == [27.0]


def test_nothing_is_below_nothing():
    run = ran(
        "a: Step on cpu { service = 5 s - 1 s / 1 tok * prompt }; input -> a -> output", [3, 9]
    )
    assert took(run) == [2.0, 0.0]


def test_division_by_nothing_has_a_message():
    body = "a: Step on cpu { service = 8 s * 1 tok / (prompt - 8 tok) }; input -> a -> output"
    assert refused(body) == ["HMS304: P.a/service is no finite number for request 0"]


# --- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("Guard on cpu { service = 1 s; pass = 5 }",
         "HMS306: 5 is out of range: it must be at most 1"),
        ("Guard on cpu { service = 1 s; pass = prompt }", None),
        ("Guard on cpu { service = 1 s; pass = class }",
         "HMS502: this is not a condition on the request"),
        ("Guard on cpu { service = 1 s; pass = prompt > 3 s }",
         "HMS301: cannot compare a number of tokens with a time"),
        ("Guard on cpu { service = 1 s; pass = model == gold }",
         "HMS502: a model is never a class"),
        ("Guard on cpu { service = 1 s; pass = class == pass }",
         "HMS502: a class is never a verdict"),
        ("Guard on cpu { service = 1 s; pass = verdict == passed }",
         "HMS502: a verdict is one of pass, fail"),
        ("Guard on cpu { service = 1 s; pass = model > Llama3_1_8B }",
         "HMS502: a class, a model and a verdict are compared with a name, by == or !="),
        ("Step on cpu { service = 2 ms * model }",
         "HMS303: `model` of a request is a name, which no formula computes with"),
        ("Step on cpu { service = 1 s if class == gold else 3 tok }",
         "HMS301: expected a time, found a number of tokens"),
        ("Step on cpu { service = 1 s + (1 s if turn > 1 else 3 tok) }",
         "HMS301: cannot combine a time and a number of tokens"),
        ("Step on cpu { service = 1 s; repeat = while(verdict == fail) }",
         "HMS601: `repeat = while(p = verdict == fail)` of stage `P.a` may never end"),
    ],
)  # fmt: skip
def test_conditions_that_make_no_sense(stage: str, message: str | None):
    body = f"a: {stage}; input -> a -> output"
    if message is None:
        assert took(ran(body)) == [1.0]
    else:
        assert refused(body) == [message]
