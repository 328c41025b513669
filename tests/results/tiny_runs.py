"""Runs small enough to be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from hermesdsl.graph.types import RequestClass
from hermesdsl.sim.record import (
    COMPLETED,
    REFUSED,
    RESIDENCE_COLUMNS,
    SHOWN_COLUMNS,
    STEP_COLUMNS,
    TRANSFER_COLUMNS,
    UNFINISHED,
    VISIT_COLUMNS,
    EngineSummary,
    Run,
)

NAN = float("nan")
#: Of a finished run.
VISITS = tuple(name for name in VISIT_COLUMNS if name != "opened")
CLASSES = {
    "gold": RequestClass("gold", 10, {"ttft": 2.0, "tpot": 1.7}),
    "free": RequestClass("free", 0, {"e2e": 10.0}),
}


def columns(names: tuple[str, ...], *rows: tuple[float, ...]) -> dict[str, np.ndarray]:
    whole = {"client", "steps", "batch", "tokens", "prefill_tokens", "kv_blocks", "request",
             "first_step", "last_step", "source", "target", "stage", "pass", "part",
             "critical"}  # fmt: skip
    return {
        name: np.array([row[i] for row in rows], np.int64 if name in whole else np.float64)
        for i, name in enumerate(names)
    }


def tiny(**changes: Any) -> Run:
    """One engine, three requests of workload `chat`, class by class.

    0 (gold): arrives 0, prompt step 0..1, tokens at 1, 2, 3, then 3..5 belongs to the prompt of
    request 1 (a stall), last token at 6. 1 (gold): arrives 2.5, starts 3, its one token at 5.
    2 (free): arrives 4 and is refused.
    """
    requests = {
        "id": np.arange(3),
        "number": np.arange(3),
        "workload": np.zeros(3, np.int32),
        "class": np.array([0, 0, 1], np.int32),
        "arrival_s": np.array([0.0, 2.5, 4.0]),
        "prompt_tokens": np.array([10, 20, 1000]),
        "cached_tokens": np.zeros(3, np.int64),
        "output_tokens": np.array([4, 1, 8]),
        "generated": np.array([4, 1, 0]),
        "visible": np.array([4, 1, 0]),
        "context_tokens": np.array([10, 20, 1000]),
        "first_token_s": np.array([1.0, 5.0, NAN]),
        "last_token_s": np.array([6.0, 5.0, NAN]),
        "finish_s": np.array([6.0, 5.0, NAN]),
        "status": np.array([COMPLETED, COMPLETED, REFUSED], np.int8),
        "reason": np.array([0, 0, 1], np.int8),
        "chat.answer.enter_s": np.array([0.0, 2.5, NAN]),
        "chat.answer.start_s": np.array([0.0, 3.0, NAN]),
        "chat.answer.end_s": np.array([6.0, 5.0, NAN]),
        "chat.answer.client": np.array([0, 0, -1], np.int32),
    }
    run = Run(
        experiment="main",
        seed=1,
        horizon="drain",
        window=(0.0, None),
        workloads=("chat",),
        classes=("gold", "free"),
        clients=("llm[0]",),
        stages=("chat.answer",),
        requests=requests,
        steps=columns(
            STEP_COLUMNS,
            (0, 0.0, 1.0, 1, 0, 10, 10, 1, 1.0),
            (0, 1.0, 3.0, 2, 1, 2, 0, 1, 1.0),
            (0, 3.0, 5.0, 1, 0, 20, 20, 3, 2.0),
            (0, 5.0, 6.0, 1, 1, 1, 0, 1, 1.0),
        ),
        residences=columns(RESIDENCE_COLUMNS, (0, 0, 0, 3, 1.0, 3, 0.0)),
        transfers=columns(TRANSFER_COLUMNS),
        engines=(EngineSummary("llm[0]", 100, 16, 6.0, 0, 0, 0, 5),),
        counts={"offered": 3, "admitted": 2, "completed": 2, "refused": 1, "unfinished": 0},
        makespan_s=6.0,
        end_s=6.0,
        in_system={"time_s": np.array([0.0]), "requests": np.array([1])},
        # Request 0 works in 0..3 and 5..6; request 1 in 3..5.
        visits=columns(
            VISITS,
            (0, 0, 0, 0, 0.0, 0.0, 6.0, 0.0, 0, 1.0, 4.0, 1),
            (1, 0, 0, 0, 2.5, 3.0, 5.0, 0.0, 0, 5.0, 2.0, 1),
        ),
        shown=columns(SHOWN_COLUMNS, (0, 1, 1.0), (1, 1, 5.0)),
        kinds=("LlmEngine",),
    )
    return replace(run, **changes)


def with_columns(run: Run, **changed: Any) -> Run:
    """The run with some columns of `requests` replaced."""
    return replace(run, requests={**run.requests, **{k: np.array(v) for k, v in changed.items()}})


def cut() -> Run:
    """`tiny`, stopped at 4 s: request 0 has three tokens, request 1 none."""
    run = with_columns(
        tiny(),
        generated=[3, 0, 0],
        visible=[3, 0, 0],
        first_token_s=[1.0, NAN, NAN],
        last_token_s=[NAN, NAN, NAN],
        finish_s=[NAN, NAN, NAN],
        status=np.array([UNFINISHED, UNFINISHED, REFUSED], np.int8),
    )
    run.requests["chat.answer.end_s"] = np.array([NAN, NAN, NAN])
    return replace(
        run,
        horizon="cut",
        window=(0.0, 4.5),
        end_s=4.5,
        makespan_s=0.0,
        steps={name: column[:2] for name, column in run.steps.items()},
        residences=columns(RESIDENCE_COLUMNS, (0, 0, 0, 2, 1.0, 2, 0.0)),
        visits=columns(
            VISITS,
            (0, 0, 0, 0, 0.0, 0.0, NAN, 0.0, 0, 1.0, 3.0, 1),
            (1, 0, 0, 0, 2.5, 3.0, NAN, 0.0, 0, NAN, 0.0, 1),
        ),
        shown=columns(SHOWN_COLUMNS, (0, 1, 1.0)),
        counts={"offered": 3, "admitted": 2, "completed": 0, "refused": 1, "unfinished": 2},
    )
