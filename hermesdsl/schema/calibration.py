"""Kinds of calibration: how much of the data sheet the kernels of a device reach, as data."""

from __future__ import annotations

from hermesdsl.schema.hardware import DTYPES
from hermesdsl.schema.types import (
    BoolType,
    Computed,
    ComputedType,
    Fragment,
    Kind,
    ListType,
    MapType,
    NumberType,
    Property,
    SymbolType,
    TextType,
    props,
)
from hermesdsl.units import dimension as d

#: Coordinates of a shape, by operator: what the axes of a grid may be. Sizes are those that one
#: device sees; `cost.utilisation` and the operators say how each follows from a step.
COORDINATES = {
    "gemm": ("m", "n", "k", "waves", "fill"),
    "moe": (
        "rows", "tokens", "hidden", "width", "experts", "active", "local", "touched", "span",
        "feed", "rate",
    ),
    "prefill": (
        "new", "seen", "sequences", "heads", "kv_heads", "width", "keys", "waves", "group",
    ),
    "decode": (
        "context", "sequences", "heads", "kv_heads", "width", "pairs", "group", "load",
        "span", "feed", "balance",
    ),
    "collective": ("members", "bytes"),
    "copy": ("bytes",),
}  # fmt: skip

#: What members of a group do together, and one member with its neighbour.
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "p2p")

#: Copies that a calibration of one device speaks of: those to and from a host pass links.
COPIES = ("device",)

#: Operators whose power can be given; all others draw as `gemm`.
POWER = ("gemm", "moe", "prefill", "decode")

_UTILISATION = ListType(ComputedType("utilisation"))
_knots = ListType(NumberType(above=0))


def _map(name: str, doc: str, keys: tuple[str, ...] = DTYPES) -> Property:
    axes = ", ".join(f"`{axis}`" for axis in COORDINATES[name])
    return Property(name, MapType(_UTILISATION, keys), f"{doc} Axes: {axes}.")


CALIBRATION = Kind(
    "calibration",
    "What kernels on a chip reach of the time its data sheet promises, by operator and dtype.",
    single=True,
    properties=props(
        _map("gemm", "Products with weights, by dtype of the operands."),
        _map(
            "moe",
            "Layers of experts without their exchange of tokens, by dtype of weights; "
            "`fp8_block` for models with `scaling = block`.",
            (*DTYPES, "fp8_block"),
        ),
        _map("prefill", "Attention of prompts, by dtype of the KV cache."),
        _map("decode", "Attention of decoding, by dtype of the KV cache."),
        _map(
            "collective",
            "Messages between devices that reach each other directly or over one "
            "switch, by what they do.",
            COLLECTIVES,
        ),
        _map(
            "copy",
            "Copies from memory to memory, by where; element-wise kernels (norms, activations, "
            "rotation) read and write alike. `bytes` read and written by one kernel.",
            COPIES,
        ),
        Property(
            "power",
            MapType(ListType(ComputedType("draw")), POWER),
            "What kernels draw of the range from idle to limit, by operator; one for each dtype "
            "that was measured.",
        ),
        Property("source", TextType(), "What was measured, and with what software.", ""),
    ),
)

COMPUTED = (
    Computed(
        "grid", "utilisation",
        "Factor on the speed of the data-sheet model over the axes given, each a list of ascending "
        "knots; geometric between knots, constant outside. Several grids multiply.",
        parameters=(
            Property("factor", ListType(NumberType(above=0)),
                     "One for each combination of knots, the last axis fastest.", required=True),
        ),
        keywords=_knots,
    ),
    Computed(
        "measured", "utilisation",
        "Times measured at every combination of knots; used inside their range only, "
        "interpolated as utilisation. An axis with one knot holds for that value alone.",
        parameters=(
            Property("time", ListType(NumberType(d.SECOND, above=0)),
                     "One for each combination of knots, the last axis fastest.", required=True),
        ),
        keywords=_knots,
    ),
    Computed(
        "draw", "draw",
        "Share u of the range from idle to limit while a kernel runs that reaches c of peak and m "
        "of bandwidth in t, on a share w of the multiprocessors: (`busy` w^`spread` + `compute` "
        "c^p + `memory` m^q) t / (t + `settle`), bent into the limit.",
        parameters=(
            Property("dtype", SymbolType(DTYPES), "Of which operands.", required=True),
            Property("blocks", BoolType(), "Of experts with `scaling = block`.", False),
            Property("busy", NumberType(minimum=0), "While anything runs.", required=True),
            Property("compute", NumberType(minimum=0), "More at full peak.", required=True),
            Property("memory", NumberType(minimum=0), "More at full bandwidth.", required=True),
            Property("compute_exponent", NumberType(above=0),
                     "The exponent of the share of compute.", 1.0),
            Property("memory_exponent", NumberType(above=0),
                     "The exponent of the share of memory bandwidth.", 1.0),
            Property("settle", NumberType(d.SECOND, minimum=0),
                     "A kernel as short as this draws half.", 0.0),
            Property("spread", NumberType(minimum=0),
                     "Exponent on the share of multiprocessors at work, of `busy`.", 0.0),
        ),
    ),
)  # fmt: skip

FRAGMENT = Fragment(kinds=(CALIBRATION,), computed=COMPUTED)
