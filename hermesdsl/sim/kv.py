"""Paged KV memory of one engine: how many blocks there are, how many are free, what is kept.

A `Hold` is KV that outlives the stage which computed it. Branches of one request refer to the
same hold, and what they add is a hold of their own on top of it: full blocks are shared, only a
last block that is filled in part is copied. Where prefixes are cached, full blocks are *known* by
the id of their text, and shared by everybody with that text. No clock, no policy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hermesdsl.sim.decoding import Sequence
    from hermesdsl.sim.engine import Engine
    from hermesdsl.sim.holding import Holding


class KnownBlocks:
    """Blocks by the id of their text: how many use each, and those that nobody uses any more.

    A chain is the ids of a text's blocks from its first. A block is let go no earlier than those
    that continue it, and leaves no earlier: presence only falls along a chain.
    """

    __slots__ = ("idle", "users")

    def __init__(self) -> None:
        #: How many use a block; blocks used by nobody, the next to leave first.
        self.users: dict[int, int] = {}
        self.idle: OrderedDict[int, None] = OrderedDict()

    def match(self, chain: Ordered[int], low: int, high: int) -> int:
        """How many of the first `high` blocks of a chain are here, of which `low` surely are."""
        users, idle = self.users, self.idle
        while low < high:
            middle = (low + high) // 2
            if chain[middle] in users or chain[middle] in idle:
                low = middle + 1
            else:
                high = middle
        return low

    def use(self, blocks: Iterable[int]) -> int:
        """Somebody more uses these; the number of those that nobody used before."""
        users, idle = self.users, self.idle
        woken = len(idle)
        for block in blocks:
            if block in users:
                users[block] += 1
            else:
                idle.pop(block, None)
                users[block] = 1
        return woken - len(idle)

    def adopt(self, blocks: Iterable[int]) -> int:
        """Blocks of one user get known; the number of copies that were in use under their ids."""
        users, idle = self.users, self.idle
        double = 0
        for block in blocks:
            if block in users:
                users[block] += 1
                double += 1
            else:
                idle.pop(block, None)
                users[block] = 1
        return double

    def let_go(self, blocks: Ordered[int]) -> int:
        """One user less, of a run of a chain; the number of those that nobody uses now."""
        users, idle = self.users, self.idle
        before = len(idle)
        for block in reversed(blocks):
            count = users[block] - 1
            if count:
                users[block] = count
            else:
                del users[block]
                idle[block] = None
        return len(idle) - before

    def trim(self, room: int) -> None:
        """Forget unused blocks until at most `room` are left: those let go first."""
        idle = self.idle
        while len(idle) > room:
            idle.popitem(last=False)


class KvBlocks:
    """`capacity` blocks of `size` tokens each; `free` of them are used by nobody.

    `holding`: what a sequence holds of its context, if that is not all of it.

    Among the free ones are the unused `known` ones, until `trim` finds that they were taken.
    `holds`: KV that outlives its sequences, in the order in which they left; `kept`: its blocks.
    `dropped` is called with a hold that nobody refers to any more, for good.
    """

    __slots__ = ("capacity", "dropped", "free", "holding", "holds", "kept", "known", "size")

    def __init__(
        self, tokens: int, size: int, dropped: Callable[[Hold], None] | None = None,
        holding: Holding | None = None,
    ) -> None:  # fmt: skip
        self.size = size
        self.holding = holding
        self.capacity = tokens // size
        self.free = self.capacity
        self.known = KnownBlocks()
        self.holds: dict[Hold, None] = {}
        self.kept = 0
        self.dropped = dropped

    @property
    def used(self) -> int:
        """Blocks held by sequences."""
        return self.capacity - self.free

    @property
    def pinned(self) -> int:
        """Known blocks in use."""
        return len(self.known.users)

    @property
    def parts(self) -> tuple[KvBlocks, ...]:
        """The memories that it is: one."""
        return (self,)

    def of(self, sequence: Sequence) -> KvBlocks:
        """The memory where a sequence is."""
        return self

    def blocks(self, tokens: int) -> int:
        """Blocks that `tokens` tokens of one sequence fill, the last one perhaps in part."""
        if self.holding is not None:
            return self.holding.blocks(tokens)
        return -(-tokens // self.size)

    def shared(self, tokens: int) -> int:
        """Of these, those that branches of the sequence have in common: full ones."""
        return self.holding.shared(tokens) if self.holding is not None else tokens // self.size

    def trim(self) -> None:
        """Forget known blocks whose room has been taken."""
        self.known.trim(self.free)

    def release_own(self, sequence: Sequence) -> None:
        """Free the KV of a sequence but for what lies below it."""
        self.free += sequence.held
        sequence.held = 0
        if sequence.pins:
            self.free += self.known.let_go(sequence.pins)
            sequence.shared -= len(sequence.pins)
            sequence.pins = ()

    def release(self, sequence: Sequence) -> None:
        """Free the KV of a sequence that is leaving, and its claim to what lies below."""
        if sequence.pins:
            self.release_own(sequence)
        else:
            self.free += sequence.held
            sequence.held = 0
        if sequence.parent is not None:
            parent, sequence.parent = sequence.parent, None
            self.drop_parent(parent)

    def keep(self, hold: Hold, sequence: Sequence) -> None:
        """The KV of a sequence that has just left is that of `hold` from now on."""
        hold.blocks, hold.shared, hold.parent = sequence.held, sequence.shared, sequence.parent
        hold.pins = sequence.pins
        self.kept += hold.blocks
        self.holds[hold] = None

    def resume(self, sequence: Sequence, hold: Hold) -> None:
        """Let a sequence go on from kept KV: its own from now on, or shared with others."""
        if hold.refs == 1:
            sequence.held, sequence.shared, sequence.parent = hold.blocks, hold.shared, hold.parent
            sequence.pins = hold.pins
            self.kept -= hold.blocks
            del self.holds[hold]
            if hold.freed is not None:
                hold.freed(hold.engine.index)
        else:
            hold.children += 1
            sequence.parent = hold
            sequence.shared = self.shared(hold.tokens)
        sequence.below = sequence.parent.tokens if sequence.parent is not None else 0

    def drop(self, hold: Hold) -> int:
        """Drop one reference to kept KV; without any it is freed. The blocks that are free now."""
        hold.refs -= 1
        if hold.refs:
            return 0
        freed = self._give_back(hold)
        del self.holds[hold]
        if hold.freed is not None:
            hold.freed(hold.engine.index)
        if self.dropped is not None:
            self.dropped(hold)
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
                self._give_back(hold)
                parent, hold.parent = hold.parent, None
                self.drop_parent(parent)
                return True
        return False

    def _give_back(self, hold: Hold) -> int:
        freed = hold.blocks + self.known.let_go(hold.pins)
        self.free += freed
        self.kept -= hold.blocks
        hold.blocks, hold.pins = 0, ()
        return freed


class Hold:
    """KV of the first `tokens` tokens of a request's context, at `engine`.

    `blocks` are its own; below them lie `shared` full blocks: those of its `parent`, then the known
    ones `pins` that it uses. `own` tokens are text of `request`, 0 if its parent has all of that.
    `refs` counts who refers to it, `children` those among them that lie on top of it. `rank`: where
    it is, of several data-parallel ranks. `lost`: given up under pressure; whoever reads it must
    compute it again. `moving`: copies under way. `ready`: when it is complete, seconds. `freed`:
    called with the engine's index when nobody refers to it any more.
    """

    __slots__ = ("blocks", "children", "engine", "freed", "lost", "moving", "own", "parent",
                 "pins", "rank", "ready", "refs", "request", "shared", "tokens")  # fmt: skip

    def __init__(self, engine: Engine, tokens: int) -> None:
        self.engine = engine
        self.tokens = tokens
        self.blocks = 0
        self.shared = 0
        self.pins: tuple[int, ...] = ()
        self.request = -1
        self.own = 0
        self.parent: Hold | None = None
        self.refs = 1
        self.children = 0
        self.moving = 0
        self.rank = 0
        self.lost = False
        self.ready = 0.0
        self.freed: Callable[[int], None] | None = None
