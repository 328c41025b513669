"""DOT text → svg, png, pdf, by the system's Graphviz or the embedded one.

png is always made from the svg with the bundled font (Liberation Sans, which has the widths of
Arial that both renderers measure with), so it looks the same on a machine without fonts.
"""

from __future__ import annotations

import re
import shutil
from importlib.resources import as_file, files
from typing import Literal, TypeAlias

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.drawing import style

Renderer: TypeAlias = Literal["auto", "system", "embedded"]
RENDERERS = ("auto", "system", "embedded")

_SIZE = re.compile(r'<svg width="([\d.]+)pt" height="([\d.]+)pt"')
#: Pixels per point of a png, and the longest side it may have.
_ZOOM = 2.0
_LONGEST = 12_000


def svg(source: str, renderer: Renderer = "auto") -> bytes:
    """The picture as SVG (UTF-8). Raises `SpecError` HMS607 if no renderer can draw it."""
    text = _layout(source, renderer).decode()
    return text.replace(f'font-family="{style.FONT}"', f'font-family="{style.FONT_STACK}"').encode()


def png(source: str, renderer: Renderer = "auto") -> bytes:
    """The picture as PNG, two pixels per point; fewer where a side would exceed 12,000."""
    from resvg_py import svg_to_bytes

    text = svg(source, renderer).decode()
    match = _SIZE.search(text)
    longest = max(float(match[1]), float(match[2])) if match else 1.0
    text = _SIZE.sub(r'<svg width="\1" height="\2"', text)
    with as_file(files("hermesdsl.drawing") / "fonts" / "LiberationSans-Regular.ttf") as font:
        picture: bytes = svg_to_bytes(
            svg_string=text,
            zoom=min(_ZOOM, _LONGEST / longest),
            skip_system_fonts=True,
            font_files=[str(font)],
            font_family="Liberation Sans",
            sans_serif_family="Liberation Sans",
        )
    return picture


def pdf(source: str, renderer: Renderer = "auto") -> bytes:
    """The picture as PDF, which only a system Graphviz can write; `SpecError` HMS607 without."""
    if renderer == "embedded" or not has_system():
        raise SpecError(
            [
                error(
                    "HMS607",
                    "pdf needs Graphviz installed on this machine (the program `dot`)",
                    notes=("help: install Graphviz, or write .svg or .png instead",),
                )
            ]
        )
    return _system(source, "pdf")


def has_system() -> bool:
    """True if a `dot` program is on the search path."""
    return shutil.which("dot") is not None


def _layout(source: str, renderer: Renderer) -> bytes:
    if renderer == "system" or (renderer == "auto" and has_system()):
        try:
            return _system(source, "svg")
        except SpecError:
            if renderer == "system":
                raise
    return _embedded(source)


def _system(source: str, fmt: str) -> bytes:
    import graphviz

    try:
        drawn: bytes = graphviz.pipe("dot", fmt, source.encode(), quiet=True)
        return drawn
    except graphviz.ExecutableNotFound:
        reason = "the program `dot` is not installed"
    except (graphviz.CalledProcessError, OSError) as failure:
        output = getattr(failure, "stderr", b"") or str(failure).encode()
        reason = output.decode(errors="replace").strip().partition("\n")[0]
    raise SpecError([error("HMS607", f"Graphviz cannot draw this: {reason}")])


def _embedded(source: str) -> bytes:
    from hermesdsl.drawing.embedded import EmbeddedError, layout

    try:
        return layout(source)
    except EmbeddedError as failure:
        raise SpecError([error("HMS607", f"Graphviz cannot draw this: {failure}")]) from failure
