"""What an engine's memory holds: weights, activation reserve, KV.

All per device, in bytes, unless said otherwise. Knows no time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hermesdsl.cost.constants import Profile
from hermesdsl.graph.types import DTYPE_BYTES, Group, LlmModel, Spec, Value

#: The names of `memory_rule`.
MEMORY_RULES = ("of_device", "after_weights")


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes per device: `capacity`, `weights`, `reserve` (activations and runtime), `kv`.

    `kv_per_token` bytes that one token of KV takes on one device; `kv_tokens` tokens over the
    whole engine. `kv` is negative when the weights leave no room.
    """

    capacity: float
    weights: float
    reserve: float
    kv: float
    kv_per_token: float
    kv_tokens: int


def spare(found: MemoryPlan, group: Group) -> float:
    """Bytes of a device that the engine leaves to others: the complement of its memory rule."""
    return found.capacity - found.weights - found.reserve - found.kv - group.reserved


def gib(size: float) -> str:
    """A number of bytes as messages print it."""
    return f"{size / 2**30:.1f} GiB"


def expert_ways(group: Group) -> int:
    """Devices that one copy of the experts is spread over (within a pipeline stage)."""
    return max(group.tp, group.ep)


def weights_per_device(model: LlmModel, group: Group) -> float:
    """Weight bytes on the fullest device.

    Experts: N·(3 or 2)·hidden·width per expert layer, over max(tp, ep) devices. Everything else
    over tp. Pipeline stages hold ceil(layers/pp) layers; the embedding sits on the first and the
    LM head on the last stage, each vocab·hidden. The sum over devices equals `weight_bytes` when
    pp divides the layers.
    """
    width = DTYPE_BYTES[model.dtype]
    table = model.vocab * model.hidden * width
    tables = 1 if model.tied_embeddings or model.kind == "encoder" else 2
    expert = 0.0
    if model.experts:
        matrices = 3 if model.gated else 2
        layers = model.layers - model.dense_layers
        expert = layers * model.experts * matrices * model.hidden * model.expert_ffn * width
    body = max(model.weight_bytes - expert - tables * table, 0.0)
    share = -(-model.layers // group.pp) / model.layers
    held = table if group.pp > 1 else tables * table
    return (body * share + held) / group.tp + expert * share / expert_ways(group)


def kv_bytes_per_token(model: LlmModel, group: Group) -> float:
    """KV bytes of one token on one device, over the layers of its stage.

    KV heads are dealt out in whole over tp (copied when tp exceeds them); a latent is held by
    every rank.
    """
    share = -(-model.layers // group.pp) / model.layers
    if not model.kv_lora_rank:
        share *= -(-model.kv_heads // group.tp) / model.kv_heads
    return model.kv_bytes_per_token * share


def activation_reserve(
    model: LlmModel, group: Group, profile: Profile, tokens: int, sequences: int
) -> float:
    """Bytes a device keeps for what is neither weights nor KV.

    runtime + communicator (more than one device) + tokens·16 bit·(4·hidden + 3·ffn/tp)
    + sequences·vocab·logits + the table of positions. `tokens` is the largest step, `sequences`
    the largest batch; ffn is the width active per token (experts_active·expert_ffn + shared for
    experts). Constants and source: `constants.Reserve`.
    """
    r = profile.reserve
    ffn = model.ffn
    if model.experts:
        ffn = max(ffn, (model.experts_active + model.shared_experts) * model.expert_ffn)
    several = group.tp * group.pp * group.dp > 1
    body = tokens * 2.0 * (4.0 * model.hidden + 3.0 * ffn / group.tp)
    logits = sequences * model.vocab * r.logits if model.kind == "decoder" else 0.0
    return r.runtime + (r.communicator if several else 0.0) + body + logits + position_table(model)


def position_table(model: LlmModel) -> float:
    """Bytes of the cosines and sines that rotate queries and keys: every device has them whole.

    Positions the model was trained for · rotated width · 16 bit, as vLLM makes them
    (`RotaryEmbedding.cos_sin_cache`), however short the contexts that it is started with
    (vllm-project/vllm#44738). Models that turn nothing have few positions.
    """
    width = model.rope_head_dim if model.kv_lora_rank else model.head_dim
    return 2.0 * model.max_context * width


def rule_fraction(rule: Spec) -> float:
    """The fraction f of ``of_device(f)`` or ``after_weights(f)``, whatever its parameter's name."""
    for value in rule.args.values():
        if isinstance(value, int | float):
            return float(value)
    raise ValueError(f"{rule.name} without a fraction")


def step_tokens(options: Mapping[str, Value], profile: Profile) -> int:
    """The most tokens of one step: `max_tokens`, the budget of ``chunked``, or the profile's."""
    limit = options.get("max_tokens")
    if isinstance(limit, int | float):
        return int(limit)
    batching = options.get("batching")
    if isinstance(batching, Spec) and batching.name == "chunked":
        for value in batching.args.values():
            if isinstance(value, int | float):
                return int(value)
    return profile.step_tokens


def plan(
    model: LlmModel, group: Group, profile: Profile, options: Mapping[str, Value]
) -> MemoryPlan:
    """The memory of every device of an engine.

    ``of_device(f)``: KV gets f·capacity − weights − reserve. ``after_weights(f)`` (HERMES, arXiv
    2504.09775): f·(capacity − weights), no reserve. What tiers of caches take of the device comes
    off either. Options read: `memory_rule` (default
    of_device(90 %)), `max_batch`, `max_tokens`, `batching`.
    """
    rule = options.get("memory_rule")
    name, fraction = ("of_device", 0.9)
    if isinstance(rule, Spec):
        name, fraction = rule.name, rule_fraction(rule)
    batch = options.get("max_batch")
    weights = weights_per_device(model, group)
    reserve = 0.0
    if name == "of_device":
        sequences = int(batch) if isinstance(batch, int | float) else 256
        tokens = step_tokens(options, profile)
        reserve = activation_reserve(model, group, profile, tokens, sequences)
        kv = fraction * group.memory_capacity - weights - reserve
    else:
        kv = fraction * (group.memory_capacity - weights)
    kv -= group.reserved
    per_token = kv_bytes_per_token(model, group)
    tokens_held = int(max(kv, 0.0) / per_token) * group.dp if per_token > 0 else 0
    return MemoryPlan(group.memory_capacity, weights, reserve, kv, per_token, tokens_held)
