"""The composition of all stages: text in, system, result or drawing out.

The functions here are the public ones; everything heavy is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hermesdsl.diagnostics import Diagnostic, Sink, SpecError, error
from hermesdsl.diagnostics.nearest import suggestion

if TYPE_CHECKING:
    from hermesdsl.drawing import Drawing
    from hermesdsl.explore import Sweep
    from hermesdsl.explore.sensitivity import Sensitivity
    from hermesdsl.graph.types import (
        CompiledSystem,
        Experiment,
        HardwareGraph,
        PipelineGraph,
        PlacementGraph,
    )
    from hermesdsl.measure.replay import Validation
    from hermesdsl.measure.run_by_run import RunsValidation
    from hermesdsl.measure.runs import Settable
    from hermesdsl.model.elaborate import Tree
    from hermesdsl.results import Result
    from hermesdsl.sim.trace import Column

Progress = Callable[[float, int, int], None]


@dataclass(frozen=True)
class Given:
    """What a specification was compiled with: see `compile`. `text` is None for a file."""

    text: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    case: str | None = None


@dataclass(frozen=True)
class System:
    """A compiled specification.

    `hardware` (nx.MultiDiGraph), `placement` (nx.DiGraph) and `pipelines` (name → nx.DiGraph)
    are ordinary NetworkX graphs whose node ids are the paths of the language; what nodes and
    edges carry is described in `hermesdsl.graph.types`. `diagnostics` are warnings and notes.
    """

    compiled: CompiledSystem
    tree: Tree
    spec: str
    diagnostics: tuple[Diagnostic, ...] = ()
    given: Given = field(default_factory=Given)

    @property
    def hardware(self) -> HardwareGraph:
        """Parts and wires."""
        return self.compiled.hardware

    @property
    def placement(self) -> PlacementGraph:
        """Clients and the devices they run on."""
        return self.compiled.placement

    @property
    def pipelines(self) -> Mapping[str, PipelineGraph]:
        """Stage graphs by path of the pipeline."""
        return self.compiled.pipelines

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Every param of the user's files: path → value (base units), unit, origin."""
        from hermesdsl.model.explain import parameters

        return parameters(self.tree)

    def experiment(self, name: str | None = None) -> Experiment:
        """The experiment of that name, or the only one; raises `SpecError` HMS602."""
        known = self.compiled.experiments
        if name is None and len(known) == 1:
            return next(iter(known.values()))
        if name is not None and name in known:
            return known[name]
        if not known:
            raise SpecError([error("HMS602", f"{self.spec} has no workload to run")])
        if name is None:
            names = ", ".join(known)
            raise SpecError([error("HMS602", f"{self.spec} has several experiments: {names}",
                                   notes=["help: choose one with --experiment"])])  # fmt: skip
        raise SpecError([error("HMS602", f"no experiment `{name}`",
                               notes=suggestion(name, known))])  # fmt: skip


def compile(
    spec: str | Path,
    *,
    set: Mapping[str, str] | None = None,
    path: Sequence[str] = (),
    case: str | None = None,
    point: Mapping[str, str] | None = None,
) -> System:
    """Compiles a ``.hms`` file, or a specification given as text.

    A `str` with a line break or brace is text; everything else is a path. `set` maps paths of
    the language to source text of values (``{"rack.nodes": "2"}``); `path` lists further folders
    that imports may be read from; `case` applies a named variant; `point` are values of a sweep,
    like those of `set`, which beat them. Raises `SpecError` with every diagnostic of the first
    stage that failed. Reading runs no code and opens no socket.
    """
    from hermesdsl.graph.lowering import lower
    from hermesdsl.model.elaborate import elaborate

    sink = Sink()
    text = spec if isinstance(spec, str) and ("\n" in spec or "{" in spec) else None
    name = "<text>" if text is not None else str(spec)
    tree = elaborate(name, sink=sink, text=text, settings=set, folders=path, case=case,
                     point=point)  # fmt: skip
    sink.raise_if_failed()
    assert tree is not None
    compiled = lower(tree, sink)
    sink.raise_if_failed()
    assert compiled is not None
    _check_costs(compiled, tree, sink)
    sink.raise_if_failed()
    given = Given(text, dict(set or {}), tuple(path), case)
    return System(compiled, tree, name, tuple(sink.items), given)


