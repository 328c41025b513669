"""``hermes cost`` and ``hermes calibrate``: what they print, write and refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

OWN = """\
chip Own {
    peak.bf16 = 400 TFLOPS
    hbm: Memory { capacity = 96 GiB; bandwidth = 2 TB/s }
}
"""
STEP = ("cost", "--model", "Llama3_1_8B", "--decode", "16", "--context", "100", "--json")


def test_operators_of_a_step(hermes: Any) -> None:
    """Weights of one layer are read once: 2 B · 4096 · (6144 + 4096 + 3 · 14336)."""
    code, out, _ = hermes(*STEP, "--chip", "H100")
    data = json.loads(out)
    rows = {row["operator"]: row for row in data["operators"]}
    assert code == 0
    assert data["calibration"] == "H100_kernels"
    assert data["seconds"] == pytest.approx(sum(row["total_s"] for row in rows.values()))
    assert sum(data["provenance"].values()) == pytest.approx(1.0)
    assert rows["qkv"]["rung"] == "calibrated"
    assert rows["qkv"]["flops"] == 2 * 16 * 6144 * 4096
    weights = sum(rows[n]["bytes"] for n in ("qkv", "attention out", "mlp up", "mlp down"))
    assert weights == pytest.approx(2 * 4096 * (6144 + 4096 + 3 * 14336), rel=0.02)


def test_a_chip_of_ones_own(hermes: Any, tmp_path: Path) -> None:
    (tmp_path / "own.hms").write_text(OWN)
    code, out, _ = hermes(*STEP, "--chip", "own.hms:Own")
    assert code == 0
    assert json.loads(out)["provenance"] == {"measured": 0.0, "calibrated": 0.0, "datasheet": 1.0}


def test_several_chips_take_the_links_of_a_node(hermes: Any) -> None:
    code, out, _ = hermes("cost", "--chip", "H100", "--model", "Llama3_1_70B", "--tp", "4")
    assert code == 0
    assert "all-reduce" in out
    assert "Llama3_1_70B on H100, tp 4: " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--chip", "H10", "--model", "Llama3_1_8B"), "no chip or cpu `H10`"),
        (("--chip", "H100", "--model", "Lama3_1_8B"), "did you mean `Llama3_1_8B`?"),
        (("--chip", "absent.hms:X", "--model", "Llama3_1_8B"), "names no definition"),
        (("--chip", "H100", "--model", "Llama3_1_8B", "--tp", "0"), "0 is not in the range"),
        (("--chip", "H100", "--model", "Llama3_1_8B", "--profile", "fast"), "fast"),
        (("--chip", "A100_80GB", "--model", "DeepSeek_V3"), "more devices per engine"),
    ],
)
def test_refused(hermes: Any, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = hermes("cost", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def _table(folder: Path) -> None:
    rows = [f"bf16,{m},{n},{k},{1e-5 + 4e-15 * m * n * k}"
            for m in (1, 8, 64, 512) for n in (1024, 4096) for k in (1024, 2048, 8192)]  # fmt: skip
    (folder / "gemm.csv").write_text("dtype,m,n,k,seconds\n" + "\n".join(rows) + "\n")


def test_calibrate_writes_what_compiles(hermes: Any, tmp_path: Path) -> None:
    _table(tmp_path)
    (tmp_path / "own.hms").write_text(OWN)
    code, out, err = hermes(
        "calibrate", "gemm.csv", "--chip", "own.hms:Own", "-o", "fitted.hms", "--plot", "x.svg"
    )
    assert (code, out) == (0, "")
    assert "gemm.bf16: held out " in err
    assert hermes("fmt", "--check", "fitted.hms")[0] == 0
    assert hermes("check", "fitted.hms")[0] == 0
    assert "## gemm.bf16: " in (tmp_path / "fitted.hms").read_text()
    assert (tmp_path / "x.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent.csv", "--chip", "H100"), "there is no file `absent.csv`"),
        (("gemm.csv", "--chip", "H10"), "did you mean `H100`?"),
        (("gemm.csv", "--chip", "H100", "--dtype", "fp8"), "nothing to fit"),
        (("gemm.csv", "--chip", "H100", "--system", "a100"), "has no system `a100`"),
        (("small.hms", "--chip", "H100"), "is no table"),
        (("other.csv", "--chip", "H100"), "help: gemm has dtype, m, n, k"),
        (("gemm.csv", "--chip", "H100", "-o", "no/such/x.hms"), "cannot write"),
    ],
)
def test_calibrate_refuses(
    hermes: Any, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    _table(tmp_path)
    (tmp_path / "other.csv").write_text("arrival_s,prompt\n0,1\n")
    code, _, err = hermes("calibrate", *arguments)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(("chip", "said"), [("MI300X", True), ("L40S", False), ("H100", False)])
def test_says_where_nothing_of_the_kind_was_measured(hermes: Any, chip: str, said: bool) -> None:
    code, _, err = hermes(*STEP, "--chip", chip)
    assert code == 0
    assert (f"no kernel of `{chip}` or of a class like it was measured" in err) is said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--profile", "vlm"), "did you mean `vllm`?"),
        (("--dtype", "fp9"), "did you mean `fp8`?"),
        (("--tp", "16"), "asked for 16 devices of `DGX_H100`"),
        (("--ep", "2"), "ep = 2 does not divide"),
    ],
)
def test_what_is_wrong_has_no_place_in_a_text_that_nobody_wrote(
    hermes: Any, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = hermes(*STEP, "--chip", "H100", *arguments)
    assert code == 2
    assert message in err
    assert "-->" not in err
    assert "warning" not in err
