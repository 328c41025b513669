"""Halving one value: how often it tries, and that it finds what a grid finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hermesdsl
from hermesdsl.api import System
from hermesdsl.explore.estimate import estimate
from hermesdsl.explore.outcome import Outcome, close
from hermesdsl.explore.points import Point
from hermesdsl.explore.search import Search, search_of
from hermesdsl.graph.types import Experiment, Metric, Objective, Spec, SweepAxis

Compiled = Callable[..., System]
Met = Callable[[Point], bool]


def listed(values: list[float]) -> SweepAxis:
    texts = tuple((f"{v:g}",) for v in values)
    return SweepAxis(("x",), texts, tuple((v,) for v in values), (("", 1.0),))


def between(low: float, high: float, unit: str = "", scale: float = 1.0) -> SweepAxis:
    return SweepAxis(("x",), (("between",),), (("between",),), ((unit, scale),), (low, high))


def searched(axes: list[SweepAxis], met: Met, *, up: bool = True, limit: int | None = None,
             tolerance: float = 0.02) -> tuple[list[Point], int]:  # fmt: skip
    """All points tried, and in how many rounds."""
    experiment = Experiment("e", (), strategy=Spec("bisect", {"tolerance": tolerance}),
                            objectives=(Objective("x", up),))  # fmt: skip
    search: Search = search_of(experiment, axes, limit)
    tried: list[Point] = []
    rounds = 0
    while points := search.round(lambda point: Outcome(point, (), "done", verdicts=(met(point),))):
        tried += points
        rounds += 1
    assert [point.index for point in tried] == list(range(len(tried)))
    return tried, rounds


def number(point: Point) -> float:
    return float(point.values["x"])


@given(st.integers(1, 60), st.integers(-1, 60), st.booleans())
def test_values_are_found_in_as_many_tries_as_halving_takes(size: int, edge: int, up: bool) -> None:
    """Of n values the last good one, or none, is one of n + 1 answers."""
    tried, _ = searched(
        [listed([float(n) for n in range(size)])],
        lambda p: number(p) <= edge if up else number(p) >= edge, up=up,
    )  # fmt: skip
    good = [n for n in range(size) if (n <= edge if up else n >= edge)]
    found = [number(p) for p in tried if (number(p) <= edge if up else number(p) >= edge)]
    expected = (max if up else min)(good, default=None)
    assert (max if up else min)(found, default=None) == expected
    assert len(tried) <= ceil(log2(size + 1))


@given(st.floats(1.0, 64.0), st.sampled_from([0.5, 0.1, 0.02]))
def test_an_edge_between_two_ends_is_found_within_the_tolerance(
    edge: float, tolerance: float
) -> None:
    tried, _ = searched([between(1.0, 64.0)], lambda p: number(p) <= edge, tolerance=tolerance)
    found = max(number(p) for p in tried if number(p) <= edge)
    # Texts have six digits, so the last halving may be off by as much.
    assert edge - found <= tolerance * 64.0 / 63.0 * max(edge, found) * (1 + 1e-4) + 1e-4


def test_by_hand() -> None:
    """1 and 9 first, then 5 (good), 7 (bad), 6 (good): 6 to 7 is within a fifth."""
    tried, rounds = searched([between(1.0, 9.0)], lambda p: number(p) <= 6.5, tolerance=0.2)
    assert [number(p) for p in tried] == [1.0, 9.0, 5.0, 7.0, 6.0]
    assert rounds == 4


@pytest.mark.parametrize("good", [True, False])
def test_all_or_nothing_needs_the_ends_alone(good: bool) -> None:
    tried, _ = searched([between(1.0, 9.0)], lambda p: good)
    assert [number(p) for p in tried] == [1.0, 9.0]


def test_whole_numbers_stay_whole() -> None:
    """Of 1 to 8 the fourth, then the middle of what is above it, and so on."""
    tried, _ = searched([between(1, 8)], lambda p: number(p) <= 5)
    assert [p.texts["x"] for p in tried] == ["4", "6", "5"]


def test_texts_are_in_the_unit_of_the_domain() -> None:
    tried, _ = searched([between(1e9, 2e9, "GB/s", 1e9)], lambda p: number(p) < 1.4e9,
                        tolerance=0.3)  # fmt: skip
    assert [p.texts["x"] for p in tried] == ["1.0 GB/s", "2.0 GB/s", "1.5 GB/s", "1.25 GB/s"]


def test_every_combination_is_halved_by_itself() -> None:
    other = SweepAxis(("y",), (("2",), ("5",)), ((2.0,), (5.0,)), (("", 1.0),))
    tried, rounds = searched(
        [other, listed([float(n) for n in range(7)])],
        lambda p: number(p) <= float(p.values["y"]),
    )  # fmt: skip
    for y in (2.0, 5.0):
        mine = [number(p) for p in tried if p.values["y"] == y]
        assert max(x for x in mine if x <= y) == y
    assert rounds == 3


def test_a_limit_ends_it() -> None:
    tried, _ = searched([between(1.0, 9.0)], lambda p: number(p) <= 6.5, limit=3)
    assert [number(p) for p in tried] == [1.0, 9.0, 5.0]


# --- of a system ---------------------------------------------------------------------------


def test_capacity_is_what_the_grid_says(compiled: Compiled) -> None:
    """Seven rates, two prompts of 1000 tok x 16 GFLOP / 400 TFLOPS apart at 25 req/s: 3 tries."""
    rates = ", ".join(f"{2**n} req/s" for n in range(7))
    body = f"""sweep load.rate in [{rates}]; maximize = load.rate
    require max(queue) <= 20 ms; strategy = {{}}"""
    grid, half = (hermesdsl.sweep(compiled(body.format(name))) for name in ("grid", "bisect"))
    assert grid.best is not None
    assert half.best is not None
    assert half.best.point.values == grid.best.point.values
    assert (len(grid.points), len(half.points)) == (7, 3)


def test_the_least_bandwidth_that_is_fast_enough(compiled: Compiled) -> None:
    """Decode reads 16 GB of weights per token: the time between tokens is theirs / bandwidth."""
    body = """sweep speed in between(0.5 TB/s, 8 TB/s); minimize = speed; strategy = bisect
    require p50(tpot) <= 10 ms"""
    found = hermesdsl.sweep(compiled(body))
    assert found.best is not None
    edge = float(found.best.point.values["speed"])
    missed = [float(each.point.values["speed"]) for each in found.points if not each.met]
    assert edge - max(missed) <= 0.02 * edge * 1.001
    assert found.best.metrics["p50(tpot)"].mean == pytest.approx(10e-3, rel=0.05)


def test_a_search_sees_the_same_customers_at_every_point(compiled: Compiled) -> None:
    """Faster memory makes every step shorter, and so the wait of the same customers, seed by seed.

    Were customers drawn anew at each point, neighbours a few per cent apart would change places.
    """
    body = """duration = 20 s; sweep speed in between(1 TB/s, 8 TB/s); minimize = speed
    strategy = bisect(tolerance = 2%); seeds = [1, 2, 3]; require mean(e2e) <= 250 ms"""
    system = compiled(body, arrivals="poisson(8 req/s)", set={"load.requests": "1000"})
    found = hermesdsl.sweep(system)
    assert len(found.points) >= 6
    ordered = sorted(found.points, key=lambda each: each.point.values["speed"])
    for seed in (1, 2, 3):
        waits = [row["metrics"]["mean(e2e)"] for each in ordered for row in each.rows
                 if row["seed"] == seed]  # fmt: skip
        assert waits == sorted(waits, reverse=True)
        assert len(set(waits)) == len(waits)
    offered = {(row["seed"], row["requests"]["offered"]) for each in ordered for row in each.rows}
    assert len(offered) == 3
    assert found.best is not None
    alone = compiled(body, arrivals="poisson(8 req/s)",
                     set={"load.requests": "1000", **found.best.point.texts})  # fmt: skip
    for row in found.best.rows:
        result = hermesdsl.run(alone, seed=row["seed"])
        assert result.summary()["metrics"]["e2e"]["mean"] == row["metrics"]["mean(e2e)"]


def rows_of(index: int, *values: float) -> Outcome:
    """A point that meets all goals, with `cost_per_token` by seed."""
    rows = tuple({"seed": seed, "point": index, "status": "done", "metrics": {"cost_per_token": v}}
                 for seed, v in enumerate(values, 1))  # fmt: skip
    metrics = {"cost_per_token": estimate(list(values))}
    return Outcome(Point(index, {}, {}), rows, "done", "", metrics)


def test_more_seeds_are_asked_for_where_the_best_two_cannot_be_told_apart() -> None:
    cheap = Objective("cost_per_token", up=False, metric=Metric("cost_per_token"))
    wanted = Experiment("e", ("w",), seeds=(1, 2, 3), objectives=(cheap,))
    # Seeds differ by 2, points by 0.1 with every seed: the same customers tell them apart.
    best, second = rows_of(0, 1.0, 2.0, 3.0), rows_of(1, 1.1, 2.1, 3.1)
    far = rows_of(2, 9.0, 9.0, 9.0)
    assert close(wanted, [far, best, second]) is None
    # Differences -0.3, 0.1, 0.5: 0.1 ± 4.303 × 0.4 / √3 has zero in it, however far the worst is.
    other = rows_of(1, 0.7, 2.1, 3.5)
    found = close(wanted, [far, best, other])
    assert found is not None
    name, apart = found
    assert name == "cost_per_token"
    assert (apart.mean, apart.half) == pytest.approx((0.1, 4.302653 * 0.4 / 3**0.5))
    # The larger the better: signs turn with it.
    dear = replace(wanted, objectives=(replace(cheap, up=True),))
    turned = close(dear, [best, other])
    assert turned is not None
    assert turned[1].mean == pytest.approx(0.1)
    assert close(wanted, [best]) is None
    assert close(wanted, [rows_of(0, 1.0), rows_of(1, 1.1)]) is None
