"""Prefill and decode on different pools: KV moves over the links, and stays until it can."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hand_built import MODEL, AffineCost, batch, chat, generate, run, system, wires

from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import CompiledSystem, Spec
from hermesdsl.sim.pairing import local_groups

#: 1000 byte/token over links of 4000 byte/s: 4 tokens take 1 s, and 2 × 0.25 s of latency.
STAR = (("p[0].gpu", "sw", 4000.0, 0.25), ("d[0].gpu", "sw", 4000.0, 0.25))


def split(graph=None, *, hardware=None, **options):
    defaults = {"batching": Spec("chunked", {"budget": 99}), "block_size": 1}
    return system(
        graph or chat("p", "d"),
        engines={"p": 1, "d": 1},
        options=defaults | options,
        hardware=hardware or wires(*STAR, switches=["sw"]),
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


def layered(graph=None, **more):
    """As `split`, moving KV layer by layer: the last of four layers leaves when the step ends."""
    graph = graph or chat("p", "d")
    graph.graph["options"] = {"transfer": "layerwise"}
    built = split(graph, **more)
    node = built.placement.nodes["p[0]"]
    node["client"] = replace(node["client"], model=replace(MODEL, layers=4))
    return built


def test_layerwise_moves_kv_while_it_is_read():
    # 0-1 read 4 tokens; the whole takes 0.5 s of latency + 1 s from 0 on: 1.5; the last quarter
    # 0.5 + 0.25 s from 1 on: 1.75. Then two decodes.
    done = run(layered(), AffineCost(base=1.0), batch([0.0], 4, 3))
    assert done.requests["first_token_s"].tolist() == [1.0]
    assert done.requests["chat.decode.enter_s"].tolist() == [1.0]
    assert done.requests["chat.decode.start_s"].tolist() == [1.75]
    assert done.requests["finish_s"].tolist() == [3.75]
    assert (done.transfers["start_s"][0], done.transfers["end_s"][0]) == (0.0, 1.75)


def test_layerwise_ends_no_sooner_than_the_whole_at_its_rate():
    # A step of 0.25 s hides little: 0.5 + 1 s from 0 on is later than 0.25 + 0.75.
    done = run(layered(), AffineCost(base=0.25), batch([0.0], 4, 2))
    assert done.transfers["end_s"].tolist() == [1.5]
    assert done.requests["finish_s"].tolist() == [1.75]


def test_layerwise_opens_with_the_last_step_of_a_prompt():
    # Slices of 3 and 1: the second step starts at 1 and ends at 2; 2 + 0.75 is after 1 + 1.5.
    options = {"batching": Spec("chunked", {"budget": 3})}
    done = run(layered(**options), AffineCost(base=1.0), batch([0.0], 4, 2))
    assert (done.transfers["start_s"][0], done.transfers["end_s"][0]) == (1.0, 2.75)


def test_layerwise_waits_for_room_as_any_transfer_does():
    # Seven blocks. a is read 0-1, there at 1.75, and has its 4 tokens at 4.75. b is read when the
    # prefill client has room, 1.75-2.75; the decode client has none before a leaves: 4.75 + 1.5.
    done = run(layered(), AffineCost(base=1.0, kv_tokens=7), batch([0.0, 0.5], 4, [4, 2]))
    assert done.transfers["start_s"].tolist() == [0.0, 4.75]
    assert done.requests["finish_s"].tolist() == [4.75, 7.25]


def test_layerwise_refuses_what_is_too_long_when_it_is_read():
    built = layered()
    done = run(built, AffineCost(base=1.0, kv_tokens=6), batch([0.0, 0.5, 1.5], 4, [4, 1, 3]))
    assert done.counts["refused"] == 1
    assert done.counts["completed"] == 2
    assert done.requests["finish_s"][1:].tolist() == [2.0, 5.75]


def test_one_layer_is_the_transfer_of_the_whole():
    load = batch([0.0, 0.2, 0.9, 3.0], [4, 2, 7, 1], [3, 5, 2, 4])
    graph = chat("p", "d")
    graph.graph["options"] = {"transfer": "layerwise"}
    one = run(split(graph), AffineCost(base=1.0), load)
    other = run(split(), AffineCost(base=1.0), load)
    np.testing.assert_array_equal(one.requests["finish_s"], other.requests["finish_s"])


@pytest.mark.parametrize(
    ("sources", "targets", "groups"),
    [
        ((0, 1, 2, 3), (4, 5), {0: (4,), 1: (4,), 2: (5,), 3: (5,)}),
        ((0, 1), (2, 3, 4, 5), {0: (2, 3), 1: (4, 5)}),
        ((0, 1, 2), (3, 4, 5), {0: (3,), 1: (4,), 2: (5,)}),
        ((0,), (1, 2), {0: (1, 2)}),
        ((0, 1, 2), (3, 4), {0: (3,), 1: (3,), 2: (4,)}),
    ],
)
def test_local_groups(sources, targets, groups):
    assert local_groups(sources, targets) == groups


def test_local_pairing_keeps_kv_within_its_group():
    # Both prefill clients get every other request; with a global pool, decode clients take turns
    # too, whatever was read where; locally, what client 0 reads can only go to decode client 0.
    ends = [(f"{pool}[{i}].gpu", "sw", 4000.0, 0.25) for pool in "pd" for i in range(2)]
    load = batch([0.0, 0.1, 0.2, 0.3, 5.0, 5.1], 4, [2, 2, 1, 2, 2, 2])
    targets = {}
    for pairing in ("global", "local"):
        graph = chat("p", "d")
        graph.graph["options"] = {"pairing": pairing}
        built = system(
            graph, engines={"p": 2, "d": 2}, contention="none",
            options={"batching": Spec("chunked", {"budget": 99}), "block_size": 1},
            hardware=wires(*ends, switches=["sw"]),
        )  # fmt: skip
        done = run(built, AffineCost(base=1.0), load)
        assert done.requests["chat.prefill.client"].tolist() == [0, 1, 0, 1, 0, 1]
        targets[pairing] = done.requests["chat.decode.client"].tolist()
    # Request 2 has its one token and goes nowhere.
    assert targets["local"] == [2, 3, -1, 3, 2, 3]
    assert targets["global"] == [2, 3, -1, 2, 3, 2]


def big(built: CompiledSystem, size: float = 1e6, layers: int = 1) -> CompiledSystem:
    """KV of `size` bytes per token; of 1000, every message would be too small to share."""
    for _, data in built.placement.nodes(data=True):
        if "client" in data:
            model = replace(MODEL, kv_bytes_per_token=size, layers=layers)
            data["client"] = replace(data["client"], model=model)
    return built


def trunk(*, transfer: str = "full", contention: str = "fair", layers: int = 1) -> CompiledSystem:
    """Two prefill and two decode clients, a trunk of 4 MB/s between them, 1 MB per token."""
    ends = [(f"{pool}[{i}].gpu", f"s{pool}", 1e9, 0.0) for pool in "pd" for i in range(2)]
    graph = chat("p", "d")
    graph.graph["options"] = {"transfer": transfer}
    built = system(
        graph, engines={"p": 2, "d": 2}, contention=contention,
        options={"batching": Spec("chunked", {"budget": 99}), "block_size": 1},
        hardware=wires(*ends, ("sp", "sd", 4e6, 0.25), switches=["sp", "sd"]),
    )  # fmt: skip
    return big(built, layers=layers)


def test_transfers_share_the_links_that_they_have_in_common():
    # Both read 0-1. Alone, 4 MB take 1.25 s; together 2 MB/s each: 1-3.25. Then two decodes.
    load = batch([0.0, 0.0], 4, 3)
    alone = run(trunk(contention="none"), AffineCost(base=1.0), load)
    assert alone.requests["finish_s"].tolist() == [4.25, 4.25]
    done = run(trunk(), AffineCost(base=1.0), load)
    assert done.transfers["end_s"].tolist() == [3.25, 3.25]
    assert done.requests["finish_s"].tolist() == [5.25, 5.25]
    moved = done.visits["moved_s"][done.visits["stage"] == done.stages.index("chat.decode")]
    assert moved.tolist() == [2.25, 2.25]


def test_a_transfer_that_begins_later_has_its_share_from_then_on():
    load = batch([0.0, 0.6, 1.5], 4, 2)
    done = run(trunk(), AffineCost(base=1.0), load)
    assert done.transfers["start_s"].tolist() == [1.0, 1.6, 2.5]
    # b begins when a has 1.6 MB left: 2 MB/s each until 2.4. b then has 2.4 MB left, of which 0.4
    # leave at 4 MB/s until c begins, and 2 at 2 MB/s until 3.5; c's last 2 MB take until 4.
    assert done.transfers["end_s"] == pytest.approx([2.65, 3.75, 4.25], rel=1e-12)


def test_layerwise_transfers_share_and_wait_for_their_last_layer():
    # Both flows open at 0, 4 MB each in two layers, all read at 1: they have sent 2 MB at 1 and
    # have 2 MB left at 2 MB/s: 2, and 0.25 s.
    done = run(trunk(transfer="layerwise", layers=2), AffineCost(base=1.0), batch([0.0] * 2, 4, 2))
    assert done.transfers["start_s"].tolist() == [0.0, 0.0]
    assert done.transfers["end_s"].tolist() == [2.25, 2.25]
    # Read at 4: at 2 one layer each has left; the trunk then idles until 4, and 2 + 2 MB take 1 s.
    done = run(trunk(transfer="layerwise", layers=2), AffineCost(base=4.0), batch([0.0] * 2, 4, 2))
    assert done.transfers["end_s"].tolist() == [5.25, 5.25]


@pytest.mark.parametrize("transfer", ["full", "layerwise"])
def test_the_bytes_of_a_link_are_those_of_the_transfers_that_cross_it(transfer):
    load = batch([0.0, 0.1, 0.2, 0.3, 3.0], [4, 2, 7, 1, 5], [3, 5, 1, 2, 2])
    done = run(trunk(transfer=transfer, layers=3), AffineCost(base=1.0), load)
    rows = done.transfers
    assert rows["bytes"].sum() == (4 + 2 + 1 + 5) * 1e6
    carried = {(link.source, link.target): link for link in done.links}
    for index, path in enumerate(done.clients):
        for end, hop in (("source", (f"{path}.gpu", "sp")), ("target", ("sd", f"{path}.gpu"))):
            size = rows["bytes"][rows[end] == index].sum()
            assert (carried[hop].bytes if hop in carried else 0) == size
    assert carried["sp", "sd"].bytes == rows["bytes"].sum()
    assert carried["sp", "sd"].busy_s == rows["bytes"].sum() / 4e6


def test_a_decode_client_that_cannot_be_reached():
    apart = wires(("p[0].gpu", "sw", 1.0, 0.0), ("d[0].gpu", "x", 1.0, 0.0), switches=["sw", "x"])
    with pytest.raises(SpecError, match=re.escape("HMS408: no route from p[0].gpu to d[0].gpu")):
        run(split(hardware=apart), AffineCost(base=1.0), batch([0.0], 4, 3))
