"""The host's share of recorded steps, held against the breakdown of the same steps."""

from __future__ import annotations

import numpy as np
import pytest

import hermesdsl
from hermesdsl.cost import engine_cost
from hermesdsl.cost.bind import served_cost
from hermesdsl.cost.llm import DataSheetCost
from hermesdsl.cost.types import StepRows, StepWork

PROGRAM = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B, Llama3_2_1B
from std.engines.profiles import vllm
profile Own extends vllm {{ {host} }}
gpu: H100
llm: LlmEngine on gpu {{ model = Llama3_1_8B; profile = Own {more} }}
"""


def cost(host: str = "", more: str = "") -> DataSheetCost:
    system = hermesdsl.compile(PROGRAM.format(host=host, more=more))
    return engine_cost(system.placement.nodes["llm"]["client"])


def rows(own: DataSheetCost, *works: StepWork) -> StepRows:
    """What a run records of these steps; blocks hold what decodes and prompts read."""
    return StepRows(
        np.array([own.step(work) for work in works]),
        np.array([work.decodes for work in works]),
        np.array([float(work.tokens) for work in works]),
        np.array([float(work.prefill_tokens) for work in works]),
        np.array([work.decode_context + work.prefill_kv for work in works]),
    )


def host(own: DataSheetCost, work: StepWork) -> float:
    return next(op.seconds for op in own.breakdown(work) if op.name == "host")


DECODES = StepWork(32, 32, decodes=32, decode_context=32e3)
MIXED = StepWork(532, 33, 1, 500, 125250.0, 500.0, 32, 32e3)


def test_beside_the_devices_only_what_is_alone_counts() -> None:
    """0.3 ms gap + a tenth of 0.5 ms + 32 · 25 us = 0.43 ms; with a prompt 33 sequences."""
    own = cost()
    found = own.hosted(rows(own, DECODES, MIXED))
    assert found.tolist() == pytest.approx([0.43e-3, 0.4325e-3])
    assert found.tolist() == pytest.approx([host(own, DECODES), host(own, MIXED)])


def test_without_overlap_all_of_it_counts() -> None:
    own = cost("overlap = 0%; gap = 0 ms")
    assert own.hosted(rows(own, DECODES))[0] == pytest.approx(0.5e-3 + 32 * 25e-6)


@pytest.mark.parametrize("spec", ["step = 30 ms", "graph_limit = 16 tok; eager = 1 ms"])
def test_devices_that_wait_for_the_host(spec: str) -> None:
    """What devices would have taken is the cost model's, so that the rest is the host's."""
    own = cost(spec)
    found = own.hosted(rows(own, DECODES))[0]
    assert found == pytest.approx(host(own, DECODES), rel=1e-6)
    assert found > 15e-3


def test_guesses_are_of_one_host() -> None:
    system = hermesdsl.compile(
        PROGRAM.format(host="", more="; speculate = draft(Llama3_2_1B, gamma = 3, accept = 70%)")
    )
    own = served_cost(system.placement.nodes["llm"]["client"])
    whole = own.decode_run(8, 8e3).seconds(1)
    found = own.hosted(StepRows(np.array([whole]), np.array([8]), np.array([8.0]), np.array([0.0]),
                                np.array([8e3])))  # fmt: skip
    assert 0.3e-3 < found[0] < 0.1 * whole


def test_no_steps_have_no_host() -> None:
    nothing = np.zeros(0)
    empty = StepRows(nothing, nothing.astype(np.int64), nothing, nothing, nothing)
    assert len(cost().hosted(empty)) == 0


def test_no_more_than_the_step() -> None:
    """A recorded step shorter than the host alone takes (a failure cut it off)."""
    own = cost("gap = 20 ms")
    whole = rows(own, DECODES)
    assert own.hosted(whole._replace(seconds=np.array([5e-3])))[0] == 5e-3
