"""Measured runs against predictions: a system predicts its own runs, and distortions are named."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import hermesdsl
from hermesdsl.diagnostics import SpecError
from hermesdsl.measure.pictures import of_runs

SPEC = """\
from std.models.llama import Llama3_1_8B
chip MyChip {
    peak.bf16 = 400 TFLOPS
    power     = 350 W
    hbm: Memory { capacity = 96 GiB; bandwidth = 2 TB/s }
}
param places = 64 in [1, 2, 64]
gpu: MyChip
llm: LlmEngine on gpu { model = Llama3_1_8B; max_batch = places }
chat: Chat { llm = llm }
workload load {
    param rate = 2 req/s
    pipeline = chat
    arrivals = poisson(rate)
    prompt   = lognormal(median = 500 tok, sigma = 1)
    output   = lognormal(median = 60 tok, sigma = 1)
}
case small { places = 1 }
experiment main { workload = [load]; duration = 20 s; warmup = 2 s }
"""
RATES = (1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def own() -> list[dict[str, float]]:
    """The system's own figures at several rates, in ms and tok/s."""
    found = []
    for rate in RATES:
        data = hermesdsl.run(hermesdsl.compile(SPEC, set={"load.rate": f"{rate} req/s"})).data
        m = data["metrics"]
        found.append({
            "load.rate [req/s]": rate, "mean_ttft_ms": 1e3 * m["ttft"]["mean"],
            "p99_ttft_ms": 1e3 * m["ttft"]["p99"], "mean_tpot_ms": 1e3 * m["tpot"]["mean"],
            "mean_latency_ms": 1e3 * m["e2e"]["mean"], "makespan_s": data["makespan_s"],
            "output_throughput": m["output_throughput"]["value"], "n": m["e2e"]["n"],
        })  # fmt: skip
    return found


def table(folder: Path, rows: list[dict[str, float]]) -> Path:
    path = folder / "runs.csv"
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_system_predicts_its_own_runs(tmp_path: Path, own: list[dict[str, float]]) -> None:
    found = hermesdsl.validate_runs(hermesdsl.compile(SPEC), table(tmp_path, own))
    assert found.runs.paths == ("load.rate",)
    for name, each in found.metrics.items():
        assert each.n == len(RATES), name
        assert each.mape == pytest.approx(0.0, abs=1e-12), name
        assert each.rank == pytest.approx(1.0), name
    for part in found.parts.values():
        assert part.difference == pytest.approx(0.0, abs=1e-9)


def test_errors_by_hand(tmp_path: Path, own: list[dict[str, float]]) -> None:
    """Measured twice, thrice, … of the predicted: errors −1/2, −2/3, −3/4, −4/5, −5/6."""
    rows = [{**row, "mean_ttft_ms": row["mean_ttft_ms"] * (at + 2)} for at, row in enumerate(own)]
    found = hermesdsl.validate_runs(hermesdsl.compile(SPEC), table(tmp_path, rows))
    each = found.metrics["mean(ttft)"]
    errors = [-(n - 1) / n for n in (2, 3, 4, 5, 6)]
    assert each.mape == pytest.approx(-sum(errors) / 5)
    assert each.bias == pytest.approx(sum(errors) / 5)
    assert (each.worst, each.line) == (pytest.approx(-5 / 6), 6)
    assert found.error("mean(ttft)", 1) == pytest.approx(-2 / 3)


def test_ranks_that_are_turned_round(tmp_path: Path, own: list[dict[str, float]]) -> None:
    rows = [{**row, "mean_tpot_ms": 100.0 - at} for at, row in enumerate(own)]
    found = hermesdsl.validate_runs(hermesdsl.compile(SPEC), table(tmp_path, rows))
    predicted = found.predicted["mean(tpot)"].tolist()
    assert predicted == sorted(predicted)
    assert found.metrics["mean(tpot)"].rank == pytest.approx(-1.0)


def test_three_runs_have_no_rank(tmp_path: Path, own: list[dict[str, float]]) -> None:
    found = hermesdsl.validate_runs(hermesdsl.compile(SPEC), table(tmp_path, own[:3]))
    assert found.metrics["mean(ttft)"].rank is None


