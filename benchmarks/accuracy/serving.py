"""Serving runs: what the standard library's engine profiles predict of runs that were measured.

Every function takes the folder of the data and gives a row per run, point or step. No parameter
of a prediction depends on the run that is predicted; how requests came is part of the data.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import hermesdsl
from benchmarks.accuracy.rows import Row
from hermesdsl.cost import engine_cost
from hermesdsl.cost.types import StepWork

#: Models as the data names them: (import or definition, name, options of the engine).
_LIBRARY = {
    "meta-llama/Llama-2-7b-hf": ("std.models.llama", "Llama2_7B"),
    "meta-llama/Llama-3.1-8B-Instruct": ("std.models.llama", "Llama3_1_8B"),
    "nvidia/Llama-3.1-8B-Instruct-FP8": ("std.models.llama", "Llama3_1_8B"),
    "meta-llama/Llama-3.1-70B": ("std.models.llama", "Llama3_1_70B"),
    "meta-llama/Llama-3.1-70B-Instruct": ("std.models.llama", "Llama3_1_70B"),
    "Qwen/Qwen2.5-7B-Instruct": ("std.models.qwen", "Qwen2_5_7B"),
    "Qwen/Qwen3-32B": ("std.models.qwen", "Qwen3_32B"),
    "01-ai/Yi-34B": ("std.models.others", "Yi_34B"),
    "codellama/CodeLlama-34b-Instruct-hf": ("std.models.llama", "CodeLlama_34B"),
    "meta-llama/Llama-3.1-8B": ("std.models.llama", "Llama3_1_8B"),
    "meta-llama/Llama-3.3-70B-Instruct": ("std.models.llama", "Llama3_3_70B"),
    "mistralai/Mixtral-8x7B-v0.1": ("std.models.mistral", "Mixtral_8x7B"),
    "mistralai/Mixtral-8x7B-Instruct-v0.1": ("std.models.mistral", "Mixtral_8x7B"),
    "Qwen/Qwen3-14B": ("std.models.qwen", "Qwen3_14B"),
    "mistralai/Mistral-Nemo-Instruct-2407": ("std.models.mistral", "Mistral_Nemo_12B"),
    "llama2-70b": ("std.models.llama", "Llama2_70B"),
    "bloom-176b": ("std.models.bloom", "BLOOM_176B"),
}
#: Models that the library has not. Scout keeps attention, tables and the vision part in 16 bits:
#: its bytes are written as parameters of 8 bits. Its scales are per channel, and run on the
#: kernels that block scales run on.
_OWN = {
    "RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic": """model Served {
    layers = 48; hidden = 5120; ffn = 8192; vocab = 202_048; heads = 40; kv_heads = 8
    head_dim = 128; experts = 16; experts_active = 1; expert_ffn = 8192; shared_experts = 1
    parameters = 114.6e9; dtype = fp8; kv_dtype = bf16; scaling = block
    max_context = 10_485_760 tok
}""",
}
#: Makers whose generation_config.json asks for top-p: what vLLM does with requests that, like those
#: of the open-loop runs' client (kubernetes-sigs/inference-perf), do not say how to sample.
_TOP_P = ("meta-llama/Llama-", "RedHatAI/Llama-", "Qwen/")
#: Devices as the data names them: (module, node).
_SYSTEMS = {
    "H100": ("std.nvidia.hopper", "DGX_H100"),
    "h100_sxm": ("std.nvidia.hopper", "DGX_H100"),
    "h200_sxm": ("std.nvidia.hopper", "DGX_H200"),
    "h100-80gb": ("std.nvidia.hopper", "DGX_H100"),
    "a100-80gb": ("std.nvidia.ampere", "DGX_A100"),
}
#: Share of each stage of an open-loop run that is replayed.
_PART = 0.25


def open_loop(data: Path) -> list[Row]:
    """The 13 open-loop runs of vLLM 0.15.1: mean TTFT, TPOT and E2E, and KV tokens.

    Every request of a run is one of n_sys_prompts × users_per_prompt prompts that come again and
    again: TPOT shows no prompt being read beside it. A quarter of each stage is replayed. The API
    time of a model's runs is the median of what TTFT leaves in runs of all other models.
    """
    runs = table(data / "serving" / "vllm_runs_h100_dev.csv")
    if isinstance(runs, str):
        return [Row("runs", "open loop", skipped=runs)]
    own = {run["run"]: _open_run(run) for run in runs}
    api = _request_seconds()
    left = {run["run"]: (run["model"], _excess(own[run["run"]], api)) for run in runs}
    rows = []
    for run in runs:
        row = own[run["run"]]
        others = [seconds for model, seconds in left.values() if model != run["model"]]
        rows.append(_shifted(row, median(others) - api) if row.figures else row)
    return rows


def _excess(row: Row, api: float) -> float:
    """What TTFT leaves for the API of a run that was predicted with `api` seconds."""
    measured, predicted = row.figures["ttft"]
    return measured - predicted + api


def _shifted(row: Row, seconds: float) -> Row:
    """The row with another API time: it comes before everything else."""
    figures = dict(row.figures)
    for name in ("ttft", "e2e"):
        measured, predicted = figures[name]
        figures[name] = (measured, predicted + seconds)
    return replace(row, figures=figures)


def _open_run(run: Mapping[str, str]) -> Row:
    name = f"{run['run']} {run['model'].split('/')[1]} {run['workload']} tp{run['tp']}"
    group = run["model"]
    head = header(run["model"], run["hardware"])
    if head is None:
        return Row(name, group, skipped="unknown model or system")
    lines, model = head
    text = int(run["sys_len"]) + int(run["question_len"])
    users = int(run["n_sys_prompts"]) * int(run["users_per_prompt"])
    tokens = int(run["max_num_batched_tokens"])
    profile = "vllm_top_p" if run["model"].startswith(_TOP_P) else "vllm"
    lines.append(engine(model, run["tp"], f"batching = chunked({tokens} tok)",
                         f"max_batch = {run['max_num_seqs']}", "prefix_cache = true",
                         f"profile = {profile}"))  # fmt: skip
    stages = []
    for number, stage in enumerate(run["stages"].split(";")):
        rate, seconds = (float(part.strip(" rps")) for part in stage.split("x"))
        stages.append((rate * seconds, f"e{number}"))
        lines.append(
            f"workload w{number} {{ pipeline = chat; arrivals = constant({rate} req/s)\n"
            f"  prompt = 1 tok; output = {run['output_len']} tok\n"
            f"  prefix = reuse({text - 1} tok, zipf({users}, 0)) }}\n"
            f"experiment e{number} {{ workload = [w{number}]; duration = {seconds * _PART} s }}"
        )
    system = hermesdsl.compile("\n".join(lines))
    sums = dict.fromkeys(("ttft", "tpot", "e2e"), 0.0)
    for weight, experiment in stages:
        found = hermesdsl.run(system, experiment=experiment).requests
        for metric in sums:
            sums[metric] += weight * float(found[f"{metric}_s"].mean())
    whole = sum(weight for weight, _ in stages)
    figures = {metric: (float(run[f"{metric}_mean_ms"]) * 1e-3, total / whole)
               for metric, total in sums.items()}  # fmt: skip
    cost = engine_cost(system.placement.nodes["llm"]["client"])
    figures["kv_tokens"] = (16.0 * float(run["total_kv_blocks"]), float(cost.kv_tokens))
    return Row(name, group, figures)


def rtx(data: Path) -> list[Row]:
    """The run on an RTX PRO 6000: from class defaults, with its layer profile, and the peer.

    Times count from when the engine had the request, as the table's do: the API's time is taken
    off TTFT and latency. `ttft_mape` and the like are per request: (0, error) in relative terms.
    """
    folder = data / "llmservingsim" / "RTXPRO6000_Llama-3.1-8B"
    layers = data / "llmservingsim" / "profile_RTXPRO6000_Llama-3.1-8B_bf16"
    measured = table(folder / "requests.csv")
    if isinstance(measured, str):
        return [Row("RTX PRO 6000", "rtx", skipped=measured)]
    measured = sorted(measured, key=lambda row: int(row["idx"]))
    peer = table(folder / "peer_prediction.csv")
    hits = table(folder / "workload.csv")
    assert not isinstance(hits, str)
    cached = {row["idx"]: row["ideal_prefix_hit_toks"] for row in hits}
    rows = []
    for name, setting in (("class defaults", ""), ("layer profile", f'layers("{layers}")')):
        if setting and not layers.is_dir():
            rows.append(Row(name, "rtx", skipped="no layer profile in the folder"))
            continue
        rows.append(_rtx_run(name, setting, measured, cached, data))
    if isinstance(peer, str):
        rows.append(Row("peer", "rtx", skipped=peer))
    else:
        rows.append(_compared("peer", measured, _peer(peer)))
    return rows


def splitwise(data: Path) -> list[Row]:
    """Prompt and decode steps of Splitwise's table (2023, no captured graphs).

    Rows of capped power are no measurement of their own and left out. What a row is, and what
    predicts it, is in `steps`.
    """
    steps = table(data / "splitwise" / "perf_model.csv.gz")
    if isinstance(steps, str):
        return [Row("steps", "splitwise", skipped=steps)]
    from benchmarks.accuracy.steps import fitted

    return fitted([row for row in steps if row["hardware"] != "h100-80gb-pcap"], step_costs)


def step_costs(model: str, hardware: str, tp: int) -> Any | None:
    """The cost model of an engine on the first `tp` devices of a node; None if unknown."""
    head = header(model, hardware)
    if head is None:
        return None
    lines, name = head
    lines.append(engine(name, str(tp), "profile = vllm_2023", "dtype = fp16"))
    lines.append("workload w { pipeline = chat; arrivals = closed(1); requests = 1\n"
                 "  prompt = 1 tok; output = 1 tok }")  # fmt: skip
    return engine_cost(hermesdsl.compile("\n".join(lines)).placement.nodes["llm"]["client"])


def prompt_work(prompt: int, batch: int) -> StepWork:
    """A step that reads `batch` prompts."""
    tokens, pairs = prompt * batch, batch * 0.5 * prompt * (prompt + 1.0)
    return StepWork(tokens, batch, batch, tokens, pairs, float(tokens))


def decode_work(context: float, batch: int) -> StepWork:
    """A step of `batch` sequences with so much context each."""
    return StepWork(batch, batch, decodes=batch, decode_context=batch * context)


# --- the run on an RTX PRO 6000 ----------------------------------------------------------------


def _rtx_run(
    name: str, layers: str, measured: list[dict[str, str]], cached: Mapping[str, str], data: Path
) -> Row:
    rows = ["arrival_s,prompt,output,cached"]
    rows += [f"{row['arrival_s']},{row['input_toks']},{row['output_toks']},{cached[row['idx']]}"
             for row in sorted(measured, key=lambda row: float(row["arrival_s"]))]  # fmt: skip
    order = sorted(range(len(measured)), key=lambda at: float(measured[at]["arrival_s"]))
    setting = f"\n    measured = {layers}" if layers else ""
    with TemporaryDirectory() as folder:
        Path(folder, "run.csv").write_text("\n".join(rows) + "\n")
        spec = Path(folder, "run.hms")
        spec.write_text(f"""from std.nvidia.blackwell import RTX_PRO_6000
