"""What recorded steps and batches used of their devices: shares of time, peak and bandwidth.

A record of steps holds how long they took and how many tokens they had, not how much context they
read. The context is found from the time: what the layers do not take, attention took. Knows no
power, clock or queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hermesdsl.cost.operator import Operator
from hermesdsl.cost.pipelining import Schedule
from hermesdsl.cost.power import FEW, draw_of, kernel_of, share
from hermesdsl.cost.provenance import CALIBRATED, MEASURED
from hermesdsl.cost.types import Piece, StepRows, Use

if TYPE_CHECKING:
    from hermesdsl.cost.forward import ForwardCost
    from hermesdsl.cost.llm import DataSheetCost
    from hermesdsl.cost.rag import SearchCost
    from hermesdsl.cost.speculation import SpeculativeCost
    from hermesdsl.cost.types import Floats, Ints
    from hermesdsl.graph.types import Draw

#: Lengths of a batch's sequences between which the use of a forward pass is interpolated.
LENGTHS = tuple(2**n for n in range(15))


class Work(NamedTuple):
    """Seconds that some operators took, and would take of each resource alone at its full rate.

    `measured` and `calibrated`: of the seconds taken, those on each of these rungs. `drawn`:
    seconds at the device's power limit that would draw as much above idle.
    """

    taken: float
    host: float
    compute: float
    memory: float
    wire: float
    measured: float
    calibrated: float
    drawn: float


def work_of(cost: DataSheetCost, operators: Iterable[Operator]) -> Work:
    """The sums over operators of one device; what only sends keeps few of its units busy.

    compute: Σ FLOPs / peak; memory: Σ bytes / bandwidth of the device; wire: Σ `Operator.wire`.
    """
    taken = host = compute = memory = wire = drawn = 0.0
    rungs = {MEASURED: 0.0, CALIBRATED: 0.0}
    bandwidth = cost.device.bandwidth
    for op in operators:
        attention = op.name in ("attention prefill", "attention decode")
        taken += op.count * op.seconds
        wire += op.count * op.wire
        if op.rung in rungs:
            rungs[op.rung] += op.count * op.seconds
        if op.name == "host":
            host += op.count * op.seconds
            continue
        arithmetic = streaming = 0.0
        if not op.wire:
            arithmetic = op.flops / (cost.attention_device if attention else cost.device).peak
            streaming = op.bytes / bandwidth
            compute += op.count * arithmetic
            memory += op.count * streaming
        if op.seconds > 0.0:
            reached = min(arithmetic / op.seconds, 1.0), min(streaming / op.seconds, 1.0)
            spread = op.spread if arithmetic or streaming else FEW
            part = share(_draw(cost, kernel_of(op)), *reached, op.seconds, spread)
            drawn += op.count * op.seconds * part
    return Work(taken, host, compute, memory, wire, rungs[MEASURED], rungs[CALIBRATED], drawn)


def _draw(cost: DataSheetCost, kernel: str) -> Draw:
    """What kernels of a sort draw on the engine's devices, by the dtype that they run in."""
    dtype = cost.device.dtype
    if kernel in ("prefill", "decode"):
        dtype = cost.model.kv_dtype
    elif kernel == "moe" and dtype == "fp8" and cost.model.scaling == "block":
        dtype = "fp8_block"
    return draw_of(cost.group.part, kernel, dtype)


def engine_use(cost: DataSheetCost, rows: StepRows, queries: int = 1) -> Use:
    """The use of each device by steps of one engine, `queries` tokens of each decode in `tokens`.

    Layers and head are those of the cost model for the step's tokens; of prompts one is taken to
    end with the step. The rest of the time is attention. Of decodes alone it gives the context,
    by the cost model's own affine form; where the host starts kernels one by one, decodes are
    taken to read what the blocks hold, and the rest is waiting. Beside prompts, decodes are taken
    to read what the blocks hold but for the prompts (or less, if time allows no more), and prompts
    to take what is left, at the rate that prefill attention reaches. Over pipeline stages each
    device works for its own share of the micro-batches.
    """
    tokens = np.maximum(np.rint(rows.tokens).astype(np.int64), 1)
    found = np.zeros((len(Use._fields), len(tokens)))
    for order, at in by_schedule(cost, tokens):
        found[:, at] = _shares(cost, order, tokens[at], rows_at(rows, at), queries)
    return Use(*np.clip(found, 0.0, 1.0))


