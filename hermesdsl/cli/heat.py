"""Results laid over a picture: how busy each client, device, stage and link of a stored run was.

Reads the summary of a result and the names in a system; knows no picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermesdsl.cli import figures
from hermesdsl.diagnostics import SpecError, error

if TYPE_CHECKING:
    from hermesdsl.api import System
    from hermesdsl.drawing import Mark


def marks(system: System, folder: str) -> dict[str, Mark]:
    """Marks by path for the result stored in a folder; a link's path is ``source -> target``.

    Raises `SpecError` HMS607 if there is no result, or it is of another system.
    """
    from hermesdsl.drawing import Mark
    from hermesdsl.results import Result

    data = Result.load(Path(folder)).summary()
    if not all(key in data for key in ("clients", "devices", "links")):
        message = f"`{folder}` does not say how busy anything was"
        raise SpecError([error("HMS607", message, notes=["help: run it again with --out"])])
    clients = {path: entry["utilisation"] for path, entry in data["clients"].items()}
    unknown = [path for path in clients if path not in system.placement]
    if unknown:
        note = f"help: it was made from `{data['spec']}`; draw that one, or run this one"
        message = f"`{folder}` holds results of another system: no `{unknown[0]}` here"
        raise SpecError([error("HMS607", message, notes=[note])])
    busy = {**clients, **dict(_stages(system, clients)), **_links(data)}
    idle = {
        path: Mark(0.0, "idle")
        for path, entry in system.hardware.nodes(data=True)
        if entry["part"].kind == "chip"
    }
    return idle | {
        path: Mark(share, f"{figures.share(share)} {word}")
        for shares, word in ((busy, "busy"), (data["devices"], "in use"))
        for path, share in shares.items()
        if share is not None
    }


def _stages(
    system: System, clients: Mapping[str, float | None]
) -> Iterator[tuple[str, float | None]]:
    """The mean over the clients of each stage's pool."""
    from hermesdsl.drawing.pipeline import stages_of

    pools = system.placement.graph["pools"]
    for graph in system.pipelines.values():
        for stage in stages_of(graph):
            members = pools[stage.pool].members if stage.pool in pools else ()
            busy = [share for each in members if (share := clients.get(each)) is not None]
            yield stage.path, sum(busy) / len(busy) if busy else None


def _links(data: Mapping[str, Any]) -> dict[str, float]:
    return {f"{each['source']} -> {each['target']}": each["utilisation"] for each in data["links"]}
