"""Paged KV memory of one engine: how many blocks there are, how many are free, what is kept.

A `Hold` is KV that outlives the stage which computed it. Branches of one request refer to the
same hold, and what they add is a hold of their own on top of it: full blocks are shared, only a
last block that is filled in part is copied. No clock, no policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hermesdsl.sim.engine import Engine


class KvBlocks:
    """`capacity` blocks of `size` tokens each; `free` of them are held by nobody."""

    __slots__ = ("capacity", "free", "size")

    def __init__(self, tokens: int, size: int) -> None:
        self.size = size
        self.capacity = tokens // size
        self.free = self.capacity

    @property
    def used(self) -> int:
        """Blocks held by sequences."""
        return self.capacity - self.free

    def blocks(self, tokens: int) -> int:
        """Blocks that `tokens` tokens of one sequence fill, the last one perhaps in part."""
        return -(-tokens // self.size)


class Hold:
    """KV of the first `tokens` tokens of a request's context, at `engine`.

    `blocks` are its own; below them lie `shared` full blocks of its `parent`. `refs` counts who
    refers to it, `children` those among them that lie on top of it. `lost`: given up under
    pressure; whoever reads it must compute it again. `moving`: copies under way. `ready`: when it
    is complete, seconds. `freed`: called with the engine's index when nobody refers to it any more.
    """

    __slots__ = ("blocks", "children", "engine", "freed", "lost", "moving", "parent", "ready",
                 "refs", "shared", "tokens")  # fmt: skip

    def __init__(
        self, engine: Engine, tokens: int, blocks: int, shared: int, parent: Hold | None
    ) -> None:
        self.engine = engine
        self.tokens = tokens
        self.blocks = blocks
        self.shared = shared
        self.parent = parent
        self.refs = 1
        self.children = 0
        self.moving = 0
        self.lost = False
        self.ready = 0.0
        self.freed: Callable[[int], None] | None = None
