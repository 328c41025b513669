"""What can be known of a request before it comes: which KV may still be read, what is seen.

Looks through the vertices of a plan from its ends. Knows no clock, client or request.
"""

from __future__ import annotations

from collections.abc import Sequence

from hermesdsl.sim.nodes import EngineVisit, Node


def look_ahead(nodes: Sequence[Node]) -> None:
    """Work out for every vertex which KV may be read from there on, and what is seen."""
    for node in nodes:
        if isinstance(node, EngineVisit) and not node.judges:
            node.models = frozenset({node.model})
            node.writes = node.produce is not None
    changed = True
    while changed:
        changed = False
        for node in reversed(nodes):
            after = node.following()
            models = node.models.union(*(other.models for other in after))
            writes = node.writes or any(other.writes for other in after)
            if models != node.models or writes != node.writes:
                node.models, node.writes = models, writes
                changed = True
    for node in nodes:
        if isinstance(node, EngineVisit) and not node.judges:
            after = node.following()
            node.keeps = any(node.model in other.models for other in after)
            last = not any(other.writes for other in after)
            node.visible = (
                node.produce is not None and last and not node.hidden and not node.contested
            )
