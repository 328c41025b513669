from __future__ import annotations

from itertools import pairwise

import networkx as nx
import pytest

from hermesdsl.diagnostics import Diagnostic, Severity
from hermesdsl.graph.pipeline import Arrow, build, flatten
from hermesdsl.graph.types import Choice, Guard, PipelineGraph, StageNode
from hermesdsl.source import Source, Span

TEXT = Source("spec.hms", "input -> a -> b -> output")
FOLLOW_UP = Guard(">", ("turn", 1), "turn > 1")


def arrows_of(*lines: str) -> list[Arrow]:
    """Chains such as ``input -> a``; ``a ?0 50% -> b`` is arm 0 of a branch of a.

    An arm is ``?order`` and a share, ``if`` (a condition) or ``else``.
    """
    arrows = []
    for line in lines:
        nodes = [node.strip() for node in line.split("->")]
        choice = None
        if "?" in nodes[0]:
            nodes[0], arm = nodes[0].split(" ?")
            order, what = arm.split()
            share = float(what[:-1]) / 100 if what.endswith("%") else None
            guard = FOLLOW_UP if what == "if" else None
            choice = Choice(int(order), guard, share, "turn > 1" if guard else what)
        for source, target in pairwise(nodes):
            arrows.append(Arrow(path(source), path(target), choice))
            choice = None
    return arrows


def path(name: str) -> str:
    return name if name in ("input", "output", "refused") else f"Chat.{name}"


def stages(names: str) -> list[StageNode]:
    return [StageNode(f"Chat.{name}", "Step") for name in names.split()]


def built(names: str, *lines: str) -> tuple[PipelineGraph, list[Diagnostic]]:
    return build("Chat", "Chat", stages(names), arrows_of(*lines))


def messages(names: str, *lines: str) -> list[str]:
    return [f"{item.code} {item.message}" for item in built(names, *lines)[1]]


# --- sound pipelines ------------------------------------------------------------------------


def test_a_chain_is_a_graph_from_input_to_output() -> None:
    graph, found = build(
        "Chat", "Chat", stages("a b"), arrows_of("input -> a -> b -> output"), "Doc"
    )
    assert found == []
    assert list(graph) == ["input", "Chat.a", "Chat.b", "output", "refused"]
    assert list(nx.topological_sort(graph.subgraph([*graph][:-1]))) == [*graph][:-1]
    assert graph.graph == {"name": "Chat", "path": "Chat", "doc": "Doc"}
    assert graph.nodes["Chat.a"]["stage"].type_name == "Step"
    assert graph.edges["input", "Chat.a"] == {"choice": None}


def test_the_rag_pipeline_of_the_language_reference() -> None:
    graph, found = built(
        "classify embed retrieve fetch_kv prefill answer reason final guard",
        "input -> classify",
        "classify ?0 if -> fetch_kv",
        "classify ?1 70% -> embed -> retrieve -> fetch_kv",
        "classify ?2 else -> reason -> final -> guard",
        "fetch_kv -> prefill -> answer -> guard -> output",
    )
    assert found == []
    joins = {node: join for node, join in graph.nodes(data="join") if join is not None}
    assert joins == {"Chat.fetch_kv": "merge", "Chat.guard": "merge"}
    assert graph.edges["Chat.classify", "Chat.embed"]["choice"].share == 0.7
    assert graph.edges["Chat.classify", "Chat.fetch_kv"]["choice"].guard is FOLLOW_UP


def test_a_fork_waits() -> None:
    graph, found = built("a b c d", "input -> a", "a -> b -> d", "a -> c -> d", "d -> output")
    assert (found, graph.nodes["Chat.d"]["join"]) == ([], "wait")


def test_a_fork_inside_an_arm() -> None:
    graph, found = built(
        "a b c d", "input -> a", "a ?0 else -> b", "a ?0 else -> c", "b -> d", "c -> d",
        "d -> output",
    )  # fmt: skip
    assert (found, graph.nodes["Chat.d"]["join"]) == ([], "wait")


