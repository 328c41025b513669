"""Whole steps against cost models: what old software adds, from systems other than the predicted.

t = a · device + b · layers + c · sequences + d, least squares on relative error over all other
(model, tp) of the same hardware: kernels slower than today's, launches without captured graphs,
scheduling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.rows import Row

Key = tuple[str, str, int]


def fitted(table: list[dict[str, str]], costs: Callable[[str, str, int], Any | None]) -> list[Row]:
    """A row per measured step: `prefill` and `decode` seconds, measured and predicted."""
    systems: dict[Key, list[dict[str, str]]] = {}
    for row in table:
        key = (row["model"], row["hardware"], int(row["tensor_parallel"]))
        systems.setdefault(key, []).append(row)
    features = {}
    for key, rows in systems.items():
        cost = costs(*key)
        if cost is not None:
            features[key] = [_features(cost, row) for row in rows]
    found = []
    for key, rows in systems.items():
        name = f"{key[0]} {key[1]} tp{key[2]}"
        others = [k for k in features if k[1] == key[1] and k != key]
        if key not in features or not others:
            found.append(Row(name, key[1], skipped="unknown model or system, or no other"))
            continue
        guesses = []
        for part, column in enumerate(("prompt_time", "token_time")):
            x = np.array([f[part] for k in others for f in features[k]])
            y = np.array([_seconds(row, column) for k in others for row in systems[k]])
            weights = _solved(x / y[:, None])
            guesses.append(np.array([f[part] for f in features[key]]) @ weights)
        for row, prefill, decode in zip(rows, *guesses, strict=True):
            shape = f"{row['prompt_size']}/{row['token_size']} b{row['batch_size']}"
            found.append(Row(f"{name} {shape}", key[1], {
                "prefill": (_seconds(row, "prompt_time"), float(prefill)),
                "decode": (_seconds(row, "token_time"), float(decode)),
            }))  # fmt: skip
    return found


def _seconds(row: dict[str, str], column: str) -> float:
    return float(row[column]) * 1e-3


def _features(cost: Any, row: dict[str, str]) -> tuple[list[float], list[float]]:
    """Of the prompt's step and of a decode step: devices, layers, sequences, one."""
    from benchmarks.accuracy.serving import decode_work, prompt_work

    prompt, batch = int(float(row["prompt_size"])), int(float(row["batch_size"]))
    context = prompt + 0.5 * float(row["token_size"])
    rest = [float(cost.model.layers), float(batch), 1.0]
    return (
        [cost.step(prompt_work(prompt, batch)), *rest],
        [cost.step(decode_work(context, batch)), *rest],
    )


def _solved(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of rows · w = 1 over w ≥ 0: the worst negative ones are left out in turn."""
    kept = list(range(rows.shape[1]))
    while True:
        found = np.linalg.lstsq(rows[:, kept], np.ones(len(rows)), rcond=None)[0]
        if (found >= 0.0).all() or len(kept) == 1:
            weights = np.zeros(rows.shape[1])
            weights[kept] = found
            return weights
        kept.pop(int(np.argmin(found)))
