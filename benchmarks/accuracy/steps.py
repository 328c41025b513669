"""Whole steps of Splitwise's table against the engine profile of 2023.

What a row is. `prompt_time` is the first step: it reads the prompts of the batch that KV has room
for. `token_time` is the mean of the steps after it. `e2e_time` is their sum for as many steps as
were made, fewer than `token_size` where the model ended its text before. KV has room for all of a
batch but in the rows of Llama-2-70B on two devices with 64 prompts of 512 tokens: a step of 32,768
tokens leaves memory for the KV of some 2,400. First steps take what four or five prompts take in
the rows beside, and `e2e_time` is that of 64 prompts taken up four or five at a time.

The constants are fitted by steps of the cost model itself: least squares on the logarithm of
measured over predicted, large errors counting less than their square.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.rows import Row
from hermesdsl.cost.constants import Profile
from hermesdsl.cost.llm import DataSheetCost
from hermesdsl.cost.profiles import library
from hermesdsl.cost.types import StepWork

#: Model, hardware and tensor-parallel ways.
Key: TypeAlias = tuple[str, str, int]
Table: TypeAlias = Sequence[Mapping[str, str]]
Floats: TypeAlias = NDArray[np.float64]
#: The cost model of an engine on a system; None if either is unknown.
Costs: TypeAlias = Callable[[str, str, int], DataSheetCost | None]

#: The library's profile of each hardware of the table: they differ in `slower` alone.
PROFILES = {"h100-80gb": "vllm_2023", "a100-80gb": "vllm_2023_a100"}
#: What is fitted, and where the search starts: seconds, passes, and seconds per byte. `slower` is
#: how much longer the host of the A100 takes for what it does alone: `eager`, and `churn`. `step`
#: holds `workers`.
START = {
    "eager": 0.3e-3, "slower": 1.5, "eager_prompt": 0.3e-3, "step": 10e-3, "sequence": 0.3e-3,
    "passes": 30.0, "anew": 1e-11,
}  # fmt: skip
#: Relative error from which one counts less than its square.
_LARGE = 0.05


@dataclass(frozen=True)
class _Step:
    """One step in a sum that the constants enter linearly but for the larger of two.

    `device`: seconds without passes and buffers anew; `a_pass` seconds; `buffers` bytes.
    """

    measured: float
    device: float
    a_pass: float
    buffers: float
    layers: int
    sequences: int
    prompts: bool
    slower: bool


def fitted(table: Table, costs: Costs) -> list[Row]:
    """A row per measured step: `prefill` and `decode` seconds, measured and predicted.

    By constants that were fitted to the other models and ways, on either hardware.
    """
    systems = _systems(table)
    known = _known(systems, costs)
    steps = {key: _steps(key, cost, systems[key]) for key, cost in known.items()}
    found: list[Row] = []
    fits: dict[tuple[str, int], dict[str, float]] = {}
    for key, rows in systems.items():
        left = (key[0], key[2])
        others = [step for k, own in steps.items() if (k[0], k[2]) != left for step in own]
        name = " ".join((key[0], key[1], f"tp{key[2]}"))
        if key not in known or not others:
            found.append(Row(name, key[1], skipped="unknown model or system, or no other"))
            continue
        if left not in fits:
            fits[left] = search(others)
        profile = profile_with(fits[left], key[1])
        found += [_row(name, row, known[key], profile) for row in rows]
    return found


def constants(table: Table, costs: Costs) -> dict[str, float]:
    """The constants fitted to all rows of systems that are known: those the library ships."""
    systems = _systems(table)
    known = _known(systems, costs)
    return search([s for key, cost in known.items() for s in _steps(key, cost, systems[key])])


def _systems(table: Table) -> dict[Key, list[Mapping[str, str]]]:
    found: dict[Key, list[Mapping[str, str]]] = {}
    for row in table:
        key = (row["model"], row["hardware"], int(row["tensor_parallel"]))
        found.setdefault(key, []).append(row)
    return found


def _known(systems: Iterable[Key], costs: Costs) -> dict[Key, DataSheetCost]:
    made = {key: costs(*key) for key in systems if key[1] in PROFILES}
    return {key: cost for key, cost in made.items() if cost is not None}


def profile_with(found: Mapping[str, float], hardware: str) -> Profile:
    """The library's profile for a hardware with these constants instead."""
    profile = library()[PROFILES[hardware]]
    slower = found["slower"] if PROFILES[hardware] != PROFILES["h100-80gb"] else 1.0
    overheads = replace(
        profile.overheads, eager=found["eager"] * slower, eager_prompt=found["eager_prompt"],
        step=found["step"] - profile.overheads.workers, sequence=found["sequence"],
    )  # fmt: skip
    kernels = replace(profile.kernels, passes=found["passes"], churn=1.0 / (found["anew"] * slower))
    return replace(profile, overheads=overheads, kernels=kernels)


# --- what a row measured ------------------------------------------------------------------------


