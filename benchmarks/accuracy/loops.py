"""Closed-loop points: how their servers were started and driven, and what is predicted of them.

The source is a sample of ai-dynamo/aiconfigurator. Its rows say how many clients there were and
how long texts were by name, not how often each client came nor how its engine was started. What a
row was measured in is a rule of its columns, from what the repository says of its own benchmarks
(`eval/benchmarks`, `generator/rule_plugin` and `generator/config/backend_templates`, 2025):

- ten requests per client, all lengths alike, no prefixes kept. The description of the data says
  that lengths are spread in part of the source: in rows without a version of the engine, which
  those scripts would have written (by how much, 5 or 20 %, makes no difference);
- a step of vLLM and TensorRT-LLM holds as many tokens as there are clients, the prompt's length
  and 1500. SGLang mixes prompts with decodes; for 0.5.1 the scripts ask for it by a flag that it
  has not, and prompts come first. Rows without a version: vLLM's own 8192;
- KV has as many bits as the weights, but in SGLang, which keeps 16 unless it is told.

The scripts have two rules for `max_batch`: as many as there are clients, or 512 (so it is taken
elsewhere). Which of them, and whether the host's constants are the engine's own or those of `vllm`,
is what is best on the other models of the engine (`chosen`). `KNOWN` is what was found on the
points themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
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
#: Places of an engine by the rules for production, and tokens of a step where no rule says more.
_PLACES, _STEP = 512, 8192
#: Output lengths lie between 1 − so much and 1 + so much of the nominal one, where they are spread.
_SPREAD = 0.2
#: Different prompts of a client that repeats itself.
_PROMPTS = 100


@dataclass(frozen=True)
class Way:
    """What no column says: the host's constants, those of `vllm` if not the engine's `own`; `full`:
    as many places as clients; `again`: the same prompts come again and again, and are kept.
    """

    own: bool = True
    full: bool = False
    again: bool = False


#: What is tried, by engine; the first is taken where no other model was measured.
WAYS: Mapping[str, tuple[Way, ...]] = {
    "vllm": (Way(), Way(own=False)),
    "trtllm": (Way(), Way(full=True), Way(own=False), Way(own=False, full=True)),
    "sglang": (Way(), Way(own=False)),
}
#: The ways found on the points themselves, by engine, version and model. Llama-3.1-8B on vLLM reads
#: more prompt tokens per second than the device has FLOPs for; later scripts send no more than 100
#: different prompts, the default of their client.
KNOWN: Mapping[tuple[str, str, str], Way] = {
    ("vllm", "0.12.0", "Llama-3.1-8B"): Way(again=True),
    ("trtllm", "1.0.0rc3", "Llama-3.1-8B"): Way(full=True),
}


def closed_loop(data: Path, every: int = 1, jobs: int = 1) -> list[Row]:
    """Mean TTFT and TPOT of every so many points, replayed on as many processes.

    `ttft` and `tpot` are held out by model; `… known` by `KNOWN`; `… between` is what measured
    neighbours alone say of a point that lies between them.
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
            wanted += [(point, held[point["backend"], model_of(point)]), (point, _known(point))]
    missing = [task for task, key in zip(wanted, _keys(wanted), strict=True) if key not in done]
    done |= zip(_keys(missing), replay(missing), strict=True)
    usable = [point for point in points if not _unusable(point)]
    told = between(usable, _group, _place, measured_of)
    near = dict(zip((point["id"] for point in usable), told, strict=True))
    return [_row(point, held, done, near.get(point["id"])) for point in points]


def _part(points: Sequence[Point]) -> list[Point]:
    """Every so many points of each group, to choose by."""
    by: dict[str, list[Point]] = {}
    for point in points:
        if not _unusable(point):
            by.setdefault(_group(point), []).append(point)
    return [point for own in by.values() for point in own[::_PART]]


def _keys(tasks: Sequence[Task]) -> list[tuple[str, Way]]:
    return [(point["id"], way) for point, way in tasks]


def _known(point: Point) -> Way:
    key = point["backend"], point["backend_version"], model_of(point)
    return KNOWN.get(key, WAYS[point["backend"]][0])


def _row(
    point: Point, held: Mapping[tuple[str, str], Way], done: Mapping[tuple[str, Way], Times],
    near: tuple[float, float] | None,
) -> Row:  # fmt: skip
    name = (f"{point['isl']}/{point['osl']} tp{float(point['tp_size']):g} "
            f"c{_clients(point) or '?'}")  # fmt: skip
    why = _unusable(point)
    if why:
        return Row(name, _group(point), skipped=why)
    way, known = held[point["backend"], model_of(point)], _known(point)
    times = done[point["id"], way]
    if isinstance(times, str):
        return Row(name, _group(point), skipped=times)
    told = {"": times}
    if not isinstance(own := done[point["id"], known], str):
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
    return int(float(point["concurrency"] or 0))


def _unusable(point: Point) -> str:
    if point["backend"] not in WAYS or header(point["model_path"], point["system"]) is None:
        return "unknown model, system or engine"
    if not point["concurrency"]:
        return "number of clients not given"
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
    dtype, scripted = _dtype(point), bool(point["backend_version"])
    spread = 0.0 if scripted else _SPREAD
    settings = [f"batching = {_batching(point, clients, prompt)}", f"dtype = {dtype}",
                f"max_batch = {clients if way.full and scripted else max(_PLACES, clients)}",
                f"profile = {_profile(point) if way.own else 'vllm'}"]  # fmt: skip
    if dtype == "fp8":
        settings.append(f"kv_dtype = {'bf16' if point['backend'] == 'sglang' else 'fp8'}")
    if way.again:
        settings.append("prefix_cache = true")
    lines.append(engine(model, point["tp_size"], *settings))
    low, high = (round(output * (1.0 + side * spread)) for side in (-1, 1))
    length = f"{low} tok" if low == high else f"uniform({low} tok, {high} tok)"
    text = (f"prompt = 1 tok; prefix = reuse({prompt - 1} tok, zipf({_PROMPTS}, 0))" if way.again
            else f"prompt = {prompt} tok")  # fmt: skip
    lines.append(
        f"workload w {{ pipeline = chat; arrivals = closed({clients})\n"
        f"  requests = {clients * _EACH}; {text}; output = {length} }}"
    )
    return "\n".join(lines)


def _batching(point: Point, clients: int, prompt: int) -> str:
    """What a step holds, as a property of an engine."""
    version = point["backend_version"]
    if point["backend"] == "sglang":
        mixed = not version or _release(version) > (0, 5, 1)
        return f"chunked({_STEP} tok)" if mixed else f"continuous; max_tokens = {_STEP} tok"
    budget = prompt + 1500 + clients if version else _STEP
    if point["backend"] == "trtllm":
        return f"mixed; max_tokens = {budget if version else max(budget, prompt)} tok"
    return f"chunked({budget} tok)"


def _profile(point: Point) -> str:
    """vLLM schedules beside the devices from 0.14 on."""
    if point["backend"] != "vllm":
        return point["backend"]
    version = point["backend_version"]
    return "vllm" if version and _release(version) >= (0, 14) else "vllm_sync"


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
