"""What each type of stage needs: a client that can do it, and KV to read.

The table `RULES` is the request ledger of the language reference, as far as the graph can tell.
Knows stages, pools and clients. Must not know expressions, syntax, time or cost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from types import MappingProxyType
from typing import TypeAlias

import networkx as nx

from hermesdsl.diagnostics import Diagnostic, error
from hermesdsl.graph.roles import DECODE, PREFILL, unserved
from hermesdsl.graph.types import Client, PipelineGraph, Pool, StageNode
from hermesdsl.schema import BUILTINS
from hermesdsl.source import Span


@dataclass(frozen=True)
class StageRule:
    """What one type of stage needs and leaves.

    `clients` are the client types that can do it. On an engine it runs the engine's model or
    takes its `service` time; on a worker pool it needs `service`, unless the schema says that its
    time follows from the cores. `lone`: it may run on no client. `reads_kv`, `leaves_kv`: of the
    context.
    """

    clients: tuple[str, ...]
    lone: bool = False
    reads_kv: bool = False
    leaves_kv: bool = False


_ENGINES = ("LlmEngine", "BatchEngine")
_MODEL_STAGE = StageRule((*_ENGINES, "WorkerPool", "Delay"))
_CORES_STAGE = StageRule(("WorkerPool", "Delay"))
_OTHER = StageRule(("WorkerPool", "BatchEngine", "Delay"))

#: By built-in stage type. Of those that are not here, one that the schema puts on cores runs
#: there; any other (a stage of the user's own) is a `Step`.
RULES: Mapping[str, StageRule] = MappingProxyType(
    {
        "Prefill": StageRule(("LlmEngine",), leaves_kv=True),
        "Decode": StageRule(("LlmEngine",), reads_kv=True, leaves_kv=True),
        "Generate": StageRule(("LlmEngine",), leaves_kv=True),
        "KvFetch": StageRule(("LlmEngine",), lone=True),
        "Embed": _MODEL_STAGE,
        "Rerank": _MODEL_STAGE,
        "Classify": _MODEL_STAGE,
        "Guard": _MODEL_STAGE,
        "Score": _MODEL_STAGE,
        "Tool": StageRule(("WorkerPool", "Delay")),
        "Step": _OTHER,
    }
)


def rule_of(type_name: str) -> StageRule:
    """The rule of a type of stage."""
    return RULES.get(type_name) or (_CORES_STAGE if _on_cores(type_name) else _OTHER)


def _on_cores(type_name: str) -> bool:
    builtin = BUILTINS.get(type_name)
    return builtin is not None and builtin.on_cores


def check_clients(
    pipeline: PipelineGraph,
    pools: Mapping[str, Pool],
    clients: Mapping[str, Client],
    *,
    spans: Mapping[str, Span] | None = None,
    each: int = 0,
) -> list[Diagnostic]:
    """Stages, those of sub-pipelines included, that run on nothing or on what cannot do them.

    At most one HMS505 per stage. `spans` say where stages were written, by path. `each`: the
    replicas of the pipeline that run each on a member of its own; 0 if it is in none.
    """
    found = []
    for path in pipeline:
        stage: StageNode | None = pipeline.nodes[path].get("stage")
        if stage is None:
            continue
        if stage.inner is not None:
            apart = sharded(stage, each)
            found += check_clients(stage.inner, pools, clients, spans=spans, each=apart)
            continue
        fault = _client_fault(stage, pools, clients, sharded(stage, each))
        if fault is not None:
            found.append(error("HMS505", fault[0], (spans or {}).get(path), notes=fault[1:]))
    return found


def sharded(stage: StageNode, each: int) -> int:
    """How many replicas share out the members of its pool, `each` of them around the stage."""
    return stage.replicas if stage.spread == "each" and stage.replicas > 1 else each


def _client_fault(
    stage: StageNode, pools: Mapping[str, Pool], clients: Mapping[str, Client], each: int
) -> tuple[str, ...] | None:
    """Message and notes of what is wrong with where a stage runs."""
    rule = rule_of(stage.type_name)
    if stage.pool is None:
        if rule.lone:
            return None
        message = f"{stage.path} runs on nothing"
        return message, f"help: write `on` and a client: {_one_of(rule.clients)}"
    members = [clients[path] for path in pools[stage.pool].members]
    for client in members:
        fault = _member_fault(stage, rule, client)
        if fault is not None:
            return fault
    if each and len(members) != each:
        return (
            f"{stage.path} puts replica i on member i: {each} replicas, "
            f"and {stage.pool} has {len(members)}",
        )
    return _role_fault(stage, pools, clients) or _prefill_fault(stage, members, pools, clients)


def _role_fault(
    stage: StageNode, pools: Mapping[str, Pool], clients: Mapping[str, Client]
) -> tuple[str, ...] | None:
    """A stage on engines of which all have the other role."""
    fault = unserved(stage, pools, clients)
    if fault is None:
        return None
    name, part = fault
    other = DECODE if part == PREFILL else PREFILL
    does = "reads a prompt" if part == PREFILL else "produces tokens"
    message = f"{stage.path} {does} on {name}, whose engines have `role = {other}`"
    if stage.type_name == "Generate" and part == PREFILL:
        return message, "help: give it `prefill` and a pool of engines that read prompts"
    return message, f"help: run it on engines with `role = {part}` or `both`"


def _member_fault(stage: StageNode, rule: StageRule, client: Client) -> tuple[str, ...] | None:
    kind = client.type_name
    if kind not in rule.clients:
        message = f"{stage.path} ({stage.type_name}) cannot run on {client.path} ({kind})"
        return message, f"help: it runs on {_one_of(rule.clients)}"
    if stage.options.get("service") is not None or kind == "Delay":
        return None
    if kind in _ENGINES and client.model is None:
        message = f"{stage.path} runs on {client.path}, which has no model"
        return message, "help: give the engine a `model`, or the stage a `service` time"
    if kind == "WorkerPool" and not _on_cores(stage.type_name):
        message = f"{stage.path} runs on {client.path} ({kind}) and has no `service` time"
        return message, "help: give it `service`, or run it on an engine with a model"
    return None


def _prefill_fault(
    stage: StageNode,
    members: Sequence[Client],
    pools: Mapping[str, Pool],
    clients: Mapping[str, Client],
) -> tuple[str, ...] | None:
    """`Generate { prefill = pool }`: engines of the same model."""
    name = stage.options.get("prefill")
    if not isinstance(name, str):
        return None
    readers = [clients[path] for path in pools[name].members]
    rule = RULES["Prefill"]
    for client in readers:
        if client.type_name not in rule.clients:
            message = f"{stage.path} cannot prefill on {client.path} ({client.type_name})"
            return message, f"help: it prefills on {_one_of(rule.clients)}"
    ours, theirs = _model_names(members), _model_names(readers)
    if ours != theirs:
        message = (
            f"{stage.path} prefills with {_names(theirs)} on {name} and decodes with "
            f"{_names(ours)} on {stage.pool}"
        )
        return message, "help: KV can be handed over only between engines of one model"
    return None


_Models: TypeAlias = frozenset[str]


def check_kv(
    pipeline: PipelineGraph,
    pools: Mapping[str, Pool] | None = None,
    clients: Mapping[str, Client] | None = None,
    *,
    spans: Mapping[str, Span] | None = None,
) -> list[Diagnostic]:
    """Stages that read KV which not every way to them provides (HMS504).

    `pipeline` is one that requests enter from outside, with its joins derived; sub-pipelines are
    walked with the KV that their callers have. With `pools` and `clients`, KV also has to be of
    the model that reads it. Where arrows merge only what all bring is sure; where they wait, what
    any brings.
    """
    walk = _KvWalk(pools or {}, clients or {}, spans or {})
    walk.through(pipeline, frozenset(), ())
    return walk.found


@dataclass
class _KvWalk:
    """Follows which models' KV of the context is there."""

    pools: Mapping[str, Pool]
    clients: Mapping[str, Client]
    spans: Mapping[str, Span]
    found: list[Diagnostic] = field(default_factory=list)

    def through(self, graph: PipelineGraph, entering: _Models, before: tuple[str, ...]) -> _Models:
        """The models whose KV leaves a pipeline; `before` is the way to it, for messages."""
        leaving: dict[str, _Models] = {}
        for node in nx.topological_sort(graph):
            sources = list(graph.pred[node])
            have = entering if node == "input" else self._joined(graph, node, leaving)
            stage = graph.nodes[node].get("stage")
            if stage is None:
                leaving[node] = have
            elif stage.inner is not None:
                way = (*before, *_way_without(graph, node, leaving, have), node)
                leaving[node] = self.through(stage.inner, have, way) if sources else have
            else:
                leaving[node] = self._after(graph, stage, have, leaving, before)
        return leaving["output"]

    def _joined(self, graph: PipelineGraph, node: str, leaving: Mapping[str, _Models]) -> _Models:
        brought = [leaving[source] for source in graph.pred[node]]
        if not brought:
            return frozenset()
        if graph.nodes[node].get("join") == "wait":
            return reduce(frozenset.union, brought)
        return reduce(frozenset.intersection, brought)

    def _after(
        self,
        graph: PipelineGraph,
        stage: StageNode,
        have: _Models,
        leaving: Mapping[str, _Models],
        before: tuple[str, ...],
    ) -> _Models:
        rule = rule_of(stage.type_name)
        if not rule.leaves_kv:
            return have
        own = self._models(stage)
        if rule.reads_kv and not own <= have:
            way = (*before, *_way_without(graph, stage.path, leaving, have))
            self._complain(stage, own, have, way)
            return have | own
        # What a model writes, no other model has KV of.
        return have | own if stage.type_name == "Prefill" else own

    def _models(self, stage: StageNode) -> _Models:
        pool = self.pools.get(stage.pool or "")
        if pool is None:
            return frozenset({""})
        members = [self.clients[path] for path in pool.members if path in self.clients]
        names = _model_names(members)
        # Of several models one reads, and the same members alone go on with what that one has.
        return (
            names if len(names) < 2 else frozenset({f"{' or '.join(sorted(names))} of {pool.path}"})
        )

    def _complain(self, stage: StageNode, own: _Models, have: _Models, way: Sequence[str]) -> None:
        span = self.spans.get(stage.path)
        if have:
            message = (
                f"{stage.path} decodes with {_names(own)}, "
                f"and the KV that reaches it is of {_names(have)}"
            )
            notes = ["help: use `Generate`, which prefills what its model has not read"]
        else:
            message = f"{stage.path} reads KV that is not there on every way to it"
            arrows = " -> ".join((*way, stage.path))
            notes = [
                f"no Prefill or Generate on the way {arrows}",
                "help: put a `Prefill` before it, or use `Generate`",
            ]
        self.found.append(error("HMS504", message, span, notes=notes))


def _way_without(
    graph: PipelineGraph, node: str, leaving: Mapping[str, _Models], have: _Models
) -> list[str]:
    """A way from input to `node`, the latter left out, on which no more KV than `have` is sure."""
    way: list[str] = []
    while node != "input" and graph.pred[node]:
        sources = list(graph.pred[node])
        node = next((s for s in sources if leaving[s] <= have), sources[0])
        way.append(node)
    return way[::-1]


def _model_names(members: Sequence[Client]) -> _Models:
    return frozenset(client.model.name if client.model else "" for client in members)


def _names(models: _Models) -> str:
    return " and ".join(sorted(name or "no model" for name in models))


def _one_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
