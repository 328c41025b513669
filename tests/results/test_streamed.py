"""Runs whose rows were not kept: the same summary as with rows, percentiles within the error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Metric
from hermesdsl.results import Result
from hermesdsl.results.sketch import ERROR
from hermesdsl.results.write import write
from hermesdsl.sim import draining, keeping

EXAMPLES = Path(__file__).parents[2] / "examples"
PERCENTILES = ("p50", "p90", "p95", "p99")

#: Example, its experiment, and more settings.
RUNS = [
    ("quickstart", "quickstart", {}),
    ("quickstart", "quickstart", {"quickstart.horizon": "cut", "load.rate": "20 req/s"}),
    ("disaggregated", "apart", {}),
    ("priority_classes", None, {}),
    ("closed_loop", None, {}),
    ("two_loads", None, {}),
    ("speculation", None, {}),
    ("autoscaling", None, {}),
]


def _run(name: str, experiment: str | None, records: str, **settings: str) -> Result:
    path = EXAMPLES / f"{name}.hms"
    if experiment is None:
        experiment = next(iter(hermesdsl.compile(path).compiled.experiments))
    return hermesdsl.run(
        hermesdsl.compile(path, set={f"{experiment}.records": records, **settings}),
        experiment=experiment,
    )


def _near(kept: Any, streamed: Any, path: str) -> None:
    if isinstance(kept, dict):
        assert kept.keys() == streamed.keys(), path
        for key, value in kept.items():
            _near(value, streamed[key], f"{path}.{key}")
    elif isinstance(kept, list):
        assert len(kept) == len(streamed), path
        for index, value in enumerate(kept):
            _near(value, streamed[index], f"{path}[{index}]")
    elif isinstance(kept, float):
        name = path.rpartition(".")[2]
        sketched = name in PERCENTILES or path.startswith(".requirements")
        rel = ERROR if sketched else 1e-9
        # Attention stands on the rung of a typical step, of each part instead of the whole.
        rough = 5e-3 if path.startswith(".provenance") else 1e-9
        assert streamed == pytest.approx(kept, rel=rel, abs=rough), path
    else:
        assert kept == streamed, path


@pytest.mark.parametrize(("name", "experiment", "settings"), RUNS)
def test_same_summary(
    name: str, experiment: str | None, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "EVERY", 200)
    kept = _run(name, experiment, "all", **settings).summary()
    streamed = _run(name, experiment, "summary", **settings).summary()
    assert streamed.pop("records") == {"kept": "summary", "relative_error": ERROR}
    kept["attribution"].pop("p99")
    for each in (kept, streamed):
        each["wall_s"] = 0.0
    parameters = kept.pop("parameters"), streamed.pop("parameters")
    assert parameters[0].keys() == parameters[1].keys()
    _near(kept, streamed, "")


def test_a_step_that_ends_after_the_last_request_counts() -> None:
    """The branch that loses stays in its batch until the step is over, after the request has left:
    so long its engine works, in the window of half a second too."""
    text = """
    from std.nvidia.hopper import DGX_H100
    from std.models.llama import Llama3_1_8B
    box: DGX_H100
    slow: LlmEngine on box.gpu[0] { model = Llama3_1_8B }
    fast: LlmEngine on box.gpu[1] { model = Llama3_1_8B; dtype = fp8 }
    pool both { members = [slow, fast] }
    pipeline Race {
        try[2]: Generate on both { tokens = uniform(5 tok, 20 tok); join = first(1, any) }
        input -> try -> output
    }
    workload w {
        pipeline = Race; arrivals = constant(100 req/s); requests = 1
        prompt = uniform(100 tok, 3000 tok); output = 9 tok
    }
    experiment main { workload = [w]; duration = 500 ms; records = RECORDS }
    """
    summaries = []
    for records in ("all", "summary"):
        result = hermesdsl.run(hermesdsl.compile(text.replace("RECORDS", records)))
        summaries.append(result.summary())
        if records == "all":
            run = result.measures.run
            assert run.steps["end_s"].max() > run.end_s
    kept, streamed = summaries
    assert streamed["energy"]["window"] == pytest.approx(kept["energy"]["window"], rel=1e-12)
    for path, client in kept["clients"].items():
        found = streamed["clients"][path]["utilisation"]
        assert found == pytest.approx(client["utilisation"], rel=1e-12)


def test_parts_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often rows are let go of, counts are the same."""
    found = []
    for every in (64, 500, 10**9):
        monkeypatch.setattr(draining, "EVERY", every)
        summary = _run("quickstart", "quickstart", "summary").summary()
        found.append((summary["requests"], summary["tokens"], summary["metrics"]["itl"]["n"]))
    assert found[0] == found[1] == found[2]


