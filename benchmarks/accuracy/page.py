"""The accuracy page as text: what was asked and reached first, then every part with its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.accuracy.causes import CAUSES
from benchmarks.accuracy.report import MET, MISSED, Figure, Section, Table

_HEAD = """# Accuracy

How far predictions are from measurements, what was kept out of every fit, and where it fails. This
page is written by

```sh
{command}
```

from a folder of public measurements with the layout of its `DATA.md`; no figure on it is typed by
hand. `python -m benchmarks.accuracy NAME…` does parts of it, `--json FILE` keeps the figures, and
`--data DIR` takes other measurements of the same layout: rows of systems, models and dtypes that
are not known here are left out, counted and named.

Errors are predicted over measured less one; APE is the absolute error of a row, and a median APE is
over rows. `must` and `aim` are what the project set out to reach before there was a figure.
"""

_WAYS = """## How rows are predicted

| name | what is known of the chip |
|---|---|
| shape held out | a calibration fitted to the other shapes of the same table: shapes are dealt into five parts by a hash, and each part is predicted by a fit of the four others |
| as shipped | the calibration that the library's chip has, whether it has seen these rows or not; class defaults where it has none |
| device left out | its data sheet, the constants of `hermesdsl/cost/constants.py`, and its class (`hermesdsl/cost/classes.py`) fitted to the other devices of the table. The constants, some twenty numbers for all chips, were found on these very tables: that much is not held out |
| class defaults | what a chip without a calibration gets: its data sheet, constants and class as shipped |
| constants alone | its data sheet and the constants |
| data sheet | peak, bandwidth, links, multiprocessors, launches and tiles; every fraction of peak and bandwidth is 1 |
| roofline | the larger of FLOPs over peak and bytes over bandwidth |
"""  # noqa: E501


def page(sections: Sequence[Section], command: str, pictures: Mapping[str, str]) -> str:
    """The whole page; `pictures` by name of a part, as paths beside the page."""
    parts = [_HEAD.format(command=command), _overview(sections), _WAYS]
    parts += [_section(each, command, pictures.get(each.name)) for each in sections]
    return "\n".join(parts).rstrip() + "\n"


def _overview(sections: Sequence[Section]) -> str:
    figures = [figure for each in sections for figure in each.figures if figure.must is not None]
    verdicts = [figure.verdict(figure.must) for figure in figures]
    aims = [figure.verdict(figure.aim) for figure in figures if figure.aim is not None]
    text = (
        "## What was asked\n\n"
        f"Of {len(figures)} figures that must be reached {verdicts.count(MET)} are, and "
        f"{verdicts.count(MISSED)} are not; {aims.count(MET)} of {len(aims)} aims are reached.\n"
    )
    absent = [each for each in sections if each.missing]
    if absent:
        text += "\n" + "\n".join(f"- {each.title}: {each.missing}." for each in absent) + "\n"
    return f"{text}\n{_figures(figures)}\n"


def _figures(figures: Sequence[Figure]) -> str:
    rows = []
    for each in figures:
        value = f"**{each.told(each.value)}**" if each.must is not None else each.told(each.value)
        rows.append([each.name, f"{each.n:,}", each.held, value, _against(each, each.must),
                     _against(each, each.aim)])  # fmt: skip
    return _table(("figure", "n", "kept out of the fit", "reached", "must", "aim"), rows)


def _against(figure: Figure, target: float | None) -> str:
    if target is None:
        return ""
    value = f"{target:.3g}" if figure.unit != "%" else f"{target * 100:g} %"
    return f"{value} {figure.verdict(target)}"


def _section(each: Section, command: str, picture: str | None) -> str:
    lines = [f"## {each.title}", "", each.about, ""]
    words = command.split(" -o ", maxsplit=1)[0]
    lines += [f"`{words} {each.name}` prints this part.", ""]
    if each.missing:
        lines += [f"Not available: {each.missing}.", ""]
    if each.figures:
        lines += [_figures(each.figures), ""]
    for table in each.tables:
        lines += [_titled(table), ""]
    if picture:
        lines += [f"![{each.title}: predicted against measured]({picture})", ""]
    notes = [*each.notes, *CAUSES.get(each.name, ())]
    if notes and not each.missing:
        lines += [
            "Where it fails, and why, as far as is known:",
            "",
            *(f"- {n}" for n in notes),
            "",
        ]
    if each.skipped:
        lines += ["Left out:", "", *(f"- {text}" for text in each.skipped), ""]
    return "\n".join(lines)


def _titled(table: Table) -> str:
    return f"{table.title}:\n\n{_table(table.header, table.rows)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
