"""How many KV blocks a sequence holds: all of its context, or in some layers a window of it.

A layer with a sliding window of w tokens keeps the last w of them in a ring that each new token
overwrites (the rolling buffer of Mistral 7B, arXiv 2310.06825 §2), so a sequence of t tokens holds
min(t, w) there and t in every other layer. A block is `size` tokens of every layer; what layers of
both sorts hold is added up, as blocks of equal bytes. Knows no engine, step or clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hermesdsl.graph.types import LlmModel


@dataclass(frozen=True)
class Holding:
    """`full` of every `layers` layers hold all tokens, the others the last `window`.

    Blocks hold `size` tokens of all layers. Counts are exact: in tokens of single layers.
    """

    size: int
    window: int
    full: int = 0
    layers: int = 1

    def blocks(self, tokens: int) -> int:
        """Blocks that the KV of `tokens` tokens of one sequence takes."""
        ring = self.layers - self.full
        held = self.full * tokens + ring * min(tokens, self.window)
        return -(-held // (self.layers * self.size))

    def shared(self, tokens: int) -> int:
        """Of these, those that a branch of the sequence can use too: full ones of full layers.

        Rings are copied, for each branch overwrites its own.
        """
        return self.full * tokens // (self.layers * self.size)

    def first(self, block: int) -> int | None:
        """Tokens with which the `block`-th block (from 1) is begun; None: it is never needed."""
        below = (block - 1) * self.layers * self.size
        if below < self.layers * self.window:
            return below // self.layers + 1
        if not self.full:
            return None
        return (below - (self.layers - self.full) * self.window) // self.full + 1


def holding(model: LlmModel | None, size: int, *, whole: bool) -> Holding | None:
    """What sequences of a model hold in blocks of `size` tokens; None: all of their context.

    `whole`: nothing is overwritten, because blocks are kept to be found again by their text.
    """
    if model is None or not model.window or whole:
        return None
    part = gcd(model.full_layers, model.layers)
    return Holding(size, model.window, model.full_layers // part, model.layers // part)
