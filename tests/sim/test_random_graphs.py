"""A9 and A10 on random pipelines: both forms agree bit for bit, everything is conserved."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
from built_graphs import TICK, Branch, PerItem, clients, graph, simulated, site, stage
from hand_built import MODEL, AffineCost, batch
from hosts import hosted
from hypothesis import given, settings
from hypothesis import strategies as st
from pooled import with_pool
from shared_texts import shared
from test_reference import assert_same, on_links

from hermesdsl.graph.types import Guard, Pool, Spec
from hermesdsl.sim.tokens import token_gaps

ticks = st.integers(0, 12).map(lambda n: n * TICK)
services = st.one_of(
    ticks,
    st.just(Spec("exponential", {"mean": 5 * TICK})),
    st.just(Spec("formula", {"op": "*", "operands": (TICK / 8, Spec("formula", {
        "op": "attribute", "operands": ("context",)}))})),
)  # fmt: skip
lengths = st.sampled_from([None, 3, Spec("uniform", {"low": 1, "high": 9})])
repeats = st.sampled_from(
    [None, None, None, Spec("times", {"n": 2}), Spec("geometric", {"mean": 2, "max": 4}),
     Spec("while", {"p": 0.5, "max": 3}),
     Spec("while", {"p": Guard("<", ("context", 40.0)), "max": 3})]
)  # fmt: skip
joins = st.sampled_from(
    [Spec("all"), Spec("first", {"k": 1, "which": "any"}), Spec("first", {"k": 2, "which": "any"}),
     Spec("first", {"k": 1, "which": "pass"}), Spec("best", {"k": 1}), Spec("majority")]
)  # fmt: skip
#: Mostly none: how long KV waits for a request that is in the stage.
holds = st.sampled_from([None, None, 2 * TICK, 9 * TICK])
passes = st.sampled_from([1.0, 0.5, Guard(">", ("context", 25.0))])
conditions = st.sampled_from(
    [
        0.3,
        0.6,
        Guard(">", ("prompt", 8.0)),
        Guard("is", ("verdict",)),
        Guard("<", ("context", 20.0)),
        Guard("==", ("model", "=small")),
    ]
)

admissions = st.sampled_from(
    [Spec("queue_limit", {"n": 1}), Spec("queue_limit", {"n": 3}),
     Spec("token_bucket", {"rate": 0.05 / TICK, "burst": 2})]
)  # fmt: skip
routes = st.sampled_from(
    [Spec("jsq"), Spec("least_work"), Spec("kv_free"), Spec("power_of_two"), Spec("oracle"),
     Spec("session_affinity", {"staleness": 5 * TICK}), Spec("prefix_affinity"),
     Spec("weighted", {"queue": 1.0, "kv": 1.0})]
)  # fmt: skip


class Shapes:
    """Draws pipelines; every stage gets a path of its own."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.number = itertools.count()

    def leaf(self, prefix: str) -> Any:
        draw, path = self.draw, f"{prefix}.s{next(self.number)}"
        kind = draw(
            st.sampled_from(["Prefill", "Decode", "Generate", "Generate", "Score", "Tool", "Guard"])
        )
        repeat = draw(repeats)
        if kind in ("Prefill", "Decode", "Generate"):
            pools = ["llm", "llm", "other", "roles"]
            pool = draw(st.sampled_from(pools if kind == "Decode" else [*pools, "models"]))
            options: dict[str, Any] = {"hidden": draw(st.booleans())} if kind != "Prefill" else {}
            if kind != "Prefill":
                options["tokens"] = draw(lengths)
            if kind == "Generate" and pool == "roles":
                options["transfer"] = draw(st.sampled_from(["full", "layerwise"]))
            if kind == "Generate" and pool in ("llm", "other") and draw(st.booleans()):
                options["prefill"] = "other" if pool == "llm" else "llm"
                options["transfer"] = draw(st.sampled_from(["full", "layerwise"]))
            return stage(path, kind, pool, repeat=repeat, **options)
        if kind == "Tool":
            appends = draw(st.sampled_from([None, 5, Spec("uniform", {"low": 0, "high": 20})]))
            pool = draw(st.sampled_from(["work", "web", "webs"]))
            return stage(path, kind, pool, repeat=repeat, service=draw(services), appends=appends,
                         hold=draw(holds))  # fmt: skip
        pool = draw(st.sampled_from(["work", "judge", "any"]))
        service = draw(services) if pool == "work" else draw(st.sampled_from([None, 2 * TICK]))
        if pool == "any":
            service = None
        options = {"pass": draw(passes), "hold": draw(holds)}
        return stage(path, kind, pool, service=service, **options)

    def element(self, prefix: str, depth: int) -> Any:
        if depth == 0 or self.draw(st.integers(0, 2)):
            return self.leaf(prefix)
        replicas = self.draw(st.sampled_from([1, 2, 3]))
        path = f"{prefix}.p{next(self.number)}"
        inside = self.pipeline(f"{path}[0]" if replicas > 1 else path, depth - 1)
        return stage(path, "Sub", inner=inside, replicas=replicas, join=self.draw(joins),
                     repeat=self.draw(repeats))  # fmt: skip

    def pipeline(self, prefix: str, depth: int) -> Any:
        """A chain of elements, forks and branches."""
        stages: list[Any] = []
        ways: list[Any] = []
        last: Any = "input"

        def one() -> str:
            made = self.element(prefix, depth)
            stages.append(made)
            return made.path

        for _ in range(self.draw(st.integers(1, 2))):
            shape = self.draw(st.sampled_from(["one", "one", "fork", "branch"]))
            first = one()
            ways.append((last, first))
            last = first
            if shape == "fork":
                middle, end = tuple(one() for _ in range(2)), one()
                ways.append((last, middle, end))
                last = end
            elif shape == "branch":
                left, right, end = one(), one(), one()
                other = "refused" if self.draw(st.integers(0, 5)) == 0 else right
                ways.append(Branch(last, [(self.draw(conditions), left, end), (None, other)]))
                ways.append((right, end) if other == right else (left, right, end))
                if other != right:
                    ways[-2] = Branch(last, [(ways[-2].arms[0][0], left), (None, "refused")])
                last = end
        ways.append((last, "output"))
        return graph(prefix, stages, *ways)