def speculative_use(cost: SpeculativeCost, rows: StepRows) -> Use:
    """The use of each device by steps that guess and verify; see `SpeculativeCost.use`."""
    guesses = cost.guesses
    if not guesses:
        return engine_use(cost.target, rows)
    verify = rows._replace(tokens=rows.tokens + guesses * rows.batch)
    guess = rows._replace(
        tokens=rows.batch + rows.prefill_tokens / guesses,
        prefill_tokens=rows.prefill_tokens / guesses,
    )
    whole = expected_seconds(cost.target, verify, guesses + 1)
    part = whole / np.maximum(whole + guesses * expected_seconds(cost.draft, guess, 1), 1e-300)
    used = engine_use(cost.target, verify._replace(seconds=rows.seconds * part), guesses + 1)
    idle = guess._replace(seconds=rows.seconds * (1.0 - part) / guesses)
    own, other = _stacked(used), _stacked(engine_use(cost.draft, idle))
    return Use(*(part * own + (1.0 - part) * other))


def _stacked(use: Use) -> Floats:
    """All columns that a use has, shape (columns, rows)."""
    return np.stack([column for column in use if column is not None])


def expected_seconds(cost: DataSheetCost, rows: StepRows, queries: int) -> Floats:
    """Seconds of steps whose decodes read what the blocks hold, attention of prompts left out."""
    found = np.zeros(len(rows.seconds))
    tokens = np.maximum(np.rint(rows.tokens).astype(np.int64), 1)
    for order, at in by_schedule(cost, tokens):
        part = rows_at(rows, at)
        host, (fixed,) = fixed_work(cost, order, tokens[at], part, queries, ("taken",))
        forever = np.full(len(part.seconds), np.inf)
        found[at] = host + fixed
        plain = part._replace(prefill_tokens=np.maximum(part.prefill_tokens, 1e-9))
        found[at] += _decode_use(cost, order, plain, forever, queries)[0]
    return found


def rows_at(rows: StepRows, at: Ints | slice) -> StepRows:
    """The rows at these places."""
    return StepRows(
        rows.seconds[at], rows.batch[at], rows.tokens[at], rows.prefill_tokens[at],
        rows.kv_tokens[at],
    )  # fmt: skip


def by_schedule(cost: DataSheetCost, tokens: Ints) -> list[tuple[Schedule, Ints | slice]]:
    """The rows that are cut into micro-batches alike."""
    sizes, place = _different(tokens)
    groups: dict[Schedule, list[int]] = {}
    for index, size in enumerate(sizes.tolist()):
        groups.setdefault(cost.schedule(size), []).append(index)
    if len(groups) == 1:
        return [(order, slice(None)) for order in groups]
    return [(order, np.flatnonzero(np.isin(place, own))) for order, own in groups.items()]


