"""Random numbers of one part of a system, for each request and pass.

Draw (r, k) belongs to request r of a workload and its k-th pass through the part, whoever else is
there and in whatever order requests come. Numbers are made in blocks, when first asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hermesdsl.sim.load import Offered
from hermesdsl.sim.streams import Floats, Stream

#: Requests per block of draws.
_BLOCK = 4096


def _uniforms(draws: Floats) -> Floats:
    return draws


@dataclass(frozen=True, eq=False)
class Chance:
    """Where draws come from: the run's `seed` and the requests `offered`."""

    seed: int
    offered: Offered
    numbers: list[int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", self.offered.number.tolist())

    def draws(self, path: str, of: Callable[[Floats], Floats] = _uniforms) -> Draws:
        """The draws named `path`, each put through the quantile function `of`."""
        return Draws(self, path, of)


class Draws:
    """The draws of one part; call with (request, pass), both counted from 0."""

    __slots__ = ("_blocks", "_chance", "_numbers", "_of", "_path", "_workload_of")

    def __init__(self, chance: Chance, path: str, of: Callable[[Floats], Floats]) -> None:
        self._chance = chance
        self._path = path
        self._of = of
        self._numbers = chance.numbers
        self._workload_of = chance.offered.workload_of
        self._blocks: dict[tuple[int, int, int], list[float]] = {}

    def __call__(self, request: int, turn: int) -> float:
        """The draw of one request and pass."""
        number = self._numbers[request]
        place = (self._workload_of[request], turn, number // _BLOCK)
        block = self._blocks.get(place)
        if block is None:
            block = self._blocks[place] = self._draw(*place)
        return block[number % _BLOCK]

    def _draw(self, workload: int, turn: int, block: int) -> list[float]:
        name = self._chance.offered.workloads[workload]
        stream = Stream(self._chance.seed, f"{self._path}/{name}/{turn}")
        uniform = stream.uniform(_BLOCK, block * _BLOCK)
        return [float(value) for value in np.maximum(self._of(uniform), 0.0)]
