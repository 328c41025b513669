"""How things look: palette, shapes, fonts, line widths. Nothing else decides a colour.

Soft fills with a darker outline of the same hue, dark text, white ground; contrast of text on
every fill is above 7 : 1 (WCAG 2.1, level AAA), also at the hot end of the overlay scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, log10
from types import MappingProxyType

#: The one name both renderers measure correctly (a list falls back to Times in the embedded one).
FONT = "Arial"
#: What a viewer gets to choose from; all but the last two have the widths of Arial.
FONT_STACK = "Helvetica,Arial,Liberation Sans,DejaVu Sans,sans-serif"

INK = "#1f2937"
MUTED = "#526071"
GROUND = "#ffffff"
WIRE = "#7b8aa0"


@dataclass(frozen=True)
class Look:
    """Shape, fill and outline of a node; `style` is added to ``filled``."""

    shape: str
    fill: str
    line: str
    style: str = ""
    size: float = 11.0
    #: Blank around the text, inches: across, up and down.
    margin: str = "0.15,0.08"
    ink: str = INK


LOOKS: Mapping[str, Look] = MappingProxyType(
    {
        "chip": Look("box", "#d9f2e1", "#2f9e62", "rounded"),
        "cpu": Look("box", "#dfeafc", "#4a7fd0"),
        "switch": Look("hexagon", "#fdeccb", "#cf952c", margin="0.0,0.0"),
        "nic": Look("tab", "#ebe3fb", "#8562c9"),
        "memory": Look("cylinder", "#d8f0f3", "#3094a3"),
        "idle": Look("box", "#f3f4f6", "#aab2bf", "rounded,dashed"),
        "client": Look("box", "#eef1f6", "#8290a5", "rounded"),
        "stage": Look("box", "#eef1f6", "#8290a5", "rounded"),
        "end": Look("circle", "#374151", "#374151", size=9.0, margin="0,0", ink=GROUND),
        "refused": Look("circle", "#93363b", "#93363b", size=9.0, margin="0,0", ink=GROUND),
        "port": Look("point", "#526071", "#526071"),
    }
)
PLAIN = Look("box", "#eef1f6", "#8290a5")

#: (fill, outline) of clients and of the stages that run on them, in placement order.
HUES: Sequence[tuple[str, str]] = (
    ("#dbe8fd", "#3f78d6"),
    ("#fde3cf", "#d9803a"),
    ("#d9f2e1", "#2f9e62"),
    ("#f9dbe6", "#cc4f80"),
    ("#e8e0fb", "#7d5bc9"),
    ("#fbefc4", "#bd9315"),
    ("#d3f1f0", "#23958f"),
    ("#ecdfd5", "#97704d"),
    ("#e3ead0", "#7a9431"),
    ("#e1e4ea", "#667388"),
)

#: (fill, outline) of nested boxes by depth, the last repeats.
BOXES: Sequence[tuple[str, str]] = (
    ("#f7f9fc", "#c3cedd"),
    ("#eef3f9", "#b1bfd2"),
    ("#f8fafd", "#a3b3c9"),
    ("#edf2f8", "#97a8c0"),
)

#: Cold and hot end of the overlay scale.
COLD = (0xF2, 0xF7, 0xFD)
HOT = (0xFB, 0xA3, 0x63)
#: The same for lines.
COLD_WIRE = (0x9F, 0xB6, 0xD4)
HOT_WIRE = (0xD9, 0x4F, 0x1E)


def look(kind: str, hue: int | None = None, fill: str | None = None) -> Look:
    """The look of a kind, in the colours of a client, or filled as an overlay asks."""
    base = LOOKS.get(kind, PLAIN)
    inner, line = (base.fill, base.line) if hue is None else HUES[hue % len(HUES)]
    return replace(base, fill=fill or inner, line=line)


def box_colours(depth: int) -> tuple[str, str]:
    """(fill, outline) of a box inside `depth` others."""
    return BOXES[min(depth, len(BOXES) - 1)]


def wire_colour(hue: int | None) -> str:
    """Outline colour of a client, or the neutral one."""
    return WIRE if hue is None else HUES[hue % len(HUES)][1]


def pen_width(bandwidth: float) -> float:
    """Points, 0.8 up to 1 GB/s, then one more per factor of ten, at most 4; 1.1 if unknown."""
    if bandwidth <= 0 or bandwidth == inf:
        return 1.1
    return round(min(4.0, max(0.8, 0.8 + log10(bandwidth / 1e9))), 2)


def heat(share: float) -> str:
    """``#rrggbb`` between the cold (0) and the hot (1) end of the scale."""
    return _between(COLD, HOT, share)


def wire_heat(share: float) -> str:
    """The same for lines, whose cold end must be seen on white."""
    return _between(COLD_WIRE, HOT_WIRE, share)


def _between(cold: tuple[int, int, int], hot: tuple[int, int, int], share: float) -> str:
    share = min(1.0, max(0.0, share))
    mixed = (round(c + (h - c) * share) for c, h in zip(cold, hot, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)
