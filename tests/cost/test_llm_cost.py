"""A whole step: its two forms agree bit for bit, it adds up, it scales as it must."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermesdsl.cost.constants import ACCELERATOR, CPU, NONE, VLLM, efficiencies_of
from hermesdsl.cost.operator import total_seconds
from hermesdsl.cost.provenance import RUNGS, shares
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Part


def decoding(batch: int, context: float) -> StepWork:
    return StepWork(batch, batch, decodes=batch, decode_context=context)


def prompt(tokens: int, cached: int = 0, decodes: int = 0, context: float = 0.0) -> StepWork:
    return StepWork(
        tokens + decodes, 1 + decodes, 1, tokens, tokens * cached + tokens * (tokens + 1) / 2,
        float(tokens + cached), decodes, context,
    )  # fmt: skip


def every_kind(build: SimpleNamespace) -> list[tuple[object, object]]:
    h100, h200 = build.sheets["h100"], build.sheets["h200"]
    windowed = replace(build.llama, window=512)
    multi_query = replace(build.llama, kv_heads=1)
    return [
        (build.llama, build.group(h100, tp=4)),
        (build.llama, build.group(h100, tp=2, pp=2)),
        (build.llama, build.group(h100, tp=16)),
        (windowed, build.group(h200, tp=2, dp=2)),
        (multi_query, build.group(h200, tp=2)),
        (build.mixtral, build.group(h200, tp=2)),
        (build.mixtral, build.group(h200, dp=4, ep=4)),
        (build.latent, build.group(h200, tp=2, dp=2, ep=4)),
    ]


def test_pure_decode_equals_the_first_step_of_a_run_bit_for_bit(build: SimpleNamespace) -> None:
    for model, on in every_kind(build):
        cost = build.engine(model, on)
        for batch in (1, 7, 64, 256):
            for context in (1.0, 100.0, 511.0 * batch, 512.0 * batch, 4e4, 3.3e6):
                run = cost.decode_run(batch, context)
                assert cost.step(decoding(batch, context)) == run.seconds(1)
                assert run.pieces[0].start <= context
                assert all(p.start > context for p in run.pieces[1:])


def test_a_run_is_the_sum_of_its_steps(build: SimpleNamespace) -> None:
    for model, on in every_kind(build):
        cost = build.engine(model, on)
        batch, context = 8, 3000.0
        run = cost.decode_run(batch, context)
        single = [cost.step(decoding(batch, context + j * batch)) for j in range(400)]
        for steps in (1, 2, 57, 400):
            assert run.seconds(steps) == pytest.approx(sum(single[:steps]), rel=1e-12)


def test_the_table_adds_up_to_the_step(build: SimpleNamespace) -> None:
    works = [decoding(32, 32e3), prompt(2048), prompt(1500, 700, 64, 64e3), prompt(1)]
    for model, on in every_kind(build):
        cost = build.engine(model, on)
        for work in works:
            table = cost.breakdown(work)
            assert total_seconds(table) == pytest.approx(cost.step(work), rel=1e-12)
            assert {op.bound for op in table} <= {"compute", "memory", "network", "launch"}
            assert shares(table).fractions()["datasheet"] == pytest.approx(1.0)


def test_results_do_not_depend_on_what_was_asked_before(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    used, fresh = build.engine(build.llama, on), build.engine(build.llama, on)
    for tokens in range(1, 300, 7):
        used.step(prompt(tokens, 50, 12, 9e3))
        used.decode_run(tokens, 1e4)
    for work in (prompt(77, 50, 13, 9e3), decoding(50, 1e4)):
        assert used.step(work) == fresh.step(work)


def test_weights_bound_a_decode_step_from_below(build: SimpleNamespace) -> None:
    # Llama-3-70B on two H100: (70.55e9 − 1.05e9 of the embedding) · 2 B / 2 / 3.35 TB/s = 20.75 ms.
    cost = build.engine(build.llama, build.group(build.sheets["h100"], tp=2), profile=NONE)
    table = cost.breakdown(decoding(1, 1.0))
    names = {"qkv", "attention out", "mlp up", "mlp down", "lm head"}
    read = sum(op.count * op.bytes for op in table if op.name in names)
    assert read / 3.35e12 == pytest.approx(20.8e-3, rel=0.03)
    assert cost.step(decoding(1, 1.0)) > 20.75e-3


def test_prefill_flops_are_two_per_weight_and_token(build: SimpleNamespace) -> None:
    cost = build.engine(build.llama, build.group(build.sheets["h100"], tp=4))
    table = cost.breakdown(prompt(2048))
    names = {"qkv", "attention out", "mlp up", "mlp down"}
    flops = sum(op.count * op.flops for op in table if op.name in names)
    weights = build.llama.parameters - 2 * 128256 * 8192
    assert flops == pytest.approx(2 * weights / 4 * 2048, rel=1e-3)


def test_two_all_reduces_per_dense_layer(build: SimpleNamespace) -> None:
    cost = build.engine(build.llama, build.group(build.sheets["h100"], tp=4))
    op = next(o for o in cost.breakdown(prompt(100)) if o.name == "all-reduce")
    assert (op.count, op.bytes) == (160, 100 * 8192 * 2)


def test_only_sampled_sequences_pass_the_head(build: SimpleNamespace) -> None:
    cost = build.engine(build.llama, build.group(build.sheets["h100"], tp=4))
    names = [o.name for o in cost.breakdown(prompt(512)._replace(sampled=0))]
    assert "lm head" not in names
    head = next(o for o in cost.breakdown(prompt(512)) if o.name == "lm head")
    assert head.flops == 2 * 1 * 128256 / 4 * 8192


def test_pipeline_stages_follow_one_another(build: SimpleNamespace) -> None:
    h100 = build.sheets["h100"]
    one = build.engine(build.llama, build.group(h100, tp=4))
    four = build.engine(build.llama, build.group(h100, tp=4, pp=4), micro_batches=1)
    hand_over = [o for o in four.breakdown(prompt(512)) if o.name == "stage hand-over"]
    assert hand_over[0].count == 3
    assert four.step(prompt(512)) - one.step(prompt(512)) == pytest.approx(
        total_seconds(hand_over), rel=1e-9
    )


def test_weight_only_quantisation_computes_in_the_activations_type(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h200"], tp=2)
    stored = replace(build.llama, dtype="int4", weight_bytes=build.llama.weight_bytes / 4)
    full, narrow = build.engine(build.llama, on), build.engine(stored, on)
    assert narrow.step(decoding(1, 1e3)) < 0.5 * full.step(decoding(1, 1e3))
    assert narrow.step(prompt(4096)) == pytest.approx(full.step(prompt(4096)), rel=0.02)


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 3000), more=st.integers(1, 500), decodes=st.integers(1, 255),
    context=st.floats(0, 1e6),
)  # fmt: skip
def test_more_work_is_never_faster(
    build: SimpleNamespace, tokens: int, more: int, decodes: int, context: float
) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    cost = build.engine(build.llama, on)
    base = cost.step(prompt(tokens, 0, decodes, context))
    assert cost.step(prompt(tokens + more, 0, decodes, context)) >= base
    assert cost.step(prompt(tokens, more, decodes, context)) >= base
    assert cost.step(prompt(tokens, 0, decodes, context + more)) >= base
    # The same context in more sequences: kernels of a class may read it faster, the model does not.
    sheet = replace(on, part=replace(on.part, options={"family": "asic"}))
    plain = build.engine(build.llama, sheet)
    more_of_them = plain.step(prompt(tokens, 0, decodes + 1, context))
    assert more_of_them >= plain.step(prompt(tokens, 0, decodes, context))


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(1.0, 8.0), batch=st.integers(1, 256), tokens=st.integers(1, 4096))
def test_better_hardware_is_never_slower(
    build: SimpleNamespace, factor: float, batch: int, tokens: int
) -> None:
    # Of no class: kernels of another generation may reach less of a better data sheet.
    on = build.group(build.sheets["h100"], tp=4)
    on = replace(on, part=replace(on.part, options={"family": "asic"}))
    faster = [
        replace(on, memory_bandwidth=on.memory_bandwidth * factor),
        replace(on, part=replace(on.part, peak={k: v * factor for k, v in on.part.peak.items()})),
        replace(on, tp_fabric=replace(on.tp_fabric, bandwidth=on.tp_fabric.bandwidth * factor)),
        replace(on, tp_fabric=replace(on.tp_fabric, alpha=on.tp_fabric.alpha / factor)),
    ]
    base = build.engine(build.llama, on)
    for better in faster:
        cost = build.engine(build.llama, better)
        assert cost.step(prompt(tokens)) <= base.step(prompt(tokens))
        assert cost.step(decoding(batch, batch * 1e3)) <= base.step(decoding(batch, batch * 1e3))


def test_host_costs_are_parameters(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    slow = replace(VLLM, overheads=replace(VLLM.overheads, step=0.1, sequence=0.01))
    gap = build.engine(build.llama, on, profile=slow).step(decoding(10, 1e4))
    gap -= build.engine(build.llama, on).step(decoding(10, 1e4))
    assert gap == pytest.approx(0.1 + 10 * 0.01, rel=1e-9)


def test_a_request_costs_what_its_profile_says(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    assert build.engine(build.llama, on).request_seconds == VLLM.overheads.request
    assert build.engine(build.llama, on, profile=NONE).request_seconds == 0.0


def test_a_layer_cost_appears_once_per_layer(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    slow = replace(VLLM, overheads=replace(VLLM.overheads, layer=1e-4))
    gap = build.engine(build.llama, on, profile=slow).step(prompt(10))
    assert gap - build.engine(build.llama, on).step(prompt(10)) == pytest.approx(80 * 1e-4)


def test_processors_have_their_own_class() -> None:
    assert efficiencies_of(Part("p", "cpu", "EPYC")) == CPU
    assert efficiencies_of(Part("p", "chip", "H100")) == ACCELERATOR


def test_a_device_without_a_usable_peak_is_refused(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"])
    bare = replace(on, part=replace(on.part, peak={"fp8": 1e15}))
    with pytest.raises(ValueError, match="no peak for bf16 or any wider type"):
        build.engine(build.llama, bare)


def test_rungs_are_ordered_by_trust() -> None:
    assert RUNGS == ("measured", "calibrated", "datasheet")
    empty = shares([])
    assert (empty + empty).total == 0
    assert empty.fractions() == dict.fromkeys(RUNGS, 0.0)
