"""The tables beside the grammar are those of the grammar; without them all goes on, only slower."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hermesdsl import resources
from hermesdsl.source import Source
from hermesdsl.syntax import parse as parsing
from hermesdsl.syntax import tables
from hermesdsl.syntax.parse import parse

ROOT = Path(__file__).parents[2]
FILE = ROOT / "grammar" / tables.FILE
TEXTS = [
    "a: B { c = 1 GB/s; d[2]: E on f[*] }\n",
    "from std.x import Y as Z\nclass k { ttft = 1 s }\n",
    "a: B { c = \n}\n",
    "pipeline p { x -> y -> { z; w } }",
    "a = (1, 2\n",
]


def grammar_beside(folder: Path, text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The grammar in a folder of its own, with `text` as its tables."""
    (folder / "hermes.lark").write_text(resources.grammar_text())
    if text is not None:
        (folder / tables.FILE).write_text(text)
    monkeypatch.setattr(tables, "folder", lambda _: folder)


def test_the_tables_are_those_of_the_grammar():
    """After a change of the grammar, or of Lark: HERMES_UPDATE=1."""
    if os.environ.get("HERMES_UPDATE"):
        FILE.write_text(tables.kept_as(tables.build(None, None)))
    key, data, memo = json.loads(FILE.read_text())
    assert key == tables._key()
    built = tables.build(None, None)
    again = json.loads(tables.kept_as(built))
    # How states are numbered is Lark's affair; that there are as many, of the same rules, is not.
    assert len(again[1]["parser"]["parser"]["states"]["#"]) == len(
        data["parser"]["parser"]["states"]["#"]
    )
    assert sorted(map(str, again[2]["#"])) == sorted(map(str, memo["#"]))


@pytest.mark.parametrize("text", TEXTS)
def test_kept_and_built_parsers_read_alike(text, monkeypatch, tmp_path):
    kept = repr(parse(Source("a.hms", text)))
    grammar_beside(tmp_path, None, monkeypatch)
    parsing._parser.cache_clear()
    try:
        assert repr(parse(Source("a.hms", text))) == kept
    finally:
        parsing._parser.cache_clear()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1, 2]", '["another key", {}, {}]', "[]", "null", "\x00", None],
)
def test_tables_that_do_not_fit_are_built_again(text, monkeypatch, tmp_path):
    grammar_beside(tmp_path, text, monkeypatch)
    assert tables._kept(None, None) is None
    assert tables.parser(None, None).options.parser == "lalr"


def test_tables_with_the_right_key_and_nothing_in_them_are_built_again(monkeypatch, tmp_path):
    grammar_beside(tmp_path, json.dumps([tables._key(), {}, {}]), monkeypatch)
    assert tables._kept(None, None) is None
