"""`did you mean`: the nearest of the names that would have been right."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like `name`, ignoring case, or None if none is close."""
    by_lower: dict[str, str] = {}
    for candidate in sorted(candidates):
        by_lower.setdefault(candidate.lower(), candidate)
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def suggestion(name: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """Notes for a diagnostic: one ``help: did you mean …?``, or none."""
    match = nearest(name, candidates)
    return (f"help: did you mean `{match}`?",) if match else ()
