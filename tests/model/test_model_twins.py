"""Equal siblings of a vector share their values; what points inside one points inside the other."""

from __future__ import annotations

from model_specs import PARTS, built, shown, value

import hermesdsl
from hermesdsl.diagnostics import Sink
from hermesdsl.model.elaborate import elaborate

CELL = """
cluster Cell {
    param width = 2
    node Box {
        gpu[width]: G
        sw: Switch
        connect gpu[*] <-> sw via L
    }
    box[2]: Box
    hub: Switch
    connect box[*].sw <-> hub via L
    llm[2]: LlmEngine on box[*].gpu[*] { model = M; tp = width }
    pool both { members = [llm] }
    dram: Memory { capacity = 1 TB; bandwidth = 1 GB/s }
    cache kv { t: KvTier on dram { scope = all; capacity = 100 GB }; t -> recompute }
    chat: Chat { llm = llm }
    pooled: Chat { llm = both }
    cached: CachedChat { llm = llm; cache = kv }
}
cell[3]: Cell
"""


def test_siblings_that_are_configured_alike_are_twins() -> None:
    tree = built(PARTS + "g[4]: G\ng[2].power = 3 W")
    first, second, third, fourth = value(tree, "g[*]").items
    assert (first.twin, third.twin) == (None, None)
    assert second.twin is first
    assert fourth.twin is first


def test_twins_have_the_same_values_under_their_own_paths() -> None:
    tree = built(
        PARTS + "node Box { gpu[2]: G; let first = gpu[0]; let all_of_it = gpu[*] }\nbox[3]: Box"
    )
    assert shown(tree, "box[2].gpu[1].hbm") == "box[2].gpu[1].hbm"
    assert shown(tree, "box[2].gpu[1].hbm.capacity") == "80 GiB"
    assert shown(tree, "box[2].first") == "box[2].gpu[0]"
    assert shown(tree, "box[1].all_of_it") == "box[1].gpu[0] box[1].gpu[1]"


def test_what_lies_outside_stays_itself() -> None:
    lets = "let mine = gpu; let other = spare; let both = [gpu, spare]"
    spec = f"spare: G\nnode Box {{ gpu: G; {lets} }}\nbox[2]: Box"
    tree = built(PARTS + spec)
    assert shown(tree, "box[1].mine") == "box[1].gpu"
    assert shown(tree, "box[1].other") == "spare"
    assert shown(tree, "box[1].both") == "[box[1].gpu, spare]"


def test_nested_clusters_keep_their_engines_pools_and_caches_apart() -> None:
    system = hermesdsl.compile(
        PARTS + CELL + load("cell[2].chat", "cell[2].pooled", "cell[1].cached")
    )
    pools = system.placement.graph["pools"]
    assert pools["cell[2].llm"].members == ("cell[2].llm[0]", "cell[2].llm[1]")
    assert pools["cell[2].both"].members == ("cell[2].llm[0]", "cell[2].llm[1]")
    assert pools["cell[1].llm"].members == ("cell[1].llm[0]", "cell[1].llm[1]")
    stage = system.pipelines["cell[1].cached"].nodes["cell[1].cached.fetch"]["stage"]
    assert stage.options["cache"] == "cell[1].kv"
    for i in range(3):
        group = system.placement.nodes[f"cell[{i}].llm[1]"]["client"].group
        assert group.devices == (f"cell[{i}].box[1].gpu[0]", f"cell[{i}].box[1].gpu[1]")
        assert list(system.placement.successors(f"cell[{i}].kv.t")) == [f"cell[{i}].dram"]


def load(*pipelines: str) -> str:
    return "".join(
        f"workload w{i} {{ pipeline = {p}; arrivals = poisson(1 req/s) }}\n"
        f"w{i} {{ prompt = 1 tok; output = 1 tok }}\n"
        for i, p in enumerate(pipelines)
    )


def test_a_pool_inside_a_twin_is_named_from_outside() -> None:
    spec = CELL + "chat: Chat { llm = cell[1].both }\n" + load("chat")
    system = hermesdsl.compile(PARTS + spec)
    assert system.placement.graph["pools"]["cell[1].both"].members == (
        "cell[1].llm[0]", "cell[1].llm[1]",
    )  # fmt: skip
    assert shown(built(PARTS + CELL), "cell[2].kv.t.capacity") == "100 GB"


def test_wires_of_twins_stay_among_themselves() -> None:
    system = hermesdsl.compile(PARTS + CELL)
    for a, b in system.hardware.edges():
        assert a.partition(".")[0] == b.partition(".")[0]
    assert system.hardware.number_of_edges("cell[1].box[1].sw", "cell[1].hub") == 1
    assert system.hardware.number_of_edges("cell[2].box[1].gpu[1]", "cell[2].box[1].sw") == 1


def test_wires_to_what_lies_around_a_nested_definition() -> None:
    spec = """
cluster Row {
    sw: Switch
    node Box { gpu: G; connect gpu <-> sw via L }
    box[2]: Box
}
row[2]: Row
"""
    system = hermesdsl.compile(PARTS + spec)
    for row in range(2):
        for box in range(2):
            assert system.hardware.has_edge(f"row[{row}].box[{box}].gpu", f"row[{row}].sw")
    assert system.hardware.in_degree("row[1].sw") == 2


def test_one_configured_member_leaves_its_siblings_alone() -> None:
    spec = CELL + "cell[1].width = 4\ncell[2].box[0].gpu[1].power = 7 W"
    tree = built(PARTS + spec)
    assert shown(tree, "len(cell[0].box[0].gpu)") == "2"
    assert shown(tree, "len(cell[1].box[1].gpu)") == "4"
    assert shown(tree, "cell[2].box[*].gpu[*].power") == "[100 W, 7 W, 100 W, 100 W]"


def test_asserts_of_a_definition_are_told_once_and_say_whose_they_are() -> None:
    spec = "node Box { gpu[2]: G; assert sum(gpu[*].power) < 150 W }\nbox[5]: Box"
    sink = Sink()
    elaborate("spec.hms", sink=sink, text=PARTS + spec)
    (found,) = sink.items
    assert found.notes == ("note: of `box[0]`",)