from std.models.llama import Llama3_1_8B
gpu: RTX_PRO_6000
llm: LlmEngine on gpu {{
    model = Llama3_1_8B; batching = chunked(2048 tok); max_batch = 128; profile = vllm{setting}
}}
chat: Chat {{ llm = llm }}
workload w {{ pipeline = chat; arrivals = trace("run.csv", time = column("arrival_s"),
    prompt = column("prompt"), output = column("output"), cached = column("cached")) }}
experiment e {{ workload = [w] }}
""")
        system = hermesdsl.compile(spec, path=[str(data)])
        found = hermesdsl.run(system).requests
    api = engine_cost(system.placement.nodes["llm"]["client"]).request_seconds
    predicted: list[dict[str, float]] = [{} for _ in measured]
    for at, row in zip(order, found.to_dict("records"), strict=True):
        predicted[at] = {
            "arrival": row["arrival_s"], "ttft": row["ttft_s"] - api, "tpot": row["tpot_s"],
            "latency": row["e2e_s"] - api, "end": row["arrival_s"] + row["e2e_s"],
            "output": float(row["output_tokens"]),
        }  # fmt: skip
    return _compared(name, measured, predicted)


def _peer(rows: list[dict[str, str]]) -> list[dict[str, float]]:
    found = []
    for row in sorted(rows, key=lambda row: float(row["arrival_ms"])):
        found.append({
            "arrival": float(row["arrival_ms"]) * 1e-3, "ttft": float(row["ttft_ms"]) * 1e-3,
            "tpot": float(row["tpot_ms"]) * 1e-3, "latency": float(row["latency_ms"]) * 1e-3,
            "end": float(row["end_time_ms"]) * 1e-3, "output": float(row["output"]),
        })  # fmt: skip
    return found


def _compared(name: str, measured: list[dict[str, str]], predicted: list[dict[str, float]]) -> Row:
    """Means and the whole run; per request, the mean absolute relative error against none."""
    figures: dict[str, tuple[float, float]] = {}
    for metric in ("ttft", "tpot", "latency"):
        own = [float(row[f"{metric}_ms"]) * 1e-3 for row in measured]
        guess = [row[metric] for row in predicted]
        figures[metric] = (sum(own) / len(own), sum(guess) / len(guess))
        errors = [abs(g / m - 1.0) for g, m in zip(guess, own, strict=True)]
        figures[f"{metric}_mape"] = (0.0, sum(errors) / len(errors))
    start = min(float(row["arrival_s"]) for row in measured)
    span = max(float(row["last_token_s"]) for row in measured) - start
    first = min(row["arrival"] for row in predicted)
    guessed = max(row["end"] for row in predicted) - first
    tokens = sum(float(row["output_toks"]) for row in measured)
    figures["makespan"] = (span, guessed)
    figures["throughput"] = (tokens / span, sum(row["output"] for row in predicted) / guessed)
    return Row(name, "rtx", figures)


# --- specifications ----------------------------------------------------------------------------


def header(model: str, system: str) -> tuple[list[str], str] | None:
    """Imports and the node, and the name of the model; None if either is unknown."""
    if system not in _SYSTEMS:
        return None
    module, node = _SYSTEMS[system]
    lines = [f"from {module} import {node}"]
    if model in _OWN:
        lines.append(_OWN[model])
        name = "Served"
    elif model in _LIBRARY:
        module, name = _LIBRARY[model]
        lines.append(f"from {module} import {name}")
    else:
        return None
    return [*lines, f"box: {node}"], name


def engine(model: str, tp: str, *settings: str) -> str:
    ways = int(float(tp))
    where = "box.gpu[0]" if ways == 1 else f"box.gpu[0:{ways}]"
    inside = "\n".join(f"    {each}" for each in (f"model = {model}", f"tp = {ways}", *settings))
    return f"llm: LlmEngine on {where} {{\n{inside}\n}}\nchat: Chat {{ llm = llm }}"


def table(path: Path) -> list[dict[str, str]] | str:
    """Rows of a CSV file, compressed or not; why not, if there is none."""
    if not path.is_file():
        return f"no file {path.name} in the folder"
    if path.suffix == ".gz":
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _request_seconds() -> float:
    from hermesdsl.cost.profiles import library

    return library()["vllm"].overheads.request
