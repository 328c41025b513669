"""Tables of operator times: what is recognised, in which unit, and what is wrong with others."""

from pathlib import Path

import pytest

from hermesdsl.diagnostics import SpecError
from hermesdsl.measure.tables import of_system, read_table

AIC = "system,version,kernel_source,gemm_dtype,m,n,k,latency_ms\n"
VIDUR = (
    "device,model,n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,"
    "num_tensor_parallel_workers,op,min_ms,max_ms,mean_ms,median_ms,std_ms\n"
)


def written(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_aiconfigurator(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, AIC + "h100_sxm,0,x,bfloat16,8,4096,1024,0.05\n"))
    (row,) = table.frame.to_dict("records")
    assert table.operator == "gemm"
    assert (row["m"], row["n"], row["k"], row["dtype"]) == (8, 4096, 1024, "bf16")
    assert row["seconds"] == pytest.approx(50e-6)


def test_own_columns(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "dtype,m,n,k,seconds\nfp8,1,2,3,4e-6\n"))
    assert table.frame.iloc[0].to_dict() == {
        "m": 1, "n": 2, "k": 3, "dtype": "fp8", "system": "", "seconds": 4e-6,
    }  # fmt: skip


def test_vidur_widths(tmp_path: Path) -> None:
    """Llama-2-70B at two ways: qkv is (64 + 2 · 8) · 128 / 2 = 5120 columns of 8192 rows."""
    row = "a100,x,64,8,8192,28672,32000,True,16,2,{op},1,1,1,0.5,0\n"
    text = VIDUR + "".join(
        row.format(op=op) for op in ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "rope")
    )
    frame = read_table(written(tmp_path, text)).frame
    assert frame[["n", "k"]].to_numpy().tolist() == [[5120, 8192], [8192, 4096], [28672, 8192]]
    assert frame["seconds"].tolist() == [0.5e-3] * 3


def test_one_system_of_several(tmp_path: Path) -> None:
    rows = "h100_sxm,0,x,fp8,8,4,1,0.05\nb200_sxm,0,x,fp8,8,4,1,0.02\n"
    table = read_table(written(tmp_path, AIC + rows))
    assert of_system(table, "b200_sxm").frame["seconds"].tolist() == [2e-5]
    with pytest.raises(SpecError, match="several systems: b200_sxm, h100_sxm"):
        of_system(table, None)
    with pytest.raises(SpecError, match="no system `b20_sxm`"):
        of_system(table, "b20_sxm")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (AIC + "h,0,x,fp8,8,4,1,-0.05\n", r"line 2: `latency_ms` is -0.05, not a number above 0"),
        (AIC + "h,0,x,fp8,8,4,1,1\nh,0,x,fp8,eight,4,1,1\n", r"line 3: `m` is eight"),
        (AIC + "h,0,x,fp9,8,4,1,1\n", r"line 2: unknown dtype `fp9`"),
        (AIC, "has no rows"),
        ("a,b\n1,2\n", "is no table of an operator known here: its columns are a, b"),
        ("m,n,k\n1,2,3\n", "is no table of an operator known here"),
        ("", "is no table"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_table(written(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no file"):
        read_table(tmp_path / "absent.csv")