@pytest.mark.parametrize(
    ("column", "changed", "part", "cause"),
    [
        ("mean_tpot_ms", lambda ms: 1.1 * ms, "mean(tpot)", "device"),
        ("mean_tpot_ms", lambda ms: ms + 3.0, "mean(tpot)", "host"),
        ("mean_ttft_ms", lambda ms: ms + 5.0, "mean(ttft)", "host"),
    ],
)
def test_distortions_are_named(  # type: ignore[no-untyped-def]
    tmp_path: Path, own: list[dict[str, float]], column: str, changed, part: str, cause: str
) -> None:
    rows = [{**row, column: changed(row[column])} for row in own]
    found = hermesdsl.validate_runs(hermesdsl.compile(SPEC), table(tmp_path, rows))
    causes = found.parts[part].causes
    assert max(causes, key=lambda name: abs(causes[name])) == cause
    assert sum(causes.values()) == pytest.approx(found.parts[part].difference)
    other = next(name for name in found.parts if name != part)
    assert found.parts[other].difference == pytest.approx(0.0, abs=1e-9)


def test_params_properties_and_cases_set_a_run(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("case,main.duration [s],mean_ttft_ms\nsmall,10,1\nsmall,20,1\n")
    found = hermesdsl.validate_runs(hermesdsl.compile(SPEC), path)
    one = hermesdsl.compile(SPEC, case="small", set={"main.duration": "10 s"})
    mean = hermesdsl.run(one).data["metrics"]["ttft"]["mean"]
    assert found.predicted["mean(ttft)"][0] == pytest.approx(mean)
    assert found.predicted["mean(ttft)"][0] != found.predicted["mean(ttft)"][1]


def test_runs_that_set_nothing_share_one_prediction(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("mean_tpot_ms\n10\n12\n")
    found = hermesdsl.validate_runs(hermesdsl.compile(SPEC), path)
    assert found.predicted["mean(tpot)"][0] == found.predicted["mean(tpot)"][1]
    assert found.runs.paths == ()


def test_a_swept_table_is_one_of_runs(tmp_path: Path) -> None:
    swept = SPEC.replace("warmup = 2 s }", "warmup = 2 s; sweep places in [1, 2, 64] }")
    hermesdsl.sweep(hermesdsl.compile(swept), out=tmp_path / "swept")
    found = hermesdsl.validate_runs(hermesdsl.compile(swept), tmp_path / "swept" / "sweep.csv")
    assert found.runs.paths == ("places",)
    for name, each in found.metrics.items():
        assert each.mape is None or each.mape == pytest.approx(0.0, abs=1e-9), name
    assert {"point", "status", "verdict", "goodput [req/s]"} <= found.runs.unused.keys()


def test_seconds_read_as_milliseconds_are_suspected(
    tmp_path: Path, own: list[dict[str, float]]
) -> None:
    rows = [{**row, "mean_ttft_ms": row["mean_ttft_ms"] * 1e-3} for row in own]
    found = hermesdsl.validate_runs(hermesdsl.compile(SPEC), table(tmp_path, rows))
    assert list(found.suspects) == ["mean(ttft)"]


def test_summary_table_and_pictures(tmp_path: Path, own: list[dict[str, float]]) -> None:
    found = hermesdsl.validate_runs(hermesdsl.compile(SPEC), table(tmp_path, own))
    told = json.loads(json.dumps(found.summary()))
    assert told["runs"][0]["settings"] == {"load.rate": "1 req/s"}
    assert told["runs"][0]["figures"]["n"]["measured"] == own[0]["n"]
    assert told["columns"]["used"]["mean_latency_ms"] == "mean(e2e)"
    lines = found.csv().splitlines()
    assert lines[0].startswith("line,load.rate,measured mean(ttft) [s],predicted mean(ttft) [s]")
    assert len(lines) == 1 + len(RATES)
    drawn = of_runs(found)
    assert sorted(drawn) == [
        "e2e.svg", "makespan.svg", "n.svg", "output_throughput.svg", "tpot.svg", "ttft.svg"
    ]  # fmt: skip
    for text in drawn.values():
        ElementTree.fromstring(text)


@pytest.mark.parametrize(
    ("text", "code", "problem"),
    [
        ("places,mean_ttft_ms\n64,1\n3,1\n", "HMS306", "`places` = 3 is not in its domain"),
        ("load.rate [s],mean_ttft_ms\n4,1\n", "HMS301", "takes a request rate, found a time"),
        ("load.rate,mean_ttft_ms\nfast,1\n", "HMS201", "fast"),
        ("case,mean_ttft_ms\nlarge,1\n", "HMS607", "no case `large`"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, text: str, code: str, problem: str) -> None:
    """The line of the table is told beside what the specification says."""
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(SpecError, match=code) as caught:
        hermesdsl.validate_runs(hermesdsl.compile(SPEC), path)
    assert problem in str(caught.value)
    line = 3 if "64" in text else 2
    assert any(f"line {line} of" in note for note in caught.value.diagnostics[0].notes)


def test_only_what_was_compiled_is_validated(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="takes what hermesdsl"):
        hermesdsl.validate_runs(SPEC, tmp_path / "runs.csv")  # type: ignore[arg-type]
