"""The power model against measured board power, where the measurements are present.

One set of weights for two devices and three kernels: the bounds are what it reaches, not a goal.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hermesdsl.cost.power import PowerWeights, dynamic
from hermesdsl.cost.types import Use

#: Data sheets, bf16: peak FLOP/s, byte/s, idle and limit W (stdlib/nvidia; B200 of this table has
#: 7.7 TB/s as in systems.csv).
DEVICES = {
    "h200_sxm": (989e12, 4.8e12, 76.0, 700.0),
    "b200_sxm": (2250e12, 7.7e12, 140.0, 1000.0),
}


def gemm(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    flops = 2.0 * rows.m * rows.n * rows.k
    return flops, 2.0 * (rows.m * rows.k + rows.k * rows.n + rows.m * rows.n)


def generation(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    context = rows.batch_size * (rows.isl + rows.step) * rows.head_dim
    return 4.0 * context * rows.num_heads, 4.0 * context * rows.num_key_value_heads


def context(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    tokens = rows.batch_size * rows.isl * rows.head_dim
    heads = rows.num_heads + rows.num_key_value_heads
    return 2.0 * tokens * rows.num_heads * (rows.isl + 1), 4.0 * tokens * heads


KERNELS: dict[str, tuple[str, Callable]] = {
    "gemm": ("gemm_dtype", gemm),
    "generation_attention": ("kv_cache_dtype", generation),
    "context_attention": ("attn_dtype", context),
}


def errors(data: Callable[[str], Path], weights: PowerWeights) -> dict[tuple[str, str], float]:
    """Mean absolute relative error of power by kernel and device."""
    found = {}
    for kernel, (dtype, work) in KERNELS.items():
        table = pd.read_csv(data(f"aiconfigurator/power_{kernel}.csv.gz"))
        for name, (peak, bandwidth, idle, limit) in DEVICES.items():
            rows = table[(table.system == name) & table[dtype].str.contains("bfloat16|float16")]
            flops, read = work(rows)
            seconds = rows.latency_ms.to_numpy() / 1e3
            compute, memory = (np.asarray(flops) / peak / seconds,
                               np.asarray(read) / bandwidth / seconds)  # fmt: skip
            sound = (memory < 1.3) & (compute < 1.1)
            use = Use(np.ones(len(rows)), compute, memory, np.zeros(len(rows)))
            watts = idle + (limit - idle) * dynamic(use, weights)
            gap = np.abs(watts / np.minimum(rows.power_w.to_numpy(), limit) - 1.0)
            found[kernel, name] = float(gap[sound].mean())
    return found


def test_power_of_kernels(data: Callable[[str], Path]) -> None:
    found = errors(data, PowerWeights())
    assert max(found.values()) < 0.40
    assert np.mean(list(found.values())) == pytest.approx(0.31, abs=0.02)


def test_a_device_that_runs_anything_draws_more_than_its_use_of_peaks(
    data: Callable[[str], Path],
) -> None:
    """Without a weight for being busy the best weights on the grid of the search are far worse."""
    without = errors(data, PowerWeights(busy=0.0, compute=1.4, memory=0.6))
    assert np.mean(list(without.values())) > 0.40
