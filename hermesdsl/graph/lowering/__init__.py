"""From the instance tree to the compiled system: the only place that reads the tree for graphs.

Each module lowers one part; what they build is in `graph.types` and knows no language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hermesdsl.graph.lowering import hardware, load, pipelines, serving, views
from hermesdsl.graph.types import CompiledSystem

if TYPE_CHECKING:
    from hermesdsl.diagnostics import Diagnostic, Sink
    from hermesdsl.model.elaborate import Tree


def lower(tree: Tree, sink: Sink) -> CompiledSystem | None:
    """The compiled system of a tree; None if a stage failed (the sink says why)."""

    def keep(found: list[Diagnostic]) -> bool:
        for diagnostic in found:
            sink.add(diagnostic)
        return not sink.failed

    graph, found = hardware.lower(tree)
    if not keep(found):
        return None
    placement, found = serving.lower(tree, graph)
    if not keep(found):
        return None
    graphs, found = pipelines.lower(tree, placement)
    if not keep(found):
        return None
    offered, found = load.workloads(tree)
    groups = load.classes(tree)
    keep(found)
    experiments, found = load.experiments(tree, offered)
    shown = views.views(tree)
    if not keep(found):
        return None
    indexes = serving.indexes(tree)
    return CompiledSystem(
        graph, placement, graphs, offered, experiments, groups, views=shown, indexes=indexes
    )
