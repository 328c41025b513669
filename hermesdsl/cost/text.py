"""Work on text that takes a processor core and no model: tokenise, pad, look up.

Seconds per token and per request on one core; every constant is named, and says where it is from.
Knows no model, index, clock or queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from types import MappingProxyType
from typing import TYPE_CHECKING

from hermesdsl.cost.device import worker_cores
from hermesdsl.graph.types import Client, StageNode

if TYPE_CHECKING:
    from hermesdsl.cost.types import Floats, Ints, Use


class OnCores:
    """Base of costs of work that takes processor cores and nothing else."""

    def use(self, requests: Ints, seconds: Floats, share: Floats) -> Use:
        """A core at work counts as computing at its full rate: as much as it is of the client."""
        from hermesdsl.cost.use import cores_use

        return cores_use(share)


@dataclass(frozen=True)
class TextCost(OnCores):
    """`ServiceCost` of a stage on text: `per_request` + `per_token` seconds on one core.

    The requests of a batch are dealt out to whole `cores`, one request to one core; a server
    with less than a core takes longer in proportion.
    """

    per_token: float
    per_request: float
    cores: float = 1.0

    def seconds(self, requests: int, tokens: int) -> float:
        """Seconds for a batch of `requests` with `tokens` in all (equally long each)."""
        if requests <= 0:
            return 0.0
        one = self.per_request + self.per_token * tokens / requests
        return one * ceil(requests / max(int(self.cores), 1)) / min(self.cores, 1.0)


#: Per stage type: (seconds per token, seconds per request) on one server core.
#: - Tokenize: tiktoken encodes 5.1 million tokens per second on one desktop core (cl100k, 2025
#:   comparison at amund-blog.pages.dev); Hugging Face tokenizers, which serving engines use, are
#:   three to six times slower by the chart in tiktoken's README: 1 µs. [assumed] 20 µs to enter.
#: - Detokenize: tiktoken decodes 47 million tokens per second (same comparison); incremental
#:   decoding with its checks for split characters is taken as ten times slower. [assumed]
#: - Pad, Truncate: 8-byte ids copied at the 18 GB/s of one core. [assumed] 5 µs per request.
#: - Filter: one hash lookup, a cache miss of 0.1 µs, per token. [assumed]
CONSTANTS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "Tokenize": (1e-6, 20e-6),
        "Detokenize": (2e-7, 5e-6),
        "Pad": (8 / 18e9, 5e-6),
        "Truncate": (8 / 18e9, 5e-6),
        "Filter": (1e-7, 5e-6),
    }
)


#: Bytes of UTF-8 per token, to size what is handed over as text: English in cl100k has four to
#: five characters per token. [assumed]
TEXT_BYTES = 4.5


def text_cost(stage_type: str, cores: float = 1.0) -> TextCost:
    """The cost of a stage type of `CONSTANTS`. Raises KeyError for any other."""
    per_token, per_request = CONSTANTS[stage_type]
    return TextCost(per_token, per_request, cores)


def make(stage: StageNode, client: Client) -> TextCost:
    """The cost of a stage on one worker of a pool."""
    return text_cost(stage.type_name, worker_cores(client))
