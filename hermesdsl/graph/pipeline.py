"""Stages and arrows become a pipeline graph, and what is no way from input to output is found.

Knows stages, arrows and the arms of branches. Must not know expressions, syntax, time or cost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import networkx as nx

from hermesdsl.diagnostics import Diagnostic, Severity, error
from hermesdsl.graph import joins
from hermesdsl.graph.ledger import check_clients, check_kv
from hermesdsl.graph.types import Choice, PipelineGraph, StageNode
from hermesdsl.source import Span

__all__ = ["Arrow", "build", "check_clients", "check_kv", "flatten"]

#: The nodes that are no stages.
ENDS = ("input", "output", "refused")
#: Sums of written percentages may miss 100% by rounding only.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Arrow:
    """`source` -> `target`, both paths of stages or ends; `choice` if it is an arm of a branch.

    Several arrows out of one stage with equal `choice` are a fork inside one arm.
    """

    source: str
    target: str
    choice: Choice | None = None
    span: Span | None = None


def build(
    path: str,
    name: str,
    stages: Sequence[StageNode],
    arrows: Sequence[Arrow],
    doc: str = "",
    *,
    spans: Mapping[str, Span] | None = None,
) -> tuple[PipelineGraph, list[Diagnostic]]:
    """The pipeline graph of `graph.types` with its joins, and every fault of its shape.

    `spans` say where stages were written. The three ends are always nodes, ``refused`` without
    arrows if nothing refuses. An arrow written twice is one arrow. With errors found, joins may
    be missing.
    """
    graph: PipelineGraph = nx.DiGraph(name=name, path=path, doc=doc)
    graph.add_node("input", join=None)
    for stage in stages:
        graph.add_node(stage.path, stage=stage, join=None)
    graph.add_nodes_from(("output", "refused"), join=None)
    builder = _Builder(graph, spans or {})
    for arrow in arrows:
        builder.add(arrow)
    builder.check_branches(arrows)
    builder.check_shape()
    if not any(item.is_error for item in builder.found):
        builder.set_joins()
    return graph, builder.found


def flatten(graph: PipelineGraph) -> Iterator[tuple[str, StageNode]]:
    """(path, stage) of every stage, each sub-pipeline followed by what is inside it."""
    for path in graph:
        stage: StageNode | None = graph.nodes[path].get("stage")
        if stage is not None:
            yield path, stage
            if stage.inner is not None:
                yield from flatten(stage.inner)


@dataclass
class _Builder:
    """A graph being built, where its stages and arrows were written, and what was found so far."""

    graph: PipelineGraph
    spans: Mapping[str, Span]
    arrow_spans: dict[tuple[str, str], Span | None] = field(default_factory=dict)
    found: list[Diagnostic] = field(default_factory=list)

    def name(self, path: str) -> str:
        """A stage as the pipeline's author calls it."""
        return path.removeprefix(f"{self.graph.graph['path']}.")

    def chain(self, paths: Sequence[str]) -> str:
        """Stages joined by arrows, a long middle left out."""
        names = [self.name(path) for path in paths]
        if len(names) > 9:
            names[5:-3] = [f"… {len(names) - 8} more …"]
        return " -> ".join(names)

    def complain(self, code: str, message: str, span: Span | None, *notes: str) -> None:
        """Keep an error."""
        self.found.append(error(code, message, span, notes=notes))

    def at(self, path: str) -> Span | None:
        """Where a stage was written, else the first arrow that touches it."""
        if path in self.spans:
            return self.spans[path]
        return next((span for ends, span in self.arrow_spans.items() if path in ends), None)

    def add(self, arrow: Arrow) -> None:
        """Add an arrow's edge if it can stand."""
        source, target = arrow.source, arrow.target
        for end in (source, target):
            if end not in self.graph:
                message = f"{self.name(end)} is no stage of {self.graph.graph['name']}"
                return self.complain("HMS501", message, arrow.span)
        if target == "input":
            return self.complain("HMS501", "no arrow can lead to input", arrow.span)
        if source in ("output", "refused"):
            return self.complain("HMS501", f"no arrow can leave {source}", arrow.span)
        if not self.graph.has_edge(source, target):
            self.graph.add_edge(source, target, choice=arrow.choice)
            self.arrow_spans[source, target] = arrow.span
            return None
        known: Choice | None = self.graph.edges[source, target]["choice"]
        if arrow.choice and known and arrow.choice.order != known.order:
            message = f"two arms of {self.name(source)} lead to {self.name(target)}"
            note = "help: join their conditions with `or`, or add their shares"
            self.complain("HMS502", message, arrow.span, note)
        return None

    def check_branches(self, arrows: Sequence[Arrow]) -> None:
        """Every stage either branches or does not, and its arms take every request."""
        leaving: dict[str, list[Arrow]] = defaultdict(list)
        for arrow in arrows:
            leaving[arrow.source].append(arrow)
        for source, own in leaving.items():
            arms: dict[int, Arrow] = {}
            for arrow in own:
                if arrow.choice is not None:
                    first = arms.setdefault(arrow.choice.order, arrow)
                    if first.choice != arrow.choice:
                        message = f"{self.name(source)} has two branches"
                        self.complain("HMS502", message, arrow.span, "help: write one `branch`")
                        break
            else:
                if arms:
                    self._check_arms(source, own, [arms[order] for order in sorted(arms)])

    def _check_arms(self, source: str, own: Sequence[Arrow], arms: Sequence[Arrow]) -> None:
        name = self.name(source)
        for arrow in own:
            if arrow.choice is None:
                message = f"the arrow to {self.name(arrow.target)} stands beside a branch of {name}"
                note = "help: an arm may lead to several stages: `else -> [a, b]`"
                return self.complain("HMS502", message, arrow.span, note)
        fault = _order_fault(arms)
        if fault is not None:
            return self.complain("HMS502", f"branch {name}: {fault[0]}", fault[1])
        choices = [arm.choice for arm in arms if arm.choice is not None]
        shares = [choice.share for choice in choices if choice.share is not None]
        total = sum(shares)
        has_else = any(choice.guard is None and choice.share is None for choice in choices)
        if total > 1 + _ROUNDING:
            message = f"branch {name}: shares add up to {_percent(total)}"
            return self.complain("HMS502", message, arms[-1].span)
        if not has_else and total < 1 - _ROUNDING:
            rest = _percent(1 - total) + " of what is left" if shares else "what meets no condition"
            message = f"branch {name}: {rest} goes nowhere"
            return self.complain("HMS502", message, arms[-1].span, "help: add `else -> …`")
        if has_else and total > 1 - _ROUNDING:
            message = f"branch {name}: shares add up to 100%, so `else` is never taken"
            self.found.append(Diagnostic("HMS502", Severity.WARNING, message, arms[-1].span))
        return None

    def check_shape(self) -> None:
        """No cycles; every stage lies on a way from input to an end."""
        graph = self.graph
        cycles = [part for part in nx.strongly_connected_components(graph) if len(part) > 1]
        cycles += [{node} for node in nx.nodes_with_selfloops(graph)]
        for part in sorted(cycles, key=min):
            self._complain_of_cycle(part)
        if cycles:
            return
        if not graph.out_degree("input"):
            self.complain("HMS501", f"no arrow leaves input of {graph.graph['name']}",
                          self.at(graph.graph["path"]),
                          "help: begin with `input -> …`")  # fmt: skip
            return
        for node in graph:
            if node in ENDS:
                continue
            if not graph.in_degree(node):
                message = f"{self.name(node)} is never reached: no arrow leads to it"
                self.complain("HMS501", message, self.at(node))
            elif not graph.out_degree(node):
                message = f"{self.name(node)} leads nowhere: no arrow leaves it"
                note = f"help: end with `{self.name(node)} -> output`"
                self.complain("HMS501", message, self.at(node), note)
        if not self.found and not nx.has_path(graph, "input", "output"):
            self.complain("HMS501", "no way leads to output: every request is refused",
                          self.at(graph.graph["path"]))  # fmt: skip

    def _complain_of_cycle(self, part: set[str]) -> None:
        first = next(node for node in self.graph if node in part)
        edges = nx.find_cycle(self.graph.subgraph(part), first)
        cycle = [edge[0] for edge in edges]
        span = self.arrow_spans[edges[-1][0], edges[-1][1]]
        self.complain(
            "HMS501",
            f"the arrows form a cycle: {self.chain([*cycle, cycle[0]])}",
            span,
            "help: make what repeats a stage or a sub-pipeline and give it `repeat`, "
            "such as `repeat = while(p = 35%, max = 4)`",
        )

    def set_joins(self) -> None:
        """Derive the joins of a graph without errors."""
        try:
            derived, ambiguous = joins.derive(self.graph)
        except joins.TangledError as tangled:
            return self.complain("HMS503", str(tangled), None)
        for node, join in derived.items():
            self.graph.nodes[node]["join"] = join
        for case in ambiguous:
            self._complain_of_join(case)
        return None

    def _complain_of_join(self, join: joins.Ambiguous) -> None:
        node = self.name(join.node)
        if join.apart:
            a, b = map(self.name, join.apart[0])
            others = [s for s in self.graph.pred[join.node] if s not in join.apart[0]]
            besides = ", ".join(map(self.name, others))
            message = f"arrows into {node} are mixed: {a} and {b} exclude each other, {besides} not"
        else:
            names = " and ".join(map(self.name, self.graph.pred[join.node]))
            message = f"{node} cannot wait for {names}: they do not always come together"
        notes = []
        if join.lone is not None:
            a, b = map(self.name, join.lone)
            taken = [f"{self.name(n)} takes {_arm_text(c)}" for n, c in join.example.items()]
            when = f"when {' and '.join(taken)}, " if taken else ""
            notes.append(f"{when}{a} comes without {b}")
        notes.append("help: let the exclusive ones meet in a stage of their own first")
        self.complain("HMS503", message, self.at(join.node), *notes)


def _order_fault(arms: Sequence[Arrow]) -> tuple[str, Span | None] | None:
    """What is wrong with the order of arms: conditions, then shares, then one `else`."""
    before = 0
    for arm in arms:
        choice = arm.choice
        if choice is None:
            continue
        if choice.share is not None and not 0 < choice.share <= 1 + _ROUNDING:
            return (
                f"a share of {_percent(choice.share)}; it is above 0% and at most 100%",
                arm.span,
            )
        rank = 0 if choice.guard is not None else 1 if choice.share is not None else 2
        if before == 2:
            return ("two arms are `else`" if rank == 2 else "an arm follows `else`"), arm.span
        if rank < before:
            return "a condition follows a share; conditions come first", arm.span
        before = rank
    return None


def _arm_text(choice: Choice) -> str:
    if choice.label:
        return choice.label
    if choice.guard is not None:
        return choice.guard.text or f"arm {choice.order + 1}"
    return "else" if choice.share is None else _percent(choice.share)


def _percent(share: float) -> str:
    return f"{share * 100:.6g}%"
