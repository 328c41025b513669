"""A system cut down to what a named view shows.

Knows paths only: a thing belongs to ``pre`` if its path is ``pre`` or begins with ``pre.`` or
``pre[``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hermesdsl.diagnostics import SpecError, error
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.graph.types import CompiledSystem


def narrow(system: CompiledSystem, show: Sequence[str]) -> CompiledSystem:
    """The parts, clients and pipelines below any path of `show`; wires between them stay.

    A client brings the devices that it runs on, and a device the boxes around it. Raises
    `SpecError` HMS201 for a path that names nothing.
    """
    paths = [*system.hardware, *system.placement, *system.pipelines,
             *system.hardware.graph.get("containers", {})]  # fmt: skip
    for wanted in show:
        if not any(below(path, wanted) for path in paths):
            notes = suggestion(wanted, paths)
            raise SpecError([error("HMS201", f"a view shows `{wanted}`: unknown", notes=notes)])
    clients = {n for n, data in system.placement.nodes(data=True)
               if "client" in data and _in(n, show)}  # fmt: skip
    devices = {d for c in clients for d in system.placement.successors(c)}
    parts = {n for n in system.hardware if _in(n, show)} | devices
    parts |= {m for m, owner in system.hardware.graph.get("owner", {}).items() if owner in parts}
    return replace(
        system,
        hardware=system.hardware.subgraph(parts).copy(),
        placement=system.placement.subgraph(clients | devices).copy(),
        pipelines={n: g for n, g in system.pipelines.items() if _in(n, show)},
    )


def below(path: str, wanted: str) -> bool:
    """True if `path` is `wanted` or lies in it."""
    return path == wanted or path.startswith((f"{wanted}.", f"{wanted}["))


def _in(path: str, show: Sequence[str]) -> bool:
    return any(below(path, wanted) for wanted in show)
