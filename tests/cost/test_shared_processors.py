"""What clients on one processor have of its cores and of its memory's bandwidth."""

import numpy as np
import pytest

import hermesdsl
from hermesdsl.cost.rag import SCAN_PER_CORE
from hermesdsl.cost.services import bind_services
from hermesdsl.cost.types import Use
from hermesdsl.diagnostics import SpecError
from hermesdsl.graph.types import Group
from hermesdsl.results.activity import of_device

PROGRAM = """
from std.models.embedding import E5_Base
cpu Xeon { peak.fp32 = 4 TFLOPS; peak.bf16 = 8 TFLOPS; cores = 48 }
node Host { cpu[2]: Xeon; dram[2]: Memory { capacity = 256 GiB; bandwidth = 300 GB/s }
            connect cpu[0] <-> dram[0]; connect cpu[1] <-> dram[1] }
host: Host
index wiki { kind = flat; vectors = 1e6; dim = 256 }
CLIENTS
pipeline P {
    STAGES
}
workload w { pipeline = P; arrivals = poisson(1 req/s); prompt = 60 tok; output = 10 tok }
experiment e { workload = [w]; duration = 10 s }
"""
SEARCH = "find: Retrieve on search { index = wiki; top_k = 8 }"
READ = "read: Tokenize on text"
EMBED = "embed: Embed on embedder"


def pool(name: str, workers: int, where: str = "host.cpu[0]") -> str:
    return f"{name}: WorkerPool on {where} {{ workers = {workers}; share = true }}"


EMBEDDER = "embedder: BatchEngine on host.cpu[0] { model = E5_Base; share = true }"


def compiled(*lines: str):
    """Clients and stages, told apart by their words."""
    clients = "\n".join(line for line in lines if " on host" in line)
    stages = [line for line in lines if " on host" not in line]
    arrows = " -> ".join(["input", *(stage.partition(":")[0] for stage in stages), "output"])
    text = PROGRAM.replace("CLIENTS", clients).replace("STAGES", "\n".join([*stages, arrows]))
    return hermesdsl.compile(text).compiled


def group(system, name: str) -> Group:
    return system.placement.nodes[name]["client"].group


def shares(system, name: str) -> tuple[float, float]:
    return group(system, name).cores_share, group(system, name).memory_share


def test_a_client_alone_has_all_of_its_processor():
    system = compiled(pool("search", 12), pool("text", 60, "host.cpu[1]"), SEARCH, READ)
    assert shares(system, "search") == (1.0, 1.0)
    assert shares(system, "text") == (1.0, 1.0)
    costs = bind_services(system)
    assert costs["P.find", "search"].machine.cores == 48
    assert costs["P.read", "text"].cores == 48 / 60


def test_pools_divide_the_cores_among_all_workers():
    system = compiled(pool("search", 4), pool("text", 12), SEARCH, READ)
    # 48 cores / 16 workers: three each; 4 × 3 of 48 for the searches, which alone read memory.
    assert shares(system, "search") == (0.25, 1.0)
    costs = bind_services(system)
    assert costs["P.read", "text"].cores == 3.0
    machine = costs["P.find", "search"].machine
    assert machine.cores == 12
    assert machine.bandwidth == pytest.approx(0.8 * 300e9)
    # One search reads 1e6 × 256 × 4 bytes with three cores.
    assert costs["P.find", "search"].seconds(1, busy=1) == pytest.approx(
        1.024e9 / (3 * SCAN_PER_CORE)
    )


def test_cores_are_whole_where_they_are_meant_so():
    # 3 and 4 workers: a worker has 48/8 = 6 cores whatever is lost in 3/8 and 5/8.
    for three in (3, 5, 7):
        system = compiled(pool("search", 8 - three if three < 8 else 1), pool("text", three),
                          SEARCH, READ)  # fmt: skip
        assert bind_services(system)["P.read", "text"].cores == 6.0


def test_beside_an_engine_a_worker_has_one_core():
    system = compiled(pool("search", 12), EMBEDDER, SEARCH, EMBED)
    assert shares(system, "search") == (0.25, 0.25)
    assert shares(system, "embedder") == (0.75, 0.75)
    costs = bind_services(system)
    assert costs["P.find", "search"].machine.bandwidth == pytest.approx(0.25 * 0.8 * 300e9)
    # All twelve at once: 60 GB/s between them, which is less than 12 × 18 GB/s.
    assert costs["P.find", "search"].seconds(1) == pytest.approx(1.024e9 / (0.8 * 300e9 / 4 / 12))


