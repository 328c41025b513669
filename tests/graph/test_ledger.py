from __future__ import annotations

from itertools import pairwise

import pytest

from hermesdsl.graph.ledger import RULES, check_clients, check_kv
from hermesdsl.graph.pipeline import Arrow, build
from hermesdsl.graph.types import Choice, Client, LlmModel, PipelineGraph, Pool, StageNode
from hermesdsl.source import Source, Span


def model(name: str) -> LlmModel:
    return LlmModel(name, 1, 8, 8, 8, 1, 1, 8, 1e3, 1e3, "bf16", "bf16", "bf16", 2e3, 32.0)


CLIENTS = {
    client.path: client
    for client in (
        Client("big[0]", "LlmEngine", None, model("Big")),
        Client("big[1]", "LlmEngine", None, model("Big")),
        Client("other", "LlmEngine", None, model("Big")),
        Client("small", "LlmEngine", None, model("Small")),
        Client("guard", "BatchEngine", None, model("Guard1B")),
        Client("bare", "BatchEngine", None),
        Client("cpu", "WorkerPool", None),
        Client("web", "Delay", None),
    )
}
POOLS = {
    "big": Pool("big", ("big[0]", "big[1]")),
    "mixed": Pool("mixed", ("big[0]", "small")),
    **{name: Pool(name, (name,)) for name in ("other", "small", "guard", "bare", "cpu", "web")},
}


def pipeline(*stages: StageNode, path: str = "P", forks: str = "") -> PipelineGraph:
    """A chain of stages; with `forks`, chains such as ``input a b output`` instead."""
    chains = (
        forks.split(";") if forks else ["input " + " ".join(s.path for s in stages) + " output"]
    )
    arrows = []
    for chain in chains:
        nodes = chain.split()
        for source, target in pairwise(nodes):
            choice = None
            if "?" in source:
                source, order = source.split("?")
                choice = Choice(int(order), share=0.5)
            arrows.append(Arrow(source, target.split("?")[0], choice))
    graph, found = build(path, path, stages, arrows)
    assert found == []
    return graph


def faults(*stages: StageNode) -> list[str]:
    return [item.message for item in check_clients(pipeline(*stages), POOLS, CLIENTS)]


def kv(graph: PipelineGraph, *, models: bool = False) -> list[str]:
    found = check_kv(graph, POOLS, CLIENTS) if models else check_kv(graph)
    assert {item.code for item in found} <= {"HMS504"}
    return [item.message for item in found]


# --- clients --------------------------------------------------------------------------------

SERVICE = {"service": 2e-3}


@pytest.mark.parametrize(
    ("type_name", "pool", "options"),
    [
        ("Prefill", "big", {}),
        ("Decode", "big", {}),
        ("Generate", "big", {"prefill": "other"}),
        ("KvFetch", "big", {}),
        ("KvFetch", None, {}),
        ("Embed", "guard", {}),
        ("Rerank", "small", {}),
        ("Guard", "cpu", SERVICE),
        ("Score", "bare", SERVICE),
        ("Classify", "web", {}),
        ("Retrieve", "cpu", {}),
        ("Tool", "cpu", SERVICE),
        ("Tool", "web", {}),
        ("Step", "cpu", SERVICE),
        ("OCR", "bare", SERVICE),
    ],
)
def test_stages_on_clients_that_can_do_them(
    type_name: str, pool: str | None, options: dict
) -> None:
    assert faults(StageNode("s", type_name, pool, options)) == []


@pytest.mark.parametrize(
    ("type_name", "pool", "options", "message"),
    [
        ("Prefill", "cpu", SERVICE, "s (Prefill) cannot run on cpu (WorkerPool)"),
        ("Decode", "guard", {}, "s (Decode) cannot run on guard (BatchEngine)"),
        ("Generate", "web", {}, "s (Generate) cannot run on web (Delay)"),
        ("Retrieve", "big", {}, "s (Retrieve) cannot run on big[0] (LlmEngine)"),
        ("Tool", "guard", SERVICE, "s (Tool) cannot run on guard (BatchEngine)"),
        ("OCR", "small", SERVICE, "s (OCR) cannot run on small (LlmEngine)"),
        ("Guard", "cpu", {}, "s runs on cpu (WorkerPool) and has no `service` time"),
        ("Tool", "cpu", {}, "s runs on cpu (WorkerPool) and has no `service` time"),
        ("Embed", "bare", {}, "s runs on bare, which has no model"),
        ("Decode", None, {}, "s runs on nothing"),
        ("Generate", "big", {"prefill": "small"},
         "s prefills with Small on small and decodes with Big on big"),
        ("Generate", "big", {"prefill": "guard"}, "s cannot prefill on guard (BatchEngine)"),
    ],
)  # fmt: skip
def test_stages_on_the_wrong_client(
    type_name: str, pool: str | None, options: dict, message: str
) -> None:
    assert faults(StageNode("s", type_name, pool, options)) == [message]


