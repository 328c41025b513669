"""Data-sheet costs with class efficiencies against kernels and engines that were measured.

Bounds are loose. One set of constants serves all four devices, but it was searched on these very
tables (and the all-reduce chosen by eye from its own), so this is agreement, not prediction; only
the whole-model table played no part. What is asserted is that the form of the model holds over
the class and beats the naive roofline (data-sheet peak and bandwidth, nothing else). Median
absolute percentage errors, kernels above 50 µs.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hermesdsl.cost.attention import decode, grouped, prefill
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.cost.device import Device
from hermesdsl.cost.gemm import Gemm
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import LlmModel

Find = Callable[[str], Path]
DEVICES = ("a100", "h100", "h200", "b200")
LONG = 50e-6


def device_of(build: SimpleNamespace, name: str) -> Device:
    sheet = build.sheets[name]
    peak, sms = sheet.part.peak["bf16"], sheet.part.sms
    return Device(peak, sheet.bandwidth, sms, False, ACCELERATOR, VLLM.overheads)


def table(path: Path, device: str, dtype: str, rows: int = 1500) -> pd.DataFrame:
    """Rows of one device in bf16 that take longer than 50 µs, `rows` of them at regular steps."""
    read = pd.read_csv(path)
    kept = read[read.system.str.startswith(device) & (read[dtype] == "bfloat16")]
    kept = kept[kept.latency_ms * 1e-3 > LONG]
    return kept.iloc[:: max(1, len(kept) // rows)]


def ape(predicted: list[float], measured: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    return float(np.median(np.abs(np.array(predicted) / measured - 1)))


@pytest.mark.parametrize("name", DEVICES)
def test_gemm(build: SimpleNamespace, data: Find, name: str) -> None:
    device = device_of(build, name)
    gemm = Gemm(device, 2.0, 2.0)
    rows = table(data("aiconfigurator/gemm.csv.gz"), name, "gemm_dtype")
    shapes = list(zip(rows.m.tolist(), rows.n.tolist(), rows.k.tolist(), strict=True))
    ops = [gemm.operator("x", 1, m, n, k) for m, n, k in shapes]
    naive = [max(o.flops / device.peak, o.bytes / device.bandwidth) for o in ops]
    measured = rows.latency_ms.to_numpy() * 1e-3
    error = ape([o.seconds for o in ops], measured)
    assert error < 0.16
    assert error < 0.7 * ape(naive, measured)


def attention_model(build: SimpleNamespace, row: object) -> LlmModel:
    heads, kv_heads = row.num_heads, row.num_key_value_heads  # type: ignore[attr-defined]
    model: LlmModel = build.dense("x", (heads * 128, 1, 1, 1, heads, kv_heads))
    return replace(model, head_dim=row.head_dim)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", DEVICES)
def test_decode_attention(build: SimpleNamespace, data: Find, name: str) -> None:
    device = device_of(build, name)
    rows = table(data("aiconfigurator/generation_attention.csv.gz"), name, "kv_cache_dtype")
    predicted, naive = [], []
    for row in rows.itertuples():
        shape = grouped(attention_model(build, row), 1, 2.0, 2.0)
        context = float(row.batch_size * (row.isl + row.step))
        predicted.append(decode(device, shape, row.batch_size).seconds(context))
        naive.append(shape.kv_bytes * context / device.bandwidth)
    measured = rows.latency_ms.to_numpy() * 1e-3
    error = ape(predicted, measured)
    assert error < 0.22
    assert error < 0.8 * ape(naive, measured)


@pytest.mark.parametrize("name", DEVICES)
def test_prefill_attention(build: SimpleNamespace, data: Find, name: str) -> None:
    device = device_of(build, name)
    rows = table(data("aiconfigurator/context_attention.csv.gz"), name, "kv_cache_dtype")
    predicted, naive = [], []
    for row in rows.itertuples():
        shape = grouped(attention_model(build, row), 1, 2.0, 2.0)
        b, t = row.batch_size, row.isl
        work = StepWork(b * t, b, b, b * t, b * t * (t + 1) / 2, float(b * t))
        op = prefill(device, shape, 1, work)
        predicted.append(op.seconds)
        naive.append(op.flops / device.peak)
    measured = rows.latency_ms.to_numpy() * 1e-3
    error = ape(predicted, measured)
    assert error < 0.13
    assert error < 0.25 * ape(naive, measured)


@pytest.mark.parametrize("name", DEVICES)
def test_all_reduce_as_the_engine_does_it(build: SimpleNamespace, data: Find, name: str) -> None:
    read = pd.read_csv(data("aiconfigurator/custom_allreduce.csv.gz"))
    rows = read[read.system.str.startswith(name) & (read.backend == "vllm_graph")]
    link = build.sheets[name].link
    predicted = []
    for row in rows.itertuples():
        members = build.fabric(row.num_gpus, link)
        op = Collectives(members, ACCELERATOR, VLLM.overheads).all_reduce(
            "x", 1, 2.0 * row.message_size
        )
        predicted.append(op.seconds)
    assert ape(predicted, rows.latency_ms.to_numpy() * 1e-3) < 0.40


@pytest.mark.parametrize("name", ["a100", "h100"])
@pytest.mark.parametrize("what", ["prompt_time", "token_time"])
def test_whole_model_of_2023(build: SimpleNamespace, data: Find, name: str, what: str) -> None:
    """Llama-2-70B (TP2, 4, 8) and BLOOM-176B (TP8), fp16, vLLM of 2023 on DGX.

    Its host cost per step (some 20 ms) is not in today's profile, so predictions lie below.
    """
    read = pd.read_csv(data("splitwise/perf_model.csv.gz"))
    read = read[read.hardware == f"{name}-80gb"]
    keys = ["model", "tensor_parallel", "prompt_size", "batch_size", "token_size"]
    predicted, naive, measured = [], [], []
    models = {
        "llama2-70b": build.dense("llama", (8192, 80, 28672, 32000, 64, 8)),
        "bloom-176b": build.dense(
            "bloom", (14336, 70, 57344, 250880, 112, 112), gated=False, tied=True
        ),
    }
    sheet = build.sheets[name]
    for (model, tp, prompt, batch, output), rows in read.groupby(keys):
        served = models[model]
        cost = build.engine(served, build.group(sheet, tp=tp))
        if what == "prompt_time":
            tokens = batch * prompt
            work = StepWork(tokens, batch, batch, tokens, tokens * (prompt + 1) / 2, float(tokens))
            naive.append(2 * served.parameters * tokens / tp / sheet.part.peak["bf16"])
        else:
            work = StepWork(
                batch, batch, decodes=batch, decode_context=batch * (prompt + output / 2)
            )
            naive.append(served.weight_bytes / tp / sheet.bandwidth)
        predicted.append(cost.step(work))
        measured.append(rows[what].median() * 1e-3)
    error = ape(predicted, np.array(measured))
    assert error < 0.50
    assert error < ape(naive, np.array(measured))
    assert np.median(np.array(predicted) / np.array(measured)) < 1.0