@st.composite
def systems(draw: st.DrawFn) -> Any:
    made = Shapes(draw).pipeline("w", 1)
    batching = draw(
        st.sampled_from(
            [
                Spec("chunked", {"budget": 24}),
                Spec("continuous"),
                Spec("mixed"),
                Spec("static", {"n": 3}),
            ]
        )
    )
    engine = {
        "batching": batching, "max_batch": draw(st.sampled_from([2, 8, 256])),
        "block_size": draw(st.sampled_from([1, 4, 16])), "prefix_cache": draw(st.booleans()),
        "preemption": draw(st.sampled_from(["recompute", "swap"])),
    }  # fmt: skip
    placement = clients(
        llm=("LlmEngine", draw(st.integers(1, 3)), engine | {"route": draw(routes)}),
        other=("LlmEngine", 1, engine),
        work=("WorkerPool", 1, {"workers": draw(st.integers(1, 3)),
                                "queue_limit": draw(st.sampled_from([None, None, 2]))}),
        judge=("BatchEngine", draw(st.integers(1, 2)),
               {"max_batch": 3, "max_tokens": 60, "max_wait": draw(ticks),
                "route": Spec("random")}),
        web=("Delay", 1, {"latency": Spec("uniform", {"low": 0.0, "high": 9 * TICK})}),
        far=("Delay", 1, {"latency": 5 * TICK}),
        small=("LlmEngine", 1, engine | {"model": replace(MODEL, name="small")}),
        reader=("LlmEngine", 1, engine | {"role": "prefill"}),
        writer=("LlmEngine", 1, engine | {"role": "decode"}),
    )  # fmt: skip
    unlike = {
        "models": ("small[0]", "llm[0]"), "roles": ("reader[0]", "writer[0]", "other[0]"),
        "any": ("work[0]", "judge[0]", "small[0]", "far[0]"), "webs": ("web[0]", "far[0]"),
    }  # fmt: skip
    for name, members in unlike.items():
        placement.graph["pools"][name] = Pool(name, members, Spec("jsq"))
    horizon = draw(st.sampled_from([{}, {}, {"horizon": "cut", "duration": 60 * TICK}]))
    built = site(made, placement, **horizon, contention="fair")
    for pool in draw(st.sets(st.sampled_from(["llm", "work", "judge"]), max_size=1)):
        built = with_pool(built, pool, admission=draw(admissions))
    devices = [part for part in built.hardware if part.endswith(".gpu")]
    hosted(built.hardware, devices, bandwidth=1000.0 / TICK)
    return draw(on_links(built))


