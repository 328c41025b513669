"""Figures of accuracy against a folder of measurements, where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

import hermesdsl
from benchmarks.accuracy import loops, serving, steps
from benchmarks.accuracy.rows import Row
from benchmarks.accuracy.steps import fitted
from hermesdsl.cost.profiles import library

DATA = Path(__file__).parents[2] / "shared" / "data"
measured = pytest.mark.skipif(not DATA.is_dir(), reason="no folder of measurements beside the repo")


def apart(rows: list[Row], metric: str) -> float:
    return median(abs(row.error(metric)) for row in rows if not row.skipped)


def test_an_error_is_signed_and_relative() -> None:
    assert Row("a", "b", {"x": (2.0, 2.5)}).error("x") == 0.25


def test_an_empty_folder_gives_reasons(tmp_path: Path) -> None:
    for found in (serving.open_loop, loops.closed_loop, serving.rtx, serving.splitwise):
        assert all(row.skipped.startswith("no file") for row in found(tmp_path))


def test_systems_that_nobody_knows_are_skipped() -> None:
    row = {"model": "gpt-x", "hardware": "h1", "tensor_parallel": "8"}
    (found,) = fitted([row], lambda *_: None)
    assert "unknown model" in found.skipped


#: Constants that a search does not start from.
GIVEN = {"eager": 2e-4, "slower": 1.7, "eager_prompt": 2.5e-4, "step": 8e-3, "sequence": 2e-4,
         "passes": 45.0, "anew": 1.2e-11}  # fmt: skip


def table_row(tp: int, prompt: int, batch: int, hardware: str = "h100-80gb") -> dict[str, str]:
    """A row of the table whose steps took a second each, 127 of them after the first."""
    return {
        "model": "llama2-70b", "hardware": hardware, "tensor_parallel": str(tp),
        "prompt_size": str(prompt), "batch_size": str(batch), "token_size": "128",
        "prompt_time": "1000.0", "token_time": "1000.0", "e2e_time": "128000.0",
    }  # fmt: skip


def made(constants: dict[str, float]) -> list[steps._Step]:
    """Steps of two models on two systems, timed by the formula that is fitted."""
    found = []
    for layers in (80, 70):
        for slower in (False, True):
            for tokens in (1, 8, 64, 512, 2048, 8192):
                rate = 2e-5 * (2.0 if slower else 1.0)
                step = steps._Step(
                    1.0, 0.012 + rate * tokens, 5e-9 * layers * tokens,
                    1e4 * layers * tokens if tokens > 2048 else 0.0,
                    layers, min(tokens, 64), tokens > 64, slower,
                )  # fmt: skip
                found.append(replace(step, measured=predicted(step, constants)))
    return found


def predicted(step: steps._Step, constants: dict[str, float]) -> float:
    host = constants["slower"] if step.slower else 1.0
    launch = constants["eager"] * host + constants["eager_prompt"] * step.prompts
    device = step.device + constants["passes"] * step.a_pass
    device += constants["anew"] * host * step.buffers
    rest = constants["step"] + constants["sequence"] * step.sequences
    return max(step.layers * launch, device) + rest


def test_a_search_finds_the_constants_that_made_the_steps() -> None:
    assert steps.search(made(GIVEN)) == pytest.approx(GIVEN, rel=1e-3)


def test_one_step_far_off_moves_the_constants_little() -> None:
    rows = made(GIVEN)
    rows[3] = replace(rows[3], measured=5.0 * rows[3].measured)
    assert steps.search(rows) == pytest.approx(GIVEN, rel=0.15)


@pytest.mark.parametrize("hardware", ["h100-80gb", "a100-80gb"])
def test_what_is_fitted_is_a_step_of_the_cost_model(hardware: str) -> None:
    cost = serving.step_costs("llama2-70b", hardware, 8)
    profile = steps.profile_with(GIVEN, hardware)
    for prompt, batch in ((128, 1), (2048, 1), (8192, 1), (512, 64)):
        row = table_row(8, prompt, batch, hardware)
        own = steps._steps(("llama2-70b", hardware, 8), cost, [row])
        _, _, *works = steps._works(row, cost)
        for step, work in zip(own, works, strict=True):
            told = steps._with(cost, profile).step(work)
            assert predicted(step, GIVEN) == pytest.approx(told, rel=1e-9)


def test_rows_whose_batch_does_not_fit_say_how_much_does() -> None:
    """32,768 tokens per step leave KV of some 2,400 on two devices; four prompts of 512 fit."""
    rows = [table_row(2, 512, 64), table_row(2, 512, 32), table_row(4, 512, 64)]
    found = fitted(rows, serving.step_costs)
    assert [row.name.partition(" tp")[2] for row in found] == [
        "2 512/128 b64 (4 prompts, 4 decodes fit)", "2 512/128 b32 (32 prompts, 30 decodes fit)",
        "4 512/128 b64",
    ]  # fmt: skip


def test_a_system_is_not_in_its_own_fit() -> None:
    """Of one model on one number of ways nothing is left, though two chips ran it."""
    rows = [table_row(4, 512, 1), table_row(4, 512, 1, "a100-80gb")]
    found = fitted(rows, serving.step_costs)
    assert ["no other" in row.skipped for row in found] == [True, True]


@measured
def test_steps_of_2023() -> None:
    """Medians over 840 rows when this was written: prefill 4.3 %, decode 5.0 %."""
    rows = serving.splitwise(DATA)
    assert len(rows) == 840
    assert not any(row.skipped for row in rows)
    assert apart(rows, "prefill") < 0.06
    assert apart(rows, "decode") < 0.06


@measured
def test_the_library_ships_the_constants_of_all_steps() -> None:
    table = serving.table(DATA / "splitwise" / "perf_model.csv.gz")
    own = [row for row in table if row["hardware"] != "h100-80gb-pcap"]  # type: ignore[index]
    found = steps.constants(own, serving.step_costs)
    for hardware, name in steps.PROFILES.items():
        given, made = steps.profile_with(found, hardware), library()[name]
        for field in ("eager", "eager_prompt", "step", "sequence"):
            told = getattr(made.overheads, field)
            assert told == pytest.approx(getattr(given.overheads, field), rel=0.01)
        assert made.kernels.passes == pytest.approx(given.kernels.passes, rel=0.01)
        assert made.kernels.churn == pytest.approx(given.kernels.churn, rel=0.01)


@pytest.mark.parametrize(
    ("node", "profile", "whole"),
    [("hopper import DGX_H100", "vllm_2023", 83.9),
     ("ampere import DGX_A100", "vllm_2023_a100", 159.7)],
)  # fmt: skip
def test_a_batch_that_does_not_fit_takes_turns(node: str, profile: str, whole: float) -> None:
    """`e2e_time` of 64 prompts of 512 on two devices: seconds until the last has its 128 tokens."""
    system = hermesdsl.compile(f"""from std.nvidia.{node}
