"""How several arrows into one stage join: they merge, they wait, or they are ambiguous.

Knows a pipeline graph and which arms of its branches lead where. Must not know stages' work,
clients or source text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import networkx as nx

if TYPE_CHECKING:
    from hermesdsl.graph.types import Choice, PipelineGraph

#: Most branches of one pipeline, and most steps spent on telling its joins.
MAX_BRANCHES = 200
MAX_STEPS = 200_000


class TangledError(ValueError):
    """A pipeline whose branches are beyond `MAX_BRANCHES` or `MAX_STEPS`."""


@dataclass(frozen=True)
class Ambiguous:
    """A node whose inputs neither all exclude each other nor always come together.

    `apart` are the pairs of sources that exclude each other. `example` maps branches to the arms
    after which, of the two sources in `lone`, only the first comes.
    """

    node: str
    apart: tuple[tuple[str, str], ...]
    lone: tuple[str, str] | None
    example: Mapping[str, Choice]


def derive(graph: PipelineGraph) -> tuple[dict[str, str], list[Ambiguous]]:
    """The join, ``merge`` or ``wait``, of every node with several inputs, and the ambiguous ones.

    `graph` is acyclic, with a `choice` on every edge. Inputs of which no request ever takes two
    merge; inputs that every request takes all or none of wait. A request that is refused is over,
    so it does not count for the latter, and ``refused`` itself always merges. Conditions are
    told apart by arm, not by meaning: two branches on the same condition count as independent.
    Raises `TangledError`.
    """
    arms = _arms(graph)
    if len(arms) > MAX_BRANCHES:
        raise TangledError(f"{len(arms)} branches in one pipeline, more than {MAX_BRANCHES}")
    diagrams = _Diagrams([len(orders) for orders in arms.values()])
    arrows = _conditions(graph, arms, diagrams)
    refused = _any(diagrams, [arrows[u, v] for u, v in graph.in_edges("refused")])
    joins: dict[str, str] = {}
    ambiguous: list[Ambiguous] = []
    for node in graph:
        when = {source: arrows[source, node] for source in graph.pred[node]}
        if len(when) < 2:
            continue
        apart = [
            (a, b) for a, b in combinations(when, 2) if diagrams.both(when[a], when[b]) == _NEVER
        ]
        lone, rest = _lone(diagrams, when, refused)
        if node == "refused" or len(apart) == comb(len(when), 2):
            joins[node] = "merge"
        elif not apart and lone is None:
            joins[node] = "wait"
        else:
            example = _example(graph, arms, diagrams, rest)
            ambiguous.append(Ambiguous(node, tuple(apart), lone, example))
    return joins, ambiguous


def _arms(graph: PipelineGraph) -> dict[str, list[int]]:
    """The orders of the arms of every branching node, in topological order."""
    arms: dict[str, list[int]] = {}
    for node in nx.topological_sort(graph):
        orders = {choice.order for _, choice in _onward(graph, node) if choice is not None}
        if orders:
            arms[node] = sorted(orders)
    return arms


def _onward(graph: PipelineGraph, node: str) -> list[tuple[str, Choice | None]]:
    """The targets of a node's arrows, each with its arm."""
    return [(target, edge["choice"]) for target, edge in graph.succ[node].items()]


def _conditions(
    graph: PipelineGraph, arms: Mapping[str, list[int]], diagrams: _Diagrams
) -> dict[tuple[str, str], int]:
    """When each arrow is taken."""
    number = {branch: index for index, branch in enumerate(arms)}
    arrows: dict[tuple[str, str], int] = {}
    for node in nx.topological_sort(graph):
        into = [arrows[u, node] for u in graph.pred[node]]
        reached = _ALWAYS if node == "input" else _any(diagrams, into)
        for target, choice in _onward(graph, node):
            if choice is None:
                arrows[node, target] = reached
            else:
                arm = diagrams.arm(number[node], arms[node].index(choice.order))
                arrows[node, target] = diagrams.both(reached, arm)
    return arrows


