"""The golden programs of the language: parsed, formatted, compiled, summed up, drawn, run.

The summaries are in `golden/summaries`; `HERMES_UPDATE=1` rewrites them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.diagnostics import Severity
from hermesdsl.graph.types import PipelineGraph
from hermesdsl.source import Source
from hermesdsl.syntax.format import format_file
from hermesdsl.syntax.parse import parse

GOLDEN = Path(__file__).parent / "golden"
PROGRAMS = sorted((GOLDEN / "programs").glob("*.hms"))
UPDATE = bool(os.environ.get("HERMES_UPDATE"))

each = pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def systems() -> dict[str, System]:
    return {path.stem: hermesdsl.compile(path) for path in PROGRAMS}


def formatted(text: str) -> str:
    return format_file(parse(Source("program.hms", text)).file)


def test_all_programs_of_the_language_are_here() -> None:
    names = [path.stem for path in PROGRAMS]
    assert [n for n in names if n[:2].isdigit()] == [
        "01_first", "02_fleet", "03_sessions", "04_nvl72", "05_rag", "06_agent", "07_cascade",
        "08_best_of_8", "09_storage", "10_search",
    ]  # fmt: skip
    assert {"serving", "rag_chat", "site", "pools"} <= set(names)


@each
def test_program_is_parsed_and_formatted_to_a_fixed_point(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert parse(Source(path.name, text)).diagnostics == ()
    once = formatted(text)
    assert formatted(once) == once


@each
def test_program_compiles_with_nothing_to_say(path: Path, systems: dict[str, System]) -> None:
    found = [d for d in systems[path.stem].diagnostics if d.severity is not Severity.NOTE]
    assert found == []


@each
def test_formatted_program_means_the_same(
    path: Path, tmp_path: Path, systems: dict[str, System]
) -> None:
    for other in PROGRAMS:
        text = formatted(other.read_text(encoding="utf-8"))
        (tmp_path / other.name).write_text(text, encoding="utf-8")
    again = hermesdsl.compile(tmp_path / path.name)
    assert list(summary(again)) == list(summary(systems[path.stem]))


@each
def test_summary(path: Path, systems: dict[str, System]) -> None:
    found = "\n".join(summary(systems[path.stem])) + "\n"
    kept = GOLDEN / "summaries" / f"{path.stem}.txt"
    if UPDATE:
        kept.write_text(found, encoding="utf-8")
    assert found == kept.read_text(encoding="utf-8")


@each
def test_program_is_drawn(path: Path, systems: dict[str, System]) -> None:
    system = systems[path.stem]
    views = [("hardware", None)]
    if any("client" in data for _, data in system.placement.nodes(data=True)):
        views.append(("placement", None))
    views += [("pipeline", name) for name in system.pipelines]
    for view, name in views:
        options = {} if name is None else {"name": name}
        picture = hermesdsl.draw(system, view, **options).render("svg")
        assert picture.lstrip().startswith(b"<")
        assert picture.count(b"<text") > 1


#: Settings under which a program runs here: a trace of its own, and less time to wait.
SETTINGS = {
    "02_fleet": {"fleet_slo.duration": "80 s"},
    "03_sessions": {"replay.file": '"trace.jsonl"', "real.duration": "1 min"},
    "04_nvl72": {"ep64.duration": "10 s"},
    "09_storage": {"storage.duration": "20 s"},
}
#: Programs in which some requests are refused: 2% by the pipeline; prompts beyond the KV memory.
REFUSES = {"03_sessions", "07_cascade"}


@each
def test_program_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = (
        {"timestamp": 900 * row, "input_length": 1500, "output_length": 40,
         "hash_ids": [0, 1, 2 + row // 2]}
        for row in range(60)
    )  # fmt: skip
    Path("trace.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    system = hermesdsl.compile(path, set=SETTINGS.get(path.stem))
    if not system.compiled.experiments:
        return
    (name,) = system.compiled.experiments
    result = hermesdsl.run(system, experiment=name)
    counts = result.summary()["requests"]
    assert counts["offered"] == counts["completed"] + counts["refused"] > 0
    assert counts["refused"] == 0 or path.stem in REFUSES
    compares_cases = path.stem == "09_storage"
    assert all((verdict.met is None) == compares_cases for verdict in result.requirements)


# --- summaries -----------------------------------------------------------------------------


def summary(system: System) -> Iterator[str]:
    """The structure of a system in a few lines; files beside the program by name alone."""
    folder = f"{Path(system.spec).parent}/"
    return (line.replace(folder, "") for line in _lines(system))


def _lines(system: System) -> Iterator[str]:
    compiled = system.compiled
    parts = [data["part"] for _, data in compiled.hardware.nodes(data=True)]
    yield f"parts: {_counted(f'{p.kind} {p.type_name}' for p in parts)}"
    containers = compiled.hardware.graph["containers"].values()
    yield f"containers: {_counted(f'{c.kind} {c.type_name}' for c in containers)}"
    edges = compiled.hardware.edges(data=True)
    wires = (f"{e['lanes']} {e['link'].name or 'inside'}" for _, _, e in edges)
    yield f"edges: {_counted(wires)}"
    yield "clients:"
    for path, data in compiled.placement.nodes(data=True):
        if "client" in data:
            yield f"  {_client(system, path)}"
    yield "pools:"
    for pool in compiled.placement.graph["pools"].values():
        yield f"  {pool.path}: {_listed(pool.members)}, {pool.route}"
    for cache in compiled.caches.values():
        yield f"cache {cache.name}: blocks of {cache.block} tok, {cache.eviction}, {cache.write}"
        for tier in cache.tiers:
            first = tier.stores[0]
            yield f"  {tier.path}: {len(tier.stores)} x {first.capacity / 1e9:.6g} GB per " + (
                f"{tier.scope}, in reach of {len(tier.reach)} engines"
            )
    for graph in compiled.pipelines.values():
        yield from _pipeline(graph, "")
    for load in compiled.workloads.values():
        yield f"workload {load.name}: {load.arrivals} into {load.pipeline}"
        yield f"  prompt {load.prompt}"[:120]
        yield f"  output {load.output}"[:120]
        yield f"  classes {dict(load.class_mix)}"
    for one in compiled.experiments.values():
        yield f"experiment {one.name}: {', '.join(one.workloads)}; {one.duration} s, {one.seeds}"
        yield from (f"  require {goal.text}" for goal in one.requirements)
        for axis in one.axes:
            yield f"  sweep {', '.join(axis.targets)}: {len(axis.points)} points"
    for path, entry in system.parameters.items():
        yield f"param {path} = {entry['value']} {entry['unit'] or ''}({entry['origin']})"


def _counted(names: Iterator[str]) -> str:
    found = Counter(names)
    return ", ".join(f"{count} x {name}" for name, count in sorted(found.items())) or "none"


def _listed(paths: tuple[str, ...]) -> str:
    if len(paths) > 4:
        paths = (*paths[:2], f"… {len(paths) - 3} more …", paths[-1])
    return ", ".join(paths)


def _client(system: System, path: str) -> str:
    client = system.placement.nodes[path]["client"]
    text = f"{path}: {client.type_name}"
    if client.model is not None:
        text += f" of {client.model.name}"
    if client.group is not None:
        group = client.group
        text += f" on {_listed(group.devices)}"
        text += f" (tp {group.tp}, pp {group.pp}, dp {group.dp}, ep {group.ep})"
    elif client.type_name == "KvTier":
        text += f" in {_listed(tuple(system.placement.successors(path)))}"
    return text


def _pipeline(graph: PipelineGraph, indent: str) -> Iterator[str]:
    yield f"{indent}pipeline {graph.graph['path']}: {graph.graph['name']}"
    inner = []
    for node, data in graph.nodes(data=True):
        stage = data.get("stage")
        join = f", {data['join']}" if data["join"] else ""
        if stage is None:
            if join:
                yield f"{indent}  {node}{join}"
            continue
        text = f"{stage.type_name} on {stage.pool}" if stage.pool else stage.type_name
        text += f" x{stage.replicas} {stage.join} {stage.spread}" if stage.replicas > 1 else ""
        text += f", repeat {stage.repeat}" if stage.repeat else ""
        yield f"{indent}  {node}: {text}{join}"
        if stage.inner is not None:
            inner.append(stage.inner)
    for source, target, edge in graph.edges(data=True):
        choice = edge["choice"]
        label = f" [{choice.order}: {choice.label}]" if choice else ""
        yield f"{indent}  {source} -> {target}{label}"
    for sub in inner:
        yield from _pipeline(sub, indent + "  ")