def _compiled(system: System, function: str) -> None:
    """Raises `TypeError` for what somebody forgot to compile."""
    if not isinstance(system, System):
        raise TypeError(
            f"hermesdsl.{function} takes what hermesdsl.compile returns, not "
            f"{type(system).__name__}: hermesdsl.{function}(hermesdsl.compile(...))"
        )


def _check_costs(compiled: CompiledSystem, tree: Tree, sink: Sink) -> None:
    """What the cost models have to say: models and indexes that do not fit, missing peaks."""
    from dataclasses import replace

    from hermesdsl.cost import diagnose
    from hermesdsl.cost.services import problems_of_services
    from hermesdsl.cost.sharing import problems_of_sharing
    from hermesdsl.model.explain import instance_at
    from hermesdsl.model.resolve import place_of

    seen: set[str] = set()
    for path, data in compiled.placement.nodes(data=True):
        client = data.get("client")
        if client is None or client.type_name != "LlmEngine":
            continue
        if (client.vector or path) in seen:
            continue
        seen.add(client.vector or path)
        instance = instance_at(tree, path)
        span = place_of(instance) if instance is not None else None
        for diagnostic in diagnose(client):
            sink.add(replace(diagnostic, span=diagnostic.span or span))
    others = (*problems_of_sharing(compiled.placement), *problems_of_services(compiled))
    for path, diagnostic in others:
        instance = instance_at(tree, path) or instance_at(tree, f"{path}[0]")
        span = place_of(instance) if instance is not None else None
        sink.add(replace(diagnostic, span=diagnostic.span or span))


def run(
    system: System,
    *,
    experiment: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
    reference: bool = False,
) -> Result:
    """Runs one point of one experiment with one seed and returns its result.

    `seed` defaults to the first of the experiment. `progress(simulated s, ended, offered)` is
    called now and then. `reference` takes one event per step instead of exact run-lengths; the
    records are the same bit for bit. Raises `SpecError` for what cannot be executed.
    """
    from hermesdsl.execute import execute

    _compiled(system, "run")
    return execute(
        system, system.experiment(experiment), seed=seed, progress=progress, reference=reference
    )


