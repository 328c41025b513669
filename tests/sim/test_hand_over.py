"""Prefill and decode on different pools: KV moves over the links, and stays until it can."""

from __future__ import annotations

import numpy as np
import pytest
from hand_built import MODEL, AffineCost, batch, chat, generate, run, system, wires

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Client, Group, Part, Spec
from hermesdsl.sim.transfer import Transfers

#: 1000 byte/token over links of 4000 byte/s: 4 tokens take 1 s, and 2 × 0.25 s of latency.
STAR = (("p[0].gpu", "sw", 4000.0, 0.25), ("d[0].gpu", "sw", 4000.0, 0.25))


def split(graph=None, *, hardware=None, **options):
    defaults = {"batching": Spec("chunked", {"budget": 99}), "block_size": 1}
    return system(
        graph or chat("p", "d"),
        engines={"p": 1, "d": 1},
        options=defaults | options,
        hardware=hardware or wires(*STAR, switches=["sw"]),
        contention="none",
    )


def test_the_decode_starts_when_the_kv_is_there():
    # 0-1 read; 1-2.5 move; 2.5-3.5, 3.5-4.5 decode.
    done = run(split(), AffineCost(base=1.0), batch([0.0], 4, 3))
    seen = {name: column[0] for name, column in done.requests.items()}
    assert (seen["first_token_s"], seen["last_token_s"], seen["finish_s"]) == (1.0, 4.5, 4.5)
    stage = "chat.decode"
    assert [seen[f"{stage}.{what}_s"] for what in ("enter", "start", "end")] == [1.0, 2.5, 4.5]
    assert done.clients[seen["chat.prefill.client"]] == "p[0]"
    assert done.clients[seen["chat.decode.client"]] == "d[0]"
    moved = {name: column.tolist() for name, column in done.transfers.items()}
    assert moved == {
        "request": [0], "source": [0], "target": [1], "bytes": [4000], "start_s": [1.0],
        "end_s": [2.5],
    }  # fmt: skip


def test_generate_with_a_prefill_pool_is_the_same_work():
    one = run(split(), AffineCost(base=1.0), batch([0.0, 0.3], 4, 3))
    graph = generate("d", prefill="p")
    other = run(split(graph), AffineCost(base=1.0), batch([0.0, 0.3], 4, 3))
    np.testing.assert_array_equal(one.requests["finish_s"], other.requests["finish_s"])
    assert other.requests["chat.answer.client"].tolist() == [1, 1]


def test_kv_stays_where_it_was_read_until_it_has_moved():
    # Six blocks each: the second prompt of 4 waits until the first has left, at 2.5.
    done = run(split(), AffineCost(base=1.0, kv_tokens=6), batch([0.0, 0.5], 4, 3))
    assert done.requests["chat.prefill.start_s"].tolist() == [0.0, 2.5]
    # Its KV then waits at the prefill client until the decode client has blocks, at 4.5.
    assert done.transfers["start_s"].tolist() == [1.0, 4.5]
    assert done.requests["finish_s"].tolist() == [4.5, 8.0]


def test_a_single_token_needs_no_transfer():
    done = run(split(), AffineCost(base=1.0), batch([0.0], 4, 1))
    assert done.requests["finish_s"].tolist() == [1.0]
    assert not len(done.transfers["request"])


def test_a_request_too_long_for_the_decode_client_is_refused_and_frees_its_kv():
    # The prompt fits the prefill client; with its output it holds 4 + 4 - 1 = 7 of 6.
    done = run(split(), AffineCost(base=1.0, kv_tokens=6), batch([0.0], 4, 4))
    assert done.counts["refused"] == 1


def clients(**devices: tuple[str, ...]) -> dict[str, Client]:
    part = Part("x", "chip", "Chip")
    return {
        name: Client(name, "LlmEngine", Group(paths, part, (), 0.0, 0.0), MODEL)
        for name, paths in devices.items()
    }


def test_a_transfer_alone_takes_latency_plus_bytes_over_bandwidth():
    hardware = wires(("a", "sw", 100.0, 0.5), ("b", "sw", 50.0, 0.25), switches=["sw"])
    transfers = Transfers(hardware, clients(a=("a",), b=("b",)))
    assert transfers.seconds("a", "b", 1000.0) == 0.75 + 1000.0 / 50.0


def test_striping_loads_each_link_with_its_share():
    # Two sources with links of 100 each into one target of 100: the target's link carries all.
    hardware = wires(
        ("a0", "sw", 100.0, 0.0), ("a1", "sw", 100.0, 0.0), ("b", "sw", 100.0, 0.0),
        ("c0", "sw", 100.0, 0.0), ("c1", "sw", 100.0, 0.0), switches=["sw"],
    )  # fmt: skip
    transfers = Transfers(hardware, clients(a=("a0", "a1"), b=("b",), c=("c0", "c1")))
    assert transfers.seconds("a", "b", 1000.0) == 10.0
    assert transfers.seconds("a", "c", 1000.0) == 5.0
    assert transfers.seconds("b", "a", 1000.0) == 10.0


def test_the_route_of_least_latency_is_taken_whatever_its_width():
    hardware = wires(
        ("a", "near", 10.0, 0.1), ("near", "b", 10.0, 0.1),
        ("a", "far", 1e6, 1.0), ("far", "b", 1e6, 1.0), switches=["near", "far"],
    )  # fmt: skip
    transfers = Transfers(hardware, clients(a=("a",), b=("b",)))
    assert transfers.seconds("a", "b", 100.0) == pytest.approx(0.2 + 10.0)


def test_chips_do_not_forward():
    hardware = wires(("a", "between", 10.0, 0.1), ("between", "b", 10.0, 0.1))
    transfers = Transfers(hardware, clients(a=("a",), b=("b",)))
    with pytest.raises(SpecError, match="HMS408: no route from a to b"):
        transfers.seconds("a", "b", 100.0)
