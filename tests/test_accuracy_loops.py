"""How servers were driven is chosen on other models, and what neighbours say of a point."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from statistics import median

import pytest

import hermesdsl
from benchmarks.accuracy import loops, served
from benchmarks.accuracy.loops import WAYS, Point, Times, Way
from benchmarks.accuracy.neighbours import between
from benchmarks.accuracy.rows import Row

DATA = Path(__file__).parents[2] / "shared" / "data"
measured = pytest.mark.skipif(not DATA.is_dir(), reason="no folder of measurements beside the repo")


def point(**given: str) -> Point:
    """A row of the table: 8 clients of Llama-3.1-8B in 16 bits on one H100, unless said otherwise.

    Measured: TTFT 0.1 s, TPOT 0.01 s.
    """
    row = {
        "id": "p", "backend": "vllm", "backend_version": "9", "precision": "",
        "model_path": "meta-llama/Llama-3.1-8B-Instruct", "system": "h100_sxm", "isl": "100",
        "osl": "20", "gemm_quant_mode": "", "batch_size": "8.0", "tp_size": "1.0",
        "pp_size": "1.0", "silicon_ttft_ms": "100.0", "silicon_tpot_ms": "10.0",
        "concurrency": "8.0",
    }  # fmt: skip
    assert set(given) <= set(row)
    return row | given


OWN, FULL, PLAIN, _ = WAYS["trtllm"]


def predicted(model: str, errors: Mapping[Way, float]) -> list[tuple[Point, Way, Times]]:
    """What the ways of TensorRT-LLM make of one point: each 50 % off in TTFT but those named."""
    row = point(model_path=f"x/{model}", backend="trtllm")
    return [(row, way, (0.1 * (1.0 + errors.get(way, 0.5)), 0.01)) for way in WAYS["trtllm"]]


def test_the_model_that_is_predicted_has_no_say() -> None:
    """`a` is best met by full engines and `b` by the host of vLLM: each gets the other's way."""
    held = loops.chosen(predicted("a", {FULL: 0.01}) + predicted("b", {PLAIN: 0.01}))
    assert held["trtllm", "a"] == PLAIN
    assert held["trtllm", "b"] == FULL


def test_models_count_alike_however_many_points_they_have() -> None:
    many = 9 * predicted("a", {FULL: 0.0, PLAIN: 0.2})
    found = many + predicted("b", {FULL: 0.9, PLAIN: 0.2}) + predicted("c", {})
    assert loops.chosen(found)["trtllm", "c"] == PLAIN


def test_a_single_model_gets_the_first_way() -> None:
    assert loops.chosen(predicted("a", {PLAIN: 0.0}))["trtllm", "a"] == OWN


def test_ways_that_cannot_be_run_are_not_chosen_over_ones_that_can() -> None:
    found = predicted("a", {PLAIN: 0.1}) + predicted("b", {PLAIN: 0.1})
    broken = [(p, w, "no room" if w == FULL else t) for p, w, t in found]
    assert loops.chosen(broken)["trtllm", "b"] == PLAIN


def test_variants_of_a_model_are_one_model() -> None:
    names = ("meta-llama/Llama-3.1-8B-Instruct", "nvidia/Llama-3.1-8B-Instruct-FP8", "Llama-3.1-8B")
    assert {loops.model_of(point(model_path=name)) for name in names} == {"Llama-3.1-8B"}


@pytest.mark.parametrize("backend", list(WAYS))
@pytest.mark.parametrize("version", ["", "0.5.1.post1", "1.0.0rc3"])
def test_every_way_is_a_program(backend: str, version: str) -> None:
    row = point(backend=backend, backend_version=version, precision="fp8", system="h200_sxm")
    for way in (*WAYS[backend], Way(again=True)):
        found = hermesdsl.run(hermesdsl.compile(loops.specification(row, way)))
        assert len(found.requests) == 80


