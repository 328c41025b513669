"""From the instance tree to the compiled system: the only place that reads the tree for graphs.

Each module lowers one part; what they build is in `graph.types` and knows no language.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hermesdsl.diagnostics import error
from hermesdsl.graph.cores import share_cores
from hermesdsl.graph.lowering import hardware, load, pipelines, serving, tiers, views
from hermesdsl.graph.types import CompiledSystem
from hermesdsl.model.explain import instance_at
from hermesdsl.model.report import once_per_statement
from hermesdsl.model.resolve import place_of
from hermesdsl.model.room import room
from hermesdsl.model.values import Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hermesdsl.diagnostics import Diagnostic, Sink
    from hermesdsl.graph.types import PipelineGraph, PlacementGraph
    from hermesdsl.model.elaborate import Tree


def lower(tree: Tree, sink: Sink) -> CompiledSystem | None:
    """The compiled system of a tree; None if a stage failed (the sink says why)."""
    made = None
    try:
        with room():
            made = _lower(tree, sink)
    except Stop as stop:
        sink.add(stop.diagnostic)
    except RecursionError:
        sink.add(error("HMS105", "the specification is nested too deeply"))
    once_per_statement(tree.builder)
    return made


def _lower(tree: Tree, sink: Sink) -> CompiledSystem | None:
    def keep(found: list[Diagnostic]) -> bool:
        for diagnostic in found:
            sink.add(diagnostic)
        return not sink.failed

    graph, found = hardware.lower(tree)
    if not keep(found):
        return None
    placement, found = serving.lower(tree, graph)
    found += tiers.check_ways(tree)
    if not keep(found) or not keep(tiers.check_scopes(tree, graph, placement)):
        return None
    graphs, found = pipelines.lower(tree, placement)
    if not keep(found) or not keep(tiers.check_capacity(tree, placement, graphs)):
        return None
    tiers.reserve(placement, graphs)
    if not keep(_share_cores(tree, placement, graphs)):
        return None
    offered, found = load.workloads(tree, graphs)
    groups = load.classes(tree)
    keep(found)
    experiments, found = load.experiments(tree, offered)
    shown = views.views(tree)
    if not keep(found):
        return None
    indexes = serving.indexes(tree)
    caches = tiers.caches(tree, graph, placement)
    keep(tiers.check_writes(tree, caches, graphs))
    return CompiledSystem(
        graph, placement, graphs, offered, experiments, groups, views=shown, indexes=indexes,
        caches=caches,
    )  # fmt: skip


def _share_cores(
    tree: Tree, placement: PlacementGraph, graphs: Mapping[str, PipelineGraph]
) -> list[Diagnostic]:
    """What clients have of processors that they share; what they have not, where it was asked."""
    found = []
    for path, problem in share_cores(placement, graphs):
        instance = instance_at(tree, path)
        found.append(replace(problem, span=None if instance is None else place_of(instance)))
    return found
