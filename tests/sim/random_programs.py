"""Whole programs at random: two small machines, engines of every kind, pools, caches, customers.

`program` makes one of what `pick` chooses, which hypothesis or a plain generator of random numbers
may do: the first of the things to choose from is always the plainest, so what fails gets simpler.
Some programs are refused by name; everything else has to run.

Sizes: the models take 20 to 60 MB and 4 KiB of KV per token, a chip has room for some hundreds to
some thousands of tokens, links carry 1 to 50 GB/s: a prompt of 500 tokens moves in some
milliseconds, as long as some steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Pick = Callable[..., Any]

ROUTES = (
    "round_robin", "jsq", "random", "jsq(tokens)", "power_of_two", "least_work", "oracle",
    "kv_free", "session_affinity", "prefix_affinity", "heavy_light(prompt)", "heavy_light(output)",
    "heavy_light(both)", "weighted(queue = 1, work = 1, kv = 0.5, prefix = 1, session = 1)",
    "jsq(staleness = 20 ms)", "least_work(staleness = 5 ms)", "kv_free(staleness = 11 ms)",
    "weighted(prefix = 2, kv = 1, staleness = 30 ms)",
)  # fmt: skip
BATCHINGS = (
    "chunked(256 tok)", "continuous", "mixed", "static(3)", "chunked(32 tok)", "chunked(2048 tok)",
)  # fmt: skip
ORDERS = ("fcfs", "priority", "sjf", "least_work_left", "edf")
MODELS = ("Plain", "Windowed", "Layered", "Experts")

HARDWARE = """
link Lane {{ bandwidth = {lane} GB/s; latency = 1 us }}
link Cable {{ bandwidth = {cable} GB/s; latency = 2 us }}
chip Gpu {{
    peak.bf16 = 40 TFLOPS; peak.fp8 = 80 TFLOPS; power = 300 W; idle_power = 40 W; cost = $1/hr
    hbm: Memory {{ capacity = {memory} MiB; bandwidth = 400 GB/s }}
}}
cpu Host {{ peak.fp32 = 2 TFLOPS; cores = 16; power = 200 W; idle_power = 50 W }}
node Box {{
    gpu[4]: Gpu; bus: Switch {{ power = 20 W }}; cpu: Host; nic: Nic {{ power = 15 W; idle_power = 5 W }}
    dram: Memory {{ capacity = {dram} MiB; bandwidth = 20 GB/s; power = 20 W }}
    ssd: Memory {{ capacity = 1 TB; bandwidth = 3 GB/s; latency = 80 us }}
    connect gpu[*] <-> bus via Lane
    connect bus <-> cpu via Lane
    connect cpu <-> dram
    connect cpu <-> ssd via Lane
    connect cpu <-> nic via Lane
}}
profile Front {{
    step = 0.1 ms; sequence = 5 us; workers = 0.1 ms; overlap = 50%; request = 2 ms; gap = 10 us
    answer = {answer} us; graph_limit = 64 tok; eager = 0.1 ms; eager_prompt = 0.05 ms
}}
model Plain {{
    layers = 4; hidden = 512; ffn = 1536; vocab = 8000; heads = 8; kv_heads = 8
    head_dim = 256; parameters = 20e6
}}
model Small extends Plain {{ layers = 1; hidden = 128; ffn = 256; heads = 2; kv_heads = 1; parameters = 2e6 }}
model Windowed extends Plain {{ window = 96 tok }}
model Layered extends Plain {{ window = 64 tok; full_layers = 1 }}
model Experts extends Plain {{
    experts = 8; experts_active = 2; expert_ffn = 512; parameters = 32e6; active_parameters = 16e6
}}
"""  # noqa: E501


@dataclass(frozen=True)
class Program:
    """Definitions in order; `text` joins them, `turned` the other way round."""

    statements: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.statements)

    @property
    def turned(self) -> str:
        return "\n".join(reversed(self.statements))


def block(head: str, *lines: str | None) -> str:
    inside = "".join(f"    {line}\n" for line in lines if line)
    return f"{head} {{\n{inside}}}"


def program(pick: Pick, records: bool = False) -> Program:
    """A program, with `records` one whose rows need not be kept (most of the time)."""
    made = _Made(pick, records)
    return Program(tuple(made.statements()))


class _Made:
    def __init__(self, pick: Pick, plain: bool) -> None:
        self.pick, self.plain = pick, plain
        self.model = pick(*MODELS)
        self.swap = pick(False, False, True)
        self.cache = False if plain else pick(False, True)
        self.apart = pick(False, False, True)
        self.tools = False if plain else pick(False, False, True)
        self.sessions = pick(False, False, True)

    def statements(self) -> list[str]:
        pick = self.pick
        sizes = {"lane": pick(50, 5, 1), "cable": pick(10, 1), "dram": pick(4096, 24),
                 "memory": pick(512, 128, 80), "answer": pick(20, 200, 1000)}  # fmt: skip
        found = [HARDWARE.format(**sizes).strip(), "box[2]: Box",
                 "connect box[0].nic <-> box[1].nic via Cable"]  # fmt: skip
        found += self.clients()
        if self.cache:
            found.append(self.kept())
        found += self.pipelines()
        found += ["class gold { priority = 2; ttft = 30 ms; tpot = 5 ms }",
                  "class free { priority = 1; ttft = 2 s; e2e = 10 s }"]  # fmt: skip
        found += self.loads()
        if not self.plain:
            found += self.trouble()
        return found

    # --- clients -----------------------------------------------------------------------------

    def engine(self, name: str, where: str, more: str = "", ranks: bool = False) -> str:
        pick = self.pick
        ways = pick("", "tp = 2", "dp = 2", "pp = 2") if ranks else ""
        if self.model == "Experts" and ways:
            ways += pick("", "; ep = 2") if ways != "pp = 2" else ""
        sampled = "" if self.plain else pick("", ", sampled = true")
        accept = pick("60%", "0%", "100%")
        guess = pick(
            "", "", f"speculate = mtp(depth = 2, accept = {accept}{sampled})",
            f"speculate = draft(Small, gamma = 3, accept = 50%{sampled})",
        )  # fmt: skip
        return block(
            f"{name}: LlmEngine on {where}", f"model = {self.model}", ways, more,
            pick("", "", "profile = Front"),
            f"batching = {pick(*BATCHINGS)}", f"max_batch = {pick(256, 8, 2)}",
            f"block_size = {pick(16, 4, 1)} tok", f"order = {pick(*ORDERS)}",
            "preemption = swap" if self.swap else None, guess,
            f"prefix_cache = {pick('false', 'true')}",
            f"memory_rule = after_weights({pick('95%', '30%', '95%' if guess else '10%')})",
        )  # fmt: skip

    def clients(self) -> list[str]:
        pick = self.pick
        self.fails: list[str] = []
        if self.apart:
            found = [self.engine("reader[2]", "box[0].gpu[0:2]")]
            found.append(self.engine("writer[2]", pick("box[0].gpu[2:4]", "box[1].gpu[0:2]")))
            self.fails = ["reader[0]", "writer[1]"]
            self.devices = "box[0].gpu[0:2]"
            convert = pick("", "", f"convert = threshold({pick(300, 2000)} tok, back = 100 tok)")
            if not convert and pick(False, False, True):
                found.append(block("pool reads", "members = [reader]", *self.pooling()))
                self.read = "reads"
            else:
                self.read = "reader"
            rest = [convert, f"route = {pick(*ROUTES)}"] if convert else self.pooling()
            found.append(block("pool writes", "members = [writer]", *rest))
            self.write = "writes"
            return [*found, *self.others()]
        ranks = pick(False, True)
        found = [self.engine("llm[2]", "DEVICES", ranks=ranks)]
        pairs = any(f"{way} = 2" in found[0] for way in ("tp", "dp", "pp"))
        alone = "box[0].gpu[0:2]" if ranks else "box[*].gpu[0]"
        self.devices = "box[0].gpu[*]" if pairs else alone
        found[0] = found[0].replace("DEVICES", self.devices)
        self.fails = ["llm[0]", "llm[1]"]
        found.append(block("pool front", "members = [llm]", *self.pooling()))
        self.read = self.write = "front"
        return [*found, *self.others()]

    def others(self) -> list[str]:
        """Who is no engine, and an engine of another model; each where a pipeline needs it."""
        if not self.tools:
            return []
        pick = self.pick
        order = f"order = {pick('fcfs', 'priority', 'sjf', 'edf')}"
        queue = pick("", f"queue_limit = {pick(3, 1)}")
        found = [
            block("hands: WorkerPool on box[0].cpu", f"workers = {pick(2, 1)}", queue, order),
            "web: Delay { latency = uniform(1 ms, 30 ms) }",
        ]
        self.fails.append("hands")
        self.judge, self.other = pick("hands", "judge"), pick("", "", "mixed")
        if self.judge == "judge":
            wait = (
                f"max_tokens = 512 tok; max_batch = {pick(4, 64)}; max_wait = {pick('1 ms', '0 s')}"
            )
            found.append(block("judge: BatchEngine on box[1].gpu[3]", "model = Small", wait, order))
            self.fails.append("judge")
        if self.other:
            plain = self.model
            self.model = "Small"
            found.append(self.engine("extra", "box[1].gpu[2]"))
            self.model = plain
            engines = "extra, writer" if self.apart else "extra, llm"
            found.append(block("pool mixed", f"members = [{engines}]", f"route = {pick(*ROUTES)}"))
        return found

    def pooling(self) -> list[str]:
        pick = self.pick
        admit = pick("", "", f"token_bucket({pick(200, 40)} req/s, burst = 2)",
                     f"queue_limit({pick(8, 2)} req)", "deadline")  # fmt: skip
        idle, startup = pick("50 ms", "1 s"), pick("0 s", "20 ms")
        most = f"min = 1, max = 2, target = {pick(2, 6)}, idle = {idle}, startup = {startup}"
        scale = pick("", "", f"scale({most})")
        return [
            f"route = {pick(*ROUTES)}",
            f"admission = {admit}" if admit else "",
            f"autoscale = {scale}" if scale else "",
        ]

    # --- caches ------------------------------------------------------------------------------

    def kept(self) -> str:
        pick = self.pick
        gpus = f"{self.devices}.hbm"
        rate = pick("", "", "; hit_rate = 40%")
        tiers = {
            "near": f"near: KvTier on {gpus} {{ scope = client; capacity = {pick(4, 2)} MiB }}",
            "mid": f"mid: KvTier on box[*].dram {{ scope = {pick('node', 'all')}; "
                   f"capacity = {pick(16, 2)} MiB{rate} }}",
            "far": f"far: KvTier on box[*].ssd {{ scope = {pick('all', 'node')}; "
                   f"capacity = {pick(1024, 4)} MiB }}",
        }  # fmt: skip
        names = pick(("mid",), ("mid", "far"), ("near", "mid"), ("near", "mid", "far"), ("far",),
                     ("near",))  # fmt: skip
        self.tiers = names
        return block(
            "cache kv", *(tiers[name] for name in names), " -> ".join([*names, "recompute"]),
            f"eviction = {pick('lru', 'lfu')}", f"block = {pick(32, 60, 16)} tok",
            f"write = {pick('on_release', 'none')}", f"overlap = {pick('false', 'true')}",
        )  # fmt: skip

    # --- pipelines ---------------------------------------------------------------------------

    def pipelines(self) -> list[str]:
        pick = self.pick
        read, write = self.read, self.write
        joined: list[str] = []
        if self.apart:
            joined = [f"transfer = {pick('full', 'layerwise')}",
                      f"pairing = {pick('global', 'global', 'local')}"]  # fmt: skip
        fetch = [f"fetch: KvFetch on {read} {{ cache = kv }}"] if self.cache else []
        begin = "fetch -> read" if self.cache else "read"
        if not self.tools:
            return [block(
                "pipeline P", *joined, *fetch, f"read: Prefill on {read}",
                f"answer: Decode on {write}", f"input -> {begin} -> answer -> output",
            )]  # fmt: skip
        hold = pick("", "hold = 5 ms", "hold = 100 ms")
        where = pick("web", "hands")
        call = ["service = 4 ms" if where == "hands" else "", hold,
                f"appends = {pick('30 tok', 'uniform(0 tok, 60 tok)')}"]  # fmt: skip
        copies = pick(1, 2, 3)
        join = pick("all", "first(1, any)", "majority", "first(1, pass)", "best(1)")
        hidden = pick("", "; hidden = true")
        took = "service = exponential(3 ms); " if self.judge == "hands" else ""
        again = pick("", "; repeat = while(p = 40%, max = 3)", "; repeat = times(2)")
        apart = f"; prefill = {read}; transfer = {pick('full', 'layerwise')}" if self.apart else ""
        refused = pick("plain", "plain", "refused")
        inner = block(
            "pipeline Try",
            f"think: Decode on {write} {{ tokens = uniform(1 tok, 40 tok){hidden} }}",
            f"check: Score on {self.judge} {{ {took}pass = 50% }}",
            "input -> think -> check -> output",
        )
        outer = block(
            "pipeline P", *joined, *fetch, f"read: Prefill on {read}",
            "try: Try" if copies == 1 else f"try[{copies}]: Try {{ join = {join} }}",
            block(f"call: Tool on {where}", *call).replace("\n", "; ").replace("{;", "{"),
            f"answer: Generate on {write} {{ tokens = 20 tok{again}{apart} }}",
            f"plain: Generate on {self.other or write}" if refused == "plain" else "",
            f"input -> {begin}",
            f"branch read {{ {pick('50%', 'prompt > 100 tok')} -> try; else -> {refused} }}",
            "try -> call -> answer -> output",
            "plain -> output" if refused == "plain" else "",
        )  # fmt: skip
        return [inner, outer]

    # --- workloads ---------------------------------------------------------------------------

    def loads(self) -> list[str]:
        pick = self.pick
        rate = pick(20, 100, 400, 3000)
        arrivals = pick(f"poisson({rate} req/s)", f"gamma({rate} req/s, cv = 3)",
                        f"constant({rate} req/s)",
                        f"closed({pick(4, 20)}, think = exponential(mean = 20 ms))",
                        f"bursty({rate} req/s, period = 100 ms)")  # fmt: skip
        turns: list[str] = []
        if self.sessions and not arrivals.startswith("closed"):
            arrivals = arrivals.replace("req/s", "session/s")
            turns = [f"turns = geometric(mean = 3, max = {pick(4, 8)})",
                     f"think_time = exponential(mean = {pick(5, 50)} ms)"]  # fmt: skip
        prefix = pick("", f"prefix = reuse(length = {pick(100, 33)} tok, over = zipf(3, s = 1.0))",
                      "prefix = reuse(length = 64 tok, over = hotspots(4, sigma = 1))")  # fmt: skip
        patience: list[str] = []
        if not self.plain and pick(False, False, True):
            patience = [f"timeout = {pick('exponential(mean = 40 ms)', '15 ms', '200 ms')}",
                        f"timeout_on = {pick('first_token', 'finish')}"]  # fmt: skip
            if retries := pick(1, 0, 3):
                backoff = pick("0 s", "5 ms", "exponential(mean = 10 ms)")
                patience += [f"retries = {retries}", f"backoff = {backoff}"]
        prompt = pick("uniform(10 tok, 200 tok)", "lognormal(median = 80 tok, sigma = 0.8)",
                      "64 tok", "uniform(1 tok, 40 tok)")  # fmt: skip
        output = pick("uniform(1 tok, 40 tok)", "geometric(mean = 12 tok)", "16 tok",
                      "uniform(30 tok, 150 tok)")  # fmt: skip
        first = block(
            "workload users", "pipeline = P", f"arrivals = {arrivals}", *turns, prefix, *patience,
            f"prompt = {prompt}", f"output = {output}",
            f"class = {pick('free', 'mix(gold = 30%, free = 70%)')}",
            f"requests = {pick(12, 40, 3)}",
        )  # fmt: skip
        found, names = [first], ["users"]
        if pick(False, False, True):
            found.append(block(
                "workload others", "pipeline = Q", f"arrivals = poisson({pick(30, 200)} req/s)",
                "prompt = 50 tok", "output = 9 tok", "class = gold", "requests = 10",
            ))  # fmt: skip
            split = f" {{ prefill = {self.read} }}" if self.apart else ""
            found.append(block("pipeline Q", f"say: Generate on {self.write}{split}",
                               "input -> say -> output"))  # fmt: skip
            names.append("others")
        cut = "horizon = cut" if pick(False, False, True) else ""
        found.append(block(
            "experiment main", f"workload = [{', '.join(names)}]", f"duration = {pick(400, 60)} ms",
            cut, f"contention = {pick('fair', 'none')}", f"warmup = {pick(0, 20)} ms",
        ))  # fmt: skip
        return found

    # --- what fails --------------------------------------------------------------------------

    def trouble(self) -> list[str]:
        pick = self.pick
        things = [*self.fails, "box[0].gpu[0]", "box[1]", "box[0].dram", "box[1].ssd", "box[0]"]
        if self.cache:
            things += [f"kv.{name}" for name in self.tiers]
        found: dict[str, str] = {}
        for _ in range(pick(0, 0, 1, 2)):
            how = pick("at([20 ms], down = 10 ms)", "at([5 ms, 60 ms], down = 40 ms)",
                       "random(mtbf = 60 ms, mttr = 15 ms)")  # fmt: skip
            found[pick(*things)] = how
        lines = [f"{path}.fails = {how}" for path, how in found.items()]
        if pick(False, False, False, True):
            lines.append(f"{self.fails[0]}.cold_start = true")
        return lines