from std.models.llama import Llama2_70B
box: {node.rpartition(" ")[2]}
llm: LlmEngine on box.gpu[0:2] {{
    model = Llama2_70B; tp = 2; batching = continuous; max_tokens = 32_768 tok
    profile = {profile}
}}
chat: Chat {{ llm = llm }}
workload w {{ pipeline = chat; arrivals = closed(64); requests = 64
    prompt = 512 tok; output = 128 tok }}""")
    found = hermesdsl.run(system).requests
    assert float(found.e2e_s.max()) == pytest.approx(whole, rel=0.12)


@measured
@pytest.mark.slow
def test_open_loop_runs() -> None:
    """Medians over 13 runs when this was written: TPOT 3.9 %, TTFT 4.8 %, E2E 3.9 %."""
    rows = serving.open_loop(DATA)
    assert apart(rows, "tpot") < 0.10
    assert apart(rows, "ttft") < 0.20
    assert apart(rows, "e2e") < 0.10


@measured
@pytest.mark.slow
def test_the_rtx_run_beats_the_peer() -> None:
    defaults, layers, peer = serving.rtx(DATA)
    for metric in ("tpot", "latency", "makespan", "throughput"):
        assert abs(defaults.error(metric)) < 0.08
    assert abs(layers.error("ttft")) < 0.04
    assert abs(layers.error("tpot")) < 0.01
    assert abs(layers.error("latency")) < 0.02
    for metric in ("ttft", "tpot", "latency"):
        name = f"{metric}_mape"
        assert layers.figures[name][1] < peer.figures[name][1]