def test_an_embedder_computes_with_the_cores_that_are_left():
    alone = bind_services(compiled(EMBEDDER, EMBED))["P.embed", "embedder"]
    beside = bind_services(compiled(pool("text", 12), EMBEDDER, READ, EMBED))
    shared = beside["P.embed", "embedder"]
    assert shared.engine.device.peak == pytest.approx(0.75 * alone.engine.device.peak)
    # Nobody else reads memory: what is bound by that takes as long.
    assert shared.engine.device.bandwidth == alone.engine.device.bandwidth
    assert (
        alone.seconds(64, 32_768) < shared.seconds(64, 32_768) <= alone.seconds(64, 32_768) / 0.75
    )


def test_engines_take_turns_on_what_workers_leave():
    other = EMBEDDER.replace("embedder:", "other:")
    system = compiled(EMBEDDER, other, pool("search", 24), EMBED, SEARCH)
    assert shares(system, "embedder") == shares(system, "other") == (0.5, 0.5)
    assert shares(system, "search") == (0.5, 0.5)
    assert shares(compiled(EMBEDDER, other, EMBED), "embedder") == (1.0, 1.0)


def test_a_search_with_a_time_of_its_own_reads_nothing():
    own = "find: Retrieve on search { index = wiki; top_k = 8; service = 1 ms }"
    assert shares(compiled(pool("search", 12), EMBEDDER, own, EMBED), "embedder") == (0.75, 1.0)


def test_a_pool_on_two_processors_has_what_the_fuller_gives():
    wide = pool("search", 8, "host.cpu[*]")
    # Four of its workers on each; beside twelve more: a quarter of the cores there.
    system = compiled(wide, pool("text", 12), SEARCH, READ)
    assert shares(system, "search") == (0.25, 1.0)
    assert bind_services(system)["P.find", "search"].machine.cores == 24


def test_the_order_of_declaration_does_not_matter():
    one = compiled(pool("search", 12), EMBEDDER, SEARCH, EMBED)
    other = compiled(EMBEDDER, pool("search", 12), SEARCH, EMBED)
    assert [shares(one, name) for name in ("search", "embedder")] == [
        shares(other, name) for name in ("search", "embedder")
    ]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((pool("search", 40), pool("text", 9), SEARCH, READ),
         "workers on host.cpu[0] take 49 of its 48 cores together: `search` 40, `text` 9"),
        ((pool("search", 49), EMBEDDER, SEARCH, EMBED),
         "workers on host.cpu[0] take 49 of its 48 cores together: `search` 49"),
        ((pool("search", 48), EMBEDDER, SEARCH, EMBED),
         "workers on host.cpu[0] take 48 of its 48 cores together and leave none to `embedder`"),
    ],
)  # fmt: skip
def test_more_workers_than_cores_are_refused(lines, said):
    with pytest.raises(SpecError) as caught:
        compiled(*lines)
    (problem,) = (item for item in caught.value.diagnostics if item.is_error)
    assert problem.code == "HMS405"
    assert problem.message.startswith(said)
    assert problem.span is not None


def test_pools_may_have_all_cores():
    system = compiled(pool("search", 40), pool("text", 8), SEARCH, READ)
    assert bind_services(system)["P.read", "text"].cores == 1.0


def test_what_is_used_of_a_part_is_less_of_the_whole():
    system = compiled(pool("search", 12), EMBEDDER, SEARCH, EMBED)
    use = Use(*(np.array([x]) for x in (1.0, 0.8, 0.6, 0.1)))
    client = system.placement.nodes["search"]["client"]
    # A quarter of the cores and of the bandwidth; links are not divided.
    own = of_device(use, client)
    shares = [float(x[0]) for x in own if x is not None]
    assert shares == pytest.approx([0.25, 0.2, 0.15, 0.1])
    alone = compiled(pool("search", 12), SEARCH).placement.nodes["search"]["client"]
    assert of_device(use, alone) is use
