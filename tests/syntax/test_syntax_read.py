"""Files that are no specifications are refused before they are parsed."""

from __future__ import annotations

import os

import pytest

from hermesdsl.diagnostics import Diagnostic
from hermesdsl.source import Source
from hermesdsl.syntax.parse import LARGEST_SOURCE
from hermesdsl.syntax.read import read_source


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        ("tp = 4\n".encode("utf-16"), "HMS104", "x.hms is UTF-16 text; specifications are UTF-8"),
        (b"a = 1\n\0", "HMS104", "x.hms is not text: it holds a NUL byte (line 2)"),
        ("größe".encode("latin-1"), "HMS104", "x.hms is not UTF-8 text: byte 0xF6 in line 1"),
        (b"\x80\n", "HMS104", "x.hms is not UTF-8 text: byte 0x80 in line 1"),
    ],
)
def test_other_encodings(tmp_path, data: bytes, code: str, message: str) -> None:
    path = tmp_path / "x.hms"
    path.write_bytes(data)
    found = read_source(path, "x.hms")
    assert isinstance(found, Diagnostic)
    assert (found.code, found.message) == (code, message)


def test_what_is_no_file(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = [read_source(tmp_path / name, name) for name in ("", "none.hms", "pipe")]
    assert [item.message for item in found if isinstance(item, Diagnostic)] == [
        " is a folder, not a specification",
        "none.hms does not exist",
        "pipe is not a regular file",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_unreadable(tmp_path) -> None:
    path = tmp_path / "x.hms"
    path.touch(mode=0)
    found = read_source(path, "x.hms")
    assert isinstance(found, Diagnostic)
    assert found.message == "x.hms cannot be read: Permission denied"


def test_a_path_that_no_system_has() -> None:
    found = read_source("a\0b", "x.hms")
    assert isinstance(found, Diagnostic)
    assert found.code == "HMS104"


def test_size_is_looked_up_before_reading(tmp_path) -> None:
    path = tmp_path / "x.hms"
    with path.open("wb") as file:
        file.truncate(LARGEST_SOURCE + 1)  # sparse: NUL bytes that take no space
    found = read_source(path, "x.hms")
    assert isinstance(found, Diagnostic)
    assert found.code == "HMS105"
    assert found.message == "x.hms is larger than 16 MB, the limit for a specification"


def test_text(tmp_path) -> None:
    path = tmp_path / "x.hms"
    path.write_bytes(b"\xef\xbb\xbfa = 5 \xc2\xb5s\r\n")
    found = read_source(path, "lib/x.hms", library=True)
    assert isinstance(found, Source)
    assert (found.name, found.text, found.path) == ("lib/x.hms", "a = 5 µs\r\n", str(path))
    assert found.library
