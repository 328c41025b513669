"""From a file to its text: what cannot be a specification is refused before it is parsed.

Reads bytes, checks size and encoding, and knows nothing of the language.
"""

from __future__ import annotations

from pathlib import Path

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.source import Source
from hermesdsl.syntax.parse import LARGEST_SOURCE, too_large

_OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_source(
    path: Path | str, display_name: str, *, library: bool = False
) -> Source | Diagnostic:
    """The text of a file, or why it has none; `display_name` is what messages call it.

    UTF-8 with or without a byte order mark and any line ends. The size is looked up before
    anything is read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _refused(f"{display_name} is a folder, not a specification")
        if not path.exists():
            return _refused(f"{display_name} does not exist")
        if not path.is_file():
            return _refused(f"{display_name} is not a regular file")
        if path.stat().st_size > LARGEST_SOURCE:
            return too_large(display_name)
        with path.open("rb") as file:
            data = file.read(LARGEST_SOURCE + 1)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        return _refused(f"{display_name} cannot be read: {reason}")
    if len(data) > LARGEST_SOURCE:
        return too_large(display_name)
    text = _decoded(data, display_name)
    if isinstance(text, Diagnostic):
        return text
    return Source(display_name, text, str(path), library)


def _decoded(data: bytes, name: str) -> str | Diagnostic:
    encoding = _OTHER_ENCODINGS.get(data[:2])
    if encoding:
        return _refused(f"{name} is {encoding} text; specifications are UTF-8")
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        return _refused(f"{name} is not text: it holds a NUL byte (line {line})")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        byte = data[problem.start]
        return _refused(f"{name} is not UTF-8 text: byte 0x{byte:02X} in line {line}")


def _refused(message: str) -> Diagnostic:
    return error("HMS104", message)