def test_the_advice_names_every_client_type_that_would_do() -> None:
    (found,) = check_clients(pipeline(StageNode("s", "Tool", "guard")), POOLS, CLIENTS)
    assert (found.code, found.notes) == ("HMS505", ("help: it runs on WorkerPool or Delay",))


def test_replica_i_on_member_i_needs_as_many_members() -> None:
    stage = StageNode("s", "Prefill", "big", replicas=2, spread="each")
    assert faults(stage) == []
    stage = StageNode("s", "Prefill", "big", replicas=3, spread="each")
    assert faults(stage) == ["s puts replica i on member i: 3 replicas, and big has 2"]


def test_sub_pipelines_are_checked_with_their_callers() -> None:
    inner = pipeline(StageNode("P.a.think", "Decode", "cpu"), path="P.a")
    span = Span(Source("spec.hms", "think: Decode on cpu"), 0, 5)
    outer = pipeline(StageNode("P.a", "Attempt", inner=inner))
    (found,) = check_clients(outer, POOLS, CLIENTS, spans={"P.a.think": span})
    assert (found.message[:9], found.span) == ("P.a.think", span)


def test_only_llm_engines_hold_the_kv_that_stages_read_or_leave() -> None:
    for rule in RULES.values():
        if rule.reads_kv or rule.leaves_kv:
            assert rule.clients == ("LlmEngine",)


# --- KV -------------------------------------------------------------------------------------

PREFILL = StageNode("read", "Prefill", "big")
FETCH = StageNode("fetch", "KvFetch", "big")
DECODE = StageNode("write", "Decode", "big")
STEP = StageNode("step", "Step", "cpu")
STEP2 = StageNode("step2", "Step", "cpu")


@pytest.mark.parametrize(
    "stages",
    [
        (PREFILL, DECODE),
        (FETCH, PREFILL, STEP, DECODE),
        (StageNode("gen", "Generate", "big"), DECODE),
        (PREFILL, DECODE, StageNode("more", "Decode", "big")),
    ],
)
def test_kv_that_is_there(stages: tuple[StageNode, ...]) -> None:
    assert kv(pipeline(*stages)) == []
    assert kv(pipeline(*stages), models=True) == []


def test_a_fetch_alone_provides_no_kv() -> None:
    (found,) = check_kv(pipeline(FETCH, DECODE))
    assert found.message == "write reads KV that is not there on every way to it"
    assert found.notes[0] == "no Prefill or Generate on the way input -> fetch -> write"


def test_a_missing_prefill_is_told_once() -> None:
    assert len(kv(pipeline(DECODE, StageNode("more", "Decode", "big")))) == 1


def test_kv_has_to_come_over_every_arm() -> None:
    one = pipeline(
        STEP, PREFILL, STEP2, DECODE, forks="input step?0 read write output;step?1 step2 write"
    )
    (found,) = check_kv(one)
    assert found.notes[0] == "no Prefill or Generate on the way input -> step -> step2 -> write"
    again = StageNode("again", "Prefill", "big")
    both = pipeline(
        STEP, PREFILL, again, DECODE, forks="input step?0 read write output;step?1 again write"
    )
    assert kv(both) == []


def test_kv_comes_over_any_branch_of_a_fork() -> None:
    forked = pipeline(
        STEP, PREFILL, STEP2, DECODE, forks="input step read write output;step step2 write"
    )
    assert kv(forked) == []