def fixed_work(
    cost: DataSheetCost, order: Schedule, tokens: Ints, rows: StepRows, queries: int,
    columns: tuple[str, ...],
) -> tuple[Floats, Floats]:  # fmt: skip
    """Of steps cut alike: seconds of the host alone, (rows,), and of layers and head.

    Those as `columns` of `Work`, shape (columns, rows).
    Where devices wait for the host beside them, that time counts as theirs.
    """
    layers = _distinct(
        "layers", tokens, order, lambda n: cost.linear_operators(-(-n // cost.group.dp), n), cost,
        columns,
    )  # fmt: skip
    prompts = rows.prefill_tokens > 0
    sampled = rows.batch * queries + prompts
    heads = _distinct("head", sampled, order, lambda n: cost.head_operators(n, order), cost,
                      columns)  # fmt: skip
    o = cost.profile.overheads
    return np.asarray(o.gap + (1.0 - o.overlap) * host_work(cost, rows)), layers + heads


def host_work(cost: DataSheetCost, rows: StepRows) -> Floats:
    """Seconds that the host works for a step, beside the devices or alone, (rows,)."""
    scheduled = -(-rows.batch // cost.group.dp) + (rows.prefill_tokens > 0)
    o = cost.profile.overheads
    return np.asarray(cost.step_seconds + o.sequence * scheduled + o.token * rows.prefill_tokens)


def _shares(
    cost: DataSheetCost, order: Schedule, tokens: Ints, rows: StepRows, queries: int
) -> Floats:
    """`engine_use` of steps cut alike, shape (5, rows)."""
    host, linear = fixed_work(cost, order, tokens, rows, queries, _OF_DEVICES)
    prompts = rows.prefill_tokens > 0
    fixed, computed, moved_first, wired, drawn_first = linear
    left = np.maximum(rows.seconds - fixed - host, 0.0)
    taken, flops, read = _decode_use(cost, order, rows, left, queries)
    waited = np.where(prompts, 0.0, left - taken)
    layers = cost.model.layers * order.passes
    drawn = drawn_first + _drawn(cost, "decode", layers, taken, flops, read)
    shape, efficiencies = cost.shape, cost.attention_device.efficiencies
    width = 0.5 * (shape.key_width + shape.value_width)
    reach = efficiencies.prefill_compute * min(1.0, (width / 128.0) ** efficiencies.head_exponent)
    prompting = (left - taken) * prompts
    moved = _prompting_bytes(cost, rows.prefill_tokens) * layers / order.cuts / cost.group.dp
    streamed = np.minimum(moved / cost.attention_device.bandwidth, prompting)
    read_in = np.flatnonzero(prompts)
    own = prompting[read_in]
    drawn[read_in] += _drawn(cost, "prefill", layers, own, own * reach, streamed[read_in])
    used = np.stack([
        np.maximum(rows.seconds - host - waited, 0.0),
        computed + flops + prompting * reach,
        moved_first + read,
        wired,
        drawn,
    ])  # fmt: skip
    return np.asarray(used * (1.0 - order.bubble) / np.maximum(rows.seconds, 1e-300))


def _drawn(
    cost: DataSheetCost, kernel: str, layers: float, taken: Floats, compute: Floats, memory: Floats
) -> Floats:
    """Seconds at the limit that attention of so many layers draws: (rows,) of seconds each."""
    time = np.maximum(taken, 1e-300)
    arithmetic, streaming = np.clip(compute / time, 0.0, 1.0), np.clip(memory / time, 0.0, 1.0)
    return np.asarray(taken * share(_draw(cost, kernel), arithmetic, streaming, time / layers))


def _prompting_bytes(cost: DataSheetCost, tokens: Floats) -> Floats:
    """Bytes that attention of new tokens moves in a layer: queries, outputs and their KV."""
    shape = cost.shape
    row = shape.heads * (shape.key_width + shape.value_width) * shape.activation
    return np.asarray(tokens * (row + shape.kv_bytes))


_OF_DEVICES = ("taken", "compute", "memory", "wire", "drawn")


def _distinct(
    what: str, keys: Ints, order: Schedule, operators: Callable[[int], Iterable[Operator]],
    cost: DataSheetCost, columns: tuple[str, ...],
) -> Floats:  # fmt: skip
    """Columns of the `Work` of every key, worked out once for each that is different."""
    found, place = _different(keys)
    known, cuts, rows = cost.works, order.cuts, []
    for key in found.tolist():
        work = known.get((what, key, cuts))
        if work is None:
            work = known[what, key, cuts] = work_of(cost, operators(key))
        rows.append(work)
    table = np.array(rows, np.float64).reshape(-1, len(Work._fields))
    chosen = [Work._fields.index(name) for name in columns]
    return np.take(np.ascontiguousarray(table[:, chosen].T), place, axis=1)


def _different(keys: Ints) -> tuple[Ints, Ints]:
    """What `np.unique` gives with its inverse; by counting, where numbers are few and small."""
    if not len(keys) or keys.min() < 0 or keys.max() > len(keys):
        found, place = np.unique(keys, return_inverse=True)
        return found, place
    there = np.bincount(keys) > 0
    return np.flatnonzero(there), (np.cumsum(there) - 1)[keys]


def _decode_use(
    cost: DataSheetCost, order: Schedule, rows: StepRows, left: Floats, queries: int
) -> tuple[Floats, Floats, Floats]:
    """Decode attention: seconds taken of those `left`, of compute, and of memory; (rows,) each.

    Where kernels are started one by one, time is no measure of it: devices may have waited.
    """
    taken, compute, memory = np.zeros((3, len(left)))
    o = cost.profile.overheads
    started = (o.eager > 0.0) & (rows.tokens > o.graph_limit * cost.group.dp)
    passed = cost.model.layers * order.passes / order.cuts / cost.group.dp
    per_token = passed * queries * cost.shape.flops_per_token / cost.attention_device.peak
    per_read = passed * cost.shape.kv_bytes / cost.attention_device.bandwidth
    sizes, place = _different(rows.batch)
    order_of_rows = np.argsort(place.astype(np.int32), kind="stable")
    ends = np.cumsum(np.bincount(place, minlength=len(sizes)))
    for batch, mine in zip(sizes.tolist(), np.split(order_of_rows, ends[:-1]), strict=True):
        if not batch:
            continue
        pieces = cost.decode_pieces(batch, order, queries)
        prompts = rows.prefill_tokens[mine]
        held = np.maximum(rows.kv_tokens[mine] - prompts, batch)
        guess = np.minimum(left[mine], _seconds(pieces, held))
        taken[mine] = np.where((prompts > 0) | started[mine], guess, left[mine])
        context = _context(pieces, taken[mine])
        if cost.model.full_layers:
            context = np.array([cost.seen(batch, read) for read in context.tolist()])
        compute[mine], memory[mine] = context * per_token, context * per_read
    return taken, compute, memory


def _seconds(pieces: tuple[Piece, ...], context: Floats) -> Floats:
    """The pieces' own times at a summed context."""
    starts = np.array([piece.start for piece in pieces])
    place = np.searchsorted(starts, context, "right") - 1
    a, b = (np.array([piece[i] for piece in pieces]) for i in (1, 2))
    return np.asarray(a[place] + b[place] * context)


def _context(pieces: tuple[Piece, ...], seconds: Floats) -> Floats:
    """The summed context that takes so long; beyond a window, that of the window."""
    ends = np.array([piece.start for piece in pieces])
    times = _seconds(pieces, ends)
    place = np.maximum(np.searchsorted(times, seconds, "right") - 1, 0)
    slope = np.array([piece.b for piece in pieces])[place]
    beyond = np.divide(seconds - times[place], slope, out=np.zeros(len(seconds)), where=slope > 0)
    return np.asarray(ends[place] + np.maximum(beyond, 0.0))


def forward_use(cost: ForwardCost, requests: Ints, seconds: Floats) -> Use:
    """The use of each device by forward passes of so many sequences that took so long.

    How long the sequences were is found from the time: shares are worked out at lengths of powers
    of two and interpolated by the seconds that each takes.
    """
    found = np.zeros((5, len(seconds)))
    for count in np.unique(requests).tolist():
        mine = requests == count
        works = [work_of(cost.engine, cost.breakdown(count, count * length)) for length in LENGTHS]
        taken = np.array([work.taken for work in works])
        shares = [
            np.array([x / work.taken for x, work in zip(own, works, strict=True)])
            for own in (
                [work.taken - work.host for work in works], [work.compute for work in works],
                [work.memory for work in works], [work.wire for work in works],
                [work.drawn for work in works],
            )
        ]  # fmt: skip
        for row, part in enumerate(shares):
            found[row, mine] = np.interp(seconds[mine], taken, part)
    return Use(*np.clip(found, 0.0, 1.0))


def cores_use(share: Floats) -> Use:
    """Cores that work on text or for a set time: computing at full rate, as nothing says less."""
    nothing = np.zeros(len(share))
    return Use(share, share, nothing, nothing)


def search_use(cost: SearchCost, requests: Ints, seconds: Floats, share: Floats) -> Use:
    """Searches of so many queries that took so long, each on `share` of the machine."""
    flops, read = np.zeros((2, len(seconds)))
    for count in np.unique(requests).tolist():
        work = cost.index(count)
        mine = requests == count
        flops[mine], read[mine] = work.flops, work.bytes
    time = np.maximum(seconds, 1e-300)
    machine = cost.machine
    busy, compute, memory = (
        np.clip(x, 0.0, share)
        for x in (share, flops / machine.peak / time, read / machine.bandwidth / time)
    )
    return Use(busy, compute, memory, np.zeros(len(seconds)))
