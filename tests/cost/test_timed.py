"""Measured layers: what their tables hold, what lies between their rows, and bad tables."""

import gzip
from pathlib import Path
from types import SimpleNamespace

import pytest

from hermesdsl.cost.bind import diagnose, engine_cost
from hermesdsl.cost.constants import ACCELERATOR, NONE
from hermesdsl.cost.llm import DataSheetCost
from hermesdsl.cost.profiled import ProfiledCost
from hermesdsl.cost.provenance import shares
from hermesdsl.cost.timed import Curve, LayerTimes, read_times
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Spec

DENSE = "layer,tokens,time_us\nqkv_proj,1,40\nqkv_proj,64,60\nlayernorm,1,2\nlayernorm,64,4\n"
HEAD = "layer,sequences,time_us\nlm_head,1,700\nlm_head,8,720\n"
ATTENTION = """prefill_chunk,kv_prefill,n_decode,kv_decode,time_us
0,0,1,16,8
0,0,1,1024,16
0,0,4,16,10
0,0,4,1024,32
64,0,0,0,20
64,512,0,0,40
64,0,4,16,50
64,0,4,1024,90
"""
SKEW = "regime,n,t_mean_us,t_skew_us\npure,4,10,11\npure,4,10,14.4\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("dense", DENSE), ("per_sequence", HEAD), ("attention", ATTENTION)):
        (tmp_path / f"tp1_{name}.csv").write_text(text, encoding="utf-8")
    return tmp_path


def flat(*_: object) -> float:
    return 1e-6


def test_tables_are_read_plain_and_packed(folder: Path) -> None:
    whole = read_times(str(folder), 1)
    assert whole.dense["qkv_proj"].sizes == (1.0, 64.0)
    assert whole.dense["qkv_proj"].seconds == pytest.approx((40e-6, 60e-6))
    packed = folder / "packed"
    packed.mkdir()
    for file in folder.glob("*.csv"):
        (packed / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    assert read_times(str(packed), 1).attention == whole.attention


def test_a_curve_meets_its_rows_and_is_log_linear_between() -> None:
    curve = Curve((1.0, 4.0), (10e-6, 40e-6))
    assert curve.reached(4.0, flat) == (pytest.approx(1 / 40), True)
    # Half way in the logarithm of the size: the geometric mean of 10 and 40 µs.
    assert curve.reached(2.0, flat) == (pytest.approx(1 / 20), True)
    assert curve.reached(9.0, flat) == (pytest.approx(1 / 40), False)
    assert curve.reached(0.5, flat) == (pytest.approx(1 / 10), False)


def test_attention_meets_its_rows_and_says_where_it_left_them(folder: Path) -> None:
    times = read_times(str(folder), 1)
    for point, seconds in (
        ((0.0, 0.0, 4.0, 1024.0), 32e-6),
        ((64.0, 512.0, 0.0, 0.0), 40e-6),
        ((64.0, 0.0, 4.0, 16.0), 50e-6),
    ):
        assert times.reached(point, flat) == (pytest.approx(1e-6 / seconds), True)
    # Beyond 1024 tokens and beyond 4 sequences: the edge, and not inside.
    assert times.reached((0.0, 0.0, 9.0, 4096.0), flat) == (pytest.approx(1 / 32), False)
    # Between 16 and 1024 tokens the logarithm of context + 16 is half way at 166.3: √(10 · 32) µs.
    between, inside = times.reached((0.0, 0.0, 4.0, (32 * 1040) ** 0.5 - 16), flat)
    assert (between, inside) == (pytest.approx((1 / 320) ** 0.5), True)


def test_uneven_contexts_take_longer_as_measured(folder: Path) -> None:
    even = read_times(str(folder), 1)
    (folder / "more").mkdir()
    for file in folder.glob("*.csv"):
        (folder / "more" / file.name).write_text(file.read_text())
    (folder / "more" / "tp1_skew.csv").write_text(SKEW)
    uneven = read_times(str(folder / "more"), 1)
    point = (0.0, 0.0, 4.0, 1024.0)
    # Geometric mean of 1.1 and 1.44.
    ratio = even.reached(point, flat)[0] / uneven.reached(point, flat)[0]
    assert ratio == pytest.approx((1.1 * 1.44) ** 0.5)
    alone = (0.0, 0.0, 1.0, 1024.0)
    assert uneven.reached(alone, flat) == even.reached(alone, flat)


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("dense", None, "no `tp1_dense.csv`"),
        ("dense", "layer,tokens\nqkv_proj,1\n", "no column `time_us`"),
        ("dense", "layer,tokens,time_us\n", "no rows"),
        ("dense", "layer,tokens,time_us\nqkv_proj,one,3\n", "line 2 of `tp1_dense.csv`: `one`"),
        ("dense", "layer,tokens,time_us\nqkv_proj,0,3\n", "no size or time"),
        ("per_sequence", "layer,sequences,time_us\nlm_head,1,nan\n", "no size or time"),
        ("attention", ATTENTION.replace("0,0,1,16,8", "0,0,1,16,0"), "line 2"),
        ("attention", ATTENTION.replace("0,0,1,16,8", "0,0,-1,16,8"), "line 2"),
    ],
)
def test_bad_tables_are_told(folder: Path, name: str, text: str | None, wrong: str) -> None:
    file = folder / f"tp1_{name}.csv"
    if text is None:
        file.unlink()
    else:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=wrong):
        read_times(str(folder), 1)