def _any(diagrams: _Diagrams, conditions: list[int]) -> int:
    found = _NEVER
    for condition in conditions:
        found = diagrams.either(found, condition)
    return found


def _lone(
    diagrams: _Diagrams, when: Mapping[str, int], refused: int
) -> tuple[tuple[str, str] | None, int]:
    """Two sources of which the first may come without the second, and when it does."""
    for a in when:
        for b in when:
            rest = diagrams.without(diagrams.without(when[a], when[b]), refused)
            if rest != _NEVER:
                return (a, b), rest
    return None, _NEVER


def _example(
    graph: PipelineGraph, arms: Mapping[str, list[int]], diagrams: _Diagrams, when: int
) -> dict[str, Choice]:
    """One way to satisfy a condition: the arm taken at each branch that matters."""
    branches = list(arms)
    example: dict[str, Choice] = {}
    for number, arm in diagrams.witness(when):
        branch = branches[number]
        order = arms[branch][arm]
        taken = (choice for _, choice in _onward(graph, branch) if choice is not None)
        example[branch] = next(choice for choice in taken if choice.order == order)
    return example


_NEVER, _ALWAYS = 0, 1


class _Diagrams:
    """Conditions over the arms taken, as reduced ordered decision diagrams (Bryant 1986).

    A condition is a number; equal conditions have equal numbers. Variable i is the arm taken at
    branch i; later branches stand nearer the root, so that adding an arm to the condition of all
    that came before is one step, and a branch whose arms meet again drops out.
    """

    def __init__(self, arms: list[int]) -> None:
        self._arms = arms
        self._nodes: list[tuple[int, tuple[int, ...]]] = [(-1, ()), (-1, ())]
        self._numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        self._known: dict[tuple[str, int, int], int] = {}

    def arm(self, branch: int, arm: int) -> int:
        """The condition that `branch` takes its `arm`-th arm."""
        return self._node(
            branch, tuple(_ALWAYS if i == arm else _NEVER for i in range(self._arms[branch]))
        )

    def both(self, a: int, b: int) -> int:
        """Both of them."""
        if _NEVER in (a, b):
            return _NEVER
        if a in (_ALWAYS, b):
            return b
        return a if b == _ALWAYS else self._combine("both", a, b)

    def either(self, a: int, b: int) -> int:
        """Either of them."""
        if _ALWAYS in (a, b):
            return _ALWAYS
        if a in (_NEVER, b):
            return b
        return a if b == _NEVER else self._combine("either", a, b)

    def without(self, a: int, b: int) -> int:
        """The first and not the second."""
        if a in (_NEVER, b) or b == _ALWAYS:
            return _NEVER
        return a if b == _NEVER else self._combine("without", a, b)

    def witness(self, condition: int) -> list[tuple[int, int]]:
        """(branch, arm) pairs that satisfy a condition which is not `_NEVER`, branches in order."""
        found = []
        while condition > _ALWAYS:
            branch, children = self._nodes[condition]
            arm = next(i for i, child in enumerate(children) if child != _NEVER)
            found.append((branch, arm))
            condition = children[arm]
        return found[::-1]

    def _combine(self, operation: str, a: int, b: int) -> int:
        key = (operation, a, b)
        if key not in self._known:
            if len(self._known) >= MAX_STEPS:
                raise TangledError("the branches are too entangled to tell how arrows join")
            apply = getattr(self, operation)
            branch = max(self._nodes[a][0], self._nodes[b][0])
            pairs = zip(self._children(a, branch), self._children(b, branch), strict=True)
            self._known[key] = self._node(branch, tuple(apply(x, y) for x, y in pairs))
        return self._known[key]

    def _children(self, condition: int, branch: int) -> tuple[int, ...]:
        own, children = self._nodes[condition]
        return children if own == branch else (condition,) * self._arms[branch]

    def _node(self, branch: int, children: tuple[int, ...]) -> int:
        if len(set(children)) == 1:
            return children[0]
        key = (branch, children)
        if key not in self._numbers:
            self._numbers[key] = len(self._nodes)
            self._nodes.append(key)
        return self._numbers[key]
