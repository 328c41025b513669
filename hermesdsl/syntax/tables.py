"""The parser's tables, built once and kept beside the grammar as data.

Building them from the grammar takes several times as long as reading a specification. What is kept
names the grammar and the version of Lark it was built with; for any other, or if it cannot be read,
the tables are built again. It is JSON: reading it runs no code. Knows Lark's tables and nothing of
the language; only `syntax.parse` uses it.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from hermesdsl.resources import folder, grammar_text

if TYPE_CHECKING:
    from lark import Lark

#: The file beside the grammar.
FILE: Final = "hermes.tables.json"
#: What marks a dictionary whose keys are integers, which JSON does not have.
_PAIRS: Final = "#"
#: Objects of a process, not tables.
_NOT_KEPT: Final = ("transformer", "postlex")


def parser(transformer: object, postlex: object) -> Lark:
    """The parser of the language that calls `transformer`, its tokens filtered by `postlex`."""
    return _kept(transformer, postlex) or build(transformer, postlex)


def build(transformer: object, postlex: object) -> Lark:
    """The same from the grammar, about 0.2 s."""
    from lark import Lark

    return Lark(
        grammar_text(),
        parser="lalr",
        lexer="basic",
        start=["file", "arms"],
        maybe_placeholders=True,
        transformer=transformer,
        postlex=postlex,
    )


def kept_as(lark: Lark) -> str:
    """The text of the file for a parser that was built."""
    from lark.grammar import Rule
    from lark.lexer import TerminalDef

    data, memo = lark.memo_serialize([TerminalDef, Rule])
    data["options"] |= dict.fromkeys(_NOT_KEPT)
    return json.dumps([_key(), _plain(data), _plain(memo)], separators=(",", ":")) + "\n"


def _kept(transformer: object, postlex: object) -> Lark | None:
    from lark import Lark

    try:
        key, data, memo = json.loads((folder("grammar") / FILE).read_text(encoding="utf-8"))
        if key != _key():
            return None
        # What Lark's own stand-alone parsers call.
        found: Lark = Lark._load_from_dict(  # type: ignore[no-untyped-call]
            _restored(data), _restored(memo), transformer=transformer, postlex=postlex
        )
        return found
    except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError):
        return None


def _key() -> str:
    """What tables are good for: one grammar and one version of the library."""
    import lark

    return sha256(f"{lark.__version__}\0{grammar_text()}".encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _plain(item) for key, item in value.items()}
        return {_PAIRS: [[key, _plain(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        pairs = value.get(_PAIRS)
        items = value.items() if pairs is None else pairs
        return {key: _restored(item) for key, item in items}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return value


__all__ = ["FILE", "build", "kept_as", "parser"]
