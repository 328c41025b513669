"""The picture of a front: where points lie, what they look like, and what is said of the rest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.explore.estimate import Estimate
from hermesdsl.explore.outcome import Outcome
from hermesdsl.explore.picture import picture
from hermesdsl.explore.points import Parameter, Point
from hermesdsl.graph.types import Experiment, Goal, Metric, Objective, Requirement

Compiled = Callable[..., System]

ROOT = Path(__file__).parents[2]
COST = Objective("cost_per_token", False, Metric("cost_per_token"))
LATE = Objective("p99(e2e)", False, Metric("p99", "e2e"))
RATE = Objective("load.rate", True)
PARAMETERS = (Parameter("load.rate", "req/s", 1.0),)


def experiment(*objectives: Objective, **more: object) -> Experiment:
    return Experiment("trade", ("w",), objectives=objectives, **more)  # type: ignore[arg-type]


def at(index: int, cost: float, late: float, *, met: bool = True, status: str = "done",
       rate: float = 1.0) -> Outcome:  # fmt: skip
    metrics = {"cost_per_token": Estimate(cost, None, 1), "p99(e2e)": Estimate(late, None, 1)}
    known = metrics if status == "done" else {}
    return Outcome(Point(index, {}, {"load.rate": rate}), (), status, "", known, (met,))


def drawn(wanted: Experiment, *found: Outcome) -> str:
    text = picture(wanted, found, PARAMETERS)
    assert text is not None
    assert ElementTree.fromstring(text).tag.endswith("svg")
    return text


def circles(text: str, colour: str) -> list[tuple[float, float]]:
    """Those of the panel: the legend's lie above it."""
    found = re.findall(rf'<circle cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+" fill="{colour}"', text)
    return [(float(x), float(y)) for x, y in found if float(y) > 60.0]


FOUR = (at(0, 1e-6, 3.0), at(1, 3e-6, 1.0), at(2, 3e-6, 3.0), at(3, 2e-6, 0.5, met=False))


def test_points_lie_where_their_values_are() -> None:
    """The box begins at (72, 66) and is 400 wide and high; 6 % of the values are left around.

    Costs from 1 to 3 $: 0.06/1.12 of the box from its left end and from its right one; times from
    0.5 to 3 s: 3 s is 0.06/1.12 below its top, 1 s is (1 - 0.5 + 0.15)/2.8 above its bottom.
    """
    text = drawn(experiment(COST, LATE), *FOUR)
    left, right = 72.0 + 400.0 * 0.06 / 1.12, 72.0 + 400.0 * 1.06 / 1.12
    top, low = 66.0 + 400.0 * 0.06 / 1.12, 66.0 + 400.0 * (1.0 - 0.65 / 2.8)
    best = circles(text, "#0072B2")
    assert best == [pytest.approx(p, abs=0.06) for p in [(left, top), (right, low)]]
    assert circles(text, "#b4b4b4") == [pytest.approx((right, top), abs=0.06)]
    assert text.count('l6 6m0 -6l-6 6"') == 2  # of the point that misses its goal, and the legend
    # What the front beats is right of and above its edge: to the right first, then down.
    assert f'd="M{left:.1f} {top:.1f}H{right:.1f}V{low:.1f}"' in text


def test_names_and_units_are_on_the_axes() -> None:
    text = drawn(experiment(COST, LATE), *FOUR)
    assert ">cost_per_token, $/1e6 tok (less is better)<" in text
    assert ">p99(e2e), s (less is better)<" in text
    goal = Requirement("goal", Goal((LATE.metric, 9.0), ("<=",), "ms", 1e-3))  # type: ignore[arg-type]
    text = drawn(experiment(COST, LATE, requirements=(goal,)), *FOUR)
    assert ">p99(e2e), ms (less is better)<" in text
    text = drawn(experiment(COST, RATE), at(0, 1e-6, 1.0), at(1, 2e-6, 1.0, rate=2.0))
    assert ">load.rate, req/s (more is better)<" in text


def test_what_is_not_drawn_is_counted() -> None:
    rest = [at(4, 0, 0, status="pruned"), at(5, 0, 0, status="skipped"),
            at(6, 0, 0, status="pruned")]  # fmt: skip
    text = drawn(experiment(COST, LATE), *FOUR, *rest)
    for words in ("2 on the front", "1 beaten", "1 with a goal missed",
                  "not drawn: 2 pruned, 1 skipped"):  # fmt: skip
        assert f">{words}<" in text
    assert "not drawn" not in drawn(experiment(COST, LATE), *FOUR)


def test_equals_are_named_in_one_place() -> None:
    text = drawn(experiment(COST, LATE), at(0, 1e-6, 1.0), at(7, 1e-6, 1.0))
    assert ">0, 7<" in text


def test_decades_apart_are_drawn_by_their_logarithm() -> None:
    """Of 1, 10 and 100 the middle one lies in the middle."""
    points = [at(n, 10.0**n * 1e-6, 3.0 - n) for n in range(3)]
    xs = [x for x, _ in circles(drawn(experiment(COST, LATE), *points), "#0072B2")]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.11)


def test_three_objectives_are_two_panels_without_an_edge() -> None:
    text = drawn(experiment(COST, LATE, RATE), *FOUR)
    assert text.count("less is better)<") == 3
    assert 'stroke-width="1.5" stroke-opacity' not in text


@pytest.mark.parametrize("found", [(), (at(0, 0, 0, status="failed"),), (FOUR[3],)])
def test_without_a_front_there_is_a_picture_all_the_same(found: tuple[Outcome, ...]) -> None:
    assert circles(drawn(experiment(COST, LATE), *found), "#0072B2") == []


def test_one_objective_has_no_picture(compiled: Compiled) -> None:
    """And that of an earlier sweep is removed."""
    assert picture(experiment(COST), FOUR, PARAMETERS) is None
    two = compiled("sweep n; minimize = [cost_per_token, max(e2e)]")
    assert "front.svg" in hermesdsl.sweep(two, out="kept").files
    assert Path("kept/front.svg").is_file()
    one = compiled("sweep n; minimize = cost_per_token")
    assert "front.svg" not in hermesdsl.sweep(one, out="kept", resume=True).files
    assert not Path("kept/front.svg").exists()


def test_names_cannot_break_the_picture() -> None:
    odd = Objective("a<b&c", False, Metric("p99", "e2e"))
    assert "a&lt;b&amp;c" in drawn(experiment(COST, odd), *FOUR)


def test_the_picture_of_the_documentation_is_that_of_its_example() -> None:
    """`HERMES_UPDATE=1` draws it again."""
    pytest.importorskip("optuna", reason="the extra `search` is not installed")
    path = ROOT / "docs/images/front.svg"
    text = hermesdsl.sweep(hermesdsl.compile(ROOT / "examples/search.hms")).picture
    assert text is not None
    if os.environ.get("HERMES_UPDATE"):
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
