"""Paged KV memory of one engine: how many blocks there are, how many are free, what is kept.

A `Hold` is KV that outlives the stage which computed it. Branches of one request refer to the
same hold, and what they add is a hold of their own on top of it: full blocks are shared, only a
last block that is filled in part is copied. No clock, no policy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hermesdsl.sim.decoding import Sequence
    from hermesdsl.sim.engine import Engine


class KvBlocks:
    """`capacity` blocks of `size` tokens each; `free` of them are held by nobody.

    `holds`: KV that outlives its sequences, in the order in which they left; `kept`: its blocks.
    """

    __slots__ = ("capacity", "free", "holds", "kept", "size")

    def __init__(self, tokens: int, size: int) -> None:
        self.size = size
        self.capacity = tokens // size
        self.free = self.capacity
        self.holds: dict[Hold, None] = {}
        self.kept = 0

    @property
    def used(self) -> int:
        """Blocks held by sequences."""
        return self.capacity - self.free

    def blocks(self, tokens: int) -> int:
        """Blocks that `tokens` tokens of one sequence fill, the last one perhaps in part."""
        return -(-tokens // self.size)

    def release(self, sequence: Sequence) -> None:
        """Free the KV of a sequence that is leaving, and its claim to what lies below."""
        self.free += sequence.held
        sequence.held = 0
        if sequence.parent is not None:
            parent, sequence.parent = sequence.parent, None
            self.drop_parent(parent)

    def keep(self, hold: Hold, sequence: Sequence) -> None:
        """The KV of a sequence that has just left is that of `hold` from now on."""
        hold.blocks, hold.shared, hold.parent = sequence.held, sequence.shared, sequence.parent
        self.kept += hold.blocks
        self.holds[hold] = None

    def resume(self, sequence: Sequence, hold: Hold) -> None:
        """Let a sequence go on from kept KV: its own from now on, or shared with others."""
        if hold.refs == 1:
            sequence.held, sequence.shared, sequence.parent = hold.blocks, hold.shared, hold.parent
            self.kept -= hold.blocks
            del self.holds[hold]
            if hold.freed is not None:
                hold.freed(hold.engine.index)
        else:
            hold.children += 1
            sequence.parent = hold
            sequence.shared = hold.tokens // self.size

    def drop(self, hold: Hold) -> int:
        """Drop one reference to kept KV; without any it is freed. The blocks that are free now."""
        hold.refs -= 1
        if hold.refs:
            return 0
        freed = hold.blocks
        self.free += freed
        self.kept -= freed
        del self.holds[hold]
        if hold.freed is not None:
            hold.freed(hold.engine.index)
        return freed + self.drop_parent(hold.parent)

    def drop_parent(self, parent: Hold | None) -> int:
        """The same for whoever lay on top of it."""
        if parent is None:
            return 0
        parent.children -= 1
        return self.drop(parent)

    def give_up(self) -> bool:
        """Free the kept KV that came last and that nothing lies on; False if there is none."""
        for hold in reversed(self.holds):
            if not (hold.children or hold.moving or hold.lost):
                hold.lost = True
                self.free += hold.blocks
                self.kept -= hold.blocks
                hold.blocks = 0
                parent, hold.parent = hold.parent, None
                self.drop_parent(parent)
                return True
        return False


class Hold:
    """KV of the first `tokens` tokens of a request's context, at `engine`.

    `blocks` are its own; below them lie `shared` full blocks of its `parent`. `refs` counts who
    refers to it, `children` those among them that lie on top of it. `lost`: given up under
    pressure; whoever reads it must compute it again. `moving`: copies under way. `ready`: when it
    is complete, seconds. `freed`: called with the engine's index when nobody refers to it any more.
    """

    __slots__ = ("blocks", "children", "engine", "freed", "lost", "moving", "parent", "ready",
                 "refs", "shared", "tokens")  # fmt: skip

    def __init__(self, engine: Engine, tokens: int) -> None:
        self.engine = engine
        self.tokens = tokens
        self.blocks = 0
        self.shared = 0
        self.parent: Hold | None = None
        self.refs = 1
        self.children = 0
        self.moving = 0
        self.lost = False
        self.ready = 0.0
        self.freed: Callable[[int], None] | None = None
