"""Pipeline stages and micro-batches: how often a step passes its layers one after the other.

A step is cut into m equal micro-batches that follow one another through s stages. The last one
leaves when the first has passed all stages and the other m − 1 have passed the slowest of them,
so the step takes Σ stages + (m − 1) · slowest; of equal stages, (m + s − 1) · t with a share
(s − 1)/(m + s − 1) of bubbles (GPipe, arXiv 1811.06965 §2). The pipeline is empty between steps.
Knows no model and no device.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class Schedule:
    """`cuts` micro-batches through `stages`; `passes`: times that all layers are passed in turn.

    A pass is of one micro-batch; stages hold ceil(layers/stages) layers, the last one the rest.
    """

    stages: int = 1
    cuts: int = 1
    passes: float = 1.0

    @property
    def bubble(self) -> float:
        """Share of the devices' time that is waiting for a micro-batch, 0..1."""
        return 1.0 - self.cuts / (self.stages * self.passes)

    def part(self, whole: int) -> int:
        """What one micro-batch holds of `whole` tokens or sequences: the largest equal part."""
        return -(-whole // self.cuts)


def schedule(layers: int, stages: int, cuts: int) -> Schedule:
    """The schedule of `cuts` micro-batches over `stages` of a model of `layers`.

    passes = 1 + (cuts − 1) · ceil(layers/stages)/layers.
    """
    return Schedule(stages, cuts, 1.0 + (cuts - 1) * ceil(layers / stages) / layers)


def candidates(stages: int, tokens: int) -> tuple[int, ...]:
    """Numbers of micro-batches worth trying: powers of two up to four per stage.

    Beyond four per stage bubbles are below a fifth (GPipe finds them negligible there), and each
    micro-batch reads the weights again. No more than there are `tokens`.
    """
    most = max(1, min(4 * stages, tokens))
    return tuple(2**n for n in range(most.bit_length()) if 2**n <= most)
