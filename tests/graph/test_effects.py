"""What a pipeline asks for and nothing in it can bring."""

from __future__ import annotations

import pytest

import hermesdsl
from hermesdsl.diagnostics import SpecError

SYSTEM = """
from std.nvidia.hopper import DGX_H100
from std.models.llama import Llama3_1_8B
from std.models.embedding import BGE_Reranker
box: DGX_H100
llm: LlmEngine on box.gpu[0] { model = Llama3_1_8B }
ranker: BatchEngine on box.gpu[1] { model = BGE_Reranker }
cores: WorkerPool on box.cpu[0] { workers = 4 }
index wiki { kind = flat; vectors = 1e6; dim = 768 }
"""
LOAD = """
workload w { pipeline = P; arrivals = poisson(1 req/s); prompt = 9 tok; output = 9 tok }
experiment e { workload = [w]; duration = 1 s }
"""


def codes(text: str) -> list[str]:
    try:
        hermesdsl.compile(SYSTEM + text + LOAD)
    except SpecError as problem:
        return [item.code for item in problem.diagnostics if item.is_error]
    return []


JUDGE = """
pipeline Judge {
    score: Score on cores { service = 1 ms; pass = 50% }
    input -> score -> output
}
"""
BRANCH = """
pipeline P {
    %s
    answer: Generate on llm
    input -> first
    branch first { verdict == fail -> refused; else -> answer -> output }
}
"""


@pytest.mark.parametrize(
    ("first", "found"),
    [
        ("first: Step on cores { service = 1 ms }", ["HMS502"]),
        ("first: Score on cores { service = 1 ms }", []),
        ("first: Judge", []),  # a verdict of a part is the whole's
    ],
)
def test_a_branch_on_a_verdict_needs_one(first: str, found: list[str]) -> None:
    assert codes(JUDGE + BRANCH % first) == found


def test_a_branch_within_a_part_may_read_a_verdict_from_before_it() -> None:
    part = BRANCH.replace("pipeline P", "pipeline Part") % (
        "first: Step on cores { service = 1 ms }"
    )
    whole = """
    pipeline P {
        judge: %s
        part: Part
        input -> judge -> part -> output
    }
    """
    assert codes(JUDGE + part + whole % "Judge") == []
    assert codes(JUDGE + part + whole % "Step on cores { service = 1 ms }") == ["HMS502"]


@pytest.mark.parametrize(
    ("replicas", "found"),
    [
        ("tries[3]: Judge { join = first(1, pass) }", []),
        ("tries[3]: Score on cores { service = 1 ms; join = first(1, pass) }", []),
        ("tries[3]: Step on cores { service = 1 ms; join = first(1) }", []),
        ("tries[3]: Step on cores { service = 1 ms; join = first(1, pass) }", ["HMS505"]),
        ("tries[1]: Step on cores { service = 1 ms; join = first(1) }", []),  # a swept size
        ("tries: Step on cores { service = 1 ms; join = first(1) }", ["HMS505"]),
    ],
)
def test_a_join_needs_replicas_and_passes(replicas: str, found: list[str]) -> None:
    assert codes(JUDGE + f"pipeline P {{\n{replicas}\ninput -> tries -> output\n}}") == found


@pytest.mark.parametrize(
    ("before", "found"), [("Step on cores { service = 1 ms }", ["HMS504"]),
                          ("Retrieve on cores { index = wiki }", [])],
)  # fmt: skip
def test_a_reranker_needs_documents(before: str, found: list[str]) -> None:
    pipeline = f"pipeline P {{\na: {before}\nb: Rerank on ranker\ninput -> a -> b -> output\n}}"
    assert codes(pipeline) == found
