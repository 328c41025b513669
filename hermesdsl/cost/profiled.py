"""The cost of an engine whose layers were measured: tables first, data-sheet model beyond them.

A measured time counts as utilisation: what the data-sheet model takes at the measured shape over
what it took. Inside the tables that gives the measured time itself; outside the model goes on at
the utilisation of the edge. Never the clock, requests or queues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from hermesdsl.cost.attention import decode, prefill
from hermesdsl.cost.constants import Efficiencies, Profile
from hermesdsl.cost.layers import Layers
from hermesdsl.cost.llm import DataSheetCost
from hermesdsl.cost.operator import MEMORY, Operator
from hermesdsl.cost.pipelining import Schedule
from hermesdsl.cost.provenance import CALIBRATED, MEASURED
from hermesdsl.cost.timed import Curve, LayerTimes, Point
from hermesdsl.cost.types import StepWork
from hermesdsl.graph.types import Group, LlmModel, Value

#: Operators of a layer by the names that tables of vLLM's modules give them.
OPERATORS = {
    "embedding": "embedding",
    "qkv_proj": "qkv",
    "rotary_emb": "rope, kv write",
    "o_proj": "attention out",
    "layernorm": "norms",
    "gate_up_proj": "mlp up",
    "act_fn": "mlp act",
    "down_proj": "mlp down",
    "lm_head": "lm head",
    "sampler": "sample",
}
#: Times a layer runs what a table lists once: a norm before attention and one before the MLP.
TWICE = ("layernorm",)
#: The norm after the last layer, which the data-sheet model leaves out.
LAST_NORM = "final_layernorm"


class TimedLayers:
    """`Layers` whose operators take what was measured at their number of tokens or sequences."""

    def __init__(self, layers: Layers, times: LayerTimes) -> None:
        self._layers = layers
        self._last = times.dense.get(LAST_NORM)
        self._dense = _named(times.dense)
        self._head = _named(times.head)
        self._forms: dict[tuple[bool, float], dict[str, float]] = {}

    def linear(self, rank: int, tokens: int, order: Schedule) -> list[Operator]:
        """`Layers.linear`, and the norm after the last layer where it was measured."""
        found = [
            self._timed(op, rank, self._dense, self._linear)
            for op in self._layers.linear(rank, tokens, order)
        ]
        if self._last is not None:
            last = self._last
            norm = Operator("last norm", order.passes, 1e-6, 0.0, 0.0, MEMORY)
            reached, inside = last.reached(rank, lambda size: 1e-6 * size)
            rung = MEASURED if inside else CALIBRATED
            found.append(replace(norm, seconds=1e-6 * rank / reached, rung=rung))
        return found

    def head(self, rank: int, times: int) -> list[Operator]:
        """`Layers.head`."""
        return [
            self._timed(op, rank, self._head, self._sampling)
            for op in self._layers.head(rank, times)
        ]

    def _timed(
        self, op: Operator, size: float, curves: Mapping[str, tuple[Curve, float]],
        forms: Callable[[float], Mapping[str, float]],
    ) -> Operator:  # fmt: skip
        named = curves.get(op.name)
        if named is None or size < 1 or op.seconds <= 0.0:
            return op
        curve, runs = named
        reached, inside = curve.reached(size, lambda at: forms(at)[op.name])
        rung = MEASURED if inside else CALIBRATED
        return replace(op, seconds=runs * op.seconds / reached, rung=rung)

    def _linear(self, size: float) -> Mapping[str, float]:
        return self._form(True, size, lambda n: self._layers.linear(n, n, Schedule()))

    def _sampling(self, size: float) -> Mapping[str, float]:
        return self._form(False, size, lambda n: self._layers.head(n, 1))

    def _form(
        self, linear: bool, size: float, operators: Callable[[int], list[Operator]]
    ) -> Mapping[str, float]:
        """Seconds of the data-sheet model at a measured size, by operator."""
        found = self._forms.get((linear, size))
        if found is None:
            found = {op.name: op.seconds for op in operators(int(size))}
            self._forms[linear, size] = found
        return found


def _named(curves: Mapping[str, Curve]) -> dict[str, tuple[Curve, float]]:
    """Curves by the name of their operator, each with how often a layer runs it."""
    return {
        OPERATORS[name]: (curve, 2.0 if name in TWICE else 1.0)
        for name, curve in curves.items()
        if name in OPERATORS
    }


class _Prompts:
    """What prompts alone reach, in the form of a calibration's `Utilisation`."""

    def __init__(self, cost: ProfiledCost) -> None:
        self._cost = cost

    def at(self, new: float, seen: float, count: float, *_: float) -> tuple[float, str]:
        return self._cost.attention_reach((new * count, seen, 0.0, 0.0))


