"""Texts by identity: what shares blocks with what, worked out by hand."""

from __future__ import annotations

import numpy as np

from hermesdsl.sim.identity import Identities
from hermesdsl.sim.load import merge
from hermesdsl.sim.requests import Blocks, RequestBatch


def batch(name: str, prompts: list[int], **more: object) -> RequestBatch:
    n = len(prompts)
    columns: dict[str, object] = {
        "session": np.full(n, -1), "prefix": np.full(n, -1), "prefix_tokens": np.zeros(n, int),
    }  # fmt: skip
    columns |= more
    return RequestBatch(
        name, np.arange(n, dtype=float), np.array(prompts), np.full(n, 10), np.zeros(n, np.int32),
        priority=np.zeros(n, np.int32), **columns,  # type: ignore[arg-type]
    )  # fmt: skip


TRACE = Blocks(np.array([7, 8, 9, 7, 8, 5]), np.array([0, 3, 6]), 512)


def test_equal_ids_of_a_trace_are_equal_blocks_cut_or_joined() -> None:
    texts = Identities(merge([batch("t", [1536, 1536], blocks=TRACE)], None))
    for size, shared in ((256, 4), (512, 2), (1024, 1)):
        one, other = texts.chain(0, 1536, size), texts.chain(1, 1536, size)
        assert len(one) == len(other) == 1536 // size
        assert [a == b for a, b in zip(one, other, strict=True)] == [
            index < shared for index in range(len(one))
        ]


def test_what_a_trace_does_not_tell_is_the_requests_own() -> None:
    texts = Identities(merge([batch("t", [1536, 1536], blocks=TRACE)], None))
    one, other = texts.chain(0, 2048, 512), texts.chain(1, 2048, 512)
    assert one[:3] == texts.chain(0, 1536, 512)
    assert one[3] != other[3]


def test_sizes_that_do_not_divide_share_nothing() -> None:
    texts = Identities(merge([batch("t", [1536, 1536], blocks=TRACE)], None))
    assert not set(texts.chain(0, 1536, 300)) & set(texts.chain(1, 1536, 300))


def test_traces_of_two_workloads_do_not_mix() -> None:
    loads = [batch("t", [1536, 1536], blocks=TRACE), batch("u", [1536, 1536], blocks=TRACE)]
    texts = Identities(merge(loads, None))
    assert not set(texts.chain(0, 1536, 512)) & set(texts.chain(1, 1536, 512))


def test_turns_of_a_session_share_their_history_and_others_only_the_prefix() -> None:
    made = batch(
        "s", [100, 100, 100], session=np.array([4, 4, 5]), prefix=np.array([2, 2, 2]),
        prefix_tokens=np.array([40, 40, 40]), grows=True,
    )  # fmt: skip
    texts = Identities(merge([made], None))
    first, later, stranger = (texts.chain(request, 140, 16) for request in range(3))
    assert first == later
    assert first[:2] == stranger[:2]  # 40 tokens of prefix: two full blocks
    assert not set(first[2:]) & set(stranger[2:])


def test_requests_without_a_session_share_nothing() -> None:
    texts = Identities(merge([batch("p", [64, 64])], None))
    assert not set(texts.chain(0, 64, 16)) & set(texts.chain(1, 64, 16))
