"""From the tree to placement: budgets of a step, tiers of caches, pools, models as served."""

from __future__ import annotations

import pytest

import hermesdsl
from hermesdsl.api import System
from hermesdsl.diagnostics import SpecError

SITE = """
from std.nvidia.hopper import DGX_H100
model M { layers = 2; hidden = 128; ffn = 256; vocab = 100; heads = 2; parameters = 1e6 }
box[2]: DGX_H100
"""


def compiled(spec: str) -> System:
    return hermesdsl.compile(f"{SITE}{spec}\n")


def errors(spec: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        compiled(spec)
    return [f"{d.code} {d.message}" for d in caught.value.diagnostics if d.is_error]


def engine(settings: str) -> dict[str, object]:
    system = compiled(f"llm: LlmEngine on box[0].gpu[0] {{ model = M; {settings} }}")
    options: dict[str, object] = dict(system.placement.nodes["llm"]["client"].options)
    return options


# --- one budget for one step: `chunked(b)` is `max_tokens` ----------------------------------


@pytest.mark.parametrize(
    ("settings", "budget"),
    [
        ("", 2048), ("batching = chunked", 2048), ("batching = chunked(512 tok)", 512),
        ("max_tokens = 4096 tok", 4096), ("batching = chunked(512 tok); max_tokens = 512 tok", 512),
    ],
)  # fmt: skip
def test_the_budget_of_a_chunked_step(settings: str, budget: int) -> None:
    batching = engine(settings)["batching"]
    assert str(batching) == f"chunked(budget = {budget})"


def test_two_budgets_for_one_step() -> None:
    spec = "llm: LlmEngine on box[0].gpu[0] { model = M; %s }"
    both = "batching = chunked(512 tok); max_tokens = 4096 tok"
    assert errors(spec % both)[0].startswith("HMS209")
    assert engine("batching = continuous; max_tokens = 4096 tok")["max_tokens"] == 4096


# --- models --------------------------------------------------------------------------------


def test_a_model_is_served_in_the_types_that_the_engine_states() -> None:
    system = compiled(
        "a: LlmEngine on box[0].gpu[0] { model = M }\n"
        "b: LlmEngine on box[0].gpu[1] { model = M; dtype = fp8; kv_dtype = fp8 }"
    )
    served = [system.placement.nodes[x]["client"].model for x in "ab"]
    assert [m.weight_bytes for m in served] == [2e6, 1e6]  # 1e6 parameters of 2 and 1 bytes
    # 2 layers x 2 (K and V) x 2 heads x 64 values = 512 values a token, of 2 and 1 bytes
    assert [m.kv_bytes_per_token for m in served] == [1024, 512]


# --- tiers ---------------------------------------------------------------------------------

CACHE = """
llm[8]: LlmEngine on box[0].gpu[*] { model = M }
cache kv {
    near: KvTier on box[0].gpu[*].hbm { scope = %s; capacity = %s }
    far:  KvTier on box[*].dram[*] { scope = node; capacity = %s }
    near -> far -> recompute
}
chat: CachedChat { llm = llm; cache = kv }
"""


def test_tiers_lie_in_their_memories() -> None:
    system = compiled(CACHE % ("client", "10 GiB", "1 TiB"))
    assert list(system.placement.successors("kv.far")) == [
        f"box[{i}].dram[{j}]" for i in range(2) for j in range(2)
    ]
    roles = {e["role"] for _, _, e in system.placement.out_edges("kv.near", data=True)}
    assert roles == {"memory"}


def test_a_tier_takes_no_more_than_its_memory_holds() -> None:
    compiled(CACHE % ("client", "10 GiB", "1 TiB"))
    (found,) = errors(CACHE % ("client", "80.5 GiB", "1 TiB"))
    assert found == (
        "HMS407 tier `kv.near` takes 86.4362 GB of box[0].gpu[0].hbm, which holds 80 GiB"
    )


def test_a_cache_that_nobody_reads_takes_nothing() -> None:
    spec = (
        "cache big { t: KvTier on box[0].ssd { scope = node; capacity = 900 TB }; t -> recompute }"
    )
    compiled(spec)
    used = (
        "llm[8]: LlmEngine on box[0].gpu[*] { model = M }\nc: CachedChat { llm = llm; cache = big }"
    )
    assert errors(f"{spec}\n{used}")[0].startswith("HMS407")


def test_alternatives_do_not_add_up() -> None:
    spec = """
llm[8]: LlmEngine on box[0].gpu[*] { model = M }
cache A { t: KvTier on box[0].ssd { scope = node; capacity = 20 TB }; t -> recompute }
cache B { t: KvTier on box[0].ssd { scope = node; capacity = 20 TB }; t -> recompute }
param store: cache = A
chat: CachedChat { llm = llm; cache = store }
"""
    compiled(spec)
    both = spec + "other: CachedChat { llm = llm; cache = B }"
    assert errors(both) == [
        "HMS407 tiers `A.t`, `B.t` together take 40 TB of box[0].ssd, which holds 30 TB"
    ]


@pytest.mark.parametrize("scope", ["device", "client", "node", "all"])
def test_scopes_that_join(scope: str) -> None:
    compiled(CACHE % (scope, "1 GiB", "1 GiB"))


def test_a_scope_that_nothing_answers_to() -> None:
    (found,) = errors(CACHE % ("rack", "1 GiB", "1 GiB"))
    assert found.startswith("HMS405 tier `kv.near`: scope = rack")


@pytest.mark.parametrize(
    "way",
    [
        "near -> recompute", "near -> far", "near -> far -> near",
        "near -> far -> recompute; near -> recompute", "far -> recompute",
    ],
)  # fmt: skip
def test_tiers_stand_one_behind_the_other(way: str) -> None:
    spec = (CACHE % ("client", "1 GiB", "1 GiB")).replace("near -> far -> recompute", way)
    assert errors(spec)[0].startswith("HMS501")


def test_a_cache_of_no_tiers_is_one_that_always_computes() -> None:
    compiled(
        "llm[8]: LlmEngine on box[0].gpu[*] { model = M }\ncache none { input -> recompute }\n"
        "chat: CachedChat { llm = llm; cache = none }"
    )


# --- devices -------------------------------------------------------------------------------


def test_devices_are_cut_in_path_order_however_they_are_listed() -> None:
    system = compiled(
        "llm[4]: LlmEngine on [box[1].gpu[1], box[0].gpu[2:4], box[1].gpu[0]] { model = M }"
    )
    groups = [system.placement.nodes[f"llm[{i}]"]["client"].group for i in range(4)]
    assert [g.devices for g in groups] == [
        ("box[0].gpu[2]",), ("box[0].gpu[3]",), ("box[1].gpu[0]",), ("box[1].gpu[1]",),
    ]  # fmt: skip


def test_other_clients_take_an_equal_part_of_their_selection() -> None:
    system = compiled("w[2]: WorkerPool on box[*].cpu[*] { workers = 3; span = true }")
    groups = [system.placement.nodes[f"w[{i}]"]["client"].group for i in range(2)]
    assert [len(g.devices) for g in groups] == [2, 2]


def test_a_new_stage_without_python() -> None:
    system = compiled(
        "tools: WorkerPool { workers = 2 }\n"
        "stage Ocr { service = 20 ms + 3 us/tok * prompt; appends = 200 tok }\n"
        "pipeline P { a: Ocr on tools; b: Ocr on tools { appends = 3 tok }\n"
        "    input -> a -> b -> output }\np: P"
    )
    stages = [system.pipelines["p"].nodes[f"p.{x}"]["stage"] for x in "ab"]
    assert [s.type_name for s in stages] == ["Ocr", "Ocr"]
    assert [s.options["appends"] for s in stages] == [200, 3]


def test_forks_wait_and_branches_merge() -> None:
    system = compiled(
        "tools: WorkerPool { workers = 2 }\n"
        "stage S { service = 1 ms }\n"
        "pipeline P { a: S on tools; b: S on tools; c: S on tools; d: S on tools; e: S on tools\n"
        "    input -> a -> [b, c] -> d\n"
        "    branch d { turn > 1 -> output; 70% -> e; else -> refused }\n"
        "    e -> output }\np: P"
    )
    graph = system.pipelines["p"]
    assert graph.nodes["p.d"]["join"] == "wait"
    assert graph.nodes["output"]["join"] == "merge"
    choices = {target: data["choice"] for _, target, data in graph.out_edges("p.d", data=True)}
    assert choices["output"].guard.operands == ("turn", 1.0)
    assert choices["p.e"].share == 0.7
    assert (choices["refused"].guard, choices["refused"].share) == (None, None)