@pytest.mark.parametrize(("version", "places"), [("1.0.0rc3", 8), ("", 512)])
def test_full_engines_are_those_of_the_scripts(version: str, places: int) -> None:
    row = point(backend="trtllm", backend_version=version)
    assert f"max_batch = {places}" in loops.specification(row, FULL)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({}, ("chunked(1608 tok)", "output = 20 tok", "profile = vllm_sync", "max_batch = 512")),
        ({"backend_version": "0.14.1"}, ("profile = vllm\n",)),
        ({"backend_version": ""}, ("chunked(8192 tok)", "uniform(16 tok, 24 tok)")),
        ({"backend": "sglang", "backend_version": "0.5.1.post1"}, ("batching = continuous",)),
        ({"backend": "sglang", "backend_version": "0.5.6"}, ("chunked(8192 tok)",)),
        ({"backend": "trtllm", "isl": "9000", "backend_version": ""}, ("max_tokens = 9000 tok",)),
        ({"backend": "sglang", "precision": "fp8"}, ("kv_dtype = bf16",)),
        ({"precision": "fp8"}, ("kv_dtype = fp8",)),
    ],
)
def test_columns_say_how_a_server_was_driven(given: dict[str, str], lines: tuple[str, ...]) -> None:
    row = point(**{"backend_version": "0.12.0"} | given)
    found = loops.specification(row, Way())
    for line in lines:
        assert line in found


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"backend": "other"}, "unknown"),
        ({"system": "mars"}, "unknown"),
        ({"model_path": "x/gpt-x"}, "unknown"),
        ({"pp_size": "2.0"}, "pipeline stages"),
        ({"concurrency": ""}, "number of clients not given"),
    ],
)
def test_rows_that_cannot_be_predicted_say_why(given: dict[str, str], why: str) -> None:
    (row,) = loops._rows([point(**given)], lambda tasks: [(1.0, 1.0)] * len(tasks))
    assert why in row.skipped


def test_an_engine_version_that_nobody_knows_is_still_predicted() -> None:
    (row,) = loops._rows([point(backend_version="99")], lambda tasks: [(0.2, 0.01)] * len(tasks))
    assert row.figures["ttft"] == row.figures["ttft known"] == (0.1, 0.2)
    assert row.figures["tpot"] == (0.01, 0.01)
    assert "ttft between" not in row.figures


# --- neighbours ----------------------------------------------------------------------------------

Place = tuple[float, ...]


def told(points: dict[Place, tuple[float, float]]) -> dict[Place, tuple[float, float] | None]:
    at = list(points)
    return dict(zip(at, between(at, lambda _: 0, lambda p: p, points.__getitem__), strict=True))


def test_a_power_of_one_coordinate_is_met_between_its_neighbours() -> None:
    found = told({(x, 1.0): (x**2, 3.0 / x) for x in (1.0, 3.0, 8.0)})
    assert found[3.0, 1.0] == pytest.approx((9.0, 1.0))
    assert found[1.0, 1.0] is None
    assert found[8.0, 1.0] is None


def test_coordinates_are_averaged_and_diagonals_are_no_neighbours() -> None:
    """Along x the middle is √(1·4) = 2, along y √(2·8) = 4: √(2·4)."""
    found = told({
        (1.0, 2.0): (1.0, 1.0), (4.0, 2.0): (4.0, 1.0), (2.0, 2.0): (99.0, 1.0),
        (2.0, 1.0): (2.0, 1.0), (2.0, 4.0): (8.0, 1.0), (4.0, 4.0): (1e6, 1.0),
    })  # fmt: skip
    assert found[2.0, 2.0] == pytest.approx((sqrt(8.0), 1.0))
    assert found[4.0, 4.0] is None


# --- the page ------------------------------------------------------------------------------------


def test_what_is_known_and_what_neighbours_say_have_no_target() -> None:
    """Six points in order, off by 10 % held out and by 5 % known; neighbours put them backwards."""
    subject = served.SUBJECTS["closed_loop"]
    rows = [Row(str(n), "g", {"ttft": (n, 1.1 * n), "ttft known": (n, 1.05 * n),
                              "ttft between": (n, 1.0 / n)}) for n in range(1, 7)]  # fmt: skip
    held, known, between = served._figures(subject, rows)
    assert (held.must, held.aim) == (0.30, 0.20)
    assert held.value == pytest.approx(0.1)
    assert known.value == pytest.approx(0.05)
    assert known.must is known.aim is between.must is None
    ranks, table = served._ranks(subject, rows)
    assert [(each.value, each.must) for each in ranks[::2]] == [
        (pytest.approx(1.0), 0.95), (pytest.approx(1.0), None), (pytest.approx(-1.0), None),
    ]  # fmt: skip
    assert table.rows == [["g", "6", "1.000", "1.000", "-1.000"]]
    assert served._main(subject, rows) == ["ttft"]


# --- the measurements ----------------------------------------------------------------------------


def apart(rows: list[Row], metric: str) -> float:
    return median(abs(row.error(metric)) for row in rows if metric in row.figures)


@measured
@pytest.mark.slow
def test_closed_loop_points() -> None:
    rows = loops.closed_loop(DATA, 12)
    assert apart(rows, "tpot") < 0.15
    assert apart(rows, "ttft") < 0.30
    assert apart(rows, "tpot known") < 0.10
    assert apart(rows, "ttft known") < 0.20
