"""Classes of devices by data sheet, and which of what they know a device takes."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hermesdsl.cost.attention import calibrate, decode, decode_reach, plain_shape
from hermesdsl.cost.classes import (
    CLASSES,
    class_links,
    class_name,
    class_of,
    class_reach,
    classes,
)
from hermesdsl.cost.constants import ACCELERATOR, VLLM
from hermesdsl.cost.device import Device
from hermesdsl.cost.gemm import Gemm
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Calibration, Fabric, Grid, Part
from hermesdsl.schema.calibration import COORDINATES


def chip(sms: int, bf16: float, kind: str = "chip", family: str = "gpu") -> Part:
    peak = {"bf16": bf16, "fp8": 2 * bf16}
    return Part("x", kind, "X", peak=peak, sms=sms, options={"family": family})


@pytest.mark.parametrize(
    ("sms", "bf16", "bandwidth", "name"),
    [
        (108, 312e12, 2.039e12, "ampere"),  # A100
        (56, 165e12, 0.933e12, "ampere"),  # A30
        (114, 756e12, 2.0e12, "hopper"),  # H100 PCIe
        (132, 989e12, 4.8e12, "hopper"),  # H200
        (152, 2500e12, 8e12, "blackwell"),  # GB200
        (142, 362e12, 0.864e12, "common"),  # L40S, 2.5e12 per SM and 6 GB/s
        (58, 121e12, 0.3e12, "common"),  # L4
        (188, 467.8e12, 1.597e12, "common"),  # RTX PRO 6000
        (304, 1307e12, 5.3e12, None),  # MI300X: 4.3e12 per compute unit
        (256, 2517e12, 8e12, None),  # MI355X: 9.8e12
    ],
)
def test_a_data_sheet_tells_the_class(
    sms: int, bf16: float, bandwidth: float, name: str | None
) -> None:
    assert class_name(chip(sms, bf16), bandwidth) == name


@pytest.mark.parametrize(
    "part", [chip(0, 1e15), chip(132, 989e12, family="tpu"), chip(96, 1e14, kind="cpu")]
)
def test_no_class_without_multiprocessors_or_of_another_family(part: Part) -> None:
    assert class_name(part, 1e12) is None
    assert class_of(part, 1e12) is None


def test_classes_have_the_common_entries_and_axes_that_exist() -> None:
    found = classes()
    assert tuple(found) == CLASSES
    common = found["common"].operators
    for made in found.values():
        for operator, entries in common.items():
            assert set(entries) <= set(made.operators[operator])
        for operator, entries in made.operators.items():
            for grids in entries.values():
                for grid in grids:
                    assert set(grid.axes) <= set(COORDINATES[operator])
                    size = 1
                    for knots in grid.knots:
                        assert list(knots) == sorted(set(knots))
                        size *= len(knots)
                    assert len(grid.values) == size


def hopper(bandwidth: float, calibration: Calibration | None = None) -> Device:
    part = chip(132, 989e12)
    return Device(
        989e12, bandwidth, 132, False, ACCELERATOR, VLLM.overheads, "bf16", calibration,
        class_of(part, bandwidth),
    )  # fmt: skip


def test_an_entry_of_the_chip_itself_comes_first_and_others_stay_with_the_class() -> None:
    own = Calibration("own", {"decode": {"fp8": (Grid((), (), (0.5,)),)}})
    device = hopper(3.35e12, own)
    assert not class_reach(device, "decode", "fp8")
    assert decode_reach(device, "fp8").rung == "calibrated"
    assert class_reach(device, "decode", "bf16")
    assert decode_reach(device, "bf16").rung == "datasheet"
    assert not class_reach(device, "prefill", "bf16")


def test_an_entry_without_a_type_of_its_own_is_none() -> None:
    assert not class_reach(hopper(3.35e12), "decode", "fp4")
    assert not class_reach(hopper(3.35e12), "gemm", "fp8")


def seconds(bandwidth: float, dtype: str, sequences: float, context: float) -> float:
    device = hopper(bandwidth)
    shape = plain_shape(32, 8, 128, 1.0 if dtype == "fp8" else 2.0)
    layer = calibrate(
        decode(device, shape, sequences), shape, sequences, decode_reach(device, dtype), device
    )
    last = [piece for piece in layer.pieces() if piece.start <= sequences * context][-1]
    return last.a + last.b * sequences * context


def test_narrow_kv_is_bound_by_multiprocessors_on_hopper() -> None:
    """H100 and H200 read KV of 8 bits at the same 2.6 TB/s; of 16 bits each at 0.9 of its own."""
    few, many = seconds(3.35e12, "fp8", 64, 8192.0), seconds(4.8e12, "fp8", 64, 8192.0)
    assert many == pytest.approx(few, rel=0.03)
    bytes_ = 2 * 8 * 128 * 64 * 8192.0
    assert bytes_ / many == pytest.approx(2.6e12, rel=0.08)
    wide, faster = seconds(3.35e12, "bf16", 64, 8192.0), seconds(4.8e12, "bf16", 64, 8192.0)
    assert wide / faster == pytest.approx(4.8 / 3.35, rel=0.03)


@pytest.mark.parametrize("dtype", ["bf16", "fp8"])
@pytest.mark.parametrize("sequences", [1.0, 7.0, 64.0])
def test_no_context_takes_less_than_a_shorter_one(dtype: str, sequences: float) -> None:
    times = [seconds(4e12, dtype, sequences, 1.3**n) for n in range(45)]
    assert times == sorted(times)


def test_a_narrow_product_waits_for_its_input_to_be_quantised() -> None:
    """A row takes 0.73 µs and 0.27 ns a value on one of 100 multiprocessors; wide inputs none."""
    device = Device(1e15, 2e12, 100, True, ACCELERATOR, VLLM.overheads, "fp8")
    none = replace(ACCELERATOR, quantise_row=0.0, quantise_value=0.0)
    with_it = Gemm(device, 1.0, 1.0).operator("x", 1, 4096, 512, 2048).seconds
    without = Gemm(replace(device, efficiencies=none), 1.0, 1.0).operator("x", 1, 4096, 512, 2048)
    assert with_it - without.seconds == pytest.approx(40.96 * (0.73e-6 + 2048 * 0.27e-9))
    wide = replace(device, narrow=False)
    same = replace(wide, efficiencies=none)
    assert (
        Gemm(wide, 2.0, 2.0).operator("x", 1, 4096, 512, 2048).seconds
        == Gemm(same, 2.0, 2.0).operator("x", 1, 4096, 512, 2048).seconds
    )


def test_an_engine_on_a_chip_without_calibration_stands_on_its_data_sheet(
    build: SimpleNamespace,
) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    none = replace(on, part=replace(on.part, options={"family": "asic"}))
    work = StepWork(32, 32, decodes=32, decode_context=32 * 4096.0)
    classed, plain = (
        {op.name: op for op in build.engine(build.mixtral, g).breakdown(work)} for g in (on, none)
    )
    assert {op.rung for op in classed.values()} == {"datasheet"}
    assert classed["attention decode"].seconds != plain["attention decode"].seconds
    assert classed["experts up"].seconds != plain["experts up"].seconds
    assert classed["qkv"].seconds == plain["qkv"].seconds


@pytest.mark.parametrize(
    ("part", "bandwidth", "fabric", "link"),
    [
        (chip(132, 989e12), 3.35e12, Fabric(8, 1e-6, 450e9, 2), 1.0),  # H100 over NVSwitch
        (chip(108, 312e12), 2.0e12, Fabric(8, 1e-6, 300e9, 2), 0.91),  # A100
        (chip(114, 756e12), 2.0e12, Fabric(2, 1e-6, 64e9, 2), ACCELERATOR.link),  # PCIe
        (chip(132, 989e12), 3.35e12, Fabric(16, 2e-6, 400e9, 4), ACCELERATOR.link),  # far away
        (chip(304, 1307e12), 5.3e12, Fabric(8, 1e-6, 448e9, 1), ACCELERATOR.link),  # no class
    ],
)
def test_links_of_a_class_are_nvlink_between_near_devices(
    part: Part, bandwidth: float, fabric: Fabric, link: float
) -> None:
    assert class_links(ACCELERATOR, part, bandwidth, fabric).link == link
