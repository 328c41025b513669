"""How many requests per second an engine can finish at best: a bound, in one formula.

For warnings before a run; knows nothing of arrivals or queues.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from hermesdsl.cost.llm import DataSheetCost
from hermesdsl.cost.types import StepWork


@dataclass(frozen=True)
class Capacity:
    """Upper bounds of one engine: `requests` per second, `tokens` (prompt + output) per second.

    `step` seconds and `batch` sequences of the balanced step that gives them.
    """

    requests: float
    tokens: float
    step: float
    batch: int


def capacity(
    cost: DataSheetCost, prompt: float, output: float, max_batch: int, max_tokens: int
) -> Capacity:
    """The rate of a full, perfectly mixed engine for mean `prompt` and `output` tokens.

    In balance each step decodes D sequences and takes in D·prompt/(output − 1) prompt tokens (the
    first token comes from the prompt itself), so D/(output − 1) requests finish per step. D is
    the most that `max_batch`, the KV (mean context prompt + output/2, or the window of a sliding
    attention) and `max_tokens` allow; `max_batch` and `max_tokens` are those of each data-parallel
    rank, over which work is spread evenly. No schedule reads the weights less often, so real
    engines stay below. With `output` <= 1 steps hold prompts only. Raises ValueError if `prompt`
    and `output` are both below one token.
    """
    decoding = max(output - 1.0, 0.0)
    max_tokens *= cost.group.dp
    if prompt < 1.0 and decoding <= 0.0:
        raise ValueError("a request without prompt and output has no capacity")
    if decoding == 0.0:
        work = _prompts(float(max_tokens), prompt)
        seconds = cost.step(_dealt(work, cost.group.dp))
        return Capacity(max_tokens / prompt / seconds, max_tokens / seconds, seconds, work.prefills)
    context = prompt + 0.5 * output
    batch = min(
        float(max_batch) * cost.group.dp,
        cost.kv_tokens / (context if cost.options.get("prefix_cache") else cost.held(context)),
        max_tokens / (1.0 + prompt / decoding),
    )
    decodes = max(int(batch), 1)
    slices = _prompts(decodes * prompt / decoding, prompt)
    work = slices._replace(
        tokens=slices.prefill_tokens + decodes,
        sampled=slices.sampled + decodes,
        decodes=decodes,
        decode_context=decodes * context,
    )
    seconds = cost.step(_dealt(work, cost.group.dp))
    requests = decodes / decoding / seconds
    return Capacity(requests, requests * (prompt + output), seconds, decodes)


def _dealt(work: StepWork, ranks: int) -> StepWork:
    """The same step with as nearly the same on every data-parallel rank as can be."""
    if ranks == 1:
        return work
    rank = StepWork(
        tokens=ceil(work.tokens / ranks),
        sampled=ceil(work.sampled / ranks),
        prefills=ceil(work.prefills / ranks),
        prefill_tokens=ceil(work.prefill_tokens / ranks),
        prefill_pairs=work.prefill_pairs / ranks,
        prefill_kv=work.prefill_kv / ranks,
        decodes=ceil(work.decodes / ranks),
    )
    return work._replace(rank=rank)


def _prompts(tokens: float, prompt: float) -> StepWork:
    """A step of `tokens` prompt tokens out of whole prompts of mean length `prompt`."""
    count = round(tokens)
    if count < 1:
        return StepWork(0, 0)
    number = max(1, round(count / prompt))
    return StepWork(
        tokens=count,
        sampled=number,
        prefills=number,
        prefill_tokens=count,
        prefill_pairs=count * (prompt + 1.0) / 2.0,
        prefill_kv=float(count),
    )
