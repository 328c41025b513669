"""Attention of one layer on one device: prompt slices, and decoding over cached tokens.

Works on sums over sequences (pairs, tokens of KV), never on requests. Knows no clock, and of the
model only the shape of its attention on one tensor-parallel rank.
"""

from __future__ import annotations

from dataclasses import dataclass

from hermesdsl.cost.device import Device
from hermesdsl.cost.operator import Operator, bound_of
from hermesdsl.cost.types import Piece, StepWork
from hermesdsl.graph.types import LlmModel

#: Query rows of one tile of a fused attention kernel (FlashAttention 2 and 3: 128 at width 128).
QUERY_ROWS = 128


@dataclass(frozen=True)
class AttentionShape:
    """Attention as one rank sees it.

    `heads` query heads on this rank. Prefill multiplies queries of width `key_width` with keys
    and weighs values of width `value_width`. In decode one token of KV costs `kv_bytes` to read
    and `flops_per_token` FLOPs over all heads. `kv_heads` on this rank (replicated when there
    are more ranks than heads); `window` tokens at most are seen (0: all). `expand`: FLOPs per
    token of KV to rebuild keys and values from a latent (multi-head latent attention) before
    prompt slices attend to them.
    """

    heads: int
    kv_heads: int
    key_width: int
    value_width: int
    kv_bytes: float
    flops_per_token: float
    activation: float
    window: int = 0
    expand: float = 0.0


def grouped(model: LlmModel, tp: int, kv: float, activation: float) -> AttentionShape:
    """Multi-head, multi-query and grouped-query attention split over `tp` ranks.

    Heads are dealt out in whole; with more ranks than KV heads each rank keeps a copy of one.
    Per token of KV and layer: 2 · H_kv · d_h · b_kv bytes, 4 · H · d_h FLOPs.
    """
    local, local_kv = -(-model.heads // tp), -(-model.kv_heads // tp)
    width = model.head_dim
    return AttentionShape(
        heads=local,
        kv_heads=local_kv,
        key_width=width,
        value_width=width,
        kv_bytes=2.0 * local_kv * width * kv,
        flops_per_token=4.0 * local * width,
        activation=activation,
        window=model.window,
    )


def latent(model: LlmModel, tp: int, kv: float, activation: float) -> AttentionShape:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one latent for all heads.

    KV per token and layer is rank + rope values on every rank, not split. Decode works in the
    latent (absorbed) form, 2·H·(2·rank + rope) FLOPs per token of KV; prefill rebuilds keys of
    width + rope and values of `value` from it, 2·rank·H·(width + value) FLOPs per token of KV.
    """
    local = -(-model.heads // tp)
    rank, rope = model.kv_lora_rank, model.rope_head_dim
    width, value = model.head_dim, model.value_head_dim or model.head_dim
    return AttentionShape(
        heads=local,
        kv_heads=1,
        key_width=width + rope,
        value_width=value,
        kv_bytes=(rank + rope) * kv,
        flops_per_token=2.0 * local * (2 * rank + rope),
        activation=activation,
        expand=2.0 * rank * local * (width + value),
    )


def prefill(device: Device, shape: AttentionShape, layers: float, work: StepWork) -> Operator:
    """Attention of a step's prompt slices, one layer on one rank; `layers` executions.

    FLOPs 2·H·(d_k + d_v)·pairs (4·H·d_h·pairs when the widths agree), pairs = Σ t·s + t(t+1)/2.
    KV is read once per pass of the query tiles that run together, so once per slice and again
    for every 128 · SMs/H query rows; queries and outputs move once. A window of w leaves at most w
    pairs per new token and t + w tokens of KV per slice.
    """
    e = device.efficiencies
    tokens, pairs, kv = work.prefill_tokens, work.prefill_pairs, work.prefill_kv
    if shape.window:
        pairs = min(pairs, float(tokens) * shape.window)
        kv = min(kv, float(tokens + work.prefills * shape.window))
    width = 0.5 * (shape.key_width + shape.value_width)
    reach = e.prefill_compute * min(1.0, (width / 128.0) ** e.head_exponent)
    flops = 4.0 * shape.heads * width * pairs + shape.expand * kv
    padding = 4.0 * shape.heads * width * e.prefill_extra_keys * tokens
    compute = (flops + padding) / (device.peak * reach)
    rows = QUERY_ROWS * max(1.0, device.sms / shape.heads)
    queries = (shape.key_width + shape.value_width) * shape.heads * shape.activation * tokens
    traffic = queries + shape.kv_bytes * (kv + pairs / rows)
    memory = traffic / (device.bandwidth * e.decode_memory)
    launch = device.overheads.attention
    seconds = launch + max(compute, memory)
    bound = bound_of(launch, compute, memory)
    return Operator("attention prefill", layers, seconds, flops, traffic, bound)


@dataclass(frozen=True)
class DecodeAttention:
    """One layer's decode attention for a fixed number of sequences, affine in Σ context.

    seconds = fixed + max(memory + per_byte · bytes(Σ), per_token_compute · Σ), where Σ stops
    growing at `limit` (sequences × window; inf without a window).
    """

    fixed: float
    memory: float
    memory_slope: float
    compute_slope: float
    limit: float

    def pieces(self) -> tuple[Piece, ...]:
        """The same as sorted affine pieces from Σ = 0 on; a max of two lines has one knot."""
        found = [Piece(0.0, self.fixed + self.memory, self.memory_slope)]
        if self.compute_slope > self.memory_slope:
            knot = self.memory / (self.compute_slope - self.memory_slope)
            found.append(Piece(knot, self.fixed, self.compute_slope))
        found = [piece for piece in found if piece.start < self.limit]
        if self.limit < float("inf"):
            last = found[-1]
            found.append(Piece(self.limit, last.a + last.b * self.limit, 0.0))
        return tuple(found)


def decode(
    device: Device, shape: AttentionShape, sequences: float, queries: int = 1
) -> DecodeAttention:
    """Decode attention of one layer for `sequences`, `queries` tokens of each at once.

    Bytes `kv_bytes`·(Σ + padding per sequence) + queries and outputs; FLOPs
    `flops_per_token`·Σ per query. KV is read once for all queries of a sequence. The summed
    context stands for equal contexts where a window cuts it.
    """
    e = device.efficiencies
    rate = device.bandwidth * e.decode_memory
    width = shape.key_width + shape.value_width
    own = queries * shape.heads * width * shape.activation
    per_sequence = shape.kv_bytes * e.decode_extra_tokens + own
    return DecodeAttention(
        fixed=device.overheads.attention
        + device.overheads.attention_head * sequences * shape.kv_heads,
        memory=per_sequence * sequences / rate,
        memory_slope=shape.kv_bytes / rate,
        compute_slope=queries * shape.flops_per_token / (device.peak * e.decode_compute),
        limit=float(sequences * shape.window) if shape.window else float("inf"),
    )
