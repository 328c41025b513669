"""From clients to cost models: what is bound, and what is refused with which words."""

from dataclasses import replace
from types import SimpleNamespace

import networkx as nx
import pytest

from hermesdsl.cost import DataSheetCost, bind, diagnose, engine_cost
from hermesdsl.cost.bind import served_cost, served_model
from hermesdsl.cost.speculation import SpeculativeCost
from hermesdsl.diagnostics import Severity, SpecError
from hermesdsl.graph.types import Client, Spec


def graph_of(*clients: Client) -> "nx.DiGraph[str]":
    graph: nx.DiGraph[str] = nx.DiGraph()
    for client in clients:
        graph.add_node(client.path, client=client)
    return graph


def test_engines_get_a_cost_and_others_do_not(build: SimpleNamespace) -> None:
    llm = build.client(build.llama, build.group(build.sheets["h100"], tp=4))
    tools = Client("tools", "Delay", None)
    graph = graph_of(llm, tools)
    graph.add_node("gpu[0]")
    costs = bind(graph)
    assert list(costs) == ["llm"]
    assert graph.nodes["llm"]["cost"] is costs["llm"]
    assert "cost" not in graph.nodes["tools"]
    assert costs["llm"].kv_tokens > 0


def test_a_good_engine_has_nothing_to_say(build: SimpleNamespace) -> None:
    llm = build.client(build.llama, build.group(build.sheets["h100"], tp=4), profile="vllm")
    assert diagnose(llm) == []


def test_engine_types_override_the_models(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    model = served_model(build.client(build.llama, on, dtype="fp8", kv_dtype="fp8"))
    assert model.weight_bytes == build.llama.weight_bytes / 2
    assert model.kv_bytes_per_token == 163_840
    assert model.activation_dtype == "fp8"
    int4 = served_model(build.client(build.llama, on, dtype="int4", kv_dtype=None))
    assert (int4.activation_dtype, int4.kv_dtype) == ("bf16", "bf16")


def test_absent_engine_types_leave_the_model_alone(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    assert served_model(build.client(build.llama, on, dtype=None)) is build.llama


def test_the_profile_named_none_costs_nothing_on_the_host(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    bare = engine_cost(build.client(build.llama, on, profile="none"))
    usual = engine_cost(build.client(build.llama, on))
    assert bare.decode_run(1, 1.0).seconds(1) < usual.decode_run(1, 1.0).seconds(1)


def test_weights_beyond_the_device_state_both_numbers(build: SimpleNamespace) -> None:
    # 141.1e9 bytes = 131.4 GiB.
    (found,) = diagnose(build.client(build.llama, build.group(build.sheets["h100"])))
    assert (found.code, found.severity) == ("HMS407", Severity.ERROR)
    assert found.message == (
        "the weights of `llm` take 131.4 GiB per device, but a device holds 80.0 GiB"
    )


def test_weights_that_leave_no_room_for_kv(build: SimpleNamespace) -> None:
    rule = Spec("of_device", {"f": 0.9})
    on = replace(build.group(build.sheets["h100"], tp=2), memory_capacity=72 * 2**30)
    (found,) = diagnose(build.client(build.llama, on, memory_rule=rule))
    assert found.code == "HMS407"
    assert "65.7 GiB per device of 72.0 GiB, which leaves no room for KV" in found.message


def test_a_missing_peak_is_a_warning_that_names_the_substitute(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["a100"], tp=4)
    model = build.dense("fp8", (8192, 80, 28672, 128256, 64, 8), dtype="fp8")
    (found,) = diagnose(build.client(model, on))
    assert (found.code, found.severity) == ("HMS411", Severity.WARNING)
    assert found.message == "`A100` has no peak for fp8 (weights of `llm`)"
    assert found.notes == ("note: its peak for bf16 is used; bytes stay those of fp8",)
    assert list(bind(graph_of(build.client(model, on)))) == ["llm"]


def test_no_peak_at_all_is_an_error(build: SimpleNamespace) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    bare = replace(on, part=replace(on.part, peak={}))
    found = diagnose(build.client(build.llama, bare))
    assert [d.code for d in found] == ["HMS411"]
    assert all(d.is_error for d in found)


@pytest.mark.parametrize("missing", ["model", "group"])
def test_engines_need_devices_and_a_model(build: SimpleNamespace, missing: str) -> None:
    on = build.group(build.sheets["h100"], tp=4)
    model = None if missing == "model" else build.llama
    llm = build.client(model, None if missing == "group" else on)
    with pytest.raises(SpecError, match="HMS405: `llm` has no devices or no model"):
        bind(graph_of(llm))


def test_devices_without_memory_are_refused(build: SimpleNamespace) -> None:
    on = replace(build.group(build.sheets["h100"], tp=4), memory_capacity=0.0)
    assert [d.code for d in diagnose(build.client(build.llama, on))] == ["HMS405"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "orca"}, "engine profile `orca` of `llm` has no constants yet"),
        ({"memory_rule": Spec("all")}, "memory rule `all` of `llm` is not executable yet"),
    ],
)
def test_settings_without_a_model_are_named(
    build: SimpleNamespace, options: dict[str, object], message: str
) -> None:
    llm = build.client(build.llama, build.group(build.sheets["h100"], tp=4), **options)
    (found,) = diagnose(llm)
    assert (found.code, found.message) == ("HMS506", message)


