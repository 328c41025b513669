"""Attention and collectives against measured kernels: shapes held out, and devices never fitted.

Thresholds lie a little above what is reached; figures are medians of absolute relative errors of
kernels above 50 µs, of messages above 4 MB.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hermesdsl.cost.attention import decode, plain_shape, prefill
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.cost.device import Device
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Fabric
from hermesdsl.measure.attention import DECODE, PREFILL
from hermesdsl.measure.calibrate import fitted
from hermesdsl.measure.collective import fit_collective
from hermesdsl.measure.operators import Sheet
from hermesdsl.measure.tables import of_system, read_table

Find = Callable[[str], Path]
DEVICES = ("a100", "h100", "h200", "b200")


@pytest.mark.slow
@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
@pytest.mark.parametrize(
    ("file", "operator"), [("context_attention", PREFILL), ("generation_attention", DECODE)]
)
def test_shapes_held_out(
    build: SimpleNamespace, data: Find, name: str, dtype: str, file: str, operator: object
) -> None:
    """Reached: prompts 2.5 to 4.3 %, decoding 1.6 to 4.4 %."""
    sheet = build.sheets[name]
    table = of_system(read_table(data(f"aiconfigurator/{file}.csv.gz")), f"{name}_sxm")
    rows = table.frame[table.frame.dtype == dtype].iloc[::3].reset_index(drop=True)
    if not len(rows):
        pytest.skip(f"no {dtype} on {name}")
    wide = Sheet(sheet.part.peak["bf16"], sheet.bandwidth, sheet.part.sms)
    points = operator.points(rows, wide, dtype)  # type: ignore[attr-defined]
    found = fitted(operator, dtype, points, rows.seconds.to_numpy())  # type: ignore[arg-type]
    assert found.holdout.median < 0.065


def test_a_device_that_was_never_fitted(build: SimpleNamespace, data: Find) -> None:
    """Decode attention of Llama-3.1-8B on RTX PRO 6000 from its data sheet and class defaults.

    At 32 query and 8 KV heads, above 50 µs. Data sheet: 467.8 TFLOP/s, 1597 GB/s, 188 SMs.
    """
    folder = "llmservingsim/profile_RTXPRO6000_Llama-3.1-8B_bf16"
    read = pd.read_csv(data(f"{folder}/tp1_attention.csv.gz"))
    rows = read[(read.prefill_chunk == 0) & (read.time_us > 50)]
    device = Device(467.8e12, 1.597e12, 188, False, ACCELERATOR, VLLM.overheads)
    shape = plain_shape(32, 8, 128, 2.0)
    predicted = [
        decode(device, shape, n).seconds(float(n * kv))
        for n, kv in zip(rows.n_decode, rows.kv_decode, strict=True)
    ]
    assert np.median(np.abs(np.array(predicted) / (rows.time_us * 1e-6) - 1)) < 0.16


def test_prompts_on_a_device_that_was_never_fitted(data: Find) -> None:
    folder = "llmservingsim/profile_RTXPRO6000_Llama-3.1-8B_bf16"
    read = pd.read_csv(data(f"{folder}/tp1_attention.csv.gz"))
    rows = read[(read.n_decode == 0) & (read.time_us > 50)]
    device = Device(467.8e12, 1.597e12, 188, False, ACCELERATOR, VLLM.overheads)
    shape = plain_shape(32, 8, 128, 2.0)
    predicted = []
    for new, seen in zip(rows.prefill_chunk.tolist(), rows.kv_prefill.tolist(), strict=True):
        pairs = new * seen + new * (new + 1) / 2
        work = StepWork(new, 1, 1, new, pairs, float(new + seen))
        predicted.append(prefill(device, shape, 1, work).seconds)
    assert np.median(np.abs(np.array(predicted) / (rows.time_us * 1e-6) - 1)) < 0.40


@pytest.mark.parametrize("name", DEVICES)
def test_collectives_held_out(build: SimpleNamespace, data: Find, name: str) -> None:
    """Reached: all-reduce as vLLM does it 4.2 to 7.2 %, NCCL's others 2.0 to 10.3 %."""
    link = Fabric(2, 1e-6, build.sheets[name].link, 2)
    read = pd.read_csv(data("aiconfigurator/custom_allreduce.csv.gz"))
    read = read[read.system.str.startswith(name) & (read.backend == "vllm_graph")]
    rows = {
        "members": read.num_gpus.to_numpy(float),
        "bytes": 2.0 * read.message_size.to_numpy(float),
        "seconds": read.latency_ms.to_numpy() * 1e-3,
    }
    found = fit_collective("all_reduce", link, ACCELERATOR, VLLM.overheads, rows)
    assert found.held < 0.1
    assert found.plain < 0.16
    read = pd.read_csv(data("aiconfigurator/nccl.csv.gz"))
    read = read[read.system.str.startswith(name) & (read.nccl_dtype == "half")]
    kinds = {"all_gather": "all_gather", "reduce_scatter": "reduce_scatter"}
    for there, kind in {**kinds, "alltoall": "all_to_all"}.items():
        own = read[read.op_name == there]
        rows = {
            "members": own.num_gpus.to_numpy(float),
            "bytes": 2.0 * own.message_size.to_numpy(float),
            "seconds": own.latency_ms.to_numpy() * 1e-3,
        }
        assert fit_collective(kind, link, ACCELERATOR, VLLM.overheads, rows).plain < 0.21


def test_messages_between_two_devices(data: Find) -> None:
    """NCCL send and receive inside a DGX; class defaults, 4 MB to 64 MB."""
    read = pd.read_csv(data("vidur/send_recv.csv.gz"))
    for network, bandwidth in (("a100_dgx", 300e9), ("h100_dgx", 450e9)):
        rows = read[(read.network == network) & (read.devices_per_node == 2)]
        rows = rows[rows.size_bytes > 4e6].iloc[::7]
        links = Collectives(Fabric(2, 1e-6, bandwidth, 2), ACCELERATOR, VLLM.overheads)
        predicted = np.array([links.p2p("x", 1, float(v)).seconds for v in rows.size_bytes])
        assert np.median(np.abs(predicted / (rows.median_ms * 1e-3) - 1)) < 0.20
