"""Settings that other packages bring, with entry points of a package that is not really there."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hermesdsl
from hermesdsl import plugins, schema
from hermesdsl.diagnostics import SpecError
from hermesdsl.explore.job import Job, Runner, Task, key
from hermesdsl.explore.points import Point
from hermesdsl.sim.routing import ROUTERS

LAST = """
from hermesdsl.plugins import Plugin
from hermesdsl.schema.types import Computed


class Last:
    def __init__(self, spec, context):
        self._members = context.members

    def pick(self, request, draw=0):
        return self._members[-1]


plugin = Plugin(Computed("last", "route", "The last member."), Last)
again = Plugin(Computed("jsq", "route", "Not the one that is there."), Last)
nothing = 3
"""
ENTRIES = """
[hermesdsl.router]
last = others_router:plugin
jsq = others_router:again
other = others_router:plugin
broken = others_router:missing
number = others_router:nothing
[hermesdsl.cost]
slide_rule = others_router:nothing
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package `others` with those entry points; what it registers is forgotten afterwards."""
    site = tmp_path / "site"
    facts = site / "others-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(textwrap.dedent(ENTRIES))
    (site / "others_router.py").write_text(LAST)
    monkeypatch.syspath_prepend(str(site))
    settings, routers = dict(schema.COMPUTED), dict(ROUTERS)
    yield
    for known, before in ((schema.COMPUTED, settings), (ROUTERS, routers)):
        for name in set(known) - set(before):
            del known[name]


def test_a_router_of_another_package_routes(hermes: Any) -> None:
    more = ["--set", "n=2", "--set", "llm[*].route=last"]
    assert "last" in hermes("run", "small.hms", *more).err
    done = hermes("run", "small.hms", "--json", *more, "--plugin", "last")
    assert done.code == 0, done.err
    assert '"completed": 10' in done.out


def test_it_is_unknown_until_it_is_loaded() -> None:
    assert "last" not in ROUTERS
    plugins.load(["last"])
    plugins.load(["last"])
    assert "last" in ROUTERS
    assert ("route", "last") in schema.COMPUTED


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lost", "HMS609: no plug-in `lost` is installed"),
        ("broken", "HMS609: plug-in `broken` cannot be loaded: "),
        ("number", "HMS609: `others_router:nothing` is no plug-in: it has no `setting`"),
        ("other", "HMS609: plug-in `other` of `hermesdsl.router` brings the route setting `last`"),
        ("jsq", "HMS609: plug-in `jsq`: there is a route setting `jsq` already"),
        ("slide_rule", "HMS506: plug-in `slide_rule`, an entry point of `hermesdsl.cost`, cannot"),
    ],
)
def test_what_cannot_be_loaded(name: str, message: str) -> None:
    with pytest.raises(SpecError) as refused:
        plugins.load([name])
    assert str(refused.value).startswith(message)
    assert name == "jsq" or name not in ROUTERS


def test_a_name_that_is_nearly_right(hermes: Any) -> None:
    outcome = hermes("run", "small.hms", "--plugin", "lasst")
    assert outcome.code == 2
    assert "help: did you mean `last`?" in outcome.err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_sweep_loads_it_wherever_points_are_run(hermes: Any, workers: str) -> None:
    asked = ["sweep", "small.hms", "--seed", "1", "--set", "llm[*].route=last", "--json"]
    assert hermes(*asked).code == 2
    done = hermes(*asked, "--plugin", "last", "--workers", workers)
    assert done.code == 0, done.err
    assert [point["status"] for point in json.loads(done.out)["points"]] == ["done"] * 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_sweep_from_python_loads_it_too(hermes: Any, workers: int) -> None:
    """Whoever compiles with it has loaded it here; workers know it by its name alone."""
    plugins.load(["last"])
    system = hermesdsl.compile("small.hms", set={"llm[*].route": "last"})
    found = hermesdsl.sweep(system, seeds=[1], plugins=["last"], workers=workers)
    assert [each.status for each in found.points] == ["done"] * 3


def test_a_sweep_from_python_without_the_package(hermes: Any) -> None:
    found = hermesdsl.sweep(hermesdsl.compile("small.hms"), seeds=[1], plugins=["lost"])
    assert {(each.status, each.reason) for each in found.points} == {
        ("failed", "HMS609: no plug-in `lost` is installed")
    }


def test_what_a_sweep_loaded_is_in_the_names_of_its_runs() -> None:
    job, point = Job("a.hms", False, "main", {}), Point(0, {}, {})
    loaded = replace(job, plugins=("last",))
    assert key("d", job, point, 1) != key("d", loaded, point, 1)
    assert key("d", loaded, point, 1) == key("d", replace(job, plugins=("last", "last")), point, 1)
    assert plugins.version("last") == "others 1.0"
    assert plugins.version("lost") == ""


def test_a_worker_without_the_package_says_so() -> None:
    run = Runner(Job("param n = 1", True, "main", {}, plugins=("lost",)))
    row = run(Task(Point(0, {}, {}), 1, "k"))
    assert (row["status"], row["reason"]) == ("failed", "HMS609: no plug-in `lost` is installed")
