"""KV moves from one client's devices to another's: flows over the links between them.

Knows which devices a client has and how many bytes a token of KV takes; when they arrive is
`sim.network`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping

from hermesdsl.graph.types import Client, LlmModel
from hermesdsl.sim.network.network import Arrived, Flow, Network


def kv_bytes(model: LlmModel, tokens: int) -> float:
    """Bytes of the KV of `tokens` tokens of one sequence: in layers with a window, the last w."""
    if model.window:
        ring = min(tokens, model.window) * (model.layers - model.full_layers)
        return (tokens * model.full_layers + ring) / model.layers * model.kv_bytes_per_token
    return tokens * model.kv_bytes_per_token


class Transfers:
    """Moves between `clients` (by path) over `network`."""

    def __init__(self, network: Network, clients: Mapping[str, Client]) -> None:
        self._network = network
        self._clients = clients

    def move(
        self,
        source: str,
        target: str,
        tokens: int,
        now: float,
        key: int,
        then: Arrived,
        *,
        ready: float = 0.0,
    ) -> Flow:
        """Move the KV of `tokens` tokens from now on; `then(time, key)` when it is there.

        Its last layer is complete at `ready` (seconds) and does not leave before. Raises
        `SpecError` (HMS408) if two of the devices are not joined.
        """
        model = self._clients[source].model
        assert model is not None
        return self._network.send(
            self._devices(source), self._devices(target), kv_bytes(model, tokens),
            now, key, then, ready=ready, layers=model.layers,
        )  # fmt: skip

    def cancel(self, flow: Flow, now: float) -> None:
        """Give a move up; its `then` is not called."""
        self._network.cancel(flow, now)

    def _devices(self, client: str) -> tuple[str, ...]:
        group = self._clients[client].group
        return group.devices if group is not None else ()
