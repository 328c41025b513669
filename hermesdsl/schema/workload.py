"""Workloads: arrivals, lengths, classes, sessions."""

from __future__ import annotations

from hermesdsl.schema.types import (
    OWN_DIMENSION,
    Computed,
    ComputedType,
    Fragment,
    Kind,
    ListType,
    NumberType,
    Property,
    ReferenceType,
    SymbolType,
    TextType,
    TupleType,
    UnitType,
    props,
)
from hermesdsl.units import dimension as d

_count = NumberType(integer=True, minimum=1)
_share = NumberType(minimum=0, maximum=1)
_rate = NumberType(d.PER_SECOND, above=0)
_time = NumberType(d.SECOND, above=0)
_lengths = ComputedType("distribution", d.TOKEN, literal=True)

WORKLOAD = Kind(
    "workload",
    "Requests: when they come, how long they are, what they go through.",
    single=True,
    properties=props(
        Property("pipeline", ReferenceType(("pipeline",)), "What they go through.", required=True),
        Property("arrivals", ComputedType("arrivals"), "When they come.", required=True),
        Property("prompt", _lengths, "New tokens of one request or turn."),
        Property("output", _lengths, "Tokens it asks for."),
        Property("requests", NumberType(d.REQUEST, integer=True, minimum=1), "Most to offer."),
        Property("class", ComputedType("mix", literal=True), "Classes and their shares."),
        Property("turns", ComputedType("distribution", d.NUMBER, literal=True),
                 "Turns of a session."),
        Property("think_time", ComputedType("distribution", d.SECOND, literal=True),
                 "From an answer to the next turn."),
        Property("prefix", ComputedType("prefix"), "Text that requests share."),
        Property("timeout", ComputedType("distribution", d.SECOND, literal=True),
                 "A customer's patience: longest wait of one attempt for its first visible token."),
        Property("timeout_on", SymbolType(("first_token", "finish")),
                 "What has to come within `timeout`; the first visible token if absent."),
        Property("retries", NumberType(integer=True, minimum=0),
                 "Attempts after the first, when one times out or is not let in; none if absent."),
        Property("backoff", ComputedType("distribution", d.SECOND, literal=True),
                 "Pause before each of them; none if absent."),
    ),
    top=True,
)  # fmt: skip
CLASS = Kind(
    "class",
    "A customer class: priority and bounds on its latencies.",
    single=True,
    properties=props(
        Property("priority", NumberType(integer=True), "Higher goes first.", 0),
        Property("ttft", _time, "Bound on time to first token."),
        Property("tpot", _time, "Bound on time per output token."),
        Property("itl", _time, "Bound on the longest gap between tokens."),
        Property("e2e", _time, "Bound on end-to-end time."),
    ),
    top=True,
)


def _own(name: str, doc: str, *, required: bool = False) -> Property:
    return Property(name, OWN_DIMENSION, doc, required=required)


_LIMITS = (_own("min", "Smallest value."), _own("max", "Largest value."))

DISTRIBUTIONS = (
    Computed("fixed", "distribution", "Always the same.", (
        _own("value", "The value.", required=True),)),
    Computed("lognormal", "distribution",
             "Log-normal by median and sigma, mean and sigma, or two percentiles.", (
        _own("median", "Median."), Property("sigma", NumberType(minimum=0), "Sigma of the log."),
        _own("mean", "Mean."), _own("p50", "50th percentile."), _own("p90", "90th percentile."),
        _own("p95", "95th percentile."), _own("p99", "99th percentile."), *_LIMITS),
        needs_one_of=("median", "mean", "p50")),
    Computed("normal", "distribution", "Normal, cut at its limits.", (
        _own("mean", "Mean.", required=True), _own("std", "Standard deviation.", required=True),
        *_LIMITS)),
    Computed("uniform", "distribution", "Uniform between low and high.", (
        _own("low", "Smallest.", required=True), _own("high", "Largest.", required=True))),
    Computed("exponential", "distribution", "Exponential.", (
        _own("mean", "Mean.", required=True), *_LIMITS)),
    Computed("geometric", "distribution", "Geometric on 1, 2, 3 ….", (
        _own("mean", "Mean.", required=True), _own("max", "Largest."))),
    Computed("quantiles", "distribution", "Straight lines between quantiles.", (
        Property("points", ListType(TupleType((_share, OWN_DIMENSION))),
                 "(share, value) pairs, rising.", required=True),)),
    Computed("mixture", "distribution", "One of several distributions, by share.", (
        Property("parts", ListType(TupleType((_share, ComputedType(
            "distribution", OWN_DIMENSION.dimension, literal=True)))),
                 "(share, distribution) pairs; the shares add up to 100%.", required=True),)),
    Computed("empirical", "distribution", "Lengths drawn from a column of a table.", (
        Property("file", TextType(), "CSV or JSONL, may be gzipped.", required=True),
        Property("column", TextType(), "Its column.", required=True),
        Property("unit", UnitType(), "Unit of the column.", 1.0))),
)  # fmt: skip

