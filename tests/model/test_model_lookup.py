"""Where names are looked up, when values are computed, and what params take."""

from __future__ import annotations

import pytest
from model_specs import PARTS, built, codes, messages, of, shown

import hermesdsl

# --- scopes --------------------------------------------------------------------------------


def test_own_members_come_before_enclosing_ones_and_those_before_the_file() -> None:
    spec = """
param n = 1
cluster Site {
    param n = 2
    node Box { param n = 3; param own = n; param outer = m; gpu[n]: G }
    param m = n
    box: Box
}
site: Site
"""
    tree = built(PARTS + spec)
    assert shown(tree, "site.box.own") == "3"
    assert shown(tree, "site.box.outer") == "2"
    assert shown(tree, "len(site.box.gpu)") == "3"


def test_the_name_being_set_is_not_looked_up_in_its_own_definition() -> None:
    spec = "param n = 7\nnode Box { param n = n; gpu[2]: G }\nbox: Box"
    assert of(spec, "box.n") == "7"


def test_a_block_that_configures_an_instance_adds_no_names() -> None:
    spec = """
param tp = 2
node Box { param tp = 8; param other = 3; gpu[tp]: G }
a: Box { tp = tp }
b: Box { other = tp }
"""
    tree = built(PARTS + spec)
    assert (shown(tree, "a.tp"), shown(tree, "b.other")) == ("2", "2")
    assert codes(PARTS + "node Box { param m = 3; param k = 1; gpu: G }\nb: Box { k = m }") == [
        "HMS201"
    ]


def test_the_hardware_of_a_client_is_looked_up_where_it_is_written() -> None:
    spec = """
gpu[4]: G
cluster Site {
    gpu[2]: G
    llm[2]: LlmEngine on gpu[*] { model = M }
}
site: Site
outside[4]: LlmEngine on gpu[*] { model = M }
"""
    system = hermesdsl.compile(PARTS + spec)
    groups = [system.placement.nodes[f"{x}[1]"]["client"].group for x in ("site.llm", "outside")]
    assert [group.devices for group in groups] == [("site.gpu[1]",), ("gpu[1]",)]


def test_a_local_name_hides_one_of_the_prelude() -> None:
    spec = "chip Memory2 { power = 3 W }\nnode Switch { gpu: Memory2 }\nx: Switch"
    assert of(spec, "x.gpu.power") == "3 W"


def test_words_of_the_type_come_before_other_names() -> None:
    spec = """
param fcfs = 3
param bf16 = 4
gpu: G
llm: LlmEngine on gpu { model = M; order = fcfs; kv_dtype = bf16 }
"""
    tree = built(PARTS + spec)
    assert shown(tree, "llm.order") == "fcfs"
    assert shown(tree, "llm.kv_dtype") == "bf16"
    assert shown(tree, "llm.order == fcfs") == "true"
    assert shown(tree, "llm.order in [sjf, edf]") == "false"


def test_a_formula_reads_the_request_before_other_names() -> None:
    spec = """
param prompt = 3 GB
tools: WorkerPool { workers = 2 }
stage Ocr extends Tool { service = 20 ms + 3 us/tok * prompt }
pipeline P { ocr: Ocr on tools; input -> ocr -> output }
p: P
"""
    system = hermesdsl.compile(PARTS + spec)
    stage = system.pipelines["p"].nodes["p.ocr"]["stage"]
    assert stage.options["service"].name == "formula"


def test_a_loop_variable_hides_everything_and_ends_with_its_loop() -> None:
    spec = """
param i = 5
g[4]: G
for i in range(2) { g[i].power = (i + 1) * 10 W }
g[i - 2].power = 3 W
for i, watts in [(2, 7 W)] { g[i].power = watts }
"""
    assert of(spec, "g[*].power") == "[10 W, 20 W, 7 W, 3 W]"


# --- order and laziness --------------------------------------------------------------------


def test_declaration_order_never_matters() -> None:
    lines = [
        "param n = 2", "n = 3", "g[n]: Own", "chip Own extends G { power = watts }",
        "let watts = base * 2", "let base = 5 W", "g[n - 1].power = 1 W", "assert len(g) == 3",
        "for i in range(n - 2) { g[i].power = 2 W }",
    ]  # fmt: skip
    for turn in range(len(lines)):
        tree = built(PARTS + "\n".join(lines[turn:] + lines[:turn]))
        assert shown(tree, "g[*].power") == "[2 W, 10 W, 1 W]"


def test_values_are_lazy() -> None:
    spec = """
model Wide extends M { dtype = fp32 }
model Narrow extends M { dtype = fp8; kv_dtype = bf16 }
"""
    tree = built(PARTS + spec)
    weights = [shown(tree, f"{m}.weights") for m in ("M", "Wide", "Narrow")]
    assert weights == ["2 MB", "4 MB", "1 MB"]  # 1e6 parameters of 2, 4 and 1 bytes
    # 2 layers x 2 x 2 heads x 64 values = 512 per token; kv_dtype follows dtype unless given
    kv = [shown(tree, f"{m}.kv_per_token == {size}") for m, size in
          (("M", "1 KiB"), ("Wide", "2 KiB"), ("Narrow", "1 KiB"))]  # fmt: skip
    assert kv == ["true"] * 3


