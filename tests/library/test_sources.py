"""Every definition of the standard library says where its numbers come from. Needs no compiler."""

import re
from pathlib import Path

import pytest

STDLIB = Path(__file__).parents[2] / "stdlib"
FILES = sorted(STDLIB.rglob("*.hms"))
DEFINITION = re.compile(r"^(?P<kind>[a-z_]\w*) (?P<name>[A-Za-z_]\w*)(?: extends [\w.]+)? *\{")
INSTANCE = re.compile(r"^[a-z_]\w*(\[.*\])? *:")
SOURCE = re.compile(r"\bSource: \S.{10,}")
#: A year, a standard or paper, a named model file, or an open admission: something to look up.
EVIDENCE = re.compile(
    r"\b(19|20)\d\d\b|arXiv|JEDEC|IEEE|PCI-SIG|InfiniBand Trade|config\.json|model card"
    r"|assumption|derived|definition of this library"
)


def relative(path: Path) -> str:
    return path.relative_to(STDLIB).as_posix()


def definitions(text: str) -> list[tuple[str, str]]:
    """(name, its ``##`` text on one line) of each top-level definition."""
    found, doc = [], []
    for line in text.splitlines():
        if line.startswith("## "):
            doc.append(line[3:])
            continue
        if match := DEFINITION.match(line):
            found.append((match["name"], " ".join(doc)))
        doc = []
    return found


def complaint(doc: str) -> str | None:
    """Why `doc` does not name a source, or None."""
    if not doc:
        return "has no ## line directly above it"
    source = SOURCE.search(doc)
    if source is None:
        return "has no `Source: …` in its ## text"
    if not EVIDENCE.search(source[0]):
        return "names a source that nobody could look up"
    return None


def test_the_library_is_there():
    assert {"prelude.hms", "parts.hms", "nvidia/hopper.hms"} <= {relative(f) for f in FILES}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_definition_names_its_source(path):
    text = path.read_text(encoding="utf-8")
    complaints = [f"{name} {why}" for name, doc in definitions(text) if (why := complaint(doc))]
    assert complaints == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_no_name_is_defined_twice_and_no_instance_stands_at_top_level(path):
    text = path.read_text(encoding="utf-8")
    names = [name for name, _ in definitions(text)]
    assert len(names) == len(set(names))
    assert [line for line in text.splitlines() if INSTANCE.match(line)] == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_an_index_only_imports(path):
    """A file defines; an index may also pass on what other files define."""
    text = path.read_text(encoding="utf-8")
    assert path.name == "index.hms" or definitions(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("chip A { }", "has no ## line directly above it"),
        ("## Fast. Source: data sheet 2024.\n\nchip A { }", "has no ## line directly above it"),
        ("## A fast chip of 2024.\nchip A { }", "has no `Source: …` in its ## text"),
        ("## Fast. Source: known to all who know\nchip A { }",
         "names a source that nobody could look up"),
    ],
)  # fmt: skip
def test_a_definition_without_a_source_is_found(text, why):
    assert [complaint(doc) for _, doc in definitions(text)] == [why]


def test_a_source_may_stand_on_a_later_line():
    text = "## A chip.\n## Source: vendor data sheet (2024), table 1.\nchip A extends b.C { }"
    assert [(name, complaint(doc)) for name, doc in definitions(text)] == [("A", None)]
