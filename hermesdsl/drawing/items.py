"""Groups of alike things as items of a picture: boxes for containers, shapes for what is in them.

Knows folds and overlays; what a shape looks like, and what stands above a box, is each picture's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from hermesdsl.drawing import labels
from hermesdsl.drawing.scene import Box, Node

if TYPE_CHECKING:
    from hermesdsl.drawing.fold import Folded, Group
    from hermesdsl.drawing.overlay import Overlay
    from hermesdsl.graph.types import Container


class Items:
    """Base of what a picture is made from: `boxes` by path, and how things were `folded`."""

    boxes: Mapping[str, Container]
    overlay: Overlay
    folded: Folded

    def items(self, group: Group, around: str = "") -> Iterator[Node | Box]:
        """A box for a container; for anything else its shape, then those of what is inside it.

        `around` is the path of the container around the group.
        """
        at = group.first if group.first in self.boxes else around
        inner = tuple(item for child in group.children for item in self.items(child, at))
        name = self.folded.title(group, around)
        members = self.folded.members[group.first]
        extra, fill = self.overlay.at(members)
        box = self.boxes.get(group.first)
        if box is None:
            yield self._shape(group, name, members, extra, fill)
            yield from inner
        elif inner:
            title = "\n".join((self._heading(name, box), *extra))
            tip = labels.tooltip(members, box.doc, box.labels)
            yield Box(group.id, title, box.kind, inner, members, tip, fill)

    def _heading(self, name: str, box: Container) -> str:
        """What stands above a box."""
        return f"{name} · {box.type_name}"

    def _shape(
        self,
        group: Group,
        name: str,
        members: tuple[str, ...],
        extra: tuple[str, ...],
        fill: str | None,
    ) -> Node:
        """The shape of what is no container."""
        raise NotImplementedError