def test_what_nobody_asks_for_is_still_checked() -> None:
    assert codes("let never = 3 GB + 4 s") == ["HMS301"]
    assert codes("chip Unused { power = 3 GB }") == ["HMS301"]
    assert codes("node Generic { param n; gpu[n]: Missing }") == []  # cannot be made without n


def test_a_condition_may_read_what_another_file_level_value_sets() -> None:
    spec = "param n = 1\nn = 2\nif n == 2 { chip Extra extends G { power = 4 W }\nx: Extra }"
    assert of(spec, "x.power") == "4 W"


def test_the_command_line_reaches_what_an_if_declares() -> None:
    spec = "param big = true\nif big { param n = 2; g[n]: G }"
    assert of(spec, "len(g)", {"n": "3"}) == "3"
    assert codes(PARTS + spec, {"big": "false", "n": "3"}) == ["HMS201"]


@pytest.mark.parametrize(
    "spec",
    [
        "param n = 2\nif n == 2 { n = 3 }",
        "param n = 2\nfor i in range(n) { n = 3 }",
        "g[2]: G\nif true { g[0].power = 3 W }\nif g[0].power < 50 W { g[1].power = 1 W }",
        "node Box { param n = 2; gpu[4]: G; for i in range(n) { n = 3 } }\nb: Box",
    ],
)
def test_what_decides_a_block_cannot_be_set_by_one(spec: str) -> None:
    found = codes(PARTS + spec)
    assert found[:1] == ["HMS208"]


# --- params --------------------------------------------------------------------------------


def test_a_param_of_a_kind_takes_a_definition_and_stands_as_a_type() -> None:
    spec = """
chip Fast extends G { power = 300 W }
node Box { param accel: chip = G; gpu[2]: accel }
a: Box
b: Box { accel = Fast }
"""
    tree = built(PARTS + spec)
    assert (shown(tree, "a.gpu[0].power"), shown(tree, "b.gpu[0].power")) == ("100 W", "300 W")
    assert codes(PARTS + spec + "c: Box { accel = L }") == ["HMS303"]
    assert codes(PARTS + spec + "c: Box { accel = a }") == ["HMS303"]


def test_a_param_of_a_single_kind_takes_the_thing_itself() -> None:
    spec = """
model Big extends M { parameters = 4e6 }
cluster Site { param of: model = M; gpu: G; llm: LlmEngine on gpu { model = of } }
a: Site
b: Site { of = Big }
"""
    system = hermesdsl.compile(PARTS + spec)
    models = [system.placement.nodes[f"{x}.llm"]["client"].model.name for x in "ab"]
    assert models == ["M", "Big"]


ENGINES = """
gpu[6]: G
one: LlmEngine on gpu[0] { model = M }
many[2]: LlmEngine on gpu[1:3] { model = M }
client Own extends LlmEngine { max_batch = 3 }
own: Own on gpu[3] { model = M }
pool both { members = [one, many] }
tools: WorkerPool { workers = 2 }
cluster Cell { param llm: LlmEngine; chat: Chat { llm = llm } }
"""


@pytest.mark.parametrize(
    ("given", "pool"),
    [
        ("one", "one"), ("many", "many"), ("many[1]", "many[1]"), ("many[*]", "many[0:2]"),
        ("own", "own"), ("both", "both"), ("[one, own]", "one, own"),
    ],
)  # fmt: skip
def test_a_param_of_a_client_takes_one_a_vector_a_selection_or_a_pool(
    given: str, pool: str
) -> None:
    spec = f"{PARTS}{ENGINES}cell: Cell {{ llm = {given} }}\npipe: Chat {{ llm = {given} }}"
    system = hermesdsl.compile(spec)
    assert system.pipelines["pipe"].nodes["pipe.read"]["stage"].pool == pool


@pytest.mark.parametrize("given", ["LlmEngine", "tools", "gpu", "M", "3", "[one, tools]"])
def test_a_param_of_a_client_takes_nothing_else(given: str) -> None:
    assert codes(f"{PARTS}{ENGINES}c: Chat {{ llm = {given} }}") == ["HMS303"]


def test_a_param_of_ones_own_type_goes_by_what_it_extends_not_by_its_name() -> None:
    spec = f"""
{PARTS}{ENGINES}
cluster Other {{
    client Own extends LlmEngine {{ max_batch = 4 }}
    gpu: G
    x: Own on gpu {{ model = M }}
}}
other: Other
pipeline P {{ param llm: Own; a: Generate on llm; input -> a -> output }}
"""
    assert codes(spec + "p: P { llm = own }") == []
    assert codes(spec + "p: P { llm = other.x }") == ["HMS303"]
    assert codes(spec + "p: P { llm = one }") == ["HMS303"]


