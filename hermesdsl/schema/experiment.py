"""Experiments, cases and views: what to run and what to show."""

from __future__ import annotations

from hermesdsl.schema.types import (
    REQUIRE,
    SWEEP,
    AnyType,
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
    props,
)
from hermesdsl.units import dimension as d

_time = NumberType(d.SECOND, above=0)
_count = NumberType(integer=True, minimum=1)


def _short(share: float) -> Property:
    return Property("short", NumberType(minimum=0, maximum=0.5),
                    "Share of the duration after which a hopeless point is given up; 0: none.",
                    share)  # fmt: skip


EXPERIMENT = Kind(
    "experiment",
    "What to run: workloads, how long, and what the results must meet.",
    single=True,
    properties=props(
        Property("workload", ListType(ReferenceType(("workload",))), "What is offered.",
                 required=True),
        Property("duration", _time, "Arrivals stop after this; until all are served if absent."),
        Property("warmup", NumberType(d.SECOND, minimum=0), "Requests before are not measured.",
                 0.0),
        Property("seeds", ListType(NumberType(integer=True, minimum=0)), "One run each.", (1,)),
        Property("horizon", SymbolType(("drain", "cut")),
                 "Finish what was admitted, or stop at duration.", "drain"),
        Property("contention", SymbolType(("fair", "none")),
                 "Transfers share links, or do not.", "fair"),
        Property("reserve", SymbolType(("all", "used")),
                 "Which devices are paid for, and draw power.", "all"),
        Property("records", SymbolType(("auto", "all", "summary")),
                 "Keep a row per request, or sums and sketched percentiles alone; `auto`: rows of "
                 "up to 500,000 requests.", "auto"),
        Property("minimize", AnyType(), "Metric or swept value to make small, or a list."),
        Property("maximize", AnyType(), "Metric or swept value to make large, or a list."),
        Property("strategy", ComputedType("strategy"), "How a search goes.", "grid"),
    ),
    statements=frozenset({SWEEP, REQUIRE}),
    top=True,
)  # fmt: skip
CASE = Kind(
    "case",
    "A named variant: settings that act on the whole file.",
    single=True,
    properties={},
    free=True,
    top=True,
)
VIEW = Kind(
    "view",
    "A drawing with a name.",
    single=True,
    properties=props(
        Property("of", SymbolType(("hardware", "pipeline", "placement")), "What is drawn.",
                 "hardware"),
        Property("show", ListType(AnyType()), "Only these and what they hold."),
        Property("fold", AnyType(),
                 "Alike siblings are drawn once; `false`: each by itself."),
        Property("color", SymbolType(("kind", "utilisation")),
                 "What colours mean; utilisation needs the results of a run.", "kind"),
        Property("title", TextType(), "Heading."),
    ),
    top=True,
)  # fmt: skip

COMPUTED = (
    Computed("grid", "strategy", "Every point.", (_short(0),)),
    Computed("bisect", "strategy", "Halving, for one monotone value.", (
        Property("tolerance", NumberType(above=0), "Relative width to stop at.", 0.02),
        _short(0),)),
    Computed("tpe", "strategy", "Tree-structured Parzen estimator.", (
        Property("trials", _count, "Points to try.", 100),
        Property("batch", _count, "Points proposed at a time.", 8),
        _short(0.1))),
)  # fmt: skip

FRAGMENT = Fragment(kinds=(EXPERIMENT, CASE, VIEW), computed=COMPUTED)
