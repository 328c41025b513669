"""Copies that were timed, as a grid of a calibration and as facts of a link."""

from __future__ import annotations

import pandas as pd
import pytest

import hermesdsl
from hermesdsl.cost import engine_cost
from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.cost.types import StepWork
from hermesdsl.diagnostics import SpecError
from hermesdsl.measure.copies import fit_copies, way
from hermesdsl.measure.writing import calibration_text

#: Of H100: byte/s of its data sheet.
BANDWIDTH = 3.35e12
SIZES = [2**n for n in range(10, 31, 2)]


def copies(factor: float) -> pd.DataFrame:
    """Copies that take so many times what the model says: a launch, and twice the bytes."""
    launch, rate = VLLM.overheads.kernel, BANDWIDTH * ACCELERATOR.memory
    seconds = [factor * (launch + 2.0 * size / rate) for size in SIZES]
    return pd.DataFrame({"bytes": SIZES, "seconds": seconds})


PROGRAM = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
{calibration}
chip Mine extends H100 {{ calibration = {name} }}
gpu: Mine
llm: LlmEngine on gpu {{ model = Llama3_1_8B }}
"""


def operators(calibration: str, name: str, tokens: int):  # type: ignore[no-untyped-def]
    system = hermesdsl.compile(PROGRAM.format(calibration=calibration, name=name))
    cost = engine_cost(system.placement.nodes["llm"]["client"])
    work = StepWork(tokens, tokens, decodes=tokens, decode_context=1000.0 * tokens)
    assert cost.step(work) == pytest.approx(
        sum(op.count * op.seconds for op in cost.breakdown(work)), rel=1e-12
    )
    return {op.name: op for op in cost.breakdown(work)}


@pytest.mark.parametrize("tokens", [1, 64, 512])
def test_a_constant_slowness_is_found_and_used(tokens: int) -> None:
    """Twice as slow at every size: so are norms and activations, whatever their bytes."""
    found = fit_copies(copies(2.0), BANDWIDTH)
    assert found is not None
    assert (found.error, found.held) == (pytest.approx(0, abs=1e-3), pytest.approx(0, abs=0.01))
    assert found.plain == pytest.approx(0.5)
    text = calibration_text("Own", "H100", [], "synthetic", "hermes calibrate", copied=found)
    plain = operators("calibration Sheet { }", "Sheet", tokens)
    slower = operators(text, "Own", tokens)
    for name in ("norms", "mlp act", "rope, kv write", "sample", "embedding"):
        assert slower[name].seconds == pytest.approx(2.0 * plain[name].seconds, rel=0.005)
        assert (plain[name].rung, slower[name].rung) == ("datasheet", "calibrated")
    assert slower["qkv"].seconds == plain["qkv"].seconds


def test_bandwidth_of_the_largest_copy() -> None:
    found = fit_copies(copies(1.0), BANDWIDTH)
    assert found is not None
    # 80 % of the data sheet, less the launch of 3.7 us in 0.8 ms.
    assert found.bandwidth == pytest.approx(0.8 * BANDWIDTH, rel=0.01)


def test_four_sizes_are_too_few() -> None:
    assert fit_copies(copies(1.0).head(4), BANDWIDTH) is None


def test_a_way_to_the_host_by_hand() -> None:
    """25 GB/s and 8 us."""
    rows = pd.DataFrame({"bytes": SIZES, "seconds": [8e-6 + size / 25e9 for size in SIZES]})
    found = way(rows)
    assert found.bandwidth == pytest.approx(25e9)
    assert found.latency == pytest.approx(8e-6)
    one = way(rows.tail(1))
    assert one.bandwidth == pytest.approx(SIZES[-1] / (8e-6 + SIZES[-1] / 25e9))
    assert one.latency == 0.0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("copy.device = grid(tokens = [1], factor = [1])", "`copy` has no axis `tokens`"),
        ("copy.host = grid(factor = [1])", "host"),
        ("copy.device = grid(bytes = [2, 1], factor = [1, 1])", "must ascend"),
    ],
)
def test_wrong_entries(entry: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        operators(f"calibration Own {{ {entry} }}", "Own", 1)
    assert message in " ".join(d.message for d in caught.value.diagnostics)