def test_a_packed_table_that_is_cut_short_is_told(folder: Path) -> None:
    (folder / "tp1_dense.csv").unlink()
    (folder / "tp1_dense.csv.gz").write_bytes(gzip.compress(DENSE.encode())[:20])
    with pytest.raises(ValueError, match="cannot be read"):
        read_times(str(folder), 1)


def costs(build: SimpleNamespace, times: LayerTimes) -> tuple[ProfiledCost, DataSheetCost]:
    on = build.group(build.sheets["h100"])
    model = build.dense("small", (4096, 32, 14336, 128256, 32, 8))
    return ProfiledCost(model, on, {}, ACCELERATOR, NONE, times), build.engine(model, on)


def test_an_engine_takes_what_was_measured(build: SimpleNamespace, folder: Path) -> None:
    cost, _ = costs(build, read_times(str(folder), 1))
    ops = {op.name: op for op in cost.breakdown(StepWork(4, 4, decodes=4, decode_context=4096.0))}
    assert ops["attention decode"].seconds == pytest.approx(32e-6, rel=1e-3)
    assert {ops[n].rung for n in ("qkv", "norms", "attention decode", "lm head")} == {"measured"}
    assert ops["mlp up"].rung == "datasheet"
    full = {op.name: op for op in cost.breakdown(StepWork(64, 1, 1, 64, 64 * 65 / 2, 64.0))}
    assert full["qkv"].seconds == pytest.approx(60e-6)
    # A layer has two norms of 4 µs.
    assert full["norms"].seconds == pytest.approx(8e-6)
    assert full["attention prefill"].seconds == pytest.approx(20e-6)


def test_prompts_and_decodes_of_a_step_are_looked_up_together(
    build: SimpleNamespace, folder: Path
) -> None:
    cost, _ = costs(build, read_times(str(folder), 1))
    work = StepWork(68, 5, 1, 64, 64 * 65 / 2, 64.0, 4, 4 * 1024.0)
    ops = cost.breakdown(work)
    both = sum(op.seconds for op in ops if op.name.startswith("attention ") and op.bytes)
    both -= next(op.seconds for op in ops if op.name == "attention out")
    assert both == pytest.approx(90e-6, rel=1e-3)
    assert cost.step(work) == pytest.approx(sum(op.count * op.seconds for op in ops), rel=1e-9)


def test_a_step_and_a_run_of_one_step_agree(build: SimpleNamespace, folder: Path) -> None:
    cost, _ = costs(build, read_times(str(folder), 1))
    for decodes, context in ((1, 100.0), (3, 2000.0), (200, 1e6)):
        work = StepWork(decodes, decodes, decodes=decodes, decode_context=context)
        run = cost.decode_run(decodes, context)
        assert cost.step(work) == run.seconds(1)
        starts = [piece.start for piece in run.pieces]
        assert starts == sorted(set(starts))


def test_far_outside_the_tables_the_model_goes_on(build: SimpleNamespace, folder: Path) -> None:
    cost, sheet = costs(build, read_times(str(folder), 1))
    at = [StepWork(4, 4, decodes=4, decode_context=4 * n) for n in (65536.0, 131072.0)]
    grown = [c.step(at[1]) - c.step(at[0]) for c in (cost, sheet)]
    free = {op.name: op for op in cost.breakdown(at[1])}["attention decode"]
    assert free.rung == "calibrated"
    assert 0.05 < grown[0] / grown[1] < 20.0
    assert shares(cost.breakdown(at[1])).fractions()["calibrated"] > 0.5


def test_several_stages_or_ranks_are_refused(build: SimpleNamespace, folder: Path) -> None:
    times = read_times(str(folder), 1)
    for ways in ({"pp": 2}, {"dp": 2}):
        on = build.group(build.sheets["h100"], **ways)
        with pytest.raises(ValueError, match="one stage and one rank"):
            ProfiledCost(build.llama, on, {}, ACCELERATOR, NONE, times)


def test_an_engine_that_names_tables_gets_them(build: SimpleNamespace, folder: Path) -> None:
    model = build.dense("small", (4096, 32, 14336, 128256, 32, 8))
    on = build.group(build.sheets["h100"])
    client = build.client(model, on, measured=Spec("layers", {"file": str(folder)}))
    assert diagnose(client) == []
    assert isinstance(engine_cost(client), ProfiledCost)


def test_tables_that_cannot_serve_an_engine_are_told(build: SimpleNamespace, folder: Path) -> None:
    named = {"measured": Spec("layers", {"file": str(folder)})}
    sheet = build.sheets["h100"]
    missing = build.client(build.llama, build.group(sheet, tp=4), **named)
    assert [d.code for d in diagnose(missing) if d.is_error] == ["HMS603"]
    for model, on in (
        (build.llama, build.group(sheet, tp=4, pp=2)),
        (build.llama, build.group(sheet, tp=4, dp=2)),
        (build.mixtral, build.group(sheet, tp=4)),
    ):
        found = [d.code for d in diagnose(build.client(model, on, **named)) if d.is_error]
        assert found == ["HMS506"]
