"""The request ledger: what each type of stage reads of a request, and what it leaves.

The table of the language reference as functions on a `Thread`. KV itself is kept by engines; here
is only how many tokens there are of what. Knows no client, clock or random stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hermesdsl.graph.types import Guard
from hermesdsl.sim.condition import FAIL, PASS, Test, condition
from hermesdsl.sim.formula import Amount

if TYPE_CHECKING:
    from collections.abc import Callable

    from hermesdsl.graph.types import StageNode
    from hermesdsl.sim.draws import Draws
    from hermesdsl.sim.load import Offered
    from hermesdsl.sim.walk import Thread

#: Stage types that run an LLM on the context and leave its KV.
LLM_STAGES = frozenset({"Prefill", "Decode", "Generate"})
#: Stage types that leave a verdict.
JUDGES = frozenset({"Classify", "Guard", "Score", "Filter"})


def append(thread: Thread, tokens: int, part: int, documents: int = 0) -> None:
    """Add tokens to the context; they are new to every model. `part` is a number not used yet."""
    thread.context += tokens
    thread.documents += documents
    if tokens:
        thread.primed = ""
    if tokens < 0:
        thread.rename(thread.context, -part)
    if thread.parts is not None and (tokens or documents):
        thread.parts[part] = (tokens, documents)


def produced(thread: Thread, tokens: int, part: int) -> None:
    """A decode is over: its tokens join the context."""
    thread.context += tokens
    thread.primed = ""
    thread.text = tokens
    if thread.parts is not None:
        thread.parts[part] = (tokens, 0)


def sequences(stage: StageNode, thread: Thread) -> int:
    """What one request counts for in a batch: a reranker reads one sequence per candidate."""
    return max(thread.documents, 1) if stage.type_name == "Rerank" else 1


def reads(stage: StageNode, thread: Thread, prompt: int) -> int:
    """Tokens that a stage outside the LLM reads of a request whose first prompt had `prompt`.

    The query for Embed and Retrieve; query and passage of every candidate for Rerank; the last
    text produced, or before any the context, for what judges; the context for the rest.
    """
    kind = stage.type_name
    if kind in ("Embed", "Retrieve"):
        return prompt
    if kind == "Rerank":
        return sequences(stage, thread) * (prompt + _count(stage, "chunk", 512))
    if kind in ("Classify", "Guard", "Score", "Detokenize"):
        return thread.text or thread.context
    return thread.context


class Leaves:
    """What a stage outside the LLM does to the ledger when it is over."""

    __slots__ = ("_appends", "_pass", "_prompts", "_stage", "_test", "_verdicts")

    def __init__(
        self, stage: StageNode, offered: Offered, appends: Callable[[Thread, int], int] | None,
        verdicts: Draws | None,
    ) -> None:  # fmt: skip
        self._stage = stage
        self._prompts = offered.prompts
        self._appends = appends
        share = stage.options.get("pass", 1.0)
        self._test: Test | None = condition(share, offered) if isinstance(share, Guard) else None
        self._pass = float(share) if isinstance(share, int | float) else 1.0
        self._verdicts = verdicts

    def __call__(self, thread: Thread, turn: int, part: int) -> None:
        """A thread leaves the stage, for the k-th time."""
        stage = self._stage
        kind = stage.type_name
        if kind in JUDGES:
            good = self._pass >= 1 if self._test is None else self._test(thread)
            if not good and self._test is None and self._verdicts is not None:
                good = self._verdicts(thread.request, turn) < self._pass
            thread.verdict = PASS if good else FAIL
        tokens = self._appends(thread, turn) if self._appends is not None else 0
        documents = 0
        if kind == "Retrieve":
            documents = _count(stage, "top_k", 10)
            tokens += documents * _count(stage, "chunk", 0)
        elif kind == "Rerank":
            kept = min(_count(stage, "keep", 5), thread.documents)
            documents = kept - thread.documents
            tokens += kept * _count(stage, "chunk", 512)
        elif kind == "Pad":
            tokens += max(_count(stage, "length", 1) - thread.context, 0)
        elif kind == "Truncate":
            tokens += min(_count(stage, "length", 1) - thread.context, 0)
        if tokens or documents:
            append(thread, tokens, part, documents)


def merge(into: Thread, others: Iterable[Thread]) -> None:
    """Threads of one fork become one: everything that any of them added is in its context.

    KV of each model is that of the thread which has most of it: its text comes first, and what
    the others added is new to the model. A check that failed in one has failed.
    """
    parts = dict(into.parts or {})
    for other in others:
        parts.update(other.parts or {})
        if other.verdict and into.verdict != FAIL:
            into.verdict = other.verdict
        into.text = max(into.text, other.text)
        if not into.withheld:
            into.withheld, into.secret = other.withheld, other.secret
    into.parts = parts
    tokens, documents = into.base
    context = tokens + sum(added for added, _ in parts.values())
    if context != into.context:
        into.primed = ""
    into.context = context
    into.documents = documents + sum(found for _, found in parts.values())


def outcome(parent: Thread, kept: list[Thread], best: Thread, part: int) -> None:
    """Replicas are done: the texts of those `kept` join the parent's context; `best` goes on.

    All of them started from the parent's context as it still is.
    """
    context, documents = parent.context, parent.documents
    added = sum(thread.context - context for thread in kept)
    found = sum(thread.documents - documents for thread in kept)
    parent.primed = ""
    append(parent, added, part, found)
    if parent.context == best.context:
        parent.primed = best.primed
    parent.verdict, parent.model = best.verdict, best.model
    parent.text = best.text
    if best.withheld:
        parent.withheld, parent.secret = best.withheld, best.secret


def _count(stage: StageNode, name: str, default: int) -> int:
    value = stage.options.get(name)
    return int(value) if isinstance(value, int | float) else default


__all__ = ["JUDGES", "LLM_STAGES", "Amount", "Leaves", "append", "merge", "outcome", "produced",
           "reads", "sequences"]  # fmt: skip
