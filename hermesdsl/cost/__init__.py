"""Cost models: (work, resources) to seconds and a table of operators. Never clock or queues."""

from hermesdsl.cost.bind import bind, diagnose, engine_cost
from hermesdsl.cost.capacity import Capacity, capacity
from hermesdsl.cost.llm import DataSheetCost
from hermesdsl.cost.operator import Operator
from hermesdsl.cost.types import DecodeRun, EngineCost, Piece, StepWork

__all__ = [
    "Capacity", "DataSheetCost", "DecodeRun", "EngineCost", "Operator", "Piece", "StepWork",
    "bind", "capacity", "diagnose", "engine_cost",
]  # fmt: skip