def _row(name: str, row: Mapping[str, str], cost: DataSheetCost, profile: Profile) -> Row:
    served = _with(cost, profile)
    prompts, decodes, prompt, decode = _works(row, cost)
    shape = f"{row['prompt_size']}/{row['token_size']} b{row['batch_size']}"
    if min(prompts, decodes) < int(row["batch_size"]):
        shape += f" ({prompts} prompts, {decodes} decodes fit)"
    return Row(f"{name} {shape}", name, {
        "prefill": (_seconds(row, "prompt_time"), served.step(prompt)),
        "decode": (_seconds(row, "token_time"), served.step(decode)),
    })  # fmt: skip


def _works(row: Mapping[str, str], cost: DataSheetCost) -> tuple[int, int, StepWork, StepWork]:
    """Prompts of the first step, sequences of those after it, and both steps."""
    from benchmarks.accuracy.serving import decode_work, prompt_work

    prompt, batch = int(float(row["prompt_size"])), int(float(row["batch_size"]))
    profile = library()[PROFILES[row["hardware"]]]
    room = _with(cost, profile, prompt * batch).kv_tokens
    prompts = max(min(batch, room // (prompt + 1)), 1)
    most = float(row["token_size"]) - 1.0
    first, each = _seconds(row, "prompt_time"), _seconds(row, "token_time")
    made = most if prompts < batch else min((_seconds(row, "e2e_time") - first) / each, most)
    context = prompt + 0.5 * made
    decodes = max(min(batch, int(room / context)), 1)
    return prompts, decodes, prompt_work(prompt, prompts), decode_work(context, decodes)


def _with(cost: DataSheetCost, profile: Profile, tokens: int = 0) -> DataSheetCost:
    """The same engine under a profile, made for steps of so many tokens."""
    options = {**cost.options, "max_tokens": tokens} if tokens else cost.options
    return DataSheetCost(cost.model, cost.group, options, cost.efficiencies, profile)


def _seconds(row: Mapping[str, str], column: str) -> float:
    return float(row[column]) * 1e-3


# --- the fit ------------------------------------------------------------------------------------


def _steps(key: Key, cost: DataSheetCost, rows: Table) -> list[_Step]:
    """Both steps of every row; what the constants multiply is the cost model's own difference."""
    profile = library()[PROFILES[key[1]]]
    quiet = replace(
        profile.overheads, step=0.0, workers=0.0, sequence=0.0, eager=0.0, eager_prompt=0.0
    )  # fmt: skip
    engines = [
        _with(cost, replace(profile, overheads=quiet,
                            kernels=replace(profile.kernels, passes=passes, churn=churn)))
        for passes, churn in ((0.0, inf), (1.0, inf), (0.0, 1.0))
    ]  # fmt: skip
    found = []
    for row in rows:
        _, _, *works = _works(row, cost)
        for work, column in zip(works, ("prompt_time", "token_time"), strict=True):
            device, passing, anew = (engine.step(work) for engine in engines)
            found.append(_Step(
                _seconds(row, column), device, passing - device, anew - device,
                cost.model.layers, work.prefills + work.decodes, work.prefills > 0,
                PROFILES[key[1]] != PROFILES["h100-80gb"],
            ))  # fmt: skip
    return found


def search(steps: Sequence[_Step]) -> dict[str, float]:
    """The constants that fit best: damped least squares over their logarithms from `START` on."""
    columns = np.array([
        (s.device, s.a_pass, s.buffers, s.layers, s.sequences, s.prompts, s.slower) for s in steps
    ], np.float64).T  # fmt: skip
    measured = np.log([s.measured for s in steps])
    at = np.log(list(START.values()))

    def errors(point: Floats) -> Floats:
        return np.asarray(np.log(_predicted(np.exp(point), columns)) - measured)

    damping, now = 1e-2, errors(at)
    for _ in range(100):
        weight = (1.0 + (now / _LARGE) ** 2) ** -0.25
        slopes = np.array([
            (errors(at + 1e-4 * unit) - now) * 1e4 for unit in np.eye(len(at))
        ]).T * weight[:, None]  # fmt: skip
        normal, down = slopes.T @ slopes, slopes.T @ (weight * now)
        better = False
        while not better and damping < 1e9:
            stiff = damping * (np.diag(np.diag(normal)) + 1e-6 * np.eye(len(at)))
            ahead = at - np.linalg.solve(normal + stiff, down)
            then = errors(ahead)
            better = _loss(then) < _loss(now)
            damping *= 0.2 if better else 4.0
        if not better:
            break
        done = _loss(now) - _loss(then) < 1e-9 * _loss(now)
        at, now = ahead, then
        if done:
            break
    return dict(zip(START, np.exp(at).tolist(), strict=True))


def _predicted(point: Floats, columns: Floats) -> Floats:
    eager, slower, prompt, step, sequence, passes, anew = point
    device, a_pass, buffers, layers, sequences, prompts, is_slower = columns
    host = np.where(is_slower > 0.0, slower, 1.0)
    launches = layers * (eager * host + prompt * prompts)
    devices = device + passes * a_pass + anew * host * buffers
    return np.asarray(np.maximum(launches, devices) + step + sequence * sequences)


def _loss(errors: Floats) -> float:
    """Squares where small, absolute values where large."""
    return math.fsum(np.sqrt(1.0 + (errors / _LARGE) ** 2) - 1.0)
