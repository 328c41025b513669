"""What a pipeline asks for and nothing in it can bring: verdicts and documents.

Such a stage or condition would run and mean nothing. Knows stages and branches of a whole pipeline
with its sub-pipelines. Must not know clients, time or source text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph.types import Choice, Guard, PipelineGraph, StageNode
from hermesdsl.source import Span

#: Stage types that leave a verdict.
JUDGES = frozenset({"Classify", "Guard", "Score", "Filter"})


def check_effects(
    pipeline: PipelineGraph, *, spans: Mapping[str, Span] | None = None
) -> list[Diagnostic]:
    """HMS502 for a branch on a verdict that no stage leaves; HMS504 for a reranker without search.

    HMS505 for a `join` that waits for passes where nothing is checked.
    `pipeline` is one that requests enter from outside; `spans` say where stages were written.
    """
    whole = list(_stages(pipeline))
    types = {stage.type_name for stage in whole}
    found = list(_branches(pipeline, judged=bool(types & JUDGES), spans=spans or {}))
    for stage in whole:
        fault = _fault(stage, types)
        if fault is not None:
            code, message, *notes = fault
            found.append(error(code, message, (spans or {}).get(stage.path), notes=notes))
    return found


def _stages(graph: PipelineGraph) -> Iterator[StageNode]:
    """Every stage and sub-pipeline, inner ones after what holds them."""
    for _, data in graph.nodes(data=True):
        stage: StageNode | None = data.get("stage")
        if stage is not None:
            yield stage
            if stage.inner is not None:
                yield from _stages(stage.inner)


def _branches(
    graph: PipelineGraph, *, judged: bool, spans: Mapping[str, Span]
) -> Iterator[Diagnostic]:
    """One finding per branch on a verdict, unless some stage of the whole pipeline leaves one."""
    told: set[str] = set()
    for node, _, data in graph.edges(data=True):
        choice: Choice | None = data.get("choice")
        guard = choice.guard if choice is not None else None
        if guard is not None and not judged and _reads_verdict(guard) and node not in told:
            told.add(node)
            message = f"the branch of {node} reads a verdict that no stage leaves"
            note = f"help: put one of {', '.join(sorted(JUDGES))} before it"
            yield error("HMS502", message, spans.get(node), notes=[note])
    for _, data in graph.nodes(data=True):
        stage: StageNode | None = data.get("stage")
        if stage is not None and stage.inner is not None:
            yield from _branches(stage.inner, judged=judged, spans=spans)


def _reads_verdict(guard: Guard) -> bool:
    return any(
        _reads_verdict(part) if isinstance(part, Guard) else part == "verdict"
        for part in guard.operands
    )


def _fault(stage: StageNode, types: set[str]) -> tuple[str, ...] | None:
    """Code, message and notes of what a stage asks for in vain."""
    join = stage.join
    if join.args.get("which") == "pass":
        inside = set() if stage.inner is None else {s.type_name for s in _stages(stage.inner)}
        if not (inside | {stage.type_name}) & JUDGES:
            message = (
                f"`join = {join.name}` of {stage.path} waits for passes, and nothing in it judges"
            )
            return "HMS505", message, "help: end it with a `Score`, or leave out `pass`"
    if stage.type_name == "Rerank" and "Retrieve" not in types:
        message = f"{stage.path} ranks documents, and no Retrieve finds any"
        return "HMS504", message, "help: put a `Retrieve` before it"
    return None
