"""Which points an experiment has, enumerated by hand; and what cannot be swept."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import hermesdsl
from hermesdsl import SpecError
from hermesdsl.api import System
from hermesdsl.explore import checks
from hermesdsl.explore.points import BUDGET, parameters, pinned, points
from hermesdsl.graph.types import Experiment, SweepAxis

Compiled = Callable[..., System]


def axis(**values: list[float]) -> SweepAxis:
    """An axis over one target, or a zip over several."""
    rows = tuple(zip(*values.values(), strict=True))
    texts = tuple(tuple(f"{v:g}" for v in row) for row in rows)
    return SweepAxis(tuple(values), texts, rows, tuple(("", 1.0) for _ in values))


A, B, ZIP = axis(a=[1, 2]), axis(b=[7, 8, 9]), axis(x=[1, 2], y=[3, 4])


def settings(axes: list[SweepAxis], limit: int | None = None) -> list[dict[str, str]]:
    return [dict(point.texts) for point in points(axes, limit)]


def test_axes_are_a_product_and_the_last_varies_fastest() -> None:
    assert settings([A, B]) == [
        {"a": "1", "b": "7"}, {"a": "1", "b": "8"}, {"a": "1", "b": "9"},
        {"a": "2", "b": "7"}, {"a": "2", "b": "8"}, {"a": "2", "b": "9"},
    ]  # fmt: skip


def test_a_zip_is_one_axis() -> None:
    assert settings([ZIP, A]) == [
        {"x": "1", "y": "3", "a": "1"}, {"x": "1", "y": "3", "a": "2"},
        {"x": "2", "y": "4", "a": "1"}, {"x": "2", "y": "4", "a": "2"},
    ]  # fmt: skip


def test_without_a_sweep_there_is_one_point() -> None:
    assert settings([]) == [{}]


def test_a_limit_keeps_the_first_points() -> None:
    assert settings([A, B], 2) == [{"a": "1", "b": "7"}, {"a": "1", "b": "8"}]


def test_what_is_set_from_outside_is_not_swept() -> None:
    assert settings(list(pinned([A, B], {"b": "5"}, None))) == [{"a": "1"}, {"a": "2"}]


def test_a_zip_of_which_one_is_set_keeps_what_differs_in_the_other() -> None:
    grid = axis(x=[1, 2, 1], y=[3, 3, 4])
    assert settings(list(pinned([grid], {"y": "3"}, None))) == [{"x": "1"}, {"x": "2"}]


def test_a_case_from_outside_takes_the_place_of_swept_cases() -> None:
    cases = SweepAxis(("case",), (("p",), ("q",)), (("p",), ("q",)), (("", 1.0),))
    assert [point.case for point in points([cases])] == ["p", "q"]
    assert points([cases]).__next__().settings == {}
    assert pinned([cases, A], {}, "q") == (A,)


def test_an_experiment_as_it_is_written(compiled: Compiled) -> None:
    body = """sweep case in [plain, fast]; sweep (n, load.rate) in [(1, 1 req/s), (3, 2 req/s)]
    sweep contention in [none, fair]"""
    axes = compiled(body).experiment().axes
    assert [each.targets for each in axes] == [("case",), ("n", "load.rate"), ("main.contention",)]
    assert len(list(points(axes))) == 2 * 2 * 2
    last = list(points(axes))[-1]
    assert last.case == "fast"
    assert last.settings == {"n": "3", "load.rate": "2 req/s", "main.contention": "fair"}
    assert [(p.path, p.unit) for p in parameters(axes)] == [
        ("case", ""), ("n", ""), ("load.rate", "req/s"), ("main.contention", ""),
    ]  # fmt: skip


def test_names_alone_are_the_product_of_their_domains(compiled: Compiled) -> None:
    body = "sweep (n, llm[0].max_batch)"
    with pytest.raises(SpecError, match="has no domain to sweep over"):
        compiled(body)
    assert [p.texts["n"] for p in points(compiled("sweep n").experiment().axes)] == ["1", "2", "3"]


def test_values_are_numbers_in_si_units_and_print_in_the_first_unit(compiled: Compiled) -> None:
    (found,) = compiled("sweep speed in [2 TB/s, 500 GB/s]").experiment().axes
    assert found.values == ((2e12,), (5e11,))
    assert found.units == (("TB/s", 1e12),)


# --- what cannot be swept ------------------------------------------------------------------


def problems(body: str, compiled: Compiled, **given: object) -> str:
    """What a sweep says instead of running."""
    with pytest.raises(SpecError) as caught:
        hermesdsl.sweep(compiled(body), **given)  # type: ignore[arg-type]
    return "; ".join(d.message for d in caught.value.diagnostics)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sweep case in [plain, fats]", "`fats` is no case"),
        ("sweep n in []", "a sweep over nothing"),
        ("sweep m in [1]", "unknown name `m`"),
        ("sweep speed in [1 GB]", "`speed`"),
        ("sweep n in [1, 5]", "n"),
        ("sweep load.arrivals in [poisson(1 req/s)]", "`arrivals` is computed"),
        ("sweep (n, speed) in [(1, 2 TB/s), 3]", "every point of this sweep is a tuple"),
        ("sweep n in [1, 3]; sweep n in [3]", "`n` is swept twice"),
        ("sweep n in [1, 1]", "`n` takes `1` twice"),
        ("sweep n in [1, 3]; maximize = load.rate", "`load.rate` is an objective but is not swept"),
        ("sweep n; minimize = [p99(ttft), p99(ttft)]", "`p99(ttft)` is an objective twice"),
        ("sweep n; minimize = p99(ttft); maximize = p99(ttft)", "is an objective twice"),
        ("sweep n; minimize = [p99(ttft), load.rate]", "`load.rate` is an objective but is not"),
        ("sweep n; strategy = tpe(trials = 3)", "tpe` of `main` has nothing to look for"),
        ("sweep n; sweep case in [plain, fast]; strategy = tpe; minimize = p99(ttft); "
         "require p50(e2e, case = fast) < 1 s", "with a goal that compares cases"),
        ("sweep n; strategy = tpe(trials = 0); minimize = p99(ttft)", "0 is out of range"),
        ("sweep n; strategy = grid(short = 60%)", "60% is out of range"),
        ("sweep speed in between(1 TB/s, 2 TB/s)", "which has no points"),
        ("sweep n; strategy = bisect; require p50(e2e) < 1 s", "looks for a swept value"),
        ("sweep n; strategy = bisect; maximize = n", "has no `require` to meet"),
        ("sweep (n, speed) in [(1, 2 TB/s)]; strategy = bisect; maximize = n; "
         "require p50(e2e) < 1 s", "needs `n` swept by itself"),
        ("sweep n; sweep case in [plain, fast]; strategy = bisect; maximize = n; "
         "require p50(e2e, case = fast) < 1 s", "with a goal that compares cases"),
        ("sweep speed in between(1 GB, 2 GB)", "bandwidth"),
        ("sweep n; require p50(e2e, case = fast) < 1 s", "a goal compares `fast`, which no point"),
    ],
)  # fmt: skip
def test_what_cannot_be_swept(body: str, message: str, compiled: Compiled) -> None:
    assert message in problems(body, compiled)


def test_arguments_that_make_no_sense(compiled: Compiled) -> None:
    assert "at least one worker" in problems("sweep n", compiled, workers=0)
    assert "no experiment `nain`" in problems("sweep n", compiled, experiment="nain")


def test_too_many_points() -> None:
    side = axis(a=[float(n) for n in range(1001)])
    other = axis(b=[float(n) for n in range(1001)])
    found = checks.check(Experiment("e", ("w",)), [side, other], None)
    assert [d.message for d in found] == [f"1,002,001 points; a sweep has at most {BUDGET:,}"]
    assert checks.check(Experiment("e", ("w",)), [side, other], 10) == []


def test_a_domain_without_points() -> None:
    endless = SweepAxis(("a",), (("between(1, 2)",),), (("between(1, 2)",),), (("", 1.0),), (1, 2))
    (found,) = checks.check(Experiment("e", ("w",)), [endless], None)
    assert "has no points" in found.message