def test_refusing_merges() -> None:
    graph, found = built(
        "a b", "input -> a", "a ?0 2% -> refused", "a ?1 else -> b", "b ?0 if -> refused",
        "b ?1 else -> output",
    )  # fmt: skip
    assert (found, graph.nodes["refused"]["join"]) == ([], "merge")


def test_input_may_branch() -> None:
    assert messages("a", "input ?0 if -> a", "input ?1 else -> output", "a -> output") == []


def test_an_arrow_written_twice_is_one_arrow() -> None:
    graph, found = built("a b", "input -> a -> output", "input -> a -> output")
    assert [item.message for item in found] == ["b is never reached: no arrow leads to it"]
    assert graph.number_of_edges() == 2


def test_shares_may_fill_a_branch_without_else() -> None:
    thirds = [f"a ?{i} {100 / 3}% -> {x}" for i, x in enumerate("bcd")]
    ends = [f"{x} -> output" for x in "bcd"]
    assert messages("a b c d", "input -> a", *thirds, *ends) == []


def test_flatten_visits_sub_pipelines_after_their_stage() -> None:
    inner, _ = build(
        "Chat.a", "Attempt", [StageNode("Chat.a.think", "Decode")],
        [Arrow("input", "Chat.a.think"), Arrow("Chat.a.think", "output")],
    )  # fmt: skip
    outer, found = build(
        "Chat", "Chat", [StageNode("Chat.a", "Attempt", inner=inner), StageNode("Chat.b", "Step")],
        arrows_of("input -> a -> b -> output"),
    )  # fmt: skip
    assert found == []
    assert [p for p, _ in flatten(outer)] == ["Chat.a", "Chat.a.think", "Chat.b"]


# --- shapes that are wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "lines", "message"),
    [
        ("a b c", ["input -> a -> b -> c -> a", "c -> output"],
         "HMS501 the arrows form a cycle: a -> b -> c -> a"),
        ("a", ["input -> a -> a", "a -> output"], "HMS501 the arrows form a cycle: a -> a"),
        ("a b", ["input -> a -> output"], "HMS501 b is never reached: no arrow leads to it"),
        ("a b", ["input -> a -> output", "b -> a"],
         "HMS501 b is never reached: no arrow leads to it"),
        ("a b", ["input -> a -> output", "a -> b"],
         "HMS501 b leads nowhere: no arrow leaves it"),
        ("a", ["a -> output"], "HMS501 no arrow leaves input of Chat"),
        ("", [], "HMS501 no arrow leaves input of Chat"),
        ("a", ["input -> a -> refused"],
         "HMS501 no way leads to output: every request is refused"),
        ("a", ["input -> a -> x -> output", "a -> output"], "HMS501 x is no stage of Chat"),
        ("a", ["input -> a -> input", "a -> output"], "HMS501 no arrow can lead to input"),
        ("a", ["input -> a -> output -> a"], "HMS501 no arrow can leave output"),
    ],
)  # fmt: skip
def test_wrong_shapes(names: str, lines: list[str], message: str) -> None:
    assert messages(names, *lines)[0] == message


def test_a_cycle_is_advised_to_repeat() -> None:
    _, found = built("a b", "input -> a -> b -> a", "b -> output")
    assert len(found) == 1
    assert found[0].notes[0].startswith("help: make what repeats a stage or a sub-pipeline")


def test_each_cycle_is_told_once_and_a_long_one_is_shortened() -> None:
    names = [f"s{i}" for i in range(12)]
    loop = " -> ".join([*names, names[0]])
    found = messages(" ".join([*names, "x", "y"]), f"input -> {loop}", "input -> x -> y -> x",
                     "s3 -> output")  # fmt: skip
    assert found == [
        "HMS501 the arrows form a cycle: s0 -> s1 -> s2 -> s3 -> s4 -> … 5 more … -> "
        "s10 -> s11 -> s0",
        "HMS501 the arrows form a cycle: x -> y -> x",
    ]