def nested(*before: StageNode) -> PipelineGraph:
    """think: Decode inside Attempt inside ReasonPath, which is [*before, attempt]."""
    attempt = pipeline(StageNode("P.r.a.think", "Decode", "big"), path="P.r.a")
    path = pipeline(*before, StageNode("P.r.a", "Attempt", inner=attempt), path="P.r")
    return pipeline(STEP, StageNode("P.r", "ReasonPath", inner=path, replicas=4))


def test_a_sub_pipeline_reads_the_kv_of_its_caller() -> None:
    assert kv(nested(StageNode("P.r.read", "Prefill", "big")), models=True) == []
    (found,) = check_kv(nested())
    assert found.message == "P.r.a.think reads KV that is not there on every way to it"
    assert found.notes[0] == (
        "no Prefill or Generate on the way "
        "input -> step -> P.r -> input -> P.r.a -> input -> P.r.a.think"
    )


def test_kv_that_a_sub_pipeline_leaves_is_its_callers() -> None:
    inner = pipeline(StageNode("P.r.read", "Prefill", "big"), path="P.r")
    assert kv(pipeline(StageNode("P.r", "Reader", inner=inner), DECODE)) == []


def test_kv_of_another_model_is_none() -> None:
    chain = pipeline(StageNode("read", "Prefill", "small"), DECODE)
    assert kv(chain) == []
    assert kv(chain, models=True) == [
        "write decodes with Big, and the KV that reaches it is of Small"
    ]


def test_what_another_model_wrote_has_to_be_read_again() -> None:
    small = StageNode("draft", "Generate", "small")
    assert kv(pipeline(PREFILL, small, DECODE), models=True) == [
        "write decodes with Big, and the KV that reaches it is of Small"
    ]
    again = StageNode("again", "Prefill", "big")
    assert kv(pipeline(PREFILL, small, again, DECODE), models=True) == []


def test_of_two_models_in_a_pool_the_one_that_has_read_goes_on() -> None:
    reads, writes = StageNode("r", "Prefill", "mixed"), StageNode("w", "Decode", "mixed")
    assert kv(pipeline(reads, STEP, writes), models=True) == []
    assert kv(pipeline(PREFILL, writes), models=True) == [
        "w decodes with Big or Small of mixed, and the KV that reaches it is of Big"
    ]
    assert kv(pipeline(reads, DECODE), models=True) == [
        "write decodes with Big, and the KV that reaches it is of Big or Small of mixed"
    ]


@pytest.mark.parametrize(("replicas", "found"), [(2, []), (3, ["3 replicas, and pair has 2"])])
def test_each_replica_of_a_pipeline_has_its_own_members(replicas: int, found: list[str]) -> None:
    inner = pipeline(StageNode("P.s.find", "Retrieve", "pair"), path="P.s")
    pools = {**POOLS, "pair": Pool("pair", ("cpu", "web"))}
    outer = pipeline(StageNode("P.s", "Shard", inner=inner, replicas=replicas, spread="each"))
    expected = [f"P.s.find puts replica i on member i: {what}" for what in found]
    assert [item.message for item in check_clients(outer, pools, CLIENTS)] == expected


READS, WRITES = "s reads a prompt on", "s produces tokens on"


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        (
            StageNode("s", "Prefill", "writers"),
            f"{READS} writers, whose engines have `role = decode`",
        ),
        (
            StageNode("s", "Decode", "readers"),
            f"{WRITES} readers, whose engines have `role = prefill`",
        ),
        (
            StageNode("s", "Generate", "writers"),
            f"{READS} writers, whose engines have `role = decode`",
        ),
        (
            StageNode("s", "Guard", "writers"),
            f"{READS} writers, whose engines have `role = decode`",
        ),
        (StageNode("s", "Generate", "writers", {"prefill": "readers"}), None),
        (StageNode("s", "Generate", "split"), None),
        (StageNode("s", "Guard", "readers"), None),
    ],
)
def test_roles(stage: StageNode, message: str | None) -> None:
    clients = {
        name: Client(name, "LlmEngine", None, model("Big"), options={"role": name})
        for name in ("prefill", "decode")
    }
    pools = {
        "readers": Pool("readers", ("prefill",)), "writers": Pool("writers", ("decode",)),
        "split": Pool("split", ("prefill", "decode")),
    }  # fmt: skip
    found = check_clients(pipeline(stage), pools, clients)
    assert [item.message for item in found] == ([] if message is None else [message])