def test_same_seed_same_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "EVERY", 100)
    one, other = (_run("quickstart", "quickstart", "summary").summary() for _ in range(2))
    one["wall_s"] = other["wall_s"] = 0.0
    assert one == other


def test_metrics_of_groups_and_stages() -> None:
    kept, streamed = (_run("quickstart", "quickstart", each) for each in ("all", "summary"))
    stage = next(iter(kept.summary()["stages"]))
    for metric in (
        Metric("p90", "ttft", {"class": "interactive"}),
        Metric("mean", "queue", {"stage": stage}),
        Metric("attainment", None, {"class": "interactive"}),
        Metric("share", None, {"outcome": "completed"}),
        Metric("utilisation", "llm", {}),
    ):
        assert streamed.value(metric) == pytest.approx(kept.value(metric), rel=ERROR)


# --- choosing itself -----------------------------------------------------------------------------


@pytest.mark.parametrize(("large", "records", "streamed"), [
    (879, "auto", True), (880, "auto", False), (0, "all", False), (10**9, "summary", True),
])  # fmt: skip
def test_threshold(
    large: int, records: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quickstart offers 880 requests."""
    monkeypatch.setattr(keeping, "LARGE", large)
    result = _run("quickstart", "quickstart", records)
    assert result.summary()["requests"]["offered"] == 880
    assert ("records" in result.summary()) is streamed


def test_a_large_run_that_cannot_be_streamed_keeps_its_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeping, "LARGE", 0)
    assert "records" not in _run("rag", "rag", "auto").summary()


# --- what takes rows -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def streamed() -> Result:
    return _run("quickstart", "quickstart", "summary")


def test_it_says_so(streamed: Result) -> None:
    assert any("rows of 880 requests were not kept" in note for note in streamed.notes)


def test_no_requests(streamed: Result) -> None:
    with pytest.raises(SpecError, match=r"HMS607.*kept no row per request.*requests"):
        _ = streamed.requests


def test_no_tail(streamed: Result) -> None:
    with pytest.raises(SpecError, match=r"kept no row per request.*slowest from p99"):
        streamed.explain("p99")


def test_files(streamed: Result, tmp_path: Path) -> None:
    stored = write(streamed, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["energy.csv.gz", "summary.json", "utilisation.csv.gz"]
    with pytest.raises(SpecError, match="kept no row per request"):
        _ = Result.load(tmp_path / "out").requests
    assert stored.summary()["records"]["relative_error"] == ERROR


@pytest.mark.parametrize(("name", "reason"), [
    ("rag", "is no engine"),
    ("kv_hierarchy", "looks into a cache"),
    ("patience", "may be tried again"),
])  # fmt: skip
def test_what_must_keep_its_rows_is_named(name: str, reason: str) -> None:
    with pytest.raises(SpecError, match=rf"HMS506.*records = summary.*{reason}"):
        _run(name, None, "summary")


def test_clients_that_fail_keep_rows() -> None:
    failing = {"llm[*].fails": "random(mtbf = 60 s, mttr = 10 s)"}
    with pytest.raises(SpecError, match="may be down"):
        _run("quickstart", "quickstart", "summary", **failing)


def test_no_such_choice() -> None:
    with pytest.raises(SpecError) as caught:
        _run("quickstart", "quickstart", "some")
    assert "HMS201: unknown name `some`" in str(caught.value)
