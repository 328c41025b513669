"""Where the two data folders lie: the grammar and the standard library.

A wheel carries them inside the package as `_grammar` and `_stdlib`; a checkout has them beside
it. Knows the folders' places and nothing of what is in them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent


def folder(name: Literal["grammar", "stdlib"]) -> Path:
    """The folder of that name; a `RuntimeError` means that the installation is incomplete."""
    for place in (_PACKAGE / f"_{name}", _PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise RuntimeError(f"hermesdsl is not installed completely: its folder `{name}` is missing")


def grammar_text() -> str:
    """The Lark grammar of the language."""
    return (folder("grammar") / "hermes.lark").read_text(encoding="utf-8")
