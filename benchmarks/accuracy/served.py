"""Runs of serving engines against what is predicted for them: rows of `serving`, told by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import isfinite
from pathlib import Path

import numpy as np

from benchmarks.accuracy import loops, serving
from benchmarks.accuracy.report import (
    Dotted,
    Figure,
    Floats,
    Section,
    Table,
    counted,
    errors,
    median,
    percent,
    signed,
    spearman,
)
from benchmarks.accuracy.rows import Row

#: Must and aim by metric.
Targets = Mapping[str, tuple[float, float]]
#: Must and aim of the rank correlation of closed-loop points.
RANKED = (0.95, 0.98)
#: Fewest points of a group whose ranks are compared, and rows told among the worst.
LEAST, TOLD = 5, 8


@dataclass(frozen=True)
class Subject:
    """One part: the function of `serving` with its rows, and what they must reach.

    `file` under the folder of data says whether there is anything to predict.
    `targets` by row (a word of its name, empty: any) and metric. `ranked`: whether the order of
    points within a group is told. `each`: figures are of single groups, not pooled over rows.
    `beside`: metrics of the form ``metric word`` that are told without a target, by word: what
    stands for them and how they were kept out of the fit.
    """

    title: str
    file: str
    about: str
    held: str
    targets: Mapping[str, Targets]
    ranked: bool = False
    each: bool = False
    beside: Mapping[str, tuple[str, str]] = field(default_factory=dict)


SUBJECTS: Mapping[str, Subject] = {
    "splitwise": Subject(
        "Steps of whole models",
        "splitwise/perf_model.csv.gz",
        "`splitwise/perf_model.csv.gz`: Llama-2-70B on 2, 4 and 8 devices, BLOOM-176B on 8, A100 "
        "and H100, vLLM of late 2023; 80 of the rows repeat others to the digit. Rows of a capped "
        "H100 are the same times × 1.30 and left out. `prompt_time` is the first step, which reads "
        "as many prompts as KV has room for, and `token_time` the mean of those after it. On two "
        "devices a step made for 32,768 tokens leaves KV for some 2,400: the ten rows with 64 "
        "prompts of 512 are those of four or five at a time, as their `e2e_time` (2,000 to 2,360 "
        "steps for 128 tokens) says too, and are predicted so; in ten rows with 32 prompts 30 "
        "decode at a time. Context is the prompt and half of the tokens that `e2e_time` shows "
        "were made. Predicted by the profile `vllm_2023` (`vllm_2023_a100`) with its seven "
        "constants fitted anew. Which terms it has was chosen with all rows in sight: that much is "
        "not held out.",
        "by model and ways: no row of that model on as many devices, on either chip, is in the "
        "fit of the seven constants",
        {"": {"prefill": (0.12, 0.06), "decode": (0.10, 0.05)}},
    ),
    "rtx": Subject(
        "One run on RTX PRO 6000",
        "llmservingsim/RTXPRO6000_Llama-3.1-8B/requests.csv",
        "`llmservingsim/RTXPRO6000_Llama-3.1-8B`: 300 requests at 10 per second, vLLM 0.19.0.",
        "this run and this device are in no fit",
        {
            "class": {"tpot": (0.08, 0.03), "latency": (0.08, 0.03), "makespan": (0.08, 0.03),
                      "throughput": (0.08, 0.03)},
            "profile": {"ttft": (0.04, 0.02), "tpot": (0.01, 0.005), "latency": (0.02, 0.01),
                        "ttft_mape": (0.108, 0.06)},
        },
        each=True,
    ),
    "open_loop": Subject(
        "Open-loop runs",
        "serving",
        "`serving/vllm_runs_h100_dev.csv`: vLLM 0.15.1 on H100 at constant rates, several turns "
        "per user over shared system prompts.",
        "by model: the API's time is taken from the other models' runs; the rest of the engine "
        "profile is the library's",
        {"": {"tpot": (0.10, 0.05), "ttft": (0.20, 0.12), "e2e": (0.10, 0.05)}},
    ),
    "closed_loop": Subject(
        "Closed-loop points",
        "serving",
        "`serving/closed_loop_dev.csv.gz`: points at fixed concurrency, three engines. Its rows do "
        "not say how often a client came, nor how the engine was started: that is a rule of their "
        "columns, taken from the scripts of the source's own benchmarks "
        "(`benchmarks/accuracy/loops.py`) and written with the points in sight. What the scripts "
        "leave open, and whether the host's constants are the engine's or those of `vllm`, is "
        "what is best on the other models of the engine. `known`: the same as found on the "
        "point's own group. `between` is no prediction: points that lie between two others, "
        "interpolated from what was measured there.",
        "by model: places of the engine, and the host's constants out of two sets, are what is "
        "best on the engine's other models; each set was found on two models, and the rule for "
        "how clients came was written with all points in sight",
        {"": {"tpot": (0.15, 0.08), "ttft": (0.30, 0.20)}},
        ranked=True,
        beside={
            "known": ("way known", "not by model: the way was found on these points"),
            "between": ("between measured neighbours", "interpolated, not predicted"),
        },
    ),
}  # fmt: skip


def section(
    name: str, data: Path, say: Callable[[str], None] = lambda _: None, jobs: int = 1
) -> Section:
    """One part of the page from the rows that `serving` predicts, on as many processes."""
    subject = SUBJECTS[name]
    made = Section(name, subject.title, subject.about)
    if not (data / subject.file).exists():
        made.missing = f"`{subject.file}` is not in the folder"
        return made
    if name == "splitwise" and find_spec(f"{__package__}.steps") is None:
        made.missing = "there is no profile of the engine of 2023 yet"
        return made
    say(f"{name}: replaying")
    if name == "closed_loop":
        rows = loops.closed_loop(data, jobs=jobs)
    else:
        function: Callable[[Path], Iterable[Row]] = getattr(serving, name)
        rows = list(function(data))
    good = [row for row in rows if not row.skipped and row.figures]
    made.skipped += [f"{row.name}: {row.skipped}" for row in rows if row.skipped][:TOLD]
    more = sum(bool(row.skipped) for row in rows) - TOLD
    if more > 0:
        reasons = [row.skipped for row in rows if row.skipped]
        made.skipped.append(f"and {more:,} more; by reason: {counted(reasons)}")
    if not good:
        made.missing = "no row that can be predicted"
        return made
    made.figures += _figures(subject, good)
    made.tables.append(_by_group(good, subject.each))
    made.tables.append(_worst(good, _main(subject, good)))
    if subject.ranked:
        figures, table = _ranks(subject, good)
        made.figures += figures
        made.tables.append(table)
    for metric in _main(subject, good):
        measured, predicted = _columns(good, metric)
        made.dots.append(Dotted(metric, measured, predicted))
    return made


def _metrics(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(metric for row in rows for metric in row.figures))


def _main(subject: Subject, rows: Sequence[Row]) -> list[str]:
    """Metrics that are not told beside others."""
    return [metric for metric in _metrics(rows) if metric.split(" ")[-1] not in subject.beside]


def _columns(rows: Sequence[Row], metric: str) -> tuple[Floats, Floats]:
    """Measured and predicted, (n,) each, of rows that have both."""
    pairs = [row.figures[metric] for row in rows if metric in row.figures]
    pairs = [pair for pair in pairs if all(isfinite(x) and x > 0 for x in pair)]
    both = np.array(pairs, np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _errors(rows: Sequence[Row], metric: str) -> Floats:
    """Signed errors, (n,); what is measured as 0 is predicted as an error already."""
    given = [row.figures[metric] for row in rows if metric in row.figures]
    told = np.array([guess for own, guess in given if own == 0.0 and isfinite(guess)])
    return np.concatenate([errors(*_columns(rows, metric)), told])


def _figures(subject: Subject, rows: Sequence[Row]) -> list[Figure]:
    found = []
    for word, targets in subject.targets.items():
        own = [row for row in rows if word in row.name.lower()]
        prefix = f"{subject.title}: {own[0].name}, " if word and own else f"{subject.title}: "
        for metric, (must, aim) in targets.items():
            errs = _errors(own, metric)
            if not len(errs):
                continue
            if metric.endswith("_mape"):
                name = f"{prefix}{metric.removesuffix('_mape')} per request, mean APE"
            else:
                name = f"{prefix}{metric}, {'error' if subject.each else 'median APE'}"
            found.append(Figure(name, median(errs), len(errs), subject.held, must, aim))
    for metric in _metrics(rows):
        first, _, word = metric.partition(" ")
        if word in subject.beside:
            label, held = subject.beside[word]
            errs = _errors(rows, metric)
            name = f"{subject.title}: {first}, {label}, median APE"
            found.append(Figure(name, median(errs), len(errs), held))
    return found


def _by_group(rows: Sequence[Row], each: bool) -> Table:
    metrics = _metrics(rows)
    found = []
    by = [row.name if each else row.group for row in rows]
    for group in sorted(set(by)):
        own = [row for row, there in zip(rows, by, strict=True) if there == group]
        cells = [group, f"{len(own):,}"]
        for metric in metrics:
            errs = _errors(own, metric)
            if len(errs) > 1:
                cells.append(f"{percent(median(errs))} ({signed(float(np.median(errs)))})")
            else:
                cells.append(signed(float(errs[0])) if len(errs) else "–")
        found.append(cells)
    return Table("Median APE (signed median) by group", ["group", "n", *metrics], found)


def _worst(rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    """The single rows furthest off, by the worst of their `metrics`."""
    found: list[tuple[float, list[str]]] = []
    for row in rows:
        told = {}
        for metric in (name for name in metrics if name in row.figures):
            measured, predicted = _columns([row], metric)
            if len(measured):
                told[metric] = float(errors(measured, predicted)[0])
        if told:
            metric = max(told, key=lambda name: abs(told[name]))
            measured, predicted = row.figures[metric]
            both = [f"{measured:.4g}", f"{predicted:.4g}"]
            cells = [row.name, row.group, metric, *both, signed(told[metric])]
            found.append((abs(told[metric]), cells))
    found.sort(key=lambda each: (-each[0], each[1]))
    header = ("row", "group", "metric", "measured", "predicted", "error")
    return Table("Furthest off (SI units)", header, [cells for _, cells in found[:TOLD]])


def _ranks(subject: Subject, rows: Sequence[Row]) -> tuple[list[Figure], Table]:
    """Rank correlation over the points of each group, by metric: its median and its least."""
    figures, told = [], []
    metrics = _metrics(rows)
    by: dict[str, list[float]] = {metric: [] for metric in metrics}
    for group in sorted({row.group for row in rows}):
        own = [row for row in rows if row.group == group]
        cells = [group, f"{len(own):,}"]
        for metric in metrics:
            measured, predicted = _columns(own, metric)
            rank = spearman(measured, predicted) if len(measured) >= LEAST else float("nan")
            cells.append(f"{rank:.3f}" if isfinite(rank) else "–")
            if isfinite(rank):
                by[metric].append(rank)
        told.append(cells)
    for metric, found in by.items():
        first, _, word = metric.partition(" ")
        label, held = subject.beside.get(word, ("", subject.held))
        must, aim = (None, None) if word else RANKED
        name = f"{subject.title}: rank correlation of {first}{', ' if label else ''}{label}"
        n = sum(metric in row.figures for row in rows)
        if found:
            figures.append(Figure(f"{name} in the worst group", min(found), n, held,
                                  must, aim, more=True, unit=""))  # fmt: skip
            figures.append(Figure(f"{name}, median over groups", float(np.median(found)),
                                  n, held, more=True, unit=""))  # fmt: skip
    return figures, Table("Rank correlation (Spearman)", ["group", "n", *metrics], told)
