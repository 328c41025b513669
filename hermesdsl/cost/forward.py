"""One forward pass of a batch through a model: embedding, rerank, guard, reward, classify.

Composes the operators of `DataSheetCost`. No KV outlives the pass. Knows batches as sums only,
never a clock, a queue or a stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermesdsl.cost.constants import Profile, efficiencies_of
from hermesdsl.cost.device import peak_dtype
from hermesdsl.cost.llm import DataSheetCost, gemm_dtype
from hermesdsl.cost.memory import activation_reserve, weights_per_device
from hermesdsl.cost.operator import Operator
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Group, LlmModel

if TYPE_CHECKING:
    from hermesdsl.cost.types import Floats, Ints, Use


@dataclass(frozen=True)
class ForwardCost:
    """`ServiceCost` of a batch of sequences through a model, all layers once.

    `engine` holds model and devices. `head`: a decoder gives the logits of one token per
    sequence (a guard that answers in words); embedders, rerankers and reward models end in a
    state or one number, whose product is too small to count.
    """

    engine: DataSheetCost
    head: bool = False

    def seconds(self, requests: int, tokens: int) -> float:
        """Seconds for `requests` sequences of `tokens` in all; 0 for an empty batch.

        Counts the host costs of one engine step. Sequences count as equally long.
        """
        return self.engine.step(self.work(requests, tokens)) if requests and tokens else 0.0

    def use(self, requests: Ints, seconds: Floats, share: Floats) -> Use:
        """What passes of so many sequences that took so long used of each device."""
        from hermesdsl.cost.use import forward_use

        return forward_use(self, requests, seconds)

    def breakdown(self, requests: int, tokens: int) -> list[Operator]:
        """The operators of the pass; their times add up to `seconds` (1e-12 relative)."""
        return self.engine.breakdown(self.work(requests, tokens))

    def work(self, requests: int, tokens: int) -> StepWork:
        """The batch as one step: t = tokens/requests each.

        A decoder attends to t(t+1)/2 pairs per sequence, an encoder, which reads both ways, to t².
        """
        length = tokens / requests
        seen = length if self.engine.model.kind == "encoder" else 0.5 * (length + 1.0)
        return StepWork(
            tokens=tokens,
            sampled=requests if self.head else 0,
            prefills=requests,
            prefill_tokens=tokens,
            prefill_pairs=tokens * seen,
            prefill_kv=float(tokens),
        )


def forward_cost(
    model: LlmModel, group: Group, profile: Profile, *, head: bool = False
) -> ForwardCost:
    """The cost of a model as it is served on a group of devices.

    Raises ValueError where the device has a peak neither for the model's dtype nor for a wider.
    """
    served = peak_dtype(group.part.peak, gemm_dtype(model)) or gemm_dtype(model)
    efficiencies = efficiencies_of(group.part, served)
    return ForwardCost(DataSheetCost(model, group, {}, efficiencies, profile), head)


def memory_needed(
    model: LlmModel, group: Group, profile: Profile, *, tokens: int, sequences: int
) -> float:
    """Bytes per device: weights, activations of the largest batch, and its KV in one layer."""
    kv = tokens * model.kv_bytes_per_token / model.layers / group.tp
    reserve = activation_reserve(model, group, profile, tokens, sequences)
    return weights_per_device(model, group) + reserve + kv
