"""Pipelines and stages: what work a request does."""

from __future__ import annotations

from hermesdsl.schema.types import (
    BRANCH,
    FLOW,
    INSTANCE,
    BoolType,
    BuiltinType,
    Computed,
    ComputedType,
    ConditionType,
    Fragment,
    Kind,
    NumberType,
    Property,
    ReferenceType,
    RequestType,
    SymbolType,
    props,
)
from hermesdsl.units import dimension as d

#: What a condition or a formula may read of a request. `context` is as long as it is then, `turn`
#: counts from 1, `verdict` is that of the last check, and `model` the one of the engine that served
#: its last Prefill, Decode or Generate (none before the first; a check's own model does not count).
REQUEST_ATTRIBUTES = {
    "prompt": d.TOKEN, "output": d.TOKEN, "context": d.TOKEN, "cached": d.TOKEN,
    "turn": d.NUMBER, "class": None, "model": None, "verdict": None,
}  # fmt: skip

_count = NumberType(integer=True, minimum=1)
_seconds = RequestType(d.SECOND)
_tokens = RequestType(d.TOKEN)

_COMMON = (
    Property("repeat", ComputedType("repeat"), "How often it runs, one after the other."),
    Property("join", ComputedType("join"), "When replicas are done.", "all"),
    Property(
        "spread",
        SymbolType(("routed", "each")),
        "Where replicas go: where the pool sends each, or replica i of the stage (of every "
        "stage inside, for a pipeline) to member i of its pool.",
        "routed",
    ),
)
_SERVICE = Property("service", _seconds, "Time one request takes.")
_APPENDS = Property("appends", _tokens, "Tokens added to the context.")
_TOKENS = Property("tokens", _tokens, "Tokens produced; the request's output if absent.")
_HIDDEN = Property("hidden", BoolType(), "Its tokens are not the user's.", False)
_LENGTH = Property("length", NumberType(d.TOKEN, integer=True, minimum=1),
                   "Tokens afterwards.", required=True)  # fmt: skip
_PASS = Property("pass", ConditionType(),
                 "Chance that the verdict is a pass, or the condition for it.", 1.0)  # fmt: skip

PIPELINE = Kind(
    "pipeline",
    "Stages from input to output: a graph without cycles.",
    single=False,
    properties=props(
        *_COMMON,
        Property("transfer", SymbolType(("full", "layerwise")),
                 "How KV moves from prefill to decode.", "full"),
        Property("pairing", SymbolType(("global", "local")),
                 "Which decode clients a prefill client may hand over to.", "global"),
    ),
    statements=frozenset({INSTANCE, FLOW, BRANCH}),
    holds=("stage", "pipeline"),
)  # fmt: skip
STAGE = Kind(
    "stage",
    "Work that a client does for a request.",
    single=False,
    properties=props(
        *_COMMON, _SERVICE, _APPENDS,
        Property("hold", NumberType(d.SECOND, above=0),
                 "Longest that KV of the request waits at its engine while the request is here; "
                 "then it is given up, and read again by the next stage that needs it. Without "
                 "limit if absent."),
    ),
)  # fmt: skip


def _stage(name: str, doc: str, *properties: Property, on_cores: bool = False) -> BuiltinType:
    return BuiltinType(name, "stage", doc, props(*properties), on_cores)


STAGES = (
    _stage("Prefill", "Computes the KV of everything new in the context."),
    _stage("Decode", "Produces tokens from KV that is there.", _TOKENS, _HIDDEN),
    _stage("Generate", "Prefills what is new, then decodes.", _TOKENS, _HIDDEN,
           Property("prefill", ReferenceType(("client",), many=True, pools=True),
                    "Where the prompt is read, if elsewhere."),
           Property("transfer", SymbolType(("full", "layerwise")), "How KV moves.", "full")),
    _stage("Classify", "Sorts requests; leaves a verdict.", _PASS),
    _stage("Guard", "Checks a text; leaves a verdict.", _PASS),
    _stage("Score", "Judges a text; leaves a verdict.", _PASS),
    _stage("Embed", "Turns the query into a vector."),
    _stage("Retrieve", "Searches an index for documents.",
           Property("index", ReferenceType(("index",)), "What is searched.", required=True),
           Property("top_k", _count, "Documents kept.", 10),
           Property("chunk", NumberType(d.TOKEN, integer=True, minimum=0),
                    "Tokens each document adds to the context; 0 while candidates flow on.", 0),
           on_cores=True),
    _stage("Rerank", "Scores candidates, keeps the best.",
           Property("keep", _count, "Documents kept.", 5),
           Property("chunk", NumberType(d.TOKEN, integer=True, minimum=0),
                    "Tokens each kept document adds.", 512)),
    _stage("KvFetch", "Brings reusable KV to where the next prefill runs.",
           Property("cache", ReferenceType(("cache",)), "Where it may be.", required=True)),
    _stage("Tokenize", "Text to tokens, on cores of a worker pool.", on_cores=True),
    _stage("Detokenize", "Tokens to text, on cores of a worker pool.", on_cores=True),
    _stage("Pad", "Fills the prompt up to a length.", _LENGTH, on_cores=True),
    _stage("Truncate", "Cuts the prompt to a length.", _LENGTH, on_cores=True),
    _stage("Filter", "Looks every token up in a list; leaves a verdict.", _PASS, on_cores=True),
    _stage("Tool", "Calls a tool; its answer joins the context."),
    _stage("Step", "Work described by `service` alone."),
)  # fmt: skip

COMPUTED = (
    Computed("geometric", "repeat", "A geometric number of times.", (
        Property("mean", NumberType(minimum=1), "Mean.", required=True),
        Property("max", _count, "Most."))),
    Computed("while", "repeat", "Again while a draw or condition holds.", (
        Property("p", ConditionType(), "Chance to go on after each time, or the condition on "
                 "which a request does (with a `max`).", required=True),
        Property("max", _count, "Most."))),
    Computed("times", "repeat", "A fixed number of times.", (
        Property("n", _count, "How often.", required=True),)),
    Computed("all", "join", "When all replicas are done."),
    Computed("first", "join", "When k replicas are done; the others are cancelled.", (
        Property("k", _count, "How many.", 1),
        Property("which", SymbolType(("any", "pass")), "Which count.", "any"))),
    Computed("best", "join", "When all are done; the best k go on.", (
        Property("k", _count, "How many.", 1),)),
    Computed("majority", "join", "When more than half are done; the others are cancelled."),
)  # fmt: skip

FRAGMENT = Fragment(kinds=(PIPELINE, STAGE), builtins=STAGES, computed=COMPUTED)
