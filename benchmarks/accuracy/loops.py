"""Closed-loop points: how their servers were driven, found on other models than is predicted.

The source is a sample of ai-dynamo/aiconfigurator. Its rows say how many clients there were and
how long texts were by name, not how often each client came nor how its engine was started. What
its repository says of its own benchmarks (`eval/benchmarks`, `generator/rule_plugin/benchmark` and
`generator/config/backend_templates/benchmark`, 2025) is one `Way` of each engine:

- ten requests per client and no spread of lengths;
- a step of vLLM and TensorRT-LLM holds as many tokens as the engine has places, the prompt's
  length and 1500; SGLang mixes prompts with decodes where its version has the flag;
- `max_batch` is the number of clients, or in the rules for production 512;
- the client of later versions (aiperf) sends no more than 100 different prompts, its default,
  which an engine that keeps prefixes reads once.

Where lengths are spread is known from the description of the data, for "part of the source".
Which way a row was measured in is guessed in two forms: *held out*, the way that is best on
the other models of the same engine; and *known*, `KNOWN`, found on the same points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from statistics import mean, median

import hermesdsl
from benchmarks.accuracy.neighbours import between
from benchmarks.accuracy.rows import Row
from benchmarks.accuracy.serving import engine, header, table

Point = Mapping[str, str]
#: Mean TTFT and TPOT, seconds; or why there are none.
Times = tuple[float, float] | str

#: Requests of each client.
_EACH = 10
#: Every so many points of a model are enough to choose a way by.
_PART = 3
#: Places of an engine by the rules for production.
_PLACES = 512
#: Different prompts of a client that repeats itself.
_PROMPTS = 100


@dataclass(frozen=True)
class Way:
    """How a server was started and driven.

    `budget`: tokens of a step; 0: places, prompt and 1500. `spread`: output lengths lie between
    1 − spread and 1 + spread of the nominal one. `again`: prompts come again and are kept. `full`:
    as many places as clients. `narrow`: KV of models in 8 bits has 8 bits too. `mixed`: steps hold
    prompts and decodes; else prompts come first.
    """

    name: str
    profile: str
    budget: int = 0
    spread: float = 0.0
    again: bool = False
    full: bool = False
    narrow: bool = True
    mixed: bool = True
    whole: bool = False

    def batching(self, budget: int) -> str:
        """As a property of an engine; `whole`: a prompt is not cut in pieces."""
        if not self.mixed:
            return f"continuous; max_tokens = {budget} tok"
        if self.whole:
            return f"mixed; max_tokens = {budget} tok"
        return f"chunked({budget} tok)"


def _beside(*ways: Way) -> tuple[Way, ...]:
    """Each with the constants of its engine, and with those of `vllm`."""
    plain = (replace(way, name=f"{way.name}, host of vllm", profile="vllm") for way in ways)
    return tuple(each for both in zip(ways, plain, strict=True) for each in both)


#: What is tried, by engine; the first is taken where nothing else was measured.
WAYS: Mapping[str, tuple[Way, ...]] = {
    "vllm": _beside(
        Way("alike", "vllm_sync"),
        Way("spread", "vllm_sync", budget=8192, spread=0.2),
        Way("again", "vllm_sync", again=True),
    ),
    "trtllm": _beside(
        Way("alike", "trtllm", whole=True),
        Way("alike, full", "trtllm", whole=True, full=True),
        Way("spread", "trtllm", whole=True, budget=8192, spread=0.2),
    ),
    "sglang": (
        Way("alike, prompts first", "sglang", budget=8192, mixed=False, narrow=False),
        Way("alike", "sglang", budget=8192, narrow=False),
        Way("alike, narrow KV", "sglang", budget=8192),
        Way("spread", "sglang", budget=8192, spread=0.2, narrow=False),
    ),
}
#: The ways found on the points themselves, by engine, version and model.
KNOWN: Mapping[tuple[str, str, str], str] = {
    ("vllm", "0.12.0", "Qwen3-32B"): "alike",
    ("vllm", "0.12.0", "Llama-3.1-8B"): "again",
    ("vllm", "", "Llama-3.1-70B"): "spread",
    ("trtllm", "1.0.0rc3", "Llama-3.1-8B"): "alike, full",
    ("trtllm", "1.0.0rc3", "Qwen3-32B"): "alike",
    ("trtllm", "", "Llama-3.1-70B"): "spread",
    ("sglang", "0.5.1.post1", "Qwen3-32B"): "alike, prompts first",
    ("sglang", "0.5.6.post2", "Llama-3.1-8B"): "alike",
}


def closed_loop(data: Path, every: int = 1, jobs: int = 1) -> list[Row]:
    """Mean TTFT and TPOT of every so many points, replayed on as many processes.

    `ttft` and `tpot` are held out by model; `… known` by `KNOWN`, where the point's source is in
    it; `… between` is what measured neighbours alone say of a point that lies between them.
    """
    rows = table(data / "serving" / "closed_loop_dev.csv.gz")
    if isinstance(rows, str):
        return [Row("points", "closed loop", skipped=rows)]
    points = rows[::every]
    if jobs == 1:
        return _rows(points, lambda tasks: list(map(_replayed, tasks)))
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        return _rows(points, lambda tasks: list(pool.map(_replayed, tasks, chunksize=8)))


def model_of(point: Point) -> str:
    """The model without its organisation, variant and type of weights."""
    name = point["model_path"].split("/")[-1]
    return name.removesuffix("-FP8").removesuffix("-Instruct")


def chosen(found: Iterable[tuple[Point, Way, Times]]) -> dict[tuple[str, str], Way]:
    """Of each engine and model: the way that is best on the other models of the engine.

    `found`: what ways predicted of points. Best is the least mean over models of median absolute
    errors of TTFT and TPOT together; the first of `WAYS` where no other model was measured.
    """
    apart: dict[tuple[str, Way], dict[str, list[tuple[float, float]]]] = {}
    models: dict[tuple[str, str], None] = {}
    for point, way, times in found:
        models[point["backend"], model_of(point)] = None
        if not isinstance(times, str):
            own = apart.setdefault((point["backend"], way), {})
            measured = measured_of(point)
            errors = tuple(abs(t / m - 1.0) for t, m in zip(times, measured, strict=True))
            own.setdefault(model_of(point), []).append((errors[0], errors[1]))
    picked = {}
    for name, model in models:
        left = {way: _mean(apart.get((name, way), {}), model) for way in WAYS[name]}
        picked[name, model] = min(WAYS[name], key=lambda way: left[way])
    return picked


def _mean(errors: Mapping[str, Sequence[tuple[float, float]]], but: str) -> float:
    """Mean over models other than `but` of both medians; infinite if there is none."""
    others = [own for model, own in errors.items() if model != but]
    if not others:
        return inf
    return mean(median(e[0] for e in own) + median(e[1] for e in own) for own in others)


def measured_of(point: Point) -> tuple[float, float]:
    """Measured TTFT and TPOT, seconds."""
    return float(point["silicon_ttft_ms"]) * 1e-3, float(point["silicon_tpot_ms"]) * 1e-3


# --- rows ----------------------------------------------------------------------------------------

Task = tuple[Point, Way]
Replay = Callable[[Sequence[Task]], list[Times]]


def _rows(points: Sequence[Point], replay: Replay) -> list[Row]:
    tasks = [(point, way) for point in _part(points) for way in WAYS[point["backend"]]]
    done = dict(zip(_keys(tasks), replay(tasks), strict=True))
    found = [(point, way, done[key]) for (point, way), key in zip(tasks, _keys(tasks), strict=True)]
    held = chosen(found)
    wanted = []
    for point in points:
        if not _unusable(point):
            wanted += [(point, way) for way in (held[point["backend"], model_of(point)],
                                                _known(point)) if way]  # fmt: skip
    missing = [task for task, key in zip(wanted, _keys(wanted), strict=True) if key not in done]
    done |= zip(_keys(missing), replay(missing), strict=True)
    neighbours = between(points, _group, _place, measured_of)
    return [_row(point, held, done, near) for point, near in zip(points, neighbours, strict=True)]


def _part(points: Sequence[Point]) -> list[Point]:
    """Every so many points of each group, to choose by."""
    by: dict[str, list[Point]] = {}
    for point in points:
        if not _unusable(point):
            by.setdefault(_group(point), []).append(point)
    return [point for own in by.values() for point in own[::_PART]]


def _keys(tasks: Sequence[Task]) -> list[tuple[str, Way]]:
    return [(point["id"], way) for point, way in tasks]


def _known(point: Point) -> Way | None:
    name = KNOWN.get((point["backend"], point["backend_version"], model_of(point)))
    return next((way for way in WAYS[point["backend"]] if way.name == name), None)


def _row(
    point: Point, held: Mapping[tuple[str, str], Way], done: Mapping[tuple[str, Way], Times],
    near: tuple[float, float] | None,
) -> Row:  # fmt: skip
    name = (f"{point['isl']}/{point['osl']} tp{float(point['tp_size']):g} "
            f"c{_clients(point)}")  # fmt: skip
    why = _unusable(point)
    if why:
        return Row(name, _group(point), skipped=why)
    way, known = held[point["backend"], model_of(point)], _known(point)
    times = done[point["id"], way]
    if isinstance(times, str):
        return Row(name, _group(point), skipped=times)
    told = {"": times}
    if known is not None and not isinstance(own := done[point["id"], known], str):
        told[" known"] = own
    if near is not None:
        told[" between"] = near
    figures: dict[str, tuple[float, float]] = {}
    for metric, measured, at in zip(("ttft", "tpot"), measured_of(point), (0, 1), strict=True):
        figures |= {f"{metric}{word}": (measured, both[at]) for word, both in told.items()}
    return Row(name, _group(point), figures)


def _group(point: Point) -> str:
    label = f"{point['backend']} {point['backend_version']}".strip()
    model = point["model_path"].split("/")[-1]
    return f"{label}, {model} {_dtype(point)}, {point['system']}"


def _place(point: Point) -> tuple[float, ...]:
    """What configurations of a group differ in."""
    names = ("isl", "osl", "tp_size")
    return (*(float(point[name]) for name in names), float(_clients(point)))


def _dtype(point: Point) -> str:
    narrow = point["precision"] == "fp8" or point["gemm_quant_mode"].startswith("fp8")
    return "fp8" if narrow else "bf16"


def _clients(point: Point) -> int:
    """As many as the batch has places, where nothing else is said: so it is in most rows."""
    return int(float(point["concurrency"] or point["batch_size"]))


def _unusable(point: Point) -> str:
    if point["backend"] not in WAYS or header(point["model_path"], point["system"]) is None:
        return "unknown model, system or engine"
    if float(point["pp_size"] or 1) > 1:
        return "pipeline stages"
    return ""


# --- replay --------------------------------------------------------------------------------------


def _replayed(task: Task) -> Times:
    point, way = task
    try:
        found = hermesdsl.run(hermesdsl.compile(specification(point, way))).requests
    except hermesdsl.SpecError as problem:
        return str(problem)
    return float(found.ttft_s.mean()), float(found.tpot_s.mean())


def specification(point: Point, way: Way) -> str:
    """The point as a program of the language."""
    head = header(point["model_path"], point["system"])
    assert head is not None
    lines, model = head
    clients, prompt, output = _clients(point), int(float(point["isl"])), float(point["osl"])
    places = clients if way.full else max(_PLACES, clients)
    dtype = _dtype(point)
    # A step of the rules counts the clients, as the engine's places do in its benchmarks.
    budget = way.budget or prompt + 1500 + clients
    settings = [f"batching = {way.batching(budget)}", f"max_batch = {places}",
                f"dtype = {dtype}", f"profile = {way.profile}"]  # fmt: skip
    if dtype == "fp8":
        settings.append(f"kv_dtype = {'fp8' if way.narrow else 'bf16'}")
    if way.again:
        settings.append("prefix_cache = true")
    lines.append(engine(model, point["tp_size"], *settings))
    low, high = (round(output * (1.0 + side * way.spread)) for side in (-1, 1))
    length = f"{low} tok" if low == high else f"uniform({low} tok, {high} tok)"
    text = (f"prompt = 1 tok; prefix = reuse({prompt - 1} tok, zipf({_PROMPTS}, 0))" if way.again
            else f"prompt = {prompt} tok")  # fmt: skip
    lines.append(
        f"workload w {{ pipeline = chat; arrivals = closed({clients})\n"
        f"  requests = {clients * _EACH}; {text}; output = {length} }}"
    )
    return "\n".join(lines)
