"""The accuracy command: on made-up measurements, and on a fast part of the real ones."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy.clean import rows_of
from benchmarks.accuracy.report import Figure, spearman

SHARED = Path(__file__).parents[2] / "shared" / "data"
#: Data sheet of H100 in bf16.
PEAK, BANDWIDTH = 989.4e12, 3.35e12

Row = Mapping[str, Any]


def store(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = list(rows)
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, list(listed[0]))
        writer.writeheader()
        writer.writerows(listed)


def product(system: str, m: int, n: int, k: int, slower: float, **changed: Any) -> dict[str, Any]:
    """A product that takes `slower` times what peak and bandwidth of H100 alone would."""
    seconds = max(2 * m * n * k / PEAK, 2 * (m * n + m * k + n * k) / BANDWIDTH)
    row = {"system": system, "kernel_source": "vllm_default", "gemm_dtype": "bfloat16", "m": m,
           "n": n, "k": k, "latency_ms": slower * seconds * 1e3}  # fmt: skip
    return {**row, **changed}


def folder(path: Path) -> Path:
    """Tables of every sort of kernel: a known chip, a strange one, and rows that are no rows."""
    files = path / "aiconfigurator"
    sizes = list(itertools.product((512, 2048, 8192), (4096, 8192), (4096, 8192)))
    sizes += [(m * 3, n, k) for m, n, k in sizes]
    products = [product(system, *size, 1.5) for system in ("h100_sxm", "h200_sxm", "mars")
                for size in sizes]  # fmt: skip
    products.append(product("h100_sxm", 4096, 4096, 4096, 1.5, latency_ms="n/a"))
    products.append(product("h100_sxm", 4096, 4096, 4096, 1.5, gemm_dtype="int3"))
    products.append(product("h100_sxm", 4096, 4096, 4096, 1.5, gemm_dtype="nvfp4"))
    store(files / "gemm.csv.gz", products)
    heads = {"system": "h100_sxm", "kernel_source": "fa", "attn_dtype": "bfloat16",
             "kv_cache_dtype": "bfloat16", "num_heads": 32, "num_key_value_heads": 8,
             "head_dim": 128}  # fmt: skip
    grid = list(itertools.product((8, 32, 64, 128), (1024, 2048, 4096, 8192, 16384, 32768)))
    store(files / "context_attention.csv.gz", [
        {**heads, "batch_size": b, "isl": s, "step": 0,
         "latency_ms": 8 * 32 * 128 * b * s * s / 4 / PEAK * 1e3} for b, s in grid])  # fmt: skip
    store(files / "generation_attention.csv.gz", [
        {**heads, "batch_size": b, "isl": 1, "step": s,
         "latency_ms": 4 * 8 * 128 * b * s / BANDWIDTH * 1.2e3} for b, s in grid])  # fmt: skip
    layer = {"system": "h100_sxm", "kernel_source": "moe", "moe_dtype": "bfloat16",
             "hidden_size": 4096, "inter_size": 14336, "num_experts": 8, "moe_tp_size": 1,
             "moe_ep_size": 1, "distribution": "balanced"}  # fmt: skip
    counts = itertools.product((1, 4, 16, 64, 256, 512, 1024, 2048, 4096, 8192), (1, 2, 4))
    layers = [{**layer, "num_tokens": t, "topk": k, "latency_ms": 1.0 + t / 500}
              for t, k in counts]  # fmt: skip
    layers += [{**layers[0], "distribution": "odd"}, {**layers[0], "topk": 9}]
    store(files / "moe.csv.gz", layers)
    store(files / "custom_allreduce.csv.gz", [
        {"system": system, "backend": "vllm_graph", "allreduce_dtype": "bfloat16",
         "num_gpus": n, "message_size": 2**p, "latency_ms": 2**p * 2 / 300e9 * 1e3}
        for system in ("h100_sxm", "mars") for n in (2, 8) for p in range(12, 28)])  # fmt: skip
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """What the whole command writes for that folder: the page, the figures, where it stands."""
    where = tmp_path_factory.mktemp("accuracy")
    data = folder(where / "data")
    arguments = ["--data", str(data), "-o", str(where / "page.md"), "--quiet", "--jobs", "1"]
    status = command.main([*arguments, "--json", str(where / "page.json")])
    assert status == 0
    figures = json.loads((where / "page.json").read_text())
    return (where / "page.md").read_text(), figures, where


Page = tuple[str, dict[str, Any], Path]


def test_every_part_stands_on_the_page(page: Page) -> None:
    text, figures, _ = page
    assert list(figures) == list(command.PARTS)
    for each in figures.values():
        assert f"## {each['title']}" in text
        assert each["figures"] or each["missing"]


@pytest.mark.parametrize("name", ["gemm", "prefill", "decode", "moe", "messages"])
def test_smooth_measurements_are_met_where_they_were_not_seen(page: Page, name: str) -> None:
    """All kernels here are of one formula: a fit of four fifths of the shapes meets the others."""
    held = next(f for f in page[1][name]["figures"] if "held out" in f["name"])
    assert held["value"] < 0.10
    assert held["n"] > 10


def test_what_cannot_be_used_is_counted_and_named(page: Page) -> None:
    skipped = " ".join(page[1]["gemm"]["skipped"])
    assert "24 of `mars`" in skipped
    assert "1 rows whose `latency_ms` is no number above 0" in skipped
    assert "unknown `gemm_dtype`: 1 of `int3`" in skipped
    assert "1 rows of `fp4`: no peak of it on H100" in skipped
    skipped = " ".join(page[1]["moe"]["skipped"])
    assert "unknown `distribution`: 1 of `odd`" in skipped
    assert "1 rows choose more experts than there are" in skipped
    assert "32 of `mars`" in " ".join(page[1]["messages"]["skipped"])


def test_parts_without_a_file_say_so(page: Page) -> None:
    assert "not in the folder" in page[1]["closed_loop"]["missing"]
    assert "Not available: " in page[0]


def test_the_device_left_out_is_predicted_from_the_other(page: Page) -> None:
    """Products in bf16 have no class of their own: by the constants, 1.5 × roofline is near."""
    left = next(f for f in page[1]["gemm"]["figures"] if "device left out" in f["name"])
    assert left["value"] < 0.25
    assert left["n"] > 40


def test_the_picture_stands_beside_the_page(page: Page) -> None:
    text, _, where = page
    assert "](images/accuracy_kernels.svg)" in text
    root = ElementTree.fromstring((where / "images" / "accuracy_kernels.svg").read_text())
    assert root.tag.endswith("svg")


def test_a_part_that_breaks_is_told_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_data: Path, _say: Callable[[str], None]) -> None:
        raise ZeroDivisionError("nothing left")

    monkeypatch.setitem(command.PARTS, "moe", broken)  # type: ignore[arg-type]
    arguments = ["moe", "messages", "--data", str(folder(tmp_path)), "--quiet", "--jobs", "1"]
    assert command.main(arguments) == 1
    told = capsys.readouterr().out
    assert "failed: ZeroDivisionError: nothing left" in told
    assert "All-reduce above 4 MB" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nonsense"], "no part `nonsense`"), (["--data", "nowhere"], "there is no folder `nowhere`")],
)
def test_wrong_arguments(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "gemm.csv.gz").write_bytes(b"not gzip")
    found = rows_of(tmp_path / "gemm.csv.gz")
    assert found.frame is None
    assert "no table" in found.skipped[0]
    store(tmp_path / "other.csv.gz", [{"a": 1, "b": 2}])
    found = rows_of(tmp_path / "other.csv.gz")
    assert found.frame is None
    assert "its columns are a, b" in found.skipped[-1]


def test_ranks() -> None:
    """Equal values share the mean of their ranks: 1, 2.5, 2.5, 4 against 1, 2, 3, 4 is 0.9487."""
    one = np.array([1.0, 2.0, 2.0, 3.0])
    assert spearman(one, np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(0.9486833)
    assert spearman(one, -one) == pytest.approx(-1.0)
    assert np.isnan(spearman(one, np.ones(4)))
    assert np.isnan(spearman(one[:2], one[:2]))


def test_verdicts() -> None:
    error = Figure("x", 0.08, 1, "", must=0.08, aim=0.04)
    assert (error.verdict(error.must), error.verdict(error.aim)) == ("met", "missed")
    rank = Figure("x", 0.96, 1, "", must=0.95, aim=0.98, more=True, unit="")
    assert (rank.verdict(rank.must), rank.verdict(rank.aim)) == ("met", "missed")
    assert error.verdict(None) == ""


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared measurements are not here")
def test_messages_that_were_measured() -> None:
    """The fast part of the real page: all-reduce above 4 MB within what must be reached."""
    made = command.part("messages", SHARED, quiet=True)
    reached = {figure.name: figure for figure in made.figures}
    held = reached["All-reduce above 4 MB: message held out, median APE"]
    assert held.n > 80
    assert held.verdict(held.must) == "met"
    assert reached["All-reduce above 4 MB: class defaults, median APE"].value < 0.15
