"""From the clients of a placement graph to their cost models, or to the reasons why not.

Knows which options of an engine a cost model reads. Never the clock, requests or results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, TypeAlias

from hermesdsl.cost.constants import efficiencies_of
from hermesdsl.cost.device import peak_dtype
from hermesdsl.cost.llm import DataSheetCost, attention_dtype, gemm_dtype
from hermesdsl.cost.memory import MEMORY_RULES, MemoryPlan, gib, plan
from hermesdsl.cost.profiled import ProfiledCost
from hermesdsl.cost.profiles import library, profile_of
from hermesdsl.cost.speculation import SpeculativeCost, drafted, mtp
from hermesdsl.cost.timed import read_times
from hermesdsl.diagnostics import Diagnostic, Sink, error, warning
from hermesdsl.graph.types import (
    ACTIVATION_DTYPES,
    DTYPE_BYTES,
    Client,
    Group,
    LlmModel,
    Part,
    PlacementGraph,
    Spec,
)

#: What each form of `speculate` calls its guesses per step.
_GUESSES = {"mtp": "depth", "draft": "gamma"}

Cost: TypeAlias = DataSheetCost | SpeculativeCost
#: What engines have that are alike, wherever they are.
Sort: TypeAlias = tuple[object, ...]
#: Cost models, each with the engines that it is of.
Costs: TypeAlias = deque[tuple[Sort, Cost]]


def served_model(client: Client) -> LlmModel:
    """The model as this engine holds it: its `dtype` and `kv_dtype` override the model's own.

    Raises ValueError for a client without a model.
    """
    model = client.model
    if model is None:
        raise ValueError(f"{client.path} serves no model")
    dtype, kv_dtype = client.options.get("dtype"), client.options.get("kv_dtype")
    if isinstance(dtype, str) and dtype != model.dtype:
        scale = DTYPE_BYTES[dtype] / DTYPE_BYTES[model.dtype]
        model = replace(
            model,
            dtype=dtype,
            activation_dtype=dtype if dtype in ACTIVATION_DTYPES else "bf16",
            weight_bytes=model.weight_bytes * scale,
        )
    if isinstance(kv_dtype, str) and kv_dtype != model.kv_dtype:
        scale = DTYPE_BYTES[kv_dtype] / DTYPE_BYTES[model.kv_dtype]
        kv_bytes = model.kv_bytes_per_token * scale
        model = replace(model, kv_dtype=kv_dtype, kv_bytes_per_token=kv_bytes)
    return model


def engine_cost(client: Client) -> DataSheetCost:
    """The data-sheet cost of one engine, guesses of tokens left out.

    Raises ValueError where `diagnose` has an error.
    """
    profile = profile_of(client)
    if client.group is None or profile is None:
        raise ValueError(f"{client.path} has no devices or an unknown profile")
    efficiencies = efficiencies_of(client.group.part)
    served = (served_model(client), client.group, client.options, efficiencies, profile)
    measured = client.options.get("measured")
    if isinstance(measured, Spec):
        times = read_times(str(measured.args["file"]), client.group.tp)
        return ProfiledCost(*served, times)
    return DataSheetCost(*served)


def served_cost(client: Client) -> DataSheetCost | SpeculativeCost:
    """The same with the guesses that the engine's `speculate` asks for.

    Raises ValueError where `diagnose` has an error.
    """
    cost, spec = engine_cost(client), client.options.get("speculate")
    if not isinstance(spec, Spec) or spec.name == "off":
        return cost
    accept, guesses = spec.args.get("accept"), spec.args.get(_GUESSES[spec.name])
    assert isinstance(accept, int | float)
    assert isinstance(guesses, int | float)
    if spec.name == "mtp":
        return mtp(cost, depth=int(guesses), accept=float(accept))
    if client.draft is None:
        raise ValueError(f"{client.path} guesses with no model")
    return drafted(cost, client.draft, accept=float(accept), guesses=int(guesses))


def diagnose(client: Client) -> list[Diagnostic]:
    """Everything a cost model has to say about an LLM engine, errors and warnings.

    HMS405 without devices, with devices that have no memory, or for micro-batches of one stage;
    HMS407 when the weights, or the weights and the reserve, leave no room for KV; HMS411 for a
    dtype without a peak; HMS506 for a profile or a split that has no model; HMS603 for tables of
    layers that cannot be read.
    """
    sink = Sink()
    group = client.group
    if group is None or client.model is None:
        sink.add(error("HMS405", f"`{client.path}` has no devices or no model"))
        return sink.items
    if group.memory_capacity <= 0 or group.memory_bandwidth <= 0:
        sink.add(error("HMS405", f"the devices of `{client.path}` have no memory"))
    _check_options(client, group, sink)
    model = served_model(client)
    _check_windows(model, sink)
    uses: dict[str, list[str]] = {}
    for what, dtype in (("weights", gemm_dtype(model)), ("attention", attention_dtype(model))):
        uses.setdefault(dtype, []).append(what)
    for dtype, whats in uses.items():
        _check_peak(client, group, " and ".join(whats), dtype, sink)
    profile = profile_of(client)
    if not sink.failed and profile is not None:
        _check_memory(client, plan(model, group, profile, client.options), sink)
    if not sink.failed:
        _check_guesses(client, sink)
    return sink.items


def bind(placement: PlacementGraph, known: Costs | None = None) -> dict[str, Cost]:
    """The cost model of every LLM engine, by path; also attached to its node as ``cost``.

    Engines that are alike but for where they are share one, and what it remembers; with `known`
    those of other runs too, to which it adds. Raises SpecError with all errors of all engines.
    """
    sink = Sink()
    engines: list[Client] = []
    for _, data in placement.nodes(data=True):
        client = data.get("client")
        if isinstance(client, Client) and client.type_name == "LlmEngine":
            engines.append(client)
            for item in diagnose(client):
                if item.is_error:
                    sink.add(item)
    sink.raise_if_failed()
    made: Costs = deque() if known is None else known
    costs: dict[str, Cost] = {}
    for client in engines:
        sort = _anywhere(client)
        found = next((cost for other, cost in made if other == sort), None)
        if found is None:
            found = served_cost(client)
            made.appendleft((sort, found))
        costs[client.path] = found
    for path, cost in costs.items():
        placement.nodes[path]["cost"] = cost
    return costs


def _but(kind: type[Any], *names: str) -> Callable[[Any], tuple[object, ...]]:
    """Reads all fields of a dataclass but these."""
    return attrgetter(*(each.name for each in fields(kind) if each.name not in names))


_OF_CLIENT = _but(Client, "path", "vector", "doc", "labels", "group")
_OF_GROUP = _but(Group, "devices", "memories", "part")
_OF_PART = _but(Part, "path", "doc", "labels")


def _anywhere(client: Client) -> Sort:
    """A client without the names of where it is: all that its cost is made from."""
    group = client.group
    if group is None:
        return _OF_CLIENT(client)
    own = len(group.devices), *_OF_GROUP(group), *_OF_PART(group.part)
    return *_OF_CLIENT(client), own


def _check_options(client: Client, group: Group, sink: Sink) -> None:
    options = client.options
    if profile_of(client) is None:
        name = str(options.get("profile"))
        known = ", ".join(f"`{profile}`" for profile in library())
        notes = (f"help: profiles with constants are {known}",)
        message = f"engine profile `{name}` of `{client.path}` has no constants yet"
        sink.add(error("HMS506", message, notes=notes))
    rule = options.get("memory_rule")
    if isinstance(rule, Spec) and rule.name not in MEMORY_RULES:
        message = f"memory rule `{rule.name}` of `{client.path}` is not executable yet"
        sink.add(error("HMS506", message))
    if options.get("micro_batches") is not None and group.pp == 1:
        message = f"`micro_batches` of `{client.path}` cut nothing: it has one pipeline stage"
        sink.add(error("HMS405", message, notes=("help: `pp` above 1 makes stages",)))
    _check_measured(client, group, sink)
    for name, ways, split in (("attention", group.dp, "dp"), ("experts", group.ep, "ep")):
        value = options.get(name)
        if value is not None and (value == split) != (ways > 1):
            message = f"`{client.path}` has `{name} = {value}` and {split} = {ways}"
            note = f"help: `{name} = {split}` is what `{split}` above 1 means: give one of them"
            sink.add(error("HMS405", message, notes=(note,)))


def _check_measured(client: Client, group: Group, sink: Sink) -> None:
    """Tables of layers can be read, and are of one stage and one rank without experts."""
    measured = client.options.get("measured")
    if not isinstance(measured, Spec):
        return
    model = client.model
    if group.pp > 1 or group.dp > 1 or (model is not None and model.experts):
        message = f"`measured` of `{client.path}` is of dense layers on one stage and one rank"
        note = "help: leave it out with pp or dp above 1, or with experts"
        sink.add(error("HMS506", message, notes=(note,)))
        return
    try:
        read_times(str(measured.args["file"]), group.tp)
    except ValueError as problem:
        sink.add(error("HMS603", f"`measured` of `{client.path}`: {problem}"))


def _check_windows(model: LlmModel, sink: Sink) -> None:
    """Layers that see all are some of the model's, beside others with a window."""
    if model.full_layers > model.layers:
        message = f"model `{model.name}` has {model.layers} layers, and {model.full_layers} of them"
        sink.add(error("HMS405", f"{message} (`full_layers`) see all of the context"))
    elif model.full_layers and not model.window:
        message = f"`full_layers = {model.full_layers}` of model `{model.name}` says nothing"
        note = "help: without a `window` all layers see all of the context"
        sink.add(error("HMS405", message, notes=(note,)))


