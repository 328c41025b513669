"""The front end behind an engine: tokens go out one after the other, and wait where it is slow."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hand_built import AffineCost, batch, chat, generate, run, system
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reference import TICK, both, offers, settings_of_engines

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec, Workload
from hermesdsl.results.attribution import attribute
from hermesdsl.sim.answering import Answers
from hermesdsl.sim.kernel import Kernel
from hermesdsl.sim.record import COMPLETED, TIMED_OUT


@dataclass(frozen=True)
class Answering(AffineCost):
    answer_seconds: float = 0.0


def served(cost: Answering, requests: list[tuple[float, int, int]], **more: Any) -> Any:
    arrival, prompt, output = zip(*requests, strict=True)
    return run(system(chat(), **more), cost, batch(np.array(arrival), prompt, output))


def test_one_request_gets_every_token_so_much_later() -> None:
    """Steps of 1 s, 5 tokens: the first out at 1 + 0.25 s, the last at 5 + 0.25 s."""
    found = served(Answering(base=1.0, answer_seconds=0.25), [(0.0, 10, 5)]).requests
    assert found["first_token_s"][0] == 1.25
    assert found["finish_s"][0] == 5.25


def test_tokens_of_one_step_go_out_together_when_the_last_is_out() -> None:
    """Four prompts in a step of 1 s: all four first tokens at 1 + 4·0.125 s."""
    found = served(Answering(base=1.0, answer_seconds=0.125), [(0.0, 1, 2)] * 4).requests
    assert list(found["first_token_s"]) == [1.5] * 4
    assert list(found["finish_s"]) == [2.5] * 4


def test_a_slow_front_end_lets_steps_go_on_and_tokens_wait() -> None:
    """Steps of 1 s and 2 s per token: the k-th token is out at 1 + 2k s, the engine done at 5 s."""
    found = served(Answering(base=1.0, answer_seconds=2.0), [(0.0, 10, 5)])
    assert found.requests["first_token_s"][0] == 3.0
    assert found.requests["finish_s"][0] == 11.0
    assert found.steps["end_s"].max() == 5.0


def test_what_waits_is_worked_off_while_the_engine_is_idle() -> None:
    """Both as before; the second comes at 20 s, when the first one's tokens are long out."""
    requests = [(0.0, 10, 5), (20.0, 10, 5)]
    found = served(Answering(base=1.0, answer_seconds=2.0), requests).requests
    assert list(found["finish_s"]) == [11.0, 31.0]


def test_users_that_come_again_get_no_more_tokens_than_go_out() -> None:
    """8 users, a step of 8 tokens far faster than 8 answers of 4 ms: 250 tokens per second."""
    found = hermesdsl.run(hermesdsl.compile(program("answer = 4 ms", clients=8, requests=400)))
    requests = found.requests
    rate = requests.output_tokens.sum() / requests.finish_s.max()
    assert 0.98 * 250.0 < rate <= 250.0


def test_a_front_end_that_keeps_up_only_adds_its_own_time() -> None:
    """One user: TTFT and end to end grow by 1 us, TPOT not at all."""
    bare = hermesdsl.run(hermesdsl.compile(program("", 1, 3))).requests
    late = hermesdsl.run(hermesdsl.compile(program("answer = 1 us", 1, 3))).requests
    assert late.ttft_s[0] - bare.ttft_s[0] == pytest.approx(1e-6, rel=1e-3)
    assert late.tpot_s[0] == pytest.approx(bare.tpot_s[0], rel=1e-9)


def test_parts_of_a_requests_time_add_up_with_a_slow_front_end() -> None:
    result = hermesdsl.run(hermesdsl.compile(program("answer = 2 ms", clients=5, requests=40)))
    found = attribute(result.measures.run)
    assert found.seconds.sum() == pytest.approx(result.requests.e2e_s.sum(), rel=1e-9)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9), st.integers(1, 5)), max_size=9))
@settings(deadline=None)
def test_a_run_is_its_steps(runs: list[tuple[int, int, int]]) -> None:
    """Steps of a run that grow longer, as they do with their context: one by one, or at once."""
    one, all_ = (Answers(0.25, Kernel(), 0, lambda *_: None) for _ in range(2))
    now = 0.0
    for pause, steps, tokens in runs:
        ends = now + 0.25 * pause + np.cumsum(0.5 + 0.125 * np.arange(steps))
        for end in ends:
            one.step(tokens, float(end))
        all_.run(steps, tokens, float(ends[0]), float(ends[-1]))
        assert all_.free == pytest.approx(one.free, rel=1e-12)
        now = float(ends[-1])


def test_who_gave_up_while_an_answer_waits_does_not_leave_twice() -> None:
    kernel, left = Kernel(), []
    answers = Answers(1.0, kernel, 0, lambda sequence, now: left.append((sequence.name, now)))
    answers.step(2, 0.0)
    for name, cancelled in (("a", False), ("b", True), ("c", False)):
        answers.hold(SimpleNamespace(name=name, cancelled=cancelled))  # type: ignore[arg-type]
    kernel.run()
    assert left == [("a", 2.0), ("c", 2.0)]


@pytest.mark.parametrize("reference", [False, True])
def test_a_first_token_that_waits_in_the_front_end_is_not_in_time(reference: bool) -> None:
    """Both prompts are read by 1 s, the first tokens out at 1 + 2·2 = 5 s."""
    for timeout, expected in ((4.999, [TIMED_OUT] * 2), (5.0, [COMPLETED] * 2)):
        terms = Workload("w", "chat", Spec("poisson"),
                         options={"timeout": Spec("fixed", {"value": timeout})})  # fmt: skip
        built = system(chat(), workloads=[terms])
        offered = batch(np.array([0.0, 0.0]), (1, 1), (20, 20))
        done = run(built, Answering(base=1.0, answer_seconds=2.0), offered, reference=reference)
        assert list(done.requests["status"]) == expected
    assert list(done.requests["first_token_s"]) == [5.0, 5.0]


@given(offers, settings_of_engines(), st.sampled_from([TICK / 4, TICK, 0.0031]), st.data())
@settings(max_examples=60, deadline=None)
def test_both_forms_agree_with_a_front_end(offer: Any, options: Any, each: float, data: Any):
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    options["preemption"] = "recompute"
    cost = Answering(
        kv_tokens=data.draw(st.sampled_from([70, 120, 1 << 30])), base=2 * TICK,
        per_token=TICK / 8, per_context=TICK / 256, answer_seconds=each,
    )  # fmt: skip
    horizon = data.draw(st.sampled_from([{}, {"horizon": "cut", "duration": 60 * TICK}]))
    built = system(
        data.draw(st.sampled_from([chat(), generate()])), engines={"llm": 2}, options=options,
        **horizon,
    )  # fmt: skip
    both(built, cost, batch(np.array(arrival) * TICK, prompt, output))


@pytest.mark.parametrize("given", ["answer = -1 us", "answer = 3", "answer = 2 tok"])
def test_a_front_end_takes_a_time(given: str) -> None:
    with pytest.raises(SpecError):
        hermesdsl.compile(program(given, 1, 1))


def program(answer: str, clients: int, requests: int) -> str:
    return f"""
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
from std.engines.profiles import vllm
profile Ours extends vllm {{ {answer} }}
gpu: H100
llm: LlmEngine on gpu {{ model = Llama3_1_8B; profile = Ours }}
chat: Chat {{ llm = llm }}
workload w {{ pipeline = chat; arrivals = closed({clients}); requests = {requests}
    prompt = 10 tok; output = 30 tok }}
"""
