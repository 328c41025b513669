"""What predicted times consist of, by hand and as sums."""

from __future__ import annotations

import numpy as np
import pytest

import hermesdsl
from hermesdsl.cost import engine_cost
from hermesdsl.cost.types import StepWork
from hermesdsl.measure.phases import spent, times_of, together

SPEC = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
gpu: H100
llm: LlmEngine on gpu { model = Llama3_1_8B; profile = vllm_sync }
chat: Chat { llm = llm }
workload load { pipeline = chat; arrivals = ARRIVALS; prompt = 1000 tok; output = 11 tok }
experiment main { workload = [load]; MORE }
"""


def solved(arrivals: str = "constant(1 req/s); requests = 3", more: str = "", spec: str = SPEC):  # type: ignore[no-untyped-def]
    system = hermesdsl.compile(spec.replace("ARRIVALS", arrivals).replace("MORE", more))
    result = hermesdsl.run(system)
    return system, result, spent(system.compiled, result)


def test_one_request_at_a_time_by_hand() -> None:
    """vllm_sync: 10 ms API, then 0.3 ms + 25 us of the host in each of 1 + 10 steps."""
    system, _, found = solved()
    cost = engine_cost(system.placement.nodes["llm"]["client"])
    prompt = cost.step(StepWork(1000, 1, 1, 1000, 500500.0, 1000.0))
    assert found.api[:, 1].tolist() == pytest.approx([10e-3, 0.0, 0.0])
    assert found.host[:, 1].tolist() == pytest.approx([0.0, 0.325e-3, 10 * 0.325e-3])
    assert found.device[1, 1] == pytest.approx(prompt - 0.325e-3)
    assert found.steps[:, 1].tolist() == pytest.approx([0.0, 1.0, 10.0])
    assert found.other[:, 1].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)


@pytest.mark.parametrize(
    "extra",
    [
        "",
        "max_batch = 4",
        "max_batch = 8; batching = chunked(512 tok)",
        "speculate = draft(Llama3_2_1B, gamma = 3, accept = 70%)",
    ],
)
def test_the_four_add_up_to_every_phase(extra: str) -> None:
    spec = SPEC.replace("profile = vllm_sync", f"profile = vllm; {extra}")
    spec = spec.replace("import Llama3_1_8B", "import Llama3_1_8B, Llama3_2_1B", 1)
    _, result, found = solved("poisson(20 req/s)", "duration = 10 s", spec)
    times = times_of(result.requests)
    ends = np.stack([times[role] for role in ("queue", "ttft", "latency")])
    whole = np.diff(ends, axis=0, prepend=0.0)
    parts = found.device + found.host + found.api + found.other
    assert parts == pytest.approx(whole, abs=1e-9)
    for column in (found.device, found.host, found.api, found.steps):
        assert (column >= -1e-12).all()
    # Between arrival and end an engine with work runs steps all the time.
    assert float(np.abs(found.other).sum()) < 0.02 * float(whole.sum())


def test_waiting_is_the_time_of_steps_too() -> None:
    """Four places: who waits for one waits for the devices that serve the others."""
    spec = SPEC.replace("profile = vllm_sync", "profile = none; max_batch = 1")
    _, result, found = solved("constant(1000 req/s); requests = 20", "", spec)
    wait = times_of(result.requests)["queue"]
    assert found.device[0] == pytest.approx(wait, abs=1e-6)
    assert found.host.sum() == pytest.approx(0.0, abs=1e-12)


def test_other_stages_are_other_time() -> None:
    """A tool that takes 50 ms before the model is asked."""
    spec = SPEC.replace("chat: Chat { llm = llm }", """
tool: Delay { latency = fixed(50 ms) }
pipeline Asks { look: Tool on tool; answer: Generate on llm
                input -> look -> answer -> output }
chat: Asks""")  # fmt: skip
    _, _, found = solved(spec=spec)
    assert found.other.sum(axis=0) == pytest.approx(np.full(3, 0.05), abs=1e-9)


def test_requests_that_do_not_complete_have_no_parts() -> None:
    _, result, found = solved("poisson(50 req/s)", "duration = 2 s; horizon = cut")
    done = (result.requests["status"] == "completed").to_numpy()
    assert 0 < done.sum() < len(done)
    assert np.isnan(found.device[:, ~done]).all()
    assert not np.isnan(found.device[:, done]).any()


def test_sums_means_and_rows() -> None:
    _, _, found = solved()
    assert found.summed([0, 1, 2]).steps[0].tolist() == pytest.approx([11.0] * 3)
    assert found.mean().steps[:, 0].tolist() == pytest.approx([0.0, 1.0, 10.0])
    assert found.chosen(np.array([True, False, True])).steps.shape == (3, 2)
    assert together([found, found]).steps.shape == (3, 6)
    per_step = found.summed([2]).per_step()
    assert per_step.host[0].tolist() == pytest.approx([0.325e-3] * 3)