def test_spans_are_those_of_the_stage_else_of_an_arrow() -> None:
    own, arrow = Span(TEXT, 9, 10), Span(TEXT, 0, 25)
    lines = [Arrow("input", "Chat.a", None, arrow), Arrow("Chat.a", "output", None, arrow)]
    dead = Arrow("Chat.a", "Chat.b", None, arrow)
    _, found = build("Chat", "Chat", stages("a b c"), [*lines, dead], spans={"Chat.c": own})
    assert [(item.message.split()[0], item.span) for item in found] == [("b", arrow), ("c", own)]


# --- branches that are wrong ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a ?0 70% -> b", "a ?1 40% -> c"], "branch a: shares add up to 110%"),
        (["a ?0 70% -> b", "a ?1 20% -> c"], "branch a: 10% of what is left goes nowhere"),
        (["a ?0 if -> b", "a ?1 60% -> c"], "branch a: 40% of what is left goes nowhere"),
        (["a ?0 if -> b"], "branch a: what meets no condition goes nowhere"),
        (["a ?0 else -> b", "a ?1 50% -> c"], "branch a: an arm follows `else`"),
        (["a ?0 else -> b", "a ?1 else -> c"], "branch a: two arms are `else`"),
        (["a ?0 50% -> b", "a ?1 if -> c", "a ?2 else -> output"],
         "branch a: a condition follows a share; conditions come first"),
        (["a ?0 0% -> b", "a ?1 else -> c"],
         "branch a: a share of 0%; it is above 0% and at most 100%"),
        (["a ?0 if -> b", "a ?1 else -> b"], "two arms of a lead to b"),
        (["a ?0 50% -> b", "a ?1 else -> c", "a -> output"],
         "the arrow to output stands beside a branch of a"),
        (["a ?0 50% -> b", "a ?1 else -> c", "a ?0 if -> output"], "a has two branches"),
    ],
)  # fmt: skip
def test_wrong_branches(lines: list[str], message: str) -> None:
    found = built("a b c", "input -> a", *lines, "b -> output", "c -> output", "input -> c")[1]
    assert [item.message for item in found if item.code == "HMS502"] == [message]


def test_an_else_that_is_never_taken_is_a_warning() -> None:
    _, found = built(
        "a b", "input -> a", "a ?0 60% -> b", "a ?1 40% -> output", "a ?2 else -> refused",
        "b -> output",
    )  # fmt: skip
    assert [(item.severity, item.message) for item in found] == [
        (Severity.WARNING, "branch a: shares add up to 100%, so `else` is never taken")
    ]


# --- joins that are ambiguous ---------------------------------------------------------------


def test_a_mixed_join() -> None:
    _, found = built(
        "a x y c d", "input -> a", "input -> c -> d", "a ?0 if -> x -> d", "a ?1 else -> y -> d",
        "d -> output",
    )  # fmt: skip
    assert [(item.code, item.message) for item in found] == [
        ("HMS503", "arrows into d are mixed: x and y exclude each other, c not")
    ]
    assert found[0].notes[0] == "when a takes else, c comes without x"


def test_an_input_that_comes_only_sometimes() -> None:
    _, found = built(
        "a b", "input -> a", "input -> b", "a ?0 30% -> b", "a ?1 else -> refused", "b -> output"
    )
    assert found == [], "a refused request waits for nothing"
    _, found = built(
        "a b c", "input -> a", "input -> b", "a ?0 30% -> b", "a ?1 else -> c", "b -> output",
        "c -> output",
    )  # fmt: skip
    assert [item.message for item in found] == [
        "b cannot wait for input and a: they do not always come together",
        "output cannot wait for b and c: they do not always come together",
    ]
    assert found[0].notes[0] == "when a takes else, input comes without a"


def test_branches_without_end() -> None:
    names = [f"b{i}" for i in range(201)]
    lines = [f"input -> {names[0]}"]
    for name, after in zip(names, [*names[1:], "output"], strict=True):
        lines += [f"{name} ?0 1% -> refused", f"{name} ?1 else -> {after}"]
    assert messages(" ".join(names), *lines) == [
        "HMS503 201 branches in one pipeline, more than 200"
    ]
