"""The tables of a run as a person reads them: names for indices, one column per figure.

A table is a mapping of column names to equal-length columns: arrays, or lists of text. Knows no
file format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hermesdsl.results.definitions import OUTCOMES
from hermesdsl.results.metrics import Measures
from hermesdsl.results.streamed import Streamed
from hermesdsl.sim.record import Run

__all__ = ["Table", "request_rows", "step_rows", "utilisation_rows"]

Table: TypeAlias = "Mapping[str, NDArray[Any] | Sequence[str]]"


def request_rows(measures: Measures) -> Table:
    """One row per offered request in order of arrival; times in seconds, NaN where undefined.

    ``<stage>.client`` is empty for a stage that the request did not reach. ``context_tokens``, the
    prompt with the prefix and history before it, is there where some request has such.
    """
    run = measures.run
    columns = run.requests
    status = {code: name for name, code in OUTCOMES.items()}
    rows: dict[str, NDArray[Any] | Sequence[str]] = {
        "id": columns["id"],
        "workload": _names(columns["workload"], run.workloads),
        "class": _names(columns["class"], run.classes),
        "arrival_s": columns["arrival_s"],
        "prompt_tokens": columns["prompt_tokens"],
        **_contexts(columns),
        "cached_tokens": columns["cached_tokens"],
        "output_tokens": columns["output_tokens"],
        "first_token_s": columns["first_token_s"],
        "finish_s": columns["finish_s"],
        "ttft_s": measures.column("ttft"),
        "tpot_s": measures.column("tpot"),
        "e2e_s": measures.column("e2e"),
        "status": [status[code] for code in columns["status"].tolist()],
    }
    for stage in run.stages:
        for what in ("enter_s", "start_s", "end_s"):
            rows[f"{stage}.{what}"] = columns[f"{stage}.{what}"]
        rows[f"{stage}.client"] = _names(columns[f"{stage}.client"], run.clients)
    return rows


def _contexts(columns: Mapping[str, NDArray[Any]]) -> Table:
    context = columns["context_tokens"]
    if np.array_equal(context, columns["prompt_tokens"]):
        return {}
    return {"context_tokens": context}


def step_rows(run: Run) -> Table:
    """One row per run of engine steps, with the client's name; see `sim.record.Run.steps`."""
    named = {"client": _names(run.steps["client"], run.clients)}
    return {**named, **{k: v for k, v in run.steps.items() if k != "client"}}


def utilisation_rows(measures: Measures | Streamed) -> Table:
    """One row per engine: share of the window that it ran steps, and its totals over the run."""
    run = measures.run
    engines = run.engines
    peak = np.zeros(len(run.clients), dtype=np.int64)
    np.maximum.at(peak, run.steps["client"], run.steps["kv_blocks"])
    by_path = dict(zip(run.clients, peak.tolist(), strict=True))
    return {
        "client": [engine.client for engine in engines],
        "utilisation": np.array(
            [measures.utilisation(engine.client) or 0.0 for engine in engines], dtype=np.float64
        ),
        "busy_s": np.array([engine.busy_s for engine in engines], dtype=np.float64),
        "steps": np.array([engine.steps for engine in engines], dtype=np.int64),
        "preemptions": np.array([engine.preemptions for engine in engines], dtype=np.int64),
        "recomputed_tokens": np.array([engine.recomputed for engine in engines], dtype=np.int64),
        "swapped_blocks": np.array([engine.swapped for engine in engines], dtype=np.int64),
        "kv_capacity_tokens": np.array(
            [engine.capacity_blocks * engine.block_size for engine in engines], dtype=np.int64
        ),
        **(
            {}
            if isinstance(measures, Streamed)
            else {
                "kv_peak_tokens": np.array(
                    [by_path[engine.client] * engine.block_size for engine in engines],
                    dtype=np.int64,
                )
            }
        ),
    }


def _names(index: NDArray[Any], names: Sequence[str]) -> list[str]:
    """The name of each index; empty for -1."""
    padded = (*names, "")
    return [padded[i] for i in index.tolist()]
