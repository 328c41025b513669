"""Work that cores of a worker pool do, by type of stage: from a stage and its client to its cost.

One more is one more file here and one more entry of `WORKS`, beside its entry in the schema. Knows
stages and clients; no clock, queue or request. Searches, which need an index, are in `cost.rag`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from hermesdsl.cost import text
from hermesdsl.cost.types import ServiceCost
from hermesdsl.graph.types import Client, StageNode

#: The cost of one stage on one client.
Work: TypeAlias = "Callable[[StageNode, Client], ServiceCost]"

#: By the name of a stage type in the schema.
WORKS: Mapping[str, Work] = MappingProxyType(
    {
        **dict.fromkeys(text.CONSTANTS, text.make),
    }
)
