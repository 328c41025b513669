"""The sweeps of the golden programs of the language, cut down to seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

import hermesdsl
from hermesdsl.explore import Sweep

PROGRAMS = Path(__file__).parents[1] / "golden/programs"


def swept(name: str, limit: int | None = None, **settings: str) -> Sweep:
    system = hermesdsl.compile(
        PROGRAMS / f"{name}.hms", set={key.replace("__", "."): v for key, v in settings.items()}
    )
    return hermesdsl.sweep(system, limit=limit)


def test_storage_compares_its_cases() -> None:
    """Six placements with and without contention; the goal is decided for each of the two."""
    found = swept("09_storage", storage__duration="1 s", conv__arrivals="poisson(20 req/s)",
                  conv__context="4096 tok", conv__hot="true")  # fmt: skip
    assert found.total == 6 * 2
    assert [each.status for each in found.points] == ["done"] * 12
    p50 = {(each.point.case, each.point.texts["storage.contention"]): each.metrics["p50(e2e)"].mean
           for each in found.points}  # fmt: skip
    for contention in ("none", "fair"):
        expected = p50["a", contention] < p50["b", contention] < p50["c", contention]
        told = {each.verdicts for each in found.points
                if each.point.texts["storage.contention"] == contention}  # fmt: skip
        assert told == {(expected,)}


def test_all_of_storage_is_48_points() -> None:
    assert len(_texts("09_storage", "storage")) == 6 * 2 * 2 * 2


def test_all_of_the_search_are_9216_points() -> None:
    assert len(_texts("10_search", "cheapest")) == (3 * 8 * 4) ** 2


def _texts(name: str, experiment: str) -> list[dict[str, str]]:
    from hermesdsl.explore.points import points

    axes = hermesdsl.compile(PROGRAMS / f"{name}.hms").experiment(experiment).axes
    return [dict(point.texts) for point in points(axes)]


def test_the_cheapest_fleet_of_a_small_domain() -> None:
    """Against a search by hand over the same points."""
    found = swept(
        "10_search", cheapest__duration="10 s", cheapest__strategy="grid", pre__accel="H100",
        pre__tp="4", dec__n="2", dec__accel="H200", dec__tp="4", load__arrivals="poisson(2 req/s)",
    )  # fmt: skip
    assert [each.point.texts for each in found.points] == [{"pre.n": str(n)} for n in range(1, 9)]
    by_hand = [
        (each.metrics["cost_per_token"].mean, each.point.index)
        for each in found.points
        if each.metrics["p99(ttft)"].mean <= 0.8 and each.metrics["p99(tpot)"].mean <= 0.04
    ]
    assert by_hand
    assert found.best is not None
    assert found.best.point.index == min(by_hand)[1]


def test_points_of_the_search_that_do_not_fit_are_skipped() -> None:
    """Llama-3.1-70B: 70.6e9 x 2 byte on one H100 of 80 GiB."""
    found = swept(
        "10_search", cheapest__duration="5 s", cheapest__strategy="grid", cheapest__seeds="[1]",
        pre__accel="H100", pre__tp="4", pre__n="1", dec__n="1", dec__accel="H100",
    )  # fmt: skip
    assert [each.status for each in found.points] == ["skipped", "done", "done", "done"]
    assert found.points[0].reason.startswith("HMS407: the weights of `dec.llm[0]` take 131")


def test_rag_chat_over_rates_and_a_zip() -> None:
    found = swept("rag_chat", limit=3, capacity__duration="65 s")
    assert [tuple(each.point.texts.values()) for each in found.points] == [
        ("1 session/s", "2", "8"), ("1 session/s", "4", "4"), ("2 session/s", "2", "8"),
    ]  # fmt: skip
    assert found.total == 3
    assert all(len(each.rows) == 3 and each.status == "done" for each in found.points)


def test_a_fleet_over_its_seeds() -> None:
    found = swept("02_fleet", fleet_slo__duration="63 s")
    (only,) = found.points
    means = [row["metrics"]["attainment(class = gold)"] for row in only.rows]
    assert only.metrics["attainment(class = gold)"].mean == pytest.approx(sum(means) / 3)
    assert only.metrics["attainment(class = gold)"].n == 3
