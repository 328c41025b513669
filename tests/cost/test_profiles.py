"""Engine profiles: the library's, one's own, and what their hosts add to a step."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

import hermesdsl
from hermesdsl.cost import engine_cost
from hermesdsl.cost.constants import ACCELERATOR, DEVICE, NONE, VLLM, Kernels
from hermesdsl.cost.memory import plan, spare
from hermesdsl.cost.profiles import library, profile_of, without_host
from hermesdsl.cost.types import StepWork
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Spec
from hermesdsl.schema.profile import PROFILES

SYSTEM = """
from std.nvidia.hopper import H100
from std.models.llama import Llama3_1_8B
{head}
gpu: H100
llm: LlmEngine on gpu {{ model = Llama3_1_8B; {settings} }}
"""


def served(settings: str = "", head: str = "") -> object:
    system = hermesdsl.compile(SYSTEM.format(head=head, settings=settings))
    return engine_cost(system.placement.nodes["llm"]["client"])


def reading(tokens: int) -> StepWork:
    return StepWork(tokens, 1, 1, tokens, tokens * (tokens + 1) / 2, float(tokens))


def decoding(batch: int, context: float = 1e3) -> StepWork:
    return StepWork(batch, batch, decodes=batch, decode_context=batch * context)


def test_the_library_has_what_words_name() -> None:
    assert set(library()) == set(PROFILES)
    assert library()["none"] is NONE
    for profile in library().values():
        if profile is not NONE:
            assert profile.overheads.kernel == DEVICE.kernel


def test_a_synchronous_host_adds_all_of_its_time(build: SimpleNamespace) -> None:
    """max(device, 0) + host + gap = device + 1 ms + 10·20 us + 0.5 ms."""
    on = build.group(build.sheets["h100"], tp=4)
    host = replace(VLLM.overheads, step=1e-3, sequence=2e-5, gap=5e-4)
    slow = build.engine(build.llama, on, profile=replace(VLLM, overheads=host))
    bare = build.engine(build.llama, on).step(decoding(10))
    assert slow.step(decoding(10)) == pytest.approx(bare + 1e-3 + 2e-4 + 5e-4, rel=1e-12)


@pytest.mark.parametrize("context", [1e3, 2e4, 1e5])
def test_a_host_beside_the_devices_shows_where_it_is_slower(
    build: SimpleNamespace, context: float
) -> None:
    """max(device, 0.9·host) + 0.1·host + gap, whichever is larger; run and step agree exactly."""
    on = build.group(build.sheets["h100"], tp=4)
    host = replace(VLLM.overheads, step=40e-3, overlap=0.9, gap=1e-4)
    late = build.engine(build.llama, on, profile=replace(VLLM, overheads=host))
    device = build.engine(build.llama, on).step(decoding(8, context))
    work = decoding(8, context)
    expected = max(device, 36e-3) + 4e-3 + 1e-4
    assert late.step(work) == pytest.approx(expected, rel=1e-12)
    assert late.decode_run(8, 8 * context).seconds(1) == late.step(work)
    table = late.breakdown(work)
    assert sum(op.count * op.seconds for op in table) == pytest.approx(expected, rel=1e-12)


def test_a_run_crosses_from_host_to_devices_within_itself(build: SimpleNamespace) -> None:
    """Its summed time is that of its steps, some bound by the host and some by memory."""
    on = build.group(build.sheets["h100"], tp=4)
    bare = build.engine(build.llama, on)
    middle = bare.step(decoding(64, 3e3))
    host = replace(VLLM.overheads, step=middle, overlap=1.0)
    late = build.engine(build.llama, on, profile=replace(VLLM, overheads=host))
    run = late.decode_run(64, 64 * 2e3)
    steps = [late.step(decoding(64, 2e3 + j)) for j in range(2000)]
    assert steps[0] == pytest.approx(middle)
    assert steps[-1] > middle * 1.001
    assert run.seconds(2000) == pytest.approx(sum(steps), rel=1e-9)


def test_steps_beyond_the_graphs_take_the_launches_of_every_layer(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    host = replace(VLLM.overheads, graph_limit=16.0, eager=1e-3)
    eager = build.engine(build.llama, on, profile=replace(VLLM, overheads=host))
    bare = build.engine(build.llama, on)
    assert eager.step(decoding(16)) == bare.step(decoding(16))
    assert eager.step(decoding(17)) == pytest.approx(80 * 1e-3)


def test_a_layer_that_reads_prompts_has_more_launches(build: SimpleNamespace) -> None:
    """80 layers · (1 ms + 0.5 ms) with a prompt of 64 tokens, 80 · 1 ms without."""
    on = build.group(build.sheets["h100"], tp=4)
    host = replace(VLLM.overheads, graph_limit=0.0, eager=1e-3, eager_prompt=5e-4)
    eager = build.engine(build.llama, on, profile=replace(VLLM, overheads=host))
    assert eager.step(reading(64)) == pytest.approx(80 * 1.5e-3)
    assert eager.step(decoding(8)) == pytest.approx(80 * 1e-3)
    assert eager.decode_run(8, 8e3).seconds(1) == eager.step(decoding(8))


def test_workers_are_called_where_there_are_several(build: SimpleNamespace) -> None:
    host = replace(VLLM.overheads, step=1e-3, workers=6e-3)
    for tp, added in ((4, 7e-3), (1, 1e-3)):
        on = build.group(build.sheets["h200"], tp=tp)
        called = build.engine(build.latent, on, profile=replace(VLLM, overheads=host))
        bare = build.engine(build.latent, on)
        more = called.step(decoding(4)) - bare.step(decoding(4))
        assert more == pytest.approx(added, rel=1e-9)


def test_passes_are_activations_through_memory(build: SimpleNamespace) -> None:
    """10 · 80 layers · 1024 tokens · 8192 · 2 bytes at the bandwidth that streams reach."""
    on = build.group(build.sheets["h100"], tp=4)
    slow = build.engine(build.llama, on, profile=replace(VLLM, kernels=Kernels(passes=10.0)))
    bare = build.engine(build.llama, on)
    streamed = build.sheets["h100"].bandwidth * ACCELERATOR.memory
    more = 10 * 80 * 1024 * 8192 * 2 / streamed
    assert slow.step(reading(1024)) - bare.step(reading(1024)) == pytest.approx(more, rel=1e-9)


def test_logits_are_sorted_where_requests_ask_for_top_p(build: SimpleNamespace) -> None:
    """0.17 ms a step and 0.121 ns for each of 36 · 128,256 logits: 0.729 ms more."""
    on = build.group(build.sheets["h100"], tp=4)
    work = StepWork(tokens=36, sampled=36, decodes=36, decode_context=36 * 690.0)
    sorted_, bare = (build.engine(build.llama, on, profile=library()[name])
                     for name in ("vllm_top_p", "vllm"))  # fmt: skip
    more = 170e-6 + 36 * 128_256 * 0.121e-9
    assert sorted_.step(work) - bare.step(work) == pytest.approx(more, rel=1e-9)
    # A step that chooses no token sorts nothing.
    quiet = reading(256)._replace(sampled=0)
    assert sorted_.step(quiet) == bare.step(quiet)


def test_buffers_are_allocated_anew_beyond_free_memory(build: SimpleNamespace) -> None:
    """160 all-reduces of 16 KiB per token outgrow a tenth of 80e9 bytes beyond 3,051 tokens."""
    on = build.group(build.sheets["h100"], tp=4)
    kernels = Kernels(churn=50e9)
    slow = build.engine(build.llama, on, profile=replace(VLLM, kernels=kernels))
    bare = build.engine(build.llama, on)
    most = int(0.1 * on.memory_capacity / (160 * 16384))
    assert slow.step(reading(most)) == bare.step(reading(most))
    more = slow.step(reading(most + 1)) - bare.step(reading(most + 1))
    assert more == pytest.approx((most + 1) * 160 * 16384 / 50e9, rel=1e-9)


def test_free_memory_is_what_the_rule_leaves(build: SimpleNamespace) -> None:
    """(1 − f)·capacity, or (1 − f)·(capacity − weights), whatever the reserve is."""
    on = build.group(build.sheets["h100"], tp=4)
    for name, whole in (("of_device", on.memory_capacity), ("after_weights", None)):
        rule = {"memory_rule": Spec(name, {"fraction": 0.8})}
        found = plan(build.llama, on, VLLM, rule)
        whole = whole or on.memory_capacity - found.weights
        assert spare(found, on) == pytest.approx(0.2 * whole, rel=1e-9)


def test_without_short_ways_all_reduces_are_rings(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=8)
    ring = build.engine(build.llama, on, profile=replace(VLLM, kernels=Kernels(direct=False)))
    near = build.engine(build.llama, on)

    def reduced(cost: object, tokens: int) -> float:
        table = cost.breakdown(reading(tokens))  # type: ignore[attr-defined]
        return next(op.seconds for op in table if op.name == "all-reduce")

    assert reduced(ring, 16) > 2.0 * reduced(near, 16)
    assert reduced(ring, 2048) == reduced(near, 2048)


def test_the_engine_of_2023_has_slower_steps_than_todays() -> None:
    old, new = served("profile = vllm_2023"), served("profile = vllm_sync")
    for work in (decoding(1), decoding(64), reading(512)):
        assert old.step(work) > 1.3 * new.step(work)
    assert old.profile.overheads.eager < library()["vllm_2023_a100"].overheads.eager


def test_a_profile_of_ones_own_extends_the_librarys() -> None:
    head = (
        "from std.engines.profiles import vllm\n"
        "profile Ours extends vllm { request = 20 ms; gap = 2 ms; reserved = 3 req\n"
        "    answer = 30 us }\n"
    )
    ours, theirs = served("profile = Ours", head), served("profile = vllm")
    assert ours.request_seconds == 0.02
    assert ours.reserved == 3
    assert ours.answer_seconds == 30e-6
    gap = ours.profile.overheads.gap - theirs.profile.overheads.gap
    more = ours.step(decoding(8)) - theirs.step(decoding(8))
    assert more == pytest.approx(gap, rel=1e-9)


def test_an_empty_profile_has_no_host() -> None:
    bare = served("profile = Bare", "profile Bare { }\n")
    assert bare.request_seconds == 0.0
    assert not bare.ahead
    assert bare.breakdown(decoding(4))[-1].seconds == 0.0


def test_drafts_have_no_host_of_their_own() -> None:
    quiet = without_host(library()["vllm"])
    assert quiet.overheads.kernel == DEVICE.kernel
    assert (quiet.overheads.step, quiet.overheads.gap, quiet.overheads.request) == (0, 0, 0)


def test_clients_made_by_hand_name_the_librarys(build: SimpleNamespace) -> None:
    client = build.client(build.llama, build.group(build.sheets["h100"], tp=4))
    assert profile_of(client) is library()["vllm"]


@pytest.mark.parametrize(
    ("settings", "head", "code"),
    [
        ("profile = vlm", "", "HMS201"),
        ("profile = 3 ms", "", "HMS303"),
        ("profile = gpu", "", "HMS303"),
        ("profile = P", "profile P { step = 3 tok }\n", "HMS301"),
        ("profile = P", "profile P { overlap = 120% }\n", "HMS306"),
        ("profile = P", "profile P { request = -1 ms }\n", "HMS306"),
        ("profile = P", "profile P { steps = 1 ms }\n", "HMS206"),
        ("profile = P", "profile P { churn = 0 GB/s }\n", "HMS306"),
        ("profile = P", "profile P { churn = 5 GB }\n", "HMS301"),
        ("profile = P", "profile P { passes = -1 }\n", "HMS306"),
        ("profile = P", "profile P { sort = -1 ns }\n", "HMS306"),
        ("profile = P", "profile P { sort_start = 1 tok }\n", "HMS301"),
        ("profile = P", "profile P { direct = 2 }\n", "HMS303"),
        ("profile = P", "profile P { workers = 1 tok }\n", "HMS301"),
    ],
)
def test_what_is_no_profile_is_refused(settings: str, head: str, code: str) -> None:
    with pytest.raises(SpecError) as refused:
        served(settings, head)
    assert code in [found.code for found in refused.value.diagnostics if found.is_error]
