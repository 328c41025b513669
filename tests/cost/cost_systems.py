"""Parts, models and groups built by hand: cost models need no language and no graph."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

from hermesdsl.cost.constants import ACCELERATOR, VLLM, Efficiencies, Profile
from hermesdsl.cost.llm import DataSheetCost
from hermesdsl.graph.types import (
    DTYPE_BYTES,
    Client,
    Fabric,
    Group,
    LlmModel,
    Part,
    Spec,
    Value,
)

GIB = 2**30


@dataclass(frozen=True)
class Sheet:
    """Data-sheet values of an SXM part (NVIDIA data sheets; dense FLOP/s), SI units."""

    part: Part
    bandwidth: float
    capacity: float
    link: float


def _sheet(
    name: str, peak: dict[str, float], sms: int, memory: tuple[float, float], link: float
) -> Sheet:
    bandwidth, gib = memory
    return Sheet(Part(name, "chip", name, peak=peak, sms=sms), bandwidth, gib * GIB, link)


def _peak(bf16: float, fp8: float) -> dict[str, float]:
    return {"bf16": bf16, "fp16": bf16, "fp8": fp8}


SHEETS = {
    "a100": _sheet("A100", {"bf16": 312e12, "fp16": 312e12}, 108, (2.039e12, 80), 300e9),
    "h100": _sheet("H100", _peak(989.4e12, 1978.9e12), 132, (3.35e12, 80), 450e9),
    "h200": _sheet("H200", _peak(989.4e12, 1978.9e12), 132, (4.8e12, 141), 450e9),
    "b200": _sheet("B200", _peak(2250e12, 4500e12), 148, (7.7e12, 180), 900e9),
}


def dense(
    name: str,
    shape: tuple[int, ...],
    *,
    dtype: str = "bf16",
    gated: bool = True,
    tied: bool = False,
) -> LlmModel:
    """A dense decoder with head width 128; parameters counted from the shape.

    `shape`: hidden, layers, ffn, vocabulary, heads, KV heads.
    """
    hidden, layers, ffn, vocab, heads, kv_heads = shape
    width = 128
    layer = hidden * (heads + 2 * kv_heads) * width + heads * width * hidden
    layer += (3 if gated else 2) * hidden * ffn + 2 * hidden
    count = float(layers * layer + (1 if tied else 2) * vocab * hidden + hidden)
    size = DTYPE_BYTES[dtype]
    return LlmModel(
        name, layers, hidden, ffn, vocab, heads, kv_heads, width, count, count, dtype, dtype, dtype,
        count * size, 2.0 * layers * kv_heads * width * size, gated=gated, tied_embeddings=tied,
    )  # fmt: skip


#: config.json of Llama-3-70B.
LLAMA3_70B_SHAPE = (8192, 80, 28672, 128256, 64, 8)
LLAMA3_70B = dense("Llama-3-70B", LLAMA3_70B_SHAPE)
#: 8 experts of 14336, 2 active; dimensions of Mixtral 8x7B (its config.json).
MIXTRAL = replace(
    dense("Mixtral-8x7B", (4096, 32, 14336, 32000, 32, 8)),
    experts=8, experts_active=2, expert_ffn=14336, parameters=46.7e9, active_parameters=12.9e9,
    weight_bytes=93.4e9,
)  # fmt: skip
#: Latent attention with the widths of DeepSeek-V3 (its config.json) over few dense layers.
LATENT = replace(
    dense("latent", (7168, 4, 18432, 129280, 128, 128)),
    q_lora_rank=1536, kv_lora_rank=512, rope_head_dim=64, value_head_dim=128,
    kv_bytes_per_token=4 * 576 * 2.0,
)  # fmt: skip


def fabric(size: int, bandwidth: float, alpha: float = 1e-6, hops: int = 2) -> Fabric:
    return Fabric(size, alpha, bandwidth, hops) if size > 1 else Fabric(1, 0.0, inf)


def group(sheet: Sheet, tp: int = 1, pp: int = 1, dp: int = 1, ep: int = 1) -> Group:
    """`tp`·`pp`·`dp` devices behind one switch, 1 µs between neighbours."""
    count = tp * pp * dp
    return Group(
        tuple(f"gpu[{i}]" for i in range(count)), sheet.part, ("hbm",), sheet.capacity,
        sheet.bandwidth, tp, pp, dp, ep, fabric(tp, sheet.link), fabric(pp, sheet.link),
        fabric(count, sheet.link),
    )  # fmt: skip


def engine(
    model: LlmModel, on: Group, *, rule: Spec | None = None,
    efficiencies: Efficiencies = ACCELERATOR, profile: Profile = VLLM, micro_batches: int = 0,
) -> DataSheetCost:  # fmt: skip
    options: dict[str, Value] = {"memory_rule": rule} if rule else {}
    if micro_batches:
        options["micro_batches"] = micro_batches
    return DataSheetCost(model, on, options, efficiencies, profile)


def client(model: LlmModel | None, on: Group | None, **options: object) -> Client:
    return Client("llm", "LlmEngine", on, model, options=options)  # type: ignore[arg-type]
