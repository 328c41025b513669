"""From workloads, classes and experiments to what the interpreter runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, Severity, error, warning
from hermesdsl.diagnostics.nearest import suggestion
from hermesdsl.graph.lowering.plain import plain
from hermesdsl.graph.pipeline import flatten
from hermesdsl.graph.types import (
    Experiment,
    Objective,
    PipelineGraph,
    RequestClass,
    Spec,
    SweepAxis,
    Value,
    Workload,
)
from hermesdsl.model import goals, sweeps
from hermesdsl.model.arithmetic import is_number, kind_of
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import Definition, Instance, Scope
from hermesdsl.model.slots import sites
from hermesdsl.model.values import ComputedValue, Fail, Interval, text
from hermesdsl.syntax import ast
from hermesdsl.units import dimension as d
from hermesdsl.units.quantity import Quantity, si

if TYPE_CHECKING:
    from hermesdsl.model.build import Builder
    from hermesdsl.model.elaborate import Tree

_BOUNDS = ("ttft", "tpot", "itl", "e2e")
_PLAIN_WORKLOAD = {"pipeline", "arrivals", "prompt", "output", "requests", "class"}
#: The experiment that a file with a workload and without one gets (language.md, prelude).
DEFAULT_DURATION = 600.0


def classes(tree: Tree) -> dict[str, RequestClass]:
    """Every customer class."""
    builder = tree.builder
    found = {}
    for name, definition in tree.singles("class").items():
        instance = definition.instance(builder)
        try:
            bounds = {b: float(v) for b in _BOUNDS
                      if (v := builder.number(instance, b)) is not None}  # fmt: skip
            found[name] = RequestClass(
                name, int(builder.number(instance, "priority")), bounds, instance.doc
            )
        except Fail as problem:
            builder.report(problem)
    return found


def workloads(
    tree: Tree, pipelines: Mapping[str, PipelineGraph]
) -> tuple[dict[str, Workload], list[Diagnostic]]:
    """Every workload; those with neither pipeline nor arrivals are shapes for others to extend."""
    builder = tree.builder
    found: dict[str, Workload] = {}
    problems: list[Diagnostic] = []
    wanted = _named_workloads(tree)
    bases = _bases(tree)
    for name, definition in tree.singles("workload").items():
        instance = definition.instance(builder)
        given = [p for p in ("pipeline", "arrivals") if sites(instance, p)]
        if len(given) < 2 and name not in wanted and (not given or definition in bases):
            continue
        try:
            made = _workload(builder, name, instance)
        except Fail as problem:
            builder.report(problem)
            continue
        found[name] = made
        problems += _check(made, definition)
        problems += _cold_caches(made, pipelines.get(made.pipeline), definition)
    return found, problems


def _named_workloads(tree: Tree) -> set[str]:
    names: set[str] = set()
    for definition in tree.singles("experiment").values():
        try:
            names |= {w.path for w in tree.builder.get(
                definition.instance(tree.builder), "workload")}  # fmt: skip
        except Fail as problem:
            tree.builder.report(problem)
    return names


def _bases(tree: Tree) -> set[Definition]:
    """Workloads that others extend."""
    found: set[Definition] = set()
    for definition in tree.singles("workload").values():
        try:
            found |= set(definition.chain(tree.builder)[:-1])
        except Fail as problem:
            tree.builder.report(problem)
    return found


def _workload(builder: Builder, name: str, instance: Instance) -> Workload:
    def setting(prop: str) -> Spec | None:
        value = builder.get(instance, prop)
        made = plain(builder, value)
        return made if isinstance(made, Spec) else None

    arrivals = setting("arrivals")
    assert arrivals is not None
    rate = builder.get(instance, "arrivals").args.get("rate")
    sessions = isinstance(rate, Quantity) and rate.dimension == d.SESSION_RATE
    if isinstance(rate, Quantity) and rate.dimension.token:
        note = "help: such as `2 req/s`, or `1 session/s` with `turns`"
        raise Fail(error("HMS301", f"requests or sessions arrive, not tokens ({rate})",
                         builder.get(instance, "arrivals").span, notes=[note]))  # fmt: skip
    limit = builder.number(instance, "requests")
    rest: dict[str, Value] = {}
    for prop in instance.properties:
        if prop not in _PLAIN_WORKLOAD:
            value = builder.get(instance, prop)
            if value is not None:
                rest[prop] = plain(builder, value)
    pipeline: Instance = builder.get(instance, "pipeline")
    return Workload(
        name=name,
        pipeline=pipeline.path,
        arrivals=arrivals,
        prompt=setting("prompt"),
        output=setting("output"),
        class_mix=_mix(builder, instance),
        requests=None if limit is None else int(limit),
        sessions=sessions or "turns" in rest,
        options=rest,
        doc=instance.doc,
    )


def _mix(builder: Builder, instance: Instance) -> tuple[tuple[str, float], ...]:
    value: ComputedValue | None = builder.get(instance, "class")
    if value is None:
        return ()
    shares = []
    for key, share in value.args.items():
        number = float(getattr(share, "value", share))
        found = _class_named(builder, instance, key)
        if found is None:
            known = {*_classes(builder, instance)}
            raise Fail(error("HMS601", f"`{key}` in the mix of classes is no class", value.span,
                             notes=suggestion(key, known)))  # fmt: skip
        shares.append((found, number))
    total = sum(s for _, s in shares)
    if abs(total - 1) > 1e-9:
        raise Fail(
            error("HMS601", f"the shares of the classes add up to {total * 100:.6g}%, not to 100%",
                  value.span)
        )  # fmt: skip
    return tuple(shares)


def _class_named(builder: Builder, instance: Instance, key: str) -> str | None:
    definition = instance.definition
    while definition is not None:
        found: Any = builder.lookup(definition.scope, key)
        if isinstance(found, Definition) and found.kind.name == "class":
            return found.qualified
        chain = definition.chain(builder)
        definition = chain[-2] if len(chain) > 1 and chain[-1] is definition else None
    return None


def _classes(builder: Builder, instance: Instance) -> Iterator[str]:
    """Names of the classes in reach of a workload."""
    scope = instance.definition.scope if instance.definition is not None else None
    for name in set(builder.visible(scope)):
        found = builder.lookup(scope, name)
        if isinstance(found, Definition) and found.kind.name == "class":
            yield name


def _check(workload: Workload, definition: Definition) -> list[Diagnostic]:
    """Lengths must come from somewhere."""
    if _brings_lengths(workload.arrivals):
        return []
    span = definition.span
    return [
        error("HMS601", f"workload `{workload.name}` has no `{name}` lengths", span,
              notes=[f"help: such as `{name} = lognormal(median = 300 tok, sigma = 0.9)`"])
        for name in ("prompt", "output") if getattr(workload, name) is None
    ]  # fmt: skip


def _brings_lengths(arrivals: Value) -> bool:
    if not isinstance(arrivals, Spec):
        return False
    if arrivals.name == "merge":
        parts = arrivals.args.get("parts")
        return isinstance(parts, tuple) and all(map(_brings_lengths, parts))
    return arrivals.name == "trace" or arrivals.args.get("lengths") is not None


def _ends(arrivals: Value) -> bool:
    """True for traces, which end by themselves."""
    if not isinstance(arrivals, Spec):
        return False
    parts = arrivals.args.get("parts")
    if arrivals.name == "merge":
        return isinstance(parts, tuple) and all(map(_ends, parts))
    return arrivals.name == "trace"


def _may_share(arrivals: Value) -> bool:
    """True for a trace that names its block ids, or whose columns its format may name."""
    if not isinstance(arrivals, Spec):
        return False
    parts = arrivals.args.get("parts")
    if arrivals.name == "merge":
        return isinstance(parts, tuple) and any(map(_may_share, parts))
    named = all(arrivals.args.get(column) for column in ("time", "prompt", "output"))
    return arrivals.name == "trace" and (not named or bool(arrivals.args.get("blocks")))


def _cold_caches(
    workload: Workload, graph: PipelineGraph | None, definition: Definition
) -> list[Diagnostic]:
    """A warning for a cache that can never hit: no request shares a prefix with an earlier one."""
    shared = workload.sessions or "prefix" in workload.options
    if graph is None or shared or _may_share(workload.arrivals):
        return []
    caches = [stage.options.get("cache") for _, stage in flatten(graph)]
    return [
        warning("HMS601", f"cache `{cache}` can never hit: no request of workload "
                f"`{workload.name}` shares a prefix with another", definition.span,
                notes=["help: give it `prefix = reuse(…)`, `turns` for sessions, or a trace with "
                       "`blocks`"])
        for cache in dict.fromkeys(c for c in caches if isinstance(c, str))
    ]  # fmt: skip


# --- experiments ---------------------------------------------------------------------------


def experiments(
    tree: Tree, offered: dict[str, Workload]
) -> tuple[dict[str, Experiment], list[Diagnostic]]:
    """Every experiment, or the default one of a file that has only workloads."""
    builder = tree.builder
    found: dict[str, Experiment] = {}
    problems: list[Diagnostic] = []
    for name, definition in tree.singles("experiment").items():
        try:
            made = _experiment(builder, name, definition.instance(builder))
        except Fail as problem:
            builder.report(problem)
            continue
        found[name] = made
        if made.duration is not None and made.warmup >= made.duration:
            problems.append(
                warning("HMS602", "the warm-up is not shorter than the run: nothing is measured",
                        definition.span)
            )  # fmt: skip
    local = {n: w for n, w in offered.items() if "." not in n}
    if local and not tree.singles("experiment"):
        found["default"] = _default(local)
        length = found["default"].duration
        how = "until every request is served" if length is None else f"{length / 60:g} minutes"
        problems.append(
            Diagnostic("HMS606", Severity.NOTE,
                       f"no experiment: running the default one, {how}, seed 1",
                       notes=("help: add `experiment name { workload = […]; duration = … }`",))
        )  # fmt: skip
    return found, problems


def _default(offered: Mapping[str, Workload]) -> Experiment:
    """What a file with workloads and no experiment is run as."""
    ends = any(_ends(w.arrivals) or w.requests for w in offered.values())
    return Experiment("default", tuple(offered), None if ends else DEFAULT_DURATION)


def _experiment(builder: Builder, name: str, instance: Instance) -> Experiment:
    get = builder.number
    duration = get(instance, "duration")
    strategy = plain(builder, builder.get(instance, "strategy"))
    return Experiment(
        name=name,
        workloads=tuple(w.path for w in builder.get(instance, "workload")),
        duration=None if duration is None else float(duration),
        warmup=float(get(instance, "warmup")),
        seeds=tuple(int(getattr(s, "value", s)) for s in builder.get(instance, "seeds")),
        horizon=get(instance, "horizon"),
        contention=get(instance, "contention"),
        requirements=tuple(goals.requirements(builder, instance)),
        axes=tuple(_axis(axis) for axis in sweeps.axes(builder, instance)),
        objectives=_objectives(builder, instance),
        strategy=strategy if isinstance(strategy, Spec) else None,
        options={name: get(instance, name) for name in ("reserve", "records")},
        doc=instance.doc,
    )


def _axis(axis: sweeps.Axis) -> SweepAxis:
    """Its values in SI units, and the units that its first point is written in."""
    first = axis.values[0]
    between = None
    if isinstance(first[0], Interval):
        first = (first[0].low, first[0].high)
        low, high = (v if isinstance(v, int) else float(si(v)) for v in first)
        between = (low, high)
    units = tuple(
        (v.unit.text, v.unit.factor) if isinstance(v, Quantity) and v.unit else ("", 1.0)
        for v in first[: len(axis.targets)]
    )
    values = tuple(
        tuple(float(si(v)) if is_number(v) else text(v) for v in point) for point in axis.values
    )
    return SweepAxis(axis.targets, axis.points, values, units, between)


def _objectives(builder: Builder, instance: Instance) -> tuple[Objective, ...]:
    """What `minimize` and `maximize` name, one thing or a list; each once."""
    found: list[Objective] = []
    for name in ("minimize", "maximize"):
        expr = builder.get(instance, name)
        if expr is None:
            continue
        scope = instance.slots[name].winner.scope  # type: ignore[union-attr]
        assert scope is not None
        for each in expr.items if isinstance(expr, ast.ListExpr) else (expr,):
            made = _objective(builder, each, scope, up=name == "maximize")
            if made.text in [other.text for other in found]:
                raise Fail(error("HMS604", f"`{made.text}` is an objective twice", each.span))
            found.append(made)
    return tuple(found)


def _objective(builder: Builder, expr: ast.Expr, scope: Scope, *, up: bool) -> Objective:
    """One of them, checked to be a metric or a value that exists."""
    text = " ".join(expr.span.text.split())
    if goals.is_metric(expr) or not isinstance(expr, ast.Name | ast.Attribute):
        return Objective(text, up, goals.metric_of(builder, expr, scope)[0])
    try:
        value = builder.evaluator.value(expr, Context(scope))
    except Fail:
        if isinstance(expr, ast.Name):  # a metric with a typo, more likely than a value
            goals.metric_of(builder, expr, scope)
        raise
    if not is_number(value):
        raise Fail(error("HMS604", f"an objective is a metric or a number, not {kind_of(value)}",
                         expr.span))  # fmt: skip
    return Objective(text, up)
