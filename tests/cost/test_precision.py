"""Bytes and rates of every precision of weights and KV; KV of latent and sliding attention."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hermesdsl.cost import capacity
from hermesdsl.cost.bind import diagnose, engine_cost
from hermesdsl.cost.llm import attention_dtype, gemm_dtype
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Spec

#: Bytes per value. Scales of blocks (half a bit of nvfp4, an eighth of int4 in groups of 128) are
#: left out.
BYTES = {"bf16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5, "fp4": 0.5}
AFTER = Spec("after_weights", {"f": 0.95})


def decoding(batch: int, context: float) -> StepWork:
    return StepWork(batch, batch, decodes=batch, decode_context=context)


def served(build: SimpleNamespace, tp: int = 2, **options: object):
    on = build.group(build.sheets["h200"], tp=tp)
    return engine_cost(build.client(build.llama, on, memory_rule=AFTER, **options))


@pytest.mark.parametrize(("dtype", "size"), BYTES.items())
def test_weights_take_their_bytes_in_memory_and_on_the_way(build, dtype, size) -> None:
    cost = served(build, dtype=dtype)
    assert cost.memory.weights == pytest.approx(build.llama.parameters * size / 2, rel=1e-4)
    ops = {op.name: op for op in cost.breakdown(decoding(1, 1.0))}
    weights = 8192 * 28672 * size  # half of gate and up
    assert ops["mlp up"].bytes == pytest.approx(weights, rel=0.001)


@pytest.mark.parametrize(("dtype", "size"), BYTES.items())
def test_kv_takes_its_bytes_in_memory_and_in_attention(build, dtype, size) -> None:
    cost, full = served(build, kv_dtype=dtype), served(build)
    # 2 · 8 heads · 128 · 80 layers, half of the heads on each device.
    assert cost.memory.kv_per_token == 81_920 * size
    assert cost.kv_tokens == pytest.approx(full.kv_tokens * 2 / size, rel=1e-4)
    ops = {op.name: op for op in cost.breakdown(decoding(4, 4000.0))}
    assert ops["attention decode"].bytes == 4000 * 2 * 4 * 128 * size


def test_kv_capacity_in_bf16_and_fp8(build) -> None:
    """A11: Llama-3-70B on two devices of 80 GiB: 88.7K tokens in bf16, 587K in fp8 (3 %)."""
    on = build.group(build.sheets["h100"], tp=2)
    full = engine_cost(build.client(build.llama, on, memory_rule=AFTER))
    half = engine_cost(
        build.client(build.llama, on, memory_rule=AFTER, dtype="fp8", kv_dtype="fp8")
    )
    assert full.kv_tokens == pytest.approx(88_700, rel=0.03)
    assert half.kv_tokens == pytest.approx(587_000, rel=0.03)


@pytest.mark.parametrize(
    ("dtype", "gemm"),
    [("bf16", "bf16"), ("fp8", "fp8"), ("int8", "bf16"), ("int4", "bf16"), ("fp4", "bf16")],
)
def test_products_run_in_the_wider_of_weights_and_activations(build, dtype, gemm) -> None:
    model = served(build, dtype=dtype).model
    assert gemm_dtype(model) == gemm
    assert attention_dtype(model) == "bf16"


def test_a_narrow_product_without_a_peak_runs_at_the_next_wider_and_says_so(build) -> None:
    # Weights and activations in fp4 on a device that knows fp8: bytes of fp4, rate of fp8.
    model = replace(
        build.llama, dtype="fp4", activation_dtype="fp4", weight_bytes=build.llama.weight_bytes / 4
    )
    on = build.group(build.sheets["h100"], tp=2)
    found = diagnose(build.client(model, on))
    assert [(item.code, item.is_error) for item in found] == [("HMS411", False)]
    assert found[0].message == "`H100` has no peak for fp4 (weights of `llm`)"
    assert found[0].notes == ("note: its peak for fp8 is used; bytes stay those of fp4",)
    assert engine_cost(build.client(model, on)).device.peak == 1978.9e12


def test_a_device_without_any_wider_peak_is_refused(build) -> None:
    on = build.group(build.sheets["h100"], tp=2)
    bare = replace(on, part=replace(on.part, peak={"fp8": 1e15}))
    found = diagnose(build.client(build.llama, bare))
    assert {item.code for item in found} == {"HMS411"}
    assert all(item.is_error for item in found)


def test_a_model_too_wide_for_its_device_fits_in_fewer_bits(build) -> None:
    on = build.group(build.sheets["h100"])
    assert [item.code for item in diagnose(build.client(build.llama, on))] == ["HMS407"]
    assert diagnose(build.client(build.llama, on, dtype="int4", kv_dtype="fp8")) == []


# --- KV that does not grow with heads or context -------------------------------------------------


def test_latent_kv_is_one_latent_per_token_on_every_rank(build) -> None:
    # 576 values of 2 bytes in each of 4 layers, whatever tp; 128 heads would take 65,536 values.
    for tp in (1, 2, 8):
        cost = build.engine(build.latent, build.group(build.sheets["h200"], tp=tp), rule=AFTER)
        assert cost.memory.kv_per_token == 4 * 576 * 2
    ops = {op.name: op for op in cost.breakdown(decoding(2, 5000.0))}
    assert ops["attention decode"].bytes == 5000 * 576 * 2


def test_a_window_bounds_what_is_read_and_what_is_held(build) -> None:
    windowed = build.engine(
        replace(build.llama, window=512), build.group(build.sheets["h200"], tp=2), rule=AFTER
    )
    per_token = 2 * 4 * 128 * 2
    for context, seen in ((256.0, 256.0), (4096.0, 512.0)):
        ops = {op.name: op for op in windowed.breakdown(decoding(8, 8 * context))}
        assert ops["attention decode"].bytes == 8 * seen * per_token
        assert windowed.held(context) == seen
    assert windowed.step(decoding(8, 8e3)) == windowed.step(decoding(8, 8e4))


def test_a_window_makes_room_for_more_sequences(build) -> None:
    on = build.group(build.sheets["h100"], tp=2)
    full = build.engine(build.llama, on, rule=AFTER)
    windowed = build.engine(replace(build.llama, window=512), on, rule=AFTER)
    found = [capacity(cost, 8000, 200, 10_000, 10**6).batch for cost in (full, windowed)]
    # Contexts of 8100 against 512 tokens in the same 88.7K of KV.
    assert found[0] == full.kv_tokens // 8100
    assert found[1] == windowed.kv_tokens // 512
