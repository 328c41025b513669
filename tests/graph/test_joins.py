"""Joins against an enumeration of every choice of arms."""

from __future__ import annotations

from itertools import product

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermesdsl.graph import joins
from hermesdsl.graph.types import Choice, PipelineGraph


def graph_of(edges: dict[tuple[str, str], int | None]) -> PipelineGraph:
    """Edges by (source, target), each with the number of its arm or None."""
    graph: PipelineGraph = nx.DiGraph()
    graph.add_node("input")
    for (source, target), arm in edges.items():
        graph.add_edge(source, target, choice=None if arm is None else Choice(arm))
    graph.add_nodes_from(("output", "refused"))
    return graph


def enumerated(graph: PipelineGraph) -> tuple[dict[str, str], set[str]]:
    """Joins and ambiguous nodes from every choice of arms there is."""
    arms = {
        node: sorted({c.order for _, _, c in graph.out_edges(node, data="choice") if c is not None})
        for node in graph
    }
    branches = [node for node in graph if arms[node]]
    outcomes = []
    for chosen in product(*(arms[node] for node in branches)):
        taken = dict(zip(branches, chosen, strict=True))
        reached, arrows = {"input"}, set()
        for node in nx.topological_sort(graph):
            for _, target, choice in graph.out_edges(node, data="choice"):
                if node in reached and (choice is None or choice.order == taken[node]):
                    arrows.add((node, target))
                    reached.add(target)
        outcomes.append(arrows)
    alive = [arrows for arrows in outcomes if not any(v == "refused" for _, v in arrows)]
    found, ambiguous = {}, set()
    for node in graph:
        into = list(graph.in_edges(node))
        if len(into) < 2:
            continue
        exclusive = all(sum(edge in arrows for edge in into) <= 1 for arrows in outcomes)
        meeting = all(
            any(a in arrows and b in arrows for arrows in outcomes) for a in into for b in into
        )
        together = all(sum(edge in arrows for edge in into) in (0, len(into)) for arrows in alive)
        if node == "refused" or exclusive:
            found[node] = "merge"
        elif together and meeting:
            found[node] = "wait"
        else:
            ambiguous.add(node)
    return found, ambiguous


@st.composite
def pipelines(draw: st.DrawFn) -> PipelineGraph:
    """Up to eight stages in order, each forking or branching to later ones or an end."""
    count = draw(st.integers(1, 8))
    nodes = [f"s{i}" for i in range(count)]
    edges: dict[tuple[str, str], int | None] = {("input", nodes[0]): None}
    for i, node in enumerate(nodes):
        later = [*nodes[i + 1 :], "output", "refused"]
        targets = draw(st.lists(st.sampled_from(later), min_size=1, max_size=3, unique=True))
        branches = draw(st.booleans())
        for target in targets:
            edges[node, target] = draw(st.integers(0, 2)) if branches else None
    graph = graph_of(edges)
    lost = set(graph) - nx.descendants(graph, "input") - {"input", "output", "refused"}
    graph.remove_nodes_from(lost)
    return graph


@settings(max_examples=300, deadline=None)
@given(pipelines())
def test_joins_are_those_of_every_choice_of_arms(graph: PipelineGraph) -> None:
    found, ambiguous = joins.derive(graph)
    assert (found, {case.node for case in ambiguous}) == enumerated(graph)


def test_arms_merge_and_forks_wait() -> None:
    branched = {("input", "a"): None, ("a", "b"): 0, ("a", "c"): 1,
                ("b", "d"): None, ("c", "d"): None}  # fmt: skip
    forked = dict.fromkeys(branched)
    assert joins.derive(graph_of(branched)) == ({"d": "merge"}, [])
    assert joins.derive(graph_of(forked)) == ({"d": "wait"}, [])


def test_a_fork_inside_an_arm_waits() -> None:
    edges = {("input", "a"): None, ("a", "b"): 0, ("a", "c"): 0, ("a", "output"): 1,
             ("b", "d"): None, ("c", "d"): None, ("d", "output"): None}  # fmt: skip
    assert joins.derive(graph_of(edges)) == ({"d": "wait", "output": "merge"}, [])


def test_a_guard_beside_the_work_may_refuse() -> None:
    edges = {("input", "guard"): None, ("input", "work"): None, ("guard", "refused"): 0,
             ("guard", "meet"): 1, ("work", "meet"): None, ("meet", "output"): None}  # fmt: skip
    assert joins.derive(graph_of(edges)) == ({"meet": "wait"}, [])


def test_a_mixed_join_says_who_excludes_whom() -> None:
    edges = {("input", "a"): None, ("input", "c"): None, ("a", "x"): 0, ("a", "y"): 1,
             ("x", "d"): None, ("y", "d"): None, ("c", "d"): None}  # fmt: skip
    found, (case,) = joins.derive(graph_of(edges))
    assert found == {}
    assert (case.node, case.apart) == ("d", (("x", "y"),))


def test_an_input_that_comes_only_sometimes_has_an_example() -> None:
    edges = {("input", "a"): None, ("input", "c"): None, ("a", "d"): 0, ("a", "output"): 1,
             ("c", "d"): None, ("d", "x"): None}  # fmt: skip
    _, (case,) = joins.derive(graph_of(edges))
    assert (case.node, case.apart, case.lone) == ("d", (), ("c", "a"))
    assert case.example == {"a": Choice(1)}


def test_long_chains_of_branches_stay_small() -> None:
    edges: dict[tuple[str, str], int | None] = {("input", "b0"): None}
    for i in range(joins.MAX_BRANCHES):
        # two arms that meet again, and a third that refuses
        edges[f"b{i}", f"l{i}"] = 0
        edges[f"b{i}", f"r{i}"] = 1
        edges[f"b{i}", "refused"] = 2
        edges[f"l{i}", f"b{i + 1}"] = None
        edges[f"r{i}", f"b{i + 1}"] = None
    edges[f"b{joins.MAX_BRANCHES}", "output"] = None
    found, ambiguous = joins.derive(graph_of(edges))
    assert ambiguous == []
    assert set(found.values()) == {"merge"}


def test_too_many_branches() -> None:
    edges: dict[tuple[str, str], int | None] = {("input", "b0"): None}
    for i in range(joins.MAX_BRANCHES + 1):
        edges[f"b{i}", f"b{i + 1}"] = 0
        edges[f"b{i}", "refused"] = 1
    with pytest.raises(joins.TangledError, match="201 branches in one pipeline, more than 200"):
        joins.derive(graph_of(edges))


def test_branches_too_entangled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joins, "MAX_STEPS", 2)
    edges: dict[tuple[str, str], int | None] = {("input", "a"): None}
    for node in "abcdef":
        for arm, target in enumerate(("x", "y")):
            edges[node, target] = arm
        edges["input", node] = None
    edges |= {("x", "z"): None, ("y", "z"): None}
    with pytest.raises(joins.TangledError, match="too entangled"):
        joins.derive(graph_of(edges))
