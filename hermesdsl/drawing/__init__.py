"""Pictures of a compiled system: hardware, pipelines, placement; with results laid over them.

Reads the graphs only; knows neither the language nor the interpreter. Names load on first use, so
that importing the package costs nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hermesdsl.drawing.drawing import FORMATS, VIEWS, Drawing, draw
    from hermesdsl.drawing.overlay import Mark
    from hermesdsl.drawing.render import RENDERERS
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module

        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{home}"), name)


_HOMES = {
    "FORMATS": "drawing",
    "VIEWS": "drawing",
    "Drawing": "drawing",
    "draw": "drawing",
    "Mark": "overlay",
    "RENDERERS": "render",
}
__all__ = ["FORMATS", "RENDERERS", "VIEWS", "Drawing", "Mark", "draw"]
