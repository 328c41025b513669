"""Tables of messages: which rows they hold, what is fitted, and the command that does both."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

import hermesdsl
from hermesdsl.cli.app import run
from hermesdsl.cli.calibrate import near_link
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Calibration, Fabric
from hermesdsl.measure.messages import as_messages, fit_messages
from hermesdsl.measure.tables import read_table

LINK = Fabric(2, 1e-6, 450e9, 2)


def nccl(kind: str, slower: float, dtype: str = "half") -> list[dict[str, object]]:
    """Messages that take `slower` times what class defaults say; sizes in 16-bit elements."""
    rows = []
    for members in (2, 4, 8):
        for power in range(12, 28):
            way = Collectives(Fabric(members, 1e-6, 450e9, 2), ACCELERATOR, VLLM.overheads)
            seconds = getattr(way, kind)(kind, 1, 2.0 * 2**power).seconds
            name = "alltoall" if kind == "all_to_all" else kind
            rows.append({"system": "h100_sxm", "op_name": name, "nccl_dtype": dtype,
                         "num_gpus": members, "message_size": 2**power,
                         "latency_ms": seconds * slower * 1e3})  # fmt: skip
    return rows


def test_rows_of_nccl() -> None:
    """Elements of two bytes; other widths are left out; `alltoall` goes by its name here."""
    frame = pd.DataFrame([*nccl("all_to_all", 1.0), *nccl("all_gather", 1.0, "int8")])
    found = as_messages(frame)
    assert found is not None
    assert set(found["kind"]) == {"all_to_all"}
    assert found["bytes"].min() == 2.0 * 2**12
    assert not found["engine"].any()


def test_rows_of_an_engine_are_those_of_captured_graphs() -> None:
    row = {"allreduce_dtype": "bfloat16", "num_gpus": 8, "message_size": 8192, "latency_ms": 5e-3}
    found = as_messages(pd.DataFrame([{**row, "backend": b} for b in ("vllm_graph", "vllm_eager")]))
    assert found is not None
    assert found[["kind", "members", "bytes", "engine"]].to_numpy().tolist() == [
        ["all_reduce", 8, 16384.0, True]
    ]


def test_rows_across_nodes_are_left_out() -> None:
    row = {"network": "a100_dgx", "collective": "send_recv", "size_bytes": 1024, "median_ms": 0.02}
    frame = pd.DataFrame([{**row, "num_workers": 2, "devices_per_node": n} for n in (1, 2)])
    found = as_messages(frame)
    assert found is not None
    assert found[["kind", "members", "system"]].to_numpy().tolist() == [["p2p", 2, "a100_dgx"]]


def test_other_tables_are_none() -> None:
    assert as_messages(pd.DataFrame({"m": [1], "n": [1], "k": [1], "seconds": [1.0]})) is None


def test_a_constant_slowness_is_found_and_used() -> None:
    """Twice as slow as the class: through grids, calibration and `Collectives`."""
    frame = as_messages(pd.DataFrame(nccl("all_gather", 2.0)))
    assert frame is not None
    frame["seconds"] = frame["latency_ms"] * 1e-3
    fit = fit_messages([frame], LINK, ACCELERATOR)["all_gather"]
    assert (fit.rows, len(fit.predicted)) == (48, 48)
    assert fit.error < 0.005
    assert fit.held < 0.02
    assert fit.plain == pytest.approx(0.5, abs=0.001)
    made = Calibration("x", {"collective": {"all_gather": fit.grids}})
    eight = Fabric(8, 1e-6, 450e9, 2)
    plain = Collectives(eight, ACCELERATOR, VLLM.overheads)
    slower = Collectives(eight, ACCELERATOR, VLLM.overheads, made)
    ratio = slower.all_gather("x", 1, 1e7).seconds / plain.all_gather("x", 1, 1e7).seconds
    assert ratio == pytest.approx(2.0, rel=0.01)


def test_an_engines_own_all_reduce_goes_before_that_of_nccl() -> None:
    slow = as_messages(pd.DataFrame(nccl("all_reduce", 3.0)))
    own = as_messages(pd.DataFrame(nccl("all_reduce", 1.0)))
    assert slow is not None
    assert own is not None
    own["engine"] = True
    for frame in (slow, own):
        frame["seconds"] = frame["latency_ms"] * 1e-3
    assert fit_messages([slow, own], LINK, ACCELERATOR)["all_reduce"].plain < 0.001


def test_one_command_writes_them_beside_kernels(tmp_path: Path) -> None:
    """The text compiles, and names its command."""
    table = tmp_path / "nccl.csv"
    pd.DataFrame(nccl("all_gather", 2.0)).to_csv(table, index=False)
    target, plot = tmp_path / "ours.hms", tmp_path / "ours.svg"
    arguments = ["calibrate", str(table), "--chip", "H100", "--name", "Ours", "-o", str(target),
                 "--plot", str(plot)]  # fmt: skip
    assert run(arguments) == 0
    text = target.read_text()
    assert "collective.all_gather: messages above 4 MB" in text
    assert "hermes calibrate nccl.csv --chip H100 --name Ours" in " ".join(text.split())
    assert plot.read_text().startswith("<svg")
    hermesdsl.compile(text)


def test_links_of_a_chip_are_those_of_its_node() -> None:
    """NVLink 4 over one switch: 18 lanes of 25 GB/s."""
    link = near_link("H100")
    assert (link.size, link.hops) == (2, 2)
    assert link.bandwidth == pytest.approx(450e9)


def test_a_chip_of_no_node_has_no_links() -> None:
    with pytest.raises(SpecError) as raised:
        near_link("RTX_4090")
    assert "no node of the library has `RTX_4090`" in raised.value.diagnostics[0].message


@pytest.mark.parametrize("value", [0, -1, math.inf, "many"])
def test_a_size_that_is_none(tmp_path: Path, value: object) -> None:
    rows = nccl("all_gather", 1.0)
    rows[3]["num_gpus"] = value
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SpecError) as raised:
        read_table(tmp_path / "t.csv")
    assert "line 5" in raised.value.diagnostics[0].message
