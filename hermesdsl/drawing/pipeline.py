"""The pipeline view: stages from left to right, branches on the arrows, sub-pipelines as boxes.

A box has two small ports, where requests enter and leave it. Stages take the colour of the pool
they run on, the same as in the placement view.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hermesdsl.drawing import labels
from hermesdsl.drawing.overlay import Overlay
from hermesdsl.drawing.scene import Box, Node, Scene, Wire
from hermesdsl.graph.types import Choice, Spec, StageNode

if TYPE_CHECKING:
    from hermesdsl.graph.types import PipelineGraph

ENDS = ("input", "output", "refused")
#: Settings that have a place of their own in the picture, or none.
_PLACED = frozenset({"repeat", "join", "spread", "prefill", "on"})


def scene(
    pipelines: Mapping[str, PipelineGraph], hues: Mapping[str, int], overlay: Overlay
) -> Scene:
    """The picture of one pipeline, or of several below each other, each in a box."""
    single = len(pipelines) == 1
    items: list[Node | Box] = []
    wires: list[Wire] = []
    for name, graph in pipelines.items():
        drawing = _Drawing(graph, name, hues, overlay, nested=False)
        inner = tuple(drawing.items())
        doc = str(graph.graph.get("doc", ""))
        box = Box(name, name, "pipeline", inner, (name,), labels.tooltip([name], doc))
        items += inner if single else [box]
        wires += drawing.wires()
    title = f"Pipeline {next(iter(pipelines))}" if single else "Pipelines"
    return Scene("pipeline", title, tuple(items), tuple(wires), direction="LR", framed=single)


def stages_of(graph: PipelineGraph) -> Iterator[StageNode]:
    """Every stage of a pipeline and of the pipelines inside it."""
    for _, data in graph.nodes(data=True):
        stage: StageNode | None = data.get("stage")
        if stage is not None:
            yield stage
            if stage.inner is not None:
                yield from stages_of(stage.inner)


def pools_of(stage: StageNode) -> tuple[str, ...]:
    """The pools a stage runs on: its own, and that of a separate prefill."""
    prefill = stage.options.get("prefill")
    named = (stage.pool, prefill if isinstance(prefill, str) else None)
    return tuple(dict.fromkeys(pool for pool in named if pool))


def repeat_text(repeat: Spec) -> str:
    """``×1–4, again 35 %``, ``×1–10, mean 4``, ``×3 in turn``."""
    most = repeat.args.get("max")
    span = f"×1–{labels.setting(most)}" if most is not None else "repeated"
    again, mean = repeat.args.get("p"), repeat.args.get("mean")
    if repeat.name == "while" and isinstance(again, int | float):
        return f"{span}, again {labels.percent(again)}"
    if repeat.name == "geometric" and mean is not None:
        return f"{span}, mean {labels.setting(mean)}"
    if repeat.name == "times" and repeat.args:
        return f"×{labels.setting(next(iter(repeat.args.values())))} in turn"
    return f"repeat {labels.setting(repeat)}"


def replica_text(stage: StageNode) -> str:
    """``×4, majority``; ``×16, one per member, all``."""
    words = [f"×{stage.replicas}", "one per member" if stage.spread == "each" else ""]
    counts = [v for v in stage.join.args.values() if isinstance(v, int) and v is not True and v]
    passing = any(v is True or v == "pass" for v in stage.join.args.values())
    words.append(" ".join([stage.join.name, *map(str, counts)]) + (" to pass" if passing else ""))
    return ", ".join(word for word in words if word)


def choice_text(choice: Choice | None) -> str:
    """What an arm of a branch is labelled with: its own text, its share, or ``else``."""
    if choice is None:
        return ""
    if choice.label:
        return choice.label
    if choice.guard is not None:
        return choice.guard.text or choice.guard.op
    return "else" if choice.share is None else labels.percent(choice.share)


@dataclass(frozen=True)
class _Drawing:
    """One pipeline graph; `prefix` keeps the ids of two instances of it apart."""

    graph: PipelineGraph
    prefix: str
    hues: Mapping[str, int]
    overlay: Overlay
    nested: bool

    def items(self) -> Iterator[Node | Box]:
        """Stages, and the ends that something leads to or from, in graph order."""
        for name, data in self.graph.nodes(data=True):
            stage: StageNode | None = data.get("stage")
            if stage is None:
                if self.graph.degree(name):
                    yield self._end(name)
            elif stage.inner is None:
                yield self._stage(name, stage, data.get("join"))
            else:
                yield self._box(name, stage, stage.inner, data.get("join"))

    def wires(self) -> Iterator[Wire]:
        """Arrows of this pipeline, then those of the pipelines inside it."""
        for tail, head, data in self.graph.edges(data=True):
            text = choice_text(data.get("choice"))
            start, stop = self._port(tail, "output"), self._port(head, "input")
            yield Wire(
                start,
                stop,
                labels.wrap([text], 30),
                arrow="none" if self._is_port(head) else "forward",
                tooltip=text,
            )
        for name, data in self.graph.nodes(data=True):
            stage: StageNode | None = data.get("stage")
            if stage is not None and stage.inner is not None:
                yield from self._inner(name, stage.inner).wires()

    def _id(self, name: str) -> str:
        inside = name == self.prefix or name.startswith(f"{self.prefix}.")
        return name if inside else f"{self.prefix}.{name}"

    def _inner(self, name: str, graph: PipelineGraph) -> _Drawing:
        return _Drawing(graph, self._id(name), self.hues, self.overlay, nested=True)

    def _port(self, name: str, side: str) -> str:
        stage: StageNode | None = self.graph.nodes[name].get("stage")
        inner = stage is not None and stage.inner is not None
        return f"{self._id(name)}.{side}" if inner else self._id(name)

    def _is_port(self, name: str) -> bool:
        stage: StageNode | None = self.graph.nodes[name].get("stage")
        return stage.inner is not None if stage is not None else self.nested and name == "output"

    def _end(self, name: str) -> Node:
        if self.nested and name != "refused":
            return Node(self._id(name), (), "port", tooltip=f"{name} of {self.prefix}")
        return Node(self._id(name), (name,), "refused" if name == "refused" else "end")

    def _stage(self, name: str, stage: StageNode, join: str | None) -> Node:
        title = _local(stage.path)
        repeats = [replica_text(stage)] if stage.replicas > 1 else []
        repeats += [repeat_text(stage.repeat)] if stage.repeat is not None else []
        extra, fill = self.overlay.at([stage.path])
        lines = (
            title,
            *([stage.type_name] if stage.type_name.lower() != title.lower() else []),
            *labels.wrap(repeats, 30),
            *labels.wrap(_settings(stage), 35),
            *_places(stage),
            *(["waits for all inputs"] if join == "wait" else []),
            *extra,
        )
        tip = labels.tooltip([stage.path], stage.doc, stage.labels)
        return Node(self._id(name), lines, "stage", (stage.path,), tip, self._hue(stage), fill)

    def _box(self, name: str, stage: StageNode, graph: PipelineGraph, join: str | None) -> Box:
        words = [_local(stage.path), stage.type_name]
        words += [replica_text(stage)] if stage.replicas > 1 else []
        words += [repeat_text(stage.repeat)] if stage.repeat is not None else []
        words += ["waits for all inputs"] if join == "wait" else []
        extra, fill = self.overlay.at([stage.path])
        title = "\n".join((*labels.wrap(words, 60), *extra))
        tip = labels.tooltip([stage.path], stage.doc, stage.labels)
        items = tuple(self._inner(name, graph).items())
        return Box(self._id(name), title, "pipeline", items, (stage.path,), tip, fill)

    def _hue(self, stage: StageNode) -> int | None:
        return self.hues.get(stage.pool) if stage.pool else None


def _local(path: str) -> str:
    return path.rpartition(".")[2]


def _settings(stage: StageNode) -> list[str]:
    pairs = [(name, text) for name, text in stage.labels if name not in _PLACED]
    return [name if text == "true" else f"{name} {text}" for name, text in pairs[:3]]


def _places(stage: StageNode) -> Iterator[str]:
    prefill = stage.options.get("prefill")
    if stage.pool:
        yield labels.clip(f"on {stage.pool}", 30)
    if isinstance(prefill, str) and prefill != stage.pool:
        yield labels.clip(f"prefill on {prefill}", 30)
