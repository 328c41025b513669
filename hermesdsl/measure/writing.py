"""A calibration as text of the language.

Knows fits and how the language is written; reads nothing and writes no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

from hermesdsl.graph.types import Grid
from hermesdsl.measure.calibrate import Fitted
from hermesdsl.measure.collective import Fitted as FittedMessages
from hermesdsl.measure.copies import FittedCopies
from hermesdsl.measure.power import FittedPower


def calibration_text(
    name: str, chip: str, fits: Sequence[Fitted], source: str, command: str,
    drawn: Sequence[FittedPower] = (), messages: Mapping[str, FittedMessages] | None = None,
    copied: FittedCopies | None = None, remarks: Sequence[str] = (),
) -> str:  # fmt: skip
    """The definition of a calibration, its errors in its documentation.

    `drawn` is of power, `messages` of collectives by kind, `copied` of copies in memory; `remarks`:
    what else its documentation says.
    """
    sent = messages or {}
    about = (
        f"Kernels of {chip}: factors on the speed of its data sheet. Errors are absolute and "
        f"relative, of times above 50 us, median and 90th percentile: of the rows fitted, and held "
        f"out: of shapes that a fit has not seen, in five parts by shape."
    )
    lines = [*_comment(about if fits or sent or copied else f"Power of {chip}.")]
    for each in fits:
        lines += _comment(
            f"{each.operator}.{each.dtype}: {each.sample.median:.1%} and {each.sample.p90:.1%}, "
            f"held out {each.holdout.median:.1%} and {each.holdout.p90:.1%}; naive roofline "
            f"{each.roofline.median:.0%}; {each.rows} rows, {each.long} above 50 us."
        )
    for kind, each_sent in sent.items():
        lines += _comment(
            f"collective.{kind}: messages above 4 MB {each_sent.error:.1%}, held out "
            f"{each_sent.held:.1%}; class defaults {each_sent.plain:.1%}; {each_sent.rows} rows."
        )
    if copied is not None:
        lines += _comment(
            f"copy.device: {copied.error:.1%}, held out {copied.held:.1%}; data sheet "
            f"{copied.plain:.1%}; {copied.rows} rows of any size, the largest at "
            f"{copied.bandwidth / 1e9:.4g} GB/s."
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
    for remark in remarks:
        lines += _comment(remark)
    lines += _comment(f"Source: {source}. By: {command}")
    lines.append(f"calibration {name} {{")
    entries = [(f"{each.operator}.{each.dtype}", each.grids) for each in fits]
    entries += [(f"collective.{kind}", each.grids) for kind, each in sent.items()]
    entries += [("copy.device", copied.grids)] if copied is not None else []
    for entry, grids in entries:
        lines.append(f"    {entry} = [")
        for grid in grids:
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
    axes = []
    for axis, knots in zip(grid.axes, grid.knots, strict=True):
        listed = fill(f"{axis} = [{', '.join(f'{knot:g}' for knot in knots)}],", 84)
        axes += [f"            {line}" for line in listed.splitlines()]
    values = fill(", ".join(f"{value:.3g}" for value in grid.values), 80)
    body = [f"                {line}" for line in values.splitlines()]
    return ["        grid(", *axes, "            factor = [", *body, "            ]),"]
