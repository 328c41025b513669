"""Machines that several tests look at; none of them changes one."""

from __future__ import annotations

import pytest
from machines import graph_of, rack_pieces

from hermesdsl.graph.types import HardwareGraph


@pytest.fixture(scope="session")
def rack() -> HardwareGraph:
    return graph_of(*rack_pieces())


@pytest.fixture(scope="session")
def gpus() -> list[str]:
    """The GPUs of the first node."""
    return [f"rack.node[0].gpu[{i}]" for i in range(8)]
