"""Energy and cost of a run as lines of text. Knows the entries of a summary, no run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from hermesdsl.cli import figures

_JOULES = (("GJ", 1e9), ("MJ", 1e6), ("kJ", 1e3), ("J", 1.0))


def energy(entry: Mapping[str, Any]) -> Text:
    """``12.3 MJ (3.41 kWh), 34.0% of it idle; 5.12 J per output token``, and what is not in it."""
    text = Text()
    total = entry["total"]
    if total is not None:
        unit, factor = next(each for each in _JOULES if total >= each[1] or each[1] == 1.0)
        text.append(f"{figures.rate(total / factor)} {unit} ({figures.rate(total / 3.6e6)} kWh)")
        if total:
            text.append(f", {figures.share(entry['idle'] / total)} of it idle")
        if entry["per_token"] is not None:
            text.append(f"; {figures.rate(entry['per_token'])} J per output token")
    _missing(text, entry, "power", "no power figure for")
    _missing(text, entry, "idle_power", "no idle power figure for")
    return text


def cost(entry: Mapping[str, Any]) -> Text:
    """``$1.23 ($14.8 per hour); $0.52 per million output tokens``, and what has no price."""
    text = Text()
    if entry["total"] is not None:
        hourly = figures.rate(entry["rate"] * 3600.0)
        text.append(f"${figures.rate(entry['total'])} (${hourly} per hour)")
        if entry["per_token"] is not None:
            million = figures.rate(entry["per_token"] * 1e6)
            text.append(f"; ${million} per million output tokens")
    _missing(text, entry, "price", "no price for")
    return text


def _missing(text: Text, entry: Mapping[str, Any], what: str, words: str) -> None:
    types = entry["missing"].get(what)
    if types:
        text.append(f"{'; ' if text else ''}{words} {', '.join(types)}", style="yellow")
