"""Classes fitted to several devices, and a device predicted without its own measurements.

Errors are medians of absolute relative ones over rows above 50 µs; thresholds lie a little above
what is reached.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hermesdsl.cost import classes as shipped
from hermesdsl.measure.classes import (
    SYSTEMS,
    LeftOut,
    class_entries,
    class_text,
    left_out,
    measured_of,
)
from hermesdsl.measure.fit import Term, predict
from hermesdsl.measure.tables import Table, read_table

DATA = Path(__file__).parents[3] / "shared" / "data" / "aiconfigurator"
FILES = {
    "gemm": "gemm", "moe": "moe", "prefill": "context_attention",
    "decode": "generation_attention",
}  # fmt: skip


def table(operator: str) -> Table:
    path = DATA / f"{FILES[operator]}.csv.gz"
    if not path.exists():
        pytest.skip("no shared data beside the repository")
    return read_table(path)


def decoding(*factors: float) -> Table:
    """Decoding on the four systems, each so many times slower than the model says."""
    rows = [
        {"context": context, "sequences": sequences, "heads": 32, "kv_heads": 8, "width": 128,
         "dtype": "bf16", "seconds": 1.0}
        for context in (512.0, 2048.0, 8192.0, 32768.0) for sequences in (16.0, 64.0, 256.0)
    ]  # fmt: skip
    frames = [pd.DataFrame(rows).assign(system=name) for name in SYSTEMS]
    whole = pd.concat(frames, ignore_index=True)
    found = measured_of([Table("decode", whole, "")], "decode")["bf16"]
    model = {each.system: each.model for each in found}
    parts = [
        frame.assign(seconds=model[frame.system.iloc[0]] * factor)
        for frame, factor in zip(frames, factors, strict=True)
    ]
    return Table("decode", pd.concat(parts, ignore_index=True), "")


def test_a_device_takes_what_others_of_its_class_reach() -> None:
    """H100 and H200 twice as slow as the model: each without itself is still met, others not.

    How slow all are together does not carry over to another class.
    """
    rows = {each.system: each for each in left_out([decoding(1.0, 2.0, 2.0, 2.0)], "decode")}
    assert set(rows) == set(SYSTEMS)
    for name in ("h100_sxm", "h200_sxm"):
        assert rows[name].own_class
        assert rows[name].constants == pytest.approx(0.5)
        assert rows[name].classed < 0.02
    for name, error in (("a100_sxm", 0.0), ("b200_sxm", 0.5)):
        assert not rows[name].own_class
        assert rows[name].constants == pytest.approx(error, abs=1e-9)
        assert rows[name].classed == pytest.approx(error, abs=0.02)


def test_how_far_devices_with_much_bandwidth_stay_below_carries_over() -> None:
    """H200 has 1.43 times the bandwidth of H100 for its FLOP/s, A100 1.93 times.

    1.2 times slower there, so exp(ln 1.2 · ln(6.535/3.4) / ln(4.853/3.4)) = 1.40 times here.
    """
    rows = {each.system: each for each in left_out([decoding(1.4, 1.0, 1.2, 1.0)], "decode")}
    assert rows["a100_sxm"].constants == pytest.approx(1 - 1 / 1.4)
    assert rows["a100_sxm"].classed < 0.03
    level = class_entries(
        measured_of([decoding(1.4, 1.0, 1.2, 1.0)], "decode")["bf16"], "decode.bf16"
    )["common"][0]
    assert level.axes == ("balance", "feed")
    assert level.values[:3] == (1.0, 1.0, 1.0)


def test_devices_of_a_class_count_alike_however_many_rows_they_have() -> None:
    whole = decoding(1.0, 1.0, 1.04, 1.0)
    more = pd.concat([whole.frame, *[whole.frame[whole.frame.system == "h100_sxm"]] * 9])
    for frame in (whole.frame, more):
        devices = measured_of([Table("decode", frame, "")], "decode")["bf16"]
        grids = class_entries(devices, "decode.bf16")["hopper"]
        terms = [Term(grid.axes, grid.knots) for grid in grids]
        values = [np.log(np.array(grid.values)) for grid in grids]
        middle = np.median(predict(terms, values, devices[1].points.axes))
        assert middle == pytest.approx(-0.5 * np.log(1.04), abs=0.004)


def test_nothing_comes_of_other_tables_or_unknown_systems() -> None:
    whole = decoding(1.0, 1.0, 1.0, 1.0)
    assert left_out([whole], "gemm") == []
    strange = Table("decode", whole.frame.assign(system="none_such"), "")
    assert left_out([strange], "decode") == []
    assert left_out([], "moe") == []


def test_short_rows_alone_tell_no_error() -> None:
    whole = decoding(1.0, 1.0, 1.0, 1.0)
    short = Table("decode", whole.frame.assign(seconds=1e-6), "")
    assert left_out([short], "decode") == []


#: What is reached, in per cent, rounded up by a tenth of it: A100, H100, H200, B200.
REACHED = {
    ("gemm", "bf16"): (11.5, 8.3, 6.4, 8.9),
    ("gemm", "fp8"): (None, 10.0, 13.6, 11.2),
    ("gemm", "fp4"): (None, None, None, 13.9),
    ("moe", "bf16"): (16.6, 14.7, 14.6, 16.0),
    ("moe", "fp8"): (None, 16.0, 16.2, 15.7),
    ("moe", "fp8_block"): (None, 10.0, 9.7, 17.5),
    ("moe", "fp4"): (None, None, None, 17.5),
    ("prefill", "bf16"): (7.2, 11.3, 8.3, 9.3),
    ("prefill", "fp8"): (None, 9.7, 9.5, 8.5),
    ("decode", "bf16"): (12.7, 5.0, 5.3, 14.1),
    ("decode", "fp8"): (None, 10.4, 10.6, 8.7),
}


def check(rows: list[LeftOut]) -> None:
    for row in rows:
        limit = REACHED[row.operator, row.dtype][list(SYSTEMS).index(row.system)]
        assert limit is not None
        assert row.classed < 0.01 * limit, row
        # A class is no worse than the efficiencies it starts from, which saw the device.
        assert row.classed < row.constants + 0.01, row
        assert row.sheet < 0.94 * row.roofline, row


@pytest.mark.parametrize("operator", ["prefill", "decode"])
def test_attention_on_a_device_left_out(operator: str) -> None:
    rows = left_out([table(operator)], operator)
    assert len(rows) == 7
    check(rows)


@pytest.mark.slow
@pytest.mark.parametrize(("operator", "count"), [("gemm", 8), ("moe", 11)])
def test_products_on_a_device_left_out(operator: str, count: int) -> None:
    rows = left_out([table(operator)], operator)
    assert len(rows) == count
    check(rows)


@pytest.mark.slow
def test_the_classes_shipped_are_those_of_the_tables() -> None:
    path = Path(shipped.__file__).with_name("classes.json")
    source = next(iter(shipped.classes().values())).source
    assert class_text([table(operator) for operator in FILES], source) == path.read_text()