def _check_guesses(client: Client, sink: Sink) -> None:
    """The draft needs a peak, and room for its weights and KV beside the model's."""
    spec = client.options.get("speculate")
    if isinstance(spec, Spec) and spec.name == "draft" and client.draft is None:
        sink.add(error("HMS405", f"`speculate = {spec}` of `{client.path}` names no model"))
        return
    group, draft = client.group, client.draft
    assert group is not None
    if draft is not None:
        for what, dtype in (("draft", gemm_dtype(draft)), ("draft", attention_dtype(draft))):
            if peak_dtype(group.part.peak, dtype) is None:
                _check_peak(client, group, what, dtype, sink)
                return
    guesses = isinstance(spec, Spec) and spec.name != "off"
    if not guesses and client.options.get("measured") is None:
        return
    cost = served_cost(client)
    if isinstance(cost, SpeculativeCost) and cost.kv_tokens < 1:
        message = (
            f"what guesses tokens for `{client.path}` takes {gib(cost.weights)} of each device, "
            f"which has {gib(cost.target.memory.kv)} beside the model"
        )
        note = "help: a smaller draft, more devices per engine, or a larger memory_rule"
        sink.add(error("HMS407", message, notes=(note,)))


def _check_peak(client: Client, group: Group, what: str, dtype: str, sink: Sink) -> None:
    part = group.part
    used = peak_dtype(part.peak, dtype)
    if used is None:
        listed = ", ".join(part.peak) or "none"
        message = f"`{part.type_name}` has no peak for {dtype} ({what} of `{client.path}`)"
        note = f"help: nor for any wider type; its peaks: {listed}"
        sink.add(error("HMS411", message, notes=(note,)))
    elif used != dtype:
        message = f"`{part.type_name}` has no peak for {dtype} ({what} of `{client.path}`)"
        note = f"note: its peak for {used} is used; bytes stay those of {dtype}"
        sink.add(warning("HMS411", message, notes=(note,)))


def _check_memory(client: Client, memory: MemoryPlan, sink: Sink) -> None:
    if memory.weights > memory.capacity:
        message = (
            f"the weights of `{client.path}` take {gib(memory.weights)} per device, "
            f"but a device holds {gib(memory.capacity)}"
        )
    elif memory.kv_tokens < 1 and client.group is not None and client.group.reserved:
        room = memory.kv + client.group.reserved
        message = (
            f"tiers of caches take {gib(client.group.reserved)} of each device of "
            f"`{client.path}`, which has room for {gib(max(room, 0.0))} of KV"
        )
        help_ = "help: less `capacity` for the tiers in its memory"
        sink.add(error("HMS407", message, notes=(help_,)))
        return
    elif memory.kv_tokens < 1:
        message = (
            f"the weights of `{client.path}` take {gib(memory.weights)} per device of "
            f"{gib(memory.capacity)}, which leaves no room for KV: activations and runtime "
            f"take {gib(memory.reserve)}, and the memory rule caps the rest"
        )
    else:
        return
    note = "help: more devices per engine (tp, pp), a narrower dtype, or a larger memory_rule"
    sink.add(error("HMS407", message, notes=(note,)))