offers = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 30), st.integers(1, 15)), min_size=1, max_size=7
)
costs = st.sampled_from(
    [AffineCost(base=TICK), AffineCost(base=0.009, per_token=5e-5, per_pair=1e-8, per_context=8e-7)]
)


#: The longest prompt and output take 45 tokens, so the least of these lets each through alone; as
#: contexts grow from stage to stage, what no longer fits is refused.
memories = st.sampled_from([45, 64, 100, 220, 1 << 30])


@given(systems(), offers, costs, memories, st.data())
@settings(max_examples=300, deadline=None)
def test_both_forms_agree_and_all_is_conserved(
    built: Any, offer: Any, cost: Any, memory: int, data: Any
):
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    load = data.draw(shared(batch(np.array(arrival) * TICK, prompt, output), TICK), "load")
    cost = type(cost)(**{**vars(cost), "kv_tokens": memory})
    fast = simulated(built, cost, load, service=PerItem())
    slow = simulated(built, cost, load, service=PerItem(), reference=True)
    assert_same(fast, slow)
    visits = fast.visits
    ended = ~np.isnan(visits["end_s"])
    assert (visits["start_s"] >= visits["enter_s"])[ended].all()
    assert (visits["end_s"] >= visits["start_s"])[ended].all()
    _, weights = token_gaps(fast)
    assert (weights >= 0).all()
    assert_first_come_first_served(fast, "work[0]", "judge[0]", "judge[1]")


def assert_first_come_first_served(run: Any, *paths: str) -> None:
    """At clients in order `fcfs`, nobody who came later was served earlier."""
    visits = run.visits
    for path in set(paths) & set(run.clients):
        mine = (visits["client"] == run.clients.index(path)) & ~np.isnan(visits["start_s"])
        enter, start = visits["enter_s"][mine], visits["start_s"][mine]
        assert (np.diff(start[np.lexsort((start, enter))]) >= 0).all()


@given(offers, costs, st.sampled_from(["chunked", "continuous", "mixed", "static"]),
       st.sampled_from([64, 400]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_prompts_are_begun_as_they_came(offer: Any, cost: Any, batching: str, memory: int):
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    made = graph("w", [stage("w.a", "Generate", "llm")], ("input", "w.a", "output"))
    placement = clients(llm=("LlmEngine", 1, {"batching": Spec(batching), "block_size": 4}))
    cost = type(cost)(**{**vars(cost), "kv_tokens": memory})
    run = simulated(site(made, placement), cost, batch(np.array(arrival) * TICK, prompt, output))
    assert_first_come_first_served(run, "llm[0]")


def reordered(made: Any) -> Any:
    """The same pipeline, its stages and arrows declared the other way round."""
    other: nx.DiGraph = nx.DiGraph(**made.graph)
    for path, data in reversed(list(made.nodes(data=True))):
        node = dict(data)
        if node.get("stage") is not None and node["stage"].inner is not None:
            node["stage"] = replace(node["stage"], inner=reordered(node["stage"].inner))
        other.add_node(path, **node)
    other.add_edges_from(reversed(list(made.edges(data=True))))
    return other


@given(systems(), offers, costs, memories)
@settings(max_examples=100, deadline=None)
def test_the_order_of_declarations_does_not_matter(built: Any, offer: Any, cost: Any, memory: int):
    arrival, prompt, output = zip(*sorted(offer), strict=True)
    load = batch(np.array(arrival) * TICK, prompt, output)
    cost = type(cost)(**{**vars(cost), "kv_tokens": memory})
    placement: nx.DiGraph = nx.DiGraph(pools=dict(reversed(built.placement.graph["pools"].items())))
    placement.add_nodes_from(reversed(list(built.placement.nodes(data=True))))
    turned = replace(built, pipelines={"w": reordered(built.pipelines["w"])}, placement=placement)
    one = simulated(built, cost, load, service=PerItem())
    other = simulated(turned, cost, load, service=PerItem())
    assert one.counts == other.counts
    for name, column in one.requests.items():
        if name.endswith(".client"):
            names = [np.array([*run.clients, ""])[run.requests[name]] for run in (one, other)]
            np.testing.assert_array_equal(*names)
        else:
            np.testing.assert_array_equal(column, other.requests[name], err_msg=name)