def test_all_errors_of_all_engines_come_at_once(build: SimpleNamespace) -> None:
    small = build.group(build.sheets["h100"])
    graph = graph_of(
        build.client(build.llama, small),
        replace(build.client(build.llama, small), path="other"),
    )
    with pytest.raises(SpecError) as raised:
        bind(graph)
    assert [d.code for d in raised.value.diagnostics] == ["HMS407", "HMS407"]
    assert all("cost" not in data for _, data in graph.nodes(data=True))


@pytest.mark.parametrize(
    ("options", "ways", "message"),
    [
        ({"experts": "ep"}, {"tp": 4}, "`llm` has `experts = ep` and ep = 1"),
        ({"attention": "dp"}, {"tp": 4}, "`llm` has `attention = dp` and dp = 1"),
        ({"attention": "tp"}, {"dp": 4}, "`llm` has `attention = tp` and dp = 4"),
    ],
)
def test_splits_that_contradict_themselves(
    build: SimpleNamespace, options: dict[str, object], ways: dict[str, int], message: str
) -> None:
    llm = build.client(build.llama, build.group(build.sheets["h200"], **ways), **options)
    found = [d for d in diagnose(llm) if d.code == "HMS405"]
    assert [d.message for d in found] == [message]


def test_what_guesses_takes_its_part_of_the_memory(build: SimpleNamespace) -> None:
    group = build.group(build.sheets["h200"], tp=2)
    small = build.dense("small", (4096, 32, 14336, 128256, 32, 8))
    draft = Spec("draft", {"model": "small", "gamma": 3, "accept": 0.5})
    plain = build.client(build.llama, group)
    guessing = replace(build.client(build.llama, group, speculate=draft), draft=small)
    assert diagnose(guessing) == []
    cost = served_cost(guessing)
    assert isinstance(cost, SpeculativeCost)
    assert cost.gained == 1.875
    own = engine_cost(plain).memory
    # Per device: KV heads of both models over two ranks, weights of the draft over two.
    both = own.kv_per_token + small.kv_bytes_per_token / 2
    assert cost.kv_tokens == int((own.kv - small.weight_bytes / 2) / both)
    assert isinstance(served_cost(plain), DataSheetCost)


def test_a_draft_that_leaves_no_room_is_refused(build: SimpleNamespace) -> None:
    spec = Spec("draft", {"model": "large", "gamma": 3, "accept": 0.5})
    group = build.group(build.sheets["h200"], tp=2)
    large = replace(build.llama, name="large")
    client = build.client(build.llama, group, speculate=spec)
    (found,) = diagnose(replace(client, draft=large))
    assert found.code == "HMS407"
    assert "what guesses tokens for `llm` takes" in found.message
    (nothing,) = diagnose(client)
    assert (nothing.code, "names no model" in nothing.message) == ("HMS405", True)
    with pytest.raises(ValueError, match="no model"):
        served_cost(client)