_COLUMN = ComputedType("column")
ARRIVALS = (
    Computed("poisson", "arrivals", "Independent arrivals.", (
        Property("rate", _rate, "Mean rate.", required=True),)),
    Computed("gamma", "arrivals", "Gamma-distributed gaps.", (
        Property("rate", _rate, "Mean rate.", required=True),
        Property("cv", NumberType(above=0), "Coefficient of variation of the gaps.", 1.0))),
    Computed("weibull", "arrivals", "Weibull-distributed gaps.", (
        Property("rate", _rate, "Mean rate.", required=True),
        Property("cv", NumberType(above=0), "Coefficient of variation of the gaps.", 1.0))),
    Computed("constant", "arrivals", "Equal gaps.", (
        Property("rate", _rate, "Rate.", required=True),)),
    Computed("bursty", "arrivals", "A rate that swings between low and high.", (
        Property("rate", _rate, "Mean rate.", required=True),
        Property("period", _time, "Length of a cycle.", 60.0),
        Property("swing", _share, "Half the range, as a share of the mean.", 0.8),
        Property("shape", SymbolType(("sine", "on_off")), "Form of a cycle.", "sine"))),
    Computed("diurnal", "arrivals",
             "A day's rhythm: lowest at its start, highest half a day later.", (
        Property("rate", _rate, "Mean rate.", required=True),
        Property("peak", NumberType(minimum=1, maximum=40), "Peak over mean.", 1.5),
        Property("period", _time, "Length of a day.", 86_400.0))),
    Computed("clients", "arrivals", "Clients of unequal rates, each bursty by itself.", (
        Property("rate", _rate, "Mean rate of all together.", required=True),
        Property("n", _count, "How many clients.", 100),
        Property("skew", NumberType(minimum=0), "The k-th has a share of the rate as k^-skew.",
                 1.0),
        Property("cv", NumberType(above=0), "Coefficient of variation of a client's gaps.", 1.2),
        Property("shape", SymbolType(("gamma", "weibull")), "Form of the gaps.", "gamma"))),
    Computed("client_table", "arrivals",
             "The clients of a table, window by window, as ServeGen publishes them.", (
        Property("file", TextType(),
                 "Columns client, window_start_s, rate, cv; perhaps pattern and model.",
                 required=True),
        Property("rate", _rate, "Mean rate over the table, which is scaled to it.",
                 required=True),
        Property("model", TextType(), "Only the rows of this model."),
        Property("start", NumberType(d.SECOND, minimum=0), "Time of the table to begin at.", 0.0),
        Property("lengths", TextType(),
                 "Table of the clients' token counts: input_tokens_p50, output_tokens_p99 …"))),
    Computed("closed", "arrivals",
             "n users, each with one request in the system or thinking about the next.", (
        Property("users", _count, "Users.", required=True),
        Property("think", ComputedType("distribution", d.SECOND, literal=True),
                 "From an answer to the next request; none at once."))),
    Computed("merge", "arrivals", "Several arrivals as one: traces, processes.", (
        Property("parts", ListType(ComputedType("arrivals")), "What is merged.",
                 required=True),)),
    Computed("trace", "arrivals", "A recorded trace: Azure, Mooncake, CSV or JSONL.", (
        Property("file", TextType(), "The trace, may be gzipped.", required=True),
        Property("time", _COLUMN, "Column of arrival times."),
        Property("prompt", _COLUMN, "Column of prompt lengths."),
        Property("output", _COLUMN, "Column of output lengths."),
        Property("blocks", _COLUMN, "Column of prefix block ids, and the size of a block."),
        Property("cached", _COLUMN,
                 "Column of prompt tokens that a cache had; they need no prefill."),
        Property("session", _COLUMN, "Column of conversation ids."),
        Property("class", _COLUMN, "Column of class names."),
        Property("speed", NumberType(above=0), "How much faster than recorded.", 1.0),
        Property("replay", SymbolType(("open", "closed")),
                 "At recorded times; or later turns the recorded gap after the answer before.",
                 "open"))),
    Computed("column", "column", "A column of a trace and its unit.", (
        Property("name", TextType(), "Its name.", required=True),
        Property("unit", UnitType(), "Its unit.", 1.0))),
)  # fmt: skip
OTHERS = (
    Computed("mix", "mix", "Classes and their shares.", keywords=_share),
    Computed("reuse", "prefix", "A prefix shared with other requests.", (
        Property("length", _lengths, "Its tokens.", required=True),
        Property("over", ComputedType("popularity"), "Which prefix a request has.", "uniform"))),
    Computed("uniform", "popularity", "Each request or session its own."),
    Computed("zipf", "popularity", "n prefixes, the k-th with weight k^-s.", (
        Property("n", _count, "How many.", required=True),
        Property("s", NumberType(minimum=0), "Exponent.", 1.0))),
    Computed("hotspots", "popularity",
             "n prefixes, the logarithm of whose popularity is spread normally.", (
        Property("n", _count, "How many.", required=True),
        Property("sigma", NumberType(above=0), "Spread of the logarithm.", 1.0))),
)  # fmt: skip

FRAGMENT = Fragment(kinds=(WORKLOAD, CLASS), computed=DISTRIBUTIONS + ARRIVALS + OTHERS)
