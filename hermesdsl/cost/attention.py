"""Attention of one layer on one device: prompt slices, and decoding over cached tokens.

Works on sums over sequences (pairs, tokens of KV), never on requests. Knows no clock, and of the
model only the shape of its attention on one tensor-parallel rank.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil, pow

from hermesdsl.cost.classes import class_reach
from hermesdsl.cost.device import USUAL_SMS, Device
from hermesdsl.cost.operator import Operator, bound_of
from hermesdsl.cost.provenance import DATASHEET
from hermesdsl.cost.types import Piece, StepWork
from hermesdsl.cost.utilisation import Utilisation, grids_of, utilisation
from hermesdsl.graph.types import DTYPE_BYTES, LlmModel

#: Seconds that the axis `span` of decoding counts in: about what a kernel takes without work.
SPAN = 12e-6
#: Query rows of one tile of a fused attention kernel (FlashAttention 2 and 3: 128 at width 128).
QUERY_ROWS = 128
#: Seconds that one multiprocessor takes at least per pair of query and key: 16 exponentials per
#: clock (CUDA C++ Programming Guide, throughput of native arithmetic instructions, compute
#: capability 8.0 to 10.0) at 1.6 GHz. Bounds narrow heads on devices with much matrix arithmetic.
SOFTMAX_PAIR = 1.0 / (16 * 1.6e9)


@dataclass(frozen=True)
class AttentionShape:
    """Attention as one rank sees it.

    `heads` query heads on this rank. Prefill multiplies queries of width `key_width` with keys
    and weighs values of width `value_width`. In decode one token of KV costs `kv_bytes` to read
    and `flops_per_token` FLOPs over all heads. `kv_heads` on this rank (replicated when there
    are more ranks than heads); `window` tokens at most are seen (0: all). `expand`: FLOPs per
    token of KV to rebuild keys and values from a latent (multi-head latent attention) before
    prompt slices attend to them. `kv_value`: bytes per value of the KV cache.
    """

    heads: int
    kv_heads: int
    key_width: int
    value_width: int
    kv_bytes: float
    flops_per_token: float
    activation: float
    window: int = 0
    expand: float = 0.0
    kv_value: float = 2.0

    @property
    def narrow(self) -> bool:
        """The KV cache holds fewer than 16 bits per value."""
        return self.kv_value < 2.0

    @property
    def group(self) -> float:
        """Query heads that share a KV head."""
        return self.heads / self.kv_heads


def grouped(model: LlmModel, tp: int, kv: float, activation: float) -> AttentionShape:
    """Multi-head, multi-query and grouped-query attention split over `tp` ranks.

    Heads are dealt out in whole; with more ranks than KV heads each rank keeps a copy of one.
    Per token of KV and layer: 2 · H_kv · d_h · b_kv bytes, 4 · H · d_h FLOPs.
    """
    local, local_kv = -(-model.heads // tp), -(-model.kv_heads // tp)
    width = model.head_dim
    return AttentionShape(
        heads=local,
        kv_heads=local_kv,
        key_width=width,
        value_width=width,
        kv_bytes=2.0 * local_kv * width * kv,
        flops_per_token=4.0 * local * width,
        activation=activation,
        window=model.window,
        kv_value=kv,
    )


def latent(model: LlmModel, tp: int, kv: float, activation: float) -> AttentionShape:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): one latent for all heads.

    KV per token and layer is rank + rope values on every rank, not split. Decode works in the
    latent (absorbed) form, 2·H·(2·rank + rope) FLOPs per token of KV; prefill rebuilds keys of
    width + rope and values of `value` from it, 2·rank·H·(width + value) FLOPs per token of KV.
    """
    local = -(-model.heads // tp)
    rank, rope = model.kv_lora_rank, model.rope_head_dim
    width, value = model.head_dim, model.value_head_dim or model.head_dim
    return AttentionShape(
        heads=local,
        kv_heads=1,
        key_width=width + rope,
        value_width=value,
        kv_bytes=(rank + rope) * kv,
        flops_per_token=2.0 * local * (2 * rank + rope),
        activation=activation,
        expand=2.0 * rank * local * (width + value),
        kv_value=kv,
    )


@dataclass(frozen=True)
class Slices:
    """Prompt slices of a step as one kernel sees them, all taken as equally long.

    `tokens` of each after so many that `keys` = 2 · pairs / tokens (t + 1 without any before
    them); `tiles` of query rows over all heads; `waves`: tiles per multiprocessor.
    """

    tokens: float
    keys: float
    longest: float
    tiles: float
    waves: float


def slices_of(device: Device, shape: AttentionShape, work: StepWork, pairs: float) -> Slices:
    """The slices of `work`, of which `pairs` of query and key count after any window."""
    count = max(work.prefills, 1)
    tokens = work.prefill_tokens / count
    tiles = shape.heads * count * ceil(tokens / QUERY_ROWS)
    keys = 2.0 * pairs / work.prefill_tokens
    longest = min(work.prefill_kv / count, keys)
    return Slices(tokens, keys, longest, tiles, tiles / (device.sms or USUAL_SMS))


def prefill(
    device: Device,
    shape: AttentionShape,
    layers: float,
    work: StepWork,
    reach: Utilisation | None = None,
) -> Operator:
    """Attention of a step's prompt slices, one layer on one rank; `layers` executions.

    FLOPs 2·H·(d_k + d_v)·pairs (4·H·d_h·pairs when the widths agree), pairs = Σ t·s + t(t+1)/2.
    Tiles of 128 query rows are dealt out to the multiprocessors: each takes a fixed time and that
    of streaming its queries and outputs beside its arithmetic; the time is that of an even share,
    or of the longest tile (half as high while tiles are few: kernels with smaller tiles, or that
    split keys, fill the device sooner), and part of a tile more as the last ones end apart.
    Writing new KV to the cache and reading it back comes on top. A window of w leaves at most w
    pairs per new token.
    `reach`: what a calibration says of the device (`prefill_reach`).
    """
    e = device.efficiencies
    tokens, pairs, kv = work.prefill_tokens, work.prefill_pairs, work.prefill_kv
    if shape.window:
        pairs = min(pairs, float(tokens) * shape.window)
        kv = min(kv, float(tokens + work.prefills * shape.window))
    slices = slices_of(device, shape, work, pairs)
    sms = device.sms or USUAL_SMS
    width = 0.5 * (shape.key_width + shape.value_width)
    flops = 4.0 * shape.heads * width * pairs + shape.expand * kv
    pair = _pair_seconds(device, shape, width, sms)
    expanding = shape.expand * kv / (device.peak * e.prefill_compute)
    arithmetic = shape.heads * pairs * pair / sms + expanding
    row = (shape.key_width + shape.value_width) * shape.activation
    streaming = shape.heads * tokens * row / (device.bandwidth * e.prefill_stream)
    even = arithmetic + streaming + slices.waves * e.prefill_tile
    rows = QUERY_ROWS * min(1.0, max(0.5, slices.waves))
    longest = rows * slices.longest * pair + e.prefill_tile
    ragged = e.prefill_ragged * min(even, longest)
    written = e.kv_write_narrow if shape.narrow else e.kv_write
    if shape.heads == shape.kv_heads:
        written *= e.kv_write_own
    moved = shape.kv_bytes * 2.0 / shape.kv_value * tokens * written / device.bandwidth
    launch = device.overheads.attention
    seconds = launch + max(even, longest) + ragged + moved
    traffic = shape.heads * tokens * row + shape.kv_bytes * (kv + tokens)
    bound = bound_of(launch, max(even, longest) - streaming, moved + streaming)
    rung = DATASHEET
    if reach:
        found, rung = reach.at(*_prefill_place(shape, slices, work))
        seconds /= found
    return Operator("attention prefill", layers, seconds, flops, traffic, bound, rung)


def _prefill_place(shape: AttentionShape, slices: Slices, work: StepWork) -> tuple[float, ...]:
    """The coordinates of a step's slices, in the order of `COORDINATES`."""
    count, width = max(work.prefills, 1), 0.5 * (shape.key_width + shape.value_width)
    seen = max(work.prefill_kv / count - slices.tokens, 0.0)
    return (
        slices.tokens, seen, count, shape.heads, shape.kv_heads, width, slices.keys, slices.waves,
        shape.group,
    )  # fmt: skip


def prefill_reach(device: Device, kv_dtype: str) -> Utilisation:
    """What the device's calibration says of prefill attention over KV of a dtype.

    Its measured times are taken as those of causal prompts with equal widths of keys and values.
    """
    value = DTYPE_BYTES[kv_dtype]

    def seconds(
        new: float,
        seen: float,
        count: float,
        heads: float,
        kv_heads: float,
        width: float,
        *_: float,
    ) -> float:
        shape = plain_shape(heads, kv_heads, width, value)
        pairs = count * (new * seen + 0.5 * new * (new + 1.0))
        tokens, kv = int(count * new), count * (new + seen)
        return prefill(device, shape, 1, StepWork(tokens, 1, int(count), tokens, pairs, kv)).seconds

    grids = grids_of(device.calibration, "prefill", kv_dtype)
    return (
        utilisation(grids, "prefill", seconds)
        if grids
        else class_reach(device, "prefill", kv_dtype)
    )


def plain_shape(heads: float, kv_heads: float, width: float, value: float) -> AttentionShape:
    """Attention of equal widths without a window, activations of 16 bits."""
    return AttentionShape(
        int(heads), int(kv_heads), int(width), int(width), 2.0 * kv_heads * width * value,
        4.0 * heads * width, 2.0, kv_value=value,
    )  # fmt: skip


def _pair_seconds(device: Device, shape: AttentionShape, width: float, sms: int) -> float:
    """Seconds of one multiprocessor per pair of query and key of one head."""
    e = device.efficiencies
    reach = e.prefill_narrow if shape.narrow else e.prefill_compute
    reach *= min(1.0, pow(width / 128.0, e.head_exponent))
    seconds = 4.0 * width * sms / (device.peak * reach)
    return max(seconds, SOFTMAX_PAIR) if device.sms else seconds


@dataclass(frozen=True)
class DecodeAttention:
    """One layer's decode attention for a fixed number of sequences, piecewise affine in Σ context.

    seconds = fixed + max(heads, compute_slope · Σ, m + min(ramp, m)), m = memory +
    memory_slope · Σ: reading the KV, the first of it at half the rate until requests in flight
    fill the memory. Σ stops growing at `limit` (sequences × window; inf without a window).
    `calibrated`: pieces that stand for this form where the device has a calibration.
    """

    fixed: float
    heads: float
    memory: float
    memory_slope: float
    ramp: float
    compute_slope: float
    limit: float
    rung: str = DATASHEET
    calibrated: tuple[Piece, ...] = ()

    def line(self, context: float) -> tuple[float, float]:
        """Seconds at 0 and seconds per token of the line that holds at a summed context."""
        if context >= self.limit:
            return self.seconds(self.limit), 0.0
        m, s, f = self.memory, self.memory_slope, self.fixed
        read = m + s * context
        lines = [(f + self.heads, 0.0), (f, self.compute_slope)]
        lines.append((f + 2.0 * m, 2.0 * s) if read < self.ramp else (f + m + self.ramp, s))
        return max(lines, key=lambda line: line[0] + line[1] * context)

    def seconds(self, context: float) -> float:
        """Seconds at a summed context (tokens)."""
        seen = min(context, self.limit)
        read = self.memory + self.memory_slope * seen
        return self.fixed + max(self.heads, self.compute_slope * seen, read + min(self.ramp, read))

    def knots(self) -> tuple[float, ...]:
        """Where the form bends: contexts at which two of its lines may cross, ascending."""
        m, s, c = self.memory, self.memory_slope, self.compute_slope
        found = [(self.ramp - m) / s, (self.heads - m - self.ramp) / s, (0.5 * self.heads - m) / s]
        if c > 0.0:
            found.append(self.heads / c)
        for base, slope in ((m + self.ramp, s), (2.0 * m, 2.0 * s)):
            if c > slope:
                found.append(base / (c - slope))
        return tuple(sorted({x for x in found if 0.0 < x < self.limit}))

    def pieces(self) -> tuple[Piece, ...]:
        """The same as sorted affine pieces from Σ = 0 on."""
        if self.calibrated:
            return self.calibrated
        knots = self.knots()
        ends = (*knots, min(self.limit, 2.0 * (knots[-1] if knots else 0.0) + 1.0))
        found: list[Piece] = []
        for start, end in zip((0.0, *knots), ends, strict=True):
            a, b = self.line(0.5 * (start + end))
            if not found or (a, b) != found[-1][1:]:
                found.append(Piece(start, a, b))
        if self.limit < float("inf"):
            found.append(Piece(self.limit, self.seconds(self.limit), 0.0))
        return tuple(found)


#: Contexts of a sequence (tokens) between which a calibrated time is taken as affine: half
#: octaves.
CONTEXTS = tuple(2.0 ** (0.5 * n) for n in range(37))


def through(points: list[tuple[float, float]], beyond: float, limit: float) -> tuple[Piece, ...]:
    """Affine pieces that meet (Σ, seconds) points, ascending from Σ = 0.

    After the last they go on by `beyond` seconds per token; from `limit` on they are constant.
    """
    found: list[Piece] = []
    for index, (start, low) in enumerate(points):
        if start >= limit:
            break
        slope = beyond
        if index + 1 < len(points):
            end, high = points[index + 1]
            slope = (high - low) / (end - start)
        found.append(Piece(start, low - slope * start, slope))
    if limit < float("inf"):
        last = found[-1]
        found.append(Piece(limit, last.a + last.b * limit, 0.0))
    return tuple(found)


def calibrate(
    layer: DecodeAttention, shape: AttentionShape, sequences: float, reach: Utilisation,
    device: Device,
) -> DecodeAttention:  # fmt: skip
    """The same with every time divided by what the calibration reaches at its context.

    A class was not measured at any: there no context takes less time than a shorter one.
    """
    pairs, width = sequences * shape.kv_heads, 0.5 * (shape.key_width + shape.value_width)
    points: list[tuple[float, float]] = []
    found, rung = 1.0, DATASHEET
    free = replace(layer, limit=float("inf"))
    load = pairs / (device.sms or USUAL_SMS)
    reach = reach.fixed(
        sequences=sequences, heads=shape.heads, kv_heads=shape.kv_heads, width=width,
        pairs=pairs, group=shape.group, load=load, feed=device.feed,
        balance=device.balance,
    )  # fmt: skip
    streamed = shape.kv_bytes * sequences / device.bandwidth / SPAN
    others = (sequences, shape.heads, shape.kv_heads, width, pairs, shape.group, load)
    for context in CONTEXTS:
        place = (context, *others, streamed * context, device.feed, device.balance)
        found, rung = reach.at(*place)
        if not points:
            points.append((0.0, free.seconds(0.0) / found))
        points.append((context * sequences, free.seconds(context * sequences) / found))
    if rung == DATASHEET:
        points = list(zip((at for at, _ in points), accumulate((t for _, t in points), max),
                          strict=True))  # fmt: skip
    beyond = free.line(2.0 * points[-1][0])[1] / found
    return replace(layer, rung=rung, calibrated=through(points, beyond, layer.limit))


def decode_reach(device: Device, kv_dtype: str) -> Utilisation:
    """What the device's calibration says of decode attention over KV of a dtype."""
    value = DTYPE_BYTES[kv_dtype]

    def seconds(
        context: float, sequences: float, heads: float, kv_heads: float, width: float, *_: float
    ) -> float:
        layer = decode(device, plain_shape(heads, kv_heads, width, value), sequences)
        return layer.seconds(context * sequences)

    grids = grids_of(device.calibration, "decode", kv_dtype)
    return (
        utilisation(grids, "decode", seconds) if grids else class_reach(device, "decode", kv_dtype)
    )


def decode(
    device: Device, shape: AttentionShape, sequences: float, queries: int = 1
) -> DecodeAttention:
    """Decode attention of one layer for `sequences`, `queries` tokens of each at once.

    Bytes `kv_bytes`·(Σ + padding per sequence) + queries and outputs; FLOPs
    `flops_per_token`·Σ per query. KV is read once for all queries of a sequence. However short
    the contexts, a pair of sequence and KV head takes its time on a multiprocessor. The summed
    context stands for equal contexts where a window cuts it.
    """
    e, o = device.efficiencies, device.overheads
    pairs = sequences * shape.kv_heads
    sms = device.sms or USUAL_SMS
    rate = device.bandwidth * (e.decode_narrow if shape.narrow else e.decode_memory)
    if shape.heads == shape.kv_heads:
        rate *= min(1.0, pairs * e.decode_alone / sms)
    width = shape.key_width + shape.value_width
    own = queries * shape.heads * width * shape.activation * sequences
    return DecodeAttention(
        fixed=o.attention + own / (device.bandwidth * e.decode_stream),
        heads=o.attention_head * pairs / sms,
        memory=shape.kv_bytes * e.decode_extra_tokens * sequences / rate,
        memory_slope=shape.kv_bytes / rate,
        ramp=o.attention_ramp,
        compute_slope=queries * shape.flops_per_token / (device.peak * e.decode_compute),
        limit=float(sequences * shape.window) if shape.window else float("inf"),
    )
