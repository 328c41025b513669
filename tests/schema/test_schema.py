"""The vocabulary is complete and agrees with itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hermesdsl.schema import BUILTINS, COMPUTED, FRAGMENTS, KINDS, family, words_beside
from hermesdsl.schema.metrics import METRICS, SERIES
from hermesdsl.schema.types import (
    OWN_DIMENSION,
    AnyType,
    BoolType,
    ComputedType,
    ListType,
    NumberType,
    Property,
    PropertyType,
    ReferenceType,
    SymbolType,
    TextType,
    TupleType,
)


def properties() -> Iterator[tuple[str, Property]]:
    for kind in KINDS.values():
        yield from ((f"{kind.name}.{p.name}", p) for p in kind.properties.values())
    for builtin in BUILTINS.values():
        yield from ((f"{builtin.name}.{p.name}", p) for p in builtin.properties.values())
    for computed in COMPUTED.values():
        where = f"{computed.family} {computed.name}"
        yield from ((f"{where}({p.name})", p) for p in computed.parameters)


ALL = list(properties())
each = pytest.mark.parametrize("prop", [p for _, p in ALL], ids=[name for name, _ in ALL])


def types(kind: PropertyType) -> Iterator[PropertyType]:
    """A type and those inside it."""
    yield kind
    if isinstance(kind, ListType):
        yield from types(kind.item)
    elif isinstance(kind, TupleType):
        for item in kind.items:
            yield from types(item)


@each
def test_every_property_says_what_it_is(prop: Property) -> None:
    assert prop.doc
    assert not prop.doc[0].islower()
    assert prop.doc.endswith((".", "…"))
    assert str(prop.type)


@each
def test_every_default_has_the_type_of_its_property(prop: Property) -> None:
    default, kind = prop.default, prop.type
    if default is None or callable(default):
        return
    assert not prop.required
    if isinstance(kind, NumberType):
        assert isinstance(default, int | float)
        assert not isinstance(default, bool)
        assert kind.minimum is None or default >= kind.minimum
        assert kind.maximum is None or default <= kind.maximum
        assert kind.above is None or default > kind.above
        assert not kind.integer or default == int(default)
    elif isinstance(kind, BoolType):
        assert isinstance(default, bool)
    elif isinstance(kind, SymbolType):
        assert default in kind.values
    elif isinstance(kind, ComputedType):
        computed = COMPUTED[kind.family, default]
        assert not any(p.required for p in computed.parameters)
    elif isinstance(kind, ListType):
        assert isinstance(default, tuple)
    else:
        assert isinstance(kind, TextType | AnyType) or kind == OWN_DIMENSION or default == 1.0


@each
def test_every_type_that_is_named_exists(prop: Property) -> None:
    for kind in types(prop.type):
        if isinstance(kind, ReferenceType):
            assert set(kind.kinds) <= set(KINDS)
            assert not kind.pools or "client" in kind.kinds
        elif isinstance(kind, ComputedType):
            assert list(family(kind.family))
        elif isinstance(kind, SymbolType):
            assert len(set(kind.values)) == len(kind.values)


def test_derived_values_are_computed_and_name_what_from() -> None:
    derived = [(name, p) for name, p in ALL if p.derived]
    assert derived
    for name, prop in derived:
        assert callable(prop.default)
        assert prop.inputs
        assert set(prop.inputs) <= set(KINDS[name.partition(".")[0]].properties)


def test_kinds_hold_kinds_and_builtin_types_have_one() -> None:
    for kind in KINDS.values():
        assert set(kind.holds) <= set(KINDS)
        assert kind.doc.endswith(".")
        assert kind.single or not kind.top
    assert {b.kind for b in BUILTINS.values()} <= set(KINDS)
    for builtin in BUILTINS.values():
        assert not set(builtin.properties) & set(KINDS[builtin.kind].properties)


def test_nothing_is_contributed_twice() -> None:
    kinds = [k.name for f in FRAGMENTS for k in f.kinds]
    builtins = [b.name for f in FRAGMENTS for b in f.builtins]
    computed = [(c.family, c.name) for f in FRAGMENTS for c in f.computed]
    for names in (kinds, builtins, computed):
        assert len(set(names)) == len(names)


# language.md §4, "Property names that others rely on", and the kinds it names.
PROMISED = {
    "LlmEngine": "model tp pp ep dp attention experts batching max_batch max_tokens block_size "
    "memory_rule kv_dtype prefix_cache order preemption role profile route speculate span share "
    "spare",
    "workload": "pipeline arrivals prompt output requests class turns think_time prefix",
    "experiment": "workload duration warmup seeds horizon contention minimize maximize strategy",
}
TYPES = "link chip switch node rack cluster pipeline stage"
SINGLES = "model index cache pool class workload experiment case view"
PRELUDE = "Memory Switch LlmEngine BatchEngine WorkerPool Delay KvTier"
FAMILIES = {
    "arrivals": "poisson gamma weibull constant bursty diurnal closed trace",
    "distribution": "lognormal normal uniform exponential geometric empirical quantiles",
    "join": "all first best majority",
    "repeat": "geometric while times",
    "strategy": "grid bisect tpe",
    "batching": "static continuous prefill_first mixed chunked",
    "route": "round_robin random jsq least_work kv_free prefix_affinity session_affinity "
    "heavy_light weighted power_of_two oracle",
    "admission": "always token_bucket queue_limit deadline",
    "memory_rule": "of_device after_weights",
}
STAGES = "Prefill Decode Generate Classify Guard Score Embed Retrieve Rerank KvFetch Tool Step"


@pytest.mark.parametrize("name", PROMISED)
def test_promised_properties(name: str) -> None:
    builtin = BUILTINS.get(name)
    known = set(builtin.properties) if builtin else set()
    known |= set(KINDS[builtin.kind if builtin else name].properties)
    assert set(PROMISED[name].split()) <= known


def test_promised_kinds_types_and_settings() -> None:
    assert all(not KINDS[name].single for name in TYPES.split())
    assert all(KINDS[name].single for name in SINGLES.split())
    assert set(PRELUDE.split()) <= set(BUILTINS)
    assert {n for n, b in BUILTINS.items() if b.kind == "stage"} >= set(STAGES.split())
    for name, members in FAMILIES.items():
        assert {c.name for c in family(name)} >= set(members.split())


def test_promised_metrics() -> None:
    assert all(METRICS[name].of_series for name in ("p50", "p90", "p95", "p99", "mean", "max"))
    assert {"ttft", "tpot", "itl", "e2e", "queue"} <= set(SERIES)
    others = "attainment goodput output_throughput request_throughput cost_per_token "
    others += "energy_per_token utilisation hit_rate share"
    assert set(others.split()) <= set(METRICS)
    assert all(m.doc for m in METRICS.values())


def test_words_that_stand_in_one_enumeration() -> None:
    assert set(words_beside("lru")) == {"lru", "lfu"}
    assert {"bf16", "fp8", "int4"} <= set(words_beside("fp16"))
    assert words_beside("nothing") == ()
