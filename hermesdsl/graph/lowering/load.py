"""From workloads, classes and experiments to what the interpreter runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, Severity, error, warning
from hermesdsl.graph.lowering.plain import plain
from hermesdsl.graph.types import Experiment, RequestClass, Spec, SweepAxis, Value, Workload
from hermesdsl.model import goals, sweeps
from hermesdsl.model.evaluate import Context
from hermesdsl.model.instance import Definition, Instance
from hermesdsl.model.values import ComputedValue, Fail
from hermesdsl.syntax import ast
from hermesdsl.units import dimension as d
from hermesdsl.units.quantity import Quantity

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


def workloads(tree: Tree) -> tuple[dict[str, Workload], list[Diagnostic]]:
    """Every complete workload; those without pipeline or arrivals are bases of others."""
    builder = tree.builder
    found: dict[str, Workload] = {}
    problems: list[Diagnostic] = []
    named = _named_workloads(tree)
    for name, definition in tree.singles("workload").items():
        instance = definition.instance(builder)
        if name not in named and not _complete(instance):
            continue
        try:
            made = _workload(builder, name, instance)
        except Fail as problem:
            builder.report(problem)
            continue
        found[name] = made
        problems += _check(made, definition)
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


def _complete(instance: Instance) -> bool:
    given = {*instance.sites, *instance.configs}
    return "pipeline" in given and "arrivals" in given


def _workload(builder: Builder, name: str, instance: Instance) -> Workload:
    def setting(prop: str) -> Spec | None:
        value = builder.get(instance, prop)
        made = plain(builder, value)
        return made if isinstance(made, Spec) else None

    arrivals = setting("arrivals")
    assert arrivals is not None
    rate = builder.get(instance, "arrivals").args.get("rate")
    sessions = isinstance(rate, Quantity) and rate.dimension == d.SESSION_RATE
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
            raise Fail(error("HMS601", f"`{key}` in the mix of classes is no class", value.span))
        shares.append((found, number))
    total = sum(s for _, s in shares)
    if abs(total - 1) > 1e-9:
        raise Fail(
            error("HMS601", f"the shares of the classes add up to {total:.6g}, not to 100%",
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
            severity = Severity.WARNING
            problems.append(
                Diagnostic("HMS602", severity, "the warm-up is not shorter than the run: nothing "
                           "is measured", definition.span)
            )  # fmt: skip
    local = {n: w for n, w in offered.items() if "." not in n}
    if not found and local:
        traced = any(_ends(w.arrivals) or w.requests for w in local.values())
        duration = None if traced else DEFAULT_DURATION
        found["default"] = Experiment("default", tuple(local), duration)
        length = "until every request is served" if traced else "10 minutes"
        problems.append(
            warning("HMS606", f"no experiment: running the default one, {length}, seed 1",
                    notes=["help: add `experiment name { workload = […]; duration = … }`"])
        )  # fmt: skip
        problems[-1] = Diagnostic(
            "HMS606", Severity.NOTE, problems[-1].message, None, (), problems[-1].notes
        )
    return found, problems


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
        axes=tuple(SweepAxis(a.targets, a.points) for a in sweeps.axes(builder, instance)),
        minimize=_goal(builder, instance, "minimize"),
        maximize=_goal(builder, instance, "maximize"),
        strategy=strategy if isinstance(strategy, Spec) else None,
        options={"reserve": get(instance, "reserve")},
        doc=instance.doc,
    )


def _goal(builder: Builder, instance: Instance, name: str) -> str | None:
    """Source text of an objective, checked to be a metric or a value that exists."""
    expr = builder.get(instance, name)
    if expr is None:
        return None
    scope = instance.slots[name].winner.scope  # type: ignore[union-attr]
    assert scope is not None
    if isinstance(expr, ast.Attribute):
        builder.evaluator.value(expr, Context(scope))
    else:
        goals.metric_of(builder, expr, scope)
    return str(expr.span.text)