class _Decodes:
    """What decoding alone reaches."""

    def __init__(self, cost: ProfiledCost) -> None:
        self._cost = cost

    def fixed(self, **_: float) -> _Decodes:
        return self

    def at(self, context: float, sequences: float, *_: float) -> tuple[float, str]:
        return self._cost.attention_reach((0.0, 0.0, sequences, context))


class ProfiledCost(DataSheetCost):
    """`EngineCost` from measured layers (`times`), on engines without pipeline or data ranks.

    Prompts and decodes of one step share a kernel and are looked up together. Sequences of a step
    count as equally long. Raises ValueError for pp or dp above 1.
    """

    def __init__(
        self, model: LlmModel, group: Group, options: Mapping[str, Value],
        efficiencies: Efficiencies, profile: Profile, times: LayerTimes,
    ) -> None:  # fmt: skip
        if group.pp > 1 or group.dp > 1:
            raise ValueError("measured layers are of one stage and one rank")
        super().__init__(model, group, options, efficiencies, profile)
        self._times = times
        self._joins = True
        self._layers = TimedLayers(self._layers, times)  # type: ignore[assignment]
        self._prefill_reach = _Prompts(self)  # type: ignore[assignment]
        self._decode_reach = _Decodes(self)  # type: ignore[assignment]

    def attention_reach(self, point: Point) -> tuple[float, str]:
        """Data-sheet time over measured time of attention at a point, and its rung."""
        reached, inside = self._times.reached(point, self._form)
        return reached, MEASURED if inside else CALIBRATED

    def _beside(self, work: StepWork) -> float:
        """See `DataSheetCost`."""
        apart = sum(op.count * op.seconds for op in self._apart(work))
        return apart * (self._joint(work) - 1.0)

    def device_operators(self, work: StepWork) -> list[Operator]:
        """The operators of one step, as `DataSheetCost.device_operators`."""
        found = super().device_operators(work)
        if not work.prefills or not work.decodes:
            return found
        names, joint = {op.name for op in self._apart(work)}, self._joint(work)
        return [replace(op, seconds=op.seconds * joint) if op.name in names else op for op in found]

    def _apart(self, work: StepWork) -> list[Operator]:
        """Attention of a step's prompts and of its decodes, each looked up alone."""
        order = self.schedule(work.tokens)
        decodes = self._decode_operator(work.decodes, work.decode_context, order, 0)
        return [self._prefill(work, order), decodes]

    def _decode_operator(
        self, decodes: int, context: float, order: Schedule, most: int
    ) -> Operator:
        made = super()._decode_operator(decodes, context, order, most)
        rung = self.attention_reach((0.0, 0.0, float(decodes), context / decodes))[1]
        return replace(made, rung=rung)

    def _joint(self, work: StepWork) -> float:
        """What attention of prompts and decodes takes together, over each of them alone."""
        new, context = float(work.prefill_tokens), work.decode_context / work.decodes
        seen = max(work.prefill_kv / work.prefills - new / work.prefills, 0.0)
        ends = [(new, seen, 0.0, 0.0), (0.0, 0.0, float(work.decodes), context)]
        both = (new, seen, float(work.decodes), context)
        form = self._form(both) / self.attention_reach(both)[0]
        return form / sum(self._form(end) / self.attention_reach(end)[0] for end in ends)

    def _form(self, point: Point) -> float:
        """Seconds that the data-sheet model says, one prompt slice beside equal decodes."""
        new, seen, sequences, context = point
        seconds = 0.0
        if new:
            pairs = new * seen + 0.5 * new * (new + 1.0)
            work = StepWork(int(new), 1, 1, int(new), pairs, seen + new)
            seconds = prefill(self.attention_device, self.shape, 1, work).seconds
        if sequences:
            layer = decode(self.attention_device, self.shape, sequences)
            seconds += layer.seconds(context * sequences)
        return seconds
