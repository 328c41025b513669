"""Predicted against measured as one picture: points around the line where both are equal.

Logarithmic on both axes, as SVG text. Knows arrays and words; escapes what it prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dots", "scatter"]

Floats: TypeAlias = "NDArray[np.float64]"

_SIDE, _LEFT, _TOP, _BELOW = 400.0, 64.0, 40.0, 56.0
#: More points than this are thinned evenly: a picture has no room for them.
_MOST = 4000
#: So few are drawn larger.
_FEW = 50
#: Told apart in black and white and by most eyes: Okabe and Ito (2008), and grey.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442",
            "#999999")  # fmt: skip
_FONT = 'font-family="sans-serif" fill="#333"'


@dataclass(frozen=True)
class Dots:
    """One group of points, columns of shape (n,), both above zero to be drawn."""

    name: str
    measured: Floats
    predicted: Floats


def scatter(title: str, groups: Sequence[Dots], unit: str) -> str:
    """An SVG picture of the groups; axes in `unit`. Without a point above zero it says so."""
    kept = [(dots, *_drawable(dots)) for dots in groups]
    values = np.concatenate([np.concatenate([x, y]) for _, x, y in kept] or [np.empty(0)])
    width, height = _LEFT + _SIDE + 24.0, _TOP + _SIDE + _BELOW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
        f'<text x="{_LEFT:g}" y="22" font-size="14" {_FONT}>{escape(title)}</text>',
    ]
    if len(values):
        frame = _Frame(float(values.min()), float(values.max()))
        parts += frame.drawn(unit)
        for number, (dots, x, y) in enumerate(kept):
            colour = _COLOURS[number % len(_COLOURS)]
            parts += frame.dots(x, y, colour)
            if len(kept) > 1:
                parts.append(_legend(number, dots.name, colour))
    else:
        parts.append(f'<text x="{_LEFT:g}" y="60" font-size="12" {_FONT}>nothing to draw</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _drawable(dots: Dots) -> tuple[Floats, Floats]:
    both = (dots.measured > 0.0) & (dots.predicted > 0.0)  # False for NaN
    x, y = dots.measured[both], dots.predicted[both]
    step = max(1, ceil(len(x) / _MOST))
    return x[::step], y[::step]


class _Frame:
    """The square between the same two ends on both axes."""

    def __init__(self, least: float, most: float) -> None:
        self._low = floor(log10(least) * 2.0) / 2.0
        self._high = max(ceil(log10(most) * 2.0) / 2.0, self._low + 0.5)

    def _part(self, value: float) -> float:
        return (log10(value) - self._low) / (self._high - self._low)

    def _x(self, value: float) -> float:
        return _LEFT + _SIDE * self._part(value)

    def _y(self, value: float) -> float:
        return _TOP + _SIDE * (1.0 - self._part(value))

    def drawn(self, unit: str) -> Iterator[str]:
        """Box, grid, the line of equality, a band of 10 % about it, and the labels."""
        right, bottom = _LEFT + _SIDE, _TOP + _SIDE
        for value in self._ticks():
            x, y, text = self._x(value), self._y(value), f"{value:g}"
            yield (f'<path d="M{x:.1f} {_TOP:g}V{bottom:g}M{_LEFT:g} {y:.1f}H{right:g}" '
                   'stroke="#e4e4e4"/>')  # fmt: skip
            yield (f'<text x="{x:.1f}" y="{bottom + 16:g}" font-size="11" text-anchor="middle" '
                   f"{_FONT}>{text}</text>")  # fmt: skip
            yield (f'<text x="{_LEFT - 6:g}" y="{y + 4:.1f}" font-size="11" text-anchor="end" '
                   f"{_FONT}>{text}</text>")  # fmt: skip
        square = f'<rect x="{_LEFT:g}" y="{_TOP:g}" width="{_SIDE:g}" height="{_SIDE:g}"'
        yield f'<defs><clipPath id="box">{square}/></clipPath></defs>'
        low, high = 10.0**self._low, 10.0**self._high
        band = [(low, low * 1.1), (high, high * 1.1), (high, high * 0.9), (low, low * 0.9)]
        points = " ".join(f"{self._x(x):.1f},{self._y(y):.1f}" for x, y in band)
        yield f'<polygon points="{points}" fill="#eef3f7" clip-path="url(#box)"/>'
        yield f'<path d="M{_LEFT:g} {bottom:g}L{right:g} {_TOP:g}" stroke="#888"/>'
        yield f'{square} fill="none" stroke="#888"/>'
        middle = _LEFT + _SIDE / 2.0
        yield (f'<text x="{middle:g}" y="{bottom + 38:g}" font-size="12" text-anchor="middle" '
               f"{_FONT}>measured, {escape(unit)} (band: 10 %)</text>")  # fmt: skip
        centre = _TOP + _SIDE / 2.0
        turned = f'transform="rotate(-90 16 {centre:g})"'
        yield (f'<text x="16" y="{centre:g}" font-size="12" text-anchor="middle" {turned} '
               f"{_FONT}>predicted, {escape(unit)}</text>")  # fmt: skip

    def _ticks(self) -> list[float]:
        """1, 2 and 5 of every decade while there are few, else the decades."""
        decades = range(floor(self._low), ceil(self._high) + 1)
        steps = (1.0, 2.0, 5.0) if self._high - self._low <= 2.0 else (1.0,)
        found = [step * 10.0**decade for decade in decades for step in steps]
        return [v for v in found if self._low - 1e-9 <= log10(v) <= self._high + 1e-9]

    def dots(self, x: Floats, y: Floats, colour: str) -> list[str]:
        """One path for all of them: a round cap on a line of no length."""
        at = "".join(f"M{self._x(a):.1f} {self._y(b):.1f}h0"
                     for a, b in zip(x.tolist(), y.tolist(), strict=True))  # fmt: skip
        width = 8 if len(x) <= _FEW else 4
        return [f'<path d="{at}" stroke="{colour}" stroke-width="{width}" stroke-linecap="round" '
                'stroke-opacity="0.5" fill="none"/>']  # fmt: skip


def _legend(number: int, name: str, colour: str) -> str:
    x, y = _LEFT + 12.0, _TOP + 18.0 + 16.0 * number
    dot = f'<circle cx="{x:g}" cy="{y - 4:g}" r="4" fill="{colour}"/>'
    return f'{dot}<text x="{x + 10:g}" y="{y:g}" font-size="11" {_FONT}>{escape(name)}</text>'
