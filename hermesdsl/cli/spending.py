"""Energy and cost of a run as lines of text. Knows the entries of a summary, no run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hermesdsl.cli import figures

_JOULES = (("GJ", 1e9), ("MJ", 1e6), ("kJ", 1e3), ("J", 1.0))


#: What may be missing, by entry, in words.
_MISSING = (
    ("energy", "power", "power"), ("energy", "idle_power", "idle power"), ("cost", "price", "price")
)  # fmt: skip


def energy(entry: Mapping[str, Any]) -> str:
    """``12.3 MJ (3.41 kWh), 34.0% of it idle; 5.12 J per output token``."""
    total = entry["total"]
    if total is None:
        return "unknown"
    unit, factor = next(each for each in _JOULES if total >= each[1] or each[1] == 1.0)
    text = f"{figures.rate(total / factor)} {unit} ({figures.rate(total / 3.6e6)} kWh)"
    if total:
        text += f", {figures.share(entry['idle'] / total)} of it idle"
    if entry["per_token"] is not None:
        text += f"; {figures.rate(entry['per_token'])} J per output token"
    return text


def cost(entry: Mapping[str, Any]) -> str:
    """``$1.23 ($14.8 per hour); $0.52 per million output tokens``."""
    if entry["total"] is None:
        return "unknown"
    hourly = figures.rate(entry["rate"] * 3600.0)
    text = f"${figures.rate(entry['total'])} (${hourly} per hour)"
    if entry["per_token"] is not None:
        text += f"; ${figures.rate(entry['per_token'] * 1e6)} per million output tokens"
    return text


def missing(data: Mapping[str, Any]) -> str:
    """``no power of 2 × Nic, Switch; no idle power of Cpu``: what energy and cost leave out."""
    found = []
    for name, what, words in _MISSING:
        types = (data.get(name) or {}).get("missing", {}).get(what)
        if types:
            found.append(f"no {words} of {', '.join(types)}")
    return "; ".join(found)
