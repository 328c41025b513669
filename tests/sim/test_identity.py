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


def test_from_a_break_on_blocks_have_its_name() -> None:
    texts = Identities(merge([batch("p", [100, 100])], None))
    plain, branch = texts.chain(0, 100, 16), texts.chain(0, 100, 16, ((40, 7),))
    # 40 tokens are two full blocks; the third begins as the request's own text and ends as another.
    assert branch[:2] == plain[:2]
    assert len(branch) == len(plain) == 6
    assert not set(branch[2:]) & set(plain)
    other = texts.chain(0, 100, 16, ((40, 8),))
    assert not set(branch[2:]) & set(other[2:])
    assert texts.chain(0, 60, 16, ((40, 7),)) == branch[:3]


def test_of_several_breaks_in_a_block_the_last_names_it() -> None:
    texts = Identities(merge([batch("p", [100])], None))
    named = texts.chain(0, 96, 16, ((20, 1), (36, 2), (46, 3), (64, 4)))
    by = [texts.chain(0, 96, 16, ((0, name),)) for name in (1, 2, 3, 4)]
    assert named[0] == texts.chain(0, 16, 16)[0]
    assert [named[1], named[2], named[3], *named[4:]] == [by[0][1], by[2][2], by[2][3], *by[3][4:]]
    assert not any(named[place] == by[1][place] for place in range(6))