def sweep(
    system: System,
    *,
    experiment: str | None = None,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    seeds: Sequence[int] | None = None,
    limit: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    plugins: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Runs every point and seed of one experiment; the same result for every count of `workers`.

    `engine` is ``local``, this process or, for more than one worker, processes of this machine; or
    ``ray``, the cluster at `address` or one started here, with a worker per core unless `workers`
    says otherwise. A script that asks for either guards its own statements with
    ``if __name__ == "__main__":``. `limit`: the first so many points alone. `seeds` instead of
    those of the experiment. `out`: a folder for ``points.jsonl``, to which `resume` goes on, and
    ``sweep.csv``; `force` starts again in one that is not empty. `plugins` are loaded wherever
    points are run. `progress(done, total)` counts runs. A point that does not compile is skipped
    and one whose run fails is recorded, each with its reason. Raises `SpecError` for what cannot
    be swept and for a cluster that is lost, and KeyboardInterrupt when Ctrl-C came, after the table
    of what was done is written.
    """
    from hermesdsl.explore import explore, job_of
    from hermesdsl.explore.executors import executor_for

    _compiled(system, "sweep")
    found = explore(
        system, job_of(system, experiment, plugins), limit=limit,
        executor=executor_for(system, engine, workers, address),
        seeds=seeds, folder=None if out is None else Path(out), resume=resume, force=force,
        progress=progress,
    )  # fmt: skip
    if found.interrupted:
        raise KeyboardInterrupt
    if found.broken is not None:
        raise SpecError([found.broken])
    return found


def sensitivity(
    system: System,
    metric: str,
    *,
    params: Sequence[str] = (),
    experiment: str | None = None,
    workers: int | None = None,
    seeds: Sequence[int] | None = None,
    plugins: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """How much a metric, such as ``p99(ttft)``, follows each value by itself.

    `params`: paths of what is varied instead of every param that declares a domain. A value takes
    its neighbours in its domain, or 10 % less and more. All are run with the same seeds, those of
    the experiment unless `seeds` are given. For `workers` see `sweep`. Raises `SpecError` for a
    metric or path that is none, for nothing to vary, and without a value to compare with.
    """
    from hermesdsl.explore import job_of
    from hermesdsl.explore import sensitivity as explored
    from hermesdsl.explore.executors import executor_for
    from hermesdsl.model import asked

    _compiled(system, "sensitivity")
    wanted = asked.metric(system.tree, metric)
    found = [asked.varied(system.tree, path) for path in dict.fromkeys(params)]
    factors = [
        explored.Factor(v.path, v.value, v.shown, v.unit, v.others, v.ends, v.whole)
        for v in found or asked.declared(system.tree)
    ]
    return explored.sensitivity(
        system, job_of(system, experiment, plugins), wanted, factors,
        executor=executor_for(system, "local", workers, None), seeds=seeds, progress=progress,
    )  # fmt: skip


def validate(
    system: System,
    measured: str | Path,
    *,
    columns: Mapping[str, Column] | None = None,
    workload: str | None = None,
    experiment: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Validation:
    """Replays a table of measured requests and compares the prediction with it.

    The requests of the table take the place of those of `workload` (which may be left out where
    the experiment has one) and are offered whole, without warm-up. `columns` maps roles to columns
    where their names do not say; see `hermesdsl.measure.served`. Raises `SpecError` HMS603 for a
    table that cannot be read, and what `run` raises.
    """
    from dataclasses import replace

    from hermesdsl.execute import execute
    from hermesdsl.measure.replay import measured_against, replaying
    from hermesdsl.measure.served import read_served

    served = read_served(str(measured), columns or {})
    replay = replaying(system.compiled, system.experiment(experiment), served, workload)
    result = execute(
        replace(system, compiled=replay.compiled), replay.experiment, seed=seed, progress=progress
    )
    return measured_against(result, replay, served)


def validate_runs(
    system: System,
    measured: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    experiment: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> RunsValidation:
    """Runs the experiment once for every row of a table of measured runs and compares.

    Columns with statistics (``p99(ttft) [ms]``, ``mean_tpot_ms``) or figures of a run
    (``output_throughput``) are compared with those of `run`; columns that are called as a param (or
    another value that may be set) is, or ``case``, say what a row is run with. `columns` maps roles
    to ``NAME[:UNIT]`` where names do not say; see `hermesdsl.measure.runs`. Raises `SpecError`
    HMS603 for a table that cannot be read, and what `compile` and `run` raise.
    """
    from hermesdsl.measure.run_by_run import held_against, predictions
    from hermesdsl.measure.runs import read_runs

    _compiled(system, "validate_runs")
    runs = read_runs(str(measured), columns or {}, _settable(system))
    results = predictions(system, runs, experiment=experiment, seed=seed, progress=progress)
    return held_against(runs, results)


def _settable(system: System) -> Settable:
    """What a row of a table may set: params, cases, and other values by their path."""
    from hermesdsl.measure.runs import Settable
    from hermesdsl.model import asked

    def unit(path: str) -> str | None:
        try:
            return asked.varied(system.tree, path).unit[0] if "." in path else None
        except SpecError:
            return None

    params = {path: str(entry["unit"] or "") for path, entry in system.parameters.items()}
    return Settable(params, asked.cases(system.tree), unit)


def draw(system: System, view: str = "hardware", **options: Any) -> Drawing:
    """A drawing of the ``hardware``, a ``pipeline`` or the ``placement`` of a system.

    Options are those of `hermesdsl.drawing.draw`; `Drawing.write(path)` writes svg, png, pdf, dot,
    json or graphml by the ending of the path.
    """
    from hermesdsl.drawing import draw as draw_view

    _compiled(system, "draw")
    return draw_view(system.compiled, view, **options)
