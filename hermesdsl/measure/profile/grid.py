"""Which shapes are timed, and in what order, so that a run cut short is still worth a fit.

Knows sizes of language models and a data sheet; no device and no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest

from hermesdsl.graph.types import DTYPE_BYTES
from hermesdsl.measure.operators import Sheet

_HEADS = ("heads", "kv_heads", "width")
#: Sizes of one call by operator, as columns of its table; names as in `measure.tables`.
SIZES: Mapping[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k"),
    "prefill": ("new", "kv", "sequences", *_HEADS),
    "decode": ("context", "sequences", *_HEADS),
    "device_copy": ("bytes",),
    "host_to_device": ("bytes",),
    "device_to_host": ("bytes",),
    "all_reduce": ("members", "bytes"),
    "all_gather": ("members", "bytes"),
    "reduce_scatter": ("members", "bytes"),
    "all_to_all": ("members", "bytes"),
}
#: Operators of several devices.
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")

#: A call that takes longer than this at the rates of the data sheet (seconds) is left out, and one
#: that holds more than this part of the device's memory.
LONGEST = 0.02
SHARE = 0.4

#: Rows, columns and depth of products, from single heads to the widest layers.
_M = (1, 4, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_N = (256, 1024, 2048, 4096, 8192, 16384, 28672)
_K = (256, 1024, 2048, 4096, 8192, 16384)
#: (heads, KV heads, width of a head) on one device: one KV head per query head, four to eight
#: query heads to a KV head, split over 1 to 8 devices, and narrow heads.
_LAYOUTS = (
    (32, 32, 128), (8, 1, 128), (32, 8, 64), (32, 8, 128), (64, 8, 128), (16, 4, 128), (8, 8, 64),
)  # fmt: skip
_NEW = (16, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
_PROMPTS = (1, 2, 4, 8, 16)
#: Most new tokens of one call.
_TOKENS = 32768
_CONTEXT = (16, 128, 512, 1024, 2048, 4096, 8192, 16384, 65536)
_DECODES = (1, 4, 16, 64, 128, 256, 512)
_COPIED = tuple(2**n for n in (10, 14, 16, 18, 20, 22, 24, 26, 28, 30))
#: Largest buffer of pinned memory of the host (bytes).
_PINNED = 2**28
_MESSAGES = tuple(2**n for n in (12, 14, 16, 18, 20, 22, 24, 26, 28))


@dataclass(frozen=True)
class Case:
    """One shape of one operator; `sizes` in the order of `SIZES`."""

    operator: str
    dtype: str
    sizes: tuple[int, ...]

    def size(self, name: str) -> int:
        """One of the sizes by name."""
        return self.sizes[SIZES[self.operator].index(name)]

    @property
    def kind(self) -> str:
        """Operator and dtype: ``gemm.bf16``."""
        return f"{self.operator}.{self.dtype}"

    @property
    def told(self) -> str:
        """For a person: ``gemm.bf16 m=1 n=256 k=256``."""
        names = SIZES[self.operator]
        sizes = " ".join(f"{n}={v}" for n, v in zip(names, self.sizes, strict=True))
        return f"{self.kind} {sizes}"


def cases(sheets: Mapping[str, Sheet], wide: str, narrow: Sequence[str], memory: float
          ) -> list[Case]:  # fmt: skip
    """Everything that is timed on one device, in order; operators in turn, coarse grids first.

    `sheets` by dtype. `wide`: dtype of 16 bits, for all operators; `narrow`: further ones, for
    products. `memory`: bytes of the device.
    """
    layouts = tuple(range(len(_LAYOUTS)))
    found = [
        _coarse_first((_M, _N, _K), lambda m, n, k, own=own: Case("gemm", own, (m, n, k)))
        for own in (wide, *narrow)
    ]
    found.append(_coarse_first(
        (_NEW, _PROMPTS, layouts),
        lambda new, count, i: Case("prefill", wide, (new, new, count, *_LAYOUTS[i])),
    ))  # fmt: skip
    found.append(_coarse_first(
        (_CONTEXT, _DECODES, layouts),
        lambda context, count, i: Case("decode", wide, (context, count, *_LAYOUTS[i])),
    ))  # fmt: skip
    for operator in ("device_copy", "host_to_device", "device_to_host"):
        most = _PINNED if "host" in operator else _COPIED[-1]
        some = tuple(size for size in _COPIED if size <= most)
        found.append(_coarse_first((some,), lambda size, o=operator: Case(o, wide, (size,))))
    fits = [[case for case in own if _fits(case, sheets[case.dtype], memory)] for own in found]
    return _in_turn(fits)


def collective_cases(devices: int, wide: str) -> list[Case]:
    """Messages among 2, 4, … and all devices: the largest group first, then coarse sizes first."""
    groups = sorted({n for n in (2, 4, 8, devices) if 1 < n <= devices}, reverse=True)
    found = []
    for members in groups:
        own = [_coarse_first((_MESSAGES,), lambda size, o=o, n=members: Case(o, wide, (n, size)))
               for o in COLLECTIVES]  # fmt: skip
        found += _in_turn(own)
    return found


def work(case: Case) -> tuple[float, float]:
    """FLOPs of a call, and bytes that it reads and writes once each."""
    value = DTYPE_BYTES[case.dtype]
    if case.operator == "gemm":
        m, n, k = (float(size) for size in case.sizes)
        return 2.0 * m * n * k, value * (m * k + n * k) + 2.0 * m * n
    if case.operator == "prefill":
        new, kv, count, heads, kv_heads, width = (float(size) for size in case.sizes)
        pairs = count * (new * (kv - new) + 0.5 * new * (new + 1.0))
        held = count * width * (2.0 * kv * kv_heads + 2.0 * new * heads)
        return 4.0 * heads * width * pairs, value * held
    if case.operator == "decode":
        context, count, heads, kv_heads, width = (float(size) for size in case.sizes)
        held = count * width * 2.0 * (context * kv_heads + heads)
        return 4.0 * heads * width * count * context, value * held
    return 0.0, 2.0 * case.size("bytes")


def _fits(case: Case, sheet: Sheet, memory: float) -> bool:
    """Whether a case is short and small enough for the device of that data sheet."""
    flops, moved = work(case)
    if case.operator == "prefill" and case.size("new") * case.size("sequences") > _TOKENS:
        return False
    return max(flops / sheet.peak, moved / sheet.bandwidth) <= LONGEST and moved <= SHARE * memory


def _coarse_first(axes: Sequence[Sequence[int]], made: Callable[..., Case]) -> list[Case]:
    """Every combination: the corners, then what halves each axis, and so on."""
    ranks = [_halved(len(axis)) for axis in axes]
    places = list(product(*(range(len(axis)) for axis in axes)))

    def key(place: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
        levels = [rank[i] for rank, i in zip(ranks, place, strict=True)]
        return max(levels), sum(levels), place

    return [made(*(axis[i] for axis, i in zip(axes, place, strict=True)))
            for place in sorted(places, key=key)]  # fmt: skip


def _halved(count: int) -> list[int]:
    """The pass in which each of `count` points of an axis comes: 0 the ends, 1 the middle, …"""
    level = [-1] * count
    level[0] = level[-1] = 0
    spans, turn = [(0, count - 1)], 0
    while spans:
        turn += 1
        rest = []
        for low, high in spans:
            middle = (low + high) // 2
            if low < middle < high:
                level[middle] = turn
                rest += [(low, middle), (middle, high)]
        spans = rest
    return level


def _in_turn(lists: Iterable[Sequence[Case]]) -> list[Case]:
    """The first of each list, the second of each, …"""
    return [case for row in zip_longest(*lists) for case in row if case is not None]