def test_a_param_without_a_value_is_required_and_all_are_named_at_once() -> None:
    spec = "node Box { param n; param accel: chip; gpu[n]: accel }\nbox: Box"
    assert messages(PARTS + spec) == ["`box` needs values for `n`, `accel`"]
    assert codes(PARTS + spec, {"box.n": "2", "box.accel": "G"}) == []


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        ("range(1, 9)", ["1", "8"], ["0", "9", "2.5"]),
        ("[1, 2, 4]", ["4", "2.0"], ["3"]),
        ("between(1, 8)", ["1", "8", "2.5"], ["0.9", "9"]),
    ],
)
def test_domains(domain: str, inside: list[str], outside: list[str]) -> None:
    spec = f"param n = 2 in {domain}\nlet m = n"
    for given in inside:
        assert codes(spec, {"n": given}) == []
    for given in outside:
        assert codes(spec, {"n": given}) == ["HMS306"]


def test_a_domain_of_things_and_of_quantities() -> None:
    spec = """
chip Fast extends G { power = 300 W }
node Box { param accel: chip = G in [G, Fast]; param watts = 3 W in [3 W, 0.004 kW]; gpu: accel }
box: Box { accel = Fast; watts = 4 W }
"""
    assert codes(PARTS + spec) == []
    assert codes(PARTS + spec, {"box.accel": "L"}) == ["HMS303"]
    assert codes(PARTS + spec, {"box.watts": "5 W"}) == ["HMS306"]
    assert codes(PARTS + spec.replace("[G, Fast]", "[G]")) == ["HMS306"]


def test_the_default_is_in_the_domain_too() -> None:
    assert codes("param n = 20 in range(1, 9)\nlet m = n") == ["HMS306"]


@pytest.mark.parametrize(
    ("default", "fits", "not_of_its_sort"),
    [
        ("2", ["3", "2.5"], ["3 GB", '"x"', "true", "[1]"]),
        ("2 GB", ["3 GiB", "1 B"], ["3", "3 s", '"x"']),
        ("2 req/s", ["3 req/s", "3 Hz"], ["3 tok/s", "3"]),
        ('"a"', ['"b"'], ["3", "true"]),
        ("true", ["false"], ["1", '"yes"']),
    ],
)
def test_a_param_without_a_type_keeps_the_sort_of_its_default(
    default: str, fits: list[str], not_of_its_sort: list[str]
) -> None:
    spec = f"param p = {default}\nlet q = p"
    for given in fits:
        assert codes(spec, {"p": given}) == []
    for given in not_of_its_sort:
        assert codes(spec, {"p": given})[0] in ("HMS301", "HMS303")


# --- types and things ----------------------------------------------------------------------


def test_a_type_named_where_a_pipeline_is_wanted_makes_one_default_instance() -> None:
    spec = """
gpu: G
llm: LlmEngine on gpu { model = M }
pipeline P { a: Generate on llm; input -> a -> output }
workload v { pipeline = P; arrivals = poisson(1 req/s); prompt = 1 tok; output = 1 tok }
workload w extends v { arrivals = poisson(2 req/s) }
"""
    system = hermesdsl.compile(PARTS + spec)
    assert {w.pipeline for w in system.compiled.workloads.values()} == {"P"}
    assert list(system.pipelines) == ["P"]


def test_a_link_named_twice_is_one_link() -> None:
    spec = "a: G; b: Switch; c: G\nconnect a <-> b via L\nconnect c <-> b via L"
    system = hermesdsl.compile(PARTS + spec)
    assert system.hardware.edges["a", "b", 0]["link"] is system.hardware.edges["c", "b", 0]["link"]


def test_kinds_are_types_or_singles() -> None:
    assert codes(PARTS + "m: M") == ["HMS303"]
    assert codes(PARTS + "gpu: G\nc: LlmEngine on gpu { model = G }") == ["HMS303"]


def test_nested_definitions_see_the_body_around_them() -> None:
    spec = """
cluster Site {
    param watts = 5 W
    chip Own extends G { power = watts * 2 }
    gpu: Own
}
a: Site
b: Site { watts = 7 W }
"""
    tree = built(PARTS + spec)
    assert (shown(tree, "a.gpu.power"), shown(tree, "b.gpu.power")) == ("10 W", "14 W")


def test_a_type_may_hold_itself_if_it_ends() -> None:
    spec = """
cluster Tree {
    param depth = 2
    sw: Switch
    if depth > 0 {
        child[2]: Tree { depth = depth - 1 }
        connect child[*].sw <-> sw via L
    }
}
tree: Tree
"""
    system = hermesdsl.compile(PARTS + spec)
    assert len(system.hardware) == 1 + 2 + 4
    assert system.hardware.number_of_edges() == 2 * (2 + 4)
    assert "tree.child[1].child[0].sw" in system.hardware
