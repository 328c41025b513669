"""Rows of a table of kernels that can be used; what cannot is counted and named."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.accuracy.report import counted
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import DTYPE_BYTES
from hermesdsl.measure.tables import DTYPES, TIMES, as_table

if TYPE_CHECKING:
    import pandas as pd

#: Columns that are above zero wherever they stand.
_SIZES = (
    "m", "n", "k", "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim",
    "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size",
    "num_gpus", "message_size", "power_w", "power_limit_w", *TIMES,
)  # fmt: skip
#: Columns of dtypes that decide how a row is served.
_DTYPES = ("gemm_dtype", "moe_dtype", "kv_cache_dtype")
#: Names of what launched a kernel, kept beside the rows.
SOURCE = "kernel_source"


@dataclass
class Rows:
    """One table: `frame` as of `measure.tables.Table` with ``kernel_source``, None if unusable."""

    frame: pd.DataFrame | None
    skipped: list[str] = field(default_factory=list)


def rows_of(path: Path, *, decoding: bool = False) -> Rows:
    """The usable rows of a table; `decoding`: every row reads tokens that were cached before."""
    import pandas as pd

    try:
        read = pd.read_csv(path, comment="#")
    except FileNotFoundError:
        return Rows(None, [f"`{path.name}`: not in the folder"])
    except (OSError, UnicodeDecodeError, ValueError, EOFError) as problem:
        return Rows(None, [f"`{path.name}`: no table ({' '.join(str(problem).split())[:80]})"])
    skipped: list[str] = []
    read = _numbers(path, read, decoding, skipped)
    read = _known(path, read, skipped)
    if not len(read):
        return Rows(None, [*skipped, f"`{path.name}`: no row is left"])
    try:
        table = as_table(read.reset_index(drop=True), path)
    except SpecError as problem:
        return Rows(None, [*skipped, *(_one_line(d.message) for d in problem.diagnostics)])
    frame = table.frame
    if SOURCE in read.columns and len(frame) == len(read):
        frame[SOURCE] = read[SOURCE].astype(str).to_numpy()
    else:
        frame[SOURCE] = ""
    return Rows(frame, skipped)


def _numbers(
    path: Path, read: pd.DataFrame, decoding: bool, skipped: list[str]
) -> pd.DataFrame:  # fmt: skip
    """Without rows in which a size or a time is no number above zero."""
    import pandas as pd

    wrong: dict[str, int] = {}
    good = pd.Series(True, read.index)
    for name in [*_SIZES, "step"]:
        if name not in read.columns:
            continue
        values = pd.to_numeric(read[name], errors="coerce")
        least = 0.0 if name != "step" or decoding else -0.5
        fine = (values > least) & (values < math.inf)
        if not fine.all():
            wrong[name] = int((good & ~fine).sum())
        good &= fine
        read[name] = values
    skipped += [f"`{path.name}`: {n:,} rows whose `{name}` is no number above 0"
                for name, n in wrong.items() if n]  # fmt: skip
    return read[good]


def _known(path: Path, read: pd.DataFrame, skipped: list[str]) -> pd.DataFrame:
    """Without rows of unknown dtypes or spreads, and of more experts chosen than there are."""
    known = {*DTYPE_BYTES, "fp8_block", *DTYPES}
    for name in _DTYPES:
        if name in read.columns:
            own = read[name].astype(str)
            skipped += _told(path, name, own[~own.isin(known)])
            read = read[own.isin(known)]
    if "distribution" in read.columns:
        own = read["distribution"].astype(str)
        fine = own.map(_spread)
        skipped += _told(path, "distribution", own[~fine])
        read = read[fine]
    if {"topk", "num_experts"} <= set(read.columns):
        fine = read["topk"] <= read["num_experts"]
        if not fine.all():
            skipped.append(f"`{path.name}`: {int((~fine).sum()):,} rows choose more experts than "
                           "there are")  # fmt: skip
        read = read[fine]
    return read


def _spread(text: str) -> bool:
    """Whether a distribution of tokens over experts is known: even, or a power law."""
    if not text.startswith("power_law_"):
        return text in {"balanced", "uniform", ""}
    try:
        return math.isfinite(float(text.rpartition("_")[2]))
    except ValueError:
        return False


def _told(path: Path, name: str, values: Iterable[str]) -> list[str]:
    found = list(values)
    return [f"`{path.name}`: unknown `{name}`: {counted(found)}"] if found else []


def _one_line(text: str) -> str:
    """A message without the folder it speaks of."""
    return " ".join(word.rpartition("/")[2] if word.startswith("`") and "/" in word else word
                    for word in text.split())  # fmt: skip
