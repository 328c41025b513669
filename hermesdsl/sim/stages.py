"""Which pipelines this interpreter can execute: stages, branches, joins, hand-overs of KV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hermesdsl.cost.types import ServiceCost
from hermesdsl.diagnostics import Diagnostic, SpecError, error, nearest
from hermesdsl.graph.ledger import sharded
from hermesdsl.graph.roles import parts_of, unserved
from hermesdsl.graph.types import (
    Choice,
    Client,
    CompiledSystem,
    Experiment,
    Guard,
    PipelineGraph,
    Pool,
    Spec,
    StageNode,
    Value,
)
from hermesdsl.schema import BUILTINS
from hermesdsl.sim.condition import ATTRIBUTES, names_read
from hermesdsl.sim.fork import JOINS
from hermesdsl.sim.formula import check as check_amount
from hermesdsl.sim.ledger import JUDGES, LLM_STAGES
from hermesdsl.sim.plan import fused, stages_of
from hermesdsl.sim.repeat import REPEATS, endless
from hermesdsl.sim.store import KvStore

_PLAIN: Mapping[str, Value] = MappingProxyType({"join": "all", "spread": "routed"})
#: How KV gets from a prefill to a decode client: what asks for nothing special.
_HAND_OVER: Mapping[str, Value] = MappingProxyType({"transfer": "full", "pairing": "global"})
#: Options that are acted on, by built-in stage type; any other type is a `Step`.
_ACTED_ON: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Prefill": frozenset({"hold"}),
        "Decode": frozenset({"hold", "tokens", "hidden"}),
        "Generate": frozenset({"hold", "tokens", "hidden", "prefill", "transfer", "pairing"}),
        "KvFetch": frozenset({"cache"}),
        "Retrieve": frozenset({"hold", "service", "appends", "index", "top_k", "chunk"}),
        "Rerank": frozenset({"hold", "service", "appends", "keep", "chunk"}),
        "Pad": frozenset({"hold", "service", "appends", "length"}),
        "Truncate": frozenset({"hold", "service", "appends", "length"}),
        **{kind: frozenset({"hold", "service", "appends", "pass"}) for kind in JUDGES},
    }
)
#: Stages outside the LLM that an engine's model does: one sequence, whose answer is one token.
_BY_ENGINE = JUDGES - {"Filter"} | {"Embed"}
_STEP = frozenset({"service", "appends", "hold"})


def _acts_on(type_name: str) -> frozenset[str]:
    """Options of a type of stage that are acted on; a type that only costs acts on all its own."""
    if type_name in _ACTED_ON:
        return _ACTED_ON[type_name]
    builtin = BUILTINS.get(type_name)
    return _STEP | frozenset(builtin.properties if builtin is not None else ())


def not_yet(what: str, *notes: str) -> Diagnostic:
    """HMS506."""
    return error("HMS506", f"{what} cannot be executed yet", notes=notes)


def unknown(code: str, kind: str, name: str, known: Mapping[str, object]) -> Diagnostic:
    """A name that does not exist, and the nearest that does."""
    match = nearest(name, known)
    notes = (f"help: did you mean `{match}`?",) if match else ()
    return error(code, f"unknown {kind} `{name}`", notes=notes)


def plain(
    where: str,
    options: Mapping[str, Value],
    asks_nothing: Mapping[str, Value],
    acted_on: frozenset[str] = frozenset(),
) -> Iterator[Diagnostic]:
    """Options that are neither acted on nor ask for nothing special."""
    for key, value in options.items():
        if key in acted_on or value is None or value is False or value == ():
            continue
        name = value.name if isinstance(value, Spec) else value
        if key not in asks_nothing or name != asks_nothing[key]:
            yield not_yet(f"`{key} = {value}` of {where}")


@dataclass(frozen=True)
class HandOver:
    """KV goes from pool `source`, where a prompt is read, to pool `target`, at `stage`."""

    source: str
    target: str
    stage: str
    options: Mapping[str, Value]


def hand_overs(graph: PipelineGraph, pools: Mapping[str, Pool]) -> list[HandOver]:
    """Where a pipeline reads on one pool and goes on to write on another, inner ones included."""
    found: list[HandOver] = []
    own: Mapping[str, Value] = graph.graph.get("options", {})
    for path, data in graph.nodes(data=True):
        stage: StageNode | None = data.get("stage")
        if stage is None:
            continue
        if stage.inner is not None:
            found += [
                HandOver(h.source, h.target, h.stage, {**stage.options, **h.options})
                for h in hand_overs(stage.inner, pools)
            ]
            continue
        source = stage.options.get("prefill")
        if stage.type_name == "Generate" and isinstance(source, str):
            if pools[source].members != pools[str(stage.pool)].members:
                options = {**own, **stage.options}
                found.append(HandOver(source, str(stage.pool), path, options))
        elif stage.type_name == "Prefill" and fused(graph, path, pools) is None:
            after = list(graph.successors(path))
            following = graph.nodes[after[0]].get("stage") if len(after) == 1 else None
            if following is None or following.type_name != "Decode":
                continue
            if pools[str(following.pool)].members != pools[str(stage.pool)].members:
                found.append(HandOver(str(stage.pool), str(following.pool), path, own))
    return found


@dataclass
class Unsupported:
    """Looks through one pipeline of an experiment; `pools` are those that it uses."""

    system: CompiledSystem
    experiment: Experiment
    name: str
    services: Mapping[tuple[str, str], ServiceCost] | None
    stores: Mapping[str, KvStore] | None
    pools: dict[str, None] = field(default_factory=dict)

    def diagnostics(self) -> Iterator[Diagnostic]:
        """All that cannot be executed."""
        pipeline = self.system.pipelines[self.name]
        known: Mapping[str, Pool] = self.system.placement.graph["pools"]
        named = [
            str(pool)
            for stage in stages_of(pipeline)
            for pool in (stage.options.get("prefill"), stage.pool)
            if pool is not None
        ]
        missing = sorted(set(named) - set(known))
        if missing:
            yield from (unknown("HMS505", "pool", pool, known) for pool in missing)
            return
        self.pools.update(dict.fromkeys(named))
        options: Mapping[str, Value] = pipeline.graph.get("options", {})
        where = f"pipeline `{self.name}`"
        yield from plain(where, options, _PLAIN, frozenset(_HAND_OVER))
        yield from self._graph(pipeline, self.name)
        yield from self._moves(pipeline, known)

    # --- graphs and stages ---------------------------------------------------------------------

    def _graph(self, pipeline: PipelineGraph, name: str, each: int = 0) -> Iterator[Diagnostic]:
        for node, data in pipeline.nodes(data=True):
            after = list(pipeline.successors(node))
            if not after and node not in ("output", "refused"):
                message = f"no path leads from `{node}` of pipeline `{name}` to its output"
                yield error("HMS501", message)
            for other in after:
                choice: Choice | None = pipeline.edges[node, other].get("choice")
                if choice is not None:
                    yield from self._guards(choice.guard, f"the branch `{node}`")
            stage: StageNode | None = data.get("stage")
            if stage is not None:
                yield from self._stage(stage, sharded(stage, each))

    @staticmethod
    def _guards(guard: Value, where: str) -> Iterator[Diagnostic]:
        if isinstance(guard, Guard):
            for name in sorted(names_read(guard) - set(ATTRIBUTES)):
                yield not_yet(f"a condition on `{name}` at {where}")

    def _stage(self, stage: StageNode, each: int) -> Iterator[Diagnostic]:
        """`each`: as many replicas, of it or around it, run each on a member of its own."""
        where = f"stage `{stage.path}`"
        yield from self._times(stage, where)
        if stage.inner is not None:
            yield from plain(where, stage.options, _PLAIN, frozenset(_HAND_OVER))
            yield from self._graph(stage.inner, stage.path, each)
            return
        acted_on = _acts_on(stage.type_name)
        yield from plain(where, stage.options, {**_PLAIN, **_HAND_OVER}, acted_on)
        for key in ("service", "appends", "tokens"):
            try:
                check_amount(stage.options.get(key))
            except SpecError as problem:
                for found in problem.diagnostics:
                    yield replace(found, message=f"`{key}` of {where}: {found.message}")
        if stage.type_name == "KvFetch":
            cache = str(stage.options.get("cache"))
            if self.stores is None or cache not in self.stores:
                yield not_yet(f"{where} of type `KvFetch`")
        elif stage.pool is None:
            yield error("HMS505", f"{where} says on no client where it runs")
        else:
            yield from self._client(stage, where)
            count = len(self.system.placement.graph["pools"][stage.pool].members)
            if each and count != each:
                message = f"{where} puts replica i on member i: {each} replicas"
                yield error("HMS505", f"{message}, and {stage.pool} has {count}")

    def _times(self, stage: StageNode, where: str) -> Iterator[Diagnostic]:
        """How often it runs, one after the other and side by side."""
        repeat, join = stage.repeat, stage.join
        if repeat is not None and repeat.name not in REPEATS:
            yield not_yet(f"`repeat = {repeat}` of {where}")
        elif repeat is not None:
            problem = endless(repeat, where)
            if problem is not None:
                yield problem
            yield from self._guards(repeat.args.get("p"), f"`repeat` of {where}")
        yield from self._guards(stage.options.get("pass"), f"`pass` of {where}")
        if stage.replicas == 1:
            return
        if join.name not in JOINS:
            yield not_yet(f"`join = {join}` of {where}")
        k = join.args.get("k")
        if isinstance(k, int | float) and k > stage.replicas:
            message = f"`join = {join}` of {where}, which has {stage.replicas} replicas"
            yield error("HMS505", message)

    def _client(self, stage: StageNode, where: str) -> Iterator[Diagnostic]:
        """What a stage runs on can do it, and how long it takes is known."""
        members = self.system.placement.graph["pools"][stage.pool].members
        clients: list[Client] = [self.system.placement.nodes[m]["client"] for m in members]
        kinds = {client.type_name for client in clients}
        pools: Mapping[str, Pool] = self.system.placement.graph["pools"]
        asked = [path for pool, _ in parts_of(stage) for path in pools[pool].members]
        fault = unserved(
            stage, pools, {path: self.system.placement.nodes[path]["client"] for path in asked}
        )
        if fault is not None:
            yield error("HMS505", f"{where}: no member of {fault[0]} serves {fault[1]}")
        if stage.type_name in LLM_STAGES:
            if kinds != {"LlmEngine"} and kinds:
                kind = min(kinds - {"LlmEngine"})
                yield error("HMS505", f"{where} is a {stage.type_name} and cannot run on a {kind}")
            return
        if "LlmEngine" in kinds:
            yield from self._check_by_engine(stage, where)
        if self.services is None or stage.options.get("service") is not None:
            return
        for client in clients:
            known = (
                client.type_name in ("Delay", "LlmEngine")
                or (stage.path, client.path) in self.services
            )
            if not known:
                yield error("HMS505", f"{where} has no `service` time on {client.path}",
                            notes=("help: give the stage a `service` time",))  # fmt: skip
                return

    def _check_by_engine(self, stage: StageNode, where: str) -> Iterator[Diagnostic]:
        """An engine judges a text by reading it, and answers with one token."""
        if stage.type_name == "Rerank":
            yield not_yet(f"{where} of type `Rerank` on an LlmEngine",
                          "help: run it on a BatchEngine")  # fmt: skip
        elif stage.type_name not in _BY_ENGINE:
            known = ", ".join(sorted(_BY_ENGINE))
            yield error("HMS505", f"{where} is a {stage.type_name} and cannot run on an LlmEngine",
                        notes=(f"help: an engine takes {known} beside LLM stages",))  # fmt: skip
        elif stage.options.get("service") is not None:
            yield error("HMS505", f"{where} runs an LlmEngine's model and has a `service` time",
                        notes=("help: leave out the time, or run it on a WorkerPool",))  # fmt: skip

    # --- KV on its way -------------------------------------------------------------------------

    def _moves(self, graph: PipelineGraph, known: Mapping[str, Pool]) -> Iterator[Diagnostic]:
        hands = hand_overs(graph, known)
        for hand in hands:
            yield from self._conversion(hand, known[hand.target])
            models = self._models(known[hand.target])
            if len(models) > 1:
                yield not_yet(
                    f"handing KV of {' or '.join(models)} over to pool `{hand.target}` at stage "
                    f"`{hand.stage}`",
                    "help: one pool for each model",
                )
        if not hands:
            yield from self._nothing_handed_over(graph)
        if self.experiment.contention != "none" and self._may_move(graph, known):
            yield not_yet(
                f"sharing of links between the KV transfers of pipeline `{self.name}`",
                "help: `contention = none` in the experiment lets each transfer have its links "
                "alone",
            )

    def _may_move(self, graph: PipelineGraph, known: Mapping[str, Pool]) -> bool:
        """Some model's KV may be computed on one set of clients and read on another."""
        places: dict[str, set[tuple[str, ...]]] = {}
        for stage in stages_of(graph):
            if stage.type_name not in LLM_STAGES:
                continue
            for pool in (stage.options.get("prefill"), stage.pool):
                if pool is not None:
                    for model in self._models(known[str(pool)]):
                        places.setdefault(model, set()).add(known[str(pool)].members)
        return any(len(found) > 1 for found in places.values())

    def _models(self, pool: Pool) -> list[str]:
        """Names of the models that the members of a pool serve."""
        clients: list[Client] = [self.system.placement.nodes[m]["client"] for m in pool.members]
        return sorted({c.model.name if c.model is not None else "" for c in clients})

    def _conversion(self, hand: HandOver, pool: Pool) -> Iterator[Diagnostic]:
        """Roles change between one prefill pool and one decode pool."""
        spec = pool.options.get("convert")
        if not isinstance(spec, Spec):
            return
        if hand.options.get("pairing") == "local":
            yield not_yet(
                f"`convert = {spec}` of pool `{pool.path}` with `pairing = local` in pipeline "
                f"`{self.name}`"
            )
        if float(str(spec.args.get("back", 0))) >= float(str(spec.args["tokens"])):
            yield error(
                "HMS306",
                f"`convert = {spec}` of pool `{pool.path}` would return what it lends at once",
                notes=("help: `back` lies below `tokens`",),
            )

    def _nothing_handed_over(self, graph: PipelineGraph) -> Iterator[Diagnostic]:
        """Settings of a hand-over where there is none would do nothing."""
        owners = [(f"pipeline `{self.name}`", graph.graph.get("options", {}))]
        owners += [(f"stage `{stage.path}`", stage.options) for stage in stages_of(graph)]
        for where, options in owners:
            for key, nothing in _HAND_OVER.items():
                if options.get(key, nothing) != nothing:
                    yield error(
                        "HMS505",
                        f"`{key} = {options[key]}` of {where} moves nothing: prompts are read "
                        "where the answer is written",
                        notes=("help: read the prompts on a pool of their own",),
                    )
