"""Matrix products: roofline limits, tiles and waves, monotone in work and in hardware."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermesdsl.cost.constants import ACCELERATOR, NONE, VLLM
from hermesdsl.cost.device import Device, peak_dtype, wider_of
from hermesdsl.cost.gemm import Gemm, stream

H100 = Device(989.4e12, 3.35e12, 132, False, ACCELERATOR, VLLM.overheads)
UNKNOWN = replace(H100, sms=0)
sizes = st.integers(1, 9000)


def seconds(device: Device, m: int, n: int, k: int, width: float = 2.0) -> float:
    return Gemm(device, width, width).operator("x", 1, m, n, k).seconds


def test_one_row_streams_the_weights() -> None:
    # 8192 × 28672 weights of 2 bytes, read at 80 % of 3.35 TB/s, and one launch.
    op = Gemm(H100, 2.0, 2.0).operator("up", 80, 1, 28672, 8192)
    traffic = 2.0 * (8192 * 28672 + 8192 + 28672)
    assert op.bytes == traffic
    assert op.seconds == pytest.approx(traffic / (3.35e12 * 0.80) + 3.7e-6, rel=1e-12)
    assert (op.bound, op.count, op.rung) == ("memory", 80, "datasheet")
    assert op.flops == 2.0 * 8192 * 28672


def test_large_products_reach_the_compute_efficiency() -> None:
    # 16384³ is 128² tiles of 128 × 128 = 124.1 waves of 132: 125 waves are paid, and 177 on top of
    # 16384 of the depth fill and drain: 0.85 · 124.1/125 · 16384/16561 = 0.835 of peak.
    n = 16384
    op = Gemm(H100, 2.0, 2.0).operator("big", 1, n, n, n)
    assert op.bound == "compute"
    assert op.flops / op.seconds / 989.4e12 == pytest.approx(0.835, rel=0.002)


def test_one_more_row_than_a_wave_costs_another_wave() -> None:
    gemm = Gemm(H100, 2.0, 2.0)
    # 132 tiles of 128 × 256 exactly, then one tile row more.
    full = gemm.compute_seconds(128 * 12, 256 * 11, 8192)
    over = gemm.compute_seconds(128 * 12 + 1, 256 * 11, 8192)
    assert over > 1.15 * full


def test_tiny_products_are_bound_by_their_launch() -> None:
    assert Gemm(H100, 2.0, 2.0).operator("tiny", 1, 1, 64, 64).bound == "launch"


def test_unknown_sms_give_a_smooth_time_near_the_counted_one() -> None:
    for m in (1, 64, 512, 4096):
        counted, smooth = seconds(H100, m, 8192, 8192), seconds(UNKNOWN, m, 8192, 8192)
        assert smooth == pytest.approx(counted, rel=0.35)


def test_grouped_product_of_one_is_the_product() -> None:
    gemm = Gemm(H100, 2.0, 2.0)
    assert gemm.operator("a", 1, 64, 512, 512) == gemm.operator("a", 1, 64, 512, 512, groups=1.0)


def test_narrow_operands_pay_for_quantisation() -> None:
    narrow = replace(H100, peak=1978.9e12, narrow=True)
    op = Gemm(narrow, 1.0, 1.0).operator("q", 1, 1, 64, 64)
    assert op.seconds > VLLM.overheads.kernel + VLLM.overheads.quantise


def test_stream_counts_each_kernel() -> None:
    one, two = stream(H100, "s", 1, 1e6), stream(H100, "s", 1, 1e6, kernels=2)
    assert two.seconds - one.seconds == pytest.approx(VLLM.overheads.kernel)


@given(m=sizes, n=sizes, k=sizes, more=st.integers(1, 600), sms=st.sampled_from([0, 108, 132]))
def test_more_rows_are_never_faster(m: int, n: int, k: int, more: int, sms: int) -> None:
    device = replace(H100, sms=sms)
    assert seconds(device, m + more, n, k) >= seconds(device, m, n, k)


@given(m=sizes, n=sizes, k=sizes, factor=st.floats(1.0, 8.0))
def test_better_hardware_is_never_slower(m: int, n: int, k: int, factor: float) -> None:
    base = seconds(H100, m, n, k)
    assert seconds(replace(H100, bandwidth=H100.bandwidth * factor), m, n, k) <= base
    assert seconds(replace(H100, peak=H100.peak * factor), m, n, k) <= base


@given(m=sizes, n=sizes, k=sizes)
def test_never_below_the_roofline(m: int, n: int, k: int) -> None:
    op = Gemm(replace(H100, overheads=NONE.overheads), 2.0, 2.0).operator("x", 1, m, n, k)
    assert op.seconds >= max(op.flops / H100.peak, op.bytes / H100.bandwidth) * (1 - 1e-12)


def test_a_missing_peak_is_served_by_a_wider_type() -> None:
    assert peak_dtype({"bf16": 1.0, "fp8": 2.0}, "fp8") == "fp8"
    assert peak_dtype({"bf16": 1.0}, "fp4") == "bf16"
    assert peak_dtype({"fp32": 1.0}, "bf16") == "fp32"
    assert wider_of("fp8", "bf16") == "bf16"


def test_a_missing_peak_is_never_served_by_a_narrower_type() -> None:
    assert peak_dtype({"fp8": 2.0, "int8": 2.0}, "bf16") is None
    assert peak_dtype({}, "fp8") is None


B200_FP4 = Device(9000e12, 7.7e12, 148, True, ACCELERATOR, VLLM.overheads, "fp4")


def test_four_bits_are_told_from_eight_as_those_from_sixteen() -> None:
    # One row: 0.5625 bytes a weight with its factors, at 0.75²/0.80 of 7.7 TB/s; the row itself is
    # brought to four bits at that speed. 3.7 µs of launch and 2 of the quantising kernel.
    n, k = 28672, 8192
    op = Gemm(B200_FP4, 0.5, 0.5).operator("up", 1, 1, n, k)
    read = 0.5625 * (n * k + k) + 2.0 * n
    brought = (2.0 + 0.5625) * k
    rate = 7.7e12 * 0.75**2 / 0.80
    assert op.seconds == pytest.approx((read + brought) / rate + 5.7e-6, rel=1e-12)
    assert op.bytes == 0.5 * (n * k + k) + 2.0 * n


def test_experts_in_four_bits_lose_no_more_than_those_in_eight() -> None:
    """Grouped: bytes with factors at the narrow fraction; nothing is brought to another width."""
    gemm = Gemm(B200_FP4, 0.5, 0.5, grouped=True)
    n, k = 4096, 8192
    op = gemm.operator("experts", 1, 1, n, k, groups=64.0)
    read = 64.0 * (0.5625 * (n * k + k) + 2.0 * n)
    assert op.seconds == pytest.approx(read / (7.7e12 * 0.75) + 5.7e-6, rel=1e-12)
    alone = Gemm(B200_FP4, 0.5, 0.5).operator("one", 1, 64, n, k)
    assert alone.seconds > gemm.operator("one", 1, 64, n, k).seconds


def test_factors_come_with_four_bits_alone() -> None:
    narrow = replace(B200_FP4, dtype="fp8", peak=4500e12)
    op = Gemm(narrow, 1.0, 1.0, grouped=True).operator("x", 1, 1, 28672, 8192)
    assert op.seconds == pytest.approx(op.bytes / (7.7e12 * 0.75) + 5.7e-6, rel=1e-12)
