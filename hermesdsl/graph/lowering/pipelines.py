"""From pipeline instances to stage graphs, and the pools that their stages name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph import effects, ledger, pipeline
from hermesdsl.graph.lowering.plain import plain
from hermesdsl.graph.lowering.serving import pool
from hermesdsl.graph.types import (
    Choice,
    PipelineGraph,
    PlacementGraph,
    Pool,
    Spec,
    StageNode,
    Value,
)
from hermesdsl.model import flows
from hermesdsl.model.instance import Instance, Vector
from hermesdsl.model.resolve import place_of
from hermesdsl.model.slots import sites
from hermesdsl.model.values import Fail, text
from hermesdsl.source import Span

if TYPE_CHECKING:
    from hermesdsl.model.elaborate import Tree

_SKIPPED = {"repeat", "join", "spread"}
_LABELS = (
    "service",
    "tokens",
    "appends",
    "top_k",
    "keep",
    "length",
    "pass",
    "index",
    "cache",
    "hidden",
)


def lower(
    tree: Tree, placement: PlacementGraph
) -> tuple[dict[str, PipelineGraph], list[Diagnostic]]:
    """Every pipeline that a workload sends requests through, by path."""
    lowering = _Lowering(tree, placement)
    for definition in tree.singles("workload").values():
        instance = definition.instance(tree.builder)
        if not sites(instance, "pipeline"):
            continue  # a shape that others extend, or `load` says what it lacks
        try:
            chosen = tree.builder.get(instance, "pipeline")
            if isinstance(chosen, Instance):
                lowering.top(chosen)
        except Fail as problem:
            tree.builder.report(problem)
    for name, chosen in _unloaded(tree):
        if name not in lowering.graphs:
            lowering.top(chosen)
    return lowering.graphs, lowering.found


def _unloaded(tree: Tree) -> list[tuple[str, Instance]]:
    """Pipeline instances at file level that no workload names: drawn and checked all the same."""
    found = []
    for child in tree.root.instance.each_child():
        if child.kind.name == "pipeline":
            found.append((child.path, child))
    return found


class _Lowering:
    """Builds graphs; pools are collected in the placement graph as stages name them."""

    def __init__(self, tree: Tree, placement: PlacementGraph) -> None:
        self.tree = tree
        self.builder = tree.builder
        self.placement = placement
        self.pools: dict[str, Pool] = placement.graph["pools"]
        self.graphs: dict[str, PipelineGraph] = {}
        self.found: list[Diagnostic] = []
        self.spans: dict[str, Span] = {}

    def top(self, instance: Instance) -> None:
        """A pipeline that requests enter."""
        if instance.path in self.graphs:
            return
        before = self._errors()
        graph = self.graph(instance)
        graph.graph["options"] = self._options(instance)
        self.graphs[instance.path] = graph
        clients = {
            path: data["client"]
            for path, data in self.placement.nodes(data=True)
            if "client" in data
        }
        spans = self.spans
        if self._errors() == before and not any(d.is_error for d in self.found):
            self.found += ledger.check_clients(graph, self.pools, clients, spans=spans)
            self.found += ledger.check_kv(graph, self.pools, clients, spans=spans)
            self.found += effects.check_effects(graph, spans=spans)

    def graph(self, instance: Instance) -> PipelineGraph:
        """The stage graph of one pipeline instance, sub-pipelines nested.

        A stage or an arrow with a problem is left out; what the shape lacks without it is not
        told.
        """
        before = self._errors()
        stages = []
        for child in instance.children.values():
            items = child.items if isinstance(child, Vector) else [child]
            if items:
                try:
                    stages.append(self._stage(items[0], len(items), isinstance(child, Vector)))
                except Fail as problem:
                    self.builder.report(problem)
        prefix = instance.path
        arrows = [
            pipeline.Arrow(
                _node(prefix, a.source), _node(prefix, a.target),
                None if a.order is None else Choice(a.order, a.guard, a.share, a.label), a.span,
            )
            for a in flows.arrows(self.builder, instance)
        ]  # fmt: skip
        name = instance.type_name
        span = place_of(instance)
        if span is not None:
            self.spans[prefix] = span
        graph, found = pipeline.build(prefix, name, stages, arrows, instance.doc, spans=self.spans)
        if self._errors() == before:
            self.found += found
        return graph

    def _errors(self) -> int:
        return sum(item.is_error for item in self.builder.sink.items)

    def _stage(self, instance: Instance, count: int, vector: bool) -> StageNode:
        builder = self.builder
        path = instance.vector if vector else instance.path
        span = place_of(instance)
        if span is not None:
            self.spans[path] = span
        chosen = flows.clients(builder, instance)
        name = None
        if chosen is not None:
            name = self._pool(chosen)
        repeat, join = builder.get(instance, "repeat"), builder.get(instance, "join")
        inner = self.graph(instance) if instance.kind.name == "pipeline" else None
        type_name = instance.builtin.name if instance.builtin else instance.type_name
        shown = []
        for label in _LABELS:
            value = builder.get(instance, label) if label in instance.properties else None
            if value is not None and value is not False and not (label == "pass" and value == 1.0):
                shown.append((label, text(value)))
        made_join = plain(builder, join)
        made_repeat = plain(builder, repeat)
        assert isinstance(made_join, Spec)
        if not vector and made_join.name != "all":
            message = f"`join = {made_join.name}` of `{path}`, of which there is one"
            note = f"help: declare several, as in `{instance.name}[4]: …`"
            raise Fail(error("HMS505", message, span, notes=[note]))
        return StageNode(
            path=path,
            type_name=type_name,
            pool=name,
            options=self._options(instance),
            replicas=count if vector else 1,
            spread=builder.get(instance, "spread"),
            join=made_join,
            repeat=made_repeat if isinstance(made_repeat, Spec) else None,
            inner=inner,
            doc=instance.doc,
            labels=tuple(shown),
        )

    def _options(self, instance: Instance) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for name in instance.properties:
            if name in _SKIPPED:
                continue
            value: Any = self.builder.get(instance, name)
            if value is None:
                continue
            if name == "prefill":
                span = place_of(instance)
                assert span is not None
                found[name] = self._pool(flows.clients_of(self.builder, value, span))
            else:
                found[name] = plain(self.builder, value)
        return found

    def _pool(self, chosen: flows.Clients) -> str:
        if chosen.name not in self.pools:
            self.pools[chosen.name] = pool(self.builder, chosen)
        return chosen.name


def _node(prefix: str, name: str) -> str:
    return name if name in flows.ENDS else f"{prefix}.{name}"
