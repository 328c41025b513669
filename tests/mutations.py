"""Programs with a few mistakes in them: tokens and lines deleted, doubled, swapped, exchanged."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"\s+|#[^\n]*|\"[^\"\n]*\"|\w+|<->|->|[<>=!]=|\*\*|//|.", re.DOTALL)


@dataclass(frozen=True)
class Mutation:
    """What is done at a place, both as shares of the text: `kind` of ``KINDS``."""

    kind: str
    place: float
    other: float


KINDS = (
    "delete token", "double token", "swap tokens", "exchange token", "delete line",
    "double line", "swap lines", "exchange alike token", "swap alike tokens", "cut", "insert",
)  # fmt: skip
#: What people type that means something.
INSERTED = (
    "{", "}", "(", ")", "[", "]", "[*]", "->", "<->", "=", ":", ";", "\n", ",", "..", "**", "if ",
    "else ", "for i in range(3) { ", "param x = ", "let y = ", "extends ", "on ", "via ", "0", "-1",
    "1e400", "3 GB", "70%", '"', "#", "import ", "connect ", "branch ", "assert ", "sweep ", "not ",
)  # fmt: skip


def mutated(text: str, mutations: list[Mutation]) -> str:
    """The text after all mutations, in order."""
    for mutation in mutations:
        text = _one(text, mutation)
    return text


def _one(text: str, mutation: Mutation) -> str:
    kind = mutation.kind
    if kind == "cut":
        a, b = sorted((int(mutation.place * len(text)), int(mutation.other * len(text))))
        return text[:a] + text[min(b, a + 40) :]
    if kind == "insert":
        at = int(mutation.place * len(text))
        return text[:at] + INSERTED[int(mutation.other * len(INSERTED))] + text[at:]
    parts = text.splitlines(keepends=True) if "line" in kind else _TOKEN.findall(text)
    places = [i for i, part in enumerate(parts) if part.strip()]
    if not places:
        return text
    i = places[int(mutation.place * len(places))]
    if "alike" in kind:  # a name for a name, a number for a number: still a program, mostly
        places = [k for k in places if _sort(parts[k]) == _sort(parts[i])]
    j = places[int(mutation.other * len(places))]
    if kind.startswith("delete"):
        parts[i] = ""
    elif kind.startswith("double"):
        parts[i] = f"{parts[i]} {parts[i]}" if "token" in kind else parts[i] * 2
    elif kind.startswith("swap"):
        parts[i], parts[j] = parts[j], parts[i]
    else:
        parts[i] = parts[j]
    return "".join(parts)


def _sort(token: str) -> str:
    if token[0].isdigit():
        return "number"
    return "name" if token[0].isalpha() or token[0] == "_" else token
