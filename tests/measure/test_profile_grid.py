"""Which shapes are timed, and in what order."""

from __future__ import annotations

import pytest

from hermesdsl.cost.gemm import product_bytes
from hermesdsl.measure.calibrate import FEWEST
from hermesdsl.measure.operators import Sheet
from hermesdsl.measure.profile.grid import (
    COLLECTIVES,
    LONGEST,
    SHARE,
    SIZES,
    Case,
    cases,
    collective_cases,
    work,
)

LARGE = {"bf16": Sheet(990e12, 4.8e12, 132), "fp8": Sheet(1979e12, 4.8e12, 132)}
#: About an RTX 4060: 8 GB, 272 GB/s, 60 TFLOP/s.
SMALL = {"bf16": Sheet(60e12, 0.272e12, 24)}


def test_every_operator_and_dtype_is_there_once() -> None:
    found = cases(LARGE, "bf16", ["fp8"], 141e9)
    assert len(set(found)) == len(found)
    kinds = {(case.operator, case.dtype) for case in found}
    alone = set(SIZES) - set(COLLECTIVES)
    assert kinds == {(name, "bf16") for name in alone} | {("gemm", "fp8")}
    assert all(len(case.sizes) == len(SIZES[case.operator]) for case in found)


@pytest.mark.parametrize("part", [0.1, 0.3])
def test_any_beginning_reaches_from_end_to_end(part: float) -> None:
    found = cases(LARGE, "bf16", [], 141e9)
    begun = found[: int(part * len(found))]
    for operator, name in (("gemm", "m"), ("gemm", "k"), ("decode", "sequences")):
        of_all, of_some = (
            {case.size(name) for case in some if case.operator == operator}
            for some in (found, begun)
        )
        assert {min(of_all), max(of_all)} <= of_some


def test_a_tenth_is_worth_a_fit() -> None:
    found = cases(LARGE, "bf16", ["fp8"], 141e9)
    begun = found[: len(found) // 10]
    for operator, dtype in (("gemm", "bf16"), ("gemm", "fp8"), ("prefill", "bf16")):
        own = [case for case in begun if (case.operator, case.dtype) == (operator, dtype)]
        assert len(own) >= FEWEST


@pytest.mark.parametrize(("sheets", "memory"), [(LARGE, 141e9), (SMALL, 8e9)])
def test_nothing_is_longer_or_larger_than_the_device_bears(
    sheets: dict[str, Sheet], memory: float
) -> None:
    for case in cases(sheets, "bf16", list(sheets)[1:], memory):
        flops, moved = work(case)
        sheet = sheets[case.dtype]
        assert max(flops / sheet.peak, moved / sheet.bandwidth) <= LONGEST
        assert moved <= SHARE * memory


def test_work_is_that_of_the_cost_models() -> None:
    assert work(Case("gemm", "fp8", (64, 1024, 512))) == (
        2 * 64 * 1024 * 512, product_bytes(64, 1024, 512, 1, 1),
    )  # fmt: skip
    # Two prompts of 4 tokens are 2 · 4 · 5 / 2 = 20 pairs; 4 · heads · width FLOPs each. K and V
    # of 1 head and queries and outputs of 8, of 128 values of 2 bytes, 4 tokens, 2 prompts.
    flops, moved = work(Case("prefill", "bf16", (4, 4, 2, 8, 1, 128)))
    assert flops == 4 * 8 * 128 * 20
    assert moved == (2 * 1 + 2 * 8) * 128 * 2 * 4 * 2
    # One new token of each of 3 sequences over 100 held ones.
    flops, moved = work(Case("decode", "bf16", (100, 3, 8, 1, 128)))
    assert flops == 4 * 8 * 128 * 300
    assert moved == (100 * 2 * 1 + 2 * 8) * 128 * 2 * 3
    assert work(Case("device_copy", "bf16", (1024,))) == (0, 2048)


def test_messages_are_among_groups_of_the_machine() -> None:
    assert collective_cases(1, "bf16") == []
    found = collective_cases(6, "bf16")
    assert list(dict.fromkeys(case.size("members") for case in found)) == [6, 4, 2]
    assert {case.operator for case in found[:4]} == set(COLLECTIVES)
