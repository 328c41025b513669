"""A calibration as text of the language, and a picture of predicted against measured times.

Knows fits and two formats; reads nothing and writes no file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, log10
from textwrap import fill

from hermesdsl.graph.types import Grid
from hermesdsl.measure.calibrate import Fitted
from hermesdsl.measure.power import FittedPower

#: Points of a picture at most, for each fit.
DOTS = 600
_SIDE, _EDGE = 420.0, 60.0
_COLOURS = ("#3366aa", "#cc6633", "#339966", "#884499", "#aa8822", "#555555")


def calibration_text(
    name: str, chip: str, fits: Sequence[Fitted], source: str, command: str,
    drawn: Sequence[FittedPower] = (),
) -> str:  # fmt: skip
    """The definition of a calibration, its errors in its documentation; `drawn`: of power."""
    about = (
        f"Kernels of {chip}: factors on the speed of its data sheet. Errors are absolute and "
        f"relative, of times above 50 us, median and 90th percentile: of the rows fitted, and held "
        f"out: of shapes that a fit has not seen, in five parts by shape."
    )
    lines = [*_comment(about if fits else f"Power of {chip}.")]
    for each in fits:
        lines += _comment(
            f"{each.operator}.{each.dtype}: {each.sample.median:.1%} and {each.sample.p90:.1%}, "
            f"held out {each.holdout.median:.1%} and {each.holdout.p90:.1%}; naive roofline "
            f"{each.roofline.median:.0%}; {each.rows} rows, {each.long} above 50 us."
        )
    if drawn:
        lines += _comment(
            "Power that kernels draw, as a part of the range from idle to limit. Errors of watts "
            "are absolute and relative, median and mean, of all rows."
        )
    for own in drawn:
        lines += _comment(
            f"power.{own.operator}, {own.dtype}: {own.sample.median:.1%} and "
            f"{own.sample.mean:.1%}, held out {own.holdout.median:.1%} and "
            f"{own.holdout.mean:.1%}, above 50 us {own.long.median:.1%} and {own.long.mean:.1%}; "
            f"linear weights {own.plain.median:.1%} and {own.plain.mean:.1%}; {own.rows} rows."
        )
    lines += _comment(f"Source: {source}. By: {command}")
    lines.append(f"calibration {name} {{")
    for each in fits:
        lines.append(f"    {each.operator}.{each.dtype} = [")
        for grid in each.grids:
            lines += _grid(grid)
        lines.append("    ]")
    for operator in dict.fromkeys(own.operator for own in drawn):
        lines.append(f"    power.{operator} = [")
        lines += [_draw(own) for own in drawn if own.operator == operator]
        lines.append("    ]")
    return "\n".join([*lines, "}", ""])


def _draw(own: FittedPower) -> str:
    draw = own.draw
    dtype, _, blocks = own.dtype.partition("_")
    named = f"{dtype}, blocks = true" if blocks else dtype
    spread = f", spread = {draw.spread:.3g}" if draw.spread else ""
    return (
        f"        draw(dtype = {named}, busy = {draw.busy:.3g}, compute = {draw.compute:.3g}, "
        f"memory = {draw.memory:.3g}, compute_exponent = {draw.compute_exponent:.3g}, "
        f"memory_exponent = {draw.memory_exponent:.3g}, settle = {draw.settle * 1e6:.3g} us"
        f"{spread}),"
    )


def _comment(text: str) -> list[str]:
    wrapped = fill(text, 96, break_on_hyphens=False, break_long_words=False)
    return [f"## {line}" for line in wrapped.splitlines()]


def _grid(grid: Grid) -> list[str]:
    axes = [
        f"            {axis} = [{', '.join(f'{knot:g}' for knot in knots)}],"
        for axis, knots in zip(grid.axes, grid.knots, strict=True)
    ]
    values = fill(", ".join(f"{value:.3g}" for value in grid.values), 80)
    body = [f"                {line}" for line in values.splitlines()]
    return ["        grid(", *axes, "            factor = [", *body, "            ]),"]


def scatter(fits: Iterable[Fitted | FittedPower], title: str, unit: str = "s") -> str:
    """An svg of predicted (hold-out) over measured values, both logarithmic, a colour per fit."""
    from xml.sax.saxutils import escape

    chosen = list(fits)
    least = min(min(f.measured.min(), f.predicted.min()) for f in chosen)
    most = max(max(f.measured.max(), f.predicted.max()) for f in chosen)
    low, high = floor(log10(least)), max(ceil(log10(most)), floor(log10(least)) + 1)
    scale = _SIDE / (high - low)

    def x(seconds: float) -> float:
        return _EDGE + (log10(seconds) - low) * scale

    def y(seconds: float) -> float:
        return _EDGE + _SIDE - (log10(seconds) - low) * scale

    whole = _SIDE + 2 * _EDGE
    found = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole + 140:g}" height="{whole:g}" '
        f'font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_EDGE:g}" y="{_EDGE / 2:g}">{escape(title)}</text>',
        f'<path d="M{x(10**low):g} {y(10**low):g}L{x(10**high):g} {y(10**high):g}" '
        'stroke="#999" fill="none"/>',
    ]
    for power in range(low, high + 1):
        at = 10.0**power
        found.append(
            f'<text x="{x(at):g}" y="{_EDGE + _SIDE + 18:g}" text-anchor="middle">1e{power} '
            f'{unit}</text><text x="{_EDGE - 6:g}" y="{y(at):g}" text-anchor="end">1e{power} '
            f"{unit}</text>"
        )
    for index, each in enumerate(chosen):
        colour = _COLOURS[index % len(_COLOURS)]
        step = max(1, len(each.measured) // DOTS)
        dots = "".join(
            f'<circle cx="{x(m):.1f}" cy="{y(p):.1f}" r="1.5"/>'
            for m, p in zip(each.measured[::step], each.predicted[::step], strict=True)
        )
        found.append(f'<g fill="{colour}" fill-opacity="0.5">{dots}</g>')
        text = f"{each.operator}.{each.dtype} {each.holdout.median:.1%}"
        found.append(
            f'<text x="{whole:g}" y="{_EDGE + 18 * index:g}" fill="{colour}">{escape(text)}</text>'
        )
    middle = _EDGE + _SIDE / 2
    found.append(
        f'<text x="{middle:g}" y="{whole - 12:g}" text-anchor="middle">measured</text>'
        f'<text x="14" y="{middle:g}" transform="rotate(-90 14 {middle:g})" '
        'text-anchor="middle">predicted, shape held out</text>'
    )
    return "\n".join([*found, "</svg>", ""])
