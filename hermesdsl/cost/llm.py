"""The data-sheet cost of one LLM engine: what a step takes on its devices.

Composes operators (GEMM, attention, experts, collectives) per layer and stage and adds the
engine's host costs. Sees sums over a step, never requests, clock or queues.

Decoder layers on one tensor-parallel rank; activations between operators hold 16 bits at least.
Pipeline stages follow one another: a step takes the sum of its stages and the messages between
them. Data-parallel ranks share a step's work evenly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from hermesdsl.cost.attention import (
    AttentionShape,
    DecodeAttention,
    decode,
    grouped,
    latent,
    prefill,
)
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import Efficiencies, Profile
from hermesdsl.cost.device import Device, peak_dtype, wider_of
from hermesdsl.cost.gemm import Gemm, stream
from hermesdsl.cost.memory import MemoryPlan, plan
from hermesdsl.cost.moe import Experts, MoeShape, expert_split
from hermesdsl.cost.operator import LAUNCH, Operator, bound_of, total_seconds
from hermesdsl.cost.types import DecodeRun, Piece, StepWork
from hermesdsl.graph.types import DTYPE_BYTES, Group, LlmModel, Value


class DataSheetCost:
    """`EngineCost` from data-sheet values and class efficiencies.

    `model` as it is served (dtypes of the engine applied); `options` of the engine, for its
    memory. Pure: caches are keyed by exact arguments and never change a result. Raises
    ValueError without any usable peak; `bind.diagnose` says so beforehand.
    """

    def __init__(
        self,
        model: LlmModel,
        group: Group,
        options: Mapping[str, Value],
        efficiencies: Efficiencies,
        profile: Profile,
    ) -> None:
        self.model = model
        self.group = group
        self.profile = profile
        self._options = options
        self._overheads = profile.overheads
        self._value = max(DTYPE_BYTES[model.activation_dtype], 2.0)
        self._device = _device(gemm_dtype(model), group, efficiencies, profile)
        weight, activation = DTYPE_BYTES[model.dtype], DTYPE_BYTES[model.activation_dtype]
        self._gemm = Gemm(self._device, weight, activation)
        self._tp = Collectives(group.tp_fabric, efficiencies, profile.overheads)
        self._pp = Collectives(group.pp_fabric, efficiencies, profile.overheads)
        self._shape = self._attention_shape()
        self._attention_device = _device(attention_dtype(model), group, efficiencies, profile)
        self._experts = self._expert_model(weight, activation) if model.experts else None
        self._linear_cache: dict[int, float] = {}
        self._head_cache: dict[int, float] = {}
        self._decode_cache: dict[int, tuple[Piece, ...]] = {}
        self._run_cache: dict[int, tuple[Piece, ...]] = {}

    # --- the interpreter's interface -------------------------------------------------------

    def step(self, work: StepWork) -> float:
        """Seconds of one step. With `prefills` = 0 it equals `decode_run(...).seconds(1)`."""
        tokens, sampled, prefills, _, _, _, decodes, context = work
        if prefills == 0 and tokens == decodes == sampled:
            piece = _piece(self._run_pieces(decodes), context)
            return piece.a + piece.b * context
        seconds = self._linear(tokens) + self._head(sampled)
        seconds += self._overheads.sequence * (decodes + prefills)
        if decodes:
            piece = _piece(self._decode_pieces(decodes), context)
            seconds += piece.a + piece.b * context
        if prefills:
            op = self._prefill(work)
            seconds += op.count * op.seconds
        return seconds

    def decode_run(self, decodes: int, context: float) -> DecodeRun:
        """Step times of pure decoding by `decodes` sequences from summed `context` tokens on."""
        pieces = self._run_pieces(decodes)
        if len(pieces) > 1 and pieces[1].start <= context:
            first = max(i for i, piece in enumerate(pieces) if piece.start <= context)
            pieces = pieces[first:]
        return DecodeRun(pieces, decodes, context)

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV that fit into the engine's memory (all its devices together)."""
        return self.memory.kv_tokens

    @property
    def request_seconds(self) -> float:
        """Host seconds before a new request can be scheduled: API and tokenisation."""
        return self._overheads.request

    @cached_property
    def memory(self) -> MemoryPlan:
        """Bytes of weights, reserve and KV on each device."""
        return plan(self.model, self.group, self.profile, self._options)

    def breakdown(self, work: StepWork) -> list[Operator]:
        """The operators of one step; their times add up to `step(work)` (1e-12 relative)."""
        o = self._overheads
        found = self._linear_operators(work.tokens) + self._head_operators(work.sampled)
        if work.prefills:
            found.append(self._prefill(work))
        if work.decodes:
            found.append(self._decode_operator(work.decodes, work.decode_context))
        host = o.step + o.sequence * (work.decodes + work.prefills)
        found.append(Operator("host", 1, host, 0.0, 0.0, LAUNCH))
        return found

    def _expert_model(self, weight: float, activation: float) -> Experts:
        m, g, e = self.model, self.group, self._device.efficiencies
        shape = MoeShape(
            m.experts, m.experts_active, m.hidden, m.expert_ffn, m.gated, g.ep,
            expert_split(g.tp, g.ep),
        )  # fmt: skip
        slower = replace(
            e, compute=e.compute * e.grouped, compute_narrow=e.compute_narrow * e.grouped
        )
        grouped_gemm = Gemm(replace(self._device, efficiencies=slower), weight, activation)
        ring = Collectives(g.ep_fabric, e, self._overheads)
        return Experts(shape, self._device, self._gemm, grouped_gemm, ring)

    # --- cached parts of a step ------------------------------------------------------------

    def _linear(self, tokens: int) -> float:
        """Everything that depends on the number of tokens alone, with the cost of a step."""
        seconds = self._linear_cache.get(tokens)
        if seconds is None:
            seconds = self._overheads.step + total_seconds(self._linear_operators(tokens))
            self._linear_cache[tokens] = seconds
        return seconds

    def _head(self, sampled: int) -> float:
        seconds = self._head_cache.get(sampled)
        if seconds is None:
            seconds = total_seconds(self._head_operators(sampled))
            self._head_cache[sampled] = seconds
        return seconds

    def _decode_pieces(self, decodes: int) -> tuple[Piece, ...]:
        """Decode attention of all layers over the engine's summed context."""
        pieces = self._decode_cache.get(decodes)
        if pieces is None:
            layers, dp = self.model.layers, self.group.dp
            layer = self._decode_attention(decodes).pieces()
            pieces = tuple(Piece(p.start * dp, p.a * layers, p.b * layers / dp) for p in layer)
            self._decode_cache[decodes] = pieces
        return pieces

    def _run_pieces(self, decodes: int) -> tuple[Piece, ...]:
        """A whole step of pure decoding."""
        pieces = self._run_cache.get(decodes)
        if pieces is None:
            fixed = self._linear(decodes) + self._head(decodes)
            fixed += self._overheads.sequence * decodes
            pieces = tuple(Piece(p.start, fixed + p.a, p.b) for p in self._decode_pieces(decodes))
            self._run_cache[decodes] = pieces
        return pieces

    # --- operators -------------------------------------------------------------------------

    def _decode_attention(self, decodes: int) -> DecodeAttention:
        """One layer on the fullest rank; `limit` is in that rank's context."""
        return decode(self._attention_device, self._shape, decodes / self.group.dp)

    def _decode_operator(self, decodes: int, context: float) -> Operator:
        layer = self._decode_attention(decodes)
        piece = _piece(self._decode_pieces(decodes), context)
        layers = self.model.layers
        seconds = (piece.a + piece.b * context) / layers
        seen = min(context / self.group.dp, layer.limit)
        memory = layer.memory + layer.memory_slope * seen
        bound = bound_of(layer.fixed, layer.compute_slope * seen, memory)
        flops, traffic = self._shape.flops_per_token * seen, self._shape.kv_bytes * seen
        return Operator("attention decode", layers, seconds, flops, traffic, bound)

    def _prefill(self, work: StepWork) -> Operator:
        """Prefill attention on the fullest data-parallel rank."""
        dp = self.group.dp
        if dp > 1:
            work = work._replace(
                prefills=-(-work.prefills // dp),
                prefill_tokens=-(-work.prefill_tokens // dp),
                prefill_pairs=work.prefill_pairs / dp,
                prefill_kv=work.prefill_kv / dp,
            )
        return prefill(self._attention_device, self._shape, self.model.layers, work)

    def _attention_shape(self) -> AttentionShape:
        m, tp = self.model, self.group.tp
        form = latent if m.kv_lora_rank else grouped
        return form(m, tp, DTYPE_BYTES[m.kv_dtype], self._value)

    def _linear_operators(self, tokens: int) -> list[Operator]:
        """Embedding, every layer but its attention, and messages between stages."""
        m, g = self.model, self.group
        rank = -(-tokens // g.dp)
        moe = m.layers - m.dense_layers if m.experts else 0
        dense = m.layers - moe
        row = rank * m.hidden * self._value
        found = [stream(self._device, "embedding", 1, 2.0 * row)]
        found += self._attention_linear(rank)
        # Two norms, each with its residual: read and write both.
        found.append(stream(self._device, "norms", m.layers, 8.0 * row, kernels=2))
        if dense:
            found += self._mlp("mlp", dense, rank, m.ffn)
        if moe and self._experts:
            found += self._expert_layers(moe, rank)
        if self._tp.size > 1:
            reduces = m.layers + dense + (moe if g.ep == 1 else 0)
            found.append(self._tp.all_reduce("all-reduce", reduces, row))
        if g.pp > 1:
            found.append(self._pp.p2p("stage hand-over", g.pp - 1, row))
        if self._overheads.layer:
            found.append(Operator("layer", m.layers, self._overheads.layer, 0.0, 0.0, LAUNCH))
        return found

    def _attention_linear(self, rank: int) -> list[Operator]:
        """Projections into and out of attention, rotation and the write to the KV cache."""
        m, s, gemm = self.model, self._shape, self._gemm
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
        m, s, gemm, layers = self.model, self._shape, self._gemm, self.model.layers
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
        m = self.model
        width = -(-ffn // self.group.tp)
        up = width * (2 if m.gated else 1)
        return [
            self._gemm.operator(f"{name} up", layers, rank, up, m.hidden),
            stream(self._device, f"{name} act", layers, rank * (up + width) * self._value),
            self._gemm.operator(f"{name} down", layers, rank, m.hidden, width),
        ]

    def _expert_layers(self, layers: int, rank: int) -> list[Operator]:
        m, g = self.model, self.group
        assert self._experts is not None
        found = self._experts.operators(layers, rank, g.dp, self._value)
        if m.shared_experts:
            found += self._mlp("shared", layers, rank, m.shared_experts * m.expert_ffn)
        if g.ep > 1 and self._tp.size > 1:
            row = rank * m.hidden * self._value
            found.append(self._tp.all_gather("all-gather", layers, row))
        return found

    def _head_operators(self, sampled: int) -> list[Operator]:
        """LM head, gathering of logits over tp, sampling; only for sequences that sample."""
        m = self.model
        if m.kind == "encoder" or sampled == 0:
            return []
        rank = -(-sampled // self.group.dp)
        width = -(-m.vocab // self.group.tp)
        found = [self._gemm.operator("lm head", 1, rank, width, m.hidden)]
        if self._tp.size > 1:
            found.append(self._tp.all_gather("gather logits", 1, rank * m.vocab * self._value))
        # Logits in 16 bits to fp32, soft-max, choice: two passes over fp32.
        found.append(stream(self._device, "sample", 1, rank * m.vocab * 8.0, kernels=4))
        return found


def _piece(pieces: tuple[Piece, ...], context: float) -> Piece:
    """The piece that covers `context`."""
    index = len(pieces) - 1
    while index > 0 and pieces[index].start > context:
        index -= 1
    return pieces[index]


def gemm_dtype(model: LlmModel) -> str:
    """Products with weights run at the wider of weights and activations."""
    return wider_of(model.dtype, model.activation_dtype)


def attention_dtype(model: LlmModel) -> str:
    """Attention runs on activations of 16 bits at least, whatever the type of the KV cache."""
    return wider_of(model.activation_dtype, "bf16")


def _device(dtype: str, group: Group, efficiencies: Efficiencies, profile: Profile) -> Device:
    part = group.part
    served = peak_dtype(part.peak, dtype)
    if served is None:
        raise ValueError(f"{part.type_name} has no peak for {dtype} or any wider type")
    return Device(
        part.peak[served], group.memory_bandwidth, part.sms, DTYPE_BYTES[served] < 2.0,
        efficiencies, profile.overheads,
    )  # fmt: skip
