"""Ranks and guesses from the language to the records, with the costs of data sheets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hermesdsl
from hermesdsl import SpecError
from hermesdsl.sim.record import Run

PROGRAM = Path(__file__).parents[1] / "golden/programs/04_nvl72.hms"
TEXT = """
from std.nvidia.hopper import DGX_H200
from std.models.deepseek import DeepSeek_V3
from std.models.llama import Llama3_1_8B, Llama3_2_1B
box: DGX_H200
llm: LlmEngine on box.gpu[{gpus}] {{ {options} }}
pipeline P {{ a: Generate on llm; input -> a -> output }}
workload w {{ pipeline = P; arrivals = poisson(8 req/s); prompt = 700 tok; output = 120 tok }}
experiment e {{ workload = [w]; duration = 6 s }}
"""


def made(options: str, gpus: str = "0:1", **settings: Any) -> Run:
    system = hermesdsl.compile(TEXT.format(options=options, gpus=gpus))
    result = hermesdsl.run(system, **settings)
    assert result.measures is not None
    return result.measures.run


def same(one: Run, other: Run) -> None:
    for name in ("requests", "steps", "residences", "visits", "shown"):
        mine, theirs = getattr(one, name), getattr(other, name)
        for column in mine:
            np.testing.assert_array_equal(mine[column], theirs[column], err_msg=f"{name}.{column}")


@pytest.mark.parametrize(
    ("options", "gpus"),
    [
        ("model = DeepSeek_V3; dp = 8; ep = 8; max_batch = 4", "*"),
        ("model = DeepSeek_V3; tp = 2; dp = 4; ep = 8; speculate = mtp(2, 70%)", "*"),
        ("model = Llama3_1_8B; tp = 2; pp = 2; dp = 2; batching = continuous", "*"),
        ("model = Llama3_1_8B; speculate = draft(Llama3_2_1B, 3, 75%)", "0:1"),
    ],
)
def test_both_forms_agree_with_costs_of_data_sheets(options: str, gpus: str) -> None:
    fast = made(options, gpus)
    assert fast.counts["completed"] > 30
    same(fast, made(options, gpus, reference=True))


def test_a_rack_of_seventy_two() -> None:
    system = hermesdsl.compile(PROGRAM, set={"ep64.duration": "3 s"})
    result = hermesdsl.run(system)
    assert result.measures is not None
    run = result.measures.run
    assert run.counts["completed"] == run.counts["offered"] > 80
    by_name = {engine.client: engine for engine in run.engines}
    assert by_name["prefill"].advance == 1.0
    assert by_name["decode"].advance == pytest.approx(1.85)
    # 64 ranks with blocks of their own.
    assert by_name["decode"].capacity_blocks % 64 == 0
    # Tokens of steps and of requests: 1.85 a step but for the last, which may bring fewer.
    stays = run.residences
    steps = stays["last_step"] - stays["first_step"]
    assert (stays["gained"] <= np.floor(1.85 * steps + stays["carry"] + 1e-9)).all()
    assert (stays["gained"] > 1.85 * (steps - 1) + stays["carry"] - 1.0 - 1e-9).all()


def test_a_draft_takes_memory_and_brings_tokens_sooner() -> None:
    plain = made("model = Llama3_1_8B")
    fast = made("model = Llama3_1_8B; speculate = draft(Llama3_2_1B, 3, 75%)")
    poor = made("model = Llama3_1_8B; speculate = draft(Llama3_2_1B, 3, 0%)")
    blocks = [run.engines[0].capacity_blocks for run in (plain, fast, poor)]
    assert blocks[0] > blocks[1] == blocks[2]
    ends = [float(run.requests["finish_s"].sum()) for run in (fast, plain, poor)]
    assert ends[0] < ends[1] < ends[2]


def test_the_draft_keeps_its_own_types() -> None:
    options = "model = Llama3_1_8B; dtype = fp8; speculate = draft(Llama3_2_1B)"
    system = hermesdsl.compile(TEXT.format(options=options, gpus="0:1"))
    client = system.placement.nodes["llm"]["client"]
    assert (client.model.dtype, client.draft.dtype) == ("fp8", "bf16")
    assert replace(client, draft=None).draft is None


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("model = DeepSeek_V3; dp = 8; ep = 8; attention = tp", "HMS405"),
        ("model = DeepSeek_V3; dp = 3; ep = 8", "HMS405"),
        ("model = Llama3_1_8B; speculate = draft(gamma = 2)", "HMS305"),
        ("model = Llama3_1_8B; speculate = mtp(depth = 1, accept = 120%)", "HMS306"),
        ("model = Llama3_1_8B; speculate = draft(DeepSeek_V3)", "HMS407"),
    ],
)
def test_what_makes_no_sense_is_refused(options: str, code: str) -> None:
    with pytest.raises(SpecError) as refused:
        made(options, "*" if "DeepSeek_V3; dp" in options else "0:1")
    assert code in {d.code for d in refused.value.diagnostics}
