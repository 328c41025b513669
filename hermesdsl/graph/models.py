"""Transformers as cost models see them.

Plain, frozen, in SI units. Knows no device, engine or request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

#: Types that activations keep when the weights have them; below other weights they are bf16.
ACTIVATION_DTYPES = ("fp32", "fp16", "fp8")


@dataclass(frozen=True)
class LlmModel:
    """A transformer as cost models see it. Counts are per layer unless said otherwise.

    `parameters` in all; `active_parameters` read per token (equal for dense models).
    `weight_bytes`, `kv_bytes_per_token` follow from dtypes (bytes, all layers). `gated`: the MLP
    has gate and up projections. Mixture of experts: `experts` > 0, each of width `expert_ffn`,
    `experts_active` per token, `shared_experts` always; the first `dense_layers` layers use `ffn`.
    Multi-head latent attention: `kv_lora_rank` > 0 (then q_lora_rank, rope_head_dim,
    value_head_dim apply). `window` > 0 limits attention to that many tokens in all layers but
    `full_layers` of them. `scaling`: narrow weights have a factor per ``tensor`` or per ``block``.
    `max_context`: positions it was trained for; 0: not said. `kind` is ``decoder`` or ``encoder``.
    """

    name: str
    layers: int
    hidden: int
    ffn: int
    vocab: int
    heads: int
    kv_heads: int
    head_dim: int
    parameters: float
    active_parameters: float
    dtype: str
    kv_dtype: str
    activation_dtype: str
    weight_bytes: float
    kv_bytes_per_token: float
    gated: bool = True
    tied_embeddings: bool = False
    experts: int = 0
    experts_active: int = 0
    expert_ffn: int = 0
    shared_experts: int = 0
    dense_layers: int = 0
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    rope_head_dim: int = 0
    value_head_dim: int = 0
    window: int = 0
    scaling: str = "tensor"
    full_layers: int = 0
    max_context: int = 0
    kind: str = "decoder"
    doc: str = ""


#: Bytes per value of each dtype the language knows.
DTYPE_BYTES: Mapping[str, float] = MappingProxyType(
    {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0,
     "fp6": 0.75, "fp4": 0.5, "int4": 0.5}
)  # fmt: skip
