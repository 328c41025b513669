"""What cannot be executed is refused by name before a run starts; nothing is left out silently."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hand_built import AffineCost, batch, chat, generate, pipeline, reading, run, system

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Choice, Guard, Spec, StageNode


def refusal(built: Any, load: Any = None, **more: Any) -> list[str]:
    with pytest.raises(SpecError) as caught:
        run(built, AffineCost(base=1.0), load or batch([0.0]), **more)
    return [f"{d.code}: {d.message}" for d in caught.value.diagnostics]


def conditional(name: str) -> nx.DiGraph:
    graph = pipeline("chat", StageNode("a", "Prefill", "llm"))
    guard = Guard("==", (name, "=x"))
    graph.edges["a", "output"]["choice"] = Choice(0, guard=guard)
    graph.add_edge("a", "refused", choice=Choice(1))
    return graph


def inside(**node: Any) -> nx.DiGraph:
    return pipeline("chat", StageNode("a", "Sub", inner=reading(), **node))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (pipeline("chat", StageNode("a", "Generate", "llm", repeat=Spec("until", {"n": 3}))),
         "`repeat = until(n = 3)` of stage `a`"),
        (pipeline("chat", StageNode("a", "Generate", "llm", replicas=2, join=Spec("any"))),
         "`join = any` of stage `a`"),
        (pipeline("chat", StageNode("a", "Rerank", "llm")),
         "stage `a` of type `Rerank` on an LlmEngine"),
        (generate(tokens=Spec("formula", {"op": "attribute", "operands": ("model",)})),
         "`tokens` of stage `chat.answer`: "
          "`model` of a request cannot be computed with in a formula"),
        (conditional("mood"), "a condition on `mood` at the branch `a`"),
    ],
)  # fmt: skip
def test_pipelines(graph: nx.DiGraph, message: str):
    rest = "" if message.endswith("formula") else " cannot be executed yet"
    assert refusal(system(graph)) == [f"HMS506: {message}{rest}"]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (pipeline("chat", StageNode("a", "Step", None)),
         "stage `a` says on no client where it runs"),
        (inside(replicas=2, join=Spec("best", {"k": 3})),
         "`join = best(k = 3)` of stage `a`, which has 2 replicas"),
        (pipeline("chat", StageNode("a", "Generate", "llm", replicas=2, spread="each")),
         "stage `a` puts replica i on member i: 2 replicas, and llm has 1"),
        (inside(replicas=2, spread="each"),
         "stage `chat.prefill` puts replica i on member i: 2 replicas, and llm has 1"),
        (pipeline("chat", StageNode("a", "Guard", "llm", {"service": 0.5})),
         "stage `a` runs an LlmEngine's model and has a `service` time"),
        (pipeline("chat", StageNode("a", "Tool", "llm", {"service": 0.5})),
         "stage `a` is a Tool and cannot run on an LlmEngine"),
    ],
)  # fmt: skip
def test_pipelines_that_make_no_sense(graph: nx.DiGraph, message: str):
    assert refusal(system(graph)) == [f"HMS505: {message}"]


def test_a_repetition_that_never_ends():
    graph = inside(repeat=Spec("while", {"p": 1.0}))
    expected = "`repeat = while(p = 1.0)` of stage `a` never ends"
    assert refusal(system(graph)) == [f"HMS601: {expected}"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batching": Spec("eager", {"n": 8})}, "`batching = eager(n = 8)`"),
        ({"order": "lifo"}, "`order = lifo`"),
        ({"preemption": "drop"}, "`preemption = drop`"),
        ({"speculative": True}, "`speculative = True`"),
        ({"surprise": 3}, "`surprise = 3`"),
    ],
)
def test_engine_options(options: dict[str, Any], message: str):
    expected = [f"HMS506: {message} of client `llm[*]` cannot be executed yet"]
    assert refusal(system(chat(), options=options)) == expected


def test_defaults_of_the_schema_are_fine():
    options = {
        "batching": Spec("chunked", {"budget": 2048}), "max_batch": 256, "max_tokens": None,
        "block_size": 16, "memory_rule": Spec("of_device", {"f": 0.9}), "prefix_cache": False,
        "order": "fcfs", "preemption": "recompute", "role": "both", "profile": "vllm",
        "speculate": Spec("off"), "tp": 1, "pp": 1, "ep": 1, "dp": 1, "attention": "tp",
        "experts": "tp", "share": False, "spare": False, "span": False, "kv_dtype": "bf16",
    }  # fmt: skip
    stage = generate(tokens=None, hidden=False, transfer="full", join=Spec("all"), spread="routed")
    done = run(system(stage, options=options), AffineCost(base=1.0), batch([0.0]))
    assert done.counts["completed"] == 1


def test_every_problem_is_named_at_once():
    built = system(chat(), engines={"llm": 2}, route=Spec("telepathy"), options={"order": "new"})
    assert refusal(built) == [
        "HMS506: `route = telepathy` of pool `llm` cannot be executed yet",
        "HMS506: `order = new` of client `llm[*]` cannot be executed yet",
    ]


def test_other_clients():
    assert refusal(system(chat(), kind="WorkerPool"))[:2] == [
        "HMS505: stage `chat.prefill` is a Prefill and cannot run on a WorkerPool",
        "HMS505: stage `chat.decode` is a Decode and cannot run on a WorkerPool",
    ]
    graph = pipeline("chat", StageNode("a", "Step", "llm"))
    assert refusal(system(graph, kind="WorkerPool")) == [
        "HMS505: stage `a` has no `service` time on llm[0]"
    ]
    graph = pipeline("chat", StageNode("a", "Step", "llm", {"service": 1.0}))
    assert refusal(system(graph, kind="WorkerPool", options={"order": "least_work_left"})) == [
        "HMS506: `order = least_work_left` of client `llm[*]` cannot be executed yet"
    ]


def test_two_values_for_one_knob():
    options = {"batching": Spec("chunked", {"budget": 512}), "max_tokens": 1024}
    message = "client `llm[*]` says `batching = chunked(budget = 512)` and `max_tokens = 1024`"
    assert refusal(system(chat(), options=options)) == [f"HMS209: {message}"]


@pytest.mark.parametrize(("option", "value"), [("transfer", "layerwise"), ("pairing", "local")])
def test_settings_of_a_hand_over_where_there_is_none(option: str, value: str):
    moves = "moves nothing: prompts are read where the answer is written"
    graph = chat()
    graph.graph["options"] = {"transfer": "full", "pairing": "global"} | {option: value}
    expected = f"HMS505: `{option} = {value}` of pipeline `chat` {moves}"
    assert refusal(system(graph)) == [expected]
    expected = f"HMS505: `{option} = {value}` of stage `chat.answer` {moves}"
    assert refusal(system(generate(**{option: value}))) == [expected]


def test_a_pool_that_is_nowhere():
    assert refusal(system(chat("lm"))) == ["HMS505: unknown pool `lm`"]


def test_experiments():
    assert refusal(system(chat(), horizon="cut")) == [
        "HMS602: `horizon = cut` needs a `duration` to cut at"
    ]
    assert refusal(system(chat(), horizon="dry")) == ["HMS602: unknown horizon `dry`"]
    assert refusal(system(chat(), workloads=[])) == ["HMS602: experiment `main` has no workload"]


def test_nothing_offered_for_a_workload():
    assert refusal(system(chat()), batch([0.0], workload="other")) == [
        "HMS601: nothing offered for workload `w`"
    ]


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (batch([0.0, 1.0], [5, 0]), "request 1 has prompt = 0 tokens; it takes at least 1"),
        (batch([0.0, 1.0], 5, [-3, 2]), "request 0 has output = -3 tokens; it takes at least 1"),
        (batch([1.0, 0.5]), "arrivals are not in order"),
        (batch([np.nan]), "an arrival is negative or not finite"),
    ],
)
def test_offers_that_make_no_sense(load: Any, message: str):
    assert refusal(system(chat()), load) == [f"HMS601: workload `w`: {message}"]
