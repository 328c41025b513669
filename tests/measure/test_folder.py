"""A folder of `hermes profile`: kernels, power, messages and copies, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from formula_device import SHEETS, FormulaDevice

import hermesdsl
from hermesdsl.cli.calibrate import part_of
from hermesdsl.cost.classes import class_links
from hermesdsl.cost.collective import Collectives
from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Fabric
from hermesdsl.measure.folder import read_folder
from hermesdsl.measure.profile.grid import Case, collective_cases
from hermesdsl.measure.profile.store import Store
from hermesdsl.measure.profile.timing import Timing
from hermesdsl.measure.tables import read_table

META = {"chip": "H200", "device": "NVIDIA H200", "driver": "1", "torch": "2.9"}
Hermes = Callable[..., "tuple[int, str, str]"]


def filled(folder: Path, *, powered: int = 12, **more: object) -> Store:
    """Products and copies of a formula, the first products with 500 W each."""
    store, device = Store(folder, {**META, **more}), FormulaDevice()
    cases = [Case("gemm", "bf16", (m, n, k)) for m in (512, 1024, 4096, 8192)
             for n in (2048, 4096, 8192) for k in (4096, 8192)]  # fmt: skip
    cases += [Case(name, "bf16", (2**n,)) for name in ("device_copy", "host_to_device")
              for n in range(10, 31, 4)]  # fmt: skip
    for number, case in enumerate(cases):
        seconds = device.formula(case)
        power = 500.0 if number < powered else None
        store.add(case, Timing(seconds, seconds, seconds, 20, power))
    return store


def with_messages(store: Store, slower: float) -> None:
    """Messages among eight and fewer that take so many times what the class says."""
    part, bandwidth = part_of("H200")
    for case in collective_cases(8, "bf16"):
        link = Fabric(case.size("members"), 1e-6, 450e9, 2)
        reached = class_links(ACCELERATOR, part, bandwidth, link)
        way = Collectives(link, reached, VLLM.overheads)
        seconds = getattr(way, case.operator)(case.operator, 1, float(case.size("bytes"))).seconds
        store.add(case, Timing(*[slower * seconds] * 3, 20))


def test_tables_are_dealt_out(tmp_path: Path) -> None:
    with_messages(filled(tmp_path / "times"), 1.0)
    found = read_folder(tmp_path / "times", 700.0)
    assert [table.operator for table in found.kernels] == ["gemm"]
    assert [table.operator for table in found.copies] == ["copy", "copy"]
    assert len(found.messages) == 4
    (power,) = found.power
    assert power.power
    assert power.frame["watts"].tolist() == [500.0] * 12
    assert set(power.frame["limit"]) == {700.0}
    # Times are those of all rows, whether their power was read or not.
    assert len(found.kernels[0].frame) == 24


@pytest.mark.parametrize("limit", ["600.00 W", 600.0, "600"])
def test_the_driver_knows_the_limit_better_than_the_data_sheet(
    tmp_path: Path, limit: object
) -> None:
    filled(tmp_path / "times", power_limit_w=limit)
    (power,) = read_folder(tmp_path / "times", 700.0).power
    assert set(power.frame["limit"]) == {600.0}


@pytest.mark.parametrize("limit", ["[N/A]", "", None, -1.0])
def test_a_limit_that_is_none(tmp_path: Path, limit: object) -> None:
    filled(tmp_path / "times", power_limit_w=limit)
    found = read_folder(tmp_path / "times", 700.0)
    assert [set(table.frame["limit"]) for table in found.power] in ([{700.0}], [])


def test_without_a_limit_there_is_no_power(tmp_path: Path) -> None:
    filled(tmp_path / "times")
    assert read_folder(tmp_path / "times", 0.0).power == ()


def test_everything_is_in_the_calibration(hermes: Hermes, tmp_path: Path) -> None:
    with_messages(filled(tmp_path / "times"), 2.0)
    code, out, err = hermes("calibrate", "times", "--chip", "H200", "--name", "Mine")
    assert code == 0
    for entry in ("gemm.bf16", "collective.all_reduce", "copy.device", "power.gemm"):
        assert f"    {entry} = [" in out
    assert "class defaults 50.0%" in out
    assert "Copies from host to device reach" in " ".join(err.split())
    assert "that way is a link of the node, not of the chip" in err
    system = hermesdsl.compile(f"""from std.nvidia.hopper import H200
{out}
chip Ours extends H200 {{ calibration = Mine }}
gpu: Ours
""")
    own = system.hardware.nodes["gpu"]["part"].calibration
    assert set(own.operators) == {"gemm", "collective", "copy"}
    assert own.power["gemm"]["bf16"].busy > 0.0


def test_power_of_too_few_shapes_is_told(hermes: Hermes, tmp_path: Path) -> None:
    filled(tmp_path / "times", powered=7)
    code, out, err = hermes("calibrate", "times", "--chip", "H200")
    assert code == 0
    assert "power.gemm" not in out
    assert "Power of gemm.bf16 is not used: it was read at 7 shapes, and 8 are needed." in err


def test_messages_of_a_chip_in_no_node_are_told(hermes: Hermes, tmp_path: Path) -> None:
    """Its links are not known; the rest of the folder is fitted all the same."""
    with_messages(filled(tmp_path / "times"), 1.0)
    (tmp_path / "own.hms").write_text(
        "chip Ours { peak.bf16 = 990 TFLOPS; power = 700 W; sms = 132\n"
        "hbm: Memory { capacity = 141 GB; bandwidth = 4.8 TB/s } }\n"
    )
    code, out, err = hermes("calibrate", "times", "--chip", "own.hms:Ours")
    assert code == 0
    assert "gemm.bf16 = [" in out
    assert "collective.all_reduce = [" not in out
    assert "Messages between GPUs are not used: no node of the library has `Ours`" in err
    code, _, err = hermes("calibrate", "times/all_reduce.csv", "--chip", "own.hms:Ours")
    assert code == 2
    assert "no node of the library has `Ours`" in err


def test_copies_alone_are_a_calibration(hermes: Hermes, tmp_path: Path) -> None:
    filled(tmp_path / "times")
    code, out, _ = hermes("calibrate", "times/device_copy.csv", "--chip", "H200")
    assert code == 0
    assert "copy.device = [" in out
    assert "gemm" not in out.partition("calibration H200_kernels")[2]


def test_a_way_to_the_host_alone_is_nothing_to_fit(hermes: Hermes, tmp_path: Path) -> None:
    filled(tmp_path / "times")
    code, _, err = hermes("calibrate", "times/host_to_device.csv", "--chip", "H200")
    assert code == 2
    assert "nothing to fit" in err


@pytest.mark.parametrize("text", ["", "operator,dtype,bytes,seconds\n"])
def test_tables_that_a_run_did_not_come_to(tmp_path: Path, text: str) -> None:
    filled(tmp_path / "times")
    (tmp_path / "times" / "decode.csv").write_text(text)
    assert [t.operator for t in read_folder(tmp_path / "times", 700.0).kernels] == ["gemm"]


def test_a_folder_without_tables(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="holds no table to fit"):
        read_folder(tmp_path, 700.0)


@pytest.mark.parametrize("operator", ["copy_somewhere", "gemm"])
def test_other_tables_of_bytes_are_no_copies(tmp_path: Path, operator: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(f"operator,bytes,seconds\n{operator},1024,1e-6\n")
    with pytest.raises(SpecError, match="is no table of an operator known here"):
        read_table(path)


def test_sheets_of_the_formula_are_those_of_the_chip() -> None:
    assert SHEETS["bf16"].bandwidth == 4.8e12
