"""The layers of a transformer on one tensor-parallel rank, operator by operator.

What a rank does for a number of tokens and of sampled sequences: projections, MLP or experts,
collectives, embedding, LM head. Attention over cached tokens is in `attention`. Knows one model on
one group; never a step, sequences or micro-batches.
"""

from __future__ import annotations

from dataclasses import replace

from hermesdsl.cost.attention import AttentionShape
from hermesdsl.cost.classes import class_links
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import Efficiencies, Kernels, Overheads
from hermesdsl.cost.device import Device
from hermesdsl.cost.gemm import Gemm, stream
from hermesdsl.cost.moe import Experts, MoeShape, expert_split
from hermesdsl.cost.operator import LAUNCH, Operator
from hermesdsl.cost.pipelining import Schedule
from hermesdsl.graph.types import DTYPE_BYTES, Fabric, Group, LlmModel


class Layers:
    """All that depends on numbers of tokens alone.

    `free`: bytes of a device that buffers of all-reduces may take; see `Kernels.churn`.
    """

    def __init__(
        self,
        model: LlmModel,
        group: Group,
        device: Device,
        shape: AttentionShape,
        efficiencies: Efficiencies,
        overheads: Overheads,
        kernels: Kernels,
        free: float,
    ) -> None:
        self._model = model
        self._group = group
        self._device = device
        self._shape = shape
        self._overheads = overheads
        self._kernels = kernels
        self._free = free
        self._value = shape.activation
        weight, activation = DTYPE_BYTES[model.dtype], DTYPE_BYTES[model.activation_dtype]
        self._gemm = Gemm(device, weight, activation)
        self._tp = self._collectives(group.tp_fabric, efficiencies, direct=kernels.direct)
        self._pp = self._collectives(group.pp_fabric, efficiencies)
        self._experts = self._expert_model(weight, activation) if model.experts else None

    def _expert_model(self, weight: float, activation: float) -> Experts:
        m, g, e = self._model, self._group, self._device.efficiencies
        shape = MoeShape(
            m.experts, m.experts_active, m.hidden, m.expert_ffn, m.gated, g.ep,
            expert_split(g.tp, g.ep),
        )  # fmt: skip
        slower = replace(
            e, compute=e.compute * e.grouped, compute_narrow=e.compute_narrow * e.grouped_narrow,
        )  # fmt: skip
        slow = replace(self._device, efficiencies=slower)
        grouped_gemm = Gemm(slow, weight, activation, grouped=True)
        ring = self._collectives(g.ep_fabric, e)
        blocks = m.scaling == "block" and self._device.dtype == "fp8"
        kernel = "fp8_block" if blocks else self._device.dtype
        return Experts(shape, self._device, self._gemm, grouped_gemm, ring, weight, kernel)

    def _collectives(
        self, fabric: Fabric, efficiencies: Efficiencies, *, direct: bool = True
    ) -> Collectives:
        """Messages over a fabric at what devices of this class reach."""
        part = self._group.part
        reached = class_links(efficiencies, part, self._device.bandwidth, fabric)
        return Collectives(fabric, reached, self._overheads, part.calibration, direct=direct)

    def linear(self, rank: int, tokens: int, order: Schedule) -> list[Operator]:
        """Embedding, every layer but its attention, and messages between stages.

        Of micro-batches of `tokens` with `rank` on the fullest data-parallel rank.
        """
        m, g = self._model, self._group
        moe = m.layers - m.dense_layers if m.experts else 0
        dense = m.layers - moe
        row = rank * m.hidden * self._value
        found = self._attention_linear(rank)
        # Two norms, each with its residual: read and write both.
        found.append(stream(self._device, "norms", m.layers, 8.0 * row, kernels=2))
        if dense:
            found += self._mlp("mlp", dense, rank, m.ffn)
        if moe and self._experts:
            found += self._expert_layers(moe, rank, tokens)
        if self._tp.size > 1:
            reduces = m.layers + dense + (moe if g.ep == 1 else 0)
            found.append(self._tp.all_reduce("all-reduce", reduces, row))
            if reduces * row / g.pp > self._free:
                anew = row / self._kernels.churn
                found.append(Operator("allocation", reduces, anew, 0.0, 0.0, LAUNCH))
        if self._kernels.passes:
            moved = self._kernels.passes * row
            found.append(stream(self._device, "activations", m.layers, moved, kernels=0))
        if self._overheads.layer:
            found.append(Operator("layer", m.layers, self._overheads.layer, 0.0, 0.0, LAUNCH))
        if order.cuts > 1:
            found = [replace(op, count=op.count * order.passes) for op in found]
        if g.pp > 1:
            messages = g.pp - 1 + order.cuts - 1
            found.append(self._pp.p2p("stage hand-over", messages, row))
        return [stream(self._device, "embedding", 1, 2.0 * row), *found]

    def _attention_linear(self, rank: int) -> list[Operator]:
        """Projections into and out of attention, rotation and the write to the KV cache."""
        m, s, gemm = self._model, self._shape, self._gemm
        if m.kv_lora_rank:
            found = self._latent_projections(rank)
        else:
            width = (s.heads + 2 * s.kv_heads) * m.head_dim
            found = [gemm.operator("qkv", m.layers, rank, width, m.hidden)]
        moved = (2 * s.heads * s.key_width + 2 * s.kv_heads * s.key_width) * self._value
        found.append(stream(self._device, "rope, kv write", m.layers, rank * moved, kernels=2))
        out = s.heads * s.value_width
        found.append(gemm.operator("attention out", m.layers, rank, m.hidden, out))
        return found

    def _latent_projections(self, rank: int) -> list[Operator]:
        m, s, gemm, layers = self._model, self._shape, self._gemm, self._model.layers
        queries = s.heads * s.key_width
        found = []
        if m.q_lora_rank:
            found.append(gemm.operator("q down", layers, rank, m.q_lora_rank, m.hidden))
        found.append(gemm.operator("q up", layers, rank, queries, m.q_lora_rank or m.hidden))
        latent_width = m.kv_lora_rank + m.rope_head_dim
        found.append(gemm.operator("kv down", layers, rank, latent_width, m.hidden))
        up = s.heads * (m.head_dim + s.value_width)
        found.append(gemm.operator("kv up", layers, rank, up, m.kv_lora_rank))
        return found

    def _mlp(self, name: str, layers: int, rank: int, ffn: int) -> list[Operator]:
        m = self._model
        width = -(-ffn // self._group.tp)
        up = width * (2 if m.gated else 1)
        return [
            self._gemm.operator(f"{name} up", layers, rank, up, m.hidden),
            stream(self._device, f"{name} act", layers, rank * (up + width) * self._value),
            self._gemm.operator(f"{name} down", layers, rank, m.hidden, width),
        ]

    def _expert_layers(self, layers: int, rank: int, tokens: int) -> list[Operator]:
        m, g = self._model, self._group
        assert self._experts is not None
        # Ranks whose tokens meet at one set of experts: those of a block of ep devices.
        seen = tokens * max(1, g.ep // g.tp) / g.dp if g.ep > 1 else float(rank)
        found = self._experts.operators(layers, rank, seen, self._value)
        if m.shared_experts:
            found += self._mlp("shared", layers, rank, m.shared_experts * m.expert_ffn)
        if g.ep > 1 and self._tp.size > 1:
            row = rank * m.hidden * self._value
            found.append(self._tp.all_gather("all-gather", layers, row))
        return found

    def head(self, rank: int, times: int) -> list[Operator]:
        """LM head, gathering of logits over tp, sampling: `times`, for `rank` sequences each."""
        m = self._model
        if m.kind == "encoder" or rank == 0:
            return []
        width = -(-m.vocab // self._group.tp)
        found = [self._gemm.operator("lm head", times, rank, width, m.hidden)]
        if self._tp.size > 1:
            volume = rank * m.vocab * self._value
            found.append(self._tp.all_gather("gather logits", times, volume))
        # Logits in 16 bits to fp32, soft-max, choice: two passes over fp32.
        found.append(stream(self._device, "sample", times, rank * m.vocab * 8.0, kernels=4))
        seconds = self._kernels.sort_start + rank * m.vocab * self._kernels.sort
        if seconds:
            found.append(Operator("sort logits", times, seconds, 0.0, 0.0, LAUNCH))
        return found
